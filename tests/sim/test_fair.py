"""What traders believe: the formulas against drawn paths, and against the model's own outcomes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.fair import make_fair, remaining_variance
from sim.params import ModelParams
from sim.price import PricePath
from sim.settlement_feed import SettlementFeed

NS = 1_000_000_000
START_S = 1_790_000_100
W, D = 60, 300


@pytest.fixture(scope="module")
def world():
    params = ModelParams()
    path = PricePath(3, params)
    return path, SettlementFeed(3, path, params), params


def fair_of(world, start_s):
    path, feed, params = world
    return make_fair(3, start_s, path=path, feed=feed, params=params)


@pytest.mark.parametrize("at_s", [-60.0, -45.0, -20.0, -1.0, 0.0, 100.0, 230.0, 250.0, 290.0])
def test_the_remaining_variance_is_that_of_drawn_paths(at_s):
    rng = np.random.default_rng(5)
    steps_per_s, count = 4, 2500
    times = np.arange(-W * steps_per_s, D * steps_per_s + 1) / steps_per_s
    moves = rng.standard_normal((count, len(times))) / math.sqrt(steps_per_s)
    # What is known at `at_s` is fixed; only later moves are random.
    paths = np.cumsum(np.where(times > at_s, moves, 0.0), axis=1)
    strike = paths[:, : W * steps_per_s].mean(axis=1)
    final = paths[:, -W * steps_per_s :].mean(axis=1)
    drawn = (final - strike).var()
    formula = remaining_variance(np.array([-at_s]), np.array([D - at_s]), length_s=W)[0]
    assert abs(drawn / formula - 1.0) < 0.12


def test_it_starts_at_a_half_and_ends_at_the_outcome(world):
    feed = world[1]
    for window in range(12):
        start_s = START_S + 300 * window
        fair = fair_of(world, start_s)
        assert fair.best((start_s - 400) * NS) == 0.5
        assert fair.best((start_s + 300) * NS) == fair.best((start_s + 900) * NS)
        assert (fair.best((start_s + 300) * NS) > 0.5) == feed.is_up(start_s, start_s + 300)


def test_what_is_believed_comes_true_as_often_as_believed(world):
    feed = world[1]
    believed, came = {100: [], 200: [], 280: []}, []
    for window in range(100):
        start_s = START_S + 300 * window
        fair = fair_of(world, start_s)
        came.append(feed.is_up(start_s, start_s + 300))
        for at_s, values in believed.items():
            values.append(fair.best((start_s + at_s) * NS))
    came = np.array(came, dtype=float)
    errors = []
    for values in believed.values():
        value = np.array(values)
        errors.append(((value - came) ** 2).mean())
        # The error is what a calibrated belief makes, and not more.
        assert abs(errors[-1] - (value * (1 - value)).mean()) < 0.06
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


def test_makers_err_a_little_and_in_the_same_way_every_time(world):
    fair, again = fair_of(world, START_S), fair_of(world, START_S)
    times = range((START_S - 900) * NS, (START_S + 300) * NS, NS)
    assert [fair.maker(t) for t in times] == [again.maker(t) for t in times]
    errors = [abs(fair.maker(t) - fair.best(t)) for t in times]
    assert 0.001 < max(errors) < 0.05
    end_ns = (START_S + 299) * NS
    assert fair.maker(end_ns) == pytest.approx(fair.best(end_ns), abs=0.03)


def test_the_price_is_not_asked_for_before_the_strike_forms(world):
    fair = make_fair(3, START_S, path=None, feed=None, params=world[2])
    assert fair.best((START_S - 60) * NS - 1) == 0.5
    with pytest.raises(AttributeError):
        fair.best((START_S - 60) * NS)
