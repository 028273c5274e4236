"""The Binance cache: top of book of one symbol with what was derived of it, and its rolling mids.

`BNCache` reads what a feed publishes (from the venue's stream, or from a polled service: the same
boards), without a lock and without waiting. `BNCacheWriter` is for a program that polls a pricer
service itself: `update_from_poll` takes one answer and publishes on those boards.

Top and features are two records. The invariant: the features of a snapshot are those that stood
while its top did, of the same writer; where there are none such, they are None.

`get_age_ms` and `is_stale` speak of a snapshot's age, which is that of the last change. They never
gate quoting; `cache/gate.py` does, by the age of the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from cache.bn_poll import Polled, read_poll
from cache.board import Miss, Snapshot, picker
from cache.counters import Counter
from cache.errors import SegmentMissing, UpdateRefused
from cache.instruments import Directory, generation_for, listing
from cache.layout import (
    BBO,
    E9,
    FEATURES,
    HEADER_AT,
    INSTRUMENT,
    SAMPLE,
    BoardSpec,
    Flag,
    Known,
    tag_of,
)
from cache.refusals import check_text, check_whole_number, shown
from cache.segment import ReaderSegment, WriterSegment
from cache.snapshot_store import RollingMids
from cache.snapshots import NS_PER_MS, Aged, BNSnapshot, MarketSnapshotMeta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache.snapshot_store import Run

ROLE: Final = "feed.binance.0"
STALE_MS: Final = 1_000
MIDS_MAX: Final = 126
"""How many mids the shipped feed's board shows: its K - 2."""

FEATURES_LAG_NS: Final = 3 * E9
"""Features this much older than their top are of a timer that stands still."""

_TRY_MAX: Final = 8
_SYMBOL_MAX: Final = 80
_INCARNATION = HEADER_AT["incarnation"] >> 3
_WARMUP = int(Flag.WARMUP)
_DISTRUST = int(Flag.WARMUP | Flag.SUSPECT | Flag.CROSSED | Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK)
_RETURN_1S, _RETURN_60S = int(Known.RETURN_1S), int(Known.RETURN_60S)
_SHOCK_Z = int(Known.SHOCK_Z)
_ALL = int(Known.RETURN_1S | Known.RETURN_5S | Known.RETURN_60S | Known.SHOCK_Z)

_pick_top = picker(
    BBO, "recv_ns", "publish_ns", "venue_ts_ns", "flags",
    "bid_px_e9", "bid_qty_e9", "ask_px_e9", "ask_qty_e9",
)  # fmt: skip
_pick_features = picker(
    FEATURES, "incarnation", "batch", "publish_ns", "return_1s_e9", "return_60s_e9", "sigma_e9",
    "shock_z_e9", "sample_count", "known",
)  # fmt: skip
_Features = tuple[int, ...] | None
_NO_FEATURES = (0,) * 9


