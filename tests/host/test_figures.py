"""Figures of processes, as the survey shows them."""

import pytest

from cache.book_metrics import BookMetrics
from cache.counters import Counter, Histogram
from cache.gate import Trust
from cache.md_rollout import READS_MIN
from cache.pm_cache import pm_boards
from cache.segment import ReaderSegment, WriterSegment
from host.figures import latencies
from host.survey import Survey

NOW_NS = 5_000_000_000_000
WALL_NS = 1_800_000_000_000_000_000


def test_the_cache_of_rest_snapshots_is_shown_with_what_its_gates_say(namespace):
    feed = WriterSegment.create("feed.polymarket.0", pm_boards(), namespace=namespace)
    assert Survey(namespace).take(NOW_NS, WALL_NS).rest_caches == [], "nothing was read"
    for _ in range(READS_MIN):
        feed.counters.record(Histogram.cache_md_read_ns, 2_000_000)
        feed.counters.record(Histogram.cache_md_direct_ns, 1_000_000)
        feed.counters.record(Histogram.cache_md_age_ns, 100_000_000)
        feed.counters.add(Counter.cache_md_hits)
    feed.counters.add(Counter.cache_md_shadows_compared, 7)
    feed.counters.add(Counter.cache_md_shadows_differed, 3)
    (row,) = Survey(namespace).take(NOW_NS, WALL_NS).rest_caches
    assert (row.role, row.gate) == ("feed.polymarket.0", "SLOWER")
    assert row.reason == "p95 1.97 ms, asked directly 0.98 ms: over 15% slower"
    assert (row.read_count, row.hit_ratio, row.direct_count) == (READS_MIN, 1.0, READS_MIN)
    assert (row.read_p50_ns, row.read_p95_ns, row.direct_p95_ns) == (1966080, 1966080, 983040)
    assert row.age_p95_ns == pytest.approx(100e6, rel=1 / 16)
    assert (row.compared_count, row.differed_count) == (7, 3)
    assert row.metrics["mm_md_cache_hit_total"] == READS_MIN
    assert row.metrics["mm_md_cache_age_ms_p95"] == pytest.approx(100, rel=1 / 16)
    feed.counters.add(Counter.cache_md_rolled_back)
    (row,) = Survey(namespace).take(NOW_NS, WALL_NS).rest_caches
    assert row.gate == "ROLLED_BACK"
    feed.close(remove=True)


def test_a_cache_that_nothing_goes_past_has_metrics_and_no_gate(namespace):
    feed = WriterSegment.create("feed.binance.0", pm_boards(), namespace=namespace)
    feed.counters.add(Counter.cache_md_misses)
    feed.counters.record(Histogram.cache_md_refresh_ns, 8_000_000)
    (row,) = Survey(namespace).take(NOW_NS, WALL_NS).rest_caches
    assert (row.gate, row.reason, row.hit_ratio) == ("", "", None)
    assert row.metrics["mm_md_cache_miss_total"] == 1
    assert row.metrics["mm_md_cache_hit_ratio"] == 0.0
    assert row.metrics["mm_md_refresh_latency_ms_p95"] == pytest.approx(8, rel=1 / 16)
    feed.close(remove=True)


def test_a_rest_side_that_never_answered_is_shown_and_not_left_out(namespace):
    feed = WriterSegment.create("feed.polymarket.0", pm_boards(), namespace=namespace)
    feed.counters.add(Counter.cache_md_misses, 9)
    feed.counters.add(Counter.cache_md_refreshes_failed, 1_234)
    (row,) = Survey(namespace).take(NOW_NS, WALL_NS).rest_caches
    assert (row.gate, row.reason) == ("UNKNOWN", "no answer, 1,234 tries failed")
    feed.close(remove=True)


def test_what_was_asked_past_the_cache_alone_is_shown_too(namespace):
    feed = WriterSegment.create("feed.polymarket.0", pm_boards(), namespace=namespace)
    feed.counters.record(Histogram.cache_md_direct_ns, 1_000_000)
    (row,) = Survey(namespace).take(NOW_NS, WALL_NS).rest_caches
    assert (row.gate, row.direct_count, row.metrics) == ("UNKNOWN", 1, {})
    feed.close(remove=True)


def test_what_became_of_the_books_each_process_asked_for_is_told(filled):
    maker = WriterSegment.create("strategy.other", (), namespace=filled)
    metrics = BookMetrics(maker.counters)
    for age_ms in (3, 4, 5, 70):
        metrics.judged(Trust.LIVE, age_ms * 1_000_000)
    metrics.judged(Trust.STALE, 0)
    (row,) = Survey(filled).take(NOW_NS, WALL_NS).served
    assert (row.role, row.hit_count, row.hit_rate) == ("strategy.other", 4, 0.8)
    assert row.miss_counts == {"stale": 1}
    assert (row.age_ms_p50, row.age_ms_p95) == (10, 100)
    assert row.age_histogram == (3, 0, 1, 0, 0, 0, 0, 0)
    maker.close()


def test_latencies_are_told_of_what_was_measured_alone(namespace):
    made = WriterSegment.create("feed.x", (), namespace=namespace)
    found = ReaderSegment.attach("feed.x", namespace=namespace)
    assert latencies(found) == {}
    for value_ns in (10, 20, 30):
        made.counters.record(Histogram.loop_turn_ns, value_ns)
    assert latencies(found) == {"loop_turn_ns": [20, 30, 30]}
    made.close(remove=True)
