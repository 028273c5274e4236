import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.polymarket_wire import (
    ARRAY_MAX,
    PONG,
    Cause,
    Change,
    Level,
    Message,
    Rejection,
    is_complete,
    parse,
    subscribe_first,
    subscribe_more,
    unsubscribe,
)


def test_a_price_change_is_its_changes_in_order(make):
    frame = make.changes(
        make.change(make.YES, "BUY", "0.46", "918.34", ("0.5", "0.51")),
        make.change(make.NO, "SELL", "0.54", "918.34", ("0.49", "0.5")),
    )
    found = parse(json.dumps(frame).encode())
    assert isinstance(found, Message)
    assert (found.event_type, found.market) == ("price_change", make.MARKET)
    assert found.timestamp == str(make.T0)
    assert found.price_changes == [
        Change(make.YES, "0.46", "918.34", "BUY", "0.5", "0.51"),
        Change(make.NO, "0.54", "918.34", "SELL", "0.49", "0.5"),
    ]


def test_a_book_keeps_its_levels_as_text_in_the_order_of_the_venue(make):
    frame = make.book(make.YES, [("0.1", "5"), ("0.49", "7.25")], [("0.9", "1"), ("0.5", "2")])
    found = parse(json.dumps(frame).encode())
    assert isinstance(found, Message)
    assert found.bids == [Level("0.1", "5"), Level("0.49", "7.25")]
    assert found.asks == [Level("0.9", "1"), Level("0.5", "2")]


def test_an_array_gives_a_list_and_an_empty_one_an_empty_list(make):
    frames = make.both_books([("0.4", "1")], [("0.6", "2")])
    found = parse(json.dumps(frames).encode() + b"\n")
    assert isinstance(found, list)
    assert [one.asset_id for one in found] == [make.YES, make.NO]
    assert parse(b"[]") == []


@pytest.mark.parametrize("data", [b"PONG", "PONG", b"PONG\n", bytearray(b"PONG")])
def test_pong_is_text_and_not_json(data):
    assert parse(data) is PONG


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", Cause.MALFORMED),
        (b"{", Cause.MALFORMED),
        (b'{"event_type":"book","bids":[', Cause.MALFORMED),
        (b"NaN", Cause.MALFORMED),
        (b'{"price":NaN}', Cause.MALFORMED),
        (b"\x00" * 64, Cause.MALFORMED),
        (b"[" * 100_000, Cause.MALFORMED),
        (b'{"a":' * 100_000, Cause.MALFORMED),
        (b"PO", Cause.MALFORMED),
        (b"\xff\xfe\x00", Cause.BINARY),
        (b'{"market":"\xff"}', Cause.BINARY),
        ("\ud800", Cause.BINARY),
        (b"null", Cause.MISTYPED),
        (b"17", Cause.MISTYPED),
        (b'"PONG"', Cause.MISTYPED),
        (b"[1]", Cause.MISTYPED),
        (b"[[]]", Cause.MISTYPED),
        (b'{"event_type":"book","bids":{}}', Cause.MISTYPED),
        (b'{"event_type":"book","timestamp":1790766981628}', Cause.MISTYPED),
        (b'{"event_type":"price_change","price_changes":[{"price":"0.5"}]}', Cause.MISTYPED),
        (b'{"event_type":"last_trade_price","side":"HOLD"}', Cause.MISTYPED),
        (b'{"event_type":5}', Cause.MISTYPED),
        (b"[" + b"{}," * ARRAY_MAX + b"{}]", Cause.OUT_OF_RANGE),
        (b"INVALID OPERATION", Cause.REFUSED),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else repr(value)[:24],
)
def test_garbage_is_a_rejection_that_names_its_cause(data, cause):
    found = parse(data)
    assert isinstance(found, Rejection)
    assert found.cause is cause


def test_a_frame_of_five_megabytes_of_one_string_is_no_trouble():
    found = parse(b'{"event_type":"' + b"x" * 5_000_000 + b'"}')
    assert isinstance(found, Message)


def test_a_rejection_says_whose_state_may_be_lost():
    found = parse(b'{"event_type":"price_change","market":"0x1","price_changes":7}')
    assert isinstance(found, Rejection)
    assert (found.market, found.is_harmless) == ("0x1", False)
    found = parse(b'{"asset_id":"1","price_changes":[{"asset_id":"2"},{"asset_id":3},4]}')
    assert (found.market, found.tokens) == ("", {"1", "2"})
    assert parse(b'{"market":7}') == Rejection(
        Cause.MISTYPED, "Expected `str`, got `int` - at `$.market`"
    )


def test_a_mistyped_event_that_is_no_book_is_harmless():
    found = parse(b'{"event_type":"new_market","side":7}')
    assert isinstance(found, Rejection)
    assert found.is_harmless


def test_an_event_of_an_unknown_type_is_no_fault_whatever_its_fields():
    found = parse(b'{"event_type":"comet","price":3,"bids":"none"}')
    assert isinstance(found, Message)
    assert found.event_type == "comet"


def test_an_unknown_event_in_an_array_does_not_cost_its_neighbours(make):
    known = make.book(make.YES, [], [])
    found = parse(json.dumps([{"event_type": "comet", "price": 3}, known]).encode())
    assert isinstance(found, list)
    assert [one.event_type for one in found] == ["comet", "book"]


def test_a_message_is_complete_when_it_has_what_its_type_needs(make):
    whole = parse(json.dumps(make.book(make.YES, [], [])).encode())
    assert isinstance(whole, Message)
    assert is_complete(whole)
    for name in ("market", "asset_id", "timestamp", "bids", "asks"):
        frame = make.book(make.YES, [], [])
        del frame[name]
        found = parse(json.dumps(frame).encode())
        assert isinstance(found, Message)
        assert not is_complete(found)


@pytest.mark.parametrize("told", ["ab" * 20, "", 7, None, ["x"]])
def test_a_hash_is_taken_as_it_came_and_never_costs_the_frame(make, told):
    first, second = make.both_books([("0.4", "1")], [("0.6", "2")])
    first["hash"] = told
    found = parse(json.dumps([first, second]).encode())
    assert [one.hash for one in found] == [told, ""]
    entry = make.change(make.YES, "BUY", "0.4", "1", ("0.4", "0.6")) | {"hash": told}
    found = parse(json.dumps(make.changes(entry)).encode())
    assert found.price_changes[0].hash == told


def test_what_is_sent_has_the_form_of_the_venue():
    assert json.loads(subscribe_first(["1", "2"])) == {
        "assets_ids": ["1", "2"], "type": "market", "custom_feature_enabled": True,
    }  # fmt: skip
    for text, operation in (
        (subscribe_more(["3"]), "subscribe"),
        (unsubscribe(["3"]), "unsubscribe"),
    ):
        assert json.loads(text) == {
            "operation": operation, "assets_ids": ["3"], "custom_feature_enabled": True,
        }  # fmt: skip


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100)))
def test_no_frame_raises(data):
    found = parse(data)
    assert found is PONG or isinstance(found, Message | list | Rejection)
