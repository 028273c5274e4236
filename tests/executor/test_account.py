import itertools
import random
from types import SimpleNamespace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cache.counters import Counter, Histogram
from cache.layout import E9, OrderState, Outcome, Side
from executor.account import CLOSED_MAX, Account, Desk
from executor.diff import Mode
from executor.gateway import Report
from executor.ledger import Holding, reach
from executor.orders import OrderEvent, Provenance
from executor.paper import Latency, PaperGateway, PaperParams
from executor.risk import RiskGate

BUY, SELL = Side.BUY, Side.SELL
OTHER = 98


class Wire:
    """A gateway that remembers what was sent and reports what it is told to."""

    def __init__(self):
        self.placed = []
        self.cancelled = []
        self.told = []

    def place(self, order, market, now_ns):
        self.placed.append(order)

    def cancel(self, order, now_ns):
        self.cancelled.append(order)

    def poll(self, now_ns):
        told, self.told = self.told, []
        return told

    def tell(self, event, order, shares=0.0, **changes):
        qty_e9 = int(shares * E9)
        self.told.append(
            Report(event, order.order_id, 0, qty_e9=qty_e9, px_e9=order.px_e9, **changes)
        )


def build(make, gateway, **limits):
    tally = make.tally()
    numbers = itertools.count(1)
    account = Account(
        gateway,
        RiskGate(make.limits(**limits), 0),
        tally,
        next_id=lambda: str(next(numbers)).encode(),
    )
    desk = Desk(make.market(), book=make.book(49, 53), mode=Mode.QUOTE)
    account.desks[make.PAIR] = desk
    return SimpleNamespace(account=account, desk=desk, wire=gateway, tally=tally)


@pytest.fixture
def desk_of(make):
    return lambda **limits: build(make, Wire(), **limits)


def run(bench, now_ns=0):
    return list(bench.account.reports(now_ns))


def test_quotes_become_orders_that_name_what_they_rest_on(make, desk_of):
    bench = desk_of()
    wanted = make.wanted(provenance=Provenance(make.MAKER, quoted_ns=1_000, cause_ns=500))
    assert bench.account.offer(bench.desk, wanted, 0)
    assert bench.account.decide(bench.desk, 3_000) == 2
    bid, ask = bench.wire.placed
    assert (bid.token_tag, bid.side, bid.px_e9) == (make.YES, BUY, 50 * make.CENT)
    assert (ask.token_tag, ask.side, ask.px_e9) == (make.NO, BUY, 48 * make.CENT)
    assert bid.state is OrderState.PENDING
    assert bid.provenance == wanted.provenance
    assert bench.account.changed_orders == [bid, ask]
    assert bench.tally[Counter.executor_orders_placed] == 2
    assert bench.tally.latencies[Histogram.quote_to_order_ns] == [2_000]
    assert bench.tally.latencies[Histogram.wire_to_order_ns] == [2_500]


def test_deciding_again_changes_nothing(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(), 0)
    bench.account.decide(bench.desk, 0)
    assert bench.account.decide(bench.desk, 0) == 0
    assert len(bench.wire.placed) == 2


def test_an_order_of_quotes_acted_on_before_was_not_caused_by_their_input(make, desk_of):
    bench = desk_of()
    wanted = make.wanted(50, 54, provenance=Provenance(make.MAKER, quotes_version=7, cause_ns=500))
    bench.desk.book = make.book(49, 50)  # The bid has to wait for the book.
    bench.account.offer(bench.desk, wanted, 0)
    assert bench.account.decide(bench.desk, 1_000) == 1
    bench.desk.book = make.book(49, 53)
    assert bench.account.decide(bench.desk, 9_000_000) == 1
    first, second = bench.wire.placed
    assert first.provenance == wanted.provenance
    assert (second.provenance.quotes_version, second.provenance.cause_ns) == (7, 0)


def test_a_second_strategy_is_refused_until_the_first_is_gone(make, desk_of):
    bench = desk_of()
    first = make.wanted()
    second = make.wanted(51, 55, provenance=first.provenance.__class__(OTHER))
    assert bench.account.offer(bench.desk, first, 0)
    bench.account.decide(bench.desk, 0)
    assert not bench.account.offer(bench.desk, second, 0)
    assert bench.tally[Counter.executor_strategy_refused] == 1
    assert bench.desk.wanted is first
    # Its quotes have expired, but its orders still live.
    late = first.valid_until_ns
    assert not bench.account.offer(bench.desk, second, late)
    bench.account.decide(bench.desk, late)
    for order in bench.wire.placed:
        bench.wire.tell(OrderEvent.CANCELLED, order)
    run(bench)
    assert bench.account.offer(bench.desk, second, late)
    assert bench.desk.owner == OTHER


