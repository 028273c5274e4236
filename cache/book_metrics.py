"""What became of the books that were asked for and built: every figure of the book store.

The figures are counters (`cache/counters.py`). A process that owns a segment counts in it, so that
tools see them while it lives and after; whoever owns none counts in a `Tally`. The names here are
those users know (`cache_hits`, `age_histogram`); a figure nobody can know yet (the mean of nothing)
is None.

The age of a book served is the time since its last change was received. It may be long: a quiet
market is served for as long as it is proven. In the mean, an hour is the most that one counts for.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import Final, Protocol

from msgspec import Struct

from cache.counters import Counter
from cache.gate import Trust
from cache.ladder import Outcome

AGE_BOUNDS_MS: Final = (10, 50, 100, 250, 500, 1_000, 5_000)
"""Upper bounds, inclusive, of the first seven buckets of the age histogram; the last has none."""

_AGE_BOUNDS_NS: Final = tuple(bound * 1_000_000 for bound in AGE_BOUNDS_MS)
_AGE_COUNTERS: Final = (
    Counter.cache_book_age_10ms,
    Counter.cache_book_age_50ms,
    Counter.cache_book_age_100ms,
    Counter.cache_book_age_250ms,
    Counter.cache_book_age_500ms,
    Counter.cache_book_age_1000ms,
    Counter.cache_book_age_5000ms,
    Counter.cache_book_age_more,
)

_AGE_MAX_NS: Final = 3_600_000_000_000
"""What an age counts for at most: sums of hours, thousands of times a second, fit the counter."""

_HITS: Final = Counter.cache_book_hits
_AGE: Final = Counter.cache_book_age_us
_NOT_READY: Final = Counter.cache_book_misses_not_ready
_MISS_OF: Final = {
    Trust.NOT_SUBSCRIBED: Counter.cache_book_misses_not_subscribed,
    Trust.NEVER_SEEN: Counter.cache_book_misses_never_seen,
    Trust.WRITER_DEAD: _NOT_READY,
    Trust.STALLED: _NOT_READY,
    Trust.RESOLVED: _NOT_READY,
    Trust.GAP: _NOT_READY,
    Trust.WARMUP: _NOT_READY,
    Trust.STALE: Counter.cache_book_misses_stale,
    Trust.CROSSED: Counter.cache_book_misses_crossed,
    Trust.SUSPECT: _NOT_READY,
}
_MISSES: Final = tuple(_MISS_OF.get(trust) for trust in Trust)
"""By trust: an enumeration's hash takes as long as all the rest."""


class Counts(Protocol):
    """Where figures are kept: a segment's counters, or a `Tally`."""

    def __getitem__(self, counter: Counter, /) -> int: ...
    def add(self, counter: Counter, count: int = 1, /) -> None: ...


class Readable(Protocol):
    """Figures that may only be read: those of another process."""

    def __getitem__(self, counter: Counter, /) -> int: ...


class Tally:
    """Counters of nobody's segment."""

    def __init__(self) -> None:
        self._counts: dict[Counter, int] = {}

    def __getitem__(self, counter: Counter, /) -> int:
        return self._counts.get(counter, 0)

    def add(self, counter: Counter, count: int = 1, /) -> None:
        self._counts[counter] = self._counts.get(counter, 0) + count


