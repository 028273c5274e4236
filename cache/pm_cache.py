"""The Polymarket cache: both tops of one market as one snapshot, and its rolling mids.

`PMCache` reads what a feed publishes, by the market's condition id, without a lock and without
waiting. `PMCacheWriter` is for a program with a feed of its own: it publishes on the same boards,
so that everything that reads the shipped feed reads it too.

`get_age_ms` and `is_stale` speak of a snapshot's age, which is that of the last change: a quiet
market is stale by them and may be sound all the same. They never gate quoting; `cache/gate.py`
does, by the age of the evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from cache.board import Snapshot, picker
from cache.counters import Counter
from cache.errors import SegmentMissing, UpdateRefused
from cache.instruments import Directory, Pair, generation_for, listing
from cache.layout import E9, INSTRUMENT, PAIR_BBO, BoardSpec, Flag, tag_of
from cache.refusals import check_text, check_whole_number, shown
from cache.segment import ReaderSegment, WriterSegment
from cache.snapshot_store import RollingMids, SnapshotStore, SnapshotStoreWriter
from cache.snapshots import (
    NS_PER_MS,
    Aged,
    MarketSnapshotMeta,
    PMBookSnapshot,
    PMBookTop,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache.snapshot_store import Run

ROLE: Final = "feed.polymarket.0"
STALE_MS: Final = 500
MIDS_MAX: Final = 126
"""How many mids the shipped feed's board shows: its K - 2."""

_WARMUP = int(Flag.WARMUP)
_NO_SIDES = int(Flag.NO_BID | Flag.NO_ASK)
_CROSSED = int(Flag.CROSSED)
_DISTRUST = int(Flag.WARMUP | Flag.SUSPECT | Flag.CROSSED | Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK)
_pick = picker(
    PAIR_BBO,
    "recv_ns", "venue_ts_ns", "flags",
    "yes_bid_px_e9", "yes_bid_qty_e9", "yes_ask_px_e9", "yes_ask_qty_e9",
    "no_bid_px_e9", "no_bid_qty_e9", "no_ask_px_e9", "no_ask_qty_e9",
    "last_px_e9", "tick_e9", "yes_flags", "no_flags",
)  # fmt: skip


def _part_top(bid: int, bid_qty: int, ask: int, ask_qty: int, *, flags: int) -> PMBookTop | None:
    """A top with an empty side, from the fields of a record; None where no book was known."""
    if flags & _WARMUP and not bid and not ask:
        return None
    return PMBookTop(bid or None, bid_qty if bid else None, ask or None, ask_qty if ask else None)


def _decoder(market_id: str, yes_id: str, no_id: str) -> Callable[[Snapshot, bool], PMBookSnapshot]:
    def decode(record: Snapshot, is_old: bool) -> PMBookSnapshot:
        (
            recv_ns, venue_ts_ns, flags, yes_bid, yes_bid_qty, yes_ask, yes_ask_qty,
            no_bid, no_bid_qty, no_ask, no_ask_qty, last_px, tick, yes_flags, no_flags,
        ) = _pick(record)  # fmt: skip
        # Written out for both tops: this is the cost of a read.
        if yes_bid and yes_ask:
            yes: PMBookTop | None = PMBookTop(yes_bid, yes_bid_qty, yes_ask, yes_ask_qty)
        else:
            yes = _part_top(yes_bid, yes_bid_qty, yes_ask, yes_ask_qty, flags=yes_flags)
        if no_bid and no_ask:
            no: PMBookTop | None = PMBookTop(no_bid, no_bid_qty, no_ask, no_ask_qty)
        else:
            no = _part_top(no_bid, no_bid_qty, no_ask, no_ask_qty, flags=no_flags)
        return PMBookSnapshot(
            MarketSnapshotMeta(recv_ns, venue_ts_ns or None, record.version, "PM"),
            market_id, yes_id, no_id, yes, no, flags | _WARMUP if is_old else flags,
            yes_flags, no_flags, last_px or None, tick or None,
        )  # fmt: skip

    return decode


