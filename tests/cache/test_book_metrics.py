"""Every figure of the book store, by the names users know."""

import pytest

from cache.book_metrics import AGE_BOUNDS_MS, BookMetrics, Tally, summarize
from cache.counters import Counter
from cache.gate import Trust
from cache.ladder import Outcome
from tests.cache.book_world import FeedWorld
from tests.shm import own_namespace

MS = 1_000_000


def test_before_anything_happened_shares_and_means_are_unknown():
    summary = BookMetrics().summary()
    assert summary.hit_rate is None
    assert summary.mean_age_ms is None
    assert summary.mean_served_age_ms is None
    assert summary.age_histogram == (0,) * 8
    assert summary.cache_hits == summary.cache_misses == 0


@pytest.mark.parametrize("trust", [Trust.LIVE, Trust.QUIET])
def test_a_book_that_may_be_quoted_on_is_a_hit(trust):
    metrics = BookMetrics()
    metrics.judged(trust, 3 * MS)
    assert metrics.summary().cache_hits == 1
    assert metrics.summary().cache_misses == 0


@pytest.mark.parametrize(
    ("trust", "name"),
    [
        (Trust.NOT_SUBSCRIBED, "not_subscribed"),
        (Trust.NEVER_SEEN, "never_seen"),
        (Trust.WRITER_DEAD, "not_ready"),
        (Trust.STALLED, "not_ready"),
        (Trust.RESOLVED, "not_ready"),
        (Trust.GAP, "not_ready"),
        (Trust.WARMUP, "not_ready"),
        (Trust.STALE, "stale"),
        (Trust.CROSSED, "crossed"),
        (Trust.SUSPECT, "not_ready"),
    ],
)
def test_each_reason_for_no_book_has_its_own_figure(trust, name):
    metrics = BookMetrics()
    metrics.judged(trust, 0)
    summary = metrics.summary()
    assert getattr(summary, f"cache_misses_{name}") == 1
    assert summary.cache_misses == 1
    assert summary.cache_hits == 0
    assert summary.age_histogram == (0,) * 8


def test_there_is_a_figure_for_every_trust():
    for trust in Trust:
        BookMetrics().judged(trust, 0)


def test_the_hit_rate_and_the_mean_age_are_over_all_reads_and_all_hits():
    metrics = BookMetrics()
    for age_ms in (1, 2, 6):
        metrics.judged(Trust.LIVE, age_ms * MS)
    metrics.judged(Trust.STALE, 9_000 * MS)
    summary = metrics.summary()
    assert summary.hit_rate == 0.75
    assert summary.mean_age_ms == summary.mean_served_age_ms == 3.0


def test_no_age_however_long_outgrows_its_counter():
    metrics = BookMetrics()
    for age_ns in (2**63, 10 * 3_600_000 * MS, -1):
        metrics.judged(Trust.QUIET, age_ns)
    assert metrics.counts[Counter.cache_book_age_us] == 2 * 3_600_000_000


def test_the_age_histogram_has_eight_buckets_whose_bounds_belong_to_the_lower_one():
    assert AGE_BOUNDS_MS == (10, 50, 100, 250, 500, 1_000, 5_000)
    for bucket, bound in enumerate(AGE_BOUNDS_MS):
        metrics = BookMetrics()
        metrics.judged(Trust.LIVE, bound * MS)
        metrics.judged(Trust.LIVE, bound * MS + 1)
        found = metrics.summary().age_histogram
        assert len(found) == 8
        assert [at for at, count in enumerate(found) if count] == [bucket, bucket + 1]


def test_an_age_of_less_than_nothing_adds_nothing_to_the_mean():
    metrics = BookMetrics()
    metrics.judged(Trust.LIVE, -5)
    assert metrics.summary().mean_age_ms == 0.0
    assert metrics.summary().age_histogram[0] == 1


@pytest.mark.parametrize(
    ("outcome", "is_snapshot", "names"),
    [
        (Outcome.APPLIED, True, {"snapshots_applied"}),
        (Outcome.APPLIED, False, {"deltas_applied"}),
        (Outcome.OUTDATED, True, {"snapshot_rejects"}),
        (Outcome.TOO_OLD, True, {"snapshot_rejects"}),
        (Outcome.INVALID, True, {"snapshot_rejects"}),
        (Outcome.CROSSED, True, {"snapshot_rejects", "crossed_book_resets"}),
        (Outcome.CROSSED, False, {"crossed_book_resets"}),
        (Outcome.GAP, False, {"sequence_gaps"}),
        (Outcome.OUTDATED, False, set()),
        (Outcome.WAITING, False, set()),
    ],
)
def test_what_is_built_is_counted(outcome, is_snapshot, names):
    metrics = BookMetrics()
    metrics.built(outcome, is_snapshot=is_snapshot)
    summary = metrics.summary()
    figures = (
        "snapshots_applied",
        "snapshot_rejects",
        "deltas_applied",
        "sequence_gaps",
        "crossed_book_resets",
    )
    assert {name for name in figures if getattr(summary, name)} == names


def test_figures_in_a_segment_are_seen_by_whoever_reads_it():
    with own_namespace() as namespace:
        world = FeedWorld(namespace)
        metrics = BookMetrics(world.segment.counters)
        metrics.judged(Trust.LIVE, 20 * MS)
        metrics.judged(Trust.CROSSED, 0)
        seen = world.store().segment.counters
        assert summarize(seen) == metrics.summary()
        assert seen.all()["cache_book_hits"] == 1
        assert seen[Counter.cache_book_misses_crossed] == 1


def test_a_tally_starts_at_nothing():
    tally = Tally()
    assert tally[Counter.cache_book_hits] == 0
    tally.add(Counter.cache_book_hits, 2)
    assert tally[Counter.cache_book_hits] == 2


def test_the_bound_of_an_age_is_that_of_the_bucket_the_share_falls_into():
    metrics = BookMetrics()
    assert metrics.summary().age_bound_ms(0.5) is None
    for age_ms, count in ((5, 94), (200, 5), (9_000, 1)):
        for _ in range(count):
            metrics.judged(Trust.LIVE, age_ms * 1_000_000)
    summary = metrics.summary()
    assert [summary.age_bound_ms(share) for share in (0.5, 0.94, 0.95, 0.99)] == [10, 10, 250, 250]
    assert summary.age_bound_ms(0.999) == float("inf")
