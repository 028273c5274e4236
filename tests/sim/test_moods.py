"""How busy a market is, when."""

from __future__ import annotations

from random import Random

from sim.moods import Moods
from sim.params import ModelParams
from sim.series import Series

START_S = 1_790_000_100
NS = 1_000_000_000


def moods_of(number, **params):
    made = ModelParams(**params)
    return Moods(Random(number), Series(1, made).contract(START_S), made)


def mean_rate(moods, act, first_s, last_s):
    rates = [moods.rates((START_S + s) * NS).get(act, 0.0) for s in range(first_s, last_s)]
    return sum(rates) / len(rates)


def test_a_market_is_busiest_while_it_runs_and_dead_soon_after():
    moods = moods_of(1)
    early, strike, running = (
        mean_rate(moods, "take", *span) for span in ((-800, -100), (-60, 0), (0, 300))
    )
    assert early < strike < running
    assert moods.rates((START_S + 302) * NS)["inform"] > 0.0
    assert moods.rates((START_S + 315) * NS) == {}


def test_some_spells_are_quiet_and_most_are_not():
    quiet = total = 0
    for number in range(40):
        moods = moods_of(number)
        for at_s in range(0, 300, 5):
            rates = moods.rates((START_S + at_s) * NS)
            quiet += rates["take"] == 0.0
            total += 1
            assert rates["quote"] > 0.0
    assert 0.03 < quiet / total < 0.25


def test_flow_scales_what_is_done_but_not_how_quotes_follow():
    one, two = moods_of(3), moods_of(3, flow=2.0)
    at_ns = next(
        at_ns
        for at_ns in range(START_S * NS, (START_S + 300) * NS, 5 * NS)
        if one.rates(at_ns)["take"] > 0.0
    )
    assert two.rates(at_ns)["take"] == 2.0 * one.rates(at_ns)["take"]
    assert two.rates(at_ns)["quote"] == one.rates(at_ns)["quote"]
