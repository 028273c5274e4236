"""What a polling process does when a turn of its loop found nothing: spin, yield or park.

The frame calls `arm` before it polls and `idle` after. That order is what makes parking safe: the
bells are loaded first, then the boards are looked at, and the wait ends at once when a bell moved
in between (shm_layout.md, bells). Parking uses `cache.bells`; where that is not there, or there is
no bell to wait on, it sleeps in short steps.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from typing import Protocol

from cache.segment import ReaderSegment
from host.clock import NS_PER_MS, NS_PER_S

SLEEP_STEP_NS = 1 * NS_PER_MS
"""Longest sleep where nothing can wake the process up."""

PARK_MAX_NS = 100 * NS_PER_MS
"""Longest wait on bells: whatever happens, the process looks again."""


class Waiter(Protocol):
    """Waits on the bells of some segments; what `cache.bells` offers."""

    def load(self) -> None:
        """Remember what the bells say now."""

    def wait(self, timeout_ns: int) -> bool:
        """Sleep until a bell says something else than at `load`; at most `timeout_ns`."""


class IdleStrategy:
    """One way to wait: `arm()`, poll, `idle(work_count)`. `bells` may change while it runs."""

    def __init__(self, bells: list[ReaderSegment]) -> None:
        self.bells = bells

    def arm(self) -> None:
        """Prepare to wait; called before the inputs are looked at."""

    def idle(self, work_count: int, until_ns: int = 0) -> None:
        """Wait if `work_count` is 0, and not beyond `until_ns` (CLOCK_MONOTONIC; 0: no limit)."""
        raise NotImplementedError


class Spin(IdleStrategy):
    """Never lets go of the core."""

    def idle(self, work_count: int, until_ns: int = 0) -> None:
        pass


class Yield(IdleStrategy):
    """Lets others run, and comes straight back."""

    def idle(self, work_count: int, until_ns: int = 0) -> None:
        if not work_count:
            time.sleep(0)


class Park(IdleStrategy):
    """Sleeps until a bell rings or something is due."""

    def __init__(self, bells: list[ReaderSegment]) -> None:
        super().__init__(bells)
        self._known: list[ReaderSegment] = []
        self._waiter: Waiter | None = None
        self._make = _find_waiter()

    def arm(self) -> None:
        if self._known != self.bells:
            self._known = list(self.bells)
            self._waiter = self._make(self._known) if self._make and self._known else None
        if self._waiter is not None:
            self._waiter.load()

    def idle(self, work_count: int, until_ns: int = 0) -> None:
        if work_count:
            return
        limit_ns = SLEEP_STEP_NS if self._waiter is None else PARK_MAX_NS
        if until_ns:
            limit_ns = min(limit_ns, until_ns - time.monotonic_ns())
        if limit_ns <= 0:
            return
        if self._waiter is None:
            time.sleep(limit_ns / NS_PER_S)
        else:
            self._waiter.wait(limit_ns)


async def until_next(interval_ms: int) -> None:
    """On an event loop: sleep until the next whole multiple of the interval on the loop's clock.

    All timers of a process that wait like this fire in one turn of its loop, and wake it once. (The
    loop's clock stands still within a turn, and counts whole milliseconds.)
    """
    now_ms = round(asyncio.get_running_loop().time() * 1e3)
    await asyncio.sleep((interval_ms - now_ms % interval_ms) / 1e3)


def _find_waiter() -> Callable[[list[ReaderSegment]], Waiter] | None:
    """Find the waiter of `cache.bells`; None where this machine has none."""
    try:
        module = importlib.import_module("cache.bells")
    except ImportError:
        return None
    make: Callable[[list[ReaderSegment]], Waiter] | None = getattr(module, "make_waiter", None)
    return make


def make_idle(kind: str, bells: list[ReaderSegment]) -> IdleStrategy:
    """Make the strategy that [host] idle names."""
    return {"spin": Spin, "yield": Yield, "park": Park}[kind](bells)
