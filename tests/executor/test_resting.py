import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, Side
from executor.resting import UNSEEN_E9, Queue, Resting

BUY, SELL = Side.BUY, Side.SELL
PERSIST = 50_000_000


@pytest.fixture
def queue(make):
    made = Queue(PERSIST)
    made.on_book(make.book(50, 52), 0)
    return made


@pytest.fixture(scope="session")
def join(make):
    def put(queue, side=BUY, cents=50, shares=10):
        order = Resting(b"1", side, cents * make.CENT, shares * E9)
        queue.join(order)
        return order

    return put


def sizes(executions):
    return [(e.order, e.qty_e9 // E9) for e in executions]


def test_what_is_displayed_at_the_price_is_ahead(queue, join):
    assert join(queue, BUY, 50).ahead_e9 == 100 * E9
    assert join(queue, BUY, 51).ahead_e9 == 0
    assert join(queue, BUY, 49).ahead_e9 == UNSEEN_E9
    assert join(queue, SELL, 52).ahead_e9 == 100 * E9


def test_a_print_eats_the_queue_before_it_fills_us(make, queue, join):
    order = join(queue)
    assert queue.on_print(make.trade(SELL, 50, 60)) == []
    assert order.ahead_e9 == 40 * E9
    assert sizes(queue.on_print(make.trade(SELL, 50, 46))) == [(order, 6)]
    assert sizes(queue.on_print(make.trade(SELL, 50, 46))) == [(order, 4)]
    assert queue.orders == []


def test_the_queue_does_not_shrink_by_cancels_but_is_capped_by_the_display(make, queue, join):
    order = join(queue)
    queue.on_book(make.book(50, 52, bid_qty=30), 1)
    assert order.ahead_e9 == 30 * E9
    queue.on_book(make.book(50, 52, bid_qty=500), 2)  # they stand behind us
    assert order.ahead_e9 == 30 * E9


def test_a_level_that_comes_into_sight_caps_the_unknown_queue(make, queue, join):
    order = join(queue, BUY, 49)
    assert queue.on_print(make.trade(SELL, 49, 1_000_000)) == []
    queue.on_book(make.book(49, 52, bid_qty=20), 1)
    assert order.ahead_e9 == 20 * E9


@pytest.mark.parametrize(
    ("side", "cents", "taker", "at", "is_hit"),
    [
        (BUY, 51, SELL, 51, True),
        (BUY, 51, SELL, 52, False),
        (BUY, 51, BUY, 51, False),
        (BUY, 51, BUY, 40, False),
        (SELL, 51, BUY, 51, True),
        (SELL, 51, BUY, 50, False),
        (SELL, 51, SELL, 51, False),
    ],
)
def test_a_print_reaches_only_the_side_it_hit(make, queue, join, side, cents, taker, at, is_hit):
    order = join(queue, side, cents)
    assert bool(queue.on_print(make.trade(taker, at, 10))) is is_hit
    assert (order.open_e9 == 0) is is_hit


def test_a_print_through_our_price_takes_us_whatever_was_ahead(make, queue, join):
    order = join(queue, BUY, 50)
    assert sizes(queue.on_print(make.trade(SELL, 49, 4))) == [(order, 4)]
    assert order.ahead_e9 == 0


def test_each_share_of_a_print_is_spent_once_best_price_first_then_oldest(make, queue, join):
    low = join(queue, BUY, 50, 10)
    old = join(queue, BUY, 51, 10)
    young = join(queue, BUY, 51, 10)
    assert sizes(queue.on_print(make.trade(SELL, 50, 15))) == [(old, 10), (young, 5)]
    assert low.ahead_e9 == 100 * E9  # nothing of the print was left for its level
    assert sizes(queue.on_print(make.trade(SELL, 50, 110))) == [(young, 5), (low, 5)]


def test_a_cross_must_last(make, queue, join):
    order = join(queue, BUY, 51)
    assert queue.on_book(make.book(49, 50), 10) == []
    assert queue.has_new_cross(10)
    assert queue.on_time(10 + PERSIST - 1) == []
    assert sizes(queue.on_time(10 + PERSIST)) == [(order, 10)]


def test_a_cross_that_ends_or_cannot_be_followed_begins_anew(make, queue, join):
    order = join(queue, BUY, 51)
    queue.on_book(make.book(49, 50), 10)
    queue.on_book(make.book(50, 52), 20)
    assert queue.on_time(10 + PERSIST) == []
    queue.on_book(make.book(49, 50), 30)
    queue.on_book(make.book(49, 50, is_trusted=False), 40)
    queue.on_book(make.book(49, 50), 50)
    assert queue.on_time(30 + PERSIST) == []
    queue.on_book(make.book(49, 50, has_gap=True), 60)
    assert queue.on_time(50 + PERSIST) == []
    assert sizes(queue.on_time(60 + PERSIST)) == [(order, 10)]


def test_a_cross_at_our_price_fills_what_is_displayed_once(make, queue, join):
    order = join(queue, BUY, 51, 10)
    queue.on_book(make.book(49, 51, ask_qty=4), 0)
    assert sizes(queue.on_time(PERSIST)) == [(order, 4)]
    assert queue.on_time(2 * PERSIST) == []
    assert sizes(queue.on_book(make.book(49, 51, ask_qty=7), 3 * PERSIST)) == [(order, 3)]
    assert queue.on_book(make.book(49, 53, ask_qty=7), 4 * PERSIST) == []
    queue.on_book(make.book(49, 51, ask_qty=7), 5 * PERSIST)
    assert sizes(queue.on_time(6 * PERSIST)) == [(order, 3)]  # new size at the price


def test_a_cross_through_our_price_fills_all(make, queue, join):
    order = join(queue, SELL, 52, 10)
    queue.on_book(make.book(53, 55, bid_qty=1), 0)
    assert sizes(queue.on_time(PERSIST)) == [(order, 10)]


def test_a_taker_gets_what_is_displayed_and_only_once(make, queue):
    first = Resting(b"1", BUY, 53 * make.CENT, 70 * E9)
    second = Resting(b"2", BUY, 53 * make.CENT, 70 * E9)
    taken = queue.take(first)
    assert (taken.qty_e9, taken.px_e9) == (70 * E9, 52 * make.CENT)
    assert queue.take(second).qty_e9 == 30 * E9
    assert queue.take(second) is None
    assert queue.take(Resting(b"3", BUY, 51 * make.CENT, E9)) is None


def test_nothing_is_taken_from_a_book_that_is_not_trusted(make, queue):
    queue.on_book(make.book(50, 52, is_trusted=False), 1)
    assert queue.take(Resting(b"1", BUY, 53 * make.CENT, E9)) is None


ORDERS = st.lists(
    st.tuples(st.sampled_from((BUY, SELL)), st.integers(45, 56), st.integers(1, 30)),
    min_size=1,
    max_size=6,
)
PRINTS = st.lists(
    st.tuples(st.sampled_from((BUY, SELL)), st.integers(40, 60), st.integers(1, 150)), max_size=20
)


@given(ORDERS, PRINTS)
def test_the_fills_of_a_print_never_exceed_it_nor_an_order(make, orders, prints):
    queue = Queue(PERSIST)
    queue.on_book(make.book(50, 52), 0)
    joined = []
    for side, cents, shares in orders:
        order = Resting(b"x", side, cents * make.CENT, shares * E9)
        queue.join(order)
        joined.append((order, shares * E9))
    filled = dict.fromkeys((id(order) for order, _ in joined), 0)
    for side, cents, shares in prints:
        made = queue.on_print(make.trade(side, cents, shares))
        assert sum(e.qty_e9 for e in made) <= shares * E9
        for execution in made:
            assert execution.qty_e9 > 0
            assert execution.px_e9 == execution.order.px_e9
            filled[id(execution.order)] += execution.qty_e9
    for order, whole in joined:
        assert filled[id(order)] + order.open_e9 == whole
        assert (order in queue.orders) == (order.open_e9 > 0)
