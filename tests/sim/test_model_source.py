"""The model, asked in the servers' words."""

from __future__ import annotations

import orjson
import pytest

from sim.model_source import JUMP_NS, ModelSource

S = 1_000_000_000
START = 1_790_000_130 * S


@pytest.fixture(scope="module")
def venue():
    made = ModelSource(7, START)
    made.start(START)
    return made


def slug():
    return f"btc-updown-5m-{START // S // 300 * 300}"


def test_the_running_market_is_found_by_slug_and_by_each_of_its_ids(venue):
    market = venue.market_by_slug(slug())
    for identity in (market["conditionId"], *orjson.loads(market["clobTokenIds"])):
        assert venue.market_by_id(identity)["slug"] == slug()
    assert venue.market_by_id("1") is None
    assert venue.event_by_slug(slug())["markets"][0]["slug"] == slug()


def test_books_and_tickers_stand_from_the_first_moment_on(venue):
    token = orjson.loads(venue.market_by_slug(slug())["clobTokenIds"])[0]
    assert orjson.loads(venue.book(token))["asset_id"] == token
    assert venue.book("1") is None
    assert orjson.loads(venue.book_ticker("BTCUSDT"))["s"] == "BTCUSDT"
    assert venue.book_ticker("ETHUSDT") is None


def test_the_settlement_feed_is_served_for_its_own_symbol_and_length(venue):
    assert len(venue.twap_points("btcusd", 60, 60)) == 60
    assert list(venue.twap_points("btcusd", 30, 60)) == []
    assert list(venue.twap_points("ethusd", 60, 60)) == []


def test_one_that_starts_later_with_the_same_seed_has_the_same_books():
    first, second = ModelSource(7, START), ModelSource(7, START)
    first.start(START)
    first.due(START + 5 * S)
    second.start(START + 5 * S)
    token = orjson.loads(first.market_by_slug(slug())["clobTokenIds"])[0]
    assert first.book(token) == second.book(token)
    assert list(first.due(START + 6 * S)) == list(second.due(START + 6 * S))


def test_a_clock_that_goes_back_gives_nothing_and_a_long_pause_is_jumped_over():
    made = ModelSource(7, START)
    made.start(START)
    assert made.due(START + S)
    assert list(made.due(START)) == []
    assert list(made.due(START + 2 * JUMP_NS)) == []
    assert made.due(START + 2 * JUMP_NS + S)
    assert made.venue_ns(5) == 5
    assert made.describe(0)["mode"] == "model"


def test_the_past_has_candles_and_the_symbol_its_rules(venue):
    rows = venue.candles("BTCUSDT", 127)
    assert [row[0] // 1000 for row in rows] == list(range(START // S - 126, START // S + 1))
    assert (
        venue.candles("BTCUSDT", 5, start_s=START // S - 400)[0][0] == START // S * 1000 - 400_000
    )
    assert venue.candles("ETHUSDT", 127) is None
    assert venue.symbols() == ("BTCUSDT",)
    assert venue.rules("BTCUSDT")["symbol"] == "BTCUSDT"
    assert venue.rules("ETHUSDT") is None
