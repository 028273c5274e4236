"""The book store: depth of every token, written by a feed and read by any number of processes.

`BookStoreWriter` keeps a ladder (`cache/ladder.py`) for each slot of a feed's `depth` board and
publishes what becomes of it: a whole book at once, or that it is not ready. `BookStore` reads such
a board, of whichever venue and whoever writes it: by token, without a lock, without waiting, and
never anything but memory. What changed is told by `changed`, and waited for on the segment's bell.

Invariants: a record without WARMUP and RESYNC is a whole book; a book that is not ready shows no
level. Depth and top of book are two records: they are of one moment only where their `batch` is
equal, and never 0. How far a book may be trusted is not judged here (`cache/book_access.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Final, NamedTuple

from cache.board import BoardReader, BoardWriter, ChangeScan, Miss, Snapshot
from cache.book_metrics import BookMetrics, Counts
from cache.counters import Counter
from cache.errors import UpdateRefused
from cache.gate import Witness
from cache.instruments import Directory
from cache.ladder import ANOMALIES, LEVELS_MAX, Delta, Ladder, Level, Outcome, Whole
from cache.layout import DEPTH_LEVELS, HEADER_AT, Flag, Proof, State, tag_of
from cache.liveness import STALE_NS, Liveness
from cache.refusals import WHOLE_MAX, check_whole_number, shown
from cache.segment import ReaderSegment

_NO_BID: Final = int(Flag.NO_BID)
_NO_ASK: Final = int(Flag.NO_ASK)
_RESYNC: Final = int(Flag.RESYNC)
_NOT_READY: Final = int(Flag.WARMUP | Flag.RESYNC | Flag.RESOLVED)
_SNAPSHOT: Final = int(Proof.SNAPSHOT)
_VENUE_SEQ: Final = int(Proof.VENUE_SEQ)
_NONE: Final = int(Proof.NONE)
_PADDING: Final = (0,) * (2 * DEPTH_LEVELS)
_LIVE: Final = Liveness.LIVE
_RUN: Final = int(State.RUN)
_EPOCH, _INCARNATION, _STATE, _HEARTBEAT, _LINK = (
    HEADER_AT[name] >> 3 for name in ("epoch", "incarnation", "state", "heartbeat_ns", "link_ns")
)
_TOPS: Final = ("pair_bbo", "bbo")
WORD_MAX: Final = 2**64 - 1


class Stamp(NamedTuple):
    """When something was received and is published, and what it belongs to."""

    recv_ns: int
    publish_ns: int
    venue_ts_ns: int = 0
    batch: int = 0
    """The batch of the top of book that shows the same moment; 0 where none is known to."""


class _Book:
    """One slot of a writer."""

    __slots__ = ("is_behind", "ladder", "proof", "tick_e9")

    def __init__(self, levels_max: int) -> None:
        self.ladder = Ladder(levels_max)
        self.tick_e9 = 0
        self.proof = _NONE
        self.is_behind = False


class BookStoreWriter:
    """Builds and publishes the books of one depth board; belongs to its feed's thread."""

    def __init__(
        self,
        board: BoardWriter,
        counts: Counts | None = None,
        *,
        depth_max: int = DEPTH_LEVELS,
        levels_max: int = LEVELS_MAX,
    ) -> None:
        """Publish up to `depth_max` levels a side; `levels_max` are kept to follow the book."""
        check_whole_number("depth_max", depth_max)
        check_whole_number("levels_max", levels_max)
        if not 1 <= depth_max <= DEPTH_LEVELS or levels_max < depth_max:
            raise ValueError(
                f"depth_max is {depth_max}: it must be 1 to {DEPTH_LEVELS}, "
                f"and levels_max, {levels_max}, no less"
            )
        self.metrics = BookMetrics(counts)
        self.depth_max = depth_max
        self._levels_max = levels_max
        self._board = board
        self._books: dict[int, _Book] = {}

    def open(self, slot: int, tag: int, generation: int) -> None:
        """Say whose a slot is. Its book is to come: until then a reader finds none, or WARMUP."""
        check_whole_number("slot", slot)
        check_whole_number("tag", tag, most=WORD_MAX)
        check_whole_number("generation", generation, most=2**32 - 1)
        self._board.assign(slot, tag, generation)
        self._books[slot] = _Book(self._levels_max)

    def ladder(self, slot: int) -> Ladder:
        """The book of a slot as it is known now; to be looked at."""
        return self._books[slot].ladder

    def is_behind(self, slot: int) -> bool:
        """Whether a backlog of the slot's book is being read."""
        return self._books[slot].is_behind

    def set_tick(self, slot: int, tick_e9: int) -> None:
        """Take a tick size; it goes out with the next record."""
        check_whole_number("tick_e9", tick_e9)
        self._books[slot].tick_e9 = tick_e9

    def apply_snapshot(self, slot: int, whole: Whole, stamp: Stamp) -> Outcome:
        """Replace a book at once, or say why not; an anomaly leaves it not ready.

        What is no snapshot at all raises UpdateRefused, and changes nothing.
        """
        book = self._book(slot, stamp, whole, Whole)
        was_ready, count = book.ladder.is_ready, book.ladder.update_count
        outcome = book.ladder.apply_snapshot(whole, stamp.recv_ns)
        self.metrics.built(outcome, is_snapshot=True)
        for _ in range(book.ladder.update_count - count - 1):
            self.metrics.built(Outcome.APPLIED, is_snapshot=False)  # It had waited.
        if outcome is Outcome.APPLIED or (outcome in ANOMALIES and was_ready):
            self._publish(slot, book, stamp, _SNAPSHOT)
        return outcome

    def apply_delta(self, slot: int, delta: Delta, stamp: Stamp) -> Outcome:
        """Apply a delta, keep it for the snapshot, or say why not; an anomaly: not ready.

        What is no delta at all raises UpdateRefused, and changes nothing.
        """
        book = self._book(slot, stamp, delta, Delta)
        was_ready = book.ladder.is_ready
        outcome = book.ladder.apply_delta(delta, stamp.recv_ns)
        self.metrics.built(outcome, is_snapshot=False)
        if outcome is Outcome.APPLIED or (outcome in ANOMALIES and was_ready):
            self._publish(slot, book, stamp, _VENUE_SEQ)
        return outcome

    def mark_not_ready(self, slot: int, stamp: Stamp) -> None:
        """Forget a book, because the link is gone or for any other doubt.

        Whether a backlog is being read is another matter, and stays as it was.
        """
        book = self._book(slot, stamp)
        book.ladder.reset()
        self._publish(slot, book, stamp, _NONE)

    def mark_behind(self, slot: int, stamp: Stamp, *, is_behind: bool) -> None:
        """A backlog is being read, so the book may be old; or (False) it has been read."""
        book = self._book(slot, stamp)
        if book.is_behind != is_behind:
            book.is_behind = is_behind
            self._publish(slot, book, stamp, book.proof)

    def _book(
        self,
        slot: int,
        stamp: Stamp,
        update: Whole | Delta | None = None,
        kind: type[Whole | Delta | None] = NoneType,
    ) -> _Book:
        """Find the book that an update is for. Raises UpdateRefused, counted, by what is wrong.

        A number of the venue's that is out of range is the ladder's business: an anomaly.
        """
        try:
            if type(slot) is not int or slot not in self._books:
                raise UpdateRefused(f"slot is {shown(slot)}: open it first")
            if type(stamp) is not Stamp:
                raise UpdateRefused(f"stamp is {shown(stamp)}: it must be a Stamp")
            for name, value in zip(stamp._fields, stamp, strict=True):
                check_whole_number(name, value, most=WORD_MAX if name == "batch" else WHOLE_MAX)
            _check_update(update, kind)
        except UpdateRefused:
            self.metrics.counts.add(Counter.cache_updates_refused)
            raise
        return self._books[slot]

    def _publish(self, slot: int, book: _Book, stamp: Stamp, proof: int) -> None:
        ladder = book.ladder
        book.proof = proof if ladder.is_ready else _NONE
        bids, asks = ladder.bids(self.depth_max), ladder.asks(self.depth_max)
        flags = (0 if bids else _NO_BID) | (0 if asks else _NO_ASK)
        if book.is_behind or not ladder.is_ready:
            flags |= _RESYNC
        recv_ns, publish_ns, venue_ts_ns, batch = stamp
        self._board.publish(
            slot,
            (
                batch, ladder.sequence, recv_ns, publish_ns, venue_ts_ns, flags, book.proof,
                len(bids), len(asks), book.tick_e9, *_flat(bids), *_flat(asks),
            ),
        )  # fmt: skip


