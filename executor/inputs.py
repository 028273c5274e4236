"""What the executor reads: the venue's books, prints and outcomes, and what strategies want.

An input attaches when its segment is there and again when it is replaced; it never waits, and what
it cannot read is absent, never an older value. Records become the values of `executor/market.py`
and `executor/diff.py` here and nowhere else; one that holds what cannot be is told, counted and
left out. The invariant: a book is handed on as trusted only while the gate calls it quotable and
its prices are prices. It decides nothing about orders.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from cache.board import Miss, Snapshot
from cache.book_access import serve
from cache.book_metrics import BookMetrics
from cache.counters import Counter, CounterWriter
from cache.errors import PenstockError, SegmentMissing
from cache.gate import Policy, Trust, Witness
from cache.instruments import Directory, Pair
from cache.layout import E9, Outcome, Side, tag_of, word_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment, roles
from executor.diff import Wanted
from executor.market import Book, Market, Print, print_of
from executor.orders import Provenance
from host.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from host.log import get_log
from host.unreadable import Unreadable
from venue.fees import EXPONENT_MAX

LOG = get_log("executor")

FEED_ROLE = "feed.polymarket.0"
STRATEGY_PREFIX = "strategy."
LOOK_NS = 100 * NS_PER_MS
"""How often an input looks whether its segment is still the current one."""

SCAN_NS = 500 * NS_PER_MS
"""How often the names of the segments are looked through for new strategies."""

PRINTS_MAX = 1024
"""Prints taken at once; the rest waits for the next turn."""

QTY_MAX_E9 = 1_000_000_000 * E9
"""No size that a venue shows or trades is larger: it is damage."""

CLOCK_NS = NS_PER_S
"""A time that lies further in the future than this is damage."""

Opened = TypeVar("Opened")


def attach(role: str, namespace: str, opened: Callable[[ReaderSegment], Opened]) -> Opened | None:
    """Attach a segment and open its boards; None when that cannot be, which is logged."""
    try:
        return opened(ReaderSegment.attach(role, namespace=namespace))
    except SegmentMissing:
        return None
    except PenstockError as fault:
        LOG.warning("segment_refused", role=role, error=fault)
        return None


def liveness(segment: ReaderSegment, now_ns: int) -> Liveness:
    """Judge a writer; a beat after `now_ns` was read lies in its future: then look again."""
    found = segment.liveness(now_ns)
    return segment.liveness(monotonic_ns()) if found is Liveness.STALLED else found


def market_of(pair: Pair) -> Market | None:
    """Read a market out of the directory; None when it lacks what trading needs."""
    first = pair.yes
    if first.lot_e9 < 0 or first.min_qty_e9 <= 0 or first.taker_delay_ns < 0:
        return None
    if not 0 <= first.fee_rate_e9 <= E9:
        return None
    if not 0 <= first.fee_exponent <= EXPONENT_MAX or not 0 <= first.rebate_rate_e9 <= E9:
        return None
    return Market(
        tag=pair.tag,
        slot=pair.pair_slot,
        generation=first.generation,
        yes_tag=first.tag,
        no_tag=pair.no.tag,
        lot_e9=first.lot_e9,
        min_qty_e9=first.min_qty_e9,
        fee_rate_e9=first.fee_rate_e9,
        fee_exponent=first.fee_exponent,
        rebate_rate_e9=first.rebate_rate_e9,
        taker_delay_ns=first.taker_delay_ns,
        slug=first.slug,
    )


def wanted_of(quotes: Snapshot, strategy_tag: int) -> Wanted:
    """Read target quotes; their `recv_ns` is when the strategy froze its inputs."""
    return Wanted(
        bid_px_e9=quotes.bid_px_e9,
        bid_qty_e9=quotes.bid_qty_e9,
        ask_px_e9=quotes.ask_px_e9,
        ask_qty_e9=quotes.ask_qty_e9,
        valid_until_ns=quotes.valid_until_ns,
        keep=bool(quotes.keep),
        provenance=Provenance(
            strategy_tag=strategy_tag,
            quotes_version=quotes.version,
            book_version=quotes.book_version,
            reference_version=quotes.reference_version,
            book_age_ns=quotes.book_age_ns,
            reference_age_ns=quotes.reference_age_ns,
            decided_ns=quotes.recv_ns,
            quoted_ns=quotes.publish_ns,
            cause_ns=quotes.cause_ns,
        ),
    )


class FeedBoards:
    """The boards of a feed. Raises PenstockError where they are not what they must be."""

    def __init__(self, segment: ReaderSegment) -> None:
        self.segment = segment
        self.directory = Directory(segment)
        self.bbo = segment.board("pair_bbo")
        self.depth = segment.board("depth")
        self.settlement = segment.board("settlement")
        self.trades = segment.board("trades").stream()


class FeedInput:
    """The venue's feed. Belongs to one thread."""

    def __init__(self, namespace: str, policy: Policy, counters: CounterWriter) -> None:
        self.segment: ReaderSegment | None = None
        self._namespace = namespace
        self._policy = policy
        self._counters = counters
        self._due_ns = 0
        self._overruns = 0
        self._lost = 0
        self._witness = Witness(Liveness.WRITER_DEAD, 0, 0)
        self._metrics = BookMetrics(counters)
        self._unreadable = Unreadable(counters, LOG)
        self._is_new = False
        """The directory of this segment has not been read yet."""

    def refresh(self, now_ns: int) -> bool:
        """Attach where that is due and possible; True when another segment is held than before."""
        if now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + LOOK_NS
        if self.segment is not None and self.segment.is_current():
            return False
        boards = attach(FEED_ROLE, self._namespace, FeedBoards)
        if boards is None:
            return False
        if self.segment is not None:
            self._counters.add(Counter.cache_segment_reattached)
        self.segment = boards.segment
        self._boards = boards
        self._is_new = True
        self._overruns = self._lost = 0
        LOG.info("attached", role=FEED_ROLE, incarnation=boards.segment.incarnation)
        return True

    def markets(self) -> dict[int, Market] | None:
        """Read the markets that are listed and can be traded; None when nothing changed."""
        if self.segment is None:
            return None
        directory = self._boards.directory
        if not directory.refresh() and not self._is_new:
            return None
        self._is_new = False
        for slot, version in directory.unreadable.items():
            self._note("instruments", slot, version)
        found = {}
        for tag, pair in directory.pairs.items():
            market = market_of(pair)
            if market is None:
                self._note("instruments", 2 * pair.pair_slot, pair.yes.version)
            else:
                found[tag] = market
        return found

    def _note(self, board: str, slot: int, version: int) -> None:
        self._unreadable.note(f"{FEED_ROLE} {board}", slot, version)

    def watch(self, now_ns: int) -> Liveness:
        """Note what is known of the writer, its link and its incarnation, for this turn."""
        segment = self.segment
        if segment is None:
            return Liveness.WRITER_DEAD
        found = liveness(segment, now_ns)
        self._witness = Witness(found, segment.incarnation, segment.link_ns)
        return found

    def newer(self, market: Market, seen: int) -> tuple[list[Snapshot], bool]:
        """Read the tops published since version `seen`, and whether some were missed."""
        board = self._boards.bbo
        newest = board.version(market.slot)
        if newest == seen:
            return [], False
        first = max(seen + 1, newest - (board.cell_count - 3)) if seen else newest
        found: list[Snapshot] = []
        has_gap = bool(seen) and first > seen + 1
        for version in range(first, newest + 1):
            record = board.read_version(market.slot, version)
            if isinstance(record, Miss) or record.tag != market.tag:
                has_gap = True
            else:
                found.append(record)
        return found, has_gap

    def trust(self, top: Snapshot | None, now_ns: int, slot: int = 0) -> Trust:
        """Judge a top of book now; one whose prices are none is as bad as a crossed one."""
        _, found = serve(top, self._policy, now_ns, witness=self._witness, metrics=self._metrics)
        if top is None or found <= Trust.CROSSED or _is_book(top, now_ns):
            return found
        self._note("pair_bbo", slot, top.version)
        return Trust.CROSSED

    def book(self, market: Market, top: Snapshot, *, is_trusted: bool, has_gap: bool) -> Book:
        """Make a book of a top, with the deeper levels where the board has those of its batch."""
        made = Book(
            pair_tag=market.tag,
            version=top.version,
            at_ns=top.publish_ns,
            is_trusted=is_trusted,
            bid_px_e9=top.yes_bid_px_e9,
            bid_qty_e9=top.yes_bid_qty_e9,
            ask_px_e9=top.yes_ask_px_e9,
            ask_qty_e9=top.yes_ask_qty_e9,
            tick_e9=top.tick_e9,
            has_gap=has_gap,
        )
        deep = self._boards.depth.read(2 * market.slot, market.yes_tag)
        if isinstance(deep, Miss) or deep.batch != top.batch:
            return made
        return replace(
            made, bids=deep.bids[: 2 * deep.bid_count], asks=deep.asks[: 2 * deep.ask_count]
        )

    def prints(self) -> tuple[list[Snapshot], bool]:
        """Take the new prints of all markets; True when some were lost."""
        trades = self._boards.trades
        taken = trades.take(PRINTS_MAX)
        has_lost = trades.overrun_count != self._overruns
        if has_lost:
            self._counters.add(Counter.cache_stream_overrun, trades.overrun_count - self._overruns)
            self._counters.add(Counter.cache_stream_lost, trades.lost_count - self._lost)
            self._overruns, self._lost = trades.overrun_count, trades.lost_count
        return taken, has_lost

    def print_from(self, trade: Snapshot, market: Market, now_ns: int) -> Print | None:
        """Read a print in terms of the first token; None where the taker's side is not known.

        None, and told, where it holds what no print can: it proves nothing.
        """
        side = word_of(Side, trade.side)
        if side is None or not _is_print(trade, market, now_ns):
            self._note("trades", 0, trade.version)
            return None
        if side is Side.NONE:
            return None
        return print_of(
            market.tag,
            trade.recv_ns,
            is_yes=trade.tag == market.yes_tag,
            side=side,
            px_e9=trade.px_e9,
            qty_e9=trade.qty_e9,
        )

    def outcome(self, market: Market) -> Outcome:
        """Read who won a market; UNKNOWN as long as nobody knows.

        What is listed no more, or was before this process was, is looked for by its tag: its
        settlement stands until the slot is given away.
        """
        if self.segment is None:
            return Outcome.UNKNOWN
        board = self._boards.settlement
        is_placed = 0 <= market.slot < board.slot_count
        for slot in (market.slot,) if is_placed else range(board.slot_count):
            read = board.read(slot, market.tag)
            if isinstance(read, Miss):
                continue
            found = word_of(Outcome, read.outcome)
            if found is None:
                self._note("settlement", slot, read.version)
            return found or Outcome.UNKNOWN
        return Outcome.UNKNOWN


