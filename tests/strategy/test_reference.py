"""Averages over sampled seconds, and the basis against the settlement source."""

from __future__ import annotations

from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, SAMPLE, Flag
from strategy.reference import NO_SAMPLES, BasisParams, BasisTracker, Estimate, Samples

FIRST = 1_776_323_400


def samples(mids: dict[int, int], flags: dict[int, int] | None = None) -> Samples:
    records = np.zeros(len(mids), SAMPLE.dtype)
    for row, (second, mid) in zip(records, mids.items(), strict=True):
        row["wall_ns"] = (FIRST + second) * E9
        row["mid_px_e9"] = mid * E9
        row["flags"] = (flags or {}).get(second, 0)
    return Samples.of_records(records)


def span(first: int, last: int) -> range:
    return range(FIRST + first, FIRST + last + 1)


def test_the_mean_of_whole_seconds_is_exact() -> None:
    held = samples({second: 60_000 + second for second in range(100)})
    assert held.mean_e9(span(0, 59)) == 60_029 * E9 + E9 // 2
    assert held.mean_e9(span(7, 7)) == 60_007 * E9


@pytest.mark.parametrize(
    ("missing", "is_known"), [((), True), ((5,), True), ((5, 6), True), ((5, 6, 7), False)]
)
def test_a_hole_of_less_than_two_seconds_is_bridged(
    missing: tuple[int, ...], is_known: bool
) -> None:
    held = samples({second: 100 + second for second in range(10) if second not in missing})
    mean = held.mean_e9(span(0, 9))
    assert mean == (104 * E9 + E9 // 2 if is_known else None)


def test_a_hole_outside_the_seconds_does_not_matter() -> None:
    held = samples({0: 5, 1: 5, 20: 100, 21: 100, 22: 100, 40: 7})
    assert held.mean_e9(span(20, 22)) == 100 * E9


@pytest.mark.parametrize(
    ("first", "last", "is_known"),
    [
        (-2, 9, True),
        (-3, 9, False),
        (0, 11, True),
        (0, 12, False),
        (12, 20, False),
        (-9, -4, False),
    ],
)
def test_seconds_beyond_the_samples_are_not_known(first: int, last: int, is_known: bool) -> None:
    held = samples(dict.fromkeys(range(10), 100))
    assert held.mean_e9(span(first, last)) == (100 * E9 if is_known else None)


def test_no_seconds_and_no_samples_have_no_mean() -> None:
    assert samples({0: 1}).mean_e9(range(FIRST, FIRST)) is None
    assert NO_SAMPLES.mean_e9(span(0, 5)) is None
    assert NO_SAMPLES.newest_second == 0
    assert samples({0: 1, 1: 1}).newest_second == FIRST + 1


def test_a_sample_that_was_not_trusted_is_left_out() -> None:
    held = samples({0: 100, 1: 999, 2: 100}, flags={1: Flag.CROSSED})
    assert held.mean_e9(span(0, 2)) == 100 * E9
    warm = samples({0: 100, 1: 103, 2: 100}, flags={1: Flag.WARMUP})
    assert warm.mean_e9(span(0, 2)) == 101 * E9


def test_after_the_clock_was_set_back_only_later_samples_count() -> None:
    held = samples({50: 1, 51: 1, 10: 100, 11: 100})
    assert held.mean_e9(span(10, 11)) == 100 * E9
    assert held.mean_e9(span(50, 51)) is None


@given(st.lists(st.integers(min_value=1, max_value=10**6), min_size=1, max_size=100))
def test_a_mean_lies_between_least_and_greatest(mids: list[int]) -> None:
    mean = samples(dict(enumerate(mids))).mean_e9(span(0, len(mids) - 1))
    assert mean is not None
    assert min(mids) * E9 <= mean <= max(mids) * E9


@pytest.mark.parametrize(("begin", "missing"), [(0, 0), (10, 10), (45, 45), (59, 59)])
def test_what_was_not_sampled_yet_is_guessed_and_says_how_well(begin: int, missing: int) -> None:
    held = samples({second: 60_000 + second for second in range(begin, 70)})
    got = held.estimate(span(0, 59), sigma=8.0)
    assert got is not None
    seen = [max(second, begin) for second in range(60)]
    assert isclose(got.mean_e9 / E9, 60_000 + sum(seen) / 60, abs_tol=1e-6)
    assert isclose(got.variance, (missing / 60) ** 2 * 64 * missing / 3)


def test_the_variance_of_a_guess_is_that_of_a_random_walk() -> None:
    rng = np.random.default_rng(5)
    missing, steps_a_second = 20, 10
    walk = rng.normal(0.0, 8.0 / steps_a_second**0.5, (4_000, missing * steps_a_second))
    away = walk.cumsum(axis=1).mean(axis=1) * missing / 60
    held = samples(dict.fromkeys(range(missing, 60), 60_000))
    got = held.estimate(span(0, 59), sigma=8.0)
    assert got is not None
    assert isclose(got.variance, float(away.var()), rel_tol=0.1)


def test_a_guess_begins_anew_after_a_hole_and_ends_where_the_last_second_is_missing() -> None:
    held = samples(dict.fromkeys(range(10), 500) | dict.fromkeys(range(30, 60), 100))
    got = held.estimate(span(0, 59), sigma=8.0)
    assert got is not None
    assert got.mean_e9 == 100 * E9
    assert isclose(got.variance, 0.25 * 64 * 10)
    assert held.estimate(span(20, 79), sigma=8.0) is None
    assert held.estimate(span(-60, -1), sigma=8.0) is None
    assert held.estimate(span(60, 59), sigma=8.0) is None
    assert NO_SAMPLES.estimate(span(0, 59), sigma=8.0) is None
    gone = samples(dict.fromkeys(range(10), 500) | dict.fromkeys(range(90, 95), 100))
    assert gone.estimate(span(0, 59), sigma=8.0) is None


def whole(mean_e9: int) -> Estimate:
    return Estimate(mean_e9, 0.0)


PARAMS = BasisParams(
    half_life_s=10.0,
    sd_floor_bps=1.0,
    sd_max_bps=10.0,
    max_bps=1e4,
    age_s_max=30.0,
    sd_unknown_bps=4.0,
    fade_s=600.0,
)


def test_before_any_point_the_basis_is_not_known() -> None:
    assert BasisTracker(PARAMS).basis(FIRST) is None


def test_the_first_point_is_the_basis_with_the_floor_for_variance() -> None:
    tracker = BasisTracker(PARAMS)
    tracker.add(FIRST, 60_000 * E9, whole(60_024 * E9))
    basis = tracker.basis(FIRST + 1)
    assert basis is not None
    assert basis.value == 24.0
    assert isclose(basis.variance, 36.0)


def test_the_basis_follows_and_its_variance_is_that_of_what_came() -> None:
    tracker = BasisTracker(
        BasisParams(
            half_life_s=100.0,
            sd_floor_bps=0.0,
            sd_max_bps=10.0,
            max_bps=1e4,
            age_s_max=30.0,
            sd_unknown_bps=4.0,
            fade_s=600.0,
        )
    )
    rng = np.random.default_rng(3)
    for second in range(3_000):
        noise = int(rng.normal(0.0, 4.0) * E9)
        tracker.add(FIRST + second, 60_000 * E9, whole(60_020 * E9 + noise))
    basis = tracker.basis(FIRST + 3_000)
    assert basis is not None
    assert isclose(basis.value, 20.0, abs_tol=1.0)
    assert isclose(basis.variance, 16.0, rel_tol=0.3)


def test_points_that_come_again_or_late_change_nothing() -> None:
    tracker = BasisTracker(PARAMS)
    tracker.add(FIRST, 60_000 * E9, whole(60_024 * E9))
    before = tracker.basis(FIRST)
    tracker.add(FIRST, 60_000 * E9, whole(61_000 * E9))
    tracker.add(FIRST - 5, 60_000 * E9, whole(61_000 * E9))
    tracker.add(FIRST + 5, 0, whole(61_000 * E9))
    assert tracker.basis(FIRST) == before


def test_an_old_basis_is_no_basis_and_the_next_point_begins_anew() -> None:
    tracker = BasisTracker(PARAMS)
    tracker.add(FIRST, 60_000 * E9, whole(60_024 * E9))
    assert tracker.basis(FIRST + 30) is not None
    assert tracker.basis(FIRST + 31) is None
    tracker.add(FIRST + 100, 60_000 * E9, whole(60_010 * E9))
    basis = tracker.basis(FIRST + 100)
    assert basis is not None
    assert basis.value == 10.0


def test_a_guess_stands_by_itself_until_there_is_better() -> None:
    tracker = BasisTracker(PARAMS)
    tracker.add(FIRST, 60_000 * E9, Estimate(60_040 * E9, 400.0))
    basis = tracker.basis(FIRST)
    assert basis is not None
    assert (basis.value, basis.variance) == (40.0, 436.0)
    tracker.add(FIRST + 1, 60_000 * E9, Estimate(60_010 * E9, 300.0))
    basis = tracker.basis(FIRST + 1)
    assert basis is not None
    assert (basis.value, basis.variance) == (10.0, 336.0)
    tracker.add(FIRST + 2, 60_000 * E9, whole(60_024 * E9))
    tracker.add(FIRST + 3, 60_000 * E9, Estimate(60_090 * E9, 100.0))
    basis = tracker.basis(FIRST + 3)
    assert basis is not None
    assert (basis.value, basis.variance) == (24.0, 36.0)
    tracker.add(FIRST + 40, 60_000 * E9, Estimate(60_090 * E9, 100.0))
    basis = tracker.basis(FIRST + 40)
    assert basis is not None
    assert basis.value == 90.0


def test_a_basis_that_is_too_rough_is_none() -> None:
    tracker = BasisTracker(PARAMS)
    tracker.add(FIRST, 60_000 * E9, Estimate(60_040 * E9, 60.0**2 - 35.0))
    assert tracker.basis(FIRST) is None
    tracker.add(FIRST + 1, 60_000 * E9, Estimate(60_040 * E9, 60.0**2 - 37.0))
    assert tracker.basis(FIRST + 1) is not None
