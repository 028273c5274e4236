"""The book that is kept once and shown twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.mirror_book import NO_ASK, NO_BID, PX_TEXT, Change, Fill, MirrorBook, hash_of, qty_text
from venue.book_hash import book_hash
from venue.decimals import E9, format_e9, parse_e9

LEVELS = st.dictionaries(st.integers(1, 999), st.integers(1, 5_000_000), max_size=30)


def book_of(bids, asks):
    book = MirrorBook()
    for px, qty in bids.items():
        book.apply(Change(True, px, qty))
    for px, qty in asks.items():
        book.apply(Change(False, px, qty))
    return book


def test_numbers_are_written_without_padding():
    assert (PX_TEXT[500], PX_TEXT[10], PX_TEXT[638], PX_TEXT[0], PX_TEXT[1000]) == (
        *("0.5", "0.01", "0.638"),
        *("0", "1"),
    )
    assert [qty_text(qty) for qty in (7_100, 1_078_880, 5, 0)] == ["71", "10788.8", "0.05", "0"]


@given(st.integers(0, 10**9))
def test_sizes_are_canonical_decimals(qty):
    assert format_e9(qty * (E9 // 100)) == qty_text(qty)


@given(LEVELS, LEVELS)
def test_each_token_shows_the_mirror_of_the_other_best_last(bids, asks):
    up, down = book_of(bids, asks).show()
    for one, other in ((up, down), (down, up)):
        mirrored = [(format_e9(E9 - parse_e9(px)), qty) for px, qty in one.asks]
        assert list(other.bids) == mirrored
        prices = [parse_e9(px) for px, _ in one.bids]
        assert prices == sorted(prices)
        prices = [parse_e9(px) for px, _ in one.asks]
        assert prices == sorted(prices, reverse=True)
    assert {px: qty for px, qty in up.bids} == {PX_TEXT[p]: qty_text(q) for p, q in bids.items()}


def test_an_empty_side_has_the_venues_best_prices():
    book = MirrorBook()
    assert (book.best_bid(), book.best_ask()) == (NO_BID, NO_ASK)
    book.apply(Change(True, 400, 100))
    book.apply(Change(True, 400, 0))
    book.apply(Change(True, 300, 0))
    assert book.bids == {}


def test_a_taker_gets_the_best_levels_up_to_size_and_limit():
    book = book_of({500: 300, 490: 1000, 480: 50}, {510: 200})
    assert book.take(is_buy=False, qty=500, limit=490) == [Fill(500, 300, 0), Fill(490, 200, 800)]
    assert book.take(is_buy=False, qty=9999, limit=490) == [Fill(500, 300, 0), Fill(490, 1000, 0)]
    assert book.take(is_buy=True, qty=50, limit=505) == []
    assert book.take(is_buy=True, qty=50, limit=510) == [Fill(510, 50, 150)]
    assert book.bids[500] == 300


def test_the_hash_is_the_venues():
    up, _ = book_of({500: 300}, {510: 200}).show()
    own = hash_of(up, "0xa", "12", timestamp="17", tick_size="0.01", last_trade="0.500")
    assert own == book_hash(
        "0xa",
        "12",
        "17",
        [("0.5", "3")],
        [("0.51", "2")],
        tick_size="0.01",
        last_trade_price="0.500",
    )
