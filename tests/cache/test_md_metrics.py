"""cache/md_metrics.py: figures by the names that dashboards know, bounded, nothing made up."""

import pytest

from cache import layout
from cache.counters import Counter, CounterReader, CounterWriter, Histogram
from cache.md_metrics import EVICTED, LATENCIES_KEPT, OTHER, REASONS_MAX, StageMetrics, totals


def values(metrics, name):
    return {row.labels: row.value for row in metrics.rows() if row.name == name}


def of(symbol):
    return (("symbol", symbol),)


def test_the_metrics_have_the_names_that_were_asked_for():
    metrics = StageMetrics(4)
    metrics.record_md_cache_hit("S")
    metrics.record_md_cache_hit("S", is_stale=True)
    metrics.record_md_cache_hit("S")
    metrics.record_md_cache_miss("S")
    metrics.record_md_cache_age("S", 12.5)
    assert values(metrics, "mm_md_cache_hit_total") == {of("S"): 3}
    assert values(metrics, "mm_md_cache_stale_total") == {of("S"): 1}
    assert values(metrics, "mm_md_cache_miss_total") == {of("S"): 1}
    assert values(metrics, "mm_md_cache_hit_ratio") == {of("S"): 0.75}
    assert values(metrics, "mm_md_cache_age_ms") == {of("S"): 12.5}
    assert metrics.get_md_cache_hit_ratio("S") == 0.75


def test_the_histogram_adds_up_as_exporters_want():
    metrics = StageMetrics(4)
    for latency_ms in (0.5, 1, 1.5, 60, 99_999):
        metrics.record_md_refresh_latency(latency_ms)
    buckets = values(metrics, "mm_md_refresh_latency_ms_bucket")
    assert buckets[(("le", "1"),)] == 2
    assert buckets[(("le", "2"),)] == 3
    assert buckets[(("le", "50"),)] == 3
    assert buckets[(("le", "75"),)] == 4
    assert buckets[(("le", "10000"),)] == 4
    assert buckets[(("le", "+Inf"),)] == 5
    assert values(metrics, "mm_md_refresh_latency_ms_count") == {(): 5}
    assert values(metrics, "mm_md_refresh_latency_ms_sum") == {(): pytest.approx(100_062)}


def test_what_was_never_seen_has_no_row_and_no_value():
    metrics = StageMetrics(4)
    assert metrics.get_md_cache_hit_ratio("S") is None
    assert metrics.get_refresh_latency_p95("S") is None
    assert metrics.summary().hit_ratio is None
    assert values(metrics, "mm_md_cache_hit_ratio") == {}
    metrics.record_md_cache_age("S", None)
    metrics.record_md_refresh_latency(3, symbol="S")
    assert values(metrics, "mm_md_cache_hit_ratio") == {}
    assert values(metrics, "mm_md_cache_age_ms") == {}
    assert metrics.get_md_cache_hit_ratio("S") is None


def test_the_p95_is_of_the_newest_refreshes_of_the_symbol():
    metrics = StageMetrics(4)
    for latency_ms in range(1, 101):
        metrics.record_md_refresh_latency(latency_ms, symbol="S")
    assert metrics.get_refresh_latency_p95("S") == 95
    for _ in range(LATENCIES_KEPT):
        metrics.record_md_refresh_latency(7, symbol="S")
    assert metrics.get_refresh_latency_p95("S") == 7
    for latency_ms in range(33, 43):
        metrics.record_md_refresh_latency(latency_ms, symbol="other")
    assert metrics.get_refresh_latency_p95("other") == 42


def test_symbols_are_bounded_and_no_sum_ever_falls():
    metrics = StageMetrics(2)
    for number in range(100):
        metrics.record_md_cache_miss(f"S{number}")
        metrics.record_md_cache_hit(f"S{number}", is_stale=True)
        summary = metrics.summary()
        found = (summary.hit_count, summary.stale_count, summary.miss_count)
        assert found == (number + 1,) * 3
    hits = values(metrics, "mm_md_cache_hit_total")
    assert hits == {of("S98"): 1, of("S99"): 1, of(EVICTED): 98}


def test_the_symbol_longest_unused_is_the_one_that_is_added_up():
    metrics = StageMetrics(2)
    for symbol in "ABAC":
        metrics.record_md_cache_miss(symbol)
    misses = values(metrics, "mm_md_cache_miss_total")
    assert misses == {of("A"): 2, of("C"): 1, of(EVICTED): 1}


