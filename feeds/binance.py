"""The Binance feed: connections in, boards out.

Each connection is a `Lane`: a `Session` on the combined stream, subscribed by its URL. There is one
as a rule, and two while one takes over from the other: before the 24 h cut, on `serverShutdown` and
when a stream has gone silent, a new lane is opened and overlaps the old one until it delivers;
`SymbolSlot` drops the duplicates by the venue's ids, so nothing is lost between them.

A symbol can be trusted while some lane is connected, not behind, and has been on since the newest
ticker (a new lane must bring one, unless it overlapped a trusted one). The invariant: when there is
no such lane the symbol's slot is RESYNC before anything else of it is published. LIST_SUBSCRIPTIONS
is the question whose answer is read in order behind a backlog. A timer on whole fractions of the
wall-clock second publishes features, and samples on the second.

Frames are read by `feeds/binance_wire.py`, symbols kept by `feeds/binance_slot.py`; what no frame
says, the seconds before the start and the trading rules, is asked for by `feeds/backfill.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from cache.counters import Counter, Histogram
from cache.layout import E9
from cache.segment import WriterSegment
from feeds.backfill import Backfill
from feeds.binance_depth import DepthFeed
from feeds.binance_lane import Lane, Silence, stream_url
from feeds.binance_rest import BinanceRest
from feeds.binance_slot import SymbolSlot
from feeds.binance_wire import (
    BookTicker,
    Rejected,
    Reply,
    Shutdown,
    Trade,
    VenueError,
    parse,
    stream_names,
)
from feeds.first_books import FirstBooks
from feeds.symbols import LATE_NS, list_symbols, on_time, open_slots, recall
from feeds.symbols import ROLE as ROLE
from feeds.symbols import boards as boards
from host.clock import monotonic_ns, wall_ns
from host.log import get_log
from host.settings import BinanceFeed as Settings
from host.settings import BookStore

BRIDGE_NS_MIN: Final = 1 * E9
"""Least time between two new lanes: the venue bounds the connections of an address."""

log = get_log("feeds")


class BinanceFeed:
    """The heart of the process `feeds binance`; belongs to its event loop."""

    def __init__(
        self,
        segment: WriterSegment,
        ws_url: str,
        settings: Settings,
        *,
        rest_url: str,
        namespace: str,
        book_store: BookStore | None = None,
        wall: Callable[[], int] = wall_ns,
    ) -> None:
        self.segment = segment
        self.lanes: list[Lane] = []
        self._url = stream_url(ws_url, settings.symbols)
        self._settings = settings
        self._wall = wall
        self._wall_offset_ns = wall() - monotonic_ns()
        self._second = wall() // E9
        self._counters = segment.counters
        self._lane_count = 0
        self._group: asyncio.TaskGroup | None = None
        self._opened_ns = 0
        self._is_dirty = False
        self.slots = open_slots(segment, settings, SymbolSlot)
        self._silences = {
            symbol: (Silence(settings.ticker_silence_ms), Silence(settings.trade_silence_ms))
            for symbol in settings.symbols
        }
        rest = BinanceRest(rest_url, segment.counters, timeout_s=settings.lookup_timeout_s)
        self._backfill = Backfill(
            rest,
            self.slots,
            segment.counters,
            seconds=settings.backfill_s,
            on_filled=segment.ring,
            on_rules=self._list_instruments,
            clock=lambda: (monotonic_ns(), self._second),
        )
        self._list_instruments()
        recall(self.slots.values(), namespace, monotonic_ns())
        self._depth: DepthFeed | None = None
        self._first_books: FirstBooks | None = None
        if book_store is not None and book_store.enabled and settings.depth:
            first = self._first_books = FirstBooks(
                rest, settings.symbols, segment.counters, timeout_s=settings.lookup_timeout_s
            )
            self._depth = DepthFeed(segment, ws_url, book_store, slots=self.slots, ask=first.ask)
        segment.ring()

    def _list_instruments(self) -> None:
        list_symbols(self.segment, self.slots.values(), monotonic_ns())

    async def run(self) -> None:
        """Keep connections and timer going until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._open_lane("start")
                if self._depth is not None:
                    group.create_task(self._depth.run())
                await on_time(self._settings.feature_interval_ms, self._wall, self.tick)
        finally:
            self.lanes.clear()
            self.on_doubt()
            if self._first_books is not None:
                await self._first_books.close()

    # --- frames -----------------------------------------------------------------------------------

    def on_frame(self, lane: Lane, data: bytes | bytearray, recv_ns: int) -> bool:
        """Take one frame of a lane; True when it was data."""
        event = parse(data)
        if isinstance(event, BookTicker):
            slot = self.slots.get(event.symbol)
            if slot is None:
                self._counters.add(Counter.feeds_events_unlisted)
                return False
            is_newest = slot.on_ticker(event, recv_ns) or event.update_id == slot.order.last
            if is_newest and event.symbol not in lane.seen:
                lane.seen.add(event.symbol)
                self._judge(slot)
            return True
        if isinstance(event, Trade):
            slot = self.slots.get(event.symbol)
            if slot is None:
                self._counters.add(Counter.feeds_events_unlisted)
                return False
            if slot.on_trade(event, recv_ns, monotonic_ns()):
                lag_ns = recv_ns + self._wall_offset_ns - event.event_ns
                self._counters.record(Histogram.venue_to_wire_ns, lag_ns)
                self._is_dirty = True
            return True
        if isinstance(event, Reply):
            self._on_reply(lane, event)
        elif isinstance(event, Shutdown):
            lane.leave_reason = "server shutdown"
            self._bridge(lane, lane.leave_reason)
        elif isinstance(event, Rejected):
            self._counters.add(Counter.feeds_frames_rejected)
            self._counters.add(event.cause)
            log.warning("frame_rejected", lane=lane.number, cause=event.text)
            self.on_lost()
        elif isinstance(event, VenueError):
            self._counters.add(Counter.feeds_requests_refused)
            log.error("request_refused", lane=lane.number, code=event.code, text=event.text)
        else:
            self._counters.add(Counter.feeds_events_unknown)
        return False

    def _on_reply(self, lane: Lane, event: Reply) -> None:
        if not isinstance(event.id, int) or event.streams is None:
            return
        lane.session.answered(event.id)
        names = {name for symbol in self.slots for name in stream_names(symbol)}
        if missing := names.difference(event.streams):
            log.error("streams_missing", lane=lane.number, streams=",".join(sorted(missing)))

    def on_lost(self) -> None:
        """A frame was thrown away: any symbol's newest ticker may have been in it."""
        for slot in self.slots.values():
            slot.is_doubted = True
            slot.judge()

    def on_burst(self, lane: Lane, recv_ns: int) -> None:
        """Publish what one read of the socket changed, then ring."""
        if not lane.is_behind:
            self.segment.set_link(recv_ns)
        self._flush()

    def _flush(self) -> None:
        now_ns = monotonic_ns()
        for slot in self.slots.values():
            self._is_dirty |= slot.flush(now_ns)
        if self._is_dirty:
            self._is_dirty = False
            self.segment.ring()

    # --- lanes ------------------------------------------------------------------------------------

    def on_lane_up(self, lane: Lane) -> None:
        """A lane was connected; alone, it may find the venue's ids set back."""
        if not any(other.connected_ns for other in self.lanes if other is not lane):
            for slot in self.slots.values():
                slot.order.allow_reset()
                slot.trade_order.allow_reset()

    def on_lane_down(self, lane: Lane, reason: str) -> None:
        """A lane lost its connection: others inherit what they overlapped, or all is RESYNC."""
        if lane in self.lanes and lane is not self.lanes[-1]:
            self._retire(lane, reason)
        self.on_doubt()

    def on_doubt(self) -> None:
        """Judge every symbol again: a lane is behind, caught up, or gone."""
        for slot in self.slots.values():
            self._judge(slot)
        self._flush()

    def _judge(self, slot: SymbolSlot) -> None:
        slot.is_resync = not any(lane.is_current(slot.symbol) for lane in self.lanes)
        slot.judge()

    def _open_lane(self, reason: str) -> None:
        assert self._group is not None
        self._lane_count += 1
        lane = Lane(self, self._url, self._lane_count)
        self.lanes.append(lane)
        self._opened_ns = monotonic_ns()
        self._group.create_task(lane.session.run())
        log.info("lane_opened", lane=lane.number, reason=reason)

    def _bridge(self, lane: Lane, reason: str) -> None:
        """Open a lane beside this one, if it is the newest and connected."""
        is_newest = bool(self.lanes) and lane is self.lanes[-1]
        if is_newest and lane.connected_ns and monotonic_ns() - self._opened_ns >= BRIDGE_NS_MIN:
            self._open_lane(reason)

    def _retire(self, lane: Lane, reason: str) -> None:
        """Let a lane go; the newest one inherits what it knew, if their connections overlapped."""
        heir = self.lanes[-1]
        if heir.connected_ns and not heir.is_behind and not lane.is_behind:
            heir.seen |= lane.seen
        self.lanes.remove(lane)
        lane.session.stop()
        self._counters.add(Counter.feeds_session_bridged)
        log.info("lane_retired", lane=lane.number, heir=heir.number, reason=reason)

    def _hand_over(self, now_ns: int) -> None:
        """Retire the older lanes once the newest delivers, or has been on for long enough."""
        newest = self.lanes[-1]
        if len(self.lanes) == 1 or not newest.connected_ns or newest.is_behind:
            return
        overlap_ns = now_ns - newest.connected_ns
        if newest.seen >= self.slots.keys() or overlap_ns > self._settings.overlap_s * E9:
            for lane in self.lanes[:-1]:
                self._retire(lane, "handed over")
            self.on_doubt()

    # --- the clock --------------------------------------------------------------------------------

    def tick(self, now_ns: int, due_wall_ns: int, late_ns: int) -> None:
        """Watch lanes and streams; publish features, and samples on the second.

        `due_wall_ns` is the instant of the wall clock that this tick stands for.
        """
        self._wall_offset_ns = self._wall() - now_ns
        second = due_wall_ns // E9
        is_second, self._second = second != self._second, second
        if late_ns > LATE_NS:
            # What lies in the socket may be newer by as much: the sessions will say RESYNC.
            if is_second:
                self._counters.add(Counter.feeds_samples_missed, len(self.slots))
            return
        self._hand_over(now_ns)
        self._watch(now_ns)
        for slot in self.slots.values():
            if is_second:
                slot.sample(second, now_ns)
            self._is_dirty |= slot.tick(now_ns)
        self._flush()
        if self._depth is not None:
            self._depth.tick(now_ns)
        if self._group is not None and self.lanes[-1].connected_ns:
            self._backfill.poll(now_ns, self._group)

    def _watch(self, now_ns: int) -> None:
        """Open a new lane where the newest grows too old, or a stream has gone silent."""
        newest = self.lanes[-1]
        if not newest.connected_ns:
            return
        if now_ns - newest.connected_ns > self._settings.connection_age_s_max * E9:
            newest.leave_reason = "age"
        if newest.leave_reason:
            self._bridge(newest, newest.leave_reason)
        for symbol, (ticker, trade) in self._silences.items():
            slot = self.slots[symbol]
            if ticker.judge(now_ns, slot.ticker_ns, newest.connected_ns):
                self._on_silent(newest, f"{symbol} bookTicker is silent")
                slot.is_silent = True
                slot.judge()
            if trade.judge(now_ns, slot.trade_ns, newest.connected_ns):
                self._on_silent(newest, f"{symbol} trade is silent")
            for order in (slot.order, slot.trade_order):
                if order.needs_reset:
                    self._on_silent(newest, f"{symbol}: all ids are refused")
                    order.allow_reset()

    def _on_silent(self, lane: Lane, reason: str) -> None:
        self._counters.add(Counter.feeds_stream_silent)
        log.warning("stream_silent", lane=lane.number, reason=reason)
        if len(self.lanes) == 1:  # Else another has been opened already.
            self._bridge(lane, reason)
