"""The refreshes of the cache for REST snapshots: how the venue is asked, how often, and how many.

A *flight* is one refresh of one symbol, a task that nobody's cancellation ends: a bounded number of
tries, with growing and jittered delays between them. At most `max_inflight_refresh` are under way
for a symbol, evicted and come back or not, and all who want it wait for the same ones.

A try remembers the generation that it began under. Where that has passed when the answer comes, the
answer is thrown away and the next try asks again. So no book that was asked for before an
invalidation is kept after it. It decides on nothing else; `cache/md_cache.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cache.md_config import NS_PER_MS, MDCacheConfig
from cache.md_entry import MDBook, MDCacheEntry, MDMiss
from cache.md_metrics import StageMetrics
from cache.md_slots import Slot, Slots

Refresh = Callable[[str, int], Awaitable[MDBook | None]]
"""Asks the venue for (symbol, depth). None says that it has no such book."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What is handed in: who asks the venue, how deep, which exceptions are its fault, the rest."""

    refresh: Refresh
    depth_max: int
    failures: tuple[type[Exception], ...]
    now_ns: Callable[[], int]
    jitter: Callable[[], float]


@dataclass(slots=True, eq=False)
class _Flight:
    """One refresh; generation and time are those of its present try."""

    symbol: str
    generation: int
    asked_ns: int
    task: asyncio.Task[MDCacheEntry | MDMiss] = field(init=False)


class Flights:
    """All flights of one cache; belongs to its event loop."""

    def __init__(
        self, config: MDCacheConfig, slots: Slots, metrics: StageMetrics, outside: Outside
    ) -> None:
        self._config = config
        self._slots = slots
        self._metrics = metrics
        self._outside = outside
        self._flights: dict[str, list[_Flight]] = {}
        self._count = 0
        self._fault: BaseException | None = None
        self._is_closed = False

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._flights

    def __len__(self) -> int:
        return self._count

    async def close(self) -> None:
        """End every flight."""
        self._is_closed = True
        tasks = [flight.task for flights in self._flights.values() for flight in flights]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def raise_fault(self) -> None:
        """Raise, once, what ended a flight that nobody waited for and is no fault of the venue."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def launch(self, symbol: str, slot: Slot) -> MDMiss | None:
        """Start a flight where one is due; say why where none is under way then."""
        config, now_ns = self._config, self._outside.now_ns()
        flights = self._flights.get(symbol, ())
        # A further one is due where none of those under way will do, or all of them are slow.
        slow_ns = config.ttl_ms * NS_PER_MS
        if len(flights) >= config.max_inflight_refresh or any(
            one.generation == slot.generation and now_ns - one.asked_ns <= slow_ns
            for one in flights
        ):
            return None
        if now_ns < slot.hold_until_ns:
            return None if flights else MDMiss.BACKING_OFF
        if self._count >= config.symbols_max * config.max_inflight_refresh:
            self._metrics.record_md_refused()
            return None if flights else MDMiss.FULL
        flight = _Flight(symbol, slot.generation, now_ns)
        flight.task = asyncio.create_task(self._fly(flight), name=f"md refresh {symbol}")
        flight.task.add_done_callback(lambda _: self._landed(flight))
        self._flights.setdefault(symbol, []).append(flight)
        self._count += 1
        return None

    async def outcome(self, symbol: str, slot: Slot) -> MDCacheEntry | MDMiss:
        """Wait for the first answer that counts, or for the end of every flight under way.

        Whoever is cancelled here leaves them flying.
        """
        pending = {flight.task for flight in self._flights[symbol]}
        found: MDCacheEntry | MDMiss = MDMiss.FAILED
        slot.waiter_count += 1
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    found = MDMiss.FAILED if task.cancelled() else task.result()
                    if isinstance(found, MDCacheEntry):
                        if found.generation == slot.generation:
                            return found
                        found = MDMiss.INVALIDATED  # after it landed, before it was our turn
        finally:
            slot.waiter_count -= 1
        return MDMiss.CLOSED if self._is_closed else found

    async def _fly(self, flight: _Flight) -> MDCacheEntry | MDMiss:
        """Ask until an answer counts, a bounded number of times."""
        config, miss = self._config, MDMiss.FAILED
        for left in reversed(range(config.refresh_try_count_max)):
            slot = self._slots.find(flight.symbol)
            if slot is None:
                return MDMiss.INVALIDATED  # it was evicted, so nobody waits
            flight.generation, flight.asked_ns = slot.generation, self._outside.now_ns()
            try:
                async with asyncio.timeout(config.refresh_timeout_ms / 1e3):
                    book = await self._outside.refresh(flight.symbol, self._outside.depth_max)
            except self._outside.failures:
                miss, delay_s = MDMiss.FAILED, self._failed(flight.symbol)
                if left:
                    await asyncio.sleep(delay_s)
                continue
            entry = self._keep(flight, book)
            if entry is not None:
                return entry
            miss = MDMiss.INVALIDATED
        return miss

    def _keep(self, flight: _Flight, book: MDBook | None) -> MDCacheEntry | None:
        """Keep an answer that still counts, and give what is kept; None where it does not."""
        if not (book is None or isinstance(book, MDBook)):
            raise TypeError(f"the refresh callback gave {type(book).__name__}, not MDBook or None")
        now_ns = self._outside.now_ns()
        latency_ms = (now_ns - flight.asked_ns) / 1e6
        self._metrics.record_md_refresh_latency(latency_ms, symbol=flight.symbol)
        slot = self._slots.find(flight.symbol)
        if slot is not None:
            slot.failed_count = slot.hold_until_ns = 0
        if slot is None or slot.generation != flight.generation:
            self._metrics.record_md_refresh_outdated()
            return None
        if slot.entry is not None and slot.entry.asked_ns > flight.asked_ns:
            self._metrics.record_md_refresh_outdated()
            return slot.entry
        book = None if book is None else book.cut(self._outside.depth_max)
        slot.entry = MDCacheEntry(flight.symbol, book, flight.asked_ns, now_ns, slot.generation)
        return slot.entry

    def _failed(self, symbol: str) -> float:
        """Count a failed try; tell for how many seconds the symbol is not to be asked."""
        self._metrics.record_md_refresh_failed()
        slot = self._slots.find(symbol)
        if slot is None:
            return 0.0
        config, outside = self._config, self._outside
        doubled_ms = config.retry_delay_ms << min(slot.failed_count, 32)
        delay_ms = min(doubled_ms, config.retry_delay_ms_max) * (1 - outside.jitter() / 2)
        slot.failed_count += 1
        slot.hold_until_ns = outside.now_ns() + round(delay_ms * NS_PER_MS)
        return delay_ms / 1e3

    def _landed(self, flight: _Flight) -> None:
        """Take a flight off the list. A fault of ours that nobody waits for is kept for a read."""
        flights = self._flights[flight.symbol]
        flights.remove(flight)
        self._count -= 1
        if not flights:
            del self._flights[flight.symbol]
        if flight.task.cancelled():
            if not self._is_closed:
                self._failed(flight.symbol)  # by the callback itself: the venue was not reached
            return
        fault = flight.task.exception()
        slot = self._slots.find(flight.symbol)
        if fault is not None and (slot is None or not slot.waiter_count):
            self._fault = fault
