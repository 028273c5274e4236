"""cache/md_entry.py: books that are sound or none, ages that tell the truth."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.md_entry import MDBook, MDBookError, MDCacheEntry, MDMiss, MDRefreshError
from venue.decimals import E9_MAX

MS = 1_000_000
BOOK = MDBook.of_levels([(40, 1), (39, 2), (38, 3)], [(41, 4), (42, 5)])


def entry(book=BOOK, asked_ns=1_000 * MS):
    return MDCacheEntry("S", book, asked_ns, asked_ns + 20 * MS, 1)


def test_entry_age():
    made = entry()
    assert made.age_ms(1_000 * MS) == 0
    assert made.age_ms(1_150 * MS) == 150
    assert made.age_ms(999 * MS) == -1


def test_entry_is_stale():
    made = entry()
    assert not made.is_stale(100, 1_000 * MS)
    assert not made.is_stale(100, 1_100 * MS)
    assert made.is_stale(100, 1_100 * MS + 1)
    assert made.is_stale(100, 1_000 * MS - 1), "what is from the future is not fresh"


def test_an_entry_and_its_book_cannot_be_changed():
    made = entry()
    with pytest.raises(AttributeError):
        made.asked_ns = 0
    with pytest.raises(AttributeError):
        made.book.bids = ()
    assert isinstance(made.book.bids, tuple)
    assert hash(made) == hash(entry())


@settings(deadline=None)
@given(st.permutations(range(1, 40)), st.integers(1, 38))
def test_the_best_level_comes_first_whatever_the_order_of_the_venue(prices, split):
    bids = [(px, 1) for px in prices if px <= split]
    asks = [(px, 1) for px in prices if px > split]
    book = MDBook.of_levels(bids, asks)
    assert [px for px, _ in book.bids] == list(range(split, 0, -1))
    assert [px for px, _ in book.asks] == list(range(split + 1, 40))


def test_a_side_may_be_empty():
    assert MDBook.of_levels([], []) == MDBook((), ())
    assert MDBook.of_levels([(5, 1)], []).bids == ((5, 1),)


@pytest.mark.parametrize(
    ("bids", "asks", "cause"),
    [
        ([(41, 1)], [(41, 1)], "the best bid 41 is not under the best ask 41"),
        ([(42, 1)], [(41, 1)], "the best bid 42 is not under the best ask 41"),
        ([(40, 1), (40, 2)], [], "bids: the price 40 stands twice"),
        ([], [(40, 0)], "asks: a size is 0"),
        ([], [(-1, 1)], "asks: a price is -1"),
        ([(0.4, 1)], [], "bids: a price is 0.4: it must be a whole number"),
        ([(1, float("nan"))], [], "bids: a size is nan"),
        ([(True, 1)], [], "bids: a price is True"),
        ([(1, E9_MAX + 1)], [], "bids: a size is"),
    ],
)
def test_levels_that_cannot_be_a_book_are_refused(bids, asks, cause):
    with pytest.raises(MDBookError, match=cause) as caught:
        MDBook.of_levels(bids, asks)
    assert isinstance(caught.value, MDRefreshError), "to the cache it is a failed try"
    assert isinstance(caught.value, ValueError)


def test_cutting_gives_the_best_levels_and_the_same_entry_where_there_are_no_more():
    made = entry()
    assert made.cut(3) is made
    assert made.cut(2).book == MDBook(((40, 1), (39, 2)), ((41, 4), (42, 5)))
    assert made.cut(1).asked_ns == made.asked_ns
    assert entry(book=None).cut(1).book is None


def test_every_reason_says_in_a_sentence_what_it_means():
    assert all(why.value.endswith(".") for why in MDMiss)
    assert len({why.value for why in MDMiss}) == len(MDMiss)
