import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9
from feeds.features import (
    CLEAN_COUNT_MIN,
    JOIN_S_MAX,
    SymbolFeatures,
    Volatility,
    VolatilityParams,
)

PARAMS = VolatilityParams(half_life_s=60, floor_bps=0.1, jump_z=4, jump_half_life_s=20)
NO_JUMPS = VolatilityParams(half_life_s=300, floor_bps=0, jump_z=100, jump_half_life_s=300)
START = 1_791_000_000


def walk(estimate, sigma, count, *, step=1, seed=1):
    """Feed a random walk of `sigma` per square root of a second, relative to the price."""
    rng = random.Random(seed)
    price = 60_000.0
    for index in range(count):
        estimate.add(START + index * step, round(price * E9))
        price *= 1 + rng.gauss(0, sigma * sqrt(step))
    return estimate


def test_the_estimate_finds_the_volatility_of_a_random_walk():
    estimate = walk(Volatility(NO_JUMPS), 1.2e-4, 3_000)
    assert estimate.sigma == pytest.approx(1.2e-4, rel=0.1)


def test_samples_two_seconds_apart_give_the_same_volatility_per_second():
    estimate = walk(Volatility(NO_JUMPS), 1.2e-4, 3_000, step=2)
    assert estimate.sigma == pytest.approx(1.2e-4, rel=0.1)


def test_the_first_returns_are_not_diluted_by_an_empty_past():
    estimate = Volatility(NO_JUMPS)
    for second, mid in enumerate((100 * E9, 101 * E9)):
        estimate.add(second + 1, mid)
    assert estimate.sigma == pytest.approx(0.01)
    assert estimate.count == 1


def test_a_return_fades_with_the_half_life():
    estimate = Volatility(VolatilityParams(10, 0, 100, 10))
    mid = 100 * E9
    for second in range(1, 2_000):
        estimate.add(second, mid)
    estimate.add(2_000, 101 * E9)
    peak = estimate.sigma**2
    for second in range(2_001, 2_011):
        estimate.add(second, 101 * E9)
    assert estimate.sigma**2 == pytest.approx(peak / 2, rel=1e-6)


def test_a_price_that_does_not_move_has_the_floor():
    estimate = Volatility(PARAMS)
    for second in range(1, 100):
        estimate.add(second, 60_000 * E9)
    assert estimate.sigma == pytest.approx(0.1e-4)


def test_a_jump_raises_the_estimate_at_once_and_fades_faster_than_the_rest():
    estimate = walk(Volatility(PARAMS), 1e-4, 300)
    calm = estimate.sigma
    mid = round(60_000 * E9 * 1.005)
    estimate.add(START + 300, mid)
    peak = estimate.sigma
    for second in range(60):
        estimate.add(START + 301 + second, mid)
    plain = walk(Volatility(VolatilityParams(60, 0.1, 100, 60)), 1e-4, 300)
    plain.add(START + 300, mid)
    assert peak > 3 * calm
    assert peak > plain.sigma
    assert estimate.sigma < peak / 2


def test_a_jump_before_there_is_a_deviation_to_tell_it_by_counts_in_full():
    estimate = Volatility(PARAMS)
    for second in range(CLEAN_COUNT_MIN - 1):
        estimate.add(START + second, 60_000 * E9)
    estimate.add(START + CLEAN_COUNT_MIN - 1, 60_600 * E9)
    assert estimate.sigma > 0.001


def test_a_short_hole_keeps_the_history_and_a_longer_one_restarts_it():
    kept = walk(Volatility(PARAMS), 1e-4, 50)
    kept.add(START + 49 + JOIN_S_MAX, 60_000 * E9)
    assert kept.count == 50
    lost = walk(Volatility(PARAMS), 1e-4, 50)
    lost.add(START + 49 + JOIN_S_MAX + 1, 60_000 * E9)
    assert (lost.count, lost.sigma) == (0, 0.0)
    lost.add(START + 49 + JOIN_S_MAX + 2, 60_010 * E9)
    assert lost.count == 1


