"""Reads what a strategy lives on: each input once a run, from the memory of the other processes.

`Inputs.look` copies, of every market the strategy is to quote, the pair's top of book, its depth
where that is wanted, and its settlement, the reference symbol's top and features, and the position.
The clock must be read after it: then no age is negative. The invariant: every record is whole and
carries the tag it was asked for; what could not be read is a `Miss` or None and never an older
value.

It judges nothing: `strategy/views.py` does.
"""

from __future__ import annotations

from functools import partial

from msgspec import Struct

from cache.board import Miss, Snapshot
from cache.counters import Counter, CounterWriter
from cache.instruments import Directory, Pair
from cache.layout import Provenance, word_of
from cache.segment import ReaderSegment
from host.unreadable import Unreadable
from strategy.link import Link, Place, log
from strategy.reference import NO_SAMPLES, Samples
from venue.settlement import parse_family


class MarketFeed:
    """The boards of a Polymarket feed."""

    def __init__(self, segment: ReaderSegment, *, has_depth: bool) -> None:
        self.directory = Directory(segment)
        self.pair_bbo = segment.board("pair_bbo")
        self.settlement = segment.board("settlement")
        self.depth = segment.board("depth") if has_depth else None
        boards = (self.pair_bbo, self.settlement, self.depth)
        self.boards = tuple(board for board in boards if board is not None)
        self.mine: dict[int, Pair] = {}
        """The markets of the families that are quoted, those that end soonest first."""
        self._settlements: dict[int, Snapshot] = {}
        self.unreadable: dict[int, int] = {}
        """Settlements whose strike is of no known kind: version by slot."""

    def read_depth(self, pair: Pair) -> Snapshot | Miss:
        """Read the depth of a market's first token; NEVER where none is wanted."""
        board = self.depth
        return board.read(2 * pair.pair_slot, pair.yes.tag) if board is not None else Miss.NEVER

    def read_settlement(self, pair: Pair) -> Snapshot | Miss:
        """Read a market's settlement; the same object for as long as it is the same record."""
        slot = pair.pair_slot
        held = self._settlements.get(slot)
        if held is None or held.version != self.settlement.version(slot) or held.tag != pair.tag:
            found = self.settlement.read(slot, pair.tag)
            if isinstance(found, Miss):
                return found
            held = self._settlements[slot] = found
            if word_of(Provenance, found.strike_provenance) is None:
                self.unreadable[slot] = found.version
        return held


class ReferenceFeed:
    """The boards of a Binance feed, and the samples as they were read last."""

    def __init__(self, segment: ReaderSegment) -> None:
        self.directory = Directory(segment)
        self.bbo = segment.board("bbo")
        self.features = segment.board("features")
        self.boards = (self.bbo, self.features, segment.board("samples"))
        self._samples_board = self.boards[2]
        self._samples: dict[int, tuple[int, Samples]] = {}

    def samples(self, slot: int, tag: int) -> Samples:
        """Return the sampled history of a symbol; copied only when there is a new sample."""
        board = self._samples_board
        version = board.version(slot)
        held = self._samples.get(tag)
        if held is not None and held[0] == version:
            return held[1]
        records = board.history(slot, board.cell_count - 2, tag)
        if isinstance(records, Miss):
            return held[1] if held is not None else NO_SAMPLES
        made = Samples.of_records(records)
        self._samples[tag] = version, made
        return made


class AccountFeed:
    """The boards of an executor: positions, and which markets were ever filled."""

    def __init__(self, segment: ReaderSegment) -> None:
        self._segment = segment
        self._positions = segment.board("positions")
        self._fills = segment.board("fills")
        self.boards = (self._positions, self._fills)
        self._scan = self._positions.changed()
        self._by_slot: dict[int, Snapshot] = {}
        self._by_tag: dict[int, Snapshot] = {}
        self._incarnation = -1
        self._read_version = -1
        self._filled: frozenset[int] | None = None
        self._oldest_ns = 0

    @property
    def fills_version(self) -> int:
        """How many fills there were."""
        return self._fills.version(0)

    def refresh(self) -> None:
        """Read what changed since the last run."""
        incarnation = self._segment.incarnation
        changed = self._scan.slots()
        for slot in changed:
            found = self._positions.read(slot, 0)
            if isinstance(found, Miss):
                self._by_slot.pop(slot, None)
            else:
                self._by_slot[slot] = found
        if changed or incarnation != self._incarnation:
            self._incarnation = incarnation
            # What an older incarnation said of a position is not confirmed yet.
            held = [r for r in self._by_slot.values() if r.incarnation == incarnation]
            self._by_tag = {record.tag: record for record in held}
        version = self.fills_version
        if version != self._read_version:
            self._read_version = version
            self._read_fills(version)

    def _read_fills(self, version: int) -> None:
        count = self._fills.cell_count - 2
        records = self._fills.history(0, count, 0) if version else None
        if records is None:
            self._filled, self._oldest_ns = frozenset(), 0
        elif isinstance(records, Miss):
            self._filled = None
        else:
            self._filled = frozenset(records["pair_tag"].tolist())
            self._oldest_ns = int(records["publish_ns"][0]) if version > count else 0

    def net_e9(self, tag: int, quoted_since_ns: int) -> int | None:
        """Return the net position in a market; None when it is not known.

        A market without a position is flat only if it was never filled: no fill of it lies on the
        stream, which reaches back to before `quoted_since_ns`, when it could first be quoted.
        """
        position = self._by_tag.get(tag)
        if position is not None:
            yes_e9, no_e9 = position.yes_qty_e9, position.no_qty_e9
            # Any flag says that the executor does not know either; less than nothing is damage.
            return None if position.flags or min(yes_e9, no_e9) < 0 else yes_e9 - no_e9
        if self._filled is None or tag in self._filled or self._oldest_ns > quoted_since_ns:
            return None
        return 0


