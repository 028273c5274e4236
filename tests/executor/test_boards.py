from dataclasses import replace

import pytest

from cache.counters import Counter
from cache.layout import E9, POSITION, WORKING_ORDER, OrderState, Outcome, Side
from cache.segment import WriterSegment
from executor import boards
from executor.account import Desk
from executor.boards import AccountBoards, specs
from executor.ledger import Fill, Holding
from executor.orders import Provenance


@pytest.fixture
def start(world):
    """Start (again) as the executor of the account, as after a death."""

    def make_boards(markets=2, orders=16):
        if "executor.paper" in world.writers:
            world.writers["executor.paper"].close()
        segment = WriterSegment.create(
            "executor.paper", specs(markets, orders), namespace=world.namespace
        )
        world.writers["executor.paper"] = segment
        made = AccountBoards(segment)
        return made, made.recover(world.clock())

    return make_boards


def a_fill(make, number, *, order_id=b"7", shares=4, pair=None):
    return Fill(
        number, order_id, pair or make.PAIR, make.YES, True, Side.BUY, 50 * make.CENT,
        shares * E9, 0, 3, True, 9, 1_000,
    )  # fmt: skip


def nobody_is_done(tag):
    return False


def test_a_fresh_start_recovers_nothing(start):
    _, left = start()
    assert (left.holdings, left.unbooked, left.fill_id, left.ended_count) == ({}, None, 0, 0)


def test_positions_survive_a_death_with_everything_in_them(make, world, start):
    made, _ = start()
    held = Holding(3 * E9, E9, -2 * E9, 5, 6, 7, 8, Outcome.UNKNOWN)
    assert made.claim(make.PAIR, nobody_is_done) == 0
    made.publish_position(Desk(make.market(), holding=held), 1)
    made, left = start()
    assert left.holdings == {make.PAIR: held}
    assert left.fill_id == 8
    record = world.own().board("positions").read(0, make.PAIR)
    assert record.incarnation == world.own().incarnation  # ours now, not a dead one's
    assert (record.yes_qty_e9, record.cash_e9, record.fill_count) == (3 * E9, -2 * E9, 7)


def test_a_fill_that_no_position_contains_is_named(make, start):
    made, _ = start()
    made.claim(make.PAIR, nobody_is_done)
    made.publish_fill(a_fill(make, 1), 1)
    made.publish_position(Desk(make.market(), holding=Holding(yes_e9=4 * E9, fill_id=1)), 1)
    made.publish_fill(a_fill(make, 2), 1)
    made, left = start()
    assert left.fill_id == 2
    assert left.unbooked == replace(a_fill(make, 2), is_yes=False)
    assert left.holdings[make.PAIR].fill_id == 1


def test_a_fill_that_its_position_contains_is_not_booked_again(make, start):
    made, _ = start()
    made.claim(make.PAIR, nobody_is_done)
    made.publish_fill(a_fill(make, 1), 1)
    made.publish_position(Desk(make.market(), holding=Holding(fill_id=1)), 1)
    assert start()[1].unbooked is None


def test_orders_that_were_alive_are_ended_and_the_others_left_alone(make, world, start):
    made, _ = start()
    alive = make.order(50, 10, order_id=b"1", provenance=Provenance(1, 2, 3, 4))
    alive.working_ns = 77
    ended = make.order(50, 10, order_id=b"2", state=OrderState.REJECTED)
    made.publish_order(alive, 0, 1)
    made.publish_order(ended, 0, 1)
    made, left = start()
    assert left.ended_count == 1
    board = world.own().board("orders")
    first, second = board.read(0, make.YES), board.read(1, make.YES)
    assert (first.state, second.state) == (OrderState.CANCELLED, OrderState.REJECTED)
    assert (first.order_id, first.quotes_version, first.working_ns) == ("1", 2, 77)
    assert world.own().counters[Counter.executor_orders_adopted] == 1


