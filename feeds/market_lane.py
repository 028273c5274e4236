"""One connection to Polymarket's market channel: its markets, its link, its timers.

A `MarketLane` is a `Session` with the `MarketChannel` of the markets it carries, and does for them
what needs a clock: held batches expire, mids are published, whole books are asked for again where
state may have been lost or a market has been silent for long. Its owner (`feeds/polymarket.py`) has
one as a rule, and as many as the venue's bound on tokens demands. The venue numbers nothing and may
serve PONG without data: silent markets are witnessed over REST (`feeds/witness.py`), those in doubt
need a new whole book, and where none comes and nothing else flows, the connection is made anew.

Invariants: nothing is sent before the first subscription, PING neither; what befalls a lane befalls
its own markets and no others; the bell is rung once a burst, after publishing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cache.counters import Counter
from cache.segment import WriterSegment
from feeds.depth_turns import DepthTurns
from feeds.market_channel import MarketChannel
from feeds.pair import Pair
from feeds.polymarket_wire import subscribe_first, subscribe_more, unsubscribe
from feeds.session import Keepalive, Send, Session
from feeds.subscriptions import BookRequests
from feeds.witness import Witness
from host.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from host.log import get_log
from host.settings import PolymarketFeed as Settings

KEEPALIVE: Final = Keepalive(lambda number: "PING", interval_s=10.0, stale_s=30.0, ping_s=0.15)
"""Text PING as the venue wants it; pings of the protocol prove the link of a quiet connection.

A ping every other tick and a tick until its pong is shown make 0.3 s: less than the 0.5 s that the
strictest policy allows. No rule of the venue is known that counts them."""

MIDS_EVERY: Final = 10
CERTIFY_EVERY: Final = 3
"""One market's hashes are checked every so many ticks; it costs some tenths of a millisecond."""

SILENCE_NS: Final = 2 * NS_PER_S
"""Hashes are not checked again and again while the venue says nothing for so long."""

log = get_log("feeds")


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """What all lanes of a feed have in common."""

    segment: WriterSegment
    ws_url: str
    settings: Settings
    quiet_ns: int
    """So long without a change or proof a market's whole book is asked for again."""
    depths: DepthTurns
    on_proof: Callable[[MarketLane], None]
    """Hears of each read that proves a lane's connection."""


class MarketLane:
    """One connection and its markets; belongs to its feed's event loop. A `session.Handler`."""

    def __init__(self, terms: LaneTerms, number: int, witness: Witness | None = None) -> None:
        self.number = number
        self.witness = witness
        self._segment = terms.segment
        self._counters = terms.segment.counters
        self._settings = terms.settings
        self._on_proof = terms.on_proof
        self._depths = terms.depths
        self._requests = BookRequests(terms.quiet_ns)
        self.session = Session(
            terms.ws_url, self, KEEPALIVE, self._counters, name=f"polymarket.{number}"
        )
        hold_ns = terms.settings.hold_ms * NS_PER_MS
        self.channel = MarketChannel(self._counters, self.session.answered, hold_ns=hold_ns)
        self.on_frame = self.channel.on_frame  # a call less for every frame
        self._is_subscribed = False
        self._frame_ns = 0
        """When a frame came last; a pong is none."""
        self._hold_timer: asyncio.TimerHandle | None = None

    @property
    def is_proving(self) -> bool:
        """Whether what is read proves something: of markets, and nothing older waits unread."""
        session = self.session
        return self._is_subscribed and not session.is_behind and bool(self.channel.pairs)

    async def run(self) -> None:
        """Keep the connection going until cancelled; whoever owns the lane ticks it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.session.run())
                if self.witness is not None:
                    group.create_task(self.witness.run())
        finally:
            if self._hold_timer is not None:
                self._hold_timer.cancel()
            self.channel.on_down()
            self._segment.ring()

    # --- markets --------------------------------------------------------------------------------

    def add(self, pair: Pair) -> None:
        """Carry a market, which shows WARMUP at first; `subscribe` asks for it."""
        self.channel.add(pair)

    def remove(self, condition_id: str) -> Pair | None:
        """Take a market off the wire."""
        pair = self.channel.remove(condition_id)
        if pair is not None:
            self._send(unsubscribe(_tokens([pair])))
            self._requests.forget(pair)
        return pair

    def subscribe(self, pairs: list[Pair]) -> bool:
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
        return self.subscribe(list(self.channel.pairs.values()))

    def on_rejected(self, recv_ns: int) -> None:
        self.channel.lose_all()

    def on_burst(self) -> None:
        session = self.session
        self._frame_ns = session.read_ns
        if not session.is_behind:
            self._on_proof(self)
        if self.channel.end_burst():
            self._segment.ring()
            self._depths.want(self.channel)
        if self.channel.held and self._hold_timer is None:
            self._hold_timer = self._later(self._settings.hold_ms, self._expire)

    def on_stalled(self) -> None:
        self.channel.on_behind(True)
        self._segment.ring()
        self._depths.want(self.channel)

    def on_caught_up(self) -> None:
        self.channel.on_behind(False)
        self._segment.ring()
        self._depths.want(self.channel)

    def on_disconnected(self, reason: str) -> None:
        self._is_subscribed = False
        self.channel.on_down()
        if self.witness is not None:
            self.witness.on_disconnected()
        self._segment.ring()

    # --- the clock ------------------------------------------------------------------------------

    def _later(self, delay_ms: int, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_ms / 1e3, call)

    def _expire(self) -> None:
        self._hold_timer = None
        if self.channel.expire(monotonic_ns()):
            self.on_burst()
        elif self.channel.held:
            self._hold_timer = self._later(1, self._expire)

    def tick(self, count: int, wall_now_ns: int) -> None:
        """Do what is due at the feed's `count`-th tick; lanes take turns with what is seldom."""
        now_ns = monotonic_ns()
        turn = count + self.number
        if turn % MIDS_EVERY == 0:
            self.channel.publish_mids()
        if self.session.is_behind:
            return
        read_ns = self.session.read_ns
        if read_ns:
            self._on_proof(self)  # A pong is no frame.
        if turn % CERTIFY_EVERY == 0 and now_ns - self._frame_ns < SILENCE_NS:
            self.channel.certify_next(now_ns)
        if self._is_subscribed:
            self._ask_for_books(now_ns, wall_now_ns)
            if self.witness is not None:
                pairs = self.channel.pairs.values()
                self.witness.tick(pairs, read_ns=read_ns, wall_ns=wall_now_ns)

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