def test_an_evicted_symbol_has_no_age_any_more():
    metrics = StageMetrics(4)
    metrics.record_md_cache_age("S", 5)
    metrics.record_md_evicted("S")
    assert values(metrics, "mm_md_cache_age_ms") == {}
    assert values(metrics, "mm_md_cache_evicted_total") == {(): 1}


def test_reasons_are_bounded_in_number_and_in_length():
    metrics = StageMetrics(4)
    for number in range(REASONS_MAX + 10):
        metrics.record_md_invalidated(f"reason {number}")
    metrics.record_md_invalidated("reason 3")
    reasons = metrics.summary().invalidated
    assert len(reasons) == REASONS_MAX + 1
    assert (reasons["reason 3"], reasons[OTHER]) == (2, 10)
    metrics = StageMetrics(4)
    metrics.record_md_invalidated("x" * 1_000)
    metrics.record_md_invalidated("x" * 1_000)
    assert metrics.summary().invalidated == {"x" * 64: 2}


def test_cache_metrics_summary():
    metrics = StageMetrics(4)
    for symbol in "AB":
        metrics.record_md_cache_miss(symbol)
        metrics.record_md_refresh_latency(30, symbol=symbol)
        for _ in range(4):
            metrics.record_md_cache_hit(symbol)
    metrics.record_md_cache_hit("A", is_stale=True)
    metrics.record_md_refresh_failed()
    metrics.record_md_refresh_outdated()
    metrics.record_md_refused()
    metrics.record_md_invalidated("ws_gap")
    assert metrics.summary()._asdict() == {
        "hit_count": 9,
        "stale_count": 1,
        "miss_count": 2,
        "hit_ratio": 9 / 11,
        "refresh_count": 2,
        "refresh_failed_count": 1,
        "refresh_outdated_count": 1,
        "evicted_count": 0,
        "invalidated": {"ws_gap": 1},
    }


def test_the_segment_tells_hits_of_a_thousand_and_how_long_refreshes_take():
    words = memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q")
    metrics = StageMetrics(4, counters=CounterWriter(words))
    told = CounterReader(words)
    for _ in range(2):
        metrics.record_md_cache_hit("S", is_stale=True)
    metrics.record_md_cache_miss("S")
    metrics.record_md_refresh_latency(12.0, symbol="S")
    assert (told[Counter.cache_md_hits], told[Counter.cache_md_misses]) == (2, 1)
    assert told[Counter.cache_md_hit_permille] == 666
    (p95_ns,) = told.percentiles(Histogram.cache_md_refresh_ns, 0.95)
    assert p95_ns == pytest.approx(12e6, rel=1 / 16)


def test_from_outside_the_process_the_metrics_have_the_same_names_and_values():
    words = memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q")
    told = CounterReader(words)
    assert totals(told) == {}, "nothing was read"
    writer = CounterWriter(words)
    metrics = StageMetrics(4, counters=writer)
    metrics.record_md_cache_miss("A")
    assert "mm_md_cache_age_ms_p50" not in totals(told), "nothing was given out"
    for symbol in "AAB":
        metrics.record_md_cache_hit(symbol, is_stale=symbol == "B")
    metrics.record_md_invalidated("ws_gap")
    metrics.record_md_invalidated("reconnect")
    metrics.record_md_evicted("B")
    metrics.record_md_refresh_failed()
    for _ in range(3):
        metrics.record_md_refresh_outdated()
    for latency_ms in range(1, 101):
        metrics.record_md_refresh_latency(latency_ms)
        writer.record(Histogram.cache_md_age_ns, 10 * latency_ms * 1_000_000)
    found, summed = totals(told), dict.fromkeys(("hit", "stale", "miss", "invalidated"), 0)
    for row in metrics.rows():
        name = row.name.removeprefix("mm_md_cache_").removesuffix("_total")
        if name in summed:
            summed[name] += row.value
    assert summed == {name: found[f"mm_md_cache_{name}_total"] for name in summed}
    assert summed == {"hit": 3, "stale": 1, "miss": 1, "invalidated": 2}
    assert found["mm_md_cache_evicted_total"] == 1
    assert found["mm_md_refresh_failed_total"] == 1
    assert found["mm_md_refresh_outdated_total"] == 3
    assert found["mm_md_cache_hit_ratio"] == 0.75
    for point in (50, 95, 99):
        assert found[f"mm_md_refresh_latency_ms_p{point}"] == pytest.approx(point, rel=1 / 15)
        assert found[f"mm_md_cache_age_ms_p{point}"] == pytest.approx(10 * point, rel=1 / 15)
