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


def test_the_depth_has_the_update_id_of_the_stream_and_as_many_levels_as_were_asked(rest, ask):
    deep = [["1.0", "2.0"], ["0.9", "5.0"]]
    for limit, bids in (("&limit=5000", deep), ("", deep), ("&limit=1", deep[:1])):
        status, depth = ask(rest.depth, f"/depth?symbol=BTCUSDT{limit}")
        assert status == 200
        assert depth == {"lastUpdateId": 7, "bids": bids, "asks": [["3.0", "4.0"]]}
    status, body = ask(rest.depth, "/depth?symbol=BTCUSDT&limit=x")
    assert (status, body["code"]) == (400, -1100)


def test_a_venue_that_knows_no_depth_says_so(rest, ask, fake_source):
    fake_source.depth = lambda symbol, limit: None
    assert ask(rest.depth, "/depth?symbol=BTCUSDT")[0] == 503


def test_an_unknown_symbol_is_refused_as_the_venue_does(rest, ask):
    for handler in (rest.book_ticker, rest.depth):
        status, body = ask(handler, "/x?symbol=NONE")
        assert (status, body["code"]) == (400, -1121)


def test_ping_and_time_are_served(rest, ask):
    assert ask(rest.ping, "/ping") == (200, {})
    assert ask(rest.time, "/time")[1]["serverTime"] > 0


def test_candles_are_asked_for_as_the_venue_has_it(rest, ask):
    base = "/klines?symbol=BTCUSDT&interval=1s"
    assert ask(rest.klines, base) == (200, [[500, None, None]])
    assert ask(rest.klines, f"{base}&limit=127") == (200, [[127, None, None]])
    assert ask(rest.klines, f"{base}&limit=5000") == (200, [[1000, None, None]])
    span = "&startTime=1000001&endTime=1005999"
    assert ask(rest.klines, f"{base}{span}") == (200, [[500, 1001, 1005]])
    assert ask(rest.klines, f"{base}&startTime=1000000") == (200, [[500, 1000, None]])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NONE&interval=1s", -1121),
        ("interval=1s", -1121),
        ("symbol=BTCUSDT", -1120),
        ("symbol=BTCUSDT&interval=1m", -1120),
        ("symbol=BTCUSDT&interval=1s&limit=x", -1100),
        ("symbol=BTCUSDT&interval=1s&limit=-1", -1100),
        ("symbol=BTCUSDT&interval=1s&startTime=99999999999999", -1100),
    ],
)
def test_a_question_for_candles_that_cannot_be_answered_is_refused(rest, ask, query, code):
    status, body = ask(rest.klines, f"/klines?{query}")
    assert (status, body["code"]) == (400, code)


def test_the_rules_are_those_of_all_symbols_of_one_or_of_some(rest, ask):
    def symbols(query):
        status, body = ask(rest.exchange_info, f"/exchangeInfo{query}")
        assert status == 200
        return [found["symbol"] for found in body["symbols"]]

    assert symbols("") == ["BTCUSDT", "ETHUSDT"]
    assert symbols("?symbol=ETHUSDT") == ["ETHUSDT"]
    assert symbols('?symbols=["ETHUSDT","BTCUSDT"]') == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NONE", -1121),
        ('symbols=["BTCUSDT","NONE"]', -1121),
        ("symbols=[", -1100),
        ("symbols=5", -1100),
    ],
)
def test_rules_of_an_unknown_symbol_are_refused_with_all_others(rest, ask, query, code):
    status, body = ask(rest.exchange_info, f"/exchangeInfo?{query}")
    assert (status, body["code"]) == (400, code)
