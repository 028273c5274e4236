"""The rules of Binance's streams, message by message, without a socket."""

from __future__ import annotations

import asyncio
import json

import pytest

from sim.binance_ws import STREAMS_MAX, BinanceChannel, wrap
from sim.channel import NS
from sim.client import Tally
from sim.frames import BN_DEPTH, SimFrame
from sim.garbage import make

TICKER = "btcusdt@bookTicker"


def ticker(number=1, symbol="BTCUSDT"):
    return SimFrame(0, "bn.bookTicker", (symbol,), b'{"u":%d}' % number)


def ask(method, *params, **fields):
    return {"method": method, "params": list(params), "id": 1, **fields}


@pytest.fixture
def spoken(talk):
    return talk(BinanceChannel(Tally()))


def combined(spoken, *streams, **options):
    return spoken.join("/binance/stream", query={"streams": "/".join(streams)}, **options)


def test_streams_of_the_address_are_subscribed_in_either_form(spoken):
    wrapped = combined(spoken, TICKER, "ethusdt@trade")
    bare = spoken.join(f"/binance/ws/{TICKER}", match_info={"streams": TICKER})
    spoken.channel.publish(ticker(5))
    assert wrapped.take() == ['{"stream":"btcusdt@bookTicker","data":{"u":5}}']
    assert bare.take() == ['{"u":5}']


def test_names_are_case_sensitive_and_unknown_ones_accepted_but_silent(spoken):
    client = combined(spoken)
    spoken.say(client, ask("SUBSCRIBE", "BTCUSDT@bookTicker", "btcusdt@nothing"))
    assert client.take_json() == [{"result": None, "id": 1}]
    spoken.channel.publish(ticker())
    assert client.take() == []


def test_subscriptions_change_and_are_listed_in_order(spoken):
    client = combined(spoken, TICKER)
    spoken.say(client, ask("SUBSCRIBE", "btcusdt@trade", TICKER))
    spoken.say(client, ask("UNSUBSCRIBE", TICKER))
    spoken.say(client, {"method": "LIST_SUBSCRIPTIONS", "id": None})
    assert client.take_json()[-1] == {"result": ["btcusdt@trade"], "id": None}
    spoken.channel.publish(ticker())
    assert client.take() == []


def test_a_change_counts_from_the_next_frame_on_though_the_stream_was_flowing(spoken):
    client = combined(spoken)
    spoken.channel.publish(ticker())
    spoken.say(client, ask("SUBSCRIBE", TICKER))
    client.take()
    spoken.channel.publish(ticker())
    assert len(client.take()) == 1
    spoken.say(client, ask("UNSUBSCRIBE", TICKER))
    client.take()
    spoken.channel.publish(ticker())
    assert client.take() == []


def test_the_combined_property_can_be_read_and_set(spoken):
    client = combined(spoken, TICKER)
    spoken.say(client, ask("GET_PROPERTY", "combined"))
    spoken.say(client, ask("SET_PROPERTY", "combined", False))
    assert client.take_json() == [{"result": True, "id": 1}, {"result": None, "id": 1}]
    spoken.channel.publish(ticker(2))
    assert client.take() == ['{"u":2}']


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ({"id": 1}, 2),
        (ask("EXPLODE"), 2),
        (ask("SUBSCRIBE"), 2),
        (ask("SUBSCRIBE", 5), 2),
        ({"method": "SUBSCRIBE", "params": "x", "id": 1}, 2),
        (ask("SUBSCRIBE", TICKER, id=1.5), 2),
        (ask("SUBSCRIBE", TICKER, id=True), 2),
        (ask("SUBSCRIBE", TICKER, id="x" * 37), 2),
        (ask("SET_PROPERTY", "colour", True), 0),
        (ask("SET_PROPERTY", "combined", 1), 1),
    ],
)
def test_what_cannot_be_done_is_refused_by_code_and_survived(spoken, message, code):
    client = combined(spoken)
    spoken.say(client, message)
    (answer,) = client.take_json()
    assert answer["code"] == code
    assert answer["msg"]
    assert client.closed is None


