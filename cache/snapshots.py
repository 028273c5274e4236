"""Snapshots: what the caches hand out, frozen and wholly decoded.

A snapshot is one published record (two for Binance: the top and what was derived of it) as a value
of its own: nothing in it changes, it needs no memory to be mapped, and any thread may keep it.
Prices and sizes are integers in units of 1e-9, times are nanoseconds. None means unknown, or that
there is nothing on that side; it is never 0, and never a default.

Pure. Who reads them from memory is `cache/pm_cache.py` and `cache/bn_cache.py`; how far they may be
trusted is for the gate to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from cache.layout import E9
from cache.refusals import shown

NS_PER_MS = 1_000_000
LATE_MS = 1_000
"""A caller may have read its clock so long before it reads a snapshot."""


class MarketSnapshotMeta(Struct, frozen=True, gc=False):
    """When, the how-manieth, and from where."""

    monotonic_ts_ns: int
    """When the newest change in it was received, CLOCK_MONOTONIC."""
    wall_ts_ns: int | None
    """Time of that change at the venue or service, by its own wall clock; None unknown."""
    feed_seq: int
    """The number of the publication: grows by one each time, across restarts of the writer too."""
    source: Literal["PM", "BN"]

    def age_ms(self, now_ms: int) -> int:
        """The age at `now_ms` of CLOCK_MONOTONIC; the wall clock has no part in it."""
        return now_ms - self.monotonic_ts_ns // NS_PER_MS


class PMBookTop(Struct, frozen=True, gc=False):
    """Best prices of one token with their sizes; None where a side is empty."""

    bid_px_e9: int | None
    bid_qty_e9: int | None
    ask_px_e9: int | None
    ask_qty_e9: int | None

    @property
    def mid_px_e9(self) -> int | None:
        """The mid price; None unless both sides are there."""
        if self.bid_px_e9 is None or self.ask_px_e9 is None:
            return None
        return (self.bid_px_e9 + self.ask_px_e9) // 2


class PMCombined(Struct, frozen=True, gc=False):
    """Both books as one, in terms of YES: who buys NO at p sells YES at 1 - p.

    The venue shows every order in both books, so they mirror each other, and what they disagree by
    is 0. A size is never summed: where both books have the price it is the smaller one.
    """

    bid_px_e9: int | None
    bid_qty_e9: int | None
    ask_px_e9: int | None
    ask_qty_e9: int | None
    bid_apart_e9: int | None
    """YES bid less (1 - NO ask); None where either is missing."""
    ask_apart_e9: int | None
    """YES ask less (1 - NO bid); None where either is missing."""

    @property
    def mid_px_e9(self) -> int | None:
        """The mid price; None unless both sides are there."""
        if self.bid_px_e9 is None or self.ask_px_e9 is None:
            return None
        return (self.bid_px_e9 + self.ask_px_e9) // 2

    @property
    def disagrees(self) -> tuple[str, ...]:
        """The sides on which the books are not mirrors of each other: of "bid" and "ask"."""
        sides = (("bid", self.bid_apart_e9), ("ask", self.ask_apart_e9))
        return tuple(side for side, apart_e9 in sides if apart_e9)


class PMBookSnapshot(Struct, frozen=True, gc=False):
    """Both tops of one Polymarket market, of one moment."""

    meta: MarketSnapshotMeta
    market_id: str
    yes_token_id: str
    no_token_id: str
    yes_top: PMBookTop | None
    """None: its book is not known yet. (An empty book is a top without prices.)"""
    no_top: PMBookTop | None
    flags: int
    """Bits of `cache.layout.Flag`; WARMUP too for what a writer's predecessor published."""
    yes_flags: int = 0
    no_flags: int = 0
    last_px_e9: int | None = None
    tick_e9: int | None = None

    @property
    def combined(self) -> PMCombined:
        """Both books as one, in terms of YES."""
        yes, no = self.yes_top or _NOTHING, self.no_top or _NOTHING
        bid, bid_qty, bid_apart = _best(
            (yes.bid_px_e9, yes.bid_qty_e9), (no.ask_px_e9, no.ask_qty_e9), prefer=max
        )
        ask, ask_qty, ask_apart = _best(
            (yes.ask_px_e9, yes.ask_qty_e9), (no.bid_px_e9, no.bid_qty_e9), prefer=min
        )
        return PMCombined(bid, bid_qty, ask, ask_qty, bid_apart, ask_apart)


