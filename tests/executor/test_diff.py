import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, OrderState, Side
from executor.diff import FREEZE_NS, Mode, Place, View, Withheld, decide
from executor.ledger import Holding
from executor.orders import Provenance

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture(scope="session")
def view(make):
    def build(**changes):
        values = {
            "market": make.market(),
            "wanted": make.wanted(),
            "book": make.book(49, 53),
            "orders": (),
            "holding": Holding(),
            "mode": Mode.QUOTE,
        }
        return View(**values | changes)

    return build


def test_an_empty_desk_gets_a_bid_and_an_ask_as_a_purchase_of_the_complement(make, view):
    decision = decide(view(), 0)
    assert decision.cancels == ()
    assert decision.places == (
        Place(True, BUY, 50 * make.CENT, 10 * E9),
        Place(False, BUY, 48 * make.CENT, 10 * E9),
    )


def test_what_rests_as_wanted_is_kept(make, view):
    resting = (make.order(50, 10), make.order(48, 10, is_yes=False))
    assert decide(view(orders=resting), 0) == type(decide(view(), 0))()


def test_an_order_at_another_price_is_cancelled_and_its_side_waits(make, view):
    old = make.order(49, 10)
    decision = decide(view(orders=(old,)), 0)
    assert decision.cancels == (old,)
    assert [place.is_yes for place in decision.places] == [False]
    assert decision.withheld == (Withheld.CANCEL_ON_ITS_WAY,)


@pytest.mark.parametrize("state", [OrderState.CANCELLING, OrderState.UNKNOWN])
def test_while_an_order_may_still_trade_its_side_places_nothing(make, view, state):
    decision = decide(view(orders=(make.order(50, 2, state=state),)), 0)
    assert decision.cancels == ()
    assert [place.is_yes for place in decision.places] == [False]
    assert decision.withheld == (Withheld.CANCEL_ON_ITS_WAY,)


def test_an_order_in_flight_counts_as_wanted_exposure(make, view):
    resting = (make.order(50, 10, state=OrderState.PENDING),)
    assert [place.is_yes for place in decide(view(orders=resting), 0).places] == [False]


def test_a_part_filled_order_is_topped_up_only_by_a_whole_order(make, view):
    part = make.order(50, 10, filled_e9=4 * E9)
    decision = decide(view(orders=(part,)), 0)
    assert [place.is_yes for place in decision.places] == [False]
    assert Withheld.BELOW_MINIMUM in decision.withheld
    part.filled_e9 = 5 * E9
    assert decide(view(orders=(part,)), 0).places[0] == Place(True, BUY, 50 * make.CENT, 5 * E9)


def test_of_two_orders_beyond_the_wanted_size_the_older_stays(make, view):
    old, young = make.order(50, 8), make.order(50, 6, created_ns=5)
    assert decide(view(orders=(young, old)), 0).cancels == (young,)


def test_a_smaller_wish_cancels_what_is_too_large(make, view):
    large = make.order(50, 10)
    decision = decide(view(orders=(large,), wanted=make.wanted(bid_qty=9)), 0)
    assert decision.cancels == (large,)


@pytest.mark.parametrize(
    "changes",
    [
        {"wanted": None},
        {"mode": Mode.CANCEL},
        {"mode": Mode.CANCEL, "book": None},
    ],
)
def test_no_wish_or_no_trust_cancels_all_and_places_nothing(make, view, changes):
    resting = (make.order(50, 10), make.order(48, 10, is_yes=False, state=OrderState.PENDING))
    decision = decide(view(orders=resting, **changes), 0)
    assert decision.cancels == resting
    assert decision.places == ()


def test_expired_quotes_cancel_all_at_the_very_nanosecond(make, view):
    resting = (make.order(50, 10),)
    until = make.wanted().valid_until_ns
    assert decide(view(orders=resting), until - 1).cancels == ()
    assert decide(view(orders=resting), until).cancels == resting


