"""Fair value against Monte Carlo, phase by phase, and at the edges."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import isclose

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.layout import E9
from strategy.pricing import (
    NS,
    P_MIN,
    Outlook,
    Phase,
    Window,
    blend,
    clamp_probability,
    doubt,
    log_odds,
    micro_price,
    outlook,
    probability_up,
)

START = 1_776_323_400
LENGTH = 300
TWAP = 60
SIGMA = 7.8
NOW_PRICE = 61_000.0
STEPS_A_SECOND = 4
PATHS = 20_000
SEED = 7

WINDOW = Window(START * NS, (START + LENGTH) * NS, TWAP * NS)


Floats = NDArray[np.float64]


def simulate(seconds_before_start: float, past: float) -> Floats:
    """Draw A(T) - A(S), or A(T) once S is over, given the mean `past` of what is already averaged.

    Brownian paths on a grid of a quarter of a second, averages by the trapezoid rule, in chunks of
    bounded memory.
    """
    rng = np.random.default_rng(SEED)
    dt = 1 / STEPS_A_SECOND
    now = -seconds_before_start  # seconds after S
    times = np.arange(0.0, LENGTH - now + dt / 2, dt) + now
    drawn = []
    for _ in range(PATHS // 2_000):
        steps = rng.normal(0.0, SIGMA * dt**0.5, (1_000, times.size - 1))
        steps = np.concatenate((steps, -steps))  # antithetic
        path = np.zeros((2_000, times.size))
        np.cumsum(steps, axis=1, out=path[:, 1:])
        path += NOW_PRICE

        def mean_over(until: float, path: Floats = path) -> Floats:
            """The mean over the w seconds before `until`, the part before now being `past`."""
            inside = (times >= until - TWAP - 1e-9) & (times <= until + 1e-9)
            part = path[:, inside]
            ahead = (part[:, :-1] + part[:, 1:]).sum(axis=1) * dt / 2
            known = max(0.0, now - (until - TWAP))
            return np.asarray((ahead + known * past) / TWAP)

        final = mean_over(LENGTH)
        drawn.append(final - mean_over(0.0) if now < 0 else final)
    return np.concatenate(drawn)


CASES = {
    "far": (Phase.FAR, 90.0, 0.0),
    "striking, early": (Phase.STRIKING, 45.0, 25.0),
    "striking, late": (Phase.STRIKING, 5.0, -40.0),
    "open": (Phase.OPEN, -1.0, 0.0),
    "open, late": (Phase.OPEN, -239.0, 0.0),
    "closing, early": (Phase.CLOSING, -255.0, -30.0),
    "closing, half": (Phase.CLOSING, -270.0, 12.0),
    "closing, late": (Phase.CLOSING, -292.0, 3.0),
}


@pytest.mark.parametrize("case", CASES)
def test_mean_variance_and_probability_agree_with_monte_carlo(case: str) -> None:
    phase, before, offset = CASES[case]
    wall_ns = int((START - before) * NS)
    assert WINDOW.phase(wall_ns) is phase
    past = NOW_PRICE + offset
    drawn = simulate(before, past)
    strike = None if before > 0 else NOW_PRICE - 35.0
    average = past if phase in (Phase.STRIKING, Phase.CLOSING) else None
    seen = outlook(
        WINDOW, wall_ns, reference=NOW_PRICE, sigma=SIGMA, strike=strike, average=average
    )
    assert seen is not None
    differences = drawn - (strike or 0.0)
    spread = float(differences.std())
    # Antithetic pairs make the mean exact; a variance of 10,000 pairs is good to 1.5 %.
    assert isclose(seen.mean, float(differences.mean()), abs_tol=1e-6 * NOW_PRICE * 0.01 + 0.01)
    assert isclose(seen.variance, spread**2, rel_tol=0.05)
    for basis_sd in (0.0, 20.0):
        noise = np.random.default_rng(SEED).normal(0.0, 1.0, differences.size) * basis_sd
        won = float((differences + noise >= 0).mean())
        assert isclose(probability_up(seen, basis_variance=basis_sd**2), won, abs_tol=0.012)


def test_at_the_open_a_typical_distance_from_the_strike_is_worth_eleven_cents() -> None:
    # Spot stands sigma * sqrt(w / 3) from its own trailing average; a spot model would say 0.50.
    reference = NOW_PRICE + SIGMA * (TWAP / 3) ** 0.5
    seen = outlook(
        WINDOW, START * NS, reference=reference, sigma=SIGMA, strike=NOW_PRICE, average=None
    )
    assert seen is not None
    assert isclose(probability_up(seen, basis_variance=0.0), 0.609, abs_tol=0.001)


@pytest.mark.parametrize(("left", "share"), [(30, 0.2887), (10, 0.0962)])
def test_near_the_end_the_deviation_is_a_fraction_of_the_naive_one(left: int, share: float) -> None:
    seen = outlook(
        WINDOW, (START + LENGTH - left) * NS,
        reference=NOW_PRICE, sigma=SIGMA, strike=NOW_PRICE, average=NOW_PRICE,
    )  # fmt: skip
    assert seen is not None
    assert isclose(seen.variance**0.5 / (SIGMA * left**0.5), share, abs_tol=0.001)


@pytest.mark.parametrize("edge", [START - TWAP, START + LENGTH - TWAP])
def test_variance_does_not_jump_between_phases(edge: int) -> None:
    sides = [
        outlook(
            WINDOW, edge * NS + nudge,
            reference=NOW_PRICE, sigma=SIGMA, strike=NOW_PRICE, average=NOW_PRICE,
        )
        for nudge in (-1_000_000, 1_000_000)
    ]  # fmt: skip
    assert sides[0] is not None
    assert sides[1] is not None
    assert isclose(sides[0].variance, sides[1].variance, rel_tol=1e-3)


def test_the_phases_meet_at_their_edges() -> None:
    at = [(-61, Phase.FAR), (-60, Phase.STRIKING), (-1, Phase.STRIKING), (0, Phase.OPEN)]
    at += [(240, Phase.OPEN), (241, Phase.CLOSING), (299, Phase.CLOSING), (300, Phase.OVER)]
    for second, phase in at:
        assert WINDOW.phase((START + second) * NS) is phase


def test_a_lag_makes_everything_that_much_earlier() -> None:
    lagging = Window(START * NS, (START + LENGTH) * NS, TWAP * NS, 3 * NS)
    for second in (-61, -63, -10, 0, 100, 238, 250, 296, 297):
        wall_ns = (START + second) * NS
        assert lagging.phase(wall_ns) is WINDOW.phase(wall_ns + 3 * NS)
        given_all = dict.fromkeys(("reference", "sigma", "strike", "average"), NOW_PRICE)
        given_all["reference"] += 5
        assert outlook(lagging, wall_ns, **given_all) == outlook(
            WINDOW, wall_ns + 3 * NS, **given_all
        )
    assert lagging.averaging((START - 10) * NS) == ((START - 63) * NS, (START - 10) * NS)
    assert lagging.averaging((START - 1) * NS) is None  # the open phase already
    assert lagging.averaging((START + 299) * NS) == ((START + 237) * NS, (START + 297) * NS)


def test_no_average_is_asked_for_before_any_of_it_is_known() -> None:
    assert WINDOW.averaging((START - 61) * NS) is None
    assert WINDOW.averaging((START - 60) * NS) is None
    assert WINDOW.averaging((START + 100) * NS) is None
    assert WINDOW.averaging((START + 250) * NS) == ((START + 240) * NS, (START + 250) * NS)
    at_once = Window(START * NS, (START + LENGTH) * NS, 0)
    assert at_once.averaging((START + LENGTH) * NS) is None


@pytest.mark.parametrize(
    ("second", "strike", "average"),
    [(-30, 1.0, None), (100, None, 1.0), (270, None, 1.0), (270, 1.0, None), (300, 1.0, None)],
)
def test_what_is_missing_gives_no_answer(
    second: int, strike: float | None, average: float | None
) -> None:
    seen = outlook(
        WINDOW, (START + second) * NS,
        reference=1.0, sigma=1.0, strike=strike, average=average,
    )  # fmt: skip
    assert seen is None


def test_when_all_is_over_the_average_decides_and_a_tie_is_up() -> None:
    for average, won in ((NOW_PRICE, 1.0), (NOW_PRICE - 0.01, 0.0), (NOW_PRICE + 0.01, 1.0)):
        seen = outlook(
            WINDOW, (START + 301) * NS,
            reference=1.0, sigma=SIGMA, strike=NOW_PRICE, average=average,
        )  # fmt: skip
        assert seen is not None
        assert probability_up(seen, basis_variance=0.0) == won


def test_a_market_on_the_price_itself_is_a_plain_digital() -> None:
    plain = Window(START * NS, (START + LENGTH) * NS, 0)

    def ask(second: int, strike: float | None) -> Outlook | None:
        return outlook(
            plain, (START + second) * NS,
            reference=NOW_PRICE + 10, sigma=SIGMA, strike=strike, average=None,
        )  # fmt: skip

    seen = ask(200, NOW_PRICE)
    assert seen == Outlook(10.0, SIGMA**2 * 100)
    assert ask(300, NOW_PRICE) is None
    before = ask(-50, None)
    assert before is not None
    assert before.mean == 0.0


def test_a_window_shorter_than_its_average_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot end on an average"):
        Window(0, 59 * NS, 60 * NS)


@pytest.mark.parametrize("mean", [0.0, 30.0, -120.0])
def test_doubt_is_what_one_deviation_of_the_basis_moves_the_probability_by(mean: float) -> None:
    seen, moved = Outlook(mean, 10_000.0), Outlook(mean + 0.01, 10_000.0)
    slope = (
        probability_up(moved, basis_variance=9.0) - probability_up(seen, basis_variance=9.0)
    ) / 0.01
    assert isclose(doubt(seen, basis_variance=9.0), 3.0 * slope, rel_tol=1e-3)
    assert doubt(seen, basis_variance=0.0) == 0.0
    assert doubt(Outlook(mean, 0.0), basis_variance=0.0) == 0.0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_blend_lies_between_its_parts(model: float, market: float, weight: float) -> None:
    low, high = sorted((clamp_probability(model), clamp_probability(market)))
    assert low - 1e-9 <= blend(model, market, market_weight=weight) <= high + 1e-9


def test_without_a_market_the_model_stands_alone() -> None:
    assert blend(0.3, None, market_weight=0.9) == 0.3
    assert isclose(blend(0.3, 0.6, market_weight=0.0), 0.3)
    assert isclose(blend(0.3, 0.6, market_weight=1.0), 0.6)
    assert isclose(blend(0.3, 0.7, market_weight=0.5), 0.5)


def test_log_odds_are_finite_at_the_ends() -> None:
    assert log_odds(0.0) == log_odds(P_MIN)
    assert log_odds(0.5) == 0.0
    values = [log_odds(p / 100) for p in range(101)]
    assert all(low < high for low, high in pairwise(values))


PRICE = st.integers(1, E9 - 1)
SIZE = st.integers(0, 10**18)


@given(PRICE, PRICE, SIZE, SIZE)
def test_the_weighted_mid_lies_between_the_best_prices_nearer_to_the_side_with_less_behind_it(
    one: int, other: int, bid_qty: int, ask_qty: int
) -> None:
    assume(one != other and bid_qty + ask_qty > 0)
    bid, ask = sorted((one, other))
    found = micro_price(bid, ask, bid_qty_e9=bid_qty, ask_qty_e9=ask_qty)
    assert bid <= found <= ask
    assert found == bid + (ask - bid) * Fraction(bid_qty, bid_qty + ask_qty) // 1
    if bid_qty == ask_qty:
        assert found == (bid + ask) // 2