def _is_book(top: Snapshot, now_ns: int) -> bool:
    """Whether the first token's top is one that a book can have."""
    bid, ask = top.yes_bid_px_e9, top.yes_ask_px_e9
    sides = (bid, top.yes_bid_qty_e9), (ask, top.yes_ask_qty_e9)
    if not all(0 <= px < E9 and 0 <= qty <= QTY_MAX_E9 for px, qty in sides):
        return False
    is_apart = not (bid and ask) or bid < ask
    is_past = top.publish_ns <= now_ns + CLOCK_NS  # It may be newer than the turn's clock.
    found: bool = is_apart and 0 <= top.tick_e9 < E9 and is_past
    return found


def _is_print(trade: Snapshot, market: Market, now_ns: int) -> bool:
    is_ours = trade.tag in (market.yes_tag, market.no_tag)
    is_trade: bool = 0 < trade.px_e9 < E9 and 0 < trade.qty_e9 <= QTY_MAX_E9
    return is_ours and is_trade and 0 < trade.recv_ns <= now_ns + CLOCK_NS


class StrategyInput:
    """The target quotes of one strategy."""

    def __init__(self, role: str, segment: ReaderSegment) -> None:
        self.role = role
        self.segment = segment
        self.tag = tag_of("strategy", role.removeprefix(STRATEGY_PREFIX))
        self.is_obeyed = False
        """Whether its process lived when it was last looked at."""
        self._board = segment.board("quotes")
        self._scan = self._board.changed()
        self._again: set[int] = set()

    def rescan(self) -> None:
        """Let the next poll give all quotes there are, changed or not."""
        self._scan = self._board.changed()

    def poll(self) -> list[Snapshot]:
        """Read the quotes published since the last poll, by the strategy that runs now."""
        changed = self._scan.slots()
        if not changed and not self._again:
            return []
        found: list[Snapshot] = []
        slots = {*changed, *self._again}
        self._again = set()
        for slot in sorted(slots):
            record = self._board.read(slot, 0)
            if record is Miss.BUSY:
                self._again.add(slot)
            elif not isinstance(record, Miss) and record.incarnation == self.segment.incarnation:
                found.append(record)
        return found


