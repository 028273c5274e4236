"""Starts the processes in order, keeps them alive, stops them in the order that leaves nothing.

Start: sim, feeds, strategy, executor; each stage waits until the one before says RUN (or is left
FAILED). Watch: an exit restarts at once, then with growing delay; a heartbeat that stopped is
answered with SIGKILL; a crash loop is left FAILED and said. Stop: strategy, executor (its orders
are cancelled), feeds, sim. It is a process like the others, in the same frame, and publishes the
board `processes` in its own segment. When it dies, its children halt by themselves
(`host/family.py`).

It knows command lines (`host/roles.py`), not modules, and reads memory only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from cache import segment as segments
from cache.counters import Counter
from cache.errors import PenstockError, SegmentError, SharedMemoryFull
from cache.layout import PROCESS, BoardSpec, ProcessPhase, State, tag_of
from cache.segment import WriterSegment
from host import log, process
from host.arguments import YEAR_S, Parser, UsageError, real
from host.child import Child, child_environ
from host.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from host.down import stop_orphans
from host.idle import IdleStrategy
from host.roles import SUPERVISOR_ROLE, Part, plan
from host.say import teller
from host.settings import Config
from host.view import LiveView, PlainView, open_view

LOG = log.get_log("supervisor")
BOARDS = (BoardSpec("processes", PROCESS, 32, 8),)
LOOK_NS = 250 * NS_PER_MS
"""Longest time between two looks at the children; the death of one wakes us at once."""

START_LOOK_NS = 20 * NS_PER_MS
"""The same while one starts: the next stage waits for it."""

STOP_STAGES = 4


class Supervisor:
    """The role: one look at all children is one poll."""

    name = SUPERVISOR_ROLE

    def __init__(
        self,
        segment: WriterSegment,
        config: Config,
        parts: Sequence[Part],
        *,
        view: PlainView | LiveView,
        keep: bool = False,
        until_ns: int = 0,
    ) -> None:
        self._segment = segment
        self._config = config
        self._board = segment.board("processes")
        self._children = [Child(part, config, log_dir=view.log_dir) for part in parts]
        self._stage = min((part.stage for part in parts), default=0)
        self._view = view
        self._keep = keep
        self._until_ns = until_ns
        self.without_room = ""
        """Who found no room in shared memory, and ended the run by that."""
        self.never_ran: list[str] = []
        """At the end: the roles that never said RUN, though they had the whole time, or tried."""
        self._published_ns = 0
        self._published: list[tuple[int, ...]] = []

    def on_start(self, now_ns: int) -> None:
        """Give each child its slot; the first are started by the first poll."""
        for slot, child in enumerate(self._children):
            self._board.assign(slot, tag_of("process", child.part.role), 0)
        self._publish(now_ns)

    def remake(self) -> WriterSegment:
        """Make the process table anew where somebody removed it; the children go on."""
        self._segment.close()
        self._segment = process.claim(self._config, SUPERVISOR_ROLE, BOARDS)
        self._board = self._segment.board("processes")
        self.on_start(monotonic_ns())
        self._segment.set_state(State.RUN)
        return self._segment

    def poll(self, now_ns: int) -> int:
        """Watch, restart, start the next stage, publish."""
        counters = self._segment.counters
        for child in self._children:
            hung, was = child.hung_count, child.phase
            child.watch(now_ns)
            counters.add(Counter.supervisor_processes_hung, child.hung_count - hung)
            if child.phase == ProcessPhase.FAILED != was:
                counters.add(Counter.supervisor_processes_failed)
            if child.restart_if_due(now_ns):
                counters.add(Counter.supervisor_processes_restarted)
        if not self.without_room and any(child.has_no_room for child in self._children):
            self._give_up()
            return 0
        self._start_stage(now_ns)
        self._publish(now_ns)
        self._show(now_ns)
        return 0

    def due_ns(self) -> int:
        """When to look again: soon where one starts, at its time where one waits for that."""
        phases = {child.phase for child in self._children}
        due = [child.retry_ns for child in self._children if child.phase == ProcessPhase.BACKOFF]
        if ProcessPhase.STARTING in phases:
            due.append(monotonic_ns() + START_LOOK_NS)
        return min(due, default=0)

    def _show(self, now_ns: int) -> None:
        """Show what there is; that nobody can see it is no reason to stop trading."""
        try:
            self._view.show(now_ns)
        except OSError as fault:  # The terminal or the pipe is gone: say nothing more.
            LOG.warning("view_lost", error=fault)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
        except (ValueError, PenstockError) as fault:
            LOG.warning("view_failed", error=fault)

    def _start_stage(self, now_ns: int) -> None:
        """Start what is to run now; go on to the next stage when this one is ready."""
        due = [child for child in self._children if child.part.stage <= self._stage]
        for child in due:
            if child.phase == ProcessPhase.STOPPED:
                child.start(now_ns)
                self._segment.counters.add(Counter.supervisor_processes_started)
        if all(child.phase in (ProcessPhase.RUNNING, ProcessPhase.FAILED) for child in due):
            later = [c.part.stage for c in self._children if c.part.stage > self._stage]
            self._stage = min(later, default=self._stage)

    def _give_up(self) -> None:
        """End the run: what was to start found no room, and nothing is gained by going on."""
        self.without_room = "; ".join(c.last_words() for c in self._children if c.has_no_room)
        signal.raise_signal(signal.SIGTERM)  # As if asked to: the others stop in order.

    @property
    def failed(self) -> list[str]:
        """The roles that were given up, and why where nobody could have seen that."""
        return [c.last_words() for c in self._children if c.phase == ProcessPhase.FAILED]

    def _publish(self, now_ns: int) -> None:
        """Publish each child whose row changed; all of them once a second."""
        rows = [child.row() for child in self._children]
        changed = now_ns - self._published_ns >= NS_PER_S
        if not changed and rows == self._published:
            return
        self._published_ns, self._published = now_ns, rows
        for slot, (child, row) in enumerate(zip(self._children, rows, strict=True)):
            head = (0, 0, now_ns, now_ns, 0, 0, 0)
            self._board.publish(slot, (*head, child.part.role.encode(), *row, 0))
            child.trim_log(self._config.supervisor.log_bytes_max)
        self._segment.ring()

    def on_halt(self, now_ns: int) -> None:
        """Stop everything in the safe order, then remove the segments unless told to keep them."""
        in_full = 0 < self._until_ns <= now_ns
        unready = [child for child in self._children if not child.has_run]
        self.never_ran = [c.part.role for c in unready if in_full or c.exit_code]
        for stage in range(STOP_STAGES):
            self._stop_all([c for c in self._children if c.part.stop_stage == stage])
        if self._keep:
            return
        for child in self._children:
            try:
                segments.remove(child.part.role, namespace=self._config.host.namespace)
            except SegmentError as error:
                LOG.warning("segment_kept", role=child.part.role, why=error)

    def _stop_all(self, stopping: list[Child]) -> None:
        """Ask these processes to halt and wait until they are gone, at most the stop timeout."""
        for child in stopping:
            if child.phase != ProcessPhase.FAILED:
                child.stop()
        limit_ns = monotonic_ns() + int(self._config.supervisor.stop_timeout_s * NS_PER_S)
        while not all(child.is_gone for child in stopping):
            now_ns = monotonic_ns()
            if now_ns > limit_ns:
                for child in stopping:
                    if not child.is_gone:
                        LOG.error(f"stop_timeout_{child.part.role}", pid=child.pid)
                        child.signal(signal.SIGKILL)
            for child in stopping:
                child.watch(now_ns)
            with contextlib.suppress(SegmentError):
                self._segment.heartbeat(now_ns)
            self._publish(now_ns)
            time.sleep(0.01)


class SignalWait(IdleStrategy):
    """Sleeps until a signal comes (a child's death is one), or until something is due."""

    def __init__(self) -> None:
        super().__init__([])
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous = signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)

    def idle(self, work_count: int, until_ns: int = 0) -> None:
        wait_ns = LOOK_NS
        if until_ns:
            wait_ns = max(0, min(wait_ns, until_ns - monotonic_ns()))
        if select.select([self._read_end], [], [], wait_ns / NS_PER_S)[0]:
            os.read(self._read_end, 4096)

    def close(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, self._previous)
        os.close(self._read_end)
        os.close(self._write_end)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that there is a handler makes the signal wake `select`."""


def supervise(
    config: Config,
    parts: Sequence[Part],
    *,
    duration_s: float = 0.0,
    keep: bool = False,
    look: str = "plain",
) -> int:
    """Run the supervisor until a signal or for `duration_s`; give its exit code.

    Raises AlreadyRunning for a second supervisor, and at the end SharedMemoryFull where a process
    found no room to start in, PenstockError where one had to be left FAILED or never said RUN.
    """
    until_ns = monotonic_ns() + int(duration_s * NS_PER_S) if duration_s else 0
    segment = process.claim(config, SUPERVISOR_ROLE, BOARDS)
    with contextlib.ExitStack() as ending:
        ending.callback(segment.close, remove=not keep)  # If it does not come to `run_role`.
        stop_orphans(config.host.namespace, config.supervisor.stop_timeout_s)
        ending.callback((waiting := SignalWait()).close)
        try:
            ending.callback((view := open_view(config, look)).close)
        except OSError as fault:
            where = f"[supervisor] log_dir, {config.supervisor.log_dir},"
            raise UsageError(f"{where} cannot be used ({fault.strerror}): name another") from None
        role = Supervisor(segment, config, parts, view=view, keep=keep, until_ns=until_ns)
        code = process.run_role(
            segment,
            role,
            config,
            idle=waiting,
            until_ns=until_ns,
            halt_timeout_s=(STOP_STAGES + 1) * config.supervisor.stop_timeout_s,
            remove=not keep,
        )
    if role.without_room:
        raise SharedMemoryFull(f"no room in shared memory: {role.without_room}")
    if role.failed:
        raise PenstockError(f"failed: {', '.join(role.failed)}")
    if role.never_ran:
        raise PenstockError(f"never ready: {', '.join(role.never_ran)}")
    return code


def check(parts: Sequence[Part]) -> None:
    """Ask the processes that can tell whether they could run. Raises UsageError."""
    for part in parts:
        if part.check:
            asked = subprocess.run(
                part.check, env=child_environ(os.environ), stderr=subprocess.PIPE, text=True
            )
            if asked.returncode:
                raise UsageError(f"{part.role} cannot run: {asked.stderr.strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a service: `python -m host.supervisor`."""
    parser = Parser(
        prog="python -m host.supervisor",
        description="Start every process, keep them alive, stop them in order.",
        epilog="example: python -m host.supervisor --config my.toml --duration 60",
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `penstock up` shares with this module."""
    parser.add_argument("--config", metavar="FILE", help="configuration over penstock.toml")
    span = real(0.001, YEAR_S)
    parser.add_argument(
        "--duration", type=span, default=0.0, metavar="SECONDS", help="stop by itself, exit 0"
    )
    parser.add_argument("--keep", action="store_true", help="leave the segments when stopping")
    parser.add_argument("--json", action="store_true", help="status lines as JSON")
    parser.add_argument("--plain", action="store_true", help="status lines, no live view")


def run(options: argparse.Namespace) -> int:
    """Carry out the parsed options."""
    config = process.begin(SUPERVISOR_ROLE, options.config)
    live = sys.stdout.isatty() and not options.plain
    look = "json" if options.json else "live" if live else "plain"
    path = str(Path(options.config).resolve()) if options.config else None
    parts = plan(config, path)
    check(parts)
    return supervise(
        config,
        parts,
        duration_s=options.duration,
        keep=options.keep,
        look=look,
    )


if __name__ == "__main__":
    sys.exit(process.guarded(main, teller(sys.argv)))