def _check_update(update: Whole | Delta | None, kind: type[Whole | Delta | None]) -> None:
    """Let pass an update of this kind, as far as its numbers are numbers. Raises UpdateRefused."""
    if type(update) is not kind:
        raise UpdateRefused(f"update is {shown(update)}: it must be a {kind.__name__}")
    for name, value in zip(update._fields, update, strict=True) if update is not None else ():
        if name in ("bids", "asks"):
            _check_levels(name, value)
        else:
            check_whole_number(name, value, least=-WHOLE_MAX)


def _check_levels(name: str, levels: object) -> None:
    if not isinstance(levels, Sequence):
        raise UpdateRefused(f"{name} is {shown(levels)}: it must be a list of levels")
    for level in levels:
        if type(level) is not tuple or len(level) != 2:
            raise UpdateRefused(f"{name} has {shown(level)}: a level is (price, size)")
        if type(level[0]) is not int or type(level[1]) is not int:
            raise UpdateRefused(f"{name} has {shown(level)}: both are whole numbers, in 1e-9")


def _flat(levels: Sequence[Level]) -> tuple[int, ...]:
    """Write levels as a record has them: price, size, price ..., filled up with zeros."""
    flat = tuple(number for level in levels for number in level)
    return flat + _PADDING[len(flat) :]


