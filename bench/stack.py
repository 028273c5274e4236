"""A whole Penstock on the simulated venue, for bench and tests: started, watched, stopped.

It is `penstock up` as anybody starts it, in a namespace and on a port of its own. Nothing in it is
changed but settings, each named where it is given. What is seen of it is read from its segments
and from /proc; no process is asked anything.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cache.board import Miss
from cache.errors import SegmentError
from cache.layout import Reason
from cache.segment import ReaderSegment, remove, roles

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 240.0
"""Long: a run may begin shortly before a window ends, and the machine may be busy."""
WINDOW_S = 300

# Limits so wide that only a window's edges keep the strategy from quoting.
WIDE = {
    "PENSTOCK_PAPER_QUOTE_PX_MIN": "0.01",
    "PENSTOCK_PAPER_QUOTE_PX_MAX": "0.99",
    "PENSTOCK_PAPER_QUOTE_QTY": "5",
    "PENSTOCK_PAPER_QUOTE_POSITION_QTY_MAX": "100000",
    "PENSTOCK_PAPER_MARKET_QTY_MAX": "100000",
    "PENSTOCK_PAPER_MARKET_LOSS_MAX": "100000",
    "PENSTOCK_PAPER_TOTAL_LOSS_MAX": "100000",
}

# A crash loop's brake that sees kills some seconds apart as single ones.
PATIENT = {
    "PENSTOCK_SUPERVISOR_RESTART_WINDOW_S": "1.0",
    "PENSTOCK_SUPERVISOR_RESTART_COUNT_MAX": "100",
}


def free_port() -> int:
    """Find a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


BOUND_S = 1800
"""A family whose maker was killed ends by itself after so long."""


class Stack:
    """`penstock up` in a namespace of its own; a context manager that leaves nothing behind."""

    def __init__(self, *words: str, **settings: str) -> None:
        """`words` go to the command line, `settings` to the environment."""
        self.namespace = f"stack-{uuid.uuid4().hex[:8]}"
        self.port = str(free_port())
        own = {"PENSTOCK_HOST_NAMESPACE": self.namespace, "PENSTOCK_SIM_PORT": self.port}
        bound = ("--duration", str(BOUND_S))
        self._command = [sys.executable, "-m", "host", "up", *bound, *words]
        self._environ = os.environ | own | WIDE | settings
        self._segments: dict[str, ReaderSegment] = {}

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environ,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its children halt by themselves then
            self.process.wait()
        self._output.close()
        for segment in self._segments.values():
            segment.close()
        for role in roles(self.namespace):
            remove(role, namespace=self.namespace)

    def said(self) -> str:
        """What the processes wrote."""
        end = os.fstat(self._output.fileno()).st_size  # Their own offset is not to be moved.
        return os.pread(self._output.fileno(), end, 0).decode(errors="replace")

    # --- what is in memory ----------------------------------------------------------------------

    def segment(self, role: str) -> ReaderSegment | None:
        """The role's segment as it is now; None where there is none."""
        held = self._segments.get(role)
        if held is None or not held.is_current():
            try:
                held = ReaderSegment.attach(role, namespace=self.namespace)
            except SegmentError:
                return None
            self._segments[role] = held
        return held

    def board(self, role: str, name: str) -> list[Any]:
        """The newest record of each slot in use."""
        segment = self.segment(role)
        if segment is None:
            return []
        board = segment.board(name)
        found = (board.read(slot, 0) for slot in range(board.slot_count) if board.version(slot))
        return [record for record in found if not isinstance(record, Miss)]

    def pids(self) -> dict[str, int]:
        """Process ids by role, as the supervisor tells them."""
        return {row.name: row.pid for row in self.board("supervisor", "processes")}

    def quotes(self) -> list[Any]:
        """The wishes that stand now and are quotes."""
        now_ns = time.monotonic_ns()
        return [
            wish
            for wish in self.board("strategy.maker", "quotes")
            if wish.reason == Reason.QUOTING and wish.valid_until_ns > now_ns
        ]

    # --- waiting --------------------------------------------------------------------------------

    def wait(
        self, what: Callable[[], Any], *, timeout_s: float = PATIENCE_S, every_s: float = 0.02
    ) -> Any:
        """Look until there is something; TimeoutError with what the processes wrote."""
        limit = time.monotonic() + timeout_s
        while not (found := what()):
            if time.monotonic() > limit:
                raise TimeoutError(f"waited {timeout_s} s in vain; {self.said()[-3000:]}")
            time.sleep(every_s)
        return found

    def wait_quoting(self, *, room_s: float = 25.0) -> None:
        """Wait until it quotes with so many seconds of the window left on either side."""
        self.wait(lambda: room_s < time.time() % WINDOW_S < WINDOW_S - room_s, every_s=0.1)
        self.wait(self.quotes, every_s=0.05)


def cpu_s(pid: int) -> float:
    """Processor seconds a process has used, user and system, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MiB: all of it, and what is its own (anonymous)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if "rss" in line[:5].lower()}
    return int(found["VmRSS"]) / 1024, int(found["RssAnon"]) / 1024
