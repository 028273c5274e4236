import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, Side
from executor.diff import Place
from executor.ledger import Holding, reach
from executor.market import face
from executor.risk import Bucket, Denial, Exposure, RiskGate

BUY, SELL = Side.BUY, Side.SELL
SECOND = 1_000_000_000


@pytest.fixture(scope="session")
def exposure(make):
    def build(**changes):
        values = {
            "market": make.market(),
            "tick_e9": make.CENT,
            "holding": Holding(),
            "orders": (),
            "other_loss_e9": 0,
            "live_count": 0,
            "uncancelled_count": 0,
        }
        return Exposure(**values | changes)

    return build


@pytest.fixture(scope="session")
def admit(make, exposure):
    def ask(cents, shares, *, side=BUY, is_yes=True, limits=None, **changes):
        place = Place(is_yes, side, round(cents * make.CENT), round(shares * E9))
        return RiskGate(make.limits(**limits or {}), 0).admit(place, exposure(**changes), 0)

    return ask


def test_an_ordinary_order_passes(admit):
    assert admit(50, 10) is None
    assert admit(1, 5) is None
    assert admit(99, 200) is None


@pytest.mark.parametrize(
    ("cents", "shares", "changes", "denial"),
    [
        (0, 10, {}, Denial.PRICE_BOUNDS),
        (100, 10, {}, Denial.PRICE_BOUNDS),
        (-5, 10, {}, Denial.PRICE_BOUNDS),
        (10, 10, {"limits": {"px_min_e9": 110_000_000}}, Denial.PRICE_BOUNDS),
        (90, 10, {"limits": {"px_max_e9": 890_000_000}}, Denial.PRICE_BOUNDS),
        (50.5, 10, {}, Denial.OFF_GRID),
        (50, 10, {"tick_e9": 0}, Denial.TICK_UNKNOWN),
        (50, 4.99, {}, Denial.SIZE_BOUNDS),
        (50, 201, {}, Denial.SIZE_BOUNDS),
        (50, 10.001, {}, Denial.OFF_LOT),
    ],
)
def test_price_and_size_are_bounded_and_on_the_grid(admit, cents, shares, changes, denial):
    assert admit(cents, shares, **changes) is denial


def test_a_market_without_a_minimum_size_is_not_traded(admit, make):
    assert admit(50, 10, market=make.market(min_qty_e9=0)) is Denial.SIZE_BOUNDS