def test_an_expired_keep_is_expired(make, view):
    resting = (make.order(50, 10),)
    wanted = make.wanted(keep=True)
    assert decide(view(orders=resting, wanted=wanted), wanted.valid_until_ns).cancels == resting


@pytest.mark.parametrize(
    ("bid", "ask", "changes"),
    [
        (52, 52, {}),
        (53, 52, {}),
        (0, 52, {}),
        (50, 100, {}),
        (50, 52, {"bid_qty_e9": -1}),
        (50, 52, {"ask_qty_e9": -1}),
    ],
)
def test_quotes_that_make_no_sense_cancel_all(make, view, bid, ask, changes):
    resting = (make.order(50, 10),)
    decision = decide(view(orders=resting, wanted=make.wanted(bid, ask, **changes)), 0)
    assert decision.cancels == resting
    assert decision.places == ()


@pytest.mark.parametrize("changes", [{"mode": Mode.KEEP}, {"wanted": "keep"}])
def test_keep_leaves_even_the_wrong_price_and_places_nothing(make, view, changes):
    if "wanted" in changes:
        changes = {"wanted": make.wanted(keep=True)}
    decision = decide(view(orders=(make.order(45, 10),), **changes), 0)
    assert decision.cancels == ()
    assert decision.places == ()
    assert decision.withheld == (Withheld.KEEP,)


def test_a_wish_for_one_side_alone_cancels_the_other(make, view):
    ask = make.order(48, 10, is_yes=False)
    decision = decide(view(orders=(ask,), wanted=make.wanted(ask_qty=0)), 0)
    assert decision.cancels == (ask,)
    assert [place.is_yes for place in decision.places] == [True]


@pytest.mark.parametrize(("bid", "ask"), [(47, 50), (47, 49)])
def test_a_bid_that_meets_the_book_is_not_placed(make, view, bid, ask):
    decision = decide(view(book=make.book(bid, ask), wanted=make.wanted(ask_qty=0)), 0)
    assert decision.places == ()
    assert decision.withheld == (Withheld.CROSSES_BOOK,)


@pytest.mark.parametrize("bid", [52, 53])
def test_an_ask_that_meets_the_book_is_not_placed(make, view, bid):
    decision = decide(view(book=make.book(bid, 60), wanted=make.wanted(bid_qty=0)), 0)
    assert decision.withheld == (Withheld.CROSSES_BOOK,)


def test_an_empty_book_meets_nothing(make, view):
    assert len(decide(view(book=make.book(0, 0)), 0).places) == 2


def test_a_bid_waits_for_our_own_ask_to_leave(make, view):
    ask = make.order(50, 10, is_yes=False, state=OrderState.CANCELLING)
    decision = decide(view(orders=(ask,), wanted=make.wanted(50, 55)), 0)
    assert decision.places == ()
    assert decision.withheld == (Withheld.CROSSES_OWN,)


def test_after_a_fill_nothing_is_placed_on_quotes_that_do_not_know_it(make, view):
    seen = 500 * make.MS
    blind = make.wanted(provenance=Provenance(decided_ns=seen + FREEZE_NS))
    decision = decide(view(wanted=blind, fill_seen_ns=seen), 0)
    assert decision.places == ()
    assert set(decision.withheld) == {Withheld.UNSEEN_FILL}
    aware = make.wanted(provenance=Provenance(decided_ns=seen + FREEZE_NS + 1))
    assert len(decide(view(wanted=aware, fill_seen_ns=seen), 0).places) == 2


def test_an_ask_sells_what_is_held_and_buys_the_complement_for_the_rest(make, view):
    decision = decide(view(holding=Holding(yes_e9=7 * E9), wanted=make.wanted(qty=20)), 0)
    assert decision.places[1:] == (
        Place(True, SELL, 52 * make.CENT, 7 * E9),
        Place(False, BUY, 48 * make.CENT, 13 * E9),
    )


def test_a_bid_sells_the_complement_where_it_is_held(make, view):
    decision = decide(view(holding=Holding(no_e9=30 * E9)), 0)
    assert decision.places[0] == Place(False, SELL, 50 * make.CENT, 10 * E9)


