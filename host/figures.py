"""What the counters of each process say of it: books served, REST snapshots, latencies.

Counters lie in the process's own segment, so all of this is there for the dead as for the living.
`host/survey.py` puts it beside what the boards show. It attaches nothing and asks no process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cache.book_metrics import summarize
from cache.counters import Counter, Histogram
from cache.md_metrics import totals
from cache.md_rollout import Gate, figures_of, judge
from cache.segment import ReaderSegment
from host.picture import RestCacheRow, ServedRow

Segments = Mapping[str, ReaderSegment]


def served(segments: Segments) -> Iterator[ServedRow]:
    """What each process found when it asked for books; those that never did are left out."""
    for role, found in sorted(segments.items()):
        told = summarize(found.counters)
        if told.hit_rate is None:
            continue
        causes = {
            name.removeprefix("cache_misses_"): getattr(told, name)
            for name in told.__struct_fields__
            if name.startswith("cache_misses_")
        }
        yield ServedRow(
            role=role,
            hit_count=told.cache_hits,
            miss_counts={cause: count for cause, count in causes.items() if count},
            hit_rate=told.hit_rate,
            age_histogram=told.age_histogram,
            age_ms_p50=told.age_bound_ms(0.5),
            age_ms_p95=told.age_bound_ms(0.95),
        )


def rest_caches(segments: Segments) -> Iterator[RestCacheRow]:
    """What the cache for REST snapshots did in each process that has one."""
    for role, found in segments.items():
        figures, metrics = figures_of(found.counters), totals(found.counters)
        if not (metrics or figures.direct_count):
            continue
        row = RestCacheRow(role, "", metrics=metrics, hit_ratio=figures.hit_ratio)
        if figures.read_count or figures.direct_count:
            gate, row.reason = judge(figures)
            row.gate = "ROLLED_BACK" if figures.rolled_back_count else gate.name
        elif failed := found.counters[Counter.cache_md_refreshes_failed]:
            row.gate, row.reason = Gate.UNKNOWN.name, f"no answer, {failed:,} tries failed"
        for name in RestCacheRow.COPIED:
            setattr(row, name, getattr(figures, name))
        yield row


def latencies(found: ReaderSegment) -> dict[str, list[int]]:
    """p50, p99 and p99.9 in nanoseconds of each histogram that has anything in it."""
    measured = {
        histogram.name: found.counters.percentiles(histogram, 0.5, 0.99, 0.999)
        for histogram in Histogram
    }
    return {name: list(points) for name, points in measured.items() if points is not None}
