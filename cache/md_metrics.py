"""What the cache for REST snapshots did: hits, misses, ages and refresh latencies, in memory.

An exporter takes `rows()`, each a metric with its labels; writing them as text is its business.
The segment's counters are kept besides, where there is a writer of them; `totals` reads them from
outside, of a dead process too, all symbols together: a symbol here is a token that trades for some
minutes, and a segment has no room for what each of them did. Bounded: the figures of at
most `symbols_max` symbols are kept apart. Those of the one that was longest unused are added to
`evicted` when another needs the place, so that no sum ever falls.

What was never seen is None or has no row; there is no ratio, age or latency of nothing.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from math import ceil
from typing import NamedTuple

from cache.counters import Counter, CounterReader, CounterWriter, Histogram

EVICTED = "(evicted)"
OTHER = "(other)"
LATENCIES_KEPT = 128
"""So many of the newest refreshes of a symbol make its 95th percentile."""
REASONS_MAX = 32
BOUNDS_MS = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000)
"""Upper bounds of the histogram's buckets; one more is without bound."""


class MetricRow(NamedTuple):
    """One value of one metric, labels as an exporter writes them."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


TOTALS = {
    "mm_md_cache_hit_total": Counter.cache_md_hits,
    "mm_md_cache_stale_total": Counter.cache_md_hits_stale,
    "mm_md_cache_miss_total": Counter.cache_md_misses,
    "mm_md_cache_invalidated_total": Counter.cache_md_invalidated,
    "mm_md_cache_evicted_total": Counter.cache_md_evicted,
    "mm_md_refresh_failed_total": Counter.cache_md_refreshes_failed,
    "mm_md_refresh_outdated_total": Counter.cache_md_refreshes_outdated,
}
TIMES = {
    "mm_md_cache_age_ms": Histogram.cache_md_age_ns,
    "mm_md_refresh_latency_ms": Histogram.cache_md_refresh_ns,
}


def totals(counters: CounterReader) -> dict[str, float]:
    """Give the metrics of one segment by their names; empty where nothing was ever read.

    Ages are those of the snapshots that were given out, at that moment.
    """
    found: dict[str, float] = {name: counters[counter] for name, counter in TOTALS.items()}
    hits, misses = counters[Counter.cache_md_hits], counters[Counter.cache_md_misses]
    if not hits + misses:
        return {}
    found["mm_md_cache_hit_ratio"] = hits / (hits + misses)
    for name, histogram in TIMES.items():
        for point, ns in zip(
            (50, 95, 99), counters.percentiles(histogram, 0.5, 0.95, 0.99) or (), strict=False
        ):
            found[f"{name}_p{point}"] = ns / 1e6
    return found


class MDSummary(NamedTuple):
    """All symbols together, those evicted included."""

    hit_count: int
    stale_count: int
    miss_count: int
    hit_ratio: float | None
    refresh_count: int
    refresh_failed_count: int
    refresh_outdated_count: int
    evicted_count: int
    invalidated: dict[str, int]


class _Symbol:
    __slots__ = ("age_ms", "hits", "latencies_ms", "misses", "stale")

    def __init__(self) -> None:
        self.hits = self.stale = self.misses = 0
        self.age_ms: float | None = None
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)

    @property
    def hit_ratio(self) -> float | None:
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class StageMetrics:
    """The figures of one cache; belongs to its thread."""

    def __init__(self, symbols_max: int, *, counters: CounterWriter | None = None) -> None:
        self._symbols_max = symbols_max
        self._counters = counters
        self._symbols: OrderedDict[str, _Symbol] = OrderedDict()
        self._evicted = _Symbol()
        self._invalidated: Tally[str] = Tally()
        self._buckets = [0] * (len(BOUNDS_MS) + 1)
        self._latency_ms_sum = 0.0
        self.refresh_failed_count = 0
        self.refresh_outdated_count = 0
        self.evicted_count = 0

    # --- what the cache tells -------------------------------------------------------------------

    def record_md_cache_hit(self, symbol: str, *, is_stale: bool = False) -> None:
        """A snapshot was served at once; `is_stale` where it was past its time."""
        found = self._of(symbol)
        found.hits += 1
        self._count(Counter.cache_md_hits)
        if is_stale:
            found.stale += 1
            self._count(Counter.cache_md_hits_stale)
        self._tell_ratio()

    def record_md_cache_miss(self, symbol: str) -> None:
        """There was none that could be served at once."""
        self._of(symbol).misses += 1
        self._count(Counter.cache_md_misses)
        self._tell_ratio()

    def record_md_cache_age(self, symbol: str, age_ms: float | None) -> None:
        """Keep the age of what is held; None where nothing is held any more."""
        if age_ms is not None:
            self._of(symbol).age_ms = age_ms
        elif (found := self._symbols.get(symbol)) is not None:
            found.age_ms = None

    def record_md_refresh_latency(self, latency_ms: float, *, symbol: str | None = None) -> None:
        """The venue answered; how long it took."""
        at = next((at for at, bound in enumerate(BOUNDS_MS) if latency_ms <= bound), -1)
        self._buckets[at] += 1
        self._latency_ms_sum += latency_ms
        if self._counters is not None:
            self._counters.record(Histogram.cache_md_refresh_ns, round(latency_ms * 1e6))
        if symbol is not None:
            self._of(symbol).latencies_ms.append(latency_ms)

    def record_md_refresh_failed(self) -> None:
        """A try to ask the venue failed."""
        self.refresh_failed_count += 1
        self._count(Counter.cache_md_refreshes_failed)

    def record_md_refresh_outdated(self) -> None:
        """An answer was thrown away: an invalidation or a newer answer came before it."""
        self.refresh_outdated_count += 1
        self._count(Counter.cache_md_refreshes_outdated)

    def record_md_evicted(self, symbol: str) -> None:
        """A symbol made room for another. Its figures go on for as long as there is room here."""
        self.record_md_cache_age(symbol, None)
        self.evicted_count += 1
        self._count(Counter.cache_md_evicted)

    def record_md_invalidated(self, reason: str) -> None:
        """A snapshot was thrown away, or an answer under way; the first reasons are kept apart."""
        reason = reason[:64]
        is_known = reason in self._invalidated or len(self._invalidated) < REASONS_MAX
        self._invalidated[reason if is_known else OTHER] += 1
        self._count(Counter.cache_md_invalidated)

    def record_md_refused(self) -> None:
        """A read was refused: too deep, or too many symbols at once."""
        self._count(Counter.cache_md_refused)

    # --- what others ask ------------------------------------------------------------------------

    def get_md_cache_hit_ratio(self, symbol: str) -> float | None:
        """Give the hits out of all reads of a symbol, 0 to 1; None where it was not read."""
        found = self._symbols.get(symbol)
        return None if found is None else found.hit_ratio

    def get_refresh_latency_p95(self, symbol: str) -> float | None:
        """Give the 95th percentile of the newest refreshes in ms; None where there was none."""
        found = self._symbols.get(symbol)
        if found is None or not found.latencies_ms:
            return None
        return sorted(found.latencies_ms)[ceil(0.95 * len(found.latencies_ms)) - 1]

    def summary(self) -> MDSummary:
        """Add everything up."""
        every = (self._evicted, *self._symbols.values())
        hits, misses = sum(one.hits for one in every), sum(one.misses for one in every)
        return MDSummary(
            hit_count=hits,
            stale_count=sum(one.stale for one in every),
            miss_count=misses,
            hit_ratio=hits / (hits + misses) if hits + misses else None,
            refresh_count=sum(self._buckets),
            refresh_failed_count=self.refresh_failed_count,
            refresh_outdated_count=self.refresh_outdated_count,
            evicted_count=self.evicted_count,
            invalidated=dict(self._invalidated),
        )

    def rows(self) -> Iterator[MetricRow]:
        """Yield every value for an exporter; the histogram's buckets add up, as exporters want."""
        for symbol, found in (*self._symbols.items(), (EVICTED, self._evicted)):
            if symbol is not EVICTED or found.hits or found.misses:
                yield from _rows_of((("symbol", symbol),), found)
        yield from self._histogram()
        for name, value in (
            ("mm_md_refresh_failed_total", self.refresh_failed_count),
            ("mm_md_refresh_outdated_total", self.refresh_outdated_count),
            ("mm_md_cache_evicted_total", self.evicted_count),
        ):
            yield MetricRow(name, (), value)
        for reason, count in self._invalidated.items():
            yield MetricRow("mm_md_cache_invalidated_total", (("reason", reason),), count)

    def _histogram(self) -> Iterator[MetricRow]:
        name, total = "mm_md_refresh_latency_ms", 0
        bounds: Iterable[str] = (*map(str, BOUNDS_MS), "+Inf")
        for bound, count in zip(bounds, self._buckets, strict=True):
            total += count
            yield MetricRow(f"{name}_bucket", (("le", bound),), total)
        yield MetricRow(f"{name}_sum", (), self._latency_ms_sum)
        yield MetricRow(f"{name}_count", (), total)

    def _of(self, symbol: str) -> _Symbol:
        found = self._symbols.get(symbol)
        if found is not None:
            self._symbols.move_to_end(symbol)
            return found
        if len(self._symbols) >= self._symbols_max:
            _, gone = self._symbols.popitem(last=False)
            self._evicted.hits += gone.hits
            self._evicted.stale += gone.stale
            self._evicted.misses += gone.misses
        found = self._symbols[symbol] = _Symbol()
        return found

    def _count(self, counter: Counter) -> None:
        if self._counters is not None:
            self._counters.add(counter)

    def _tell_ratio(self) -> None:
        counters = self._counters
        if counters is not None:
            hits = counters[Counter.cache_md_hits]
            reads = hits + counters[Counter.cache_md_misses]
            counters.set(Counter.cache_md_hit_permille, 1_000 * hits // reads)


def _rows_of(labels: tuple[tuple[str, str], ...], found: _Symbol) -> Iterator[MetricRow]:
    yield MetricRow("mm_md_cache_hit_total", labels, found.hits)
    yield MetricRow("mm_md_cache_stale_total", labels, found.stale)
    yield MetricRow("mm_md_cache_miss_total", labels, found.misses)
    if found.hit_ratio is not None:
        yield MetricRow("mm_md_cache_hit_ratio", labels, found.hit_ratio)
    if found.age_ms is not None:
        yield MetricRow("mm_md_cache_age_ms", labels, found.age_ms)
