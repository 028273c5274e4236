"""The Polymarket feed: one connection to the market channel, its markets, their slots and timers.

It ties together the session (`feeds/session.py`), the markets the resolver lists
(`feeds/discovery.py`), their slots (`feeds/subscriptions.py`) and the channel that publishes them
(`feeds/market_channel.py`), and it does what needs a clock: held batches expire, depth and mids are
published, whole books are asked for again where state may have been lost or a market has been
silent for long. The venue numbers nothing and may serve PONG without data: silent markets are
witnessed over REST (`feeds/witness.py`), those in doubt need a new whole book, and where none comes
and nothing else flows, the connection is made anew.

Invariants: nothing is sent before the first subscription, PING neither; a market has left the wire
and the directory before its slot is given away; the bell is rung once a burst, after publishing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from cache.segment import WriterSegment
from feeds.discovery import DiscoverySettings, Resolver
from feeds.gamma import GammaClient
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import MarketChannel
from feeds.pair import Boards, Pair
from feeds.polymarket_wire import subscribe_first, subscribe_more, unsubscribe
from feeds.proxy import ReferenceProxy
from feeds.pure_book import is_tick
from feeds.rest_books import RestBooks
from feeds.session import Keepalive, Send, Session
from feeds.subscriptions import BookRequests, Slots, instrument_values, recall_window
from feeds.twap import SettlementFeed, SettlementSettings
from feeds.witness import Witness
from host.clock import NS_PER_MS, NS_PER_S, monotonic_ns, wall_ns
from host.idle import until_next
from host.log import get_log
from host.settings import BookStore, Config
from host.settings import PolymarketFeed as Settings

ROLE: Final = "feed.polymarket.0"
PAIRS_MAX: Final = 250
"""The venue sends no first books on a connection of more than 500 tokens."""

KEEPALIVE: Final = Keepalive(lambda number: "PING", interval_s=10.0, stale_s=30.0, ping_s=0.15)
"""Text PING as the venue wants it; pings of the protocol prove the link of a quiet connection.

A ping every other tick and a tick until its pong is shown make 0.3 s: less than the 0.5 s that the
strictest policy allows. No rule of the venue is known that counts them."""
TICK_MS: Final = 100
MIDS_EVERY: Final = 10
CERTIFY_EVERY: Final = 3
"""One market's hashes are checked every so many ticks; it costs some tenths of a millisecond."""

SILENCE_NS: Final = 2 * NS_PER_S
"""Hashes are not checked again and again while the venue says nothing for so long."""

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


