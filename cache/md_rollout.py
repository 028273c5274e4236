"""How the cache for REST snapshots is rolled out: by shares of the markets, in shadow, and back.

`MDRollout` stands before an `MDCache` and answers each read by the way its market goes: through the
cache, or by asking the venue for it alone. `share` of the markets go through the cache, chosen by
their tags, so those of a smaller share are among those of a larger one, on every host and after
every start. In shadow the venue's own answer is given always, and the cache is read beside it and
compared with it. Both ways are measured in the segment's histograms: of the same run.

The rollback gates are `judge`, of figures alone: `MDGates` applies it, once for all rollouts of a
process, to what was measured since it started, at most an hour ago; `penstock status` shows it of
all that was measured. One that tripped stays so for the life of the process. What nobody answered
is no figure of either way: an outage of the venue is not the cache's fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from cache.counters import Counter, CounterReader, CounterWriter, Histogram, percentiles_of
from cache.md_cache import FAILURES, MDCache
from cache.md_config import MDCacheConfig
from cache.md_entry import MDCacheEntry, MDMiss
from cache.md_refresh import Refresh

READS_MIN: Final = 500
"""Fewer answered reads of a way say nothing of it."""

HIT_RATIO_MIN: Final = 0.5
REGRESSION_MAX: Final = 0.15
"""So much slower than asking the venue may the cache be, in the 95th percentile."""

WINDOW_NS: Final = 3_600 * 10**9
"""The gates look back no further: what was good for a day does not hide what is bad now."""

KINDS: Final = (
    Histogram.cache_md_read_ns, Histogram.cache_md_age_ns, Histogram.cache_md_direct_ns
)  # fmt: skip


class Figures(NamedTuple):
    """What was measured of both ways; times in ns, None unknown."""

    read_count: int = 0
    """Reads through the cache that were answered."""
    hit_count: int = 0
    read_p50_ns: int | None = None
    read_p95_ns: int | None = None
    age_p50_ns: int | None = None
    age_p95_ns: int | None = None
    direct_count: int = 0
    direct_p50_ns: int | None = None
    direct_p95_ns: int | None = None
    compared_count: int = 0
    """Answers of the cache that shadow mode could compare with the venue's."""
    differed_count: int = 0
    rolled_back_count: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """Hits of all answered reads, 0 to 1."""
        return self.hit_count / self.read_count if self.read_count else None


class Gate(Enum):
    """What the rollback gates say."""

    UNKNOWN = "Too little was measured."
    KEEP = "No gate trips."
    HIT_RATIO = "Too few reads are hits: ask the venue."
    SLOWER = "The cache is slower than the venue: ask the venue."

    @property
    def is_tripped(self) -> bool:
        return self in (Gate.HIT_RATIO, Gate.SLOWER)


def judge(figures: Figures) -> tuple[Gate, str]:
    """Say whether the cache is to be kept, and why."""
    reads, ratio = figures.read_count, figures.hit_ratio
    if ratio is None or reads < READS_MIN:
        return Gate.UNKNOWN, f"{reads} of {READS_MIN} reads"
    told = f"hit ratio {ratio:.2f}"
    if ratio < HIT_RATIO_MIN:
        return Gate.HIT_RATIO, f"{told} is under {HIT_RATIO_MIN}"
    cached_ns, direct_ns = figures.read_p95_ns, figures.direct_p95_ns
    if figures.direct_count < READS_MIN or cached_ns is None or direct_ns is None:
        direct = f"{figures.direct_count} of {READS_MIN} direct reads to compare with"
        return Gate.KEEP, f"{told}; {direct}"
    times = f"p95 {cached_ns / 1e6:.2f} ms, asked directly {direct_ns / 1e6:.2f} ms"
    if cached_ns > direct_ns * (1 + REGRESSION_MAX):
        return Gate.SLOWER, f"{times}: over {REGRESSION_MAX:.0%} slower"
    return Gate.KEEP, f"{told}; {times}"


class Totals(NamedTuple):
    """What the counters said at some moment."""

    hit_count: int
    counts: tuple[list[int], ...]
    """Of each of `KINDS`, by bucket."""

    @classmethod
    def of(cls, counters: CounterReader) -> Totals:
        return cls(counters[Counter.cache_md_hits], tuple(map(counters.counts, KINDS)))

    def less(self, before: Totals) -> Totals:
        """Give what came since then."""
        counts = (
            [after - sooner for after, sooner in zip(*both, strict=True)]
            for both in zip(self.counts, before.counts, strict=True)
        )
        return Totals(self.hit_count - before.hit_count, tuple(counts))


