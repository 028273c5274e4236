"""The clocks of a process, read here and passed on as `now_ns`.

CLOCK_MONOTONIC orders everything on this host and stands still while the host sleeps; the wall
clock is only for what a venue says. Pure code reads neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

SUSPEND_NS = 100 * NS_PER_MS
"""BOOTTIME gaining this much on MONOTONIC between two looks means that the host slept."""


def monotonic_ns() -> int:
    """Read CLOCK_MONOTONIC: equal in all processes and containers of a host."""
    return time.monotonic_ns()


_behind_ns = 0
_NEVER_NS = 2**63 - 1


def set_behind_ns(behind_ns: int) -> None:
    """Put the wall clock of this process back, to the time of a replayed venue."""
    global _behind_ns
    _behind_ns = behind_ns


def wall_ns() -> int:
    """Read the wall clock, in nanoseconds since 1970, as it is at the venue."""
    return time.time_ns() - _behind_ns


def latest_ns() -> int:
    """Tell what no event of the venue can be later than: now; a replay may outrun any clock."""
    return _NEVER_NS if _behind_ns else wall_ns()


def slept_ns() -> int:
    """Read how long this host has been suspended since it booted (BOOTTIME - MONOTONIC)."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return boot - (before + after) // 2


class SuspendWatch:
    """Notices that the host slept: everything read before is old, whatever its age says."""

    def __init__(self, read: Callable[[], int] = slept_ns) -> None:
        self._read = read
        self._last_ns = read()

    def poll(self) -> int:
        """Give the nanoseconds slept since the last poll; 0 when the host did not sleep."""
        now_ns = self._read()
        gap_ns = now_ns - self._last_ns
        self._last_ns = now_ns
        return gap_ns if gap_ns >= SUSPEND_NS else 0