class PMCache(Aged[PMBookSnapshot]):
    """Reads one market of one feed. Belongs to one thread; make a new one after a re-attach."""

    stale_ms = STALE_MS

    def __init__(
        self, segment: ReaderSegment, pair: Pair, *, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        """`pair` is the market as a `Directory` of the segment lists it."""
        self.segment = segment
        self._clock = clock
        mids = segment.board("mids") if "mids" in segment.places() else None
        self._mids = RollingMids(mids, pair.pair_slot, pair.tag, take=_take_mids)
        self._store = SnapshotStore(
            segment.board("pair_bbo"),
            pair.pair_slot,
            pair.tag,
            decode=_decoder(pair.yes.market_id, pair.yes.id, pair.no.id),
        )
        self.get_latest = self._store.read_latest
        """The newest whole snapshot, or None, and its number."""
        self.get_seq = self._store.get_seq
        """The number of the newest publication of the market's slot: one load."""

    @classmethod
    def attach(cls, market_id: str, *, role: str = ROLE, namespace: str = "penstock") -> PMCache:
        """Find a market by its condition id. Raises SegmentMissing while nobody lists it."""
        if not isinstance(market_id, str):
            raise TypeError(
                f"market_id is {shown(market_id)}: it must be the condition id, as text"
            )
        segment = ReaderSegment.attach(role, namespace=namespace)
        directory = Directory(segment)
        directory.refresh()
        pair = directory.pairs.get(tag_of("polymarket", market_id))
        if pair is None:
            raise SegmentMissing(
                f"{segment.path} lists no market {market_id:.80} (of {len(directory.pairs)}): "
                "name one by its condition id, or try again later."
            )
        return cls(segment, pair)

    def mids(self, count: int = MIDS_MAX) -> Run:
        """The last `count` mids of YES, oldest first: times (CLOCK_MONOTONIC ns), mids (1e-9).

        Sampled by a timer, once a second by the shipped feed; moments without a whole and trusted
        top are left out. Memory is copied once, and the arrays cannot be written to.
        """
        return self._mids.last(count)


def _take_mids(found: NDArray[np.void]) -> Run:
    is_whole = found["yes_flags"] & _DISTRUST == 0
    both = found["yes_bid_px_e9"] + found["yes_ask_px_e9"]
    return found["publish_ns"][is_whole], both[is_whole] // 2


# --- writing ------------------------------------------------------------------------------------

Bbo = tuple[int | None, int | None, int | None, int | None]
"""Bid, its size, ask, its size, in 1e-9; None, None for a side that is empty."""


def pm_boards(market_slots: int = 1) -> tuple[BoardSpec, ...]:
    """The boards that a `PMCacheWriter` needs. Raises UpdateRefused."""
    check_whole_number("market_slots", market_slots, least=1)
    return (
        BoardSpec("instruments", INSTRUMENT, 2 * market_slots, 4),
        BoardSpec("pair_bbo", PAIR_BBO, market_slots, 8),
        BoardSpec("mids", PAIR_BBO, market_slots, 128),
    )


class PMCacheWriter:
    """Publishes the tops of one market, in one slot of a segment; belongs to its thread."""

    def __init__(
        self,
        segment: WriterSegment,
        slot: int = 0,
        *,
        mids_interval_ms: int = 1_000,
        clock: Callable[[], int] = monotonic_ns,
        wall: Callable[[], int] = time_ns,
    ) -> None:
        """`slot` is the market's; a mid is sampled every `mids_interval_ms`, as updates come.

        Raises UpdateRefused for a slot that is not there, or an interval that is none.
        """
        if not isinstance(segment, WriterSegment):
            raise UpdateRefused(f"segment is {shown(segment)}: it must be a WriterSegment")
        boards = (segment.board(name) for name in ("pair_bbo", "mids", "instruments"))
        tops, mids, instruments = boards
        count = min(tops.slot_count, mids.slot_count, instruments.slot_count // 2)
        check_whole_number("slot", slot, most=count - 1)
        if type(mids_interval_ms) is not int or mids_interval_ms < 0:
            said = shown(mids_interval_ms)
            raise UpdateRefused(f"mids_interval_ms is {said}: it must be an int, 0 or more")
        self._segment = segment
        self._slot = slot
        self._mids_ns = mids_interval_ms * NS_PER_MS
        self._clock = clock
        self._wall = wall
        self._market: tuple[str, str, str] | None = None
        self._sampled_ns = 0
        self._store = SnapshotStoreWriter(tops, slot, self._encode)
        self._mids = SnapshotStoreWriter(mids, slot, self._encode)

    def update_from_ws(
        self,
        yes_bbo: Bbo | None,
        no_bbo: Bbo | None,
        market_id: str,
        yes_token_id: str,
        no_token_id: str,
    ) -> int:
        """Publish both tops; return the snapshot's number. None: that book is not known.

        Raises UpdateRefused, which says what is wrong, and nothing is changed.
        """
        market = (market_id, yes_token_id, no_token_id)
        is_other = market != self._market
        try:
            if is_other:
                _check_market(market)
            yes, yes_flags = _read_bbo("yes_bbo", yes_bbo)
            no, no_flags = _read_bbo("no_bbo", no_bbo)
        except UpdateRefused:
            self._segment.counters.add(Counter.cache_updates_refused)
            raise
        if is_other:
            self._list(market)
        now_ns = self._clock()
        snapshot = PMBookSnapshot(
            MarketSnapshotMeta(now_ns, self._wall(), self._store.get_seq() + 1, "PM"),
            *market,
            yes,
            no,
            yes_flags | no_flags,
            yes_flags,
            no_flags,
        )
        seq = self._store.publish(snapshot)
        if now_ns - self._sampled_ns >= self._mids_ns:
            self._sampled_ns = now_ns
            self._mids.publish(snapshot)
        self._segment.set_link(now_ns)
        self._segment.ring()
        return seq

    def _encode(self, snapshot: PMBookSnapshot) -> tuple[int, ...]:
        meta = snapshot.meta
        yes, no = _sides(snapshot.yes_top), _sides(snapshot.no_top)
        return (
            meta.feed_seq, 0, meta.monotonic_ts_ns, self._clock(), meta.wall_ts_ns or 0,
            snapshot.flags, 0, *yes, *no, snapshot.last_px_e9 or 0, snapshot.tick_e9 or 0,
            meta.monotonic_ts_ns, snapshot.yes_flags, snapshot.no_flags,
        )  # fmt: skip

    def _list(self, market: tuple[str, str, str]) -> None:
        """Give the slot to a market, and list its tokens."""
        board = self._segment.board("instruments")
        pair_tag, *tags = (tag_of("polymarket", one) for one in market)
        generation = generation_for(self._segment.board("pair_bbo"), self._slot, pair_tag)
        now_ns = self._clock()
        for index, tag in enumerate(tags):
            slot = 2 * self._slot + index
            board.assign(slot, tag, generation)
            values = listing(
                recv_ns=now_ns,
                publish_ns=now_ns,
                id=market[1 + index].encode(),
                market_id=market[0].encode(),
                slug=market[0].encode(),
                outcome=(b"Yes", b"No")[index],
                outcome_index=index,
                complement_tag=tags[1 - index],
                pair_tag=pair_tag,
                pair_slot=self._slot,
            )
            board.publish(slot, values)
        for store in (self._store, self._mids):
            store.assign(pair_tag, generation)
        self._market = market
        self._segment.bump_epoch()


_TEXT_MAX: Final = {"market_id": 72, "yes_token_id": 80, "no_token_id": 80}


def _check_market(market: tuple[str, str, str]) -> None:
    """Let pass three ids that are three."""
    for index, ((name, most), text) in enumerate(zip(_TEXT_MAX.items(), market, strict=True)):
        check_text(name, text, most)
        if text in market[:index]:
            same = list(_TEXT_MAX)[market.index(text)]
            raise UpdateRefused(f"{name} is {shown(text)}, the same as {same}")


def _read_bbo(name: str, bbo: Bbo | None) -> tuple[PMBookTop | None, int]:
    """A top and its flags. Raises UpdateRefused."""
    if bbo is None:
        return None, _WARMUP | _NO_SIDES
    if not isinstance(bbo, tuple) or len(bbo) != 4:
        raise UpdateRefused(f"{name} is not (bid_px, bid_qty, ask_px, ask_qty) or None")
    flags = 0
    for side, flag in (("bid", Flag.NO_BID), ("ask", Flag.NO_ASK)):
        px, qty = bbo[:2] if side == "bid" else bbo[2:]
        if px is None and qty is None:
            flags |= int(flag)
            continue
        for what, value, most in (("px", px, E9 - 1), ("qty", qty, (1 << 63) - 1)):
            if type(value) is not int:
                kind = type(value).__name__
                raise UpdateRefused(f"{name} {side}_{what} is {kind}: it must be an int in 1e-9")
            if not 0 < value <= most:
                said = shown(value)
                raise UpdateRefused(f"{name} {side}_{what} is {said}: it must be 1 to {most}")
    top = PMBookTop(*bbo)
    if not flags and top.bid_px_e9 >= top.ask_px_e9:  # type: ignore[operator]
        flags = _CROSSED
    return top, flags


def _sides(top: PMBookTop | None) -> tuple[int, int, int, int]:
    if top is None:
        return 0, 0, 0, 0
    return top.bid_px_e9 or 0, top.bid_qty_e9 or 0, top.ask_px_e9 or 0, top.ask_qty_e9 or 0
