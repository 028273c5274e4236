import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, Side
from executor.market import print_of
from executor.orders import OrderEvent
from executor.paper import Latency, PaperGateway, PaperParams

BUY, SELL = Side.BUY, Side.SELL
DELAY = 60
FOREVER = 1_000_000


@pytest.fixture(scope="session")
def params(make):
    def build(**changes):
        values = {
            "seed": 1,
            # No spread: each order takes exactly 30 ms, each cancel 20 ms.
            "place": Latency(30 * make.MS, 30 * make.MS),
            "cancel": Latency(20 * make.MS, 20 * make.MS),
            "evidence_delay_ns": DELAY * make.MS,
            "persist_ns": 50 * make.MS,
        }
        return PaperParams(**values | changes)

    return build


@pytest.fixture
def paper(make, params):
    made = PaperGateway(params())
    made.on_book(make.book(50, 52))
    return made


@pytest.fixture(scope="session")
def till(make):
    def poll(paper, ms):
        """All that has happened by model time `ms`, as (event, model time in ms, shares)."""
        return [
            (report.event, report.at_ns // make.MS, report.qty_e9 / E9)
            for report in paper.poll((ms + DELAY) * make.MS)
        ]

    return poll


def test_an_order_exists_only_after_its_latency(make, paper, till):
    paper.place(make.order(), make.market(), 0)
    assert till(paper, 29) == []
    assert till(paper, 30) == [(OrderEvent.ACCEPT, 30, 0)]


def test_the_model_judges_the_past(make, paper):
    paper.place(make.order(), make.market(), 0)
    assert paper.next_due_ns == DELAY * make.MS  # the book, of time 0
    paper.poll((30 + DELAY) * make.MS - 1)
    assert paper.next_due_ns == (30 + DELAY) * make.MS
    assert len(paper.poll((30 + DELAY) * make.MS)) == 1
    assert paper.next_due_ns is None


def test_a_print_is_taken_the_evidence_delay_before_it_was_received(make, paper, till):
    paper.place(make.order(51), make.market(), 0)
    paper.on_print(make.trade(SELL, 51, 4, at_ms=29 + DELAY))  # before the order arrived
    paper.on_print(make.trade(SELL, 51, 3, at_ms=30 + DELAY))
    assert till(paper, 40) == [(OrderEvent.ACCEPT, 30, 0)]
    paper.on_print(make.trade(SELL, 51, 5, at_ms=41 + DELAY))
    assert till(paper, 50) == [(OrderEvent.FILL, 41, 5)]


def test_an_order_can_be_filled_until_its_cancel_takes_effect(make, paper, till):
    order = make.order(51)
    paper.place(order, make.market(), 0)
    paper.cancel(order, 40 * make.MS)
    paper.on_print(make.trade(SELL, 51, 4, at_ms=60 + DELAY))
    paper.on_print(make.trade(SELL, 51, 4, at_ms=61 + DELAY))
    assert till(paper, 99) == [
        (OrderEvent.ACCEPT, 30, 0),
        (OrderEvent.FILL, 60, 4),
        (OrderEvent.CANCELLED, 60, 0),
    ]


def test_a_cancel_never_overtakes_its_order(make, paper, till):
    order = make.order(51)
    paper.place(order, make.market(), 0)
    paper.cancel(order, 0)
    assert till(paper, 99) == [(OrderEvent.ACCEPT, 30, 0), (OrderEvent.CANCELLED, 30, 0)]


def test_a_cancel_of_what_is_gone_changes_nothing(make, paper, till):
    order = make.order(51)
    paper.place(order, make.market(), 0)
    paper.on_print(make.trade(SELL, 51, 10, at_ms=35 + DELAY))
    paper.cancel(order, 30 * make.MS)
    assert till(paper, 99)[1:] == [(OrderEvent.FILL_ALL, 35, 10)]
    paper.cancel(order, 0)
    assert till(paper, 199) == []


@pytest.mark.parametrize(("cents", "is_yes"), [(52, True), (60, True), (50, False)])
def test_a_post_only_order_that_meets_the_book_at_arrival_is_rejected(
    make, paper, till, cents, is_yes
):
    side = BUY
    paper.place(make.order(cents, side=side, is_yes=is_yes), make.market(), 0)
    assert till(paper, 99) == [(OrderEvent.REJECT, 30, 0)]


def test_the_book_of_the_arrival_decides_not_that_of_the_sending(make, paper, till):
    paper.place(make.order(51), make.market(), 0)
    paper.on_book(make.book(49, 51, at_ms=29))
    paper.on_book(make.book(50, 52, at_ms=31))
    assert till(paper, 99) == [(OrderEvent.REJECT, 30, 0)]


def test_without_a_trusted_book_an_order_is_rejected(make, params, till):
    paper = PaperGateway(params())
    paper.place(make.order(), make.market(), 0)
    assert till(paper, 30) == [(OrderEvent.REJECT, 30, 0)]
    paper.on_book(make.book(at_ms=40))
    paper.on_book(make.book(at_ms=50, is_trusted=False))
    paper.place(make.order(), make.market(), 40 * make.MS)
    assert till(paper, 99) == [(OrderEvent.REJECT, 70, 0)]


def test_a_taker_is_held_then_trades_at_the_best_price_and_pays_the_fee(make, paper):
    order = make.order(53, 150, post_only=False)
    paper.place(order, make.market(), 0)
    paper.cancel(order, 40 * make.MS)  # cannot be cancelled in the hold
    paper.on_book(make.book(50, 52, ask_qty=120, at_ms=100))
    accepted, filled, cancelled = paper.poll((280 + DELAY) * make.MS)
    assert (accepted.event, accepted.at_ns) == (OrderEvent.ACCEPT, 280 * make.MS)
    assert (filled.qty_e9, filled.px_e9, filled.is_maker) == (120 * E9, 52 * make.CENT, False)
    assert filled.fee_e9 == 2_096_640_000  # 120 x 0.07 x 0.52 x 0.48
    assert filled.rebate_e9 == 0
    assert (cancelled.event, cancelled.at_ns) == (OrderEvent.CANCELLED, 280 * make.MS)


@pytest.mark.parametrize(
    ("schedule", "fee_e9"),
    [
        ({"fee_rate_e9": 0}, 0),
        ({"fee_rate_e9": 100_000_000}, 249_600_000),  # 10 x 0.1 x 0.52 x 0.48
        ({"fee_exponent": 2}, 43_610_000),  # 10 x 0.07 x (0.52 x 0.48)^2, to five places
        ({"fee_exponent": 0}, 700_000_000),
    ],
)
def test_the_fee_is_the_one_of_the_markets_own_schedule(make, paper, schedule, fee_e9):
    paper.place(make.order(52, 10, post_only=False), make.market(**schedule), 0)
    filled = paper.poll(FOREVER * make.MS)[-1]
    assert (filled.event, filled.fee_e9) == (OrderEvent.FILL_ALL, fee_e9)


def test_a_taker_whose_chance_is_gone_rests(make, paper, till):
    paper.place(make.order(52, post_only=False), make.market(), 0)
    paper.on_book(make.book(50, 55, at_ms=100))
    assert till(paper, 400) == [(OrderEvent.ACCEPT, 280, 0)]
    paper.on_print(make.trade(SELL, 52, 10, at_ms=410 + DELAY))
    assert till(paper, 500) == [(OrderEvent.FILL_ALL, 410, 10)]


def test_a_maker_pays_nothing_and_is_told_its_rebate_apart(make, paper):
    paper.place(make.order(51, 100), make.market(), 0)
    paper.on_print(make.trade(SELL, 51, 100, at_ms=40 + DELAY))
    filled = paper.poll(FOREVER * make.MS)[-1]
    assert (filled.event, filled.is_maker, filled.fee_e9) == (OrderEvent.FILL_ALL, True, 0)
    assert filled.px_e9 == 51 * make.CENT
    assert filled.rebate_e9 == 349_860_000  # a fifth of 100 x 0.07 x 0.51 x 0.49, cut to the step
    assert filled.book_version == 1


def test_a_fill_is_told_in_terms_of_the_token_the_order_names(make, paper):
    paper.place(make.order(49, 10, is_yes=False), make.market(), 0)  # shows as an ask at 0.51
    hit = print_of(
        make.PAIR, (40 + DELAY) * make.MS, is_yes=False, side=SELL, px_e9=49 * make.CENT,
        qty_e9=4 * E9,
    )  # fmt: skip
    paper.on_print(hit)
    filled = paper.poll(FOREVER * make.MS)[-1]
    assert (filled.qty_e9, filled.px_e9) == (4 * E9, 49 * make.CENT)


def test_a_lasting_cross_fills_at_our_price_without_any_print(make, paper, till):
    paper.place(make.order(51), make.market(), 0)
    paper.on_book(make.book(48, 50, at_ms=40))
    assert till(paper, 89) == [(OrderEvent.ACCEPT, 30, 0)]
    assert till(paper, 90) == [(OrderEvent.FILL_ALL, 90, 10)]


def test_a_cross_that_a_book_in_time_ends_does_not_fill_although_it_is_seen_late(make, paper, till):
    paper.place(make.order(51), make.market(), 0)
    paper.on_book(make.book(48, 50, at_ms=40))
    paper.on_book(make.book(50, 52, at_ms=89))
    assert till(paper, 500) == [(OrderEvent.ACCEPT, 30, 0)]


def test_a_cancel_in_time_saves_the_order_from_a_cross(make, paper, till):
    order = make.order(51)
    paper.place(order, make.market(), 0)
    paper.on_book(make.book(48, 50, at_ms=40))
    paper.cancel(order, 69 * make.MS)
    assert till(paper, 500)[1:] == [(OrderEvent.CANCELLED, 89, 0)]


def test_a_closed_market_cancels_what_rests_and_rejects_what_arrives(make, paper, till):
    paper.place(make.order(51), make.market(), 0)
    paper.place(make.order(50), make.market(), 30 * make.MS)
    paper.close_market(make.PAIR, 40 * make.MS)
    assert till(paper, 99) == [
        (OrderEvent.ACCEPT, 30, 0),
        (OrderEvent.CANCELLED, 40, 0),
        (OrderEvent.REJECT, 60, 0),
    ]


def test_closing_ends_a_taker_in_its_hold(make, paper, till):
    paper.place(make.order(53, post_only=False), make.market(), 0)
    paper.close_market(make.PAIR, 100 * make.MS)
    assert till(paper, 999) == [(OrderEvent.CANCELLED, 100, 0)]


def test_a_forgotten_market_starts_anew_and_one_with_orders_is_not_forgotten(make, paper, till):
    paper.close_market(make.PAIR, 0)
    paper.place(make.order(51), make.market(), 0)
    paper.forget_market(make.PAIR)
    assert till(paper, 99) == [(OrderEvent.REJECT, 30, 0)]
    paper.forget_market(make.PAIR)
    paper.on_book(make.book(at_ms=100))
    paper.place(make.order(51), make.market(), 100 * make.MS)
    assert till(paper, 199) == [(OrderEvent.ACCEPT, 130, 0)]


def test_evidence_that_comes_too_late_is_counted_and_taken_as_of_now(make, paper, till):
    till(paper, 100)
    assert paper.late_count == 0
    paper.on_book(make.book(51, 53, at_ms=99))
    assert paper.late_count == 1
    paper.place(make.order(52), make.market(), 100 * make.MS)
    assert till(paper, 199) == [(OrderEvent.ACCEPT, 130, 0)]


def test_latencies_are_lognormal_bounded_and_never_negative():
    latency = Latency(30, 90)
    assert latency.at(0.5) == 30
    assert latency.at(0.99) in (89, 90)
    assert latency.at(1 - 1e-16) <= 900
    assert latency.at(1e-300) >= 0
    assert Latency(30, 30).at(0.999) == 30


def test_the_same_seed_gives_the_same_latencies_and_another_seed_others(make, params):
    def arrivals(seed):
        wide = Latency(30 * make.MS, 200 * make.MS)
        paper = PaperGateway(params(seed=seed, place=wide))
        paper.on_book(make.book())
        for number in range(20):
            order = make.order(51, order_id=str(number).encode())
            paper.place(order, make.market(), number * make.MS)
        return [(r.order_id, r.at_ns) for r in paper.poll(FOREVER * make.MS)]

    assert arrivals(7) == arrivals(7)
    assert arrivals(7) != arrivals(8)
    assert len({at for _, at in arrivals(7)}) == 20


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("bid", "ask", "cancel", "print", "book", "distrust", "poll")),
        st.integers(40, 60),
        st.integers(1, 40),
        st.sampled_from((BUY, SELL)),
        st.integers(0, 60),
    ),
    max_size=60,
)


