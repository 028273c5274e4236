"""Depth of the Binance feed: the diff stream, begun with a snapshot, onto the depth board.

It has a connection of its own, so no ticker waits behind a frame of a thousand levels, and follows
the venue's procedure for a local book: diffs wait until a snapshot of the REST side is there, the
snapshot drops those it contains, the rest must follow it and each other (`cache/ladder.py`). What
breaks the order, or comes of a lost frame, makes the book not ready and has a new snapshot asked
for; so does a book that has lost too many levels to show them all, and one whose update id nothing
that comes reaches. The snapshot is asked for beside the frames, at most once at a time for each
symbol, and ever more rarely in vain: also where each one is of use and its book is reset at once
again, for the venue bans who asks in a storm.

A symbol that says nothing for too long (`hard_stale_ms`) is subscribed anew, and a snapshot is
asked for as its witness: the market may be calm, or the subscription dead.

The invariant: a record without RESYNC is what the venue had at `venue_seq`. While the connection is
down every book is RESYNC. The segment's link is that of the tickers: it never speaks for them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from cache.board import Snapshot
from cache.book_store import BookStoreWriter, Stamp
from cache.counters import Counter
from cache.ladder import ANOMALIES, Outcome, Whole
from cache.layout import DEPTH_LEVELS, E9
from cache.segment import WriterSegment
from feeds.binance_depth_wire import DepthUpdate, depth_stream, parse_depth
from feeds.binance_lane import KEEPALIVE, Silence
from feeds.binance_slot import SymbolSlot
from feeds.binance_wire import Rejected, Reply, Shutdown, VenueError
from feeds.dialing import backoff_s
from feeds.session import Send, Session
from host.clock import NS_PER_MS, monotonic_ns
from host.log import get_log
from host.settings import BookStore as Settings

Ask = Callable[[str], Awaitable[Whole | None]]
"""Asks the venue for a snapshot of a symbol; None, said and counted, where there is none."""

THIN_COUNT: Final = 100
"""Fewer levels than these are known of a side: a snapshot in time, as one diff may remove many."""

THIN_NS: Final = 5 * E9
"""Least time between two snapshots that are asked for only to see further."""

LASTING_NS: Final = 5 * E9
"""A book that stood so long was of use: a new snapshot of it is asked for at once."""

VAIN_MAX: Final = 2
"""Silences in a row after which, if the venue moved on meanwhile, the connection is made anew."""

log = get_log("feeds")


class _Symbol:
    """What is known of one symbol's stream."""

    __slots__ = (
        "asked_count", "asked_ns", "frame_ns", "is_asking", "late_ns", "silence", "slot",
        "taken_ns", "vain_count",
    )  # fmt: skip

    def __init__(self, slot: SymbolSlot, hard_stale_ms: int) -> None:
        self.slot = slot
        self.silence = Silence(hard_stale_ms)
        self.frame_ns = 0
        self.late_ns = 0
        """Since when nothing but diffs older than its book came; 0 they do not."""
        self.is_asking = False
        self.asked_ns = 0
        self.taken_ns = 0
        """When a snapshot was of use last."""
        self.asked_count = 0
        """Snapshots asked for since the last one whose book stood for a while."""
        self.vain_count = 0
        """Silences that were too long since the last frame."""


