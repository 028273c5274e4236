"""The market channel's messages: the recorded form, key for key."""

from __future__ import annotations

import json

from sim import events
from sim.events import Top
from sim.gamma import description_of, question_of
from sim.mirror_book import Change, MirrorBook
from sim.params import ModelParams
from sim.series import Series

CONTRACT = Series(1, ModelParams()).contract(1_790_000_100)


def shown():
    book = MirrorBook()
    book.apply(Change(True, 500, 1_000))
    book.apply(Change(True, 490, 222))
    book.apply(Change(False, 510, 50))
    return book.show()


def written():
    """One message of each kind that recordings hold."""
    market, up = CONTRACT.condition_id, CONTRACT.up
    first = events.first_book(
        market,
        up,
        shown()[0],
        timestamp="17",
        book_hash="ab",
        tick_size="0.01",
        last_trade="0.500",
    )
    change = events.price_change(
        CONTRACT,
        Change(True, 490, 222),
        timestamp="17",
        hashes=("ab", "cd"),
        top=Top(500, 510),
        down_first=False,
    )
    trade = events.last_trade_price(
        market, up, px=510, qty=2_000, side="BUY", timestamp="17", transaction="0xe3"
    )
    return {
        "first book": first,
        "book": events.trade_book(market, up, shown()[0], timestamp="17", book_hash="ab"),
        "price_change": change,
        "last_trade_price": trade,
        "new_market": events.new_market(CONTRACT, "q", "d", timestamp="17"),
    }


def is_compact(payload):
    return json.dumps(json.loads(payload), separators=(",", ":")).encode() == payload


def is_spaced(payload):
    return json.dumps(json.loads(payload), separators=(", ", ":")).encode() == payload


def test_first_books_are_compact_and_later_frames_have_a_space_after_commas():
    for kind, payload in written().items():
        assert is_compact(payload) == (kind in ("first book", "new_market")), kind
        assert is_spaced(payload) == (kind not in ("first book", "new_market")), kind


def shape(value):
    """Keys in order and types of values, lists by their first element."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def recorded(folder):
    found = {}
    for name in ("market-ws-frames-h1-run-8.jsonl", "ws-market-v2-session.jsonl"):
        for line in (folder / "polymarket" / "frames" / name).read_text().splitlines():
            row = json.loads(line)
            text = row.get("payloadUtf8") or (row.get("data") if row.get("dir") == "recv" else "")
            if not text or text[0] not in "[{":
                continue
            for event in json.loads(text) if text[0] == "[" else [json.loads(text)]:
                kind = "first book" if text[0] == "[" else event["event_type"]
                found.setdefault(kind, event)
    return found


def test_every_kind_that_was_recorded_has_the_recorded_shape(recordings_at):
    theirs = recorded(recordings_at)
    for kind, payload in written().items():
        assert shape(json.loads(payload)) == shape(theirs[kind]), kind


def test_a_change_stands_on_both_tokens_mirrored():
    payload = events.price_change(
        CONTRACT,
        Change(False, 510, 0),
        timestamp="17",
        hashes=("ab", "cd"),
        top=Top(500, 520),
        down_first=True,
    )
    down, up = json.loads(payload)["price_changes"]
    assert up == {
        "asset_id": CONTRACT.up,
        "price": "0.51",
        "size": "0",
        "side": "SELL",
        "hash": "ab",
        "best_bid": "0.5",
        "best_ask": "0.52",
    }
    assert down == {
        "asset_id": CONTRACT.down,
        "price": "0.49",
        "size": "0",
        "side": "BUY",
        "hash": "cd",
        "best_bid": "0.48",
        "best_ask": "0.5",
    }


def test_an_empty_book_has_best_prices_zero_and_one():
    payload = events.best_bid_ask(CONTRACT, CONTRACT.up, Top(0, 1000), timestamp="17")
    event = json.loads(payload)
    assert (event["best_bid"], event["best_ask"], event["spread"]) == ("0", "1", "1")


def test_the_rare_events_name_tokens_ticks_and_winner():
    change = json.loads(
        events.tick_size_change("0xa", "12", old="0.01", new="0.001", timestamp="17")
    )
    assert (change["old_tick_size"], change["new_tick_size"]) == ("0.01", "0.001")
    for up_won in (True, False):
        event = json.loads(events.market_resolved(CONTRACT, up_won=up_won, timestamp="17"))
        assert event["assets_ids"] == [CONTRACT.up, CONTRACT.down]
        assert event["winning_asset_id"] == event["assets_ids"][0 if up_won else 1]
        assert event["winning_outcome"] == ("Up" if up_won else "Down")
    listed = json.loads(
        events.new_market(CONTRACT, question_of(CONTRACT), description_of(CONTRACT), timestamp="17")
    )
    assert listed["clob_token_ids"] == [CONTRACT.up, CONTRACT.down]
