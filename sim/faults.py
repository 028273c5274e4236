"""What can be made to go wrong on a channel of the simulated venue, and when it ends.

`Faults` is the state of one channel: it is asked for every frame of market data and never for the
answers to a client's own requests, so a frozen channel still answers PING, as the venues' silent
stalls do. The clock is an argument. Injected garbage is made in `sim/garbage.py`; who may inject
what, and the words for it, are in `sim/control.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Generic, TypeVar

TargetT = TypeVar("TargetT")

HELD_COUNT_MAX = 100_000
"""Frames a channel holds back at most; beyond it the oldest are lost."""


class Verdict(Enum):
    """What becomes of a frame."""

    SEND = auto()
    TWICE = auto()
    HOLD = auto()
    LOSE = auto()


class Faults(Generic[TargetT]):
    """The faults under way on one channel; all quiet when made."""

    def __init__(self) -> None:
        self.is_active = False
        """Whether a frame has to be judged at all: looked at for each frame, so one flag."""
        self._held: list[tuple[tuple[TargetT, ...], bytes]] = []
        self._refuse_status = 0
        self._refuse_until_ns = 0
        self.clear()

    def clear(self) -> None:
        """End every fault but what is held: that comes with the next `due`."""
        self.is_frozen = False
        self.frozen_topics: frozenset[str] = frozenset()
        """What a channel may carry anything but; its own words for it, such as tokens."""
        self.is_mute = False
        self.lose_count = 0
        self.twice_count = 0
        self._hold_ns = 0
        self._flush_ns = 0
        self._hold_end_ns = 0
        self._refuse_until_ns = 0
        self._settle()

    def _settle(self) -> None:
        self.is_active = bool(
            self.is_frozen or self.lose_count or self.twice_count or self._flush_ns or self._held
        )

    def freeze(self, is_frozen: bool = True) -> None:
        """Stop sending while answers go on; or go on, with what was missed lost for good."""
        self.is_frozen = is_frozen
        self._settle()

    def freeze_topics(self, topics: Iterable[str], is_frozen: bool = True) -> None:
        """Stop sending what is about these alone, which the channel itself cuts out; or go on."""
        self.frozen_topics = (
            self.frozen_topics.union(topics) if is_frozen else self.frozen_topics.difference(topics)
        )

    def lose(self, count: int) -> None:
        """Lose the next `count` frames."""
        self.lose_count = count
        self._settle()

    def duplicate(self, count: int) -> None:
        """Send each of the next `count` frames twice."""
        self.twice_count = count
        self._settle()

    def hold(self, delay_ns: int, now_ns: int, *, lasting_ns: int = 0) -> None:
        """Hold frames for `delay_ns`, then send them in one burst; again while `lasting_ns`."""
        self._hold_ns = delay_ns
        self._flush_ns = now_ns + delay_ns
        self._hold_end_ns = now_ns + lasting_ns
        self._settle()

    def refuse(self, status: int, now_ns: int, lasting_ns: int) -> None:
        """Refuse who comes: with an HTTP status, or with a reset where it is 0."""
        self._refuse_status = status
        self._refuse_until_ns = now_ns + lasting_ns

    def refusal(self, now_ns: int) -> int | None:
        """Say how a newcomer is refused (0: reset), or None when it is welcome."""
        return self._refuse_status if now_ns < self._refuse_until_ns else None

    def judge(self, targets: Iterable[TargetT], frame: bytes) -> Verdict:
        """Decide on one frame; one that is held is kept here until `due`."""
        verdict = Verdict.SEND
        if self.is_frozen:
            verdict = Verdict.LOSE
        elif self.lose_count:
            self.lose_count -= 1
            verdict = Verdict.LOSE
        elif self._flush_ns or self._held:
            self._held.append((tuple(targets), frame))
            verdict = Verdict.HOLD
        elif self.twice_count:
            self.twice_count -= 1
            verdict = Verdict.TWICE
        self._settle()
        return verdict

    def due(self, now_ns: int) -> tuple[list[tuple[tuple[TargetT, ...], bytes]], int]:
        """Give what was held and is to be sent now, oldest first, and how much was lost."""
        if not self._held and not self._flush_ns:
            return [], 0
        lost = max(0, len(self._held) - HELD_COUNT_MAX)
        del self._held[:lost]
        if now_ns < self._flush_ns:
            return [], lost
        again = bool(self._flush_ns) and now_ns < self._hold_end_ns
        self._flush_ns = now_ns + self._hold_ns if again else 0
        out, self._held = self._held, []
        self._settle()
        return out, lost
