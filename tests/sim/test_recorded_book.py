"""Books kept beside a replay: what a late client is given, and the half that was not recorded."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.frames import SimFrame
from sim.recorded_book import RecordedBooks, complement, mirror_id
from sim.recordings import frames
from venue.book_hash import book_hash

MARKET, TOKEN, OTHER = "0xabc", "111", "222"


def frame(event, *tokens):
    return SimFrame(0, "pm.market", tokens or (TOKEN,), orjson.dumps(event))


def first_book(token=TOKEN, bids=(("0.4", "10"),), asks=(("0.6", "5"),), last="0.500"):
    sides = {
        "bids": [{"price": p, "size": s} for p, s in bids],
        "asks": [{"price": p, "size": s} for p, s in asks],
    }
    digest = book_hash(MARKET, token, "1", bids, asks, tick_size="0.01", last_trade_price=last)
    event = {"market": MARKET, "asset_id": token, "timestamp": "1", "hash": digest} | sides
    return event | {"tick_size": "0.01", "event_type": "book", "last_trade_price": last}


def change(price, size, side, *, timestamp="2", digest="h", token=TOKEN):
    entry = {"asset_id": token, "price": price, "size": size, "side": side, "hash": digest}
    entry |= {"best_bid": "0.4", "best_ask": "0.6"}
    found = {"market": MARKET, "price_changes": [entry], "timestamp": timestamp}
    return found | {"event_type": "price_change"}


def hash_of(book):
    """Recompute the hash of a written book from the book alone."""
    sides = [[(e["price"], e["size"]) for e in book[side]] for side in ("bids", "asks")]
    return book_hash(
        book["market"],
        book["asset_id"],
        book["timestamp"],
        *sides,
        tick_size=book["tick_size"],
        last_trade_price=book["last_trade_price"],
    )


def test_an_unknown_token_has_no_book():
    assert RecordedBooks().book(TOKEN) is None


def test_a_first_book_is_given_back_byte_for_byte():
    books, sent = RecordedBooks(), frame(first_book())
    books.apply(sent)
    assert books.book(TOKEN) == sent.payload


def test_changes_are_applied_and_the_written_book_proves_itself():
    books = RecordedBooks()
    books.apply(frame([first_book()]))
    bids, asks = [("0.4", "12"), ("0.45", "3")], []
    digest = book_hash(MARKET, TOKEN, "2", bids, asks, tick_size="0.01", last_trade_price="0.450")
    for price, size, side in (("0.45", "3", "BUY"), ("0.6", "0", "SELL"), ("0.4", "12", "BUY")):
        books.apply(frame(change(price, size, side, digest=digest)))
    book = orjson.loads(books.book(TOKEN))
    assert book["bids"] == [{"price": p, "size": s} for p, s in bids]
    assert book["asks"] == []
    assert book["last_trade_price"] == "0.450"
    assert hash_of(book) == book["hash"]


def test_where_no_last_trade_price_fits_none_is_invented():
    books = RecordedBooks()
    books.apply(frame(first_book()))
    books.apply(frame(change("0.45", "3", "BUY", digest="nonsense")))
    book = orjson.loads(books.book(TOKEN))
    assert "last_trade_price" not in book
    assert book["hash"] == "nonsense"


def test_a_later_whole_book_replaces_and_later_changes_go_on_from_it():
    books = RecordedBooks()
    books.apply(frame(first_book()))
    later = first_book(bids=(("0.3", "7"),)) | {"timestamp": "5"}
    del later["tick_size"], later["last_trade_price"]
    books.apply(frame(later))
    assert orjson.loads(books.book(TOKEN))["bids"] == [{"price": "0.3", "size": "7"}]
    books.apply(frame(change("0.31", "1", "BUY")))
    prices = [level["price"] for level in orjson.loads(books.book(TOKEN))["bids"]]
    assert prices == ["0.3", "0.31"]


@given(st.integers(1, 9999))
def test_the_complement_of_the_complement_is_the_price(number):
    price = f"0.{number:04d}".rstrip("0")
    assert complement(complement(price)) == price


def test_the_unseen_half_is_the_mirror_with_a_hash_of_its_own():
    books, sent = RecordedBooks(), frame([first_book()])
    books.apply(sent)
    mirrored = books.mirrored_frame(sent)
    assert mirrored.key == (mirror_id(TOKEN),)
    book = orjson.loads(mirrored.payload)
    assert book["bids"] == [{"price": "0.4", "size": "5"}]
    assert book["asks"] == [{"price": "0.6", "size": "10"}]
    assert hash_of(book) == book["hash"]


def test_a_change_is_mirrored_with_its_best_prices():
    books = RecordedBooks()
    books.apply(frame(first_book()))
    sent = frame(change("0.45", "3", "BUY") | {})
    books.apply(sent)
    (mirrored,) = orjson.loads(books.mirrored_frame(sent).payload)["price_changes"]
    assert (mirrored["price"], mirrored["side"], mirrored["size"]) == ("0.55", "SELL", "3")
    assert (mirrored["best_bid"], mirrored["best_ask"]) == ("0.4", "0.6")


def test_a_recording_that_holds_both_halves_is_never_mirrored():
    books = RecordedBooks()
    sent = frame([first_book(), first_book(OTHER)], TOKEN, OTHER)
    books.apply(sent)
    assert books.mirrored_frame(sent) is None
    one = frame(change("0.45", "3", "BUY"))
    books.apply(one)
    assert books.mirrored_frame(one) is None


def test_mirror_ids_are_venue_like_and_stable():
    made = mirror_id(TOKEN)
    assert made == mirror_id(TOKEN) != mirror_id(OTHER)
    assert made.isdigit()
    assert len(made) <= 78


@pytest.mark.parametrize("name", ["derived/btc-updown-5m-1776323400.price_change", "books/"])
def test_books_kept_beside_a_real_recording_prove_themselves_all_along(recordings_at, name):
    name = name if not name.endswith("/") else name + "btc-updown-5m-1776325200"
    books, checked = RecordedBooks(), 0
    for number, one in enumerate(frames(recordings_at / f"polymarket/{name}.jsonl.gz")):
        books.apply(one)
        if number % 100:
            continue
        for raw in (books.book(one.key[0]), books.mirrored_book(one.key[0])):
            book = orjson.loads(raw)
            assert hash_of(book) == book["hash"]
            checked += 1
    assert checked > 40
