import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counter
from cache.layout import Side
from feeds import binance_wire as wire
from feeds.binance_wire import BookTicker, Rejected, Trade, Unknown, parse, stream_names
from venue.decimals import format_e9

EVENTS = (
    BookTicker, Trade, wire.Reply, wire.VenueError, wire.Shutdown, Unknown, Rejected,
)  # fmt: skip
AMOUNT = st.integers(0, 9 * 10**18).map(format_e9)
SYMBOL = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | AMOUNT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from("usbBaAepqtTEmid") | st.text(max_size=6), inner, max_size=8
        )
    ),
    max_leaves=20,
)


def combined(stream, data):
    return json.dumps({"stream": stream, "data": data}).encode()


def ticker(**changes):
    data = {"u": 7, "s": "BTCUSDT", "b": "1.5", "B": "2", "a": "1.6", "A": "3"} | changes
    return {name: value for name, value in data.items() if value is not ...}


def assert_known(event):
    assert isinstance(event, EVENTS)
    if isinstance(event, Rejected):
        assert event.cause.name.startswith("feeds_frames_")


@given(st.binary(max_size=300))
def test_no_bytes_raise_out_of_the_parser(data):
    assert_known(parse(data))
    assert_known(parse(bytearray(b'{"stream":"btcusdt@bookTicker","data":' + data + b"}")))


@given(JSON)
def test_no_json_raises_out_of_the_parser(value):
    body = json.dumps(value).encode()
    assert_known(parse(body))
    for kind in ("bookTicker", "trade"):
        assert_known(parse(b'{"stream":"btcusdt@%b","data":%b}' % (kind.encode(), body)))


@given(
    st.dictionaries(st.sampled_from("usbBaAx"), JSON, max_size=7),
    st.sampled_from(["btcusdt@bookTicker", "ethusdt@bookTicker", "@bookTicker"]),
)
def test_the_fast_lane_and_the_general_lane_give_the_same_answers(changes, stream):
    frame = combined(stream, ticker() | changes)
    assert parse(frame) == wire._parse_any(frame)


