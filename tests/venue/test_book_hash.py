"""The venue's book hash, on its own frames and on the recordings."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from venue.book_hash import (
    all_last_trades,
    book_hash,
    find_last_trade_price,
    format_last_trade,
    hash_text,
    last_trade_candidates,
)
from venue.decimals import E9

BIDS = [("0.01", "93900.09"), ("0.49", "12")]
ASKS = [("0.99", "5"), ("0.51", "326.43")]


def reference_hash(*, last: str, version: str) -> str:
    """The rule of the protocol notes, written with json as they state it."""
    book: dict[str, Any] = {
        "market": "0xab",
        "asset_id": "77",
        "timestamp": "1790767298635",
        "hash": "",
        "bids": [{"price": p, "size": s} for p, s in BIDS],
        "asks": [{"price": p, "size": s} for p, s in ASKS],
        "min_order_size": "5",
        "tick_size": "0.01",
        "neg_risk": False,
        "last_trade_price": last,
    }
    if version:
        book["version"] = version
    return hashlib.sha1(json.dumps(book, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize("version", ["", "v2"])
@pytest.mark.parametrize("last", ["", "0.490"])
def test_the_hash_is_the_sha1_of_compact_json_with_empty_hash(last: str, version: str) -> None:
    got = book_hash(
        "0xab", "77", "1790767298635", BIDS, ASKS,
        tick_size="0.01", last_trade_price=last, version=version,
    )  # fmt: skip
    assert got == reference_hash(last=last, version=version)


def test_a_recorded_book_of_protocol_v2_matches_with_its_version_appended() -> None:
    got = book_hash(
        "0x017791f201d5a788e0039e511fc1900e5f000000000000000000000000000000",
        "663574927012476832975694178961957910328055987427402067619466963999000625152",
        "1791238858575",
        [],
        [],
        tick_size="0.01",
        last_trade_price="",
        version="v2",
    )
    assert got == "fc3846cab0c35a0977b6e5f605a4e5ff0d0b2277"


def test_the_last_trade_price_is_found_among_p_and_its_complement() -> None:
    text = hash_text("0xab", "77", "1790767298635", bids=BIDS, asks=ASKS, tick_size="0.01")
    expected = reference_hash(last="0.490", version="")
    candidates = last_trade_candidates([620_000_000, 510_000_000])
    assert find_last_trade_price(expected, text, candidates) == "0.490"
    assert find_last_trade_price(expected, text, all_last_trades()) == "0.490"


def test_a_book_that_lost_a_level_matches_with_no_last_trade_price() -> None:
    text = hash_text("0xab", "77", "1790767298635", bids=BIDS[:1], asks=ASKS, tick_size="0.01")
    expected = reference_hash(last="0.490", version="")
    assert find_last_trade_price(expected, text, all_last_trades()) is None


def test_candidates_are_newest_first_and_given_once() -> None:
    got = list(last_trade_candidates([620_000_000, 380_000_000, 510_000_000]))
    assert got == ["0.620", "0.380", "0.510", "0.490", ""]


def test_a_price_between_two_thousandths_is_tried_both_ways() -> None:
    got = list(last_trade_candidates([999_500_000]))
    assert "1.000" in got
    assert "0.999" in got


def test_last_trades_are_written_with_three_places() -> None:
    assert format_last_trade(0) == ""
    assert format_last_trade(490_000_000) == "0.490"
    assert format_last_trade(999_000_000) == "0.999"
    assert format_last_trade(E9) == "1.000"
    assert len(set(all_last_trades())) == 1002


def recorded_books(limit: int) -> Iterator[dict[str, Any]]:
    root = os.environ.get("PENSTOCK_RECORDINGS")
    if root is None:
        pytest.skip("PENSTOCK_RECORDINGS is not set: no recorded books to hash")
    paths = sorted((Path(root) / "polymarket" / "books").glob("*.jsonl.gz"))
    assert paths, f"no recorded books below {root}"
    for path in paths:
        with gzip.open(path, "rt") as lines:
            for number, line in enumerate(lines):
                # The end of a market, where ticks change, and an even sample of the rest.
                if number % limit == 0:
                    yield json.loads(line)["raw"]


def test_recorded_books_match_their_hash() -> None:
    matched = 0
    for raw in recorded_books(40):
        bids = [(level["price"], level["size"]) for level in raw["bids"]]
        asks = [(level["price"], level["size"]) for level in raw["asks"]]
        names = (raw["market"], raw["asset_id"], raw["timestamp"])
        found = None
        for tick in ("0.01", "0.001"):
            text = hash_text(*names, bids=bids, asks=asks, tick_size=tick)
            found = found or find_last_trade_price(raw["hash"], text, all_last_trades())
        assert found is not None, f"book {raw['timestamp']} of {raw['market']} does not match"
        matched += 1
    assert matched > 500
