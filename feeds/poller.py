"""The reference price from an HTTP service: asked again and again, published as the stream would.

For users whose reference is a pricer service (its schema is in `cache/bn_poll.py`). It is the same
role, segment and boards as `feeds/binance.py`, so strategy, executor and tools read either alike.
Volatility, returns and shock are our own, of mids sampled on the clock; what the service says of
them is checked and left where it is: its units are its own. So a symbol is published as that of a
stream is (`feeds/binance_slot.py`), not by `BNCacheWriter`, which says at once whatever an answer
says: without a volatility nobody could quote on it, and one damaged price would be trusted.

What proves a service alive is an answer whose `wall_ts_ms` is later than the last one's, and near
this host's clock: that alone moves the link, back to when it was asked for. An answer that says the
same again proves nothing, so a service that serves what it once knew goes STALE like one that is
silent. Answers are ordered by that time. One that is refused, late or missing changes nothing and
is asked for again, later each time; without a good one for a while the top is SUSPECT and not
sampled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from cache.bn_poll import read_poll
from cache.counters import Counter
from cache.errors import UpdateRefused
from cache.layout import E9
from cache.segment import WriterSegment
from feeds.binance_slot import NO_ASK, NO_BID, SymbolSlot
from feeds.binance_wire import BookTicker
from feeds.fetch import FetchFailed, fetch_aside
from feeds.symbols import LATE_NS, list_symbols, on_time, open_slots, recall
from host.clock import NS_PER_MS, monotonic_ns, wall_ns
from host.log import get_log
from host.settings import BinanceFeed as Settings

SILENT_NS_MIN: Final = 1 * E9
SILENT_POLLS: Final = 3
"""Without a good answer for so many intervals, and for a second, the top is SUSPECT."""

BACKOFF_S_MAX: Final = 5.0
RETRY_AFTER_S_MAX: Final = 60.0

log = get_log("feeds")


class PolledSymbol(SymbolSlot):
    """A symbol whose top has no sizes: the service gives none, and 0 is not "nobody there"."""

    def _side_flags(self) -> int:
        return 0 if self._bid and self._ask else NO_BID | NO_ASK


class Poller:
    """The heart of the process `feeds binance` where the source is "poll"."""

    def __init__(
        self,
        segment: WriterSegment,
        settings: Settings,
        *,
        namespace: str,
        wall: Callable[[], int] = wall_ns,
        get: Callable[[str, float], Awaitable[bytes]] = fetch_aside,
    ) -> None:
        self.segment = segment
        self.slots = open_slots(segment, settings, PolledSymbol)
        self._settings = settings
        self._wall = wall
        self._get = get
        self._counters = segment.counters
        self._second = wall() // E9
        self._interval_ns = settings.poll_interval_ms * NS_PER_MS
        self._timeout_ns = settings.poll_timeout_ms * NS_PER_MS
        self._silent_ns = max(SILENT_NS_MIN, SILENT_POLLS * self._interval_ns)
        self._ignored = frozenset(settings.poll_ignored)
        self._is_dirty = False
        now_ns = monotonic_ns()
        list_symbols(segment, self.slots.values(), now_ns)
        recall(self.slots.values(), namespace, now_ns)
        segment.ring()

    async def run(self) -> None:
        """Keep polling and the timer going until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for slot in self.slots.values():
                    group.create_task(self._poll(slot))
                await on_time(self._settings.feature_interval_ms, self._wall, self.tick)
        finally:
            for slot in self.slots.values():
                slot.is_resync = True
                slot.judge()
            self._flush(monotonic_ns())

    # --- answers --------------------------------------------------------------------------------

    async def _poll(self, slot: PolledSymbol) -> None:
        url = self._settings.poll_url.replace("{symbol}", slot.symbol)
        log.info("polling", symbol=slot.symbol, url=url, ms=self._settings.poll_interval_ms)
        failed_count = 0
        while True:
            asked_ns = monotonic_ns()
            is_good, retry_after = await self.ask(slot, url)
            failed_count = 0 if is_good else failed_count + 1
            wait_s = (self._interval_ns - (monotonic_ns() - asked_ns)) / E9
            if failed_count:
                wait_s = max(wait_s, self.backoff_s(failed_count, random.random(), retry_after))
            await asyncio.sleep(max(0.0, wait_s))

    def backoff_s(self, failed_count: int, fraction: float, retry_after: str = "") -> float:
        """How long not to ask: doubling, with `fraction` (0 to 1) of jitter, and what was told."""
        full_s = min(BACKOFF_S_MAX, self._interval_ns / E9 * 2.0 ** min(failed_count, 16))
        told_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        return max(full_s * (0.5 + 0.5 * fraction), min(told_s, RETRY_AFTER_S_MAX))

    async def ask(self, slot: PolledSymbol, url: str) -> tuple[bool, str]:
        """Ask once and publish what came; whether it was of use, and else when to come back."""
        asked_ns = monotonic_ns()
        try:
            body = await self._get(url, self._timeout_ns / E9)
        except FetchFailed as failed:
            self._counters.add(Counter.feeds_polls_failed)
            log.warning("poll_failed", symbol=slot.symbol, cause=failed)
            return False, failed.retry_after
        return self.take(slot, body, asked_ns, monotonic_ns()), ""

    def take(self, slot: PolledSymbol, body: bytes, asked_ns: int, recv_ns: int) -> bool:
        """Take an answer; True unless it was of no use."""
        if recv_ns - asked_ns > self._timeout_ns:  # This process was stopped, or its loop stood.
            self._counters.add(Counter.feeds_polls_failed)
            log.warning("poll_late", symbol=slot.symbol, ms=(recv_ns - asked_ns) // NS_PER_MS)
            return False
        try:
            event = self._read(slot, body)
        except UpdateRefused as refused:
            self._counters.add(Counter.feeds_polls_refused)
            log.warning("poll_refused", symbol=slot.symbol, cause=refused)
            return False
        if event.update_id == slot.order.last:
            self._counters.add(Counter.feeds_polls_unchanged)
            return True
        if not slot.on_ticker(event, recv_ns):
            if slot.order.needs_reset:
                slot.order.allow_reset()  # The service's clock was set back, or this one's was odd.
            self._flush(recv_ns)
            return True
        self._counters.add(Counter.feeds_polls_taken)
        slot.venue_ts_ns = event.update_id * NS_PER_MS
        slot.is_resync = False
        slot.judge()
        self.segment.set_link(asked_ns)
        self._flush(recv_ns)
        return True

    def _read(self, slot: PolledSymbol, body: bytes) -> BookTicker:
        """An answer as a ticker, numbered by its own time. Raises UpdateRefused."""
        try:
            raw = orjson.loads(body)
        except orjson.JSONDecodeError as fault:
            raise UpdateRefused(f"the answer is not JSON: {fault}") from None
        polled = read_poll(raw, slot.symbol, ignored=self._ignored)
        if polled.wall_ts_ms is None:
            raise UpdateRefused("wall_ts_ms is null: what has no time may be of any time")
        lag_ms = self._wall() // NS_PER_MS - polled.wall_ts_ms
        if abs(lag_ms) > self._settings.poll_lag_ms_max:
            raise UpdateRefused(f"wall_ts_ms is {lag_ms} ms behind this host's clock")
        return BookTicker(slot.symbol, polled.wall_ts_ms, polled.bid_px_e9, 0, polled.ask_px_e9, 0)

    # --- the clock ------------------------------------------------------------------------------

    def tick(self, now_ns: int, due_wall_ns: int, late_ns: int) -> None:
        """Watch for silence; publish features, and samples on the second."""
        second = due_wall_ns // E9
        is_second, self._second = second != self._second, second
        for slot in self.slots.values():
            if slot.ticker_ns and not slot.is_silent and now_ns - slot.ticker_ns > self._silent_ns:
                slot.is_silent = True
                slot.judge()
                self._counters.add(Counter.feeds_stream_silent)
                log.warning("poll_silent", symbol=slot.symbol)
            if late_ns > LATE_NS:
                self._counters.add(Counter.feeds_samples_missed, int(is_second))
                continue
            if is_second:
                slot.sample(second, now_ns)
            self._is_dirty |= slot.tick(now_ns)
        self._flush(now_ns)

    def _flush(self, now_ns: int) -> None:
        for slot in self.slots.values():
            self._is_dirty |= slot.flush(now_ns)
        if self._is_dirty:
            self._is_dirty = False
            self.segment.ring()
