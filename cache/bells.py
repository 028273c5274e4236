"""Bells: waiting for any of one's inputs without spinning (shm_layout.md, bells).

A reader that found nothing loads the bells of all its inputs, looks at their versions, and only
then waits on those bell values: what was published in between ends the wait at once. It polls again
after every return, whatever `wait` says, and always waits with a timeout.

With the C core the kernel wakes it: by `futex_waitv` on all bells, or, where the kernel or the
container does not allow that, by `futex` on the busiest bell, the others being looked at once a
millisecond. Without the core it sleeps in short steps. Ringing is `WriterSegment.ring`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from cache.core import core
from cache.segment import ReaderSegment

STEP_NS = 1_000_000
"""Longest sleep between two looks at the bells, where the kernel cannot wake us."""

Bell = tuple[memoryview, int]
"""Memory of a segment, and the byte offset of the bell in it."""


class Waiter(Protocol):
    """Waits on the bells of all inputs of one reader."""

    @property
    def method(self) -> str:
        """How it waits: `futex_waitv`, `futex` or `sleep`."""

    def load(self) -> None:
        """Remember what the bells show; then look at the versions."""

    def wait(self, timeout_ns: int, /) -> bool:
        """Wait up to `timeout_ns`; whether a bell rang since `load`."""


class SleepingBells:
    """The waiter for where there is no C core."""

    method = "sleep"

    def __init__(self, bells: Sequence[Bell]) -> None:
        self._words = [(memory.cast("I"), offset >> 2) for memory, offset in bells]
        self._seen: list[int] = []
        self.load()

    def load(self) -> None:
        """Remember what the bells show; then look at the versions."""
        self._seen = [words[at] for words, at in self._words]

    def wait(self, timeout_ns: int, /) -> bool:
        """Sleep until a bell rings or `timeout_ns` is over, a millisecond at a time."""
        until_ns = time.monotonic_ns() + timeout_ns
        while not self._has_rung():
            left_ns = until_ns - time.monotonic_ns()
            if left_ns <= 0:
                return False
            time.sleep(min(STEP_NS, left_ns) / 1e9)
        return True

    def _has_rung(self) -> bool:
        pairs = zip(self._words, self._seen, strict=True)
        return any(words[at] != seen for (words, at), seen in pairs)


def make_bells(bells: Sequence[Bell]) -> Waiter:
    """The best waiter this machine has, on bells given as memory and offset."""
    if core is None:
        return SleepingBells(bells)
    made: Waiter = core.BellSet(bells)
    return made


def make_waiter(segments: Iterable[ReaderSegment]) -> Waiter:
    """The best waiter this machine has, on the bells of some segments."""
    return make_bells([segment.bell_word for segment in segments])


def method() -> str:
    """How processes on this machine wait: `futex_waitv`, `futex` or `sleep`."""
    return make_bells(()).method
