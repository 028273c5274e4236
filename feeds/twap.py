"""Follows how windowed markets are settled: the venue's TWAP feed in, the `settlement` board out.

The client of PolyBolt runs over a `Session`; what follows from its points is `feeds/strike.py`.
Beside the stream it asks Gamma for the official prices and, where nothing better comes, takes a
strike made of a reference price, if the configuration wants one. When the point of a window's
first or last second does not come, it reconnects: that replays the last minute.

The invariant: a strike on the board is never replaced by a worse one, nor lost by a restart: what
the last incarnation knew of a market is taken over with the listing. Without credentials, and
without an endpoint, the stream is left out and this is said once. It lists no market itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from cache.board import Miss, Snapshot
from cache.counters import Counter
from cache.layout import E9, Flag, Outcome, Provenance, SettlementType, tag_of, word_of
from cache.segment import WriterSegment
from feeds import polybolt_wire as wire
from feeds.gamma import GammaClient, LookupFailed
from feeds.gamma_wire import GammaError, MarketInfo
from feeds.polybolt_wire import Points, Series
from feeds.proxy import ReferenceProxy
from feeds.session import Keepalive, Send, Session
from feeds.strike import Settlement, Strikes, settlement_values
from host.clock import wall_ns
from host.idle import until_next
from host.log import get_log
from host.unreadable import Unreadable

TICK_MS: Final = 500
REPLAY_EVERY_S: Final = 10.0
"""Least time between two reconnects made for a replay."""

PROXY_AFTER_S: Final = 5.0
"""A PROXY strike is taken no sooner: the stream's point takes about a second."""

SOURCE: Final = "chainlink"
KEEPALIVE: Final = Keepalive(wire.ping_message, interval_s=10.0, stale_s=25.0)
_SECRETS = ("POLYMARKET_API_KEY", "POLYMARKET_API_SECRET", "POLYMARKET_API_PASSPHRASE")

log = get_log("feeds")


@dataclass(frozen=True, slots=True)
class SettlementSettings:
    """What may be asked for, and how patient to be."""

    url: str
    """PolyBolt; empty where it is not served."""
    silence_s: float
    point_wait_s: float
    official_interval_s: float
    proxy: ReferenceProxy | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(slots=True)
class _Place:
    """A listed market, its slot, and when Gamma is to be asked again."""

    market: Settlement
    pair_slot: int
    flags: int = -1
    official_s: float = 0.0
    is_asking: bool = False


