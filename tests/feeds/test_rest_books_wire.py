import json

import pytest

from cache.md_entry import MDBookError, MDRefreshError
from feeds.rest_books_wire import books_question, parse_book, read_book, split_books
from venue.decimals import E9

CENT = E9 // 100


def summary(token="7", bids=(), asks=(), **more):
    """A book as REST has it, with the fields that nobody here needs."""
    return {
        "market": "0xab", "asset_id": token, "timestamp": "1790766981000", "hash": "h",
        "bids": [{"price": p, "size": s} for p, s in bids],
        "asks": [{"price": p, "size": s} for p, s in asks],
        "min_order_size": "5", "tick_size": "0.01", "neg_risk": False, "last_trade_price": "",
    } | more  # fmt: skip


def read(*books, depth=20):
    found = [parse_book(part) for part in split_books(json.dumps(books).encode())]
    return {told.asset_id: read_book(told, depth) for told in found}


def test_the_question_names_every_token_once_in_the_venues_words():
    assert json.loads(books_question(["7", "8"])) == [{"token_id": "7"}, {"token_id": "8"}]


def test_books_come_in_any_order_and_become_exact_integers_best_first():
    bids = [("0.01", "93900.09"), ("0.29", "5"), ("0.57", "11.276594")]
    asks = [("0.99", "1"), ("0.58", "100")]
    found = read(summary("8"), summary("7", bids, asks))
    assert list(found) == ["8", "7"]
    assert (found["8"].bids, found["8"].asks) == ((), ())
    book = found["7"]
    assert book.bids == (
        (57 * CENT, 11_276_594_000), (29 * CENT, 5 * E9), (CENT, 93_900_090_000_000)
    )  # fmt: skip
    assert book.asks == ((58 * CENT, 100 * E9), (99 * CENT, E9))
    assert book.venue_ts_ns == 1_790_766_981_000 * 1_000_000
    assert book.tick_e9 == CENT


def test_a_book_without_a_tick_size_has_none():
    without = {key: value for key, value in summary().items() if key != "tick_size"}
    assert read(without)["7"].tick_e9 == 0


def test_the_order_of_levels_is_not_relied_on_and_no_more_are_kept_than_wanted():
    levels = [("0.3", "1"), ("0.1", "1"), ("0.2", "1")]
    book = read(summary("7", levels, [("0.9", "1"), ("0.7", "1"), ("0.8", "1")]), depth=2)["7"]
    assert [px // CENT for px, _ in book.bids] == [30, 20]
    assert [px // CENT for px, _ in book.asks] == [70, 80]
    assert book.cut(2) is book
    cut = book.cut(1)
    assert (cut.bids, cut.asks) == (book.bids[:1], book.asks[:1])
    assert (cut.venue_ts_ns, cut.tick_e9) == (book.venue_ts_ns, CENT)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b'{"error":"no"}', b"\xff", b"[" * 100_000, b'[{"asset_id":"7"']
)
def test_what_is_no_list_is_refused_as_a_whole(body):
    with pytest.raises(MDRefreshError):
        split_books(body)


@pytest.mark.parametrize(
    "body",
    [b"[1]", b'[{"asset_id":"7"}]', b'[{"asset_id":"\xff"}]', b"[" * 900 + b"]" * 900,
     json.dumps([summary(timestamp=5)]).encode()],
)  # fmt: skip
def test_what_is_no_book_is_refused_by_itself(body):
    (part,) = split_books(body)
    with pytest.raises(MDRefreshError):
        parse_book(part)


def test_an_answer_is_taken_apart_before_any_of_its_books_is_decoded():
    good, bad = split_books(json.dumps([summary(), summary() | {"bids": 5}]).encode())
    assert parse_book(good).asset_id == "7"
    with pytest.raises(MDRefreshError):
        parse_book(bad)


@pytest.mark.parametrize(
    "book",
    [
        summary(bids=[("0.5", "1")], asks=[("0.5", "1")]),
        summary(bids=[("0.6", "1")], asks=[("0.5", "1")]),
        summary(bids=[("NaN", "1")]),
        summary(bids=[("1.5", "1")]),
        summary(asks=[("0.5", "-1")]),
        summary(timestamp="soon"),
        summary(tick_size="0.3"),
    ],
)
def test_what_cannot_be_a_book_is_refused_alone(book):
    with pytest.raises(MDBookError):
        read(book)
    assert read(summary("8"))["8"].bids == ()
