import pytest

from feeds.book import TokenBook
from feeds.certificate import Certificate, Verdict
from feeds.polymarket_wire import Level
from venue.book_hash import book_hash

MARKET, TOKEN, TIME = "0x1", "77", "1790766981628"
CENT = 10_000_000


def a_book(last_trade, *, tick="0.01", version="", bids=(("0.4", "1"),), asks=(("0.6", "2.5"),)):
    """A book with the hash that the venue gives it."""
    made = book_hash(
        MARKET, TOKEN, TIME, bids, asks,
        tick_size=tick, last_trade_price=last_trade, version=version,
    )  # fmt: skip
    book = TokenBook(TOKEN)
    book.replace([Level(*one) for one in bids], [Level(*one) for one in asks], CENT // 10)
    book.take_hash(made, int(TIME) * 1_000_000)
    return book


@pytest.fixture
def certificate():
    return Certificate(MARKET, neg_risk=False, min_qty_e9=5_000_000_000)


def test_the_book_the_venue_hashed_matches(certificate):
    assert certificate.check(a_book(""), tick_e9=CENT, is_v2=False) is Verdict.MATCHED


def test_the_last_trade_is_found_whatever_it_was(certificate):
    for last_trade in ("0.490", "", "0.001", "1.000", "0.737"):
        book = a_book(last_trade)
        assert certificate.check(book, tick_e9=CENT, is_v2=False) is Verdict.MATCHED


def test_a_trade_of_either_token_is_tried(certificate):
    certificate.on_trade(490_000_000)
    assert certificate.check(a_book("0.510"), tick_e9=CENT, is_v2=False) is Verdict.MATCHED


def test_the_books_of_protocol_2_are_hashed_with_their_version(certificate):
    book = a_book("", version="v2")
    assert certificate.check(book, tick_e9=CENT, is_v2=False) is Verdict.UNKNOWN
    assert certificate.check(book, tick_e9=CENT, is_v2=True) is Verdict.MATCHED


def test_a_mismatch_counts_only_after_a_match(certificate):
    wrong = a_book("")
    wrong.load([Level("0.4", "2")], [Level("0.6", "2.5")], CENT)
    assert certificate.check(wrong, tick_e9=CENT, is_v2=False) is Verdict.UNKNOWN
    assert certificate.check(a_book(""), tick_e9=CENT, is_v2=False) is Verdict.MATCHED
    assert certificate.check(wrong, tick_e9=CENT, is_v2=False) is Verdict.MISMATCHED


def test_the_tick_size_is_part_of_the_hash(certificate):
    book = a_book("", tick="0.001")
    assert certificate.check(book, tick_e9=CENT // 10, is_v2=False) is Verdict.MATCHED
    assert certificate.check(book, tick_e9=CENT, is_v2=False) is Verdict.MISMATCHED


def test_without_a_hash_or_a_book_there_is_nothing_to_compare(certificate):
    book = a_book("")
    book.forget_claim()
    assert certificate.check(book, tick_e9=CENT, is_v2=False) is Verdict.UNKNOWN
    assert certificate.check(TokenBook(TOKEN), tick_e9=CENT, is_v2=False) is Verdict.UNKNOWN
