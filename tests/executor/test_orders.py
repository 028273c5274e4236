import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import OrderState
from executor import orders
from executor.orders import LIVE, TRANSITIONS, IllegalEvent, OrderEvent, advance, draw, fill

ENDS = {OrderState.FILLED, OrderState.REJECTED, OrderState.DENIED}


def test_the_docstring_shows_the_table():
    text = " ".join(orders.__doc__.split())
    for line in draw():
        assert " ".join(line.split()) in text


def test_every_state_but_none_can_be_reached_and_every_state_stands_in_the_table():
    reached = {target for row in TRANSITIONS.values() for target in row.values()}
    assert reached == set(OrderState) - {OrderState.NONE}
    assert set(TRANSITIONS) == set(OrderState)


def test_every_live_state_takes_a_fill_and_a_loss_of_contact_is_never_an_end():
    for state in LIVE:
        assert TRANSITIONS[state][OrderEvent.FILL] in LIVE
        assert TRANSITIONS[state][OrderEvent.FILL_ALL] is OrderState.FILLED
        assert TRANSITIONS[state].get(OrderEvent.LOSE, OrderState.UNKNOWN) is OrderState.UNKNOWN


def test_every_live_state_has_a_way_out():
    for state in LIVE:
        assert any(target not in LIVE for target in TRANSITIONS[state].values())


def test_what_has_ended_stays_ended_but_for_late_fills_of_a_cancelled_order():
    for state in ENDS:
        assert TRANSITIONS[state] == {}
    assert set(TRANSITIONS[OrderState.CANCELLED]) == {OrderEvent.FILL, OrderEvent.FILL_ALL}


def test_a_cancel_may_be_asked_for_before_the_order_is_acknowledged(make):
    order = make.order(state=OrderState.PENDING)
    advance(order, OrderEvent.CANCEL)
    advance(order, OrderEvent.ACCEPT)
    assert order.state is OrderState.CANCELLING
    advance(order, OrderEvent.CANCELLED)
    assert order.state is OrderState.CANCELLED


def test_an_event_the_table_does_not_know_changes_nothing(make):
    order = make.order(state=OrderState.FILLED)
    with pytest.raises(IllegalEvent, match="FILLED"):
        advance(order, OrderEvent.CANCEL)
    assert order.state is OrderState.FILLED


@pytest.mark.parametrize("qty", [0, -1, 11_000_000_000])
def test_a_fill_of_nothing_or_of_more_than_is_left_is_refused(make, qty):
    order = make.order(shares=10)
    with pytest.raises(IllegalEvent):
        fill(order, qty)
    assert order.filled_e9 == 0
    assert order.state is OrderState.WORKING


def test_the_last_fill_ends_the_order(make):
    order = make.order(shares=10)
    fill(order, 4_000_000_000)
    assert (order.state, order.open_e9) == (OrderState.WORKING, 6_000_000_000)
    fill(order, 6_000_000_000)
    assert (order.state, order.open_e9) == (OrderState.FILLED, 0)


def test_a_late_fill_of_a_cancelled_order_still_counts(make):
    order = make.order(shares=10, state=OrderState.CANCELLED)
    fill(order, 4_000_000_000)
    assert (order.state, order.filled_e9) == (OrderState.CANCELLED, 4_000_000_000)


@given(st.lists(st.tuples(st.sampled_from(OrderEvent), st.integers(1, 12)), max_size=30))
def test_no_sequence_of_events_overfills_an_order_or_revives_it(make, events):
    order = make.order(shares=10, state=OrderState.NONE)
    ended = None
    for event, shares in events:
        try:
            if event in (OrderEvent.FILL, OrderEvent.FILL_ALL):
                fill(order, shares * 1_000_000_000)
            else:
                advance(order, event)
        except IllegalEvent:
            continue
        assert 0 <= order.filled_e9 <= order.qty_e9
        assert (order.filled_e9 == order.qty_e9) == (order.state is OrderState.FILLED)
        assert ended is None or order.state not in LIVE
        ended = None if order.is_live else order.state
