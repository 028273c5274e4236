"""The Polymarket feed: its markets, their slots, and the connections that carry them.

It ties together the markets that the resolver lists (`feeds/discovery.py`), their slots
(`feeds/subscriptions.py`) and the lanes that carry and publish them (`feeds/market_lane.py`): one
as a rule, and another one whenever all are full, for the venue sends no first books to a connection
with too many tokens. A market stays on the lane that it was put on.

What readers are told of the link holds for every lane: it is the time of the lane that was read
longest ago. A lane that is silent for long beside others that are not is made anew.

Invariants: a market has left the wire and the directory before its slot is given away; no lane
carries more tokens than the configuration allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from cache.board import Miss, Snapshot
from cache.counters import Counter
from cache.layout import (
    DEPTH,
    INSTRUMENT,
    PAIR_BBO,
    SETTLEMENT,
    TRADE,
    BoardSpec,
    tag_of,
)
from cache.md_rollout import MDGates
from cache.segment import WriterSegment
from feeds.depth_turns import DepthTurns
from feeds.discovery import DiscoverySettings, Resolver
from feeds.gamma import GammaClient
from feeds.gamma_wire import MarketInfo
from feeds.market_lane import LaneTerms, MarketLane
from feeds.pair import Boards, Pair
from feeds.proxy import ReferenceProxy
from feeds.rest_books import RestBooks
from feeds.subscriptions import Slots, instrument_values, recall_window
from feeds.text_numbers import is_tick
from feeds.twap import SettlementFeed, SettlementSettings
from feeds.witness import Budget, Witness
from host.clock import NS_PER_MS, NS_PER_S, monotonic_ns, wall_ns
from host.idle import until_next
from host.log import get_log
from host.settings import BookStore, Config
from host.settings import PolymarketFeed as Settings

ROLE: Final = "feed.polymarket.0"
TICK_MS: Final = 100
SILENT_BESIDE_NS: Final = 2 * NS_PER_S
"""A lane that was not read for so much longer than another is dead: pings are answered sooner."""

log = get_log("feeds")


def boards(settings: Settings) -> tuple[BoardSpec, ...]:
    """The boards of the segment."""
    count = settings.market_slots
    return (
        BoardSpec("instruments", INSTRUMENT, 2 * count, 4),
        BoardSpec("pair_bbo", PAIR_BBO, count, 8),
        BoardSpec("mids", PAIR_BBO, count, 128),
        BoardSpec("depth", DEPTH, 2 * count, 8),
        BoardSpec("trades", TRADE, 1, 4096),
        BoardSpec("settlement", SETTLEMENT, count, 8),
    )


class PolymarketFeed:
    """The heart of the process `feeds polymarket`; belongs to its event loop."""

    def __init__(
        self,
        segment: WriterSegment,
        ws_url: str,
        settings: Settings,
        *,
        book_store: BookStore,
        settlement: SettlementFeed | None = None,
        make_witness: Callable[[], Witness] | None = None,
    ) -> None:
        """`make_witness` makes the witness of each lane."""
        self._segment = segment
        self._counters = segment.counters
        self._settings = settings
        self._settlement = settlement
        self._make_witness = make_witness
        self._instruments = segment.board("instruments")
        self._boards = Boards(
            pair_bbo=segment.board("pair_bbo"),
            mids=segment.board("mids"),
            depth=segment.board("depth"),
            trades=segment.board("trades"),
            counters=segment.counters,
            depth_max=book_store.max_depth,
        )
        self._slots = Slots(settings.market_slots)
        quiet_ns = book_store.hard_stale_ms * NS_PER_MS
        self.depths = DepthTurns(segment, settings.depth_interval_ms)
        self._terms = LaneTerms(segment, ws_url, settings, quiet_ns, self.depths, self._on_proof)
        self._group: asyncio.TaskGroup | None = None
        self._carriers: dict[str, MarketLane] = {}
        """By condition id, the lane that carries a market."""
        self.lanes: list[MarketLane] = []
        self._slowest = self._add_lane()
        """The lane whose last read is what readers are told."""
        self.recalled: dict[str, MarketInfo] = {}
        """By slug, the windows that the last incarnation listed, as far as memory says all."""
        for slot in range(settings.market_slots):
            held = self._boards.pair_bbo.last(slot)
            if not isinstance(held, Miss):
                self._slots.recall(slot, held.tag, held.generation)
                self._recall(slot, held)

    def _recall(self, slot: int, top: Snapshot) -> None:
        yes, no = (self._instruments.last(2 * slot + index) for index in (0, 1))
        if isinstance(yes, Miss) or isinstance(no, Miss) or yes.pair_tag != top.tag:
            return
        market = recall_window(yes, no)
        if market is not None:  # The tick may have changed since it was listed.
            tick_e9 = top.tick_e9 if is_tick(top.tick_e9) else market.tick_e9
            self.recalled[market.slug] = replace(market, tick_e9=tick_e9)

    async def run(self) -> None:
        """Keep the lanes and the clock going until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for lane in self.lanes:
                    group.create_task(lane.run())
                group.create_task(self._tick_forever())
        finally:
            self.depths.cancel()
            self._group = None

    # --- lanes ----------------------------------------------------------------------------------

    def _add_lane(self) -> MarketLane:
        witness = self._make_witness() if self._make_witness is not None else None
        lane = MarketLane(self._terms, len(self.lanes), witness)
        self.lanes.append(lane)
        if self._group is not None:
            self._group.create_task(lane.run())
        return lane

    def _lane_with_room(self) -> MarketLane:
        pairs_max = self._settings.connection_tokens_max // 2
        for lane in self.lanes:
            if len(lane.channel.pairs) < pairs_max:
                return lane
        return self._add_lane()

    def _on_proof(self, lane: MarketLane) -> None:
        """Tell readers when the lane that was read longest ago was read."""
        if len(self.lanes) > 1:
            if lane is not self._slowest and self._slowest.is_proving:
                return
            proving = (one for one in self.lanes if one.is_proving)
            lane = self._slowest = min(proving, key=_read_ns, default=lane)
        self._segment.set_link(lane.session.read_ns)

    def _cut_silent(self) -> None:
        """Make the lanes anew that were not read for long while others were."""
        proving = [lane for lane in self.lanes if lane.is_proving]
        newest_ns = max(map(_read_ns, proving), default=0)
        for lane in proving:
            if newest_ns - _read_ns(lane) > SILENT_BESIDE_NS:
                self._counters.add(Counter.feeds_session_silent)
                lane.session.reconnect("silent beside other connections")

    async def _tick_forever(self) -> None:
        count = 0
        while True:
            await until_next(TICK_MS)
            count += 1
            lanes, wall_now_ns = self.lanes, wall_ns()
            first = count % len(lanes)
            for lane in lanes[first:] + lanes[:first]:
                lane.tick(count, wall_now_ns)
                if len(lanes) > 1:
                    await asyncio.sleep(0)  # Frames come before the next one.
            if len(lanes) > 1:
                self._cut_silent()

    # --- markets (discovery.Listener) -----------------------------------------------------------

    def on_listed(self, market: MarketInfo) -> None:
        """Give a market its slots, list it and subscribe to it."""
        if market.condition_id in self._carriers:
            return
        found = self._slots.take(tag_of("polymarket", market.condition_id))
        if found is None:
            self._counters.add(Counter.feeds_markets_refused)
            log.error("market_refused", slug=market.slug, market_slots=self._settings.market_slots)
            return
        slot, generation = found
        pair = Pair(market, slot, generation, self._boards)
        for index, tag in enumerate(pair.token_tags):
            self._instruments.assign(2 * slot + index, tag, generation)
        lane = self._carriers[market.condition_id] = self._lane_with_room()
        lane.add(pair)
        self._list(pair, is_listed=True)
        if self._settlement is not None:
            self._settlement.listed(market, slot, generation)
        self._counters.add(Counter.feeds_markets_listed)
        self._segment.bump_epoch()
        self._segment.ring()
        lane.subscribe([pair])

    def on_released(self, condition_id: str) -> None:
        """Take a market off the wire, out of the directory, and its slots back."""
        lane = self._carriers.pop(condition_id, None)
        pair = lane.remove(condition_id) if lane is not None else None
        if pair is None:
            return  # it was refused
        if self._settlement is not None:
            self._settlement.released(condition_id)
        self._list(pair, is_listed=False)
        self._slots.release(pair.slot)
        self._counters.add(Counter.feeds_markets_released)
        self._segment.bump_epoch()
        self._segment.ring()

    def _list(self, pair: Pair, *, is_listed: bool) -> None:
        now_ns = monotonic_ns()
        for index in range(len(pair.token_tags)):
            prefix = (0, 0, now_ns, now_ns, 0, 0, 0)
            values = instrument_values(pair.market, index, pair.slot, is_listed=is_listed)
            self._instruments.publish(2 * pair.slot + index, (*prefix, *values))