class DepthFeed:
    """The depth of all symbols of one feed; belongs to its event loop. A `session.Handler`."""

    def __init__(
        self,
        segment: WriterSegment,
        ws_url: str,
        settings: Settings,
        *,
        slots: Mapping[str, SymbolSlot],
        ask: Ask,
        jitter: Callable[[], float] = random.random,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Follow the symbols of `slots`, which lie in the same slots of the board `bbo`."""
        self._pause = pause
        self._segment = segment
        self._counters = segment.counters
        self._bbo = segment.board("bbo")
        depth_max = min(settings.max_depth, DEPTH_LEVELS)
        self.writer = BookStoreWriter(segment.board("depth"), segment.counters, depth_max=depth_max)
        self._ask = ask
        self._jitter = jitter
        self._late_ns_max = settings.hard_stale_ms * NS_PER_MS
        self._symbols = {
            name: _Symbol(slot, settings.hard_stale_ms) for name, slot in slots.items()
        }
        self._is_dirty = False
        self._send: Send | None = None
        self._connected_ns = 0
        self._group: asyncio.TaskGroup | None = None
        streams = "/".join(depth_stream(name) for name in slots)
        url = f"{ws_url}{'&' if urlsplit(ws_url).query else '?'}streams={streams}"
        self.session = Session(url, self, KEEPALIVE, segment.counters, name="binance.depth")
        for one in self._symbols.values():
            self.writer.open(one.slot.slot, one.slot.tag, one.slot.generation)
            self._reset(one)

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self.session.run()
        finally:
            self._reset_all()

    # --- session.Handler --------------------------------------------------------------------------

    def on_connected(self, send: Send) -> bool:
        self._send = send
        self._connected_ns = monotonic_ns()
        return True  # The URL has subscribed everything.

    def on_frame(self, data: bytes | bytearray, recv_ns: int) -> bool:
        event = parse_depth(data)
        if isinstance(event, DepthUpdate):
            one = self._symbols.get(event.symbol)
            if one is None:
                self._counters.add(Counter.feeds_events_unlisted)
                return False
            self._on_update(one, event, recv_ns)
            return True
        if isinstance(event, Reply):
            if isinstance(event.id, int) and event.streams is not None:
                self.session.answered(event.id)
        elif isinstance(event, Shutdown):
            self.session.reconnect("server shutdown")
        elif isinstance(event, Rejected):
            self._counters.add(Counter.feeds_frames_rejected)
            self._counters.add(event.cause)
            log.warning("frame_rejected", session="binance.depth", cause=event.text)
            self._reset_all()  # Any symbol's diff may have been in it.
        elif isinstance(event, VenueError):
            self._counters.add(Counter.feeds_requests_refused)
            log.error("request_refused", code=event.code, text=event.text)
        else:
            self._counters.add(Counter.feeds_events_unknown)
        return False

    def on_rejected(self, recv_ns: int) -> None:
        self._reset_all()

    def on_burst(self) -> None:
        if self._is_dirty:
            self._is_dirty = False
            self._segment.ring()

    def on_stalled(self) -> None:
        self._mark_behind(is_behind=True)

    def on_caught_up(self) -> None:
        self._mark_behind(is_behind=False)

    def on_disconnected(self, reason: str) -> None:
        self._send = None
        self._connected_ns = 0
        for one in self._symbols.values():
            one.late_ns = 0
        self._reset_all()
        self._mark_behind(is_behind=False)  # The backlog went with the connection.

    # --- books ------------------------------------------------------------------------------------

    def _on_update(self, one: _Symbol, event: DepthUpdate, recv_ns: int) -> None:
        one.frame_ns, one.vain_count = recv_ns, 0
        stamp = self._stamp(one, event.delta.last, recv_ns, event.event_ns)
        outcome = self.writer.apply_delta(one.slot.slot, event.delta, stamp)
        if outcome is Outcome.OUTDATED:
            self._counters.add(Counter.feeds_updates_outdated)
            self._on_outdated(one, recv_ns)
            return
        one.late_ns = 0
        self._is_dirty = True
        if outcome in ANOMALIES:
            log.warning("depth_reset", symbol=event.symbol, cause=outcome.name)
        ladder = self.writer.ladder(one.slot.slot)
        is_thin = ladder.is_thin(THIN_COUNT) and recv_ns - one.asked_ns > THIN_NS
        if is_thin or not ladder.is_ready:
            self._want_snapshot(one)

    def _on_outdated(self, one: _Symbol, recv_ns: int) -> None:
        """Where all is older than the book for long, it is the book's update id that is wrong.

        A damaged frame may name ids that the venue reaches in years, or its ids began anew.
        """
        one.late_ns = one.late_ns or recv_ns
        if recv_ns - one.late_ns <= self._late_ns_max:
            return
        one.late_ns = 0
        self._counters.add(Counter.feeds_sequence_reset)
        log.warning("depth_reset", symbol=one.slot.symbol, cause="SEQUENCE")
        self._reset(one)
        self._is_dirty = True
        self._want_snapshot(one)

    def _stamp(self, one: _Symbol, sequence: int, recv_ns: int, event_ns: int = 0) -> Stamp:
        """Say when; and with which top of book it may be combined: that of the same update id."""
        top = self._bbo.last(one.slot.slot)
        batch = 0
        if isinstance(top, Snapshot) and top.tag == one.slot.tag and top.venue_seq == sequence:
            batch = top.batch
        self.writer.set_tick(one.slot.slot, one.slot.rules.tick_e9)
        return Stamp(recv_ns, monotonic_ns(), event_ns, batch)

    def _reset(self, one: _Symbol) -> None:
        now_ns = monotonic_ns()
        self.writer.mark_not_ready(one.slot.slot, Stamp(now_ns, now_ns))

    def _reset_all(self) -> None:
        for one in self._symbols.values():
            self._reset(one)
        self._segment.ring()

    def _mark_behind(self, *, is_behind: bool) -> None:
        for one in self._symbols.values():
            ladder = self.writer.ladder(one.slot.slot)
            stamp = self._stamp(one, ladder.sequence, ladder.last_update_ns)
            self.writer.mark_behind(one.slot.slot, stamp, is_behind=is_behind)
        self._segment.ring()

    # --- snapshots --------------------------------------------------------------------------------

    def _want_snapshot(self, one: _Symbol) -> None:
        """Have a snapshot asked for, unless one is on its way."""
        if one.is_asking or self._group is None:
            return
        one.is_asking = True
        self._group.create_task(self._fetch(one))

    async def _fetch(self, one: _Symbol) -> None:
        """Ask until the book is ready, or a snapshot was of use; wait longer each time in vain."""
        try:
            if monotonic_ns() - one.taken_ns >= LASTING_NS:
                one.asked_count = 0
            else:
                await self._wait(one)
            while self._connected_ns:
                connected_ns, one.asked_ns = self._connected_ns, monotonic_ns()
                self._counters.add(Counter.feeds_books_requested)
                whole = await self._ask(one.slot.symbol)
                if self._connected_ns != connected_ns:
                    continue  # Of another connection: its diffs are not those that wait.
                if whole is not None and self._take(one, whole):
                    one.taken_ns = monotonic_ns()
                    return
                await self._wait(one)
        finally:
            one.is_asking = False

    async def _wait(self, one: _Symbol) -> None:
        """Let time pass before another snapshot, longer each time."""
        one.asked_count += 1
        await self._pause(backoff_s(one.asked_count, self._jitter()))

    def _take(self, one: _Symbol, whole: Whole) -> bool:
        """Put a snapshot to the book; False where another one is needed."""
        now_ns = monotonic_ns()
        # A book that waited diffs complete is of another update than the snapshot itself.
        stamp = self._stamp(one, self._last_of(one, whole), now_ns)
        ladder = self.writer.ladder(one.slot.slot)
        was_behind = ladder.is_ready and ladder.sequence < whole.sequence
        outcome = self.writer.apply_snapshot(one.slot.slot, whole, stamp)
        self._segment.ring()
        log.debug("depth_snapshot", symbol=one.slot.symbol, outcome=outcome.name)
        if was_behind and one.vain_count >= VAIN_MAX:
            self.session.reconnect(f"{one.slot.symbol} is silent while the venue moves on")
        return ladder.is_ready

    def _last_of(self, one: _Symbol, whole: Whole) -> int:
        return max(whole.sequence, self.writer.ladder(one.slot.slot).last_waiting)

    # --- the clock --------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Subscribe anew what has said nothing for too long."""
        if not self._connected_ns or self._send is None:
            return
        for name, one in self._symbols.items():
            if one.silence.judge(now_ns, one.frame_ns, self._connected_ns):
                one.vain_count += 1
                self._counters.add(Counter.feeds_stream_silent)
                log.warning("stream_silent", session="binance.depth", symbol=name)
                for method in ("UNSUBSCRIBE", "SUBSCRIBE"):
                    self._send(f'{{"method":"{method}","params":["{depth_stream(name)}"],"id":0}}')
                self._want_snapshot(one)