def test_a_finer_tick_lets_finer_prices_through(admit, make):
    assert admit(50.5, 10, tick_e9=make.CENT // 10) is None


def test_only_what_is_held_and_not_promised_can_be_sold(admit, make):
    held = Holding(yes_e9=10 * E9)
    assert admit(50, 10, side=SELL, holding=held) is None
    assert admit(50, 10.01, side=SELL, holding=held) is Denial.NOT_HELD
    assert admit(50, 10, side=SELL, is_yes=False, holding=held) is Denial.NOT_HELD
    promised = (make.order(60, 5, side=SELL),)
    assert admit(50, 6, side=SELL, holding=held, orders=promised) is Denial.NOT_HELD


def test_the_size_of_a_market_counts_what_is_open_on_the_same_side(admit, make):
    limits = {"market_qty_max_e9": 30 * E9}
    assert admit(50, 30, limits=limits) is None
    assert admit(50, 31, limits=limits) is Denial.MARKET_SIZE
    resting = (make.order(50, 25),)
    assert admit(50, 6, limits=limits, orders=resting) is Denial.MARKET_SIZE
    # The other side is not used up, and buying the complement is selling.
    assert admit(40, 30, is_yes=False, limits=limits, orders=resting) is None
    assert admit(40, 31, is_yes=False, limits=limits, orders=resting) is Denial.MARKET_SIZE


def test_beyond_a_limit_the_way_back_stays_open(admit):
    limits = {"market_qty_max_e9": 30 * E9, "market_loss_max_e9": 5 * E9}
    held = Holding(yes_e9=100 * E9, cash_e9=-50 * E9)
    assert admit(50, 10, limits=limits, holding=held) is Denial.MARKET_SIZE
    assert admit(50, 100, side=SELL, limits=limits, holding=held) is None
    assert admit(49, 100, is_yes=False, limits=limits, holding=held) is None


def test_the_loss_of_a_market_is_its_worst_case(admit, make):
    limits = {"market_loss_max_e9": 10 * E9}
    assert admit(50, 20, limits=limits) is None
    assert admit(50, 20.01, limits=limits) is Denial.MARKET_LOSS
    held = Holding(yes_e9=20 * E9, cash_e9=-10 * E9)
    assert admit(1, 5, limits=limits, holding=held) is Denial.MARKET_LOSS


def test_the_total_loss_counts_the_other_markets(admit):
    limits = {"total_loss_max_e9": 100 * E9}
    assert admit(50, 20, limits=limits, other_loss_e9=90 * E9) is None
    assert admit(50, 20, limits=limits, other_loss_e9=91 * E9) is Denial.TOTAL_LOSS


def test_orders_are_counted(admit):
    assert admit(50, 10, limits={"orders_open_max": 3}, live_count=2) is None
    assert admit(50, 10, limits={"orders_open_max": 3}, live_count=3) is Denial.ORDER_COUNT


def test_the_rate_is_a_burst_and_then_an_average(make, exposure):
    gate = RiskGate(make.limits(orders_per_s=2, orders_burst=3), 0)
    place = Place(True, BUY, 50 * make.CENT, 10 * E9)
    said = [gate.admit(place, exposure(), 0) for _ in range(4)]
    assert said == [None, None, None, Denial.ORDER_RATE]
    assert gate.admit(place, exposure(), SECOND // 2 - 1) is Denial.ORDER_RATE
    assert gate.admit(place, exposure(), SECOND // 2) is None
    assert gate.admit(place, exposure(), SECOND // 2) is Denial.ORDER_RATE


def test_an_order_that_is_denied_costs_no_rate(make, exposure):
    gate = RiskGate(make.limits(orders_burst=1), 0)
    assert gate.admit(Place(True, BUY, 0, 10 * E9), exposure(), 0) is Denial.PRICE_BOUNDS
    assert gate.admit(Place(True, BUY, make.CENT, 10 * E9), exposure(), 0) is None


def test_no_order_is_sent_that_could_not_be_cancelled_with_all_others(make, exposure):
    gate = RiskGate(make.limits(cancels_burst=3), 0)
    place = Place(True, BUY, 50 * make.CENT, 10 * E9)
    assert gate.admit(place, exposure(uncancelled_count=2), 0) is None
    assert gate.admit(place, exposure(uncancelled_count=3), 0) is Denial.CANCEL_ROOM


def test_a_bucket_never_holds_more_than_its_burst_and_a_clock_that_stands_still_fills_nothing():
    bucket = Bucket(10, 5, 0)
    assert [bucket.take(0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.level(0) == 0
    assert bucket.level(100 * SECOND) == 5
    assert bucket.level(0) == 5


STEPS = st.lists(
    st.tuples(st.sampled_from(("place", "cancel")), st.integers(0, SECOND // 10)), max_size=200
)


@given(STEPS, st.integers(1, 5), st.integers(2, 12))
def test_a_cancel_never_waits_for_the_budget(make, exposure, steps, rate, burst):
    gate = RiskGate(make.limits(cancels_per_s=rate, cancels_burst=burst), 0)
    place = Place(True, BUY, 50 * make.CENT, 10 * E9)
    now, alive = 0, 0
    for step, wait in steps:
        now += wait
        if step == "place":
            alive += gate.admit(place, exposure(uncancelled_count=alive), now) is None
        elif alive:
            assert gate.cancel(now)
            alive -= 1
    assert all(gate.cancel(now) for _ in range(alive))


ORDERS = st.lists(
    st.tuples(
        st.integers(1, 99),
        st.integers(5, 60),
        st.sampled_from((BUY, SELL)),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)


@given(ORDERS)
def test_whatever_is_admitted_and_filled_the_limits_hold(make, exposure, wishes):
    limits = make.limits(market_qty_max_e9=100 * E9, market_loss_max_e9=40 * E9)
    gate, held, orders = RiskGate(limits, 0), Holding(), []
    for number, (cents, shares, side, is_yes, is_filled) in enumerate(wishes, 1):
        place = Place(is_yes, side, cents * make.CENT, shares * E9)
        seen = exposure(holding=held, orders=tuple(orders))
        if gate.admit(place, seen, number * SECOND) is not None:
            continue
        made = make.order(cents, shares, side=side, is_yes=is_yes)
        if is_filled:
            sign = 1 if side is BUY else -1
            held.cash_e9 -= sign * made.qty_e9 * made.px_e9 // E9
            held.yes_e9 += sign * made.qty_e9 * is_yes
            held.no_e9 += sign * made.qty_e9 * (not is_yes)
            held.merge(orders)
        else:
            orders.append(made)
        found = reach(held, orders)
        assert found.net_e9 + found.buys_e9 <= limits.market_qty_max_e9
        assert found.sells_e9 - found.net_e9 <= limits.market_qty_max_e9
        assert found.loss_e9 <= limits.market_loss_max_e9
        assert face(is_yes, side, made.px_e9) == made.face
