import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.dialing import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    DIAL_COUNT_MAX,
    DIAL_SPAN_NS,
    Quota,
    backoff_s,
    quota_of,
)

S = 1_000_000_000


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_delay_doubles_with_jitter_up_to_its_longest(attempt, fraction):
    delay = backoff_s(attempt, fraction)
    assert BACKOFF_FIRST_S / 2 <= delay <= BACKOFF_MAX_S
    assert backoff_s(attempt + 1, fraction) >= delay
    assert backoff_s(attempt, 0) <= delay <= backoff_s(attempt, 1)
    assert backoff_s(attempt, fraction, longest_s=0.5) <= 0.5


@pytest.mark.parametrize(("fraction", "delay"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_jitter_takes_up_to_half_of_the_delay(fraction, delay):
    assert backoff_s(2, fraction) == delay


def test_turns_are_given_at_once_until_the_span_has_its_number_of_them():
    quota = Quota()
    assert [quota.take(at) for at in range(DIAL_COUNT_MAX)] == list(range(DIAL_COUNT_MAX))
    assert quota.take(DIAL_COUNT_MAX) == DIAL_SPAN_NS, "when the oldest is out of the span"
    assert quota.take(DIAL_COUNT_MAX) == DIAL_SPAN_NS + 1
    assert quota.take(3 * DIAL_SPAN_NS) == 3 * DIAL_SPAN_NS


@given(st.lists(st.integers(0, 20 * S), max_size=400))
def test_in_no_span_are_more_turns_given_and_none_in_the_past(gaps):
    quota, now_ns, turns = Quota(), 0, []
    for gap in gaps:
        now_ns += gap
        turns.append(quota.take(now_ns))
        assert turns[-1] >= now_ns
    assert turns == sorted(turns)
    for first, beyond in zip(turns, turns[DIAL_COUNT_MAX:], strict=False):
        assert beyond - first >= DIAL_SPAN_NS


def test_three_processes_of_one_address_stay_below_the_limit_of_the_venue():
    assert 3 * DIAL_COUNT_MAX < 300
    assert DIAL_SPAN_NS == 300 * S


def test_all_sessions_with_a_host_share_its_quota():
    assert quota_of("one.example") is quota_of("one.example")
    assert quota_of("one.example") is not quota_of("other.example")
