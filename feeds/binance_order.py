"""Orders events by the ids of the venue, and finds out when the id it holds cannot be right; pure.

An id that is not above the last one is late or a duplicate. One that is far above it is no id of
this venue: it is refused, or one damaged frame would make all that follow look late. The bound
grows with the time since the last id that was taken, so a silence or a reconnect of any length
needs no rule of its own.

The invariant: no id is believed for good. Where nothing but refused ids comes for a while, and they
grow among themselves, the order is stuck (`is_stuck`): its owner stops trusting, connects anew and
calls `allow_reset`, after which ids that go on disagreeing are taken for the venue's.
"""

from __future__ import annotations

from typing import Final

from cache.layout import E9

RESET_NS: Final = 2 * E9
"""Ids that disagree with the last one this long on a fresh connection have begun anew."""

STEP_MAX: Final = 100_000
STEP_NS: Final = 10_000
"""The next id is at most `STEP_MAX` above the last, and one more for each `STEP_NS` since.

Recorded: steps up to 421 between tickers, 703 ids a second; each bound is over 100 times that."""

STUCK_NS: Final = 300_000_000
STUCK_COUNT: Final = 3
"""So many refused ids, each above the one before, over so long and none taken: stuck.

While one connection takes over from another, the later one repeats what the first has brought; that
it does so alone for as long is rare, and the doubt ends with the first id that is taken."""


class Order:
    """Takes ids that grow, of however many connections; all others are refused."""

    __slots__ = (
        "_behind_ns",
        "_may_reset",
        "_refused",
        "_refused_count",
        "_refused_for_ns",
        "_refused_ns",
        "_taken_ns",
        "last",
    )

    def __init__(self) -> None:
        self.last = 0
        self._taken_ns = 0
        self._behind_ns = 0
        self._may_reset = False
        self._refused = self._refused_count = self._refused_ns = self._refused_for_ns = 0

    def allow_reset(self) -> None:
        """A fresh connection is made, or on its way: the venue may have been set back."""
        self._may_reset = True
        self._behind_ns = 0

    def accept(self, number: int, recv_ns: int) -> bool:
        """Whether `number` is new."""
        step = number - self.last
        if step > 0 and (step <= STEP_MAX or not self.is_far(number, recv_ns)):
            self.last = number
            self._taken_ns = recv_ns
            if self._may_reset or self._refused_count:
                self._settle()
            return True
        if step and number > self._refused:
            self._refused_count += 1
            self._refused_ns = self._refused_ns or recv_ns
            self._refused_for_ns = recv_ns - self._refused_ns
        self._refused = number
        return False

    def is_far(self, number: int, recv_ns: int) -> bool:
        """Whether `number` is further above the last one than the venue could have counted."""
        bound = STEP_MAX + (recv_ns - self._taken_ns) // STEP_NS
        return self.last > 0 and number - self.last > bound

    def begins_anew(self, number: int, recv_ns: int) -> bool:
        """Whether a refused `number` shows that the venue's ids were reset; then it is taken."""
        if not self._may_reset or number == self.last:
            return False
        if not self._behind_ns:
            self._behind_ns = recv_ns
        if recv_ns - self._behind_ns < RESET_NS:
            return False
        self.last = number
        self._taken_ns = recv_ns
        self._settle()
        return True

    @property
    def is_stuck(self) -> bool:
        """Whether the id held keeps everything out: it, or all that comes, is wrong."""
        return self._refused_count >= STUCK_COUNT and self._refused_for_ns >= STUCK_NS

    @property
    def needs_reset(self) -> bool:
        """Whether it is stuck and nobody has allowed for a reset yet."""
        return self.is_stuck and not self._may_reset

    def _settle(self) -> None:
        """Nothing is open any more: an id was taken."""
        self._may_reset = False
        self._refused = self._refused_count = self._refused_ns = self._refused_for_ns = 0
