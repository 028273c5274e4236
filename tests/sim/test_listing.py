"""Recorded markets as Gamma would list them."""

from __future__ import annotations

import json

import pytest

from sim.listing import Listing
from sim.recorded_book import mirror_id


def recording(tmp_path, name, *rows):
    lines = []
    for market, token in rows:
        book = {"market": market, "asset_id": token, "bids": [], "asks": []}
        entry = {"recv_s": 1776323400.5, "raw": book | {"event_type": "book"}}
        lines.append(json.dumps(entry, separators=(",", ":")))
    path = tmp_path / name
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def window(tmp_path):
    name = "btc-updown-5m-1776323400.jsonl"
    return Listing([recording(tmp_path, name, ("0xab", "1"), ("0xab", "1"))])


def test_a_window_is_found_by_slug_condition_and_either_token(window):
    market = window.by_slug("btc-updown-5m-1776323400")
    assert market["conditionId"] == "0xab"
    tokens = json.loads(market["clobTokenIds"])
    for identity in ("0xab", *tokens):
        assert window.by_id(identity) == market
    assert window.by_slug("btc-updown-5m-1776323700") is None
    assert window.by_id("7") is None


def test_the_unseen_half_is_listed_under_a_made_up_id(window):
    tokens = json.loads(window.by_slug("btc-updown-5m-1776323400")["clobTokenIds"])
    assert tokens == ["1", mirror_id("1")]
    assert window.original_of(mirror_id("1")) == "1"
    assert window.original_of("1") is None


def test_both_halves_are_listed_as_seen(tmp_path):
    name = "btc-updown-5m-1776323400.jsonl"
    listing = Listing([recording(tmp_path, name, ("0xab", "2"), ("0xab", "1"))])
    market = listing.by_slug("btc-updown-5m-1776323400")
    assert json.loads(market["clobTokenIds"]) == ["2", "1"]
    assert listing.original_of("1") is None


def test_the_window_follows_from_the_slug(window):
    market = window.by_slug("btc-updown-5m-1776323400")
    assert market["eventStartTime"] == "2026-04-16T07:10:00Z"
    assert market["endDate"] == "2026-04-16T07:15:00Z"
    assert market["cryptoMarketConfig"]["duration"] == "5m"


def test_a_file_of_many_markets_numbers_their_slugs(tmp_path):
    rows = [("0xa", "1"), ("0xb", "2"), ("0xa", "3")]
    listing = Listing([recording(tmp_path, "books.jsonl", *rows)])
    assert listing.slugs() == ("books", "books-1")
    assert json.loads(listing.by_id("3")["clobTokenIds"]) == ["1", "3"]
    assert "endDate" not in listing.by_slug("books")


def test_an_event_has_its_market_and_no_strike(window):
    market = window.by_slug("btc-updown-5m-1776323400")
    event = window.event_of(market)
    assert event["slug"] == market["slug"]
    assert event["markets"] == [market]
    assert event["eventMetadata"] is None