class BNCache(Aged[BNSnapshot]):
    """Reads one symbol of one feed. Belongs to one thread; make a new one after a re-attach."""

    stale_ms = STALE_MS

    def __init__(
        self,
        segment: ReaderSegment,
        symbol: str,
        slot: int,
        *,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        """`slot` is the symbol's, as a `Directory` of the segment has it."""
        self.segment = segment
        self.symbol = symbol
        self._slot = slot
        self._tag = tag_of("binance", symbol)
        self._clock = clock
        boards = segment.places()
        samples = segment.board("samples") if "samples" in boards else None
        self._samples = RollingMids(samples, slot, self._tag, take=_take_mids)
        tops, features = segment.board("bbo"), segment.board("features")
        self._words = tops.memory.cast("Q")
        self._version, self._read = tops.version, tops.read
        self._features_version, self._features_read = features.version, features.read
        self._held: tuple[BNSnapshot | None, int] = (None, 0)
        self._incarnation = 0
        self._features: _Features = None
        self._features_seq = 0

    @classmethod
    def attach(cls, symbol: str, *, role: str = ROLE, namespace: str = "penstock") -> BNCache:
        """Find a symbol. Raises SegmentMissing while nobody lists it."""
        if not isinstance(symbol, str):
            raise TypeError(f"symbol is {shown(symbol)}: it must be text")
        segment = ReaderSegment.attach(role, namespace=namespace)
        directory = Directory(segment)
        directory.refresh()
        slot = directory.slot_of.get(tag_of("binance", symbol))
        if slot is None:
            listed = ", ".join(sorted(one.id for one in directory.by_tag.values())[:8]) or "none"
            raise SegmentMissing(
                f"{segment.path} lists no symbol {symbol:.80}, but {listed}; try again later."
            )
        return cls(segment, symbol, slot)

    def get_seq(self) -> int:
        """The number of the newest top of book: one load."""
        return self._version(self._slot)

    def get_latest(self) -> tuple[BNSnapshot | None, int]:
        """The newest whole snapshot, or None, and the number of its top of book."""
        # In local names: called through `self`, each would be looked up in two dictionaries.
        slot, held, version = self._slot, self._held, self._version
        read, features_version = self._read, self._features_version
        incarnation = self._words[_INCARNATION]
        seq = version(slot)  # Before the read: what comes after is news.
        if (
            seq == held[1]
            and features_version(slot) == self._features_seq
            and incarnation == self._incarnation
        ):
            return held
        top = read(slot, self._tag)
        if type(top) is Miss:  # An isinstance of an enum costs as much as two reads.
            if top is Miss.BUSY:
                return held  # The last whole one, with its own number.
            self._read_features(features_version(slot))
            held = (None, seq)
        else:
            features_seq = features_version(slot)
            features = (
                self._features
                if features_seq == self._features_seq
                else self._read_features(features_seq)
            )
            if features is not None and features[0] == incarnation and features[1] > top.batch:
                top, features = self._read_again(top)
            held = self._combine(top, features, incarnation)
        self._incarnation, self._held = incarnation, held
        return held

    def _read_features(self, seq: int) -> _Features:
        """The features, of this number at least; those of before if the read stays BUSY."""
        read = self._features_read
        found = read(self._slot, self._tag)
        if type(found) is Miss:
            if found is Miss.BUSY:
                return self._features
            features: _Features = None
        else:
            features = _pick_features(found)
        self._features, self._features_seq = features, seq
        return features

    def _read_again(self, top: Snapshot) -> tuple[Snapshot, _Features]:
        """A top, and features that are not ahead of it; none where they always were."""
        for _ in range(_TRY_MAX):
            found = self._read(self._slot, self._tag)
            top = found if type(found) is not Miss else top
            features = self._read_features(self._features_version(self._slot))
            if features is None or features[1] <= top.batch:
                return top, features
        return top, None

    def _combine(
        self, top: Snapshot, features: _Features, incarnation: int
    ) -> tuple[BNSnapshot, int]:
        """Make a snapshot; the features join if they are of the same writer and not left behind."""
        recv_ns, publish_ns, wall_ns, flags, bid, bid_qty, ask, ask_qty = _pick_top(top)
        writer, version = top.incarnation, top.version
        if writer != incarnation:
            flags |= _WARMUP
            features = None
        if features is None or features[0] != writer or publish_ns - features[2] > FEATURES_LAG_NS:
            features = _NO_FEATURES
        return_1s: int | None
        return_60s: int | None
        sigma: int | None
        shock_z: int | None
        _, _, _, return_1s, return_60s, sigma, shock_z, count, known = features
        if known != _ALL or not count:
            return_1s = return_1s if known & _RETURN_1S else None
            return_60s = return_60s if known & _RETURN_60S else None
            shock_z = shock_z if known & _SHOCK_Z else None
            sigma = sigma if count else None
        meta = MarketSnapshotMeta(recv_ns, wall_ns or None, version, "BN")
        snapshot = BNSnapshot(
            meta, self.symbol, bid or None, ask or None, bid_qty or None, ask_qty or None,
            return_1s, return_60s, sigma, shock_z, count, flags,
        )  # fmt: skip
        return snapshot, version

    def mids(self, count: int = MIDS_MAX) -> Run:
        """The last `count` mids, oldest first: the seconds they stand for (wall clock, ns), 1e-9.

        Taken on whole seconds, of tops that were to be trusted; by a `BNCacheWriter`, of the first
        answer of each second. They begin where the feed filled its history in, or the wall clock
        was set back. Memory is copied once, and the arrays cannot be written to.
        """
        return self._samples.last(count)


def _take_mids(found: NDArray[np.void]) -> Run:
    whole = (found["flags"] & _DISTRUST == 0).nonzero()[0]
    times = found["wall_ns"][whole]
    steps_back = (times[1:] < times[:-1]).nonzero()[0]
    if steps_back.size:
        whole = whole[steps_back[-1] + 1 :]
    return found["wall_ns"][whole], found["mid_px_e9"][whole]


# --- writing ------------------------------------------------------------------------------------


def bn_boards(symbol_slots: int = 1) -> tuple[BoardSpec, ...]:
    """The boards that a `BNCacheWriter` needs. Raises UpdateRefused."""
    check_whole_number("symbol_slots", symbol_slots, least=1)
    return (
        BoardSpec("instruments", INSTRUMENT, symbol_slots, 4),
        BoardSpec("bbo", BBO, symbol_slots, 8),
        BoardSpec("features", FEATURES, symbol_slots, 8),
        BoardSpec("samples", SAMPLE, symbol_slots, 128),
    )


class BNCacheWriter:
    """Publishes a service's answers about one symbol; belongs to its segment's thread.

    What the service says of the last minute and of the shock is carried as it says it; there is no
    volatility in what it says that could be quoted on, so there is none here. The shipped poller
    (`python -m feeds binance` with `source = "poll"`) samples its own. Nor is an answer doubted:
    one that says the same again, or something odd, is as new and as good as any.
    """

    def __init__(
        self,
        segment: WriterSegment,
        symbol: str,
        slot: int = 0,
        *,
        ignored: Set[str] = frozenset(),
        clock: Callable[[], int] = monotonic_ns,
        wall: Callable[[], int] = time_ns,
    ) -> None:
        """`ignored` are keys of an answer that may be there besides: see `read_poll`.

        Raises UpdateRefused for a symbol that no directory can hold, or a slot that is not there.
        """
        if not isinstance(segment, WriterSegment):
            raise UpdateRefused(f"segment is {shown(segment)}: it must be a WriterSegment")
        check_text("symbol", symbol, _SYMBOL_MAX)
        names = ("bbo", "features", "samples", "instruments")
        count = min(segment.board(name).slot_count for name in names)
        check_whole_number("slot", slot, most=count - 1)
        if not isinstance(ignored, Set):
            raise UpdateRefused(f"ignored is {shown(ignored)}: it must be a set of keys")
        self._segment = segment
        self._symbol = symbol
        self._slot = slot
        self._ignored = frozenset(ignored)
        self._clock = clock
        self._tops = segment.board("bbo")
        self._features = segment.board("features")
        self._samples = segment.board("samples")
        self._wall = wall
        self._second = 0
        self._batch = 0
        self._list()

    def _list(self) -> None:
        tag, now_ns = tag_of("binance", self._symbol), self._clock()
        generation = generation_for(self._tops, self._slot, tag)
        values = listing(id=self._symbol.encode(), recv_ns=now_ns, publish_ns=now_ns)
        instruments = self._segment.board("instruments")
        for board in (instruments, self._tops, self._features, self._samples):
            board.assign(self._slot, tag, generation)
        instruments.publish(self._slot, values)
        self._segment.bump_epoch()

    def update_from_poll(self, raw: object) -> int:
        """Publish an answer, as parsed JSON; return the snapshot's number.

        Raises UpdateRefused, which says what is wrong, and nothing is changed.
        """
        try:
            polled = read_poll(raw, self._symbol, ignored=self._ignored)
        except UpdateRefused:
            self._segment.counters.add(Counter.cache_updates_refused)
            raise
        now_ns = self._clock()
        self._batch += 1
        self._publish_features(polled, now_ns)
        # Behind its features: a reader that meets this top finds them, or later ones.
        seq = self._tops.publish(
            self._slot,
            (
                self._batch, 0, now_ns, now_ns, (polled.wall_ts_ms or 0) * NS_PER_MS, 0, 0,
                polled.bid_px_e9, 0, polled.ask_px_e9, 0, 0, 0, 0, now_ns,
            ),
        )  # fmt: skip
        second = self._wall() // E9
        if second != self._second:
            self._second = second
            mid_e9 = (polled.bid_px_e9 + polled.ask_px_e9) // 2
            self._samples.publish(
                self._slot, (self._batch, 0, now_ns, now_ns, 0, 0, 0, mid_e9, second * E9)
            )
        self._segment.set_link(now_ns)
        self._segment.ring()
        return seq

    def _publish_features(self, polled: Polled, now_ns: int) -> None:
        return_1m, shock_z = polled.return_1m_e9, polled.shock_z_e9
        known = 0 if return_1m is None else _RETURN_60S
        known |= 0 if shock_z is None else _SHOCK_Z
        mid_e9 = (polled.bid_px_e9 + polled.ask_px_e9) // 2
        self._features.publish(
            self._slot,
            (
                self._batch, 0, now_ns, now_ns, (polled.wall_ts_ms or 0) * NS_PER_MS, 0, 0,
                mid_e9, 0, 0, return_1m or 0, 0, shock_z or 0, 0, known,
            ),
        )  # fmt: skip
