"""Market and event objects: what a client of the catalogue needs, early and late."""

from __future__ import annotations

import json

import pytest

from sim.gamma import Standing, description_of, event_object, market_object, question_of
from sim.params import ModelParams
from sim.series import Series

PARAMS = ModelParams()
CONTRACT = Series(1, PARAMS).contract(1_784_850_900)


def standing(**known):
    given = {
        "now_s": CONTRACT.start_s + 10,
        "best_bid": 0.51,
        "best_ask": 0.52,
        "last_trade": 0.51,
        "tick": 0.01,
        "volume": 1234.5,
        "up_won": None,
        "strike": None,
        "final": None,
    }
    return Standing(**(given | known))


def test_a_running_market_names_tokens_window_terms_and_settlement():
    market = market_object(CONTRACT, standing(), PARAMS)
    assert json.loads(market["clobTokenIds"]) == [CONTRACT.up, CONTRACT.down]
    assert json.loads(market["outcomes"]) == ["Up", "Down"]
    assert [float(price) for price in json.loads(market["outcomePrices"])] == [0.515, 0.485]
    assert market["eventStartTime"] == "2026-07-23T23:55:00Z"
    assert market["endDate"] == "2026-07-24T00:00:00Z"
    assert market["cryptoMarketConfig"] == {
        "asset": "btc",
        "duration": "5m",
        "twapEnabled": True,
        "twapLookbackSeconds": 60,
    }
    assert market["resolutionSource"].endswith("/btc-usd-twap-60s-streams")
    assert market["feeSchedule"] == {
        "rate": 0.07,
        "exponent": 1,
        "takerOnly": True,
        "rebateRate": 0.2,
    }
    assert market["acceptingOrders"]
    assert not market["closed"]


def test_a_resolved_market_is_closed_and_pays_the_winner():
    for won, prices in ((True, ["1", "0"]), (False, ["0", "1"])):
        market = market_object(CONTRACT, standing(up_won=won), PARAMS)
        assert market["closed"]
        assert not market["acceptingOrders"]
        assert json.loads(market["outcomePrices"]) == prices
        assert market["umaResolutionStatus"] == "resolved"


@pytest.mark.parametrize(
    ("known", "metadata"),
    [
        ({}, None),
        ({"strike": 78_000.5}, {"priceToBeat": 78_000.5}),
        ({"strike": 1.0, "final": 2.0}, {"priceToBeat": 1.0, "finalPrice": 2.0}),
    ],
)
def test_official_prices_stand_on_the_event_once_they_are_out(known, metadata):
    event = event_object(CONTRACT, standing(**known), PARAMS)
    assert event["eventMetadata"] == metadata
    assert event["slug"] == CONTRACT.slug
    assert [market["conditionId"] for market in event["markets"]] == [CONTRACT.condition_id]


def test_objects_survive_json_and_say_what_the_market_is():
    event = event_object(CONTRACT, standing(), PARAMS)
    assert json.loads(json.dumps(event)) == event
    assert question_of(CONTRACT) == "Bitcoin Up or Down - July 23, 11:55PM-12:00AM UTC"
    assert "time-weighted average" in description_of(CONTRACT)


def test_the_fields_are_those_of_a_recorded_market(recordings_at):
    path = recordings_at / "polymarket" / "rest" / "gamma_btc_5m_markets.jsonl"
    recorded = json.loads(path.read_text().splitlines()[0])["raw"]
    market = market_object(CONTRACT, standing(up_won=True), PARAMS)
    # Only what came with the averaged settlement is new.
    assert set(market) - set(recorded) == {"cryptoMarketConfig"}
    for name in set(market) & set(recorded):
        kinds = {type(market[name]), type(recorded[name])}
        assert len(kinds) == 1 or kinds == {int, float}, name