class ReferenceSight(Struct, frozen=True):
    """One reference symbol as it was read."""

    bbo: Snapshot | Miss
    features: Snapshot | Miss
    samples: Samples


class MarketSight(Struct, frozen=True):
    """One market as it was read."""

    pair: Pair
    depth: Snapshot | Miss
    """Of its first token; NEVER where none is read."""
    book: Snapshot | Miss
    settlement: Snapshot | Miss
    reference_tag: int


class Look(Struct, frozen=True):
    """All inputs of one run; the `link_ns` were read before the books, and all before the clock."""

    markets: dict[int, MarketSight] = {}
    references: dict[int, ReferenceSight] = {}
    market_link_ns: int = 0
    reference_link_ns: int = 0


class Inputs:
    """The links of one strategy. Belongs to one thread."""

    def __init__(
        self,
        *,
        account: str,
        families: frozenset[str],
        namespace: str,
        counters: CounterWriter,
        has_depth: bool,
    ) -> None:
        place = Place(namespace, counters)
        open_market = partial(MarketFeed, has_depth=has_depth)
        self.market_feed = Link("feed.polymarket.0", open_market, place)
        self.reference_feed = Link("feed.binance.0", ReferenceFeed, place)
        self.account = Link(f"executor.{account}", AccountFeed, place)
        self._families = families
        self._counters = counters
        self._unreadable = Unreadable(counters, log)
        self._versions: list[int] = []
        self._due_ns = 0

    def refresh(self, now_ns: int) -> bool:
        """Attach what is to be attached; True when another segment is held than before."""
        if now_ns < self._due_ns:
            return False
        links = (self.market_feed, self.reference_feed, self.account)
        is_other = any([link.refresh(now_ns) for link in links])
        self._due_ns = min(link.due_ns for link in links)
        self._count()
        return is_other

    def segments(self) -> list[ReaderSegment]:
        """The segments whose bells tell of something new."""
        links = (self.market_feed, self.reference_feed, self.account)
        return [link.segment for link in links if link.segment is not None]

    def has_news(self) -> bool:
        """Whether any book, strike, reference or fill was published since the last look."""
        return self._versions != self._read_versions()

    def _read_versions(self) -> list[int]:
        markets, references = self.market_feed.boards, self.reference_feed.boards
        account = self.account.boards
        versions = [account.fills_version] if account is not None else []
        if markets is not None:
            book, settlement = markets.pair_bbo.version, markets.settlement.version
            for pair in markets.mine.values():
                versions.append(book(pair.pair_slot))
                versions.append(settlement(pair.pair_slot))
                if markets.depth is not None:
                    versions.append(markets.depth.version(2 * pair.pair_slot))
        if references is not None:
            slots = references.directory.slot_of.values()
            versions += [references.bbo.version(slot) for slot in slots]
        return versions

    def look(self) -> Look:
        """Read every input once."""
        markets, references = self.market_feed.boards, self.reference_feed.boards
        if markets is not None and markets.directory.refresh():
            mine = [pair for pair in markets.directory.pairs.values() if self._is_mine(pair)]
            mine.sort(key=lambda pair: pair.window_end_ns)
            markets.mine = {pair.tag: pair for pair in mine}
        if references is not None:
            references.directory.refresh()
        self._versions = self._read_versions()
        market_link_ns = self.market_feed.link_ns
        reference_link_ns = self.reference_feed.link_ns
        if self.account.boards is not None:
            self.account.boards.refresh()
        seen = _look_markets(markets) if markets is not None else {}
        tags = {sight.reference_tag for sight in seen.values()}
        return Look(
            seen,
            _look_references(references, tags) if references is not None else {},
            market_link_ns,
            reference_link_ns,
        )

    def _is_mine(self, pair: Pair) -> bool:
        """Leave windows of other families alone; a market of no family says NO_STRIKE."""
        name = pair.yes.slug.rpartition("-")[0]
        return name in self._families or parse_family(name) is None

    def _count(self) -> None:
        """Move what the boards counted into the segment's counters; tell of listings left out."""
        for feed in (self.market_feed, self.reference_feed):
            unreadable = feed.boards.directory.unreadable if feed.boards is not None else {}
            for slot, version in unreadable.items():
                self._unreadable.note(f"{feed.role} instruments", slot, version)
        markets = self.market_feed.boards
        for slot, version in markets.unreadable.items() if markets is not None else ():
            self._unreadable.note(f"{self.market_feed.role} settlement", slot, version)
        for link in (self.market_feed, self.reference_feed, self.account):
            for board in link.boards.boards if link.boards is not None else ():
                if board.retry_count:
                    self._counters.add(Counter.cache_read_retried, board.retry_count)
                    board.retry_count = 0
                if board.busy_count:
                    self._counters.add(Counter.cache_read_busy, board.busy_count)
                    board.busy_count = 0


def _look_markets(feed: MarketFeed) -> dict[int, MarketSight]:
    return {
        tag: MarketSight(
            pair,
            feed.read_depth(pair),
            feed.pair_bbo.read(pair.pair_slot, tag),
            feed.read_settlement(pair),
            pair.yes.reference_tag,
        )
        for tag, pair in feed.mine.items()
    }


def _look_references(feed: ReferenceFeed, tags: set[int]) -> dict[int, ReferenceSight]:
    found = {}
    for tag in tags:
        slot = feed.directory.slot_of.get(tag)
        if slot is not None:
            found[tag] = ReferenceSight(
                feed.bbo.read(slot, tag),
                feed.features.read(slot, tag),
                feed.samples(slot, tag),
            )
    return found
