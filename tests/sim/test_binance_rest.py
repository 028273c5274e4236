"""Binance's REST answers, handler by handler."""

from __future__ import annotations

import pytest

from sim.binance_rest import BinanceRest


@pytest.fixture
def rest(fake_source):
    return BinanceRest(fake_source)


def test_the_top_comes_without_update_id_or_time(rest, ask):
    expected = {"symbol": "BTCUSDT", "bidPrice": "1.0", "bidQty": "2.0"}
    expected |= {"askPrice": "3.0", "askQty": "4.0"}
    assert ask(rest.book_ticker, "/ticker/bookTicker?symbol=BTCUSDT") == (200, expected)


def test_the_depth_has_the_update_id_of_the_stream(rest, ask):
    status, depth = ask(rest.depth, "/depth?symbol=BTCUSDT&limit=5000")
    assert status == 200
    assert depth == {"lastUpdateId": 7, "bids": [["1.0", "2.0"]], "asks": [["3.0", "4.0"]]}


def test_an_unknown_symbol_is_refused_as_the_venue_does(rest, ask):
    for handler in (rest.book_ticker, rest.depth):
        status, body = ask(handler, "/x?symbol=NONE")
        assert (status, body["code"]) == (400, -1121)


def test_ping_and_time_are_served(rest, ask):
    assert ask(rest.ping, "/ping") == (200, {})
    assert ask(rest.time, "/time")[1]["serverTime"] > 0