def credentials(url: str, environ: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The CLOB credentials of the environment; any will do for a venue on this host."""
    key, secret, passphrase = (environ.get(name, "") for name in _SECRETS)
    if key and secret and passphrase:
        return key, secret, passphrase
    is_local = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
    return ("paper", "paper", "paper") if is_local else None


class SettlementFeed:
    """Keeps the `settlement` board of one feed process; belongs to its event loop."""

    def __init__(
        self,
        segment: WriterSegment,
        gamma: GammaClient,
        settings: SettlementSettings,
        *,
        wall: Callable[[], int] = wall_ns,
    ) -> None:
        self._segment = segment
        self._board = segment.board("settlement")
        self._counters = segment.counters
        self._gamma = gamma
        self._settings = settings
        self._wall = wall
        self._strikes = Strikes()
        self._places: dict[str, _Place] = {}
        self._subscribed: set[Series] = set()
        self._is_authed = False
        self._point_ns = 0
        self._replay_s = 0.0
        self._is_dirty = False
        self._unreadable = Unreadable(segment.counters, log)
        self._remembered = self._remember()
        self._auth = credentials(settings.url, settings.environ) if settings.url else None
        self._session: Session | None = None
        if self._auth is not None:
            self._session = Session(settings.url, self, KEEPALIVE, self._counters, name="polybolt")

    def _remember(self) -> dict[int, Snapshot]:
        """What the board holds by tag: the knowledge of the last incarnation."""
        found = (self._board.last(slot) for slot in range(self._board.slot_count))
        return {held.tag: held for held in found if not isinstance(held, Miss)}

    # --- for the feed that lists the markets ----------------------------------------------------

    def listed(self, info: MarketInfo, pair_slot: int, generation: int) -> None:
        """Follow a market that was given `pair_slot`; publish what is known of it at once."""
        if not info.window_start_ns:
            return
        series = None
        if info.settlement_type == SettlementType.TWAP and info.twap_symbol:
            series = (info.twap_symbol, info.twap_ns // E9)
        start_s, end_s = info.window_start_ns // E9, info.window_end_ns // E9
        market = Settlement(
            info.condition_id, info.slug, series, start_s, end_s, info.reference_symbol
        )
        tag = tag_of("polymarket", info.condition_id)
        held = self._remembered.pop(tag, None)
        if held is not None and held.window_start_ns == info.window_start_ns:
            self._take_over(market, pair_slot, held)
        market.take_winner(info.winner)
        self._board.assign(pair_slot, tag, generation)
        self._strikes.add(market)
        self._places[info.condition_id] = place = _Place(market, pair_slot)
        self._subscribe()
        self._publish(place)
        self._ring()

    def _take_over(self, market: Settlement, pair_slot: int, held: Snapshot) -> None:
        """Take what the last incarnation knew; a word that is none is damage: nothing was known."""
        provenance = word_of(Provenance, held.strike_provenance)
        winner = word_of(Outcome, held.outcome)
        if provenance is None or winner is None:
            self._unreadable.note("settlement", pair_slot, held.version)
        market.is_less_basis = bool(held.flags & Flag.LESS_BASIS)
        market.take_strike(held.strike_e9, provenance or Provenance.UNKNOWN)
        market.take_final(held.final_e9, is_official=False)
        market.take_winner(winner or Outcome.UNKNOWN)

    def released(self, condition_id: str) -> None:
        """Follow a market no longer; its slot may be given to another."""
        self._places.pop(condition_id, None)
        self._strikes.remove(condition_id)
        unused = self._subscribed - self._strikes.series()
        if unused and self._session is not None:
            self._session.send(wire.unsubscribe_message(sorted(unused)))
            self._subscribed -= unused

    async def run(self) -> None:
        """Follow the stream and the clock until cancelled."""
        if self._session is None:
            cause = "no credentials" if self._settings.url else "no endpoint"
            log.warning("twap_left_out", cause=cause, set=",".join(_SECRETS))
        async with asyncio.TaskGroup() as group:
            if self._session is not None:
                group.create_task(self._session.run())
            while True:
                await until_next(TICK_MS)
                now_s = self._wall() / 1e9
                self.tick(now_s)
                for place in self._places.values():
                    if self._may_ask(place, now_s):
                        place.is_asking = True
                        group.create_task(self._ask(place))

    # --- the clock ------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Judge silence, ask for replays, fall back on a proxy; publish what changed by it."""
        self._watch(now_s)
        proxy = self._settings.proxy
        for place in self._places.values():
            market = place.market
            if (
                proxy is not None
                and market.series is not None
                and market.provenance == Provenance.UNKNOWN
                and market.start_s + PROXY_AFTER_S <= now_s < market.end_s
            ):
                made = proxy.strike(market.reference, market.start_s, market.series[1])
                if self._strikes.on_proxy(
                    market.condition_id, made.price_e9, is_less_basis=made.is_less_basis
                ):
                    log.warning("strike_proxy", slug=market.slug, strike_e9=made.price_e9)
                    self._publish(place)
            if place.flags != self._flags(market):
                self._publish(place)
        self._ring()

    def _watch(self, now_s: float) -> None:
        session = self._session
        if session is None or not session.is_connected or not self._subscribed:
            return
        silent_ns = time.monotonic_ns() - self._point_ns
        if silent_ns > self._settings.silence_s * E9:
            self._counters.add(Counter.feeds_session_silent)
            self._point_ns = time.monotonic_ns()
            session.reconnect("no points")
        elif now_s - self._replay_s >= REPLAY_EVERY_S:
            for market in self._strikes.overdue(now_s, self._settings.point_wait_s):
                self._replay_s = now_s
                log.warning("twap_point_missing", slug=market.slug)
                session.reconnect("a point did not come: replay")
                break

    def _may_ask(self, place: _Place, now_s: float) -> bool:
        wanted = not place.is_asking and now_s >= place.official_s
        return wanted and place.market.wants_official(now_s)

    async def _ask(self, place: _Place) -> None:
        """Ask Gamma for the official prices of a market, once."""
        market = place.market
        before_e9, provenance = market.strike_e9, market.provenance
        try:
            prices = await self._gamma.event(market.slug, market.condition_id)
        except (LookupFailed, GammaError) as error:
            self._counters.add(Counter.feeds_lookup_failed)
            log.warning("official_failed", slug=market.slug, cause=str(error))
            prices = None
        place.is_asking = False
        place.official_s = self._wall() / 1e9 + self._settings.official_interval_s
        if prices is None or self._places.get(market.condition_id) is not place:
            return
        if self._strikes.on_official(market.condition_id, prices):
            if provenance == Provenance.STREAM and market.strike_e9 != before_e9:
                self._counters.add(Counter.feeds_strikes_revised)
                log.warning("strike_revised", slug=market.slug, strike_e9=market.strike_e9)
            self._publish(place)
            self._ring()

    # --- the stream (session.Handler) -----------------------------------------------------------

    def on_connected(self, send: Send) -> bool:
        assert self._auth is not None
        self._is_authed = False
        self._subscribed.clear()
        self._point_ns = time.monotonic_ns()
        send(wire.auth_message(*self._auth))
        return True

    def on_frame(self, data: bytes | bytearray, recv_ns: int) -> bool:
        event = wire.parse(data)
        if isinstance(event, Points):
            return self._on_points(event, recv_ns)
        if isinstance(event, wire.Pong):
            assert self._session is not None
            self._session.answered(event.number or None)
        elif isinstance(event, wire.Ack):
            if event.op == "authed":
                self._is_authed = True
                self._subscribe()
        elif isinstance(event, wire.Refused):
            self._counters.add(Counter.feeds_requests_refused)
            log.error("polybolt_refused", code=event.code, request=event.rid)
        elif isinstance(event, wire.Rejected):
            self._counters.add(Counter.feeds_frames_rejected)
            self._counters.add(event.cause)
            log.warning("polybolt_rejected", cause=event.text)
        else:
            self._counters.add(Counter.feeds_events_unknown)
        return False

    def on_rejected(self, recv_ns: int) -> None:
        pass  # Counted by the session; a lost point is fetched again by its second.

    def on_burst(self) -> None:
        self._ring()

    def on_stalled(self) -> None:
        self._publish_all()

    def on_caught_up(self) -> None:
        self._publish_all()

    def on_disconnected(self, reason: str) -> None:
        self._is_authed = False
        self._subscribed.clear()
        self._publish_all()

    def _on_points(self, event: Points, recv_ns: int) -> bool:
        if event.source and event.source != SOURCE:
            self._counters.add(Counter.feeds_events_unlisted)
            log.error("twap_foreign_source", source=event.source)
            return False
        self._counters.add(Counter.feeds_twap_received, len(event.points))
        count, event = len(event.points), self._strikes.believed(event, self._wall() / 1e9)
        if refused := count - len(event.points):
            self._counters.add(Counter.feeds_twap_refused, refused)
            log.warning("twap_refused", count=refused)
        fresh, missed = self._strikes.on_points(event, recv_ns)
        if missed or event.dropped:
            self._counters.add(Counter.feeds_twap_lost, max(missed, event.dropped))
        if fresh:
            self._point_ns = recv_ns
            proxy, newest = self._settings.proxy, self._strikes.newest(event.series)
            if proxy is not None and newest is not None:
                point, (symbol, length_s) = newest[0], event.series
                reference = f"{symbol.removesuffix('usd').upper()}USDT"
                proxy.on_point(reference, point.time_s, point.price_e9, length_s)
            for place in self._places.values():
                if place.market.series == event.series:
                    self._publish(place)
        return fresh > 0

    def _subscribe(self) -> None:
        missing = self._strikes.series() - self._subscribed
        if self._is_authed and missing and self._session is not None:
            self._session.send(wire.subscribe_message(sorted(missing)))
            self._subscribed |= missing
            self._point_ns = time.monotonic_ns()

    # --- publishing -----------------------------------------------------------------------------

    def _flags(self, market: Settlement) -> int:
        flags = Flag.RESOLVED if market.outcome else Flag(0)
        if market.provenance == Provenance.PROXY and market.is_less_basis:
            flags |= Flag.LESS_BASIS
        if market.series is not None:
            if self._strikes.newest(market.series) is None:
                flags |= Flag.WARMUP
            session = self._session
            if session is None or not self._is_authed or session.is_behind:
                flags |= Flag.RESYNC
        return int(flags)

    def _publish(self, place: _Place) -> None:
        market = place.market
        place.flags = self._flags(market)
        newest, now_ns = self._strikes.newest(market.series), time.monotonic_ns()
        values = settlement_values(market, newest, flags=place.flags, now_ns=now_ns)
        self._board.publish(place.pair_slot, values)
        self._is_dirty = True

    def _publish_all(self) -> None:
        for place in self._places.values():
            self._publish(place)
        self._ring()

    def _ring(self) -> None:
        if self._is_dirty:
            self._is_dirty = False
            self._segment.ring()