class Sight(NamedTuple):
    """Depth and top of book of one token, each as it was read; `top` is None where there is none.

    The top of a Polymarket token is its market's `PairBbo`.
    """

    depth: Snapshot | Miss
    top: Snapshot | Miss | None

    @property
    def is_one_moment(self) -> bool:
        """Whether both are whole and of one batch, so that they may be combined."""
        depth, top = self.depth, self.top
        if isinstance(depth, Miss) or isinstance(top, Miss) or top is None:
            return False
        equal: bool = depth.batch == top.batch and depth.batch != 0
        return equal


class _Place(NamedTuple):
    slot: int
    tag: int
    top_slot: int
    top_tag: int


class BookStore:
    """Reads the depth of one feed, by token. Belongs to one thread; new after a re-attach."""

    def __init__(self, segment: ReaderSegment) -> None:
        self.segment = segment
        self.venue = segment.role.removeprefix("feed.").partition(".")[0]
        self.directory = Directory(segment)
        boards = segment.places()
        self.depth: BoardReader = segment.board("depth")
        self.top: BoardReader | None = next(
            (segment.board(name) for name in _TOPS if name in boards), None
        )
        self._scan: ChangeScan = self.depth.changed()
        self._words = segment.bell_word[0].cast("Q")
        self._places: dict[str, _Place] = {}
        self._listed: tuple[int, int] = (-1, -1)

    @classmethod
    def attach(cls, role: str, *, namespace: str = "penstock") -> BookStore:
        """Read a feed's books, such as those of `feed.binance.0`. Raises SegmentMissing."""
        return cls(ReaderSegment.attach(role, namespace=namespace))

    # --- which tokens there are -----------------------------------------------------------------

    def tokens(self) -> tuple[str, ...]:
        """Every token that is listed, by its venue's id."""
        self._refresh()
        return tuple(self._places)

    def _refresh(self) -> None:
        """Read the directory where its writer changed it: two loads when it did not."""
        listed = self._words[_EPOCH], self._words[_INCARNATION]
        if listed == self._listed:
            return
        self._listed = listed
        if not self.directory.refresh() and self._places:
            return
        slot_of = self.directory.slot_of
        self._places = {
            one.id: _Place(slot_of[tag], tag, one.pair_slot, one.pair_tag)
            if one.pair_tag
            else _Place(slot_of[tag], tag, slot_of[tag], tag)
            for tag, one in self.directory.by_tag.items()
            if slot_of[tag] < self.depth.slot_count and tag == tag_of(self.venue, one.id)
        }

    def _find(self, token: str) -> _Place | None:
        self._refresh()
        try:
            place = self._places.get(token)
        except TypeError:
            place = None  # No text either: it cannot be looked up.
        if place is None and type(token) is not str:
            raise TypeError(f"token is {shown(token)}: it must be the venue's id, as text")
        return place

    # --- reading --------------------------------------------------------------------------------

    def read(self, token: str) -> Snapshot | Miss | None:
        """The newest whole depth record; None for a token nobody lists."""
        place = self._find(token)
        return self.depth.read(place.slot, place.tag) if place is not None else None

    def look(self, token: str) -> Sight | None:
        """Depth and top of book, depth first; None for a token nobody lists."""
        place = self._find(token)
        if place is None:
            return None
        depth = self.depth.read(place.slot, place.tag)
        top = self.top.read(place.top_slot, place.top_tag) if self.top is not None else None
        return Sight(depth, top)

    def witness(self, now_ns: int, *, wall_offset_ns: int | None = None) -> Witness:
        """What is known beside the books, for the gate. Raises TypeError for what is no time."""
        words = self._words
        try:
            is_live = words[_STATE] == _RUN and 0 <= now_ns - words[_HEARTBEAT] <= STALE_NS
        except TypeError:
            raise TypeError(f"now_ns is {shown(now_ns)}: it must be a whole number") from None
        liveness = _LIVE if is_live else self.segment.liveness(now_ns)
        return Witness(liveness, words[_INCARNATION], words[_LINK], 0, wall_offset_ns)

    def is_ready(self, token: str) -> bool:
        """Whether a whole book of this incarnation is there, and neither it nor its top in doubt.

        A top of book is marked at once when a link is lost.
        """
        sight = self.look(token)
        if sight is None or not self._is_whole(sight.depth):
            return False
        return sight.top is None or self._is_whole(sight.top)

    def _is_whole(self, read: Snapshot | Miss) -> bool:
        if isinstance(read, Miss) or read.incarnation != self.segment.incarnation:
            return False
        is_whole: bool = not read.flags & _NOT_READY
        return is_whole

    def last_update_ns(self, token: str) -> int | None:
        """When the book's newest change was received, CLOCK_MONOTONIC; None before any."""
        found = self.read(token)
        if found is None or isinstance(found, Miss):
            return None
        recv_ns: int = found.recv_ns
        return recv_ns

    def sequence(self, token: str) -> int | None:
        """The venue's update number, or its batch where the venue has none; None before any.

        It grows as long as the writer lives.
        """
        found = self.read(token)
        if found is None or isinstance(found, Miss):
            return None
        sequence: int = found.venue_seq or found.batch
        return sequence

    def update_count(self, token: str) -> int:
        """How often the token's slot was published, whoever had it; 0 never."""
        place = self._find(token)
        return self.depth.version(place.slot) if place is not None else 0

    # --- notification ---------------------------------------------------------------------------

    def changed(self) -> list[str]:
        """The tokens whose depth was published since the last call; at first, all there are.

        To wait for it: load the bell (`cache.bells.make_waiter`), call this, then wait.
        """
        slots = set(self._scan.slots())
        self._refresh()
        return [token for token, place in self._places.items() if place.slot in slots]


def bids_of(book: Snapshot, count: int = DEPTH_LEVELS) -> list[Level]:
    """The best `count` bids of a depth record, highest first."""
    return _levels(book.bids, min(count, book.bid_count))


def asks_of(book: Snapshot, count: int = DEPTH_LEVELS) -> list[Level]:
    """The best `count` asks of a depth record, lowest first."""
    return _levels(book.asks, min(count, book.ask_count))


def _levels(flat: Sequence[int], count: int) -> list[Level]:
    numbers = flat[: 2 * min(count, DEPTH_LEVELS)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
