"""The rules of the market channel, message by message, without a socket."""

from __future__ import annotations

import json

import pytest

from sim.client import Tally
from sim.frames import SimFrame
from sim.garbage import make
from sim.polymarket_ws import (
    DUMP_TOKENS_MAX,
    INVALID_REASON,
    PolymarketChannel,
    event_type,
    without,
)

UP, DOWN = "111", "222"
KNOWN = {UP: b'{"asset_id":"111"}', DOWN: b'{"asset_id":"222"}'}


def first(*tokens, **fields):
    return {"assets_ids": list(tokens), "type": "market", **fields}


def later(operation, *tokens, **fields):
    return {"operation": operation, "assets_ids": list(tokens), **fields}


def event(kind, *tokens):
    return SimFrame(0, "pm.market", tokens, json.dumps({"event_type": kind}).encode())


@pytest.fixture
def spoken(talk):
    return talk(PolymarketChannel(Tally(), KNOWN.get))


def test_the_first_books_are_an_array_of_known_tokens_once_each(spoken):
    client = spoken.join()
    spoken.say(client, first(UP, "999", DOWN, UP))
    assert client.take() == ['[{"asset_id":"111"},{"asset_id":"222"}]\n']


def test_without_a_known_token_the_array_is_empty_and_without_a_token_there_is_none(spoken):
    strange, empty = spoken.join(), spoken.join()
    spoken.say(strange, first("999"))
    spoken.say(empty, first())
    assert strange.take() == ["[]\n"]
    assert empty.take() == []


def test_first_books_can_be_declined(spoken):
    client = spoken.join()
    spoken.say(client, first(UP, initial_dump=False))
    assert client.take() == []
    spoken.channel.publish(event("book", UP))
    assert len(client.take()) == 1


@pytest.mark.parametrize("level", [0, 4, "2", None])
def test_an_unknown_level_is_an_invalid_subscription(spoken, level):
    client = spoken.join()
    spoken.say(client, first(UP, level=level))
    assert client.closed == (1008, INVALID_REASON)


def test_naming_a_token_again_sends_no_book_but_applies_the_flag(spoken):
    client = spoken.join()
    spoken.say(client, first(UP))
    client.take()
    spoken.channel.publish(event("best_bid_ask", UP))
    assert client.take() == []
    spoken.say(client, later("subscribe", UP, custom_feature_enabled=True))
    assert client.take() == []
    spoken.channel.publish(event("best_bid_ask", UP))
    assert len(client.take()) == 1


def test_the_flag_stands_when_a_later_message_does_not_name_it(spoken):
    client = spoken.join()
    spoken.say(client, first(UP, custom_feature_enabled=True))
    spoken.say(client, later("subscribe", DOWN))
    client.take()
    spoken.channel.publish(event("best_bid_ask", DOWN))
    assert len(client.take()) == 1


def test_a_frame_of_several_tokens_comes_once_and_only_to_who_wants_one_of_them(spoken):
    both, one, none = spoken.join(), spoken.join(), spoken.join()
    for client, tokens in ((both, (UP, DOWN)), (one, (DOWN,)), (none, ("333",))):
        spoken.say(client, first(*tokens))
        client.take()
    spoken.channel.publish(event("price_change", UP, DOWN))
    assert [len(client.take()) for client in (both, one, none)] == [1, 1, 0]


@pytest.mark.parametrize("kind", ["best_bid_ask", "market_resolved", "new_market"])
def test_extra_events_come_with_the_flag_alone_and_new_markets_venue_wide(spoken, kind):
    plain, extra, elsewhere = spoken.join(), spoken.join(), spoken.join()
    spoken.say(plain, first(UP))
    spoken.say(extra, first(UP, custom_feature_enabled=True))
    spoken.say(elsewhere, first("333", custom_feature_enabled=True))
    for client in (plain, extra, elsewhere):
        client.take()
    spoken.channel.publish(event(kind, UP) if kind != "new_market" else event(kind))
    counts = [len(client.take()) for client in (plain, extra, elsewhere)]
    assert counts == [0, 1, int(kind == "new_market")]


def test_new_markets_come_to_who_wants_no_token_at_all(spoken):
    client = spoken.join()
    spoken.say(client, first(custom_feature_enabled=True))
    spoken.channel.publish(event("new_market"))
    spoken.channel.publish(event("price_change", UP))
    assert len(client.take()) == 1