@given(SYMBOL, st.integers(1, wire.UPDATE_ID_MAX), AMOUNT, AMOUNT, AMOUNT, AMOUNT)
def test_what_a_ticker_says_is_read_exactly(symbol, number, bid, bid_qty, ask, ask_qty):
    data = {"u": number, "s": symbol, "b": bid, "B": bid_qty, "a": ask, "A": ask_qty}
    event = parse(combined(stream_names(symbol)[0], data))
    assert isinstance(event, BookTicker)
    assert (event.symbol, event.update_id) == (symbol, number)
    amounts = (event.bid_px_e9, event.bid_qty_e9, event.ask_px_e9, event.ask_qty_e9)
    assert tuple(map(format_e9, amounts)) == (bid, bid_qty, ask, ask_qty)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"u": 0}, Counter.feeds_frames_out_of_range),
        ({"u": -1}, Counter.feeds_frames_out_of_range),
        ({"u": 2**63}, Counter.feeds_frames_out_of_range),
        ({"u": "7"}, Counter.feeds_frames_mistyped),
        ({"u": 7.0}, Counter.feeds_frames_mistyped),
        ({"u": True}, Counter.feeds_frames_mistyped),
        ({"u": ...}, Counter.feeds_frames_mistyped),
        ({"b": 1.5}, Counter.feeds_frames_mistyped),
        ({"b": None}, Counter.feeds_frames_mistyped),
        ({"b": "-1.5"}, Counter.feeds_frames_out_of_range),
        ({"b": "NaN"}, Counter.feeds_frames_out_of_range),
        ({"A": "Infinity"}, Counter.feeds_frames_out_of_range),
        ({"A": "1e5"}, Counter.feeds_frames_out_of_range),
        ({"a": "99999999999"}, Counter.feeds_frames_out_of_range),
        ({"B": ""}, Counter.feeds_frames_out_of_range),
        ({"s": "ETHUSDT"}, Counter.feeds_frames_mistyped),
        ({"s": ""}, Counter.feeds_frames_mistyped),
        ({"s": 5}, Counter.feeds_frames_mistyped),
    ],
)
def test_a_wrong_field_of_a_ticker_is_rejected_with_its_cause(changes, cause):
    event = parse(combined("btcusdt@bookTicker", ticker(**changes)))
    assert isinstance(event, Rejected), event
    assert event.cause == cause


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (b"", Counter.feeds_frames_malformed),
        (b"{", Counter.feeds_frames_malformed),
        (b'{"u":NaN}', Counter.feeds_frames_malformed),
        (b'{"stream":"btcusdt@bookTicker","data":{"u":7', Counter.feeds_frames_malformed),
        (b"[" * 100_000, Counter.feeds_frames_malformed),
        (b'{"s":"\xff\xfe"}', Counter.feeds_frames_binary),
        (b"[]", Counter.feeds_frames_mistyped),
        (b'"text"', Counter.feeds_frames_mistyped),
        (b'{"stream":5,"data":{}}', Counter.feeds_frames_mistyped),
        (b'{"stream":"btcusdt@trade","data":[]}', Counter.feeds_frames_mistyped),
        (b'{"stream":"btcusdt@bookTicker"}', Counter.feeds_frames_mistyped),
        (b'{"stream":"btcusdt@bookTicker","data":{}}', Counter.feeds_frames_mistyped),
        (b'{"e":5}', Counter.feeds_frames_mistyped),
        (b'{"result":5,"id":1}', Counter.feeds_frames_mistyped),
        (b'{"result":[5],"id":1}', Counter.feeds_frames_mistyped),
        (b'{"result":null,"id":[]}', Counter.feeds_frames_mistyped),
        (b'{"error":{"code":"x"},"id":1}', Counter.feeds_frames_mistyped),
        (b'{"e":"serverShutdown"}', Counter.feeds_frames_mistyped),
        (b'{"e":"serverShutdown","E":-1}', Counter.feeds_frames_out_of_range),
    ],
)
def test_garbage_is_rejected_with_its_cause(frame, cause):
    event = parse(frame)
    assert isinstance(event, Rejected), event
    assert event.cause == cause


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("p", "0.00", Counter.feeds_frames_out_of_range),
        ("q", "0", Counter.feeds_frames_out_of_range),
        ("t", -1, Counter.feeds_frames_out_of_range),
        ("t", None, Counter.feeds_frames_mistyped),
        ("m", 1, Counter.feeds_frames_mistyped),
        ("E", 0, Counter.feeds_frames_out_of_range),
        ("E", 10**30, Counter.feeds_frames_mistyped),
        ("T", "1723161601437", Counter.feeds_frames_mistyped),
    ],
)
def test_a_wrong_field_of_a_trade_is_rejected_with_its_cause(field, value, cause):
    data = {
        "e": "trade", "E": 1723161601438, "s": "BTCUSDT", "t": 1, "p": "1", "q": "1",
        "T": 1723161601437, "m": True,
    }  # fmt: skip
    event = parse(combined("btcusdt@trade", data | {field: value}))
    assert isinstance(event, Rejected), event
    assert event.cause == cause


def test_a_buyer_who_is_maker_means_that_the_taker_sold():
    data = {"e": "trade", "E": 2, "s": "X", "t": 1, "p": "1", "q": "1", "T": 1}
    assert parse(combined("x@trade", data | {"m": True})).side is Side.SELL
    assert parse(combined("x@trade", data | {"m": False})).side is Side.BUY


def test_what_is_rejected_is_described_in_few_words():
    event = parse(combined("btcusdt@bookTicker", ticker(s="X" * 100_000)))
    assert isinstance(event, Rejected)
    assert len(event.text) <= 200
