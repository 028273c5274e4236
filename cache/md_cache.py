"""The cache for what only REST offers: order book snapshots, kept for a moment and refreshed.

It serves a snapshot that is fresh, serves one that is stale while it asks for a newer one, and
where it has none lets all who want it wait for one flight (`cache/md_refresh.py`). It is for first
books and witnesses; the trading path reads the boards and never waits for REST.

Invariants: an age is never less than the true one; no book that was asked for before an
invalidation is served after it; symbols, flights, tries, times and ages are bounded. It belongs to
one event loop and knows no venue: the function that asks is handed in.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final

from cache.counters import CounterWriter
from cache.errors import PenstockError
from cache.md_config import MDCacheConfig
from cache.md_entry import MDCacheEntry, MDMiss
from cache.md_metrics import MetricRow, StageMetrics
from cache.md_refresh import Flights, Outside, Refresh
from cache.md_slots import Slot, Slots
from cache.refusals import shown

FAILURES: Final[tuple[type[Exception], ...]] = (PenstockError, OSError)
"""What a refresh may raise when the venue is at fault; a timeout is an OSError."""

LAPS_MAX: Final = 2
"""Flights one read waits for: one that an invalidation outdated, and the one after it."""


class MDCache:
    """Snapshots by symbol; `async with` it, or `close` it."""

    def __init__(
        self,
        config: MDCacheConfig,
        refresh_callback: Refresh,
        *,
        depth_max: int | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        jitter: Callable[[], float] = random.random,
        failures: tuple[type[Exception], ...] = FAILURES,
        counters: CounterWriter | None = None,
    ) -> None:
        """Make an empty one. `failures` are what the callback raises where the venue is at fault.

        `depth_max` levels a side are kept, those of the configuration unless the code knows better.
        `now_ns` is a monotonic clock, `jitter` draws from 0 to 1.
        """
        if not isinstance(config, MDCacheConfig):
            raise ValueError(f"config is {shown(config)}: it must be an MDCacheConfig")
        if depth_max is not None:
            _check_whole("depth_max", depth_max, 1)
        if not callable(refresh_callback):
            raise ValueError(f"refresh_callback is {shown(refresh_callback)}: it must be callable")
        self.config = config
        self.metrics = StageMetrics(config.symbols_max, counters=counters)
        self.depth_max = config.max_depth if depth_max is None else depth_max
        self._now_ns = now_ns
        self._slots = Slots(config.symbols_max)
        outside = Outside(refresh_callback, self.depth_max, failures, now_ns, jitter)
        self._flights = Flights(config, self._slots, self.metrics, outside)
        self._is_closed = False

    async def __aenter__(self) -> MDCache:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every flight; who waits is told CLOSED."""
        self._is_closed = True
        await self._flights.close()
        self._slots.clear()

    # --- reading --------------------------------------------------------------------------------

    async def get_orderbook(
        self,
        symbol: str,
        depth: int | None = None,
        max_age_ms: int | None = None,
        *,
        stale_ok: bool | None = None,
    ) -> MDCacheEntry | None:
        """Give what `read` gives, with None for every reason why there is no book."""
        found = await self.read(symbol, depth, max_age_ms, stale_ok=stale_ok)
        return None if isinstance(found, MDMiss) else found

    async def read(
        self,
        symbol: str,
        depth: int | None = None,
        max_age_ms: int | None = None,
        *,
        stale_ok: bool | None = None,
    ) -> MDCacheEntry | MDMiss:
        """Give the best `depth` levels a side (all that are kept), or say why there is no book.

        Fresh is what is neither older than `ttl_ms` nor than `max_age_ms`. What is stale is served
        at once and refreshed behind, unless `stale_ok`, here or in the configuration, is false.
        What was waited for is given as it came: it may have been asked for before this call, and
        its age says so.

        Raises ValueError for arguments that make no sense, and whatever the callback raised that is
        not the venue's fault.
        """
        _check_text("symbol", symbol)
        _check_limits(depth, max_age_ms, stale_ok)
        self._flights.raise_fault()
        if self._is_closed:
            return MDMiss.CLOSED
        if not self.config.enabled:
            return MDMiss.DISABLED
        if depth is None:
            depth = self.depth_max
        elif depth > self.depth_max:
            return self._refused(symbol, MDMiss.TOO_DEEP)
        slot, evicted = self._slots.use(symbol)
        if evicted is not None:
            self.metrics.record_md_evicted(evicted)
        if slot is None:
            return self._refused(symbol, MDMiss.FULL)
        entry = self._usable(symbol, slot, max_age_ms, stale_ok=stale_ok)
        if entry is None:
            self.metrics.record_md_cache_miss(symbol)
            found = await self._fetch(symbol, slot)
            if isinstance(found, MDMiss):
                return found
            entry = found
        return MDMiss.NO_BOOK if entry.book is None else entry.cut(depth)

    def _usable(
        self, symbol: str, slot: Slot, max_age_ms: int | None, *, stale_ok: bool | None
    ) -> MDCacheEntry | None:
        """Give what can be served at once, and have it refreshed where it is stale."""
        config, entry, now_ns = self.config, slot.entry, self._now_ns()
        if entry is None:
            return None
        limit_ms = config.ttl_ms if max_age_ms is None else min(config.ttl_ms, max_age_ms)
        is_stale = entry.is_stale(limit_ms, now_ns)
        if is_stale:
            may_be = config.stale_ok if stale_ok is None else stale_ok
            # "There is no book" is never served stale: it may well have come by now.
            if not may_be or entry.book is None or entry.is_stale(config.stale_ms_max, now_ns):
                return None
            self._flights.launch(symbol, slot)
        self.metrics.record_md_cache_hit(symbol, is_stale=is_stale)
        return entry

    async def _fetch(self, symbol: str, slot: Slot) -> MDCacheEntry | MDMiss:
        found: MDCacheEntry | MDMiss = MDMiss.INVALIDATED
        for _ in range(LAPS_MAX):
            refused = self._flights.launch(symbol, slot)
            found = refused or await self._flights.outcome(symbol, slot)
            if found is not MDMiss.INVALIDATED:
                break
        return found

    def _refused(self, symbol: str, why: MDMiss) -> MDMiss:
        self.metrics.record_md_cache_miss(symbol)
        self.metrics.record_md_refused()
        return why

    # --- throwing away --------------------------------------------------------------------------

    def invalidate(self, symbol: str, *, reason: str) -> bool:
        """Throw a snapshot away, and what is under way for it; False where there was neither."""
        _check_text("symbol", symbol)
        _check_text("reason", reason)
        slot = self._slots.find(symbol)
        if slot is None:
            return False  # a flight of an evicted symbol is outdated anyhow
        was_held = slot.entry is not None or symbol in self._flights
        self._slots.renew(slot)
        if was_held:
            self.metrics.record_md_invalidated(reason)
        return was_held

    def invalidate_all(self, *, reason: str) -> int:
        """Throw every snapshot away; tell how many symbols had one, or one under way."""
        _check_text("reason", reason)
        return sum(self.invalidate(symbol, reason=reason) for symbol in self._slots)

    # --- figures --------------------------------------------------------------------------------

    def get_hit_ratio(self, symbol: str) -> float | None:
        """Give the hits out of all reads of a symbol, 0 to 1; None where it was not read."""
        return self.metrics.get_md_cache_hit_ratio(symbol)

    def get_cache_age_ms(self, symbol: str) -> float | None:
        """Give the age of what is kept of a symbol; None where nothing is."""
        slot = self._slots.find(symbol)
        if slot is None or slot.entry is None:
            return None
        age_ms = slot.entry.age_ms(self._now_ns())
        return age_ms if age_ms >= 0 else None

    def get_refresh_latency_p95(self, symbol: str) -> float | None:
        """Give the 95th percentile of a symbol's refreshes in ms; None where there was none."""
        return self.metrics.get_refresh_latency_p95(symbol)

    def asked_ns(self, symbol: str) -> int | None:
        """Tell when what is kept of a symbol was asked for; None where nothing is kept."""
        slot = self._slots.find(symbol)
        return None if slot is None or slot.entry is None else slot.entry.asked_ns

    def symbols(self) -> tuple[str, ...]:
        """Name every symbol that is known, the least recently used first."""
        return tuple(self._slots)

    def rows(self) -> Iterator[MetricRow]:
        """Yield every metric, ages as of now."""
        for symbol in self._slots:
            self.metrics.record_md_cache_age(symbol, self.get_cache_age_ms(symbol))
        return self.metrics.rows()

    def __len__(self) -> int:
        return len(self._slots)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {shown(value)}: it must be text")


def _check_limits(depth: object, max_age_ms: object, stale_ok: object) -> None:
    if stale_ok is not None and type(stale_ok) is not bool:
        raise ValueError(f"stale_ok is {shown(stale_ok)}: it must be True, False or None")
    for name, value, least in (("depth", depth, 1), ("max_age_ms", max_age_ms, 0)):
        if value is not None:
            _check_whole(name, value, least)


def _check_whole(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {shown(value)}: it must be a whole number, at least {least}")