_NOTHING = PMBookTop(None, None, None, None)
_Level = tuple[int | None, int | None]
_Side = tuple[int | None, int | None, int | None]


def _best(own: _Level, other: _Level, *, prefer: Callable[[int, int], int]) -> _Side:
    """The better of a YES level and of the NO level that mirrors it; and how far they are apart."""
    (own_px, own_qty), (other_px, other_qty) = own, other
    if other_px is None:
        return own_px, own_qty, None
    mirrored_px = E9 - other_px
    if own_px is None:
        return mirrored_px, other_qty, None
    apart_e9 = own_px - mirrored_px
    if apart_e9:
        best_px = prefer(own_px, mirrored_px)
        return best_px, own_qty if best_px == own_px else other_qty, apart_e9
    known = [qty for qty in (own_qty, other_qty) if qty is not None]
    return own_px, min(known, default=None), 0


class BNSnapshot(Struct, frozen=True, gc=False):
    """Top of book of one Binance symbol, and what was derived from it."""

    meta: MarketSnapshotMeta
    symbol: str
    best_bid_px_e9: int | None
    best_ask_px_e9: int | None
    best_bid_qty_e9: int | None = None
    best_ask_qty_e9: int | None = None
    return_1s_e9: int | None = None
    """Relative return over one second."""
    return_1m_e9: int | None = None
    """Relative return over one minute: another number, never shown for the one above."""
    ewma_vol_1s_e9: int | None = None
    """Volatility by our own clock samples, in price per square root of a second."""
    shock_z_e9: int | None = None
    """The last second's return over its standard deviation."""
    sample_count: int = 0
    """Clock samples behind the volatility."""
    flags: int = 0
    """Bits of `cache.layout.Flag`; WARMUP too for what a writer's predecessor published."""

    @property
    def mid_px_e9(self) -> int | None:
        """The mid price; None unless both sides are there."""
        if self.best_bid_px_e9 is None or self.best_ask_px_e9 is None:
            return None
        return (self.best_bid_px_e9 + self.best_ask_px_e9) // 2


def age_ms(meta: MarketSnapshotMeta, now_ms: int, clock: Callable[[], int]) -> int:
    """The age of a snapshot; `clock` is asked where it seems to come from the future.

    One that came within `LATE_MS` after the caller read its clock is new. More than that is no
    delay but another clock, or another unit: the age stays negative.
    """
    age = meta.age_ms(now_ms)
    is_late = -LATE_MS <= age < 0 and meta.age_ms(clock() // NS_PER_MS) >= 0
    return 0 if is_late else age


Held = TypeVar("Held", PMBookSnapshot, BNSnapshot)


class Aged(Generic[Held]):
    """How old a cache's latest snapshot is: what `PMCache` and `BNCache` have in common."""

    stale_ms: int
    """What `is_stale` takes where it is not told."""
    get_latest: Callable[[], tuple[Held | None, int]]
    _clock: Callable[[], int]

    def get_age_ms(self, now_ms: int) -> int | None:
        """How old the latest snapshot is at `now_ms` (CLOCK_MONOTONIC); None where there is none.

        What came just after the caller read its clock is new, 0; negative is what the clock has
        not reached even now, and what came more than a second after `now_ms`.
        """
        snapshot, _ = self.get_latest()
        try:
            return age_ms(snapshot.meta, now_ms, self._clock) if snapshot is not None else None
        except TypeError:
            raise _no_time("now_ms", now_ms) from None

    def is_stale(self, now_ms: int, threshold_ms: int | None = None) -> bool:
        """Whether the latest snapshot is older than that; unknown and negative ages are stale."""
        age = self.get_age_ms(now_ms)
        bound = self.stale_ms if threshold_ms is None else threshold_ms
        try:
            return age is None or not 0 <= age <= bound
        except TypeError:
            raise _no_time("threshold_ms", threshold_ms) from None


def _no_time(name: str, value: object) -> TypeError:
    return TypeError(f"{name} is {shown(value)}: it must be a number of milliseconds")
