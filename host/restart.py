"""When a process that ended may be started again. Pure: `now_ns` is an argument.

The first restart is immediate, each further one within the window waits twice as long as the one
before, and a process that used its restarts up is left FAILED: a crash loop helps nobody and
buries its own cause.
"""

from __future__ import annotations

from collections import deque

from host.clock import NS_PER_MS, NS_PER_S
from host.settings import Supervisor


class RestartPolicy:
    """Counts the restarts of one process."""

    def __init__(self, settings: Supervisor) -> None:
        self._window_ns = int(settings.restart_window_s * NS_PER_S)
        self._first_ns = settings.restart_delay_ms * NS_PER_MS
        self._longest_ns = settings.restart_delay_ms_max * NS_PER_MS
        self._count_max = settings.restart_count_max
        self._granted: deque[int] = deque()

    def next_start_ns(self, now_ns: int) -> int | None:
        """Grant a restart and give its time, or None: too many, leave the process FAILED."""
        while self._granted and now_ns - self._granted[0] >= self._window_ns:
            self._granted.popleft()
        count = len(self._granted)
        if count >= self._count_max:
            return None
        self._granted.append(now_ns)
        if count == 0:
            return now_ns
        return now_ns + min(self._first_ns << (count - 1), self._longest_ns)