def test_a_strategy_that_wants_nothing_owns_nothing_and_is_not_refused(make, desk_of):
    bench = desk_of()
    idle = make.wanted(qty=0, provenance=make.wanted().provenance.__class__(OTHER))
    assert bench.account.offer(bench.desk, idle, 0)
    assert bench.desk.owner == 0
    bench.account.offer(bench.desk, make.wanted(), 0)
    assert bench.account.offer(bench.desk, idle, 0)
    assert bench.desk.owner == make.MAKER
    assert bench.tally[Counter.executor_strategy_refused] == 0


def test_a_strategy_that_is_gone_has_its_orders_cancelled(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(), 0)
    bench.account.decide(bench.desk, 0)
    assert bench.account.withdraw(OTHER) == 0
    assert bench.account.withdraw(make.MAKER) == 1
    assert bench.account.decide(bench.desk, 0) == 2
    assert bench.wire.cancelled == bench.wire.placed
    assert bench.account.decide(bench.desk, 0) == 0


def test_a_market_that_is_not_to_be_trusted_is_cancelled_and_counted(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(), 0)
    bench.account.decide(bench.desk, 0)
    bench.desk.mode = Mode.CANCEL
    bench.account.decide(bench.desk, 0)
    assert [order.state for order in bench.wire.placed] == [OrderState.CANCELLING] * 2
    assert bench.tally[Counter.executor_cancels_forced] == 2
    assert bench.tally[Counter.executor_orders_cancelled] == 2


def test_expired_quotes_are_forgotten_once_their_orders_are_gone(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(), 0)
    bench.account.decide(bench.desk, 0)
    late = bench.desk.wanted.valid_until_ns
    bench.account.decide(bench.desk, late)
    assert bench.desk.is_active
    for order in bench.wire.cancelled:
        bench.wire.tell(OrderEvent.CANCELLED, order)
    run(bench)
    bench.account.decide(bench.desk, late)
    assert not bench.desk.is_active


def test_a_denied_order_is_told_once_with_its_reason_and_counted_each_time(make, desk_of):
    bench = desk_of(order_qty_max_e9=5 * E9)
    bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
    assert bench.account.decide(bench.desk, 0) == 0
    assert bench.account.decide(bench.desk, 0) == 0
    assert bench.wire.placed == []
    (told,) = bench.account.changed_orders
    assert (told.state, told.reason) == (OrderState.DENIED, "size_bounds")
    assert bench.tally[Counter.executor_orders_denied] == 2
    assert bench.account.live_count == 0