def test_shares_that_a_working_sale_promises_are_not_sold_again(make, view):
    sale = make.order(52, 6, side=SELL)
    held = Holding(yes_e9=6 * E9)
    decision = decide(view(orders=(sale,), holding=held, wanted=make.wanted(qty=12)), 0)
    assert decision.places[1:] == (Place(False, BUY, 48 * make.CENT, 6 * E9),)


@pytest.mark.parametrize(
    ("qty", "held", "sold", "bought"),
    [
        (10, 0, 0, 10),
        (10, 10, 10, 0),
        (10, 30, 10, 0),
        (10, 3, 0, 10),  # too little to sell
        (10, 5, 5, 5),
        (10, 7, 5, 5),  # the sale gives the purchase what it lacks
        (7, 6, 6, 0),  # cannot be shared: the sale alone
        (7, 3, 0, 7),
        (4, 10, 0, 0),
    ],
)
def test_part_inventory_is_split_so_that_both_orders_reach_the_minimum(
    make, view, qty, held, sold, bought
):
    wanted = make.wanted(ask_qty=qty, bid_qty=0)
    places = decide(view(holding=Holding(yes_e9=held * E9), wanted=wanted), 0).places
    assert sum(p.qty_e9 for p in places if p.side is SELL) == sold * E9
    assert sum(p.qty_e9 for p in places if p.side is BUY) == bought * E9


def test_sizes_come_on_the_lot(make, view):
    wanted = make.wanted(ask_qty=0, bid_qty_e9=10 * E9 + 12_345)
    assert decide(view(wanted=wanted), 0).places[0].qty_e9 == 10 * E9


CENTS = st.integers(1, 99)
STATES = st.sampled_from(
    (OrderState.PENDING, OrderState.WORKING, OrderState.CANCELLING, OrderState.UNKNOWN)
)


@given(
    st.lists(
        st.tuples(CENTS, st.integers(5, 20), st.sampled_from((BUY, SELL)), st.booleans(), STATES),
        max_size=6,
    ),
    st.tuples(CENTS, CENTS),
    st.tuples(st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.sampled_from(Mode),
    st.tuples(CENTS, CENTS),
)
def test_no_side_ever_has_more_alive_than_is_wanted_because_of_a_placing(
    make, view, resting, prices, sizes, held, mode, top
):
    orders = tuple(
        make.order(cents, shares, side=side, is_yes=is_yes, state=state, created_ns=n)
        for n, (cents, shares, side, is_yes, state) in enumerate(resting)
    )
    wanted = make.wanted(*prices, bid_qty=sizes[0], ask_qty=sizes[1])
    holding = Holding(yes_e9=held[0] * E9, no_e9=held[1] * E9)
    book = make.book(min(top), max(top) + 1)
    seen = view(orders=orders, wanted=wanted, holding=holding, mode=mode, book=book)
    decision = decide(seen, 0)
    assert all(
        order.state in (OrderState.PENDING, OrderState.WORKING) for order in decision.cancels
    )
    if mode is not Mode.QUOTE or not wanted.is_sane:
        assert decision.places == ()
    for side in (BUY, SELL):
        placed = [p for p in decision.places if (p.side is side) == p.is_yes]
        alive = sum(o.open_e9 for o in orders if o.face.side is side)
        if placed:
            assert alive + sum(p.qty_e9 for p in placed) <= wanted.side(side)[1]
            assert not any(o.face.side is side for o in decision.cancels)
        for place in placed:
            assert place.qty_e9 >= seen.market.min_qty_e9
            px = place.px_e9 if place.is_yes else E9 - place.px_e9
            assert px == wanted.side(side)[0]
            assert px < book.ask_px_e9 if side is BUY else px > book.bid_px_e9
    for is_yes in (True, False):
        promised = sum(o.open_e9 for o in orders if o.side is SELL and o.is_yes is is_yes)
        sold = sum(p.qty_e9 for p in decision.places if p.side is SELL and p.is_yes is is_yes)
        assert not sold or promised + sold <= holding.held(is_yes)