class StrategyInputs:
    """All strategies that this account obeys, found by the names of their segments."""

    def __init__(self, namespace: str, patterns: tuple[str, ...], counters: CounterWriter) -> None:
        self.inputs: dict[str, StrategyInput] = {}
        self._namespace = namespace
        self._patterns = patterns
        self._counters = counters
        self._due_ns = 0

    def refresh(self, now_ns: int) -> bool:
        """Attach new and replaced segments, drop removed ones; True when anything changed."""
        if now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + SCAN_NS
        before = {role: source.segment for role, source in self.inputs.items()}
        current = {role: s for role, s in self.inputs.items() if s.segment.is_current()}
        for role in roles(self._namespace):
            if role in current or not self._is_obeyed(role):
                continue
            source = attach(role, self._namespace, partial(StrategyInput, role))
            if source is not None:
                current[role] = source
                LOG.info("attached", role=role, incarnation=source.segment.incarnation)
                if role in before:
                    self._counters.add(Counter.cache_segment_reattached)
        self.inputs = current
        return {role: source.segment for role, source in current.items()} != before

    def _is_obeyed(self, role: str) -> bool:
        name = role.removeprefix(STRATEGY_PREFIX)
        return name != role and any(fnmatchcase(name, pattern) for pattern in self._patterns)