def test_a_fill_moves_the_holding_and_names_its_order(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
    bench.account.decide(bench.desk, 0)
    (bid,) = bench.wire.placed
    bench.wire.tell(OrderEvent.ACCEPT, bid)
    bench.wire.tell(OrderEvent.FILL, bid, 4, rebate_e9=3)
    (_, nothing), (desk, made) = run(bench)
    assert nothing is None
    assert desk is bench.desk
    assert (made.fill_id, made.order_id, made.qty_e9) == (1, bid.order_id, 4 * E9)
    assert (desk.holding.yes_e9, desk.holding.cash_e9) == (4 * E9, -2 * E9)
    assert (desk.holding.rebates_e9, desk.holding.fill_id) == (3, 1)
    assert bid.open_e9 == 6 * E9
    assert desk.in_flight_e9 == 0


def test_orders_on_their_way_and_being_cancelled_are_in_flight(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(), 0)
    bench.account.decide(bench.desk, 0)
    assert bench.desk.in_flight_e9 == 20 * E9
    bench.wire.tell(OrderEvent.ACCEPT, bench.wire.placed[0])
    bench.wire.tell(OrderEvent.LOSE, bench.wire.placed[1])
    run(bench)
    assert bench.desk.in_flight_e9 == 10 * E9
    assert bench.tally[Counter.executor_orders_unknown] == 1
    assert bench.account.live_count == 2


def test_pairs_merge_as_soon_as_nothing_promises_them(make, desk_of):
    bench = desk_of()
    bench.desk.holding.yes_e9 = 10 * E9
    bench.account.offer(bench.desk, make.wanted(bid_qty=0, ask_qty=20), 0)
    bench.account.decide(bench.desk, 0)
    sale, purchase = bench.wire.placed
    bench.wire.tell(OrderEvent.FILL_ALL, purchase, 10)
    run(bench)
    assert (bench.desk.holding.yes_e9, bench.desk.holding.no_e9) == (10 * E9, 10 * E9)
    bench.wire.tell(OrderEvent.CANCELLED, sale)
    run(bench)
    assert bench.desk.holding.is_flat
    assert bench.desk.holding.cash_e9 == 10 * E9 - 48 * E9 // 10


@pytest.mark.parametrize(
    "report",
    [
        Report(OrderEvent.ACCEPT, b"nobody", 0),
        Report(OrderEvent.DENY, b"1", 0),
        Report(OrderEvent.FILL, b"1", 0, qty_e9=11 * E9),
    ],
)
def test_a_report_that_fits_no_order_is_counted_and_changes_nothing(make, desk_of, report):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(), 0)
    bench.account.decide(bench.desk, 0)
    bench.wire.told.append(report)
    assert run(bench) == []
    assert bench.tally[Counter.executor_reports_unmatched] == 1
    assert bench.desk.holding == Holding()