@dataclass(slots=True)
class _Timer:
    """A timer that is set at most once at a time."""

    handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()


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
        witness: Witness | None = None,
    ) -> None:
        self._segment = segment
        self._counters = segment.counters
        self._settings = settings
        self._settlement = settlement
        self._witness = witness
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
        self._requests = BookRequests(book_store.hard_stale_ms * NS_PER_MS)
        self.session = Session(ws_url, self, KEEPALIVE, segment.counters, name="polymarket")
        hold_ns = settings.hold_ms * NS_PER_MS
        self.channel = MarketChannel(segment.counters, self.session.answered, hold_ns=hold_ns)
        self.on_frame = self.channel.on_frame  # a call less for every frame
        self._is_subscribed = False
        self._frame_ns = 0
        """When a frame came last; a pong is none."""
        self._holds = _Timer()
        self._depths = _Timer()
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
        """Keep the connection and the timers going until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.session.run())
                group.create_task(self._tick_forever())
                if self._witness is not None:
                    group.create_task(self._witness.run())
        finally:
            self._holds.cancel()
            self._depths.cancel()
            self.channel.on_down()
            self._segment.ring()

    # --- markets (discovery.Listener) -----------------------------------------------------------

    def on_listed(self, market: MarketInfo) -> None:
        """Give a market its slots, list it and subscribe to it."""
        if market.condition_id in self.channel.pairs:
            return
        found = None
        if len(self.channel.pairs) < PAIRS_MAX:
            found = self._slots.take(tag_of("polymarket", market.condition_id))
        if found is None:
            self._counters.add(Counter.feeds_markets_refused)
            log.error("market_refused", slug=market.slug, market_slots=self._settings.market_slots)
            return
        slot, generation = found
        pair = Pair(market, slot, generation, self._boards)
        for index, tag in enumerate(pair.token_tags):
            self._instruments.assign(2 * slot + index, tag, generation)
        self.channel.add(pair)
        self._list(pair, is_listed=True)
        if self._settlement is not None:
            self._settlement.listed(market, slot, generation)
        self._counters.add(Counter.feeds_markets_listed)
        self._segment.bump_epoch()
        self._segment.ring()
        self._subscribe([pair])

    def on_released(self, condition_id: str) -> None:
        """Take a market off the wire, out of the directory, and its slots back."""
        pair = self.channel.remove(condition_id)
        if pair is None:
            return  # it was refused
        self._send(unsubscribe(_tokens([pair])))
        if self._settlement is not None:
            self._settlement.released(condition_id)
        self._list(pair, is_listed=False)
        self._requests.forget(pair)
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

    def _subscribe(self, pairs: list[Pair]) -> bool:
        """Ask for these markets; the first message of a connection has a form of its own."""
        if not self.session.is_connected or not pairs:
            return False
        if self._is_subscribed:
            self._send(subscribe_more(_tokens(pairs)))
        else:
            self.session.send(subscribe_first(_tokens(pairs)))
            self._is_subscribed = True
            self.session.arm_keepalive()
        now_ns = monotonic_ns()
        for pair in pairs:
            pair.on_subscribed()
            self._requests.asked(pair, now_ns)
        return True

    def _send(self, text: str) -> None:
        if self._is_subscribed:
            self.session.send(text)

    # --- the connection (session.Handler) -------------------------------------------------------

    def on_connected(self, send: Send) -> bool:
        self._is_subscribed = False
        return self._subscribe(list(self.channel.pairs.values()))

    def on_rejected(self, recv_ns: int) -> None:
        self.channel.lose_all()

    def on_burst(self) -> None:
        session = self.session
        self._frame_ns = session.read_ns
        if not session.is_behind:
            self._segment.set_link(session.read_ns)
        if self.channel.end_burst():
            self._segment.ring()
            if self._depths.handle is None:
                self._depths.handle = self._later(
                    self._settings.depth_interval_ms, self._flush_depth
                )
        if self.channel.held and self._holds.handle is None:
            self._holds.handle = self._later(self._settings.hold_ms, self._expire)

    def on_stalled(self) -> None:
        self.channel.on_behind(True)
        self._segment.ring()

    def on_caught_up(self) -> None:
        self.channel.on_behind(False)
        self._segment.ring()

    def on_disconnected(self, reason: str) -> None:
        self._is_subscribed = False
        self.channel.on_down()
        if self._witness is not None:
            self._witness.on_disconnected()
        self._segment.ring()

    # --- the clock ------------------------------------------------------------------------------

    def _later(self, delay_ms: int, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_ms / 1e3, call)

    def _expire(self) -> None:
        self._holds.handle = None
        if self.channel.expire(monotonic_ns()):
            self.on_burst()
        elif self.channel.held:
            self._holds.handle = self._later(1, self._expire)

    def _flush_depth(self) -> None:
        self._depths.handle = None
        if self.channel.flush_depth():
            self._segment.ring()

    async def _tick_forever(self) -> None:
        count = 0
        while True:
            await until_next(TICK_MS)
            count += 1
            self.tick(count, wall_ns())

    def tick(self, count: int, wall_now_ns: int) -> None:
        """Do what is due at the `count`-th tick."""
        now_ns = monotonic_ns()
        if count % MIDS_EVERY == 0:
            self.channel.publish_mids()
        if self.session.is_behind:
            return
        read_ns = self.session.read_ns
        if read_ns:
            self._segment.set_link(read_ns)  # A pong is no frame.
        if count % CERTIFY_EVERY == 0 and now_ns - self._frame_ns < SILENCE_NS:
            self.channel.certify_next(now_ns)
        if self._is_subscribed:
            self._ask_for_books(now_ns, wall_now_ns)
            if self._witness is not None:
                pairs = self.channel.pairs.values()
                self._witness.tick(pairs, read_ns=read_ns, wall_ns=wall_now_ns)

    def _ask_for_books(self, now_ns: int, wall_now_ns: int) -> None:
        """Ask again for the whole books of markets in doubt: by leaving and joining them."""
        wanted, is_hopeless = self._requests.due(
            self.channel.pairs.values(),
            now_ns=now_ns,
            wall_ns=wall_now_ns,
            flow_ns=self.channel.flow_ns,
        )
        if is_hopeless:
            self.session.reconnect("whole books do not come")
        elif wanted:
            self._counters.add(Counter.feeds_books_requested, len(wanted))
            log.warning("books_requested", markets=",".join(p.market.slug for p in wanted))
            self._send(unsubscribe(_tokens(wanted)))
            self._send(subscribe_more(_tokens(wanted)))


def _tokens(pairs: list[Pair]) -> list[str]:
    return [token for pair in pairs for token in pair.market.token_ids if token]


async def serve(segment: WriterSegment, config: Config) -> None:
    """Run the whole process until cancelled: feed, look-ups and settlement."""
    venue, settings = config.venues.polymarket, config.feeds.polymarket
    timeout_s = settings.lookup_timeout_s
    gamma = GammaClient(venue.gamma_url, venue.clob_url, timeout_s=timeout_s)
    settlement = SettlementFeed(segment, gamma, _settlement_settings(config))
    book_timeout_s = config.md_cache.refresh_timeout_ms / 1e3
    books = RestBooks(venue.clob_url, segment.counters, timeout_s=book_timeout_s)
    witness = Witness(config.md_cache, books.refresh, segment.counters, ring=segment.ring)
    feed = PolymarketFeed(
        segment,
        venue.ws_url,
        settings,
        book_store=config.book_store,
        settlement=settlement,
        witness=witness,
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
