import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import layout
from cache.counters import (
    Counter,
    CounterReader,
    CounterWriter,
    Histogram,
    bucket_floor,
    bucket_of,
    percentiles_of,
)


@pytest.fixture
def words():
    return memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q")


@given(st.integers(0, 2**63 - 1))
def test_a_bucket_holds_its_value_within_a_sixteenth(value):
    bucket = bucket_of(value)
    assert bucket_floor(bucket) <= value < bucket_floor(bucket + 1)
    assert value - bucket_floor(bucket) <= value / 16


def test_buckets_are_in_order_without_holes():
    floors = [bucket_floor(bucket) for bucket in range(960)]
    assert floors == sorted(set(floors))
    assert [bucket_of(floor) for floor in floors] == list(range(960))


def test_a_negative_duration_counts_as_nothing_and_a_huge_one_in_the_last_bucket():
    assert bucket_of(-5) == 0
    assert bucket_of(2**80) == layout.BUCKET_COUNT - 1


def test_a_reader_sees_what_the_writer_counted_and_only_that(words):
    writer, reader = CounterWriter(words), CounterReader(words)
    writer.add(Counter.cache_read_busy)
    writer.add(Counter.cache_read_busy, 4)
    writer.set(Counter.feeds_hash_matched, 7)
    assert reader[Counter.cache_read_busy] == 5
    assert reader.all() == {"cache_read_busy": 5, "feeds_hash_matched": 7}


def test_a_counter_that_is_full_stays_full(words):
    writer, reader = CounterWriter(words), CounterReader(words)
    for count in (2**63, 2**63 + 5, 1):
        writer.add(Counter.feeds_twap_lost, count)
    assert reader.all() == {"feeds_twap_lost": 2**64 - 1}
    with pytest.raises(ValueError, match="Q"):
        writer.add(Counter.cache_read_busy, -1)


def test_percentiles_come_from_the_buckets_and_nothing_recorded_is_none(words):
    writer, reader = CounterWriter(words), CounterReader(words)
    assert reader.percentiles(Histogram.wire_to_slot_ns, 0.5) is None
    for value in (10, 10, 10, 1_000):
        writer.record(Histogram.wire_to_slot_ns, value)
    assert reader.percentiles(Histogram.wire_to_slot_ns, 0.5, 0.75, 1.0) == (10, 10, 992)
    assert int(reader.buckets(Histogram.loop_turn_ns).sum()) == 0


def test_percentiles_of_what_came_since_are_those_of_the_difference(words):
    writer, reader = CounterWriter(words), CounterReader(words)
    for _ in range(9):
        writer.record(Histogram.loop_turn_ns, 10)
    before = reader.counts(Histogram.loop_turn_ns)
    writer.record(Histogram.loop_turn_ns, 30)
    assert (before[10], sum(before)) == (9, 9), "a copy"
    since = [
        after - sooner
        for after, sooner in zip(reader.counts(Histogram.loop_turn_ns), before, strict=True)
    ]
    assert percentiles_of(since, 0.0, 1.0) == (30, 30)
    assert percentiles_of([0] * len(since), 0.5) is None


def test_no_two_histograms_share_a_word(words):
    writer = CounterWriter(words)
    for histogram in Histogram:
        writer.record(histogram, 2**62)
        writer.record(histogram, 0)
    assert int(np.count_nonzero(np.frombuffer(words, np.uint64))) == 2 * len(Histogram)


def test_every_counter_says_in_one_sentence_what_it_counts():
    for row in (*Counter, *Histogram):
        assert row.text.endswith("."), row.name