class BookSummary(Struct, frozen=True):
    """The figures at one moment."""

    cache_hits: int
    cache_misses_not_subscribed: int
    cache_misses_not_ready: int
    cache_misses_stale: int
    cache_misses_never_seen: int
    cache_misses_crossed: int
    snapshots_applied: int
    snapshot_rejects: int
    deltas_applied: int
    sequence_gaps: int
    crossed_book_resets: int
    mean_served_age_ms: float | None
    """None while nothing was served."""
    age_histogram: tuple[int, ...]
    """How many books were served by age; the bounds are `AGE_BOUNDS_MS`."""

    @property
    def cache_misses(self) -> int:
        """All reads that gave no book."""
        return (
            self.cache_misses_not_subscribed
            + self.cache_misses_not_ready
            + self.cache_misses_stale
            + self.cache_misses_never_seen
            + self.cache_misses_crossed
        )

    @property
    def hit_rate(self) -> float | None:
        """The share of reads that gave a book, 0 to 1; None while nothing was read."""
        reads = self.cache_hits + self.cache_misses
        return self.cache_hits / reads if reads else None

    def age_bound_ms(self, share: float) -> float | None:
        """The age within which this share (0 to 1) of the books served was, by the buckets.

        None while nothing was served; infinite where the last bucket, which has no bound, begins
        before it.
        """
        wanted, seen = share * sum(self.age_histogram), 0
        for count, bound_ms in zip(self.age_histogram, (*AGE_BOUNDS_MS, inf), strict=True):
            seen += count
            if seen and seen >= wanted:
                return bound_ms
        return None

    @property
    def mean_age_ms(self) -> float | None:
        """The same as `mean_served_age_ms`."""
        return self.mean_served_age_ms


def summarize(counts: Readable) -> BookSummary:
    """Put the figures of any process together, dead or alive: give its counters."""
    hits = counts[Counter.cache_book_hits]
    return BookSummary(
        cache_hits=hits,
        cache_misses_not_subscribed=counts[Counter.cache_book_misses_not_subscribed],
        cache_misses_not_ready=counts[Counter.cache_book_misses_not_ready],
        cache_misses_stale=counts[Counter.cache_book_misses_stale],
        cache_misses_never_seen=counts[Counter.cache_book_misses_never_seen],
        cache_misses_crossed=counts[Counter.cache_book_misses_crossed],
        snapshots_applied=counts[Counter.cache_book_snapshots_applied],
        snapshot_rejects=counts[Counter.cache_book_snapshots_rejected],
        deltas_applied=counts[Counter.cache_book_deltas_applied],
        sequence_gaps=counts[Counter.cache_book_gaps_seen],
        crossed_book_resets=counts[Counter.cache_book_resets_crossed],
        mean_served_age_ms=counts[Counter.cache_book_age_us] / hits / 1e3 if hits else None,
        age_histogram=tuple(counts[counter] for counter in _AGE_COUNTERS),
    )


class BookMetrics:
    """Counts for one process; belongs to one thread."""

    def __init__(self, counts: Counts | None = None) -> None:
        """Count in `counts`, such as the counters of the process's own segment."""
        self.counts: Counts = counts if counts is not None else Tally()

    def judged(self, trust: Trust, age_ns: int) -> None:
        """A book was asked for: a hit, of this age, where it may be quoted on, else a miss."""
        add = self.counts.add
        miss = _MISSES[trust]
        if miss is not None:
            add(miss)
            return
        add(_HITS)
        add(_AGE_COUNTERS[bisect_left(_AGE_BOUNDS_NS, age_ns)])
        if age_ns >= 1_000:
            add(_AGE, (age_ns if age_ns < _AGE_MAX_NS else _AGE_MAX_NS) // 1_000)

    def built(self, outcome: Outcome, *, is_snapshot: bool) -> None:
        """A snapshot or a delta was put to a book."""
        add = self.counts.add
        if outcome is Outcome.APPLIED:
            snapshots, deltas = (
                Counter.cache_book_snapshots_applied,
                Counter.cache_book_deltas_applied,
            )
            add(snapshots if is_snapshot else deltas)
            return
        if is_snapshot:
            add(Counter.cache_book_snapshots_rejected)
        if outcome is Outcome.GAP:
            add(Counter.cache_book_gaps_seen)
        elif outcome is Outcome.CROSSED:
            add(Counter.cache_book_resets_crossed)

    def summary(self) -> BookSummary:
        """Give the figures of now."""
        return summarize(self.counts)
