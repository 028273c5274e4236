"""One book kept from a venue's snapshots and sequenced deltas. Pure.

A venue numbers its updates; a delta carries the first and the last number it covers, and every
level it names with its new total (0: gone). A book is built as venues prescribe: deltas that come
before the snapshot wait; the snapshot drops those it contains, and the first one left must follow
it without a gap; from then on each delta must follow the one before.

Invariants: a ladder that `is_ready` is what the venue had at `sequence`, without a hole from the
best level down as far as it reaches, and never crossed. On any anomaly (a gap, a crossed book, a
number that cannot be, no level left of those known) it is not ready, and empty, until the next
snapshot. A snapshot replaces everything at once or nothing. It reads no clock, asks nobody and
publishes nothing (`cache/book_store.py` does).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from venue.decimals import E9_MAX

LEVELS_MAX = 1_000
"""Levels a side that are kept; a snapshot of so many may have been cut off there."""

WAITING_MAX = 1_024
"""Deltas that wait for a snapshot at most; beyond it the oldest go, and it must be newer."""

Level = tuple[int, int]
"""Price and size, both in 1e-9."""


class Outcome(Enum):
    """What became of a snapshot or a delta."""

    APPLIED = auto()
    OUTDATED = auto()
    """Older than what is held, or held already: ignored."""
    WAITING = auto()
    """A delta that waits for the snapshot."""
    TOO_OLD = auto()
    """A snapshot from before the first delta that waits: ask for another."""
    GAP = auto()
    """Updates are missing before this delta: not ready."""
    CROSSED = auto()
    """The book would cross or lock: not ready."""
    INVALID = auto()
    """A number that cannot be: not ready."""
    EXHAUSTED = auto()
    """Every level that was known of a side is gone, and there may be more: not ready."""


ANOMALIES = frozenset({Outcome.GAP, Outcome.CROSSED, Outcome.INVALID, Outcome.EXHAUSTED})


class Whole(NamedTuple):
    """A snapshot: the book at one update number; levels in any order."""

    sequence: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class Delta(NamedTuple):
    """The levels that changed in the updates `first` to `last`, as totals."""

    first: int
    last: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class _Side:
    """One side, best first: `keys` are prices that grow away from the best (bids negated).

    `horizon` is the last key down to which everything is known; None where all is known.
    """

    __slots__ = ("horizon", "keys", "levels_max", "qty", "sign")

    def __init__(self, sign: int, levels_max: int) -> None:
        self.sign = sign
        self.levels_max = levels_max
        self.clear()

    def clear(self) -> None:
        self.keys: list[int] = []
        self.qty: dict[int, int] = {}
        self.horizon: int | None = None

    def load(self, levels: Iterable[Level]) -> None:
        sign, count_max = self.sign, self.levels_max
        found = sorted((sign * px, qty) for px, qty in levels)
        self.horizon = found[count_max - 1][0] if len(found) >= count_max else None
        self.qty = dict(found[:count_max])
        self.keys = list(self.qty)

    def put(self, px: int, qty: int) -> None:
        key = self.sign * px
        if self.horizon is not None and key > self.horizon:
            return  # Beyond what is known: of no use without its neighbours.
        if not qty:
            if self.qty.pop(key, 0):
                del self.keys[bisect_left(self.keys, key)]
            return
        if key not in self.qty:
            insort(self.keys, key)
        self.qty[key] = qty
        if len(self.keys) > self.levels_max:
            del self.qty[self.keys.pop()]
            self.horizon = self.keys[-1]

    def best(self) -> int | None:
        return self.sign * self.keys[0] if self.keys else None

    def first(self, count: int) -> list[Level]:
        return [(self.sign * key, self.qty[key]) for key in self.keys[:count]]


class Ladder:
    """The book of one instrument."""

    __slots__ = (
        "_asks", "_bids", "_waiting", "is_ready", "last_update_ns", "sequence", "update_count",
        "waiting_max",
    )  # fmt: skip

    def __init__(self, levels_max: int = LEVELS_MAX, waiting_max: int = WAITING_MAX) -> None:
        if levels_max < 1 or waiting_max < 1:
            raise ValueError("a ladder keeps at least one level a side and one waiting delta")
        self.is_ready = False
        self.sequence = 0
        """The newest update that is in the book; 0 while it is not ready."""
        self.update_count = 0
        """Snapshots and deltas applied, ever."""
        self.last_update_ns = 0
        """When the last of them was received; 0 before any."""
        self.waiting_max = waiting_max
        self._bids = _Side(-1, levels_max)
        self._asks = _Side(1, levels_max)
        self._waiting: deque[Delta] = deque()

    @property
    def best_bid(self) -> int | None:
        """The best bid; None where there is none or it is not known."""
        return self._bids.best()

    @property
    def best_ask(self) -> int | None:
        """The best ask; None where there is none or it is not known."""
        return self._asks.best()

    @property
    def waiting_count(self) -> int:
        """How many deltas wait for a snapshot."""
        return len(self._waiting)

    @property
    def last_waiting(self) -> int:
        """The newest update that waits for a snapshot; 0 where none does."""
        return self._waiting[-1].last if self._waiting else 0

    def bids(self, count: int) -> list[Level]:
        """The best `count` bids, highest first."""
        return self._bids.first(count)

    def asks(self, count: int) -> list[Level]:
        """The best `count` asks, lowest first."""
        return self._asks.first(count)

    def is_thin(self, count: int) -> bool:
        """Whether fewer than `count` levels of a side are known, and there may be more."""
        sides = (self._bids, self._asks)
        return any(side.horizon is not None and len(side.keys) < count for side in sides)

    def reset(self) -> None:
        """Forget everything: not ready until the next snapshot."""
        self._empty()
        self._waiting.clear()

    def apply_snapshot(self, whole: Whole, recv_ns: int) -> Outcome:
        """Replace the book, and apply what waited and follows it.

        A snapshot older than a book that is ready changes nothing; one that is no book, or that
        crosses, leaves the ladder not ready.
        """
        if self.is_ready and whole.sequence < self.sequence:
            return Outcome.OUTDATED
        fault = _fault_of_whole(whole)
        if fault is not None:
            self._empty()
            return fault
        waiting = self._waiting
        while waiting and waiting[0].last <= whole.sequence:
            waiting.popleft()
        if waiting and waiting[0].first > whole.sequence + 1:
            return Outcome.TOO_OLD
        self._bids.load(whole.bids)
        self._asks.load(whole.asks)
        self.is_ready = True
        self._note(whole.sequence, recv_ns)
        while waiting:
            outcome = self.apply_delta(waiting.popleft(), recv_ns)
            if outcome in ANOMALIES:
                return outcome
        return Outcome.APPLIED

    def apply_delta(self, delta: Delta, recv_ns: int) -> Outcome:
        """Apply a delta that follows the book; keep it for the snapshot while there is no book."""
        if not _is_delta(delta):
            self.reset()
            return Outcome.INVALID
        if not self.is_ready:
            return self._wait(delta)
        if delta.last <= self.sequence:
            return Outcome.OUTDATED
        if delta.first > self.sequence + 1:
            self.reset()
            self._waiting.append(delta)
            return Outcome.GAP
        put_bid, put_ask = self._bids.put, self._asks.put
        for px, qty in delta.bids:
            put_bid(px, qty)
        for px, qty in delta.asks:
            put_ask(px, qty)
        if _is_crossed(self.best_bid, self.best_ask):
            self._empty()  # What waits behind it is still in order.
            return Outcome.CROSSED
        if self.is_thin(1):
            self._empty()
            return Outcome.EXHAUSTED
        self._note(delta.last, recv_ns)
        return Outcome.APPLIED

    def _wait(self, delta: Delta) -> Outcome:
        waiting = self._waiting
        if waiting and delta.last <= waiting[-1].last:
            return Outcome.OUTDATED
        is_gap = bool(waiting) and delta.first > waiting[-1].last + 1
        if is_gap:
            waiting.clear()  # No snapshot could be continued across the hole.
        waiting.append(delta)
        if len(waiting) > self.waiting_max:
            waiting.popleft()
        return Outcome.GAP if is_gap else Outcome.WAITING

    def _empty(self) -> None:
        self._bids.clear()
        self._asks.clear()
        self.is_ready = False
        self.sequence = 0

    def _note(self, sequence: int, recv_ns: int) -> None:
        self.sequence = sequence
        self.last_update_ns = recv_ns
        self.update_count += 1


def _is_crossed(bid: int | None, ask: int | None) -> bool:
    return bid is not None and ask is not None and bid >= ask


def _fault_of_whole(whole: Whole) -> Outcome | None:
    """Say what is wrong with a snapshot; None where nothing is."""
    if whole.sequence < 0:
        return Outcome.INVALID
    for side in (whole.bids, whole.asks):
        if not all(0 < px <= E9_MAX and 0 < qty <= E9_MAX for px, qty in side):
            return Outcome.INVALID
        if len({px for px, _ in side}) != len(side):
            return Outcome.INVALID
    bid = max((px for px, _ in whole.bids), default=None)
    ask = min((px for px, _ in whole.asks), default=None)
    return Outcome.CROSSED if _is_crossed(bid, ask) else None


def _is_delta(delta: Delta) -> bool:
    if not 0 < delta.first <= delta.last:
        return False
    sides = (delta.bids, delta.asks)
    return all(0 < px <= E9_MAX and 0 <= qty <= E9_MAX for side in sides for px, qty in side)
