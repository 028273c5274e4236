import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counter
from feeds import polybolt_wire as wire
from feeds.polybolt_wire import (
    Ack,
    Point,
    Points,
    Pong,
    Refused,
    Rejected,
    Unknown,
    parse,
)

SECOND = 1_791_000_000
EVENTS = (Points, Ack, Pong, Refused, Unknown, Rejected)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["op", "rid", "channel", "seq", "ts", "snapshot", "payload", "data", "dropped",
             "symbol", "window_seconds", "timestamp", "value", "full_accuracy_value", "code"]
        ), inner, max_size=8,
    ),
    max_leaves=20,
)  # fmt: skip


def envelope(payload=None, **changes):
    point = {
        "symbol": "btcusd", "window_seconds": 60, "source": "chainlink",
        "timestamp": SECOND * 1000, "value": 78788.78,
        "full_accuracy_value": "78788.786579938813673472",
    }  # fmt: skip
    found = {"v": 1, "channel": "price.crypto.twap", "seq": 2, "ts": SECOND * 1000 + 900}
    found["payload"] = point if payload is None else payload
    return json.dumps(found | changes).encode()


def test_an_update_has_one_exact_point():
    assert parse(envelope()) == Points(
        ("btcusd", 60), 2, 0, False, "chainlink", (Point(SECOND, 78_788_786_579_938, False),)
    )


def test_a_snapshot_has_the_points_of_the_past():
    rows = [
        {"timestamp": (SECOND + n) * 1000, "full_accuracy_value": f"7878{n}.5", "value": 1.0}
        for n in range(3)
    ]
    payload = {"symbol": "BTCUSD", "window_seconds": 60, "source": "chainlink", "data": rows}
    event = parse(envelope(payload, snapshot=True, seq=1))
    assert (event.series, event.is_snapshot) == (("btcusd", 60), True)
    assert [point.time_s - SECOND for point in event.points] == [0, 1, 2]
    assert [point.price_e9 for point in event.points] == [
        78_780_500_000_000, 78_781_500_000_000, 78_782_500_000_000,
    ]  # fmt: skip


def test_a_snapshot_may_be_empty():
    payload = {"symbol": "btcusd", "window_seconds": 60, "data": []}
    assert parse(envelope(payload, snapshot=True)).points == ()


@pytest.mark.parametrize(("dropped", "count"), [(None, 0), (0, 0), (3, 3), (True, 1), (False, 0)])
def test_what_the_server_dropped_is_told(dropped, count):
    assert parse(envelope(dropped=dropped)).dropped == count


def point(**changes):
    row = {
        "symbol": "btcusd", "window_seconds": 60, "timestamp": SECOND,
        "full_accuracy_value": "5",
    } | changes  # fmt: skip
    return {name: value for name, value in row.items() if value is not ...}


def test_a_point_may_be_stamped_in_seconds_and_be_carried_forward():
    event = parse(envelope(point(is_carried_forward=True)))
    assert event.points == (Point(SECOND, 5_000_000_000, True),)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"full_accuracy_value": ..., "value": 78788.78}, Counter.feeds_frames_mistyped),
        ({"full_accuracy_value": 5}, Counter.feeds_frames_mistyped),
        ({"full_accuracy_value": "NaN"}, Counter.feeds_frames_out_of_range),
        ({"full_accuracy_value": "-5"}, Counter.feeds_frames_out_of_range),
        ({"full_accuracy_value": "0"}, Counter.feeds_frames_out_of_range),
        ({"full_accuracy_value": "1" * 60}, Counter.feeds_frames_out_of_range),
        ({"timestamp": "now"}, Counter.feeds_frames_mistyped),
        ({"timestamp": 0}, Counter.feeds_frames_out_of_range),
        ({"timestamp": -5}, Counter.feeds_frames_out_of_range),
        ({"timestamp": SECOND * 1000 + 500}, Counter.feeds_frames_out_of_range),
        ({"timestamp": 10**18}, Counter.feeds_frames_out_of_range),
        ({"window_seconds": "60"}, Counter.feeds_frames_mistyped),
        ({"symbol": ...}, Counter.feeds_frames_mistyped),
        ({"symbol": ""}, Counter.feeds_frames_mistyped),
    ],
)
def test_a_wrong_point_is_rejected_with_its_cause(changes, cause):
    event = parse(envelope(point(**changes)))
    assert isinstance(event, Rejected), event
    assert event.cause == cause


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b'{"op":"authed","rid":"auth"}', Ack("authed", "auth")),
        (b'{"op":"subscribed","channel":"price.crypto.twap"}', Ack("subscribed", "")),
        (b'{"op":"pong","rid":"p12"}', Pong(12)),
        (b'{"op":"pong"}', Pong(0)),
        (b'{"op":"pong","rid":"x"}', Pong(0)),
        (b'{"op":"error","code":"auth_required","rid":"s"}', Refused("auth_required", "s")),
        (b'{"op":"challenge","nonce":"x"}', Unknown("challenge")),
        (b'{"v":1,"channel":"price.crypto","seq":1}', Unknown("price.crypto")),
    ],
)
def test_a_control_message_becomes_its_event(frame, event):
    assert parse(frame) == event


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (b"", Counter.feeds_frames_malformed),
        (b"[" * 100_000, Counter.feeds_frames_malformed),
        (b'{"op":"\xff"}', Counter.feeds_frames_binary),
        (b"[]", Counter.feeds_frames_mistyped),
        (b"{}", Counter.feeds_frames_mistyped),
        (b'{"op":5}', Counter.feeds_frames_mistyped),
        (envelope(5), Counter.feeds_frames_mistyped),
        (envelope(seq="1"), Counter.feeds_frames_mistyped),
        (envelope(seq=-1), Counter.feeds_frames_out_of_range),
        (
            envelope({"symbol": "b", "window_seconds": 1}, snapshot=True),
            Counter.feeds_frames_mistyped,
        ),
        (envelope({"data": [{}] * 5000}, snapshot=True), Counter.feeds_frames_out_of_range),
        (
            envelope({"data": [5], "symbol": "b", "window_seconds": 1}, snapshot=True),
            Counter.feeds_frames_mistyped,
        ),
    ],
)
def test_garbage_is_rejected_with_its_cause(frame, cause):
    event = parse(frame)
    assert isinstance(event, Rejected), event
    assert event.cause == cause


@given(st.binary(max_size=200))
def test_no_bytes_raise_out_of_the_parser(data):
    assert isinstance(parse(data), EVENTS)


@given(JSON, JSON, st.booleans())
def test_no_json_raises_out_of_the_parser(value, payload, snapshot):
    assert isinstance(parse(json.dumps(value).encode()), EVENTS)
    assert isinstance(parse(envelope(payload, snapshot=snapshot)), EVENTS)


def test_what_is_sent_is_what_the_venue_reads():
    assert json.loads(wire.auth_message("k", "s", "p")) == {
        "op": "auth", "rid": "auth", "auth": {"apiKey": "k", "secret": "s", "passphrase": "p"},
    }  # fmt: skip
    listed = [
        {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": 60}}
    ]
    for make, op in (
        (wire.subscribe_message, "subscribe"),
        (wire.unsubscribe_message, "unsubscribe"),
    ):
        message = json.loads(make([("btcusd", 60)]))
        assert (message["op"], message["subscriptions"]) == (op, listed)
    assert json.loads(wire.ping_message(7)) == {"op": "ping", "rid": "p7"}