def test_a_connection_holds_no_more_than_the_venues_streams(spoken):
    client = combined(spoken)
    spoken.say(client, ask("SUBSCRIBE", *[f"s{number}@trade" for number in range(STREAMS_MAX)]))
    spoken.say(client, ask("SUBSCRIBE", TICKER))
    done, refused = client.take_json()
    assert "result" in done
    assert refused["code"] == 2


def test_the_sixth_message_within_a_second_ends_the_connection(spoken):
    client = combined(spoken)
    control = spoken.channel.on_control
    assert all(asyncio.run(control(client, number * NS // 10)) for number in range(5))
    assert not asyncio.run(control(client, NS // 2))
    assert client.closed == (1008, "Too many requests")


def test_five_messages_a_second_may_go_on_for_ever(spoken):
    client = combined(spoken)
    for number in range(50):
        assert asyncio.run(spoken.channel.on_control(client, number * NS // 5))


def test_a_shutdown_is_announced_in_both_forms_and_carried_out_in_time(spoken):
    wrapped, bare = combined(spoken, TICKER), spoken.join("/binance/ws", match_info={})
    spoken.channel.announce_shutdown(0, grace_ns=5 * NS)
    assert wrapped.take_json()[0]["stream"] == "!serverShutdown"
    assert bare.take_json()[0]["e"] == "serverShutdown"
    asyncio.run(spoken.channel.keep_alive(4 * NS))
    assert wrapped.closed is None
    asyncio.run(spoken.channel.keep_alive(5 * NS))
    assert wrapped.closed == bare.closed == (1001, "server shutdown")


def test_an_old_connection_is_told_once(talk):
    spoken = talk(BinanceChannel(Tally(), age_ns_max=100 * NS, shutdown_ns=10 * NS))
    client = combined(spoken, TICKER, now_ns=0)
    for second in (99, 100, 105):
        asyncio.run(spoken.channel.keep_alive(second * NS))
    notices = [frame for frame in client.frames if b"serverShutdown" in frame]
    assert len(notices) == 1
    asyncio.run(spoken.channel.keep_alive(110 * NS))
    assert client.closed is not None


def test_garbage_that_parses_is_put_where_data_goes(spoken):
    wrapped = combined(spoken, TICKER)
    bare = spoken.join("/binance/ws", match_info={"streams": TICKER})
    spoken.channel.inject(make("unknown_type", b"{}"))
    spoken.channel.inject(make("empty", b"{}"))
    first, second = wrapped.take()
    assert json.loads(first)["stream"] == TICKER
    assert second == ""
    assert json.loads(bare.take()[0])["e"] == "leap"


def test_the_envelope_is_the_venues():
    assert wrap("a@b", b"{}") == b'{"stream":"a@b","data":{}}'


def test_frames_of_one_stream_can_be_lost_and_no_others(spoken):
    depth = "btcusdt@depth@100ms"
    client = combined(spoken, TICKER, depth)
    spoken.channel.losing[depth] = 1
    for number in (1, 2):
        spoken.channel.publish(SimFrame(0, BN_DEPTH, ("BTCUSDT",), b'{"u":%d}' % number))
        spoken.channel.publish(ticker(number))
    kept = [(one["stream"], one["data"]["u"]) for one in client.take_json()]
    assert kept == [(TICKER, 1), (depth, 2), (TICKER, 2)]
    assert spoken.channel.tally.frames_withheld == 1


def test_garbage_is_made_of_a_frame_that_every_client_takes(spoken):
    spoken.channel.publish(ticker(3))
    spoken.channel.publish(SimFrame(0, BN_DEPTH, ("BTCUSDT",), b"{}"))
    assert spoken.channel.sample == b'{"u":3}'