@pytest.mark.parametrize(("shares", "state"), [(4, "CANCELLED"), (10, "FILLED")])
def test_an_ended_order_contains_its_last_fill(make, world, start, shares, state):
    made, _ = start()
    made.publish_order(make.order(50, 10, order_id=b"7"), 0, 1)
    made.publish_fill(a_fill(make, 1, shares=shares), 1)
    start()
    record = world.own().board("orders").read(0, 0)
    assert (record.filled_e9, OrderState(record.state).name) == (shares * E9, state)


def test_a_last_fill_that_the_order_contains_is_not_added_to_it_again(make, world, start):
    made, _ = start()
    made.publish_fill(a_fill(make, 1), 1)
    made.publish_order(make.order(50, 10, order_id=b"7", filled_e9=4 * E9), 1, 1)
    start()
    assert world.own().board("orders").read(0, 0).filled_e9 == 4 * E9


def test_an_order_says_what_it_rests_on_and_keeps_its_slot(make, world, start):
    made, _ = start()
    order = make.order(50, 10, order_id=b"5", provenance=Provenance(1, 2, 3, 4), created_ns=9)
    made.publish_order(order, 0, 1)
    order.filled_e9 = 3 * E9
    made.publish_order(order, 1, 2)
    board = world.own().board("orders")
    record = board.read(0, make.YES)
    assert board.version(0) == 2
    assert (record.order_id, record.pair_tag, record.px_e9) == ("5", make.PAIR, 50 * make.CENT)
    assert (record.filled_e9, record.qty_e9, record.created_ns) == (3 * E9, 10 * E9, 9)
    provenance = (record.quotes_version, record.book_version, record.reference_version)
    assert provenance == (2, 3, 4)
    assert (record.side, record.state) == (Side.BUY, OrderState.WORKING)


def test_the_slot_of_the_order_that_ended_longest_ago_is_used_again(make, world, start):
    made, _ = start()
    orders = [make.order(order_id=b"%d" % number) for number in range(17)]
    for order in orders[:16]:
        made.publish_order(order, 0, 1)
    for number in (9, 3):
        orders[number].state = OrderState.CANCELLED
        made.publish_order(orders[number], 0, 1)
    made.publish_order(orders[16], 0, 1)
    board = world.own().board("orders")
    shown = [board.read(slot, 0) for slot in range(16)]
    again = [slot for slot, record in enumerate(shown) if record.order_id == "16"]
    assert [record.order_id for record in shown].count("9") == 0
    assert shown[again[0]].generation == 1


def test_the_slot_of_a_done_market_is_used_again_and_else_none_is(make, world, start):
    made, _ = start()
    assert made.claim(1, nobody_is_done) == 0
    assert made.claim(2, nobody_is_done) == 0
    assert made.claim(2, nobody_is_done) == 0
    assert made.claim(3, nobody_is_done) is None
    assert world.own().counters[Counter.executor_markets_refused] == 1
    assert made.claim(3, lambda tag: tag == 2) == 2
    made.publish_position(Desk(make.market(tag=3)), 1)
    record = world.own().board("positions").read(1, 3)
    assert record.generation == 1


def test_fills_are_a_stream(make, world, start):
    made, _ = start()
    stream = world.own().board("fills").stream()
    made.publish_fill(a_fill(make, 1), 5)
    made.publish_fill(a_fill(make, 2, pair=99), 6)
    first, second = stream.take()
    assert (first.fill_id, first.tag, first.pair_tag) == (1, make.YES, make.PAIR)
    assert (second.fill_id, second.pair_tag) == (2, 99)
    assert (first.qty_e9, first.rebate_e9, first.is_maker, first.book_version) == (4 * E9, 3, 1, 9)


def test_the_bell_is_rung_once_and_only_for_news(make, world, start):
    made, _ = start()
    assert not made.ring()
    made.publish_fill(a_fill(make, 1), 5)
    made.publish_fill(a_fill(make, 2), 5)
    assert made.ring()
    assert not made.ring()
    assert world.own().counters[Counter.host_bells_rung] == 1


def test_the_boards_are_those_of_the_layout():
    by_name = {spec.name: spec for spec in specs(3, 16)}
    assert by_name["positions"].record is POSITION
    assert by_name["orders"].record is WORKING_ORDER
    assert (by_name["fills"].slot_count, by_name["fills"].cell_count) == (1, boards.STREAM_CELLS)
