"""What the suites of the processes share: waiting, and looking whether somebody lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def wait_for(what: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until something is true; how long it may take is no measure of speed."""
    limit = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs or could: a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
