"""Spot, averages and points of the settlement source."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from sim.params import ModelParams
from sim.price import PricePath
from sim.settlement_feed import SettlementFeed, e18_text
from venue.decimals import parse_long_e9

NS = 1_000_000_000
START_S = 1_790_000_100


def feed_of(seed=1, **params):
    made = ModelParams(**params)
    return SettlementFeed(seed, PricePath(seed, made), made)


@pytest.fixture(scope="module")
def feed():
    return feed_of()


def test_spot_is_the_binance_mid_less_a_slow_basis_of_about_twenty_dollars(feed):
    path = PricePath(1, ModelParams())
    epoch = path.epoch(START_S // 300)
    times = np.arange(START_S, START_S + 300) * NS
    basis = epoch.mid2_at(times) / 200.0 - feed.spots(START_S, START_S + 299) / 1e6
    assert np.allclose(basis, feed.basis_usd(np.arange(START_S, START_S + 300.0)), atol=1e-5)
    assert np.abs(np.diff(basis)).max() < 0.05
    day = feed.basis_usd(np.arange(START_S, START_S + 86_400.0))
    assert abs(day.mean() - 20.0) < 1.5
    assert day.max() - day.min() < 13.0


def test_a_point_is_the_exact_mean_of_the_sixty_seconds_up_to_it(feed):
    for at_s in (START_S, START_S + 59, START_S + 60, START_S + 299, START_S + 301):
        spots = [int(feed.spots(s, s)[0]) for s in range(at_s - 59, at_s + 1)]
        assert feed.twap_e18(at_s) == Fraction(sum(spots) * 10**12, 60).__floor__()


def test_length_and_lag_of_the_average_are_parameters():
    lagged = feed_of(twap_lag_s=3, twap_length_s=30)
    assert lagged.twap_e18(START_S + 3) == feed_of(twap_length_s=30).twap_e18(START_S)


def test_full_accuracy_text_has_eighteen_places_and_survives_parsing(feed):
    assert e18_text(78_788_786_579_938_813_673_472) == "78788.786579938813673472"
    assert e18_text(5) == "0.000000000000000005"
    point = feed.point(START_S)
    assert parse_long_e9(point["full_accuracy_value"]) == feed.twap_e18(START_S) // 10**9
    assert point["timestamp"] == START_S * 1000
    assert abs(point["value"] - feed.twap_e18(START_S) / 1e18) < 1e-6


def test_points_come_about_a_second_late_in_order_and_some_never(feed):
    frames = feed.frames(START_S * NS, (START_S + 2000) * NS)
    stamps = [json.loads(frame.payload)["timestamp"] // 1000 for frame in frames]
    lags = [frame.t_ns / NS - stamp for frame, stamp in zip(frames, stamps, strict=True)]
    assert stamps == sorted(set(stamps))
    assert 0.8 < min(lags) <= max(lags) < 1.3
    assert 0.01 < 1.0 - len(frames) / 2000 < 0.06
    missing = set(range(stamps[0], stamps[-1])) - set(stamps)
    assert missing == {s for s in range(stamps[0], stamps[-1]) if feed.is_missing(s)}


def test_pieces_of_any_size_give_the_same_points(feed):
    whole = feed.frames(START_S * NS, (START_S + 20) * NS)
    pieces = []
    for step in range(40):
        at = START_S * NS + step * NS // 2
        pieces += feed.frames(at, at + NS // 2)
    assert pieces == whole


def test_a_payload_is_one_point_with_its_symbol_and_source(feed):
    frame = feed.frames(START_S * NS, (START_S + 20) * NS)[0]
    payload = json.loads(frame.payload)
    assert frame.key == ("btcusd", "60")
    assert payload["symbol"] == "btcusd"
    assert payload["window_seconds"] == 60
    assert payload["source"] == "chainlink"
    point = feed.point(payload["timestamp"] // 1000)
    assert {name: payload[name] for name in point} == point


def test_the_newest_known_point_is_the_last_one_sent(feed):
    for at in range(START_S * NS, (START_S + 5) * NS, NS // 7):
        newest = feed.last_point_s(at)
        assert feed.sent_ns(newest) <= at < feed.sent_ns(newest + 1)


def test_up_wins_when_the_end_is_not_below_the_start(feed):
    outcomes = set()
    for window in range(40):
        start_s = START_S + 300 * window
        is_up = feed.is_up(start_s, start_s + 300)
        assert is_up == (feed.twap_e18(start_s + 300) >= feed.twap_e18(start_s))
        outcomes.add(is_up)
    assert outcomes == {True, False}
    assert feed.is_up(START_S, START_S)
