import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, Outcome, Side
from executor.market import Face, crosses, face, opposite, print_of, winner_is_yes

PRICES = st.integers(1, E9 - 1)
SIDES = st.sampled_from((Side.BUY, Side.SELL))


@given(st.booleans(), SIDES, PRICES)
def test_the_face_of_a_face_is_the_order_again(is_yes, side, px):
    shown = face(is_yes, side, px)
    assert face(is_yes, shown.side, shown.px_e9) == (side, px)


def test_buying_down_shows_as_selling_up_at_the_complement():
    assert face(False, Side.BUY, 300_000_000) == Face(Side.SELL, 700_000_000)
    assert face(True, Side.BUY, 300_000_000) == Face(Side.BUY, 300_000_000)


@given(SIDES, PRICES, PRICES)
def test_what_crosses_on_one_token_crosses_on_the_other(side, px, other):
    mirrored = face(False, side, px)
    assert crosses(side, px, other) == crosses(mirrored.side, mirrored.px_e9, E9 - other)


def test_nothing_crosses_an_empty_side():
    assert not crosses(Side.BUY, E9 - 1, 0)
    assert not crosses(Side.SELL, 1, 0)


def test_equal_prices_meet():
    assert crosses(Side.BUY, 5, 5)
    assert crosses(Side.SELL, 5, 5)
    assert not crosses(Side.BUY, 4, 5)
    assert not crosses(Side.SELL, 6, 5)


def test_a_print_on_the_second_token_is_one_on_the_first(make):
    shown = print_of(1, 2, is_yes=False, side=Side.BUY, px_e9=30 * make.CENT, qty_e9=4)
    assert (shown.side, shown.px_e9, shown.qty_e9) == (Side.SELL, 70 * make.CENT, 4)
    same = print_of(1, 2, is_yes=True, side=Side.BUY, px_e9=30 * make.CENT, qty_e9=4)
    assert (same.side, same.px_e9) == (Side.BUY, 30 * make.CENT)


def test_a_book_shows_its_best_level_and_nothing_inside_the_spread(make):
    book = make.book(50, 53, bid_qty=7, ask_qty=9)
    assert book.displayed(Side.BUY, 50 * make.CENT) == 7 * E9
    assert book.displayed(Side.SELL, 53 * make.CENT) == 9 * E9
    assert book.displayed(Side.BUY, 51 * make.CENT) == 0
    assert book.displayed(Side.SELL, 52 * make.CENT) == 0


def test_a_level_deeper_than_the_book_reaches_is_unknown_not_empty(make):
    top_only = make.book(50, 53)
    assert top_only.displayed(Side.BUY, 49 * make.CENT) is None
    deep = make.book(
        50,
        53,
        bids=(50 * make.CENT, 7 * E9, 48 * make.CENT, 5 * E9),
        asks=(53 * make.CENT, 9 * E9, 55 * make.CENT, 6 * E9),
    )
    assert deep.displayed(Side.BUY, 49 * make.CENT) == 0
    assert deep.displayed(Side.BUY, 48 * make.CENT) == 5 * E9
    assert deep.displayed(Side.BUY, 47 * make.CENT) is None
    assert deep.displayed(Side.SELL, 54 * make.CENT) == 0
    assert deep.displayed(Side.SELL, 55 * make.CENT) == 6 * E9
    assert deep.displayed(Side.SELL, 56 * make.CENT) is None


def test_an_empty_side_shows_nothing_anywhere(make):
    book = make.book(0, 0)
    assert book.displayed(Side.BUY, 50 * make.CENT) == 0
    assert book.displayed(Side.SELL, 50 * make.CENT) == 0


def test_sizes_are_cut_to_the_lot(make):
    assert make.market().floor_lot(5 * E9 + make.CENT + 1) == 5 * E9 + make.CENT
    assert make.market(lot_e9=0).floor_lot(123) == 123


def test_an_unknown_outcome_has_no_winner(make):
    assert winner_is_yes(Outcome.YES)
    assert not winner_is_yes(Outcome.NO)
    with pytest.raises(ValueError, match="not known"):
        winner_is_yes(Outcome.UNKNOWN)


def test_each_side_has_an_opposite(make):
    assert opposite(Side.BUY) is Side.SELL
    assert opposite(Side.SELL) is Side.BUY
    assert make.market().token_tag(True) == make.YES
    assert make.market().token_tag(False) == make.NO