def test_after_unsubscribing_nothing_comes_and_subscribing_again_brings_the_book(spoken):
    client = spoken.join()
    spoken.say(client, first(UP))
    client.take()
    spoken.say(client, later("unsubscribe", UP))
    spoken.channel.publish(event("price_change", UP))
    assert client.take() == []
    spoken.say(client, later("subscribe", UP))
    assert client.take() == ['[{"asset_id":"111"}]\n']


@pytest.mark.parametrize("text", ["ping", "{", '{"operation":"explode","assets_ids":[]}', "[1]"])
def test_nonsense_after_the_first_message_is_answered_and_survived(spoken, text):
    client = spoken.join()
    spoken.say(client, first(UP))
    client.take()
    spoken.say(client, text)
    spoken.say(client, first(UP))
    assert client.take() == ["INVALID OPERATION"] * 2
    assert client.closed is None


def test_beyond_the_venues_limit_there_are_no_first_books(spoken):
    client = spoken.join()
    spoken.say(client, first(*[str(number) for number in range(DUMP_TOKENS_MAX)]))
    assert len(client.take()) == 1
    spoken.say(client, later("subscribe", DOWN + "0"))
    assert client.take() == []


def test_who_has_left_is_sent_nothing(spoken):
    client = spoken.join()
    spoken.say(client, first(UP))
    spoken.channel.publish(event("price_change", UP))
    spoken.leave(client)
    client.take()
    spoken.channel.publish(event("price_change", UP))
    assert client.take() == []
    assert not spoken.channel.has_subscriptions()


def test_garbage_goes_to_subscribers_only_and_is_made_of_the_last_frame(spoken):
    client, idle = spoken.join(), spoken.join()
    spoken.say(client, first(UP))
    client.take()
    spoken.channel.publish(event("price_change", UP))
    client.take()
    spoken.channel.inject(make("truncated", spoken.channel.sample))
    assert client.take() == ['{"event_type": ']
    assert idle.take() == []


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b'{"event_type":"book","last_trade_price":"0.5"}', b"book"),
        (b'{"a":1, "event_type": "best_bid_ask"}', b"best_bid_ask"),
        (b'[{"event_type":"book"}]\n', b"book"),
        (b"{}", b""),
    ],
)
def test_the_event_type_is_found_without_parsing(payload, kind):
    assert event_type(payload) == kind


CHANGES = {
    "event_type": "price_change",
    "price_changes": [{"asset_id": UP, "price": "0.1"}, {"asset_id": DOWN, "price": "0.9"}],
}


def test_a_frozen_token_is_cut_out_of_what_is_said_of_both(spoken):
    client = spoken.join()
    spoken.say(client, first(UP, DOWN, initial_dump=False, custom_feature_enabled=True))
    spoken.channel.faults.freeze_topics([UP])
    frame = SimFrame(0, "pm.market", (UP, DOWN), json.dumps(CHANGES).encode())
    spoken.channel.publish(frame)
    spoken.channel.publish(SimFrame(0, "pm.market", (UP,), KNOWN[UP]))
    spoken.channel.publish(SimFrame(0, "pm.market", (DOWN,), KNOWN[DOWN]))
    (changes, other) = client.take_json()
    assert changes["price_changes"] == [CHANGES["price_changes"][1]]
    assert other == {"asset_id": DOWN}
    spoken.channel.faults.freeze_topics([DOWN])
    spoken.channel.publish(frame)
    spoken.channel.publish(event("market_resolved", UP, DOWN))
    assert client.take() == []
    assert spoken.channel.tally.frames_withheld == 3
    spoken.channel.faults.freeze_topics([UP, DOWN], False)
    spoken.channel.publish(frame)
    assert client.take_json() == [CHANGES]


def test_a_frozen_token_has_no_first_book_either(spoken):
    client = spoken.join()
    spoken.channel.faults.freeze_topics([UP])
    spoken.say(client, first(UP, DOWN))
    assert client.take_json() == [[{"asset_id": DOWN}]]


def test_events_of_an_array_are_cut_out_one_by_one():
    told = [{"asset_id": UP}, {"asset_id": DOWN}, CHANGES]
    kept = json.loads(without(json.dumps(told).encode(), {UP}))
    assert kept == [told[1], CHANGES | {"price_changes": [CHANGES["price_changes"][1]]}]
    assert without(json.dumps(told).encode(), {UP, DOWN}) == b""
