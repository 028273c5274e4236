"""Trading opens once enough tokens came, or the timeout passed; who never came is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.warmup import Warmup

S = 1_000_000_000
TIMEOUT = 10 * S


def made(fraction: float = 0.8, timeout_ns: int = TIMEOUT) -> Warmup:
    return Warmup(timeout_ns=timeout_ns, min_ready_fraction=fraction)


def tokens(count: int, ready: int) -> dict[int, bool]:
    return {number: number <= ready for number in range(1, count + 1)}


def test_it_opens_when_the_wanted_fraction_is_ready_and_not_before() -> None:
    warmup = made()
    assert warmup.see(tokens(10, 0), 0) == []
    assert warmup.see(tokens(10, 7), S) == []
    assert not warmup.is_open
    assert warmup.took_ns is None
    warmup.see(tokens(10, 8), 2 * S)
    assert warmup.is_open
    assert (warmup.ready_count, warmup.token_count, warmup.took_ns) == (8, 10, 2 * S)
    assert not warmup.has_expired


@pytest.mark.parametrize("count", [1, 3, 5, 10, 30])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.8, 1.0])
def test_exactly_the_fraction_is_enough(count: int, fraction: float) -> None:
    least = next(ready for ready in range(count + 1) if ready * 10 >= round(fraction * 10) * count)
    warmup = made(fraction)
    warmup.see(tokens(count, least - 1), 0)
    assert not warmup.is_open
    warmup.see(tokens(count, least), 1)
    assert warmup.is_open


def test_it_opens_when_the_timeout_passes_however_many_came() -> None:
    warmup = made()
    warmup.see(tokens(10, 2), 5 * S)
    assert warmup.see(tokens(10, 2), 5 * S + TIMEOUT - 1) == []
    assert not warmup.is_open
    assert warmup.see(tokens(10, 2), 5 * S + TIMEOUT) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert warmup.is_open
    assert warmup.has_expired
    assert warmup.is_over


def test_with_all_ready_at_once_nothing_is_waited_for() -> None:
    warmup = made()
    warmup.see(tokens(4, 4), 7)
    assert warmup.is_over
    assert warmup.took_ns == 0


def test_where_nothing_is_listed_nothing_opens_and_no_time_passes() -> None:
    warmup = made()
    warmup.see({}, 0)
    warmup.see({}, 100 * S)
    assert not warmup.is_open
    warmup.see(tokens(2, 0), 200 * S)
    assert not warmup.is_open
    warmup.see(tokens(2, 2), 201 * S)
    assert warmup.took_ns == S


def test_those_that_miss_the_opening_still_have_their_timeout() -> None:
    warmup = made()
    warmup.see(tokens(10, 8), 0)
    assert warmup.is_open
    assert not warmup.is_over
    assert warmup.see(tokens(10, 9), 3 * S) == []
    assert warmup.see(tokens(10, 9), TIMEOUT) == [10]
    assert warmup.is_over
    assert not warmup.has_expired  # it had opened with enough of them
    assert warmup.disabled == {10}


def test_a_token_that_failed_is_disabled_for_the_session() -> None:
    warmup = made()
    warmup.see(tokens(2, 1), 0)
    assert warmup.see(tokens(2, 1), TIMEOUT) == [2]
    assert warmup.see(tokens(2, 2), TIMEOUT + 1) == []  # said once, and it stays so
    assert warmup.is_disabled((1, 2))
    assert not warmup.is_disabled((1,))
    assert not warmup.is_disabled(())


def test_a_token_that_came_once_is_never_disabled() -> None:
    warmup = made(1.0)
    warmup.see({1: True, 2: False}, 0)
    warmup.see({1: False, 2: False}, S)  # its book is gone again: the gate's business
    assert warmup.see({1: False, 2: False}, TIMEOUT) == [2]
    assert warmup.see({1: False, 2: False}, 3 * TIMEOUT) == []
    assert not warmup.is_disabled((1,))


def test_it_opens_once() -> None:
    warmup = made()
    warmup.see(tokens(10, 8), S)
    warmup.see(tokens(10, 8), 2 * S)
    warmup.see(tokens(10, 8), S + TIMEOUT)
    assert warmup.took_ns == 0
    assert not warmup.has_expired


def test_a_token_that_comes_at_the_last_moment_came() -> None:
    for at_ns in (TIMEOUT - 1, TIMEOUT):
        warmup = made()
        warmup.see({1: False}, 0)
        assert warmup.see({1: True}, at_ns) == []
        assert warmup.is_open
        assert not warmup.has_expired


def test_a_window_that_rolls_in_later_is_never_disabled() -> None:
    warmup = made()
    warmup.see(tokens(2, 2), 0)
    assert warmup.is_over
    warmup.see({1: True, 2: True, 3: False, 4: False}, S)
    assert warmup.see({3: False, 4: False}, 1_000 * S) == []
    assert not warmup.is_disabled((3, 4))


def test_a_token_that_is_listed_during_the_warmup_has_the_whole_timeout() -> None:
    warmup = made(1.0)
    warmup.see({1: False}, 0)
    warmup.see({1: False, 2: False}, 9 * S)
    assert warmup.see({1: False, 2: False}, TIMEOUT) == [1]
    assert warmup.see({1: False, 2: False}, 9 * S + TIMEOUT - 1) == []
    assert warmup.see({1: False, 2: False}, 9 * S + TIMEOUT) == [2]


def test_a_token_that_is_listed_no_longer_is_not_waited_for_and_begins_anew_when_it_is() -> None:
    warmup = made()
    warmup.see(tokens(2, 0), 0)
    warmup.see({}, 9 * S)  # its feed starts anew
    warmup.see(tokens(2, 0), 11 * S)
    assert not warmup.is_open
    assert warmup.see(tokens(2, 0), 12 * S) == []
    warmup.see(tokens(2, 2), 13 * S)
    assert warmup.is_over
    assert warmup.disabled == frozenset()


def test_without_patience_whoever_is_not_there_at_first_is_out() -> None:
    warmup = made(timeout_ns=0)
    assert warmup.see(tokens(3, 1), 5) == [2, 3]
    assert warmup.is_over


def test_with_no_fraction_wanted_the_first_listing_opens() -> None:
    warmup = made(0.0)
    warmup.see(tokens(3, 0), 5)
    assert warmup.is_open
    assert not warmup.has_expired


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_that_is_none_is_refused_by_name(fraction: float) -> None:
    with pytest.raises(ValueError, match="min_ready_fraction"):
        made(fraction)


def test_a_negative_timeout_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="timeout_ns is -1"):
        made(timeout_ns=-1)


steps = st.lists(
    st.tuples(st.dictionaries(st.integers(1, 6), st.booleans(), max_size=6), st.integers(0, 4 * S)),
    max_size=30,
)


@given(steps, st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_whatever_is_listed_it_opens_once_and_disables_only_who_never_came(
    series: list[tuple[dict[int, bool], int]], fraction: float
) -> None:
    warmup, now_ns, came, failed = made(fraction), 0, set[int](), list[int]()
    since: dict[int, int] = {}
    for ready, step_ns in series:
        now_ns += step_ns
        was_open = warmup.is_open
        since = {token: since.get(token, now_ns) for token in ready}
        new = warmup.see(ready, now_ns)
        came |= {token for token, is_ready in ready.items() if is_ready and token not in failed}
        failed += new
        assert warmup.is_open or not was_open
        assert not came & set(failed)
        assert all(now_ns - since[token] >= TIMEOUT for token in new)
        if ready and not warmup.is_open:
            assert warmup.ready_count / warmup.token_count < fraction
            assert all(now_ns - since[token] < TIMEOUT for token in ready if token not in came)
    assert len(failed) == len(set(failed)) == len(warmup.disabled)


@pytest.mark.parametrize(
    ("timeout_ns", "fraction"), [("5", 0.8), (5.5, 0.8), (5, "0.8"), (5, None), (5, [0.8])]
)
def test_a_warmup_of_another_type_is_refused_by_name(timeout_ns: Any, fraction: Any) -> None:
    with pytest.raises(TypeError, match=r"timeout_ns is .*, min_ready_fraction"):
        Warmup(timeout_ns=timeout_ns, min_ready_fraction=fraction)
