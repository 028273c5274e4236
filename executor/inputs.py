"""What the executor reads: the venue's books, prints and outcomes, and what strategies want.

An input attaches when its segment is there and again when it is replaced; it never waits, and what
it cannot read is absent, never an older value. Records become the values of `executor/market.py`
and `executor/diff.py` here and nowhere else. The invariant: a book is handed on as trusted only
while the gate calls it quotable. It decides nothing about orders.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from cache.board import Miss, Snapshot
from cache.counters import Counter, CounterWriter
from cache.errors import PenstockError, SegmentMissing
from cache.gate import Policy, Trust, Witness, gate
from cache.instruments import Directory, Pair
from cache.layout import E9, Outcome, Side, tag_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment, roles
from executor.diff import Wanted
from executor.market import Book, Market, Print, print_of
from executor.orders import Provenance
from host.clock import NS_PER_MS, monotonic_ns
from host.log import get_log
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


def attach(role: str, namespace: str) -> ReaderSegment | None:
    """Attach a segment; None when it is not there or cannot be read, which is logged."""
    try:
        return ReaderSegment.attach(role, namespace=namespace)
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
    if first.lot_e9 < 0 or first.min_qty_e9 <= 0 or first.fee_rate_e9 < 0:
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
    )


def wanted_of(quotes: Snapshot, strategy_tag: int) -> Wanted:
    """Read target quotes; `recv_ns` is when the strategy froze its inputs."""
    decided_ns: int = quotes.recv_ns
    return Wanted(
        bid_px_e9=quotes.bid_px_e9,
        bid_qty_e9=quotes.bid_qty_e9,
        ask_px_e9=quotes.ask_px_e9,
        ask_qty_e9=quotes.ask_qty_e9,
        valid_until_ns=quotes.valid_until_ns,
        decided_ns=decided_ns,
        keep=bool(quotes.keep),
        provenance=Provenance(
            strategy_tag, quotes.version, quotes.book_version, quotes.reference_version
        ),
        publish_ns=quotes.publish_ns,
        wire_ns=decided_ns - quotes.book_age_ns,
    )


class FeedInput:
    """The venue's feed. Belongs to one thread."""

    def __init__(self, namespace: str, policy: Policy, counters: CounterWriter) -> None:
        self.segment: ReaderSegment | None = None
        self.directory: Directory | None = None
        self._namespace = namespace
        self._policy = policy
        self._counters = counters
        self._due_ns = 0
        self._overruns = 0
        self._lost = 0
        self._witness = Witness(Liveness.WRITER_DEAD, 0, 0)

    def refresh(self, now_ns: int) -> bool:
        """Attach where that is due and possible; True when another segment is held than before."""
        if now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + LOOK_NS
        if self.segment is not None and self.segment.is_current():
            return False
        segment = attach(FEED_ROLE, self._namespace)
        if segment is None:
            return False
        if self.segment is not None:
            self._counters.add(Counter.cache_segment_reattached)
        self.segment = segment
        self.directory = Directory(segment)
        self._bbo = segment.board("pair_bbo")
        self._depth = segment.board("depth")
        self._settlement = segment.board("settlement")
        self._trades = segment.board("trades").stream()
        self._overruns = self._lost = 0
        LOG.info("attached", role=FEED_ROLE, incarnation=segment.incarnation)
        return True

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
        board = self._bbo
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

    def trust(self, top: Snapshot | Miss | None, now_ns: int) -> Trust:
        """Judge a top of book now."""
        return gate(top, self._policy, now_ns, witness=self._witness)[1]

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
        deep = self._depth.read(2 * market.slot, market.yes_tag)
        if isinstance(deep, Miss) or deep.batch != top.batch:
            return made
        return replace(
            made, bids=deep.bids[: 2 * deep.bid_count], asks=deep.asks[: 2 * deep.ask_count]
        )

    def prints(self) -> tuple[list[Snapshot], bool]:
        """Take the new prints of all markets; True when some were lost."""
        taken = self._trades.take(PRINTS_MAX)
        has_lost = self._trades.overrun_count != self._overruns
        if has_lost:
            self._counters.add(
                Counter.cache_stream_overrun, self._trades.overrun_count - self._overruns
            )
            self._counters.add(Counter.cache_stream_lost, self._trades.lost_count - self._lost)
            self._overruns, self._lost = self._trades.overrun_count, self._trades.lost_count
        return taken, has_lost

    def outcome(self, market: Market) -> Outcome:
        """Read who won a market; UNKNOWN as long as nobody knows."""
        found = self._settlement.read(market.slot, market.tag)
        return Outcome.UNKNOWN if isinstance(found, Miss) else Outcome(found.outcome)


def print_from(trade: Snapshot, market: Market) -> Print | None:
    """Read a print in terms of the first token; None where the taker's side is not known."""
    if not trade.side:
        return None
    return print_of(
        market.tag,
        trade.recv_ns,
        is_yes=trade.tag == market.yes_tag,
        side=Side(trade.side),
        px_e9=trade.px_e9,
        qty_e9=trade.qty_e9,
    )


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
        changed = self._scan.poll().tolist()
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
            segment = attach(role, self._namespace)
            if segment is not None and "quotes" in segment.places():
                current[role] = StrategyInput(role, segment)
                LOG.info("attached", role=role, incarnation=segment.incarnation)
                if role in before:
                    self._counters.add(Counter.cache_segment_reattached)
        self.inputs = current
        return {role: source.segment for role, source in current.items()} != before

    def _is_obeyed(self, role: str) -> bool:
        name = role.removeprefix(STRATEGY_PREFIX)
        return name != role and any(fnmatchcase(name, pattern) for pattern in self._patterns)
