"""Gamma and CLOB answers, handler by handler."""

from __future__ import annotations

import json

import pytest

from sim.polymarket_rest import BOOKS_MAX, PolymarketRest


@pytest.fixture
def rest(fake_source):
    return PolymarketRest(fake_source, lambda: 1_700_000_000_900_000_000)


def test_what_is_listed_is_found_and_what_is_not_is_404(rest, ask):
    assert ask(rest.market, "/markets/slug/known", slug="known")[1]["slug"] == "known"
    assert ask(rest.market, "/markets/slug/x", slug="x") == (404, {"error": "slug not found"})
    assert ask(rest.event, "/events/slug/known", slug="known")[0] == 200
    assert ask(rest.event, "/events/slug/x", slug="x")[0] == 404
    assert ask(rest.events, "/events?slug=x&slug=known") == (200, [{"slug": "known"}])


@pytest.mark.parametrize(
    "query",
    [
        "slug=known",
        "clob_token_ids=111",
        "clob_token_ids=111&clob_token_ids=222",
        "clob_token_ids=111,222,999",
        "condition_ids=0xab&slug=known",
    ],
)
def test_a_market_is_given_once_however_it_is_named(rest, ask, query):
    expected = [{"slug": "known", "conditionId": "0xab"}]
    assert ask(rest.markets, f"/markets?{query}") == (200, expected)
    assert ask(rest.markets, f"/markets/keyset?{query}")[1]["markets"] == expected


def test_what_nobody_lists_is_an_empty_list(rest, ask):
    assert ask(rest.markets, "/markets?clob_token_ids=999") == (200, [])


def test_the_clock_is_in_whole_seconds(rest, ask):
    assert ask(rest.time, "/time") == (200, 1_700_000_000)


def test_a_book_has_what_seeds_its_hash_in_the_venues_order(rest, ask):
    status, book = ask(rest.book, "/book?token_id=111")
    assert status == 200
    assert list(book) == [
        "market", "asset_id", "timestamp", "hash", "bids", "asks",
        "min_order_size", "tick_size", "neg_risk", "last_trade_price",
    ]  # fmt: skip
    assert (book["tick_size"], book["last_trade_price"]) == ("0.001", "0.500")


def test_an_unknown_token_has_no_book_rather_than_an_empty_one(rest, ask):
    assert ask(rest.book, "/book?token_id=999")[0] == 404
    assert ask(rest.book, "/book")[0] == 404


def test_several_books_leave_out_unknown_tokens(rest, ask):
    body = json.dumps([{"token_id": "222"}, {"token_id": "999"}, {"token_id": "111"}]).encode()
    status, books = ask(rest.books, "/books", body)
    assert (status, [book["asset_id"] for book in books]) == (200, ["222", "111"])


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'[{"x":1}]', b"5"])
def test_a_malformed_request_for_books_is_400(rest, ask, body):
    assert ask(rest.books, "/books", body)[0] == 400


def test_too_many_books_are_400(rest, ask):
    body = json.dumps([{"token_id": "111"}] * (BOOKS_MAX + 1)).encode()
    assert ask(rest.books, "/books", body)[0] == 400


def test_details_follow_from_the_book_whose_best_level_is_last(rest, ask):
    answers = {
        "midpoint": {"mid": "0.525"},
        "spread": {"spread": "0.15"},
        "tick-size": {"minimum_tick_size": 0.001},
        "neg-risk": {"neg_risk": False},
        "last-trade-price": {"price": "0.500", "side": ""},
    }
    for name, answer in answers.items():
        assert ask(rest.detail, f"/polymarket/clob/{name}?token_id=111") == (200, answer)
    assert ask(rest.detail, "/polymarket/clob/midpoint?token_id=222")[0] == 404
    assert ask(rest.detail, "/polymarket/clob/tick-size?token_id=9")[0] == 404