def figures_of(counters: CounterReader, before: Totals | None = None) -> Figures:
    """Read the figures of one segment, since it was made or since some moment."""
    found = Totals.of(counters)
    if before is not None:
        found = found.less(before)
    read, age, direct = (percentiles_of(one, 0.5, 0.95) or (None, None) for one in found.counts)
    return Figures(
        read_count=sum(found.counts[0]),
        hit_count=found.hit_count,
        read_p50_ns=read[0],
        read_p95_ns=read[1],
        age_p50_ns=age[0],
        age_p95_ns=age[1],
        direct_count=sum(found.counts[2]),
        direct_p50_ns=direct[0],
        direct_p95_ns=direct[1],
        compared_count=counters[Counter.cache_md_shadows_compared],
        differed_count=counters[Counter.cache_md_shadows_differed],
        rolled_back_count=counters[Counter.cache_md_rolled_back],
    )


def is_in_share(tag: int, share: float) -> bool:
    """Whether a market is among the `share` of all, 0 to 1, that go through the cache."""
    return (tag >> 11) < share * (1 << 53)


class MDGates:
    """The rollback gates of one process, whose rollouts go back all together or not at all."""

    def __init__(
        self,
        config: MDCacheConfig,
        counters: CounterWriter,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Begin anew: what was measured, and given up, before this process says nothing of it."""
        self.is_rolled_back = False
        self._config = config
        self._counters = counters
        self._now_ns = now_ns
        self._begin()
        counters.set(Counter.cache_md_rolled_back, 0)

    def _begin(self) -> None:
        self._since_ns = self._now_ns()
        self._before = Totals.of(self._counters.reader)

    def check(self) -> str:
        """Apply the gates; say why everything is asked directly from now on, or nothing.

        In shadow nothing hangs on the cache, and all of it is to be seen: no gate is applied.
        """
        if self.is_rolled_back or self._config.shadow:
            return ""
        gate, reason = judge(figures_of(self._counters.reader, self._before))
        if gate.is_tripped:
            self.is_rolled_back = True
            self._counters.set(Counter.cache_md_rolled_back, 1)
            return reason
        if self._now_ns() - self._since_ns > WINDOW_NS:
            self._begin()
        return ""


class MDRollout:
    """Reads of one process, through the cache or not; belongs to its event loop."""

    def __init__(
        self,
        config: MDCacheConfig,
        refresh: Refresh,
        counters: CounterWriter,
        *,
        gates: MDGates,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Make the cache, too: who asks the venue by itself asks as it does, by `refresh`."""
        self.cache = MDCache(config, refresh, counters=counters, now_ns=now_ns)
        self._gates = gates
        self._config = config
        self._refresh = refresh
        self._counters = counters
        self._now_ns = now_ns

    async def read(
        self, symbol: str, depth: int, max_age_ms: int, *, tag: int
    ) -> MDCacheEntry | MDMiss:
        """Give a snapshot as `MDCache.read` does, by the way of the market that has this tag."""
        if self._gates.is_rolled_back or not is_in_share(tag, self._config.share):
            return await self._ask(symbol, depth)
        if not self._config.shadow:
            return await self._read(symbol, depth, max_age_ms)
        reads = self._read(symbol, depth, max_age_ms), self._ask(symbol, depth)
        kept, found = await asyncio.gather(*reads)
        if isinstance(kept, MDCacheEntry) and isinstance(found, MDCacheEntry):
            self._compare(kept, found)
        return found

    async def _read(self, symbol: str, depth: int, max_age_ms: int) -> MDCacheEntry | MDMiss:
        begun_ns = self._now_ns()
        found = await self.cache.read(symbol, depth, max_age_ms)
        now_ns = self._now_ns()
        if isinstance(found, MDCacheEntry) or found is MDMiss.NO_BOOK:
            self._counters.record(Histogram.cache_md_read_ns, now_ns - begun_ns)
        if isinstance(found, MDCacheEntry):
            self._counters.record(Histogram.cache_md_age_ns, now_ns - found.asked_ns)
        return found

    async def _ask(self, symbol: str, depth: int) -> MDCacheEntry | MDMiss:
        """Ask the venue, once; who wants it again reads again."""
        asked_ns = self._now_ns()
        try:
            async with asyncio.timeout(self._config.refresh_timeout_ms / 1e3):
                book = await self._refresh(symbol, depth)
        except FAILURES:
            self._counters.add(Counter.cache_md_refreshes_failed)
            return MDMiss.FAILED
        now_ns = self._now_ns()
        self._counters.record(Histogram.cache_md_direct_ns, now_ns - asked_ns)
        if book is None:
            return MDMiss.NO_BOOK
        return MDCacheEntry(symbol, book.cut(depth), asked_ns, now_ns, 0)

    def _compare(self, kept: MDCacheEntry, found: MDCacheEntry) -> None:
        ours, told = kept.book, found.book
        if ours is not None and told is not None:
            self._counters.add(Counter.cache_md_shadows_compared)
            if (ours.bids, ours.asks) != (told.bids, told.asks):
                self._counters.add(Counter.cache_md_shadows_differed)
