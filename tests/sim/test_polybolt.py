"""The rules of PolyBolt, message by message, without a socket."""

from __future__ import annotations

import pytest

from sim.client import Tally
from sim.frames import SimFrame
from sim.garbage import make
from sim.polybolt import CODE_POLICY, SUBSCRIPTIONS_MAX, PolyBoltChannel

AUTH = {"op": "auth", "rid": "1", "auth": {"apiKey": "k", "secret": "s", "passphrase": "p"}}


def entry(symbol="btcusd", window_seconds=60):
    wanted = {"symbol": symbol, "window_seconds": window_seconds}
    return {"channel": "price.crypto.twap", "filter": wanted}


def change(op, *entries):
    return {"op": op, "rid": "2", "subscriptions": list(entries)}


def point(symbol="btcusd", window="60"):
    return SimFrame(0, "bolt.twap", (symbol, window), b'{"timestamp":5000}')


@pytest.fixture
def spoken(talk):
    points = {("btcusd", 60): [{"timestamp": 1000}, {"timestamp": 2000}]}
    return talk(PolyBoltChannel(Tally(), lambda symbol, s, n: points.get((symbol, s), [])))


@pytest.fixture
def client(spoken):
    client = spoken.join()
    spoken.say(client, AUTH)
    assert client.take_json() == [{"op": "authed", "rid": "1"}]
    return client


def test_nothing_is_subscribed_before_the_credentials(spoken):
    client = spoken.join()
    spoken.say(client, change("subscribe", entry()))
    assert client.take_json() == [{"op": "error", "rid": "2", "code": "auth_required"}]
    spoken.channel.publish(point())
    assert client.take() == []


def test_each_subscription_is_acknowledged_and_begins_with_its_snapshot(spoken, client):
    spoken.say(client, change("subscribe", entry(), entry("ethusd")))
    first, snapshot, second, empty = client.take_json()
    assert first == second == {"op": "subscribed", "rid": "2", "channel": "price.crypto.twap"}
    assert [at["timestamp"] for at in snapshot["payload"]["data"]] == [1000, 2000]
    assert (snapshot["seq"], empty["seq"]) == (1, 2)
    assert empty["payload"]["data"] == []


def test_points_come_to_who_wants_exactly_them_with_a_dense_sequence(spoken, client):
    other = spoken.join()
    spoken.say(other, AUTH)
    spoken.say(other, change("subscribe", entry(window_seconds=30)))
    other.take()
    spoken.say(client, change("subscribe", entry()))
    client.take()
    for frame in (point(), point("ethusd"), point()):
        spoken.channel.publish(frame)
    frames = client.take_json()
    assert [frame["seq"] for frame in frames] == [2, 3]
    assert frames[0]["payload"] == {"timestamp": 5000}
    assert "snapshot" not in frames[0]
    assert other.take() == []


def test_a_lost_point_shows_as_a_hole_in_the_sequence(spoken, client):
    spoken.say(client, change("subscribe", entry()))
    client.take()
    spoken.channel.faults.lose(1)
    for _ in range(2):
        spoken.channel.publish(point())
    assert [frame["seq"] for frame in client.take_json()] == [3]


def test_unsubscribing_ends_the_points(spoken, client):
    spoken.say(client, change("subscribe", entry()))
    spoken.say(client, change("unsubscribe", entry()))
    assert client.take_json()[-1]["op"] == "unsubscribed"
    spoken.channel.publish(point())
    assert client.take() == []


def test_a_ping_is_answered_with_its_request_id(spoken, client):
    spoken.say(client, {"op": "ping", "rid": "p7"})
    assert client.take_json() == [{"op": "pong", "rid": "p7"}]


@pytest.mark.parametrize(
    "bad",
    [
        {"channel": "price.equity", "filter": {"symbol": "x"}},
        {"channel": "price.crypto.twap"},
        {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": "60"}},
        "price.crypto.twap",
    ],
)
def test_what_is_not_served_is_an_error_and_the_rest_is_subscribed(spoken, client, bad):
    spoken.say(client, change("subscribe", bad, entry()))
    error, done, _ = client.take_json()
    assert (error["op"], error["code"]) == ("error", "invalid_channel")
    assert done["op"] == "subscribed"


@pytest.mark.parametrize("text", ["{", "[]", "PING"])
def test_what_is_no_frame_closes_by_policy(spoken, client, text):
    spoken.say(client, text)
    assert client.closed is not None
    assert client.closed[0] == CODE_POLICY


def test_too_many_subscriptions_close_by_policy(spoken, client):
    entries = [entry(f"coin{number}usd") for number in range(SUBSCRIPTIONS_MAX + 1)]
    spoken.say(client, change("subscribe", *entries))
    assert client.closed == (CODE_POLICY, "too many subscriptions")


def test_garbage_keeps_the_sequence_so_that_only_its_content_is_wrong(spoken, client):
    spoken.say(client, change("subscribe", entry()))
    client.take()
    spoken.channel.publish(point())
    spoken.channel.inject(make("wrong_types", spoken.channel.sample))
    spoken.channel.publish(point())
    assert [frame["seq"] for frame in client.take_json()] == [2, 3, 4]