def test_a_fill_reported_after_the_cancel_still_counts(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
    bench.account.decide(bench.desk, 0)
    (bid,) = bench.wire.placed
    bench.wire.tell(OrderEvent.CANCELLED, bid)
    bench.wire.tell(OrderEvent.FILL, bid, 4)
    run(bench)
    assert bench.desk.orders == {}
    assert bench.desk.holding.yes_e9 == 4 * E9


def test_a_rejected_order_is_counted_with_the_venues_reason(make, desk_of):
    bench = desk_of()
    bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
    bench.account.decide(bench.desk, 0)
    bench.wire.tell(OrderEvent.REJECT, bench.wire.placed[0], reason="post-only")
    run(bench)
    assert bench.wire.placed[0].reason == "post-only"
    assert bench.tally[Counter.executor_orders_rejected] == 1


def test_a_market_is_paid_out_once_and_only_when_nothing_lives(make, desk_of):
    bench = desk_of()
    bench.desk.holding.yes_e9 = 10 * E9
    bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
    bench.account.decide(bench.desk, 0)
    assert not bench.account.settle(bench.desk)
    bench.desk.outcome = Outcome.YES
    assert not bench.account.settle(bench.desk)
    bench.wire.tell(OrderEvent.CANCELLED, bench.wire.placed[0])
    run(bench)
    assert bench.account.settle(bench.desk)
    assert not bench.account.settle(bench.desk)
    assert (bench.desk.holding.cash_e9, bench.desk.holding.settled) == (10 * E9, Outcome.YES)
    assert bench.desk.wanted is None


def test_the_loss_limit_counts_all_markets_that_are_not_settled(make, desk_of):
    bench = desk_of(total_loss_max_e9=10 * E9)
    lost = Holding(yes_e9=8 * E9, cash_e9=-6 * E9)
    other = bench.account.desks[5] = Desk(make.market(tag=5), holding=lost)
    bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
    assert bench.account.decide(bench.desk, 0) == 0
    other.holding.settle(Outcome.NO)
    assert bench.account.decide(bench.desk, 0) == 1


def test_ended_orders_are_forgotten_in_the_end(make, desk_of):
    bench = desk_of(orders_burst=10**6, cancels_burst=10**6)
    for _ in range(CLOSED_MAX + 5):
        bench.account.offer(bench.desk, make.wanted(ask_qty=0), 0)
        bench.account.decide(bench.desk, 0)
        bench.wire.tell(OrderEvent.REJECT, bench.wire.placed[-1])
        run(bench)
    bench.wire.tell(OrderEvent.FILL, bench.wire.placed[0], 1)
    run(bench)
    assert bench.tally[Counter.executor_reports_unmatched] == 1
    assert len(bench.account._order_desk) == CLOSED_MAX


class Life:
    """An account over a walking book, with random quotes, prints, doubts and pauses."""

    def __init__(self, make, seed, *, books_move):
        self.make, self.random = make, random.Random(seed)
        self.paper = PaperGateway(
            PaperParams(
                seed=seed,
                place=Latency(20 * make.MS, 60 * make.MS),
                cancel=Latency(20 * make.MS, 60 * make.MS),
                evidence_delay_ns=30 * make.MS,
                persist_ns=20 * make.MS,
            )
        )
        bench = build(make, self.paper, market_qty_max_e9=60 * E9, market_loss_max_e9=25 * E9)
        self.account, self.desk, self.tally = bench.account, bench.desk, bench.tally
        self.books_move = books_move
        self.mid, self.now, self.printed, self.fills = 50, 0, 0, []
        self.show(is_trusted=True)

    def show(self, *, is_trusted):
        qty = self.random.randint(1, 20)
        book = self.make.book(
            self.mid - 1, self.mid + 1, bid_qty=qty, ask_qty=qty, at_ms=self.now,
            is_trusted=is_trusted,
        )  # fmt: skip
        self.paper.on_book(book)
        self.desk.book, self.desk.mode = book, Mode.QUOTE if is_trusted else Mode.CANCEL

    def step(self):
        pick, make = self.random, self.make
        self.now += pick.randint(1, 40)
        what = pick.random()
        if what < 0.4:
            wanted = make.wanted(
                self.mid - pick.randint(0, 3), self.mid + pick.randint(0, 3),
                bid_qty=pick.randint(0, 40), ask_qty=pick.randint(0, 40), at_ms=self.now,
            )  # fmt: skip
            self.account.offer(self.desk, wanted, self.now * make.MS)
        elif what < 0.7:
            shares, side = pick.randint(1, 60), pick.choice((BUY, SELL))
            self.printed += shares * E9
            cents = self.mid + pick.randint(-3, 3)
            self.paper.on_print(make.trade(side, cents, shares, at_ms=self.now))
        elif what < 0.98:
            if self.books_move:
                self.mid = max(10, min(90, self.mid + pick.randint(-2, 2)))
            self.show(is_trusted=pick.random() < 0.95)
        else:
            self.now += 1000
        self.turn()

    def turn(self):
        account, desk, at_ns = self.account, self.desk, self.now * self.make.MS
        for _, made in account.reports(at_ns):
            if made is not None:
                self.fills.append(made)
                desk.fill_seen_ns = at_ns
        account.decide(desk, at_ns)
        found = reach(desk.holding, desk.orders.values())
        assert found.net_e9 + found.buys_e9 <= 60 * E9
        assert found.sells_e9 - found.net_e9 <= 60 * E9
        assert found.loss_e9 <= 25 * E9
        for side in (BUY, SELL):
            assert sum(o.open_e9 for o in desk.orders.values() if o.face.side is side) <= 40 * E9
        assert min(desk.holding.yes_e9, desk.holding.no_e9) >= 0

    def end(self, outcome):
        self.account.withdraw(self.make.MAKER)
        self.paper.close_market(self.make.PAIR, (self.now + 1) * self.make.MS)
        for _ in range(5):
            self.now += 1000
            self.turn()
        self.desk.outcome = outcome
        assert self.account.settle(self.desk)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((Outcome.YES, Outcome.NO)), st.booleans())
def test_over_any_life_limits_hold_and_money_is_conserved(make, seed, outcome, books_move):
    life = Life(make, seed, books_move=books_move)
    for _ in range(300):
        life.step()
    life.end(outcome)
    assert life.desk.orders == {}
    assert life.paper.next_due_ns is None
    if not books_move:  # Then nothing but prints can have filled us.
        assert sum(made.qty_e9 for made in life.fills) <= life.printed
    token, cash = {True: 0, False: 0}, 0
    for made in life.fills:
        sign = 1 if made.side is BUY else -1
        token[made.is_yes] += sign * made.qty_e9
        whole = made.qty_e9 * made.px_e9
        cash -= -(-whole // E9) if sign > 0 else -(whole // E9)
    assert life.desk.holding.cash_e9 == cash + token[outcome is Outcome.YES]
    assert life.desk.holding.fill_count == len(life.fills) == life.account.fill_id
    assert life.tally[Counter.executor_cancels_unbudgeted] == 0
    assert life.tally[Counter.executor_reports_unmatched] == 0
    event(f"fills: {len(life.fills) // 5 * 5}")
