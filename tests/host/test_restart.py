from hypothesis import given
from hypothesis import strategies as st

from host.clock import NS_PER_MS, NS_PER_S
from host.config import load
from host.restart import RestartPolicy

SETTINGS = load(environ={}).supervisor


def test_the_first_restart_is_immediate_and_the_delay_doubles():
    policy = RestartPolicy(SETTINGS)
    delays = [policy.next_start_ns(1000) - 1000 for _ in range(5)]
    assert delays == [0, *(250 * NS_PER_MS << n for n in range(4))]


def test_the_sixth_within_a_minute_is_not_granted():
    policy = RestartPolicy(SETTINGS)
    for second in range(5):
        assert policy.next_start_ns(second * NS_PER_S) is not None
    assert policy.next_start_ns(59 * NS_PER_S) is None


def test_a_process_that_ran_well_for_the_window_starts_at_once_again():
    policy = RestartPolicy(SETTINGS)
    for _ in range(5):
        policy.next_start_ns(0)
    assert policy.next_start_ns(60 * NS_PER_S) == 60 * NS_PER_S


@given(st.lists(st.integers(0, 20 * NS_PER_S), max_size=60))
def test_never_more_than_the_limit_in_any_window_and_never_beyond_the_longest_delay(gaps):
    policy = RestartPolicy(SETTINGS)
    now_ns, granted = 0, []
    for gap in gaps:
        now_ns += gap
        start_ns = policy.next_start_ns(now_ns)
        if start_ns is None:
            continue
        assert 0 <= start_ns - now_ns <= SETTINGS.restart_delay_ms_max * NS_PER_MS
        granted.append(now_ns)
    window_ns = SETTINGS.restart_window_s * NS_PER_S
    for first in granted:
        inside = [at for at in granted if first <= at < first + window_ns]
        assert len(inside) <= SETTINGS.restart_count_max
