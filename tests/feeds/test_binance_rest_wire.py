import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.binance_rest_wire import (
    CANDLES_MAX,
    AnswerError,
    Candle,
    Rules,
    candles_path,
    parse_candles,
    parse_rules,
    rules_path,
)

OPEN_MS = 1_795_219_200_000
CANDLE = [
    OPEN_MS, "77117.60000000", "77120.00000000", "77117.00000000", "77118.55000000", "1.20000000",
    OPEN_MS + 999, "92542.00000000", 17, "0.70000000", "53982.00000000", "0",
]  # fmt: skip
FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00002"},
    {"filterType": "SOMETHING_NEW", "limit": 5},
]


def candle(**changes):
    row = list(CANDLE)
    for at, value in changes.items():
        row[int(at.removeprefix("f"))] = value
    return row


def body(value):
    return json.dumps(value).encode()


def test_a_question_names_symbol_interval_and_count():
    assert candles_path("BTCUSDT", 127) == "/api/v3/klines?symbol=BTCUSDT&interval=1s&limit=127"
    assert rules_path(("A", "B")) == "/api/v3/exchangeInfo?symbols=%5B%22A%22%2C%22B%22%5D"


def test_a_candle_is_its_second_its_close_and_its_trades():
    rows = [CANDLE, candle(f0=OPEN_MS + 1000, f4="77000.00000000", f8=0)]
    assert parse_candles(body(rows)) == (
        Candle(OPEN_MS // 1000, 77_118_550_000_000, 17),
        Candle(OPEN_MS // 1000 + 1, 77_000_000_000_000, 0),
    )
    assert parse_candles(b"[]") == ()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"{}",
        body({"code": -1121, "msg": "Invalid symbol."}),
        body([{}]),
        body([CANDLE[:8]]),
        body([candle(f0="1795219200000")]),
        body([candle(f0=OPEN_MS + 1)]),
        body([candle(f0=0)]),
        body([candle(f0=2**63)]),
        body([candle(f4=77118.55)]),
        body([candle(f4="NaN")]),
        body([candle(f4="0.00000000")]),
        body([candle(f4="-1")]),
        body([candle(f8=-1)]),
        body([candle(f8=True)]),
        body([CANDLE, CANDLE]),
        body([candle(f0=OPEN_MS + 1000), CANDLE]),
        body([CANDLE, candle(f0=OPEN_MS + 1000, f4="")]),
        body([candle(f0=OPEN_MS + 1000 * at) for at in range(CANDLES_MAX + 1)]),
    ],
)
def test_an_answer_with_any_fault_is_refused_whole(answer):
    with pytest.raises(AnswerError):
        parse_candles(answer)


def test_rules_are_the_grids_of_each_symbol():
    answer = {"symbols": [{"symbol": "BTCUSDT", "filters": FILTERS, "status": "TRADING"}]}
    assert parse_rules(body(answer)) == {"BTCUSDT": Rules(10_000_000, 20_000, 10_000)}


def test_what_the_rules_do_not_say_is_unknown():
    odd = {"symbols": [{"symbol": "BTCUSDT", "filters": [5, {"filterType": []}, {}]}]}
    assert parse_rules(body(odd)) == {"BTCUSDT": Rules(0, 0, 0)}
    answer = {"symbols": [{"symbol": "BTCUSDT", "filters": [FILTERS[0]]}]}
    assert parse_rules(body(answer)) == {"BTCUSDT": Rules(10_000_000, 0, 0)}
    assert parse_rules(body({"symbols": []})) == {}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"symbols": {}},
        {"symbols": [5]},
        {"symbols": [{"symbol": 5, "filters": []}]},
        {"symbols": [{"symbol": "A"}]},
        {"symbols": [{"symbol": "A", "filters": [{"filterType": "LOT_SIZE", "stepSize": 1}]}]},
        {"symbols": [{"symbol": "A", "filters": [{"filterType": "LOT_SIZE", "minQty": "x"}]}]},
    ],
)
def test_rules_with_any_fault_are_refused(answer):
    with pytest.raises(AnswerError):
        parse_rules(body(answer))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("symbols"), inner),
)


@given(JSON)
def test_no_answer_raises_anything_else(answer):
    for parse in (parse_candles, parse_rules):
        with contextlib.suppress(AnswerError):
            parse(json.dumps(answer).encode())
