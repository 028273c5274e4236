"""From what was read to what a strategy sees: judged, put in its terms, frozen under the anchor.

Every book is served here (`cache/book_access.py`): judged by the gate and, until its window is
over, counted. Here too lives what a run needs of the runs before it: the bases of the settlement
sources, and when a market's inputs were last to be trusted. Neither is needed to go on after a
restart: a basis is rebuilt from the points and samples that the feeds keep. The invariant: a view
holds what was read in this run, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from msgspec import Struct

from cache.board import Miss, Snapshot
from cache.book_access import depth_of, serve
from cache.book_metrics import BookMetrics
from cache.book_store import Sight
from cache.gate import Witness, gate
from cache.instruments import Pair
from cache.layout import Provenance, Reason, SettlementType, word_of
from strategy.basis import Bases, MarketBasis
from strategy.inputs import Look, MarketSight, ReferenceSight
from strategy.params import StrategyParams
from strategy.pricing import NS, Window, micro_price
from strategy.quoting import TwoSided
from strategy.reference import Samples
from strategy.strategy_cache import RunAnchor, RunMode
from strategy.tick import (
    Basis,
    BookView,
    Market,
    ReferenceView,
    StrikeView,
    View,
)

Own = tuple[TwoSided, int | None, Reason]
"""What is the strategy's own in a market: the quotes that stand, the net position, whether it may
be quoted at all."""

Reads = tuple[Snapshot | Miss, Snapshot | Miss, Snapshot | Miss]
"""Book, settlement and reference of one market."""


class Witnesses(Struct, frozen=True):
    """What is known of the two feeds at the instant of the anchor."""

    market: Witness
    reference: Witness


def market_of(pair: Pair, lag_ns: int) -> Market:
    """Put the directory's entry in the strategy's terms."""
    yes = pair.yes
    kind = yes.settlement_type
    window = None
    length_ns = yes.window_end_ns - yes.window_start_ns
    if kind == SettlementType.TWAP and 0 < yes.twap_ns <= length_ns:
        window = Window(yes.window_start_ns, yes.window_end_ns, yes.twap_ns, lag_ns)
    elif kind == SettlementType.CANDLE and length_ns > 0:
        window = Window(yes.window_start_ns, yes.window_end_ns, 0)
    return Market(
        tag=pair.tag,
        slug=yes.slug,
        generation=yes.generation,
        listed_tick_e9=yes.tick_e9,
        lot_e9=yes.lot_e9,
        min_qty_e9=yes.min_qty_e9,
        window=window,
        has_basis=kind == SettlementType.TWAP,
    )


@dataclass(slots=True)
class _Memory:
    """What is kept of a market from one run to the next."""

    market: Market
    listed_version: int
    reads: Reads
    """What venues sent, as it was read in this run."""
    reads_before: Reads | None = None
    """The same of the run before; None in the first."""
    trusted_ns: int = 0
    """When its inputs were last quotable; 0 never."""
    micro_px_e9: int = 0
    weighed: tuple[int, int, int] = (0, 0, 0)
    """Which records that was made of: versions of depth and top, incarnation."""
    settlement: Snapshot | Miss | None = None
    strike: StrikeView | None = None
    """The strike in that settlement."""
    basis: Basis | None = None
    follows: MarketBasis | None = None


_Seen = tuple[MarketSight, _Memory, ReferenceView | None, int | None]
"""A market as it was read, what is kept of it, its reference, and the known part of an average."""


class ViewBuilder:
    """Makes the views of each run. Belongs to one thread."""

    def __init__(self, params: StrategyParams, metrics: BookMetrics) -> None:
        self._params = params
        self._metrics = metrics
        self._bases = Bases(params.basis)
        self._memories: dict[int, _Memory] = {}

    def build(
        self,
        look: Look,
        anchor: RunAnchor,
        witnesses: Witnesses,
        own: Callable[[Market, Pair], Own],
    ) -> Iterator[View]:
        """Freeze a view of every market that was read.

        Those whose own book is new come first: what is decided on them need not wait for the rest.
        """
        offset_ns = anchor.wall_ns - anchor.now_ns if anchor.mode is not RunMode.REPLAY else None
        sibling_ns = max([_recv_ns(sight.book) for sight in look.markets.values()], default=0)
        market, reference = witnesses.market, witnesses.reference
        of_market = Witness(
            market.liveness, market.incarnation, market.link_ns, sibling_ns, offset_ns
        )
        of_reference = Witness(
            reference.liveness, reference.incarnation, reference.link_ns, 0, offset_ns
        )
        references = {
            tag: self._reference(sight, anchor, of_reference)
            for tag, sight in look.references.items()
        }
        if self._memories.keys() != look.markets.keys():
            for old in self._memories.keys() - look.markets.keys():
                del self._memories[old]
        fresh: list[_Seen] = []
        stood: list[_Seen] = []
        for sight in look.markets.values():
            seen = look.references.get(sight.reference_tag)
            view_of = references.get(sight.reference_tag)
            memory = self._remember(sight, seen, view_of, anchor)
            samples = seen.samples if seen is not None else None
            average = _average(memory.market.window, samples, view_of, anchor.wall_ns)
            before = memory.reads_before
            is_fresh = before is not None and _is_new(sight.book, before[0])
            (fresh if is_fresh else stood).append((sight, memory, view_of, average))
        for sight, memory, view_of, average in fresh + stood:
            yield View(
                memory.market.tag,
                anchor,
                memory.market,
                self._book(sight, memory, view_of, anchor=anchor, witness=of_market),
                view_of,
                memory.basis,
                memory.strike,
                average,
                *own(memory.market, sight.pair),
            )

    def cause(self, tag: int) -> Snapshot | None:
        """Return the record of the newest bytes that came between the last two runs, or None.

        It is what caused a decision of the last run that is another than the one before. Features,
        positions and records that a feed published again (a flag, a proof) are no causes: no bytes
        of a venue came when they changed.
        """
        memory = self._memories.get(tag)
        if memory is None or memory.reads_before is None:
            return None
        new = [
            read
            for read, before in zip(memory.reads, memory.reads_before, strict=True)
            if not isinstance(read, Miss) and _is_new(read, before)
        ]
        return max(new, key=_recv_ns, default=None)

    # --- from run to run ------------------------------------------------------------------------

    def _remember(
        self,
        sight: MarketSight,
        seen: ReferenceSight | None,
        reference: ReferenceView | None,
        anchor: RunAnchor,
    ) -> _Memory:
        """Note what was read of a market, and keep its terms, strike and basis up to it."""
        listed = sight.pair.yes
        reads = (sight.book, sight.settlement, seen.bbo if seen is not None else Miss.NEVER)
        memory = self._memories.get(sight.pair.tag)
        if memory is None:
            market = market_of(sight.pair, self._params.lag_ns)
            memory = self._memories[sight.pair.tag] = _Memory(market, listed.version, reads)
        else:
            memory.reads_before, memory.reads = memory.reads, reads
            if memory.listed_version != listed.version:
                memory.market = market_of(sight.pair, self._params.lag_ns)
                memory.listed_version = listed.version
        if memory.settlement is not sight.settlement:
            memory.settlement, memory.strike = sight.settlement, _strike(sight.settlement)
        market = memory.market
        if seen is None or not market.has_basis or market.window is None:
            memory.basis = None
            return memory
        window, follows = market.window, memory.follows
        if follows is None or (follows.window is not window and follows.window != window):
            memory.follows = follows = self._bases.of_market(window, sight.reference_tag)
        memory.basis = follows.of(
            sight.settlement, memory.strike, seen.samples, reference, wall_ns=anchor.wall_ns
        )
        return memory

    def _book(
        self,
        sight: MarketSight,
        memory: _Memory,
        reference: ReferenceView | None,
        *,
        anchor: RunAnchor,
        witness: Witness,
    ) -> BookView:
        now_ns, window = anchor.now_ns, memory.market.window
        policy = self._params.book_policy
        if window is not None and anchor.wall_ns >= window.end_ns:
            # What is over is shown, and was not asked for to trade on it: neither hit nor miss.
            book, trust = gate(sight.book, policy, now_ns, witness)
        else:
            book, trust = serve(sight.book, policy, now_ns, witness=witness, metrics=self._metrics)
        is_quotable = trust.is_quotable
        if is_quotable and reference is not None and reference.trust.is_quotable:
            memory.trusted_ns = now_ns
        if book is None:
            return BookView(trust, 0, 0, 0, 0, 0, 0, 0, 0, memory.trusted_ns, 0)
        return BookView(
            trust=trust,
            bid_px_e9=book.yes_bid_px_e9,
            ask_px_e9=book.yes_ask_px_e9,
            tick_e9=book.tick_e9 or memory.market.listed_tick_e9,
            batch=book.batch,
            version=book.version,
            age_ns=now_ns - book.recv_ns,
            recv_ns=book.recv_ns,
            publish_ns=book.publish_ns,
            last_trusted_ns=memory.trusted_ns,
            micro_px_e9=self._micro_px(sight.depth, book, memory, anchor, witness)
            if is_quotable
            else 0,
        )

    def _micro_px(
        self,
        depth: Snapshot | Miss,
        top: Snapshot,
        memory: _Memory,
        anchor: RunAnchor,
        witness: Witness,
    ) -> int:
        """Weigh the mid by the sizes of the best levels, once for each pair of records."""
        if isinstance(depth, Miss):
            return 0
        weighed = depth.version, top.version, witness.incarnation
        if weighed != memory.weighed:
            policy = self._params.book_policy
            book = depth_of(Sight(depth, top), policy, anchor.now_ns, witness)
            memory.weighed = weighed
            memory.micro_px_e9 = _micro_px(book, top, self._params.micro_levels) if book else 0
        return memory.micro_px_e9

    def _reference(
        self, sight: ReferenceSight, anchor: RunAnchor, witness: Witness
    ) -> ReferenceView:
        policy = self._params.reference_policy
        bbo, trust = serve(sight.bbo, policy, anchor.now_ns, witness=witness, metrics=self._metrics)
        if bbo is None:
            return ReferenceView(trust, 0, 0, 0, 0, 0, 0, 0, 0)
        bid, ask = bbo.bid_px_e9, bbo.ask_px_e9
        sigma_e9 = count = shock_z_e9 = 0
        features = sight.features
        if not isinstance(features, Miss):
            age_ns = anchor.now_ns - features.publish_ns
            if 0 <= age_ns <= self._params.features_age_ns_max:
                sigma_e9, count = features.sigma_e9, features.sample_count
                shock_z_e9 = features.shock_z_e9
        return ReferenceView(
            trust=trust,
            mid_px_e9=(bid + ask) // 2 if bid and ask else 0,
            version=bbo.version,
            age_ns=anchor.now_ns - bbo.recv_ns,
            recv_ns=bbo.recv_ns,
            publish_ns=bbo.publish_ns,
            sigma_e9=sigma_e9,
            sample_count=count,
            shock_z_e9=shock_z_e9,
        )


def _micro_px(depth: Snapshot, top: Snapshot, levels: int) -> int:
    """Weigh the mid by the sizes of the best levels; 0 where a side is empty or damaged."""
    bid, ask = top.yes_bid_px_e9, top.yes_ask_px_e9
    sizes = slice(1, 2 * levels, 2)
    bid_qty, ask_qty = sum(depth.bids[sizes]), sum(depth.asks[sizes])
    if not bid or not ask or bid_qty <= 0 or ask_qty <= 0:
        return 0
    return micro_price(bid, ask, bid_qty_e9=bid_qty, ask_qty_e9=ask_qty)


def _recv_ns(read: Snapshot | Miss) -> int:
    if isinstance(read, Miss):
        return 0
    received: int = read.recv_ns
    return received


def _is_new(read: Snapshot | Miss, before: Snapshot | Miss) -> bool:
    """Whether bytes came since a record was read before."""
    return not isinstance(read, Miss) and read.recv_ns > _recv_ns(before)


def _strike(settlement: Snapshot | Miss) -> StrikeView | None:
    """Return the strike; it stays true whichever incarnation of the feed wrote it down."""
    if isinstance(settlement, Miss):
        return None
    provenance = word_of(Provenance, settlement.strike_provenance)
    return StrikeView(settlement.strike_e9, provenance) if provenance is not None else None


def _average(
    window: Window | None,
    samples: Samples | None,
    reference: ReferenceView | None,
    wall_ns: int,
) -> int | None:
    """Average the reference over what is over of the running average; None when not known."""
    span = window.averaging(wall_ns) if window is not None else None
    if span is None or samples is None or reference is None:
        return None
    first, last = span[0] // NS + 1, span[1] // NS
    if last < first:
        return reference.mid_px_e9 or None  # Less than a second of it is over.
    return samples.mean_e9(range(first, last + 1))