def _read_ns(lane: MarketLane) -> int:
    return lane.session.read_ns


async def serve(segment: WriterSegment, config: Config) -> None:
    """Run the whole process until cancelled: feed, look-ups and settlement."""
    venue, settings = config.venues.polymarket, config.feeds.polymarket
    timeout_s = settings.lookup_timeout_s
    gamma = GammaClient(venue.gamma_url, venue.clob_url, timeout_s=timeout_s)
    settlement = SettlementFeed(segment, gamma, _settlement_settings(config))
    book_timeout_s = config.md_cache.refresh_timeout_ms / 1e3
    books = RestBooks(venue.clob_url, segment.counters, timeout_s=book_timeout_s)
    budget = Budget(settings.witness_books_per_s, lambda: books.waiting_count)
    make_witness = partial(
        Witness,
        config.md_cache,
        books.refresh,
        segment.counters,
        ring=segment.ring,
        budget=budget,
        gates=MDGates(config.md_cache, segment.counters),
    )
    feed = PolymarketFeed(
        segment,
        venue.ws_url,
        settings,
        book_store=config.book_store,
        settlement=settlement,
        make_witness=make_witness,
    )
    wanted = DiscoverySettings(
        families=settings.families,
        tokens=settings.tokens,
        lead_s=settings.lead_s,
        linger_s=settings.linger_s,
    )
    resolver = Resolver(gamma, feed, segment.counters, wanted, known=feed.recalled)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(settlement.run())
            group.create_task(feed.run())
            group.create_task(resolver.run())
    finally:
        await books.close()


def _settlement_settings(config: Config) -> SettlementSettings:
    settings = config.feeds.polymarket
    proxy = None
    if settings.strike_proxy == "binance":
        proxy = ReferenceProxy("feed.binance.0", config.host.namespace)
    return SettlementSettings(
        url=config.venues.polymarket.polybolt_url,
        silence_s=settings.twap_silence_s,
        point_wait_s=settings.twap_wait_s,
        official_interval_s=settings.official_interval_s,
        proxy=proxy,
    )
