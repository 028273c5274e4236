"""One process under the supervisor: started, watched through its segment, ended.

Ready means that the child says RUN in its own segment, not that it was spawned. Hung means that
its heartbeat stopped while it still runs. Both are read from memory; the child is never asked.
When to start again is `host/restart.py`'s decision, in which order the supervisor's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from cache.errors import SegmentError
from cache.layout import ProcessPhase, State
from cache.segment import ReaderSegment
from host import family, log
from host.clock import NS_PER_S
from host.config import DEFAULT_PATH
from host.process import ExitCode
from host.restart import RestartPolicy
from host.roles import Part
from host.settings import Config

LOG = log.get_log("supervisor")
REFUSALS = (ExitCode.USAGE, ExitCode.NO_ROOM)
"""What no restart can heal: a person changes the configuration, or makes room."""

WORDS_BYTES = 2048
"""The end of a log file that is looked at for a process's last words."""


class Child:
    """A process the supervisor keeps alive."""

    def __init__(self, part: Part, config: Config, *, log_dir: Path | None = None) -> None:
        self.part = part
        self.phase = ProcessPhase.STOPPED
        self.started_ns = 0
        self._beat_ns = 0
        self.restart_count = 0
        self.hung_count = 0
        self.has_run = False
        """Whether it ever said RUN."""
        self.exit_code = 0
        self.retry_ns = 0
        self._settings = config.supervisor
        self._namespace = config.host.namespace
        self._policy = RestartPolicy(config.supervisor)
        self._log_path = log_dir / f"{part.role}.log" if log_dir else None
        self._process: subprocess.Popen[bytes] | None = None
        self._segment: ReaderSegment | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid if self._process else 0

    def row(self) -> tuple[int, ...]:
        """What the board `processes` says of it: the fields after the name."""
        return (self.pid, self.started_ns, self.restart_count, self.exit_code, int(self.phase))

    def start(self, now_ns: int) -> None:
        """Spawn the process, in a group of its own: Ctrl-C reaches the supervisor alone.

        In our session, though: where we die, the kernel wakes a stopped child so that it can halt.
        """
        with self._output() as output:
            self._process = subprocess.Popen(
                self.part.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environ(os.environ),
                process_group=0,
            )
        self._segment = None
        self.phase, self.started_ns = ProcessPhase.STARTING, now_ns
        LOG.info("started", role=self.part.role, pid=self.pid)

    def _output(self) -> contextlib.AbstractContextManager[IO[bytes] | None]:
        """Where the child's lines go: its log file, or None for our own stderr."""
        if self._log_path is None:
            return contextlib.nullcontext()
        return self._log_path.open("ab")

    def watch(self, now_ns: int) -> None:
        """Look at the process once: has it ended, is it ready, does it hang?"""
        if self._process is None:
            return
        code = self._process.poll()
        if code is not None:
            self._ended(code, now_ns)
        elif self.phase == ProcessPhase.STARTING:
            self._watch_start(now_ns)
        elif self.phase == ProcessPhase.RUNNING:
            self._watch_heartbeat(now_ns)

    def _ended(self, code: int, now_ns: int) -> None:
        self._process, self._segment = None, None
        self.exit_code = code
        if self.phase == ProcessPhase.STOPPED:  # It was asked to.
            LOG.info("ended", role=self.part.role, code=code)
            return
        retry_ns = None if code in REFUSALS else self._policy.next_start_ns(now_ns)
        if retry_ns is None:
            self.phase = ProcessPhase.FAILED
            why = cause_of(code) if code in REFUSALS else "crash_loop"
            LOG.error(f"failed_{self.part.role}", role=self.part.role, code=code, why=why)
            return
        self.phase, self.retry_ns = ProcessPhase.BACKOFF, retry_ns
        delay_ms = (retry_ns - now_ns) // 1_000_000
        LOG.warning(f"died_{self.part.role}", code=code, cause=cause_of(code), retry_ms=delay_ms)

    def _watch_start(self, now_ns: int) -> None:
        segment = self._own_segment()
        if segment is not None and segment.state == State.RUN:
            self.phase, self._beat_ns = ProcessPhase.RUNNING, now_ns
            self.has_run = True
            LOG.info("ready", role=self.part.role, ms=(now_ns - self.started_ns) // 1_000_000)
        elif now_ns - self.started_ns > self._settings.start_timeout_s * NS_PER_S:
            self._kill("start_timeout")

    def _watch_heartbeat(self, now_ns: int) -> None:
        segment = self._own_segment()
        if segment is not None:  # Else it was removed: the child notices, and halts by itself.
            self._beat_ns = segment.heartbeat_ns
        if now_ns - self._beat_ns > self._settings.hang_kill_s * NS_PER_S:
            self._kill("hung")

    def _own_segment(self) -> ReaderSegment | None:
        """The segment as this very process writes it; None until it has claimed it."""
        if self._segment is None or not self._segment.is_current():
            self._segment = None
            with contextlib.suppress(SegmentError):
                self._segment = ReaderSegment.attach(self.part.role, namespace=self._namespace)
        if self._segment is not None and self._segment.pid == self.pid:
            return self._segment
        return None

    def _kill(self, why: str) -> None:
        """End a process that does not answer; its exit is met at the next look."""
        self.hung_count += 1
        LOG.error(f"{why}_{self.part.role}", pid=self.pid)
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is somebody to get it."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """Ask the process to halt; what is not running is not started again."""
        self.phase = ProcessPhase.STOPPED
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # A stopped process could not act on it.

    @property
    def has_no_room(self) -> bool:
        """Whether shared memory had no room for it when it was to start."""
        return not self.has_run and self.exit_code == ExitCode.NO_ROOM

    def last_words(self) -> str:
        """Its role, and the last line it wrote, where that is not before everybody's eyes."""
        if self._log_path is None:
            return self.part.role
        with contextlib.suppress(OSError), self._log_path.open("rb") as file:
            file.seek(max(0, self._log_path.stat().st_size - WORDS_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
            return f"{self.part.role}: {lines[-1]}" if lines else self.part.role
        return self.part.role

    @property
    def is_gone(self) -> bool:
        """Whether no process is left."""
        return self._process is None

    def restart_if_due(self, now_ns: int) -> bool:
        """Start again after the delay."""
        if self.phase != ProcessPhase.BACKOFF or now_ns < self.retry_ns:
            return False
        self.restart_count += 1
        self.start(now_ns)
        return True

    def trim_log(self, bytes_max: int) -> None:
        """Keep the log file below its limit: copy it aside and begin anew (it is append-only)."""
        if self._log_path is None:
            return
        with contextlib.suppress(OSError):
            if self._log_path.stat().st_size > bytes_max:
                self._log_path.with_suffix(".log.1").write_bytes(self._log_path.read_bytes())
                os.truncate(self._log_path, 0)


def child_environ(own: Mapping[str, str]) -> dict[str, str]:
    """What a child finds in its environment, given our own.

    Its modules are compiled once and not at every restart, which would cost it 80 ms; and numpy's
    BLAS, which nothing here calls, starts no threads, which would cost 40.
    """
    root, search = str(DEFAULT_PATH.parent), own.get("PYTHONPATH")
    environ = (
        {"OPENBLAS_NUM_THREADS": "1"}
        | dict(own)
        | {
            family.VARIABLE: str(os.getpid()),
            "PYTHONPATH": f"{root}{os.pathsep}{search}" if search else root,
        }
    )
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return environ


def cause_of(code: int) -> str:
    """Say in a word how a process ended."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    with contextlib.suppress(ValueError):
        return ExitCode(code).name.lower()
    return "unknown"
