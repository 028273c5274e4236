import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.counters import Counter
from cache.layout import E9, POSITION, WORKING_ORDER, Flag, OrderState, Outcome, Side
from cache.segment import WriterSegment
from executor import boards
from executor.account import Desk
from executor.boards import AccountBoards, specs
from executor.ledger import Fill, Holding
from executor.orders import Provenance
from tests.system.damage import damages, spoil


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


def a_fill(make, number, *, order_id=b"7", shares=4, pair=None, is_yes=True):
    token = make.YES if is_yes else make.NO
    return Fill(
        number, order_id, pair or make.PAIR, token, is_yes, Side.BUY, 50 * make.CENT,
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
    for number in range(1, 9):
        made.publish_fill(a_fill(make, number), 1)
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
    second = a_fill(make, 2, order_id=bytes(range(32)), is_yes=False)
    made.publish_fill(second, 1)
    made, left = start()
    assert left.fill_id == 2
    assert left.unbooked == second
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
    assert (first.order_id, first.quotes_version, first.working_ns) == (b"1" + bytes(31), 2, 77)
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
    rests_on = Provenance(1, 2, 3, 4, 5, 6, 7, 8, 9)
    order = make.order(50, 10, order_id=b"5", provenance=rests_on, created_ns=9, is_yes=False)
    made.publish_order(order, 0, 1)
    order.filled_e9 = 3 * E9
    made.publish_order(order, 1, 2)
    board = world.own().board("orders")
    record = board.read(0, make.NO)
    assert board.version(0) == 2
    assert record.order_id == b"5" + bytes(31)
    assert (record.pair_tag, record.px_e9) == (make.PAIR, 50 * make.CENT)
    assert (record.filled_e9, record.qty_e9, record.created_ns) == (3 * E9, 10 * E9, 9)
    provenance = (record.quotes_version, record.book_version, record.reference_version)
    assert provenance == (2, 3, 4)
    assert (record.book_age_ns, record.reference_age_ns) == (5, 6)
    assert (record.decided_ns, record.quoted_ns, record.cause_ns) == (7, 8, 9)
    assert record.outcome_index == 1
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
    again = [slot for slot, record in enumerate(shown) if record.order_id[:2] == b"16"]
    assert [record.order_id[:1] for record in shown].count(b"9") == 0
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


DAMAGED = {
    "a settlement that is none": ("positions", {"settled": b"\7"}),
    "less than no shares": ("positions", {"yes_qty_e9": b"\xff" * 8}),
    "a position of nobody": ("positions", {"tag": bytes(8)}),
    "more fills than there were": ("positions", {"venue_seq": b"\xff" * 8}),
    "a position not known before": ("positions", {"flags": b"\2"}),
    "a fill on no side": ("fills", {"side": b"\7"}),
    "a fill of another number": ("fills", {"fill_id": b"\7"}),
    "a fill of a market without position": ("fills", {"pair_tag": b"\7"}),
    "an order in no state": ("orders", {"state": b"\x63"}),
    "an order on no side": ("orders", {"side": b"\7"}),
}


def leave_something(make, made):
    """A position, an order alive, and a fill that no position contains."""
    made.claim(make.PAIR, nobody_is_done)
    made.publish_position(Desk(make.market(), holding=Holding(yes_e9=E9)), 1)
    made.publish_order(make.order(50, 10, order_id=b"7"), 0, 1)
    made.publish_fill(a_fill(make, 1), 1)


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_record_of_ours_makes_every_position_unknown(make, world, start, kind):
    board, damage = DAMAGED[kind]
    made, _ = start()
    leave_something(make, made)
    spoil(world.own_writer(), board, 0, damage)
    made, left = start()
    assert left.damaged[0][0] == board
    assert not made.is_known
    made.claim(99, nobody_is_done)
    made.publish_position(Desk(make.market(tag=99)), 1)
    shown = [world.own().board("positions").read(slot, 0) for slot in range(2)]
    ours = [record for record in shown if record.incarnation == world.own().incarnation]
    assert 99 in [record.tag for record in ours]
    assert all(record.flags == Flag.SUSPECT for record in ours)
    made, left = start()
    assert left.damaged, "it is not known after the next start either"


def test_two_positions_of_one_market_are_damage(make, world, start):
    made, _ = start()
    for tag in (make.PAIR, 99):
        made.claim(tag, nobody_is_done)
        made.publish_position(Desk(make.market(tag=tag)), 1)
    spoil(world.own_writer(), "positions", 1, {"tag": make.PAIR.to_bytes(8, "little")})
    assert [damage[:2] for damage in start()[1].damaged] == [("positions", 1)]


def test_a_generation_that_fills_its_field_begins_anew(make, world, start):
    made, _ = start()
    made.publish_order(make.order(50, 10, order_id=b"1"), 0, 1)
    spoil(world.own_writer(), "orders", 0, {"generation": b"\xff" * 4})
    made, _ = start(orders=16)
    for number in range(16):
        made.publish_order(make.order(50, 10, order_id=b"x%d" % number), 0, 1)
    assert world.own().board("orders").read(0, 0).generation == 0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_lies_on_our_boards_a_start_reads_it_and_goes_on(make, world, start, data):
    world.own_writer() and world.own_writer().close(remove=True)
    made, _ = start()
    leave_something(make, made)
    for board in ("positions", "orders", "fills"):
        if data.draw(st.booleans()):
            spoil(world.own_writer(), board, 0, data.draw(damages(board, keep=())))
    made, left = start()
    assert made.is_known is not bool(left.damaged)
    made.claim(99, nobody_is_done)
    made.publish_position(Desk(make.market(tag=99)), 1)
    made.publish_order(make.order(50, 10, order_id=b"9"), left.fill_id, 1)
    start()