def test_a_second_that_is_not_later_is_ignored():
    estimate = walk(Volatility(PARAMS), 1e-4, 50)
    before = (estimate.count, estimate.sigma)
    estimate.add(START + 49, 90_000 * E9)
    estimate.add(START + 47, 90_000 * E9)
    assert (estimate.count, estimate.sigma) == before


def test_a_clock_that_was_set_back_restarts_the_estimate():
    estimate = walk(Volatility(PARAMS), 1e-4, 50)
    estimate.add(START - 3_600, 60_000 * E9)
    assert estimate.count == 0


def test_returns_are_taken_over_their_own_time():
    features = SymbolFeatures(PARAMS)
    for tick in range(0, 701):
        mid = (1_000 + tick) * E9
        found = features.look(tick * E9 // 10, mid)
    # 10 ticks a second, one dollar a tick; the last mid is 1700.
    assert found.return_1s_e9 == round(10 / 1690 * E9)
    assert found.return_5s_e9 == round(50 / 1650 * E9)
    assert found.return_60s_e9 == round(600 / 1100 * E9)
    assert found.mid_px_e9 == 1_700 * E9


def test_a_return_over_a_time_that_is_not_known_is_nothing():
    features = SymbolFeatures(PARAMS)
    features.look(0, 100 * E9)
    found = features.look(4 * E9, 110 * E9)
    assert (found.return_1s_e9, found.return_5s_e9, found.return_60s_e9) == (0, 0, 0)
    found = features.look(5 * E9, 110 * E9)
    assert found.return_5s_e9 == E9 // 10


def test_sigma_is_in_units_of_the_price():
    features = SymbolFeatures(PARAMS)
    walk(features.volatility, 1e-4, 200)
    found = features.look(E9, 60_000 * E9)
    assert found.sigma_e9 == round(features.volatility.sigma * 60_000 * E9)
    assert found.sample_count == 199


def test_a_shock_is_measured_by_the_volatility_from_before_it():
    features = SymbolFeatures(PARAMS)
    walk(features.volatility, 1e-4, 200)
    sigma = features.volatility.sigma
    mid = 60_000 * E9
    features.look(0, mid)
    after = mid + mid // 500
    features.sample(START + 200, after)
    found = features.look(E9, after)
    assert features.volatility.sigma > sigma
    assert found.shock_z_e9 == pytest.approx(0.002 / sigma * E9, rel=1e-6)


def test_without_a_volatility_there_is_no_shock():
    features = SymbolFeatures(PARAMS)
    features.look(0, 100 * E9)
    assert features.look(E9, 200 * E9).shock_z_e9 == 0


def test_samples_of_an_earlier_incarnation_serve_volatility_and_returns():
    first = SymbolFeatures(PARAMS)
    second = SymbolFeatures(PARAMS)
    for index in range(100):
        mid = (60_000 + index % 7) * E9
        first.sample(START + index, mid)
        second.recall(START + index, mid, index * E9)
    assert second.volatility.sigma == first.volatility.sigma
    assert second.volatility.count == 99
    found = second.look(100 * E9, 60_100 * E9)
    assert found.return_1s_e9 == round((60_100 - 60_001) / 60_001 * E9)
    assert found.return_60s_e9 != 0


def test_the_memory_of_mids_is_bounded():
    features = SymbolFeatures(PARAMS)
    for tick in range(5_000):
        features.look(tick * E9 // 10, 100 * E9)
    assert len(features._times) == len(features._mids) <= 1_230


@given(
    st.lists(st.tuples(st.integers(-5, 10), st.integers(1, 9 * 10**18), st.booleans()), max_size=60)
)
def test_whatever_the_mids_every_feature_fits_its_field(steps):
    features, second, now_ns = SymbolFeatures(PARAMS), START, 0
    for step, mid, is_sample in steps:
        second += step
        now_ns += 700_000_000
        if is_sample:
            features.sample(second, mid)
        found = features.look(now_ns, mid)
        for name in ("return_1s_e9", "return_5s_e9", "return_60s_e9", "sigma_e9", "shock_z_e9"):
            assert -(2**63) <= getattr(found, name) < 2**63
        assert found.sigma_e9 >= 0
        assert found.sample_count >= 0