@given(ACTIONS, st.booleans())
def test_orders_and_prints_are_conserved_over_any_sequence(make, params, actions, post_only):
    paper = PaperGateway(params(place=Latency(10 * make.MS, 60 * make.MS)))
    paper.on_book(make.book(49, 51))
    sent, now, printed, reports = {}, 0, 0, []
    for action, cents, shares, side, wait in actions:
        now += wait
        at_ns = now * make.MS
        if action in ("bid", "ask"):
            order = make.order(
                cents, shares, is_yes=action == "bid", post_only=post_only,
                order_id=str(len(sent)).encode(),
            )  # fmt: skip
            sent[order.order_id] = order
            paper.place(order, make.market(taker_delay_ns=25 * make.MS), at_ns)
        elif action == "cancel" and sent:
            paper.cancel(list(sent.values())[shares % len(sent)], at_ns)
        elif action == "print":
            printed += shares * E9
            paper.on_print(make.trade(side, cents, shares, at_ms=now))
        elif action in ("book", "distrust"):
            trusted = action == "book"
            paper.on_book(
                make.book(cents - 1, cents + 1, at_ms=now, bid_qty=shares, is_trusted=trusted)
            )
        else:
            reports += paper.poll(at_ns)
    for order in sent.values():
        paper.cancel(order, now * make.MS)
    reports += paper.poll(FOREVER * make.MS)
    assert paper.next_due_ns is None
    assert [r.at_ns for r in reports] == sorted(r.at_ns for r in reports)
    for order in sent.values():
        mine = [r for r in reports if r.order_id == order.order_id]
        filled = sum(r.qty_e9 for r in mine)
        assert filled <= order.qty_e9
        ends = [r.event for r in mine if r.event not in (OrderEvent.ACCEPT, OrderEvent.FILL)]
        assert len(ends) == 1
        assert mine[-1].event is ends[0]
        assert (ends[0] is OrderEvent.FILL_ALL) == (filled == order.qty_e9)
        for report in mine:
            if report.qty_e9:
                is_better = report.px_e9 <= order.px_e9
                assert report.px_e9 == order.px_e9 if report.is_maker else is_better
