import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, OrderState, Outcome, Side
from executor.ledger import Fill, Holding, cost_e9, proceeds_e9, reach


def make_fill(number, side, cents, shares, *, is_yes=True, fee=0, rebate=0):
    return Fill(
        fill_id=number,
        order_id=b"1",
        pair_tag=1,
        token_tag=2,
        is_yes=is_yes,
        side=side,
        px_e9=cents * E9 // 100,
        qty_e9=shares,
        fee_e9=fee,
        rebate_e9=rebate,
        is_maker=not fee,
        book_version=1,
        at_ns=0,
    )


def test_amounts_that_do_not_come_out_even_are_rounded_against_us():
    assert cost_e9(1, 1) == 1
    assert proceeds_e9(1, 1) == 0
    assert cost_e9(10 * E9, E9 // 2) == proceeds_e9(10 * E9, E9 // 2) == 5 * E9


def test_a_fee_is_in_the_cash_and_a_rebate_is_not():
    held = Holding()
    held.apply(make_fill(3, Side.BUY, 50, 10 * E9, fee=175_000_000, rebate=35_000_000))
    assert held.cash_e9 == -5 * E9 - 175_000_000
    assert (held.fees_e9, held.rebates_e9) == (175_000_000, 35_000_000)
    assert (held.fill_count, held.fill_id) == (1, 3)


def test_selling_what_is_not_held_is_our_fault():
    with pytest.raises(ValueError, match="sells"):
        Holding(no_e9=E9).apply(make_fill(1, Side.SELL, 50, E9))


def test_pairs_merge_into_collateral_but_for_what_working_sales_promise(make):
    held = Holding(yes_e9=10 * E9, no_e9=8 * E9)
    sale = make.order(shares=6, side=Side.SELL)
    assert held.merge([sale]) == 4 * E9
    assert (held.yes_e9, held.no_e9, held.cash_e9) == (6 * E9, 4 * E9, 4 * E9)
    sale.state = OrderState.CANCELLED
    assert held.merge([sale]) == 4 * E9
    assert (held.yes_e9, held.no_e9, held.cash_e9) == (2 * E9, 0, 8 * E9)


def test_the_winning_token_pays_one_once():
    held = Holding(yes_e9=10 * E9, no_e9=3 * E9)
    assert held.settle(Outcome.NO) == 3 * E9
    assert (held.yes_e9, held.no_e9, held.cash_e9, held.settled) == (0, 0, 3 * E9, Outcome.NO)
    with pytest.raises(ValueError, match="already"):
        held.settle(Outcome.NO)


def test_the_worst_case_counts_only_the_orders_that_hurt(make):
    held = Holding(yes_e9=10 * E9, cash_e9=-5 * E9)
    bid, sale = make.order(40, 10), make.order(60, 10, side=Side.SELL)
    found = reach(held, [bid, sale, make.order(state=OrderState.FILLED)])
    assert (found.net_e9, found.buys_e9, found.sells_e9) == (10 * E9, 10 * E9, 10 * E9)
    assert found.if_no_e9 == -9 * E9  # the shares are worth nothing, and the bid was filled too
    assert found.if_yes_e9 == E9  # the shares were sold at 0.60 instead of paying 1
    assert found.loss_e9 == 9 * E9


def test_a_holding_that_cannot_lose_has_no_loss():
    assert reach(Holding(yes_e9=E9, no_e9=E9, cash_e9=-E9 // 2), []).loss_e9 == 0


FILLS = st.lists(
    st.tuples(
        st.sampled_from((Side.BUY, Side.SELL)),
        st.integers(1, 99),
        st.integers(1, 50 * E9),
        st.booleans(),
        st.integers(0, E9),
        st.booleans(),
    ),
    max_size=40,
)


@given(FILLS, st.sampled_from((Outcome.YES, Outcome.NO)))
def test_cash_is_conserved_over_fills_merges_and_settlement(steps, outcome):
    held, paid, yes, no, spent_fees = Holding(), 0, 0, 0, 0
    for number, (side, cents, shares, is_yes, fee, merges) in enumerate(steps, 1):
        if side is Side.SELL and shares > held.held(is_yes):
            continue
        made = make_fill(number, side, cents, shares, is_yes=is_yes, fee=fee)
        held.apply(made)
        sign = 1 if side is Side.BUY else -1
        yes, no = (yes + sign * shares, no) if is_yes else (yes, no + sign * shares)
        whole = shares * made.px_e9
        paid += -(-whole // E9) if side is Side.BUY else -(whole // E9)
        spent_fees += fee
        if merges:
            held.merge([])
            assert min(held.yes_e9, held.no_e9) == 0
        assert held.net_e9 == yes - no
    held.settle(outcome)
    assert held.cash_e9 == (yes if outcome is Outcome.YES else no) - paid - spent_fees
    assert held.fees_e9 == spent_fees


@given(
    st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 99), st.integers(1, 20)), max_size=6),
    st.integers(0, 63),
    st.integers(0, 100),
    st.integers(-100, 100),
)
def test_no_subset_of_the_open_orders_loses_more_than_the_reach_says(
    make, wishes, chosen, held_shares, cash
):
    start = Holding(yes_e9=held_shares * E9, no_e9=1000 * E9, cash_e9=cash * E9)
    orders = [
        make.order(cents, shares, side=Side.BUY, is_yes=side is Side.BUY)
        for side, cents, shares in wishes
    ]
    bound = reach(start, orders).loss_e9
    held = Holding(yes_e9=start.yes_e9, no_e9=start.no_e9, cash_e9=start.cash_e9)
    for number, order in enumerate(orders):
        if chosen >> number & 1:
            cents = order.px_e9 * 100 // E9
            held.apply(make_fill(number + 1, order.side, cents, order.qty_e9, is_yes=order.is_yes))
    worst = min(held.cash_e9 + held.yes_e9, held.cash_e9 + held.no_e9)
    assert max(0, -worst) <= bound
