import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import executor.inputs
import executor.runner
import executor.watch
from cache.counters import Counter, Histogram
from cache.gate import POLICIES
from cache.layout import DEPTH, E9, BoardSpec, Flag, OrderState, Outcome, Side, State, tag_of
from executor.boards import specs
from executor.inputs import LOOK_NS, SCAN_NS
from executor.paper import Latency, PaperParams
from executor.params import ExecutorParams
from executor.runner import Executor
from host.log import SINK
from tests.system.damage import damages, spoil, spoil_word, stray_words

MAKER = "strategy.maker"
PAIR = tag_of("polymarket", "a")
YES, NO = tag_of("polymarket", "a0"), tag_of("polymarket", "a1")


class Bench:
    """An executor that is turned by hand over a world of shared memory."""

    def __init__(self, make, world, clock):
        self.make, self.world, self.clock = make, world, clock
        self.strategy = world.start_strategy()
        self.start()

    def start(self, *, kill=False, **changes):
        """Start the executor; with `kill`, after it died without a word."""
        if kill:
            self.segment.close()
        make, world = self.make, self.world
        params = {
            "role": "executor.paper",
            "namespace": world.namespace,
            "strategies": ("*",),
            "market_slots": 8,
            "order_slots": 64,
            "policy": POLICIES["fast15m"],
            "suspect_ns": 250 * make.MS,
            "halt_ns": 2_000 * make.MS,
            "limits": make.limits(),
            "paper": PaperParams(
                seed=1,
                place=Latency(30 * make.MS, 30 * make.MS),
                cancel=Latency(20 * make.MS, 20 * make.MS),
                evidence_delay_ns=60 * make.MS,
                persist_ns=50 * make.MS,
            ),
        }
        params = ExecutorParams(**params | changes)
        self.segment = world.writer(
            "executor.paper", specs(params.market_slots, params.order_slots)
        )
        self.role = Executor(self.segment, params)
        self.role.on_start(self.clock())
        self.own = world.own()
        return self

    def turn(self, ms=0, *, but=()):
        """Let time pass, and take a turn."""
        self.world.pass_ms(ms, but=but)
        return self.role.poll(self.clock())

    def want(self, *args, **changes):
        return self.world.want(self.strategy, *args, **changes)

    def settle_in(self, *args, **changes):
        """Quote, and wait until the orders work."""
        self.world.list_market()
        self.world.show_book(49, 53)
        self.want(*args, **changes)
        self.turn(500)
        self.world.show_book(49, 53)
        self.want(*args, **changes)
        self.turn()
        self.turn(100)
        return self

    def orders(self):
        """(token, side, cents, shares, state) of every order ever shown, the newest last."""
        board = self.own.board("orders")
        shown = [board.read(slot, 0) for slot in range(board.slot_count) if board.version(slot)]
        return [
            (
                "yes" if order.tag == YES else "no",
                Side(order.side).name,
                order.px_e9 // self.make.CENT,
                order.qty_e9 // E9,
                OrderState(order.state).name,
            )
            for order in sorted(shown, key=lambda order: order.order_id)
        ]

    def states(self):
        return [order[-1] for order in self.orders()]

    def position(self, pair=PAIR):
        board = self.own.board("positions")
        found = [board.read(slot, 0) for slot in range(board.slot_count) if board.version(slot)]
        return next((record for record in found if record.tag == pair), None)

    def count(self, counter):
        return self.own.counters[counter]


@pytest.fixture
def bench(monkeypatch, make, world, clock):
    monkeypatch.setattr(executor.inputs, "monotonic_ns", clock)
    monkeypatch.setattr(executor.runner, "monotonic_ns", clock)
    return Bench(make, world, clock)


WORKING = [("yes", "BUY", 50, 10, "WORKING"), ("no", "BUY", 48, 10, "WORKING")]


def test_target_quotes_become_working_orders_on_the_board(bench):
    bench.settle_in()
    assert bench.orders() == WORKING
    order = bench.own.board("orders").read(0, 0)
    assert (order.pair_tag, order.quotes_version, order.reference_version) == (PAIR, 1, 2)
    assert order.working_ns > order.created_ns > 0
    assert bench.count(Counter.executor_orders_placed) == 2


def test_every_listed_market_has_a_position_before_it_is_quoted(bench):
    bench.world.list_market()
    bench.turn(100)
    assert bench.position().yes_qty_e9 == 0
    assert bench.position().incarnation == bench.own.incarnation


def test_an_order_on_its_way_is_in_flight(bench):
    bench.world.list_market()
    bench.world.show_book(49, 53)
    bench.turn(500)
    bench.world.show_book(49, 53)
    bench.want()
    bench.turn()
    assert bench.states() == ["PENDING", "PENDING"]
    assert bench.position().in_flight_e9 == 20 * E9
    bench.turn(100)
    assert bench.position().in_flight_e9 == 0
    assert bench.count(Counter.executor_cancels_forced) == 0


def test_a_print_becomes_a_fill_a_position_and_a_told_order(make, bench):
    bench.settle_in()
    fills = bench.own.board("fills").stream()
    bench.world.show_trade(Side.SELL, 50, 4)
    bench.turn(60)
    (fill,) = fills.take()
    assert (fill.fill_id, fill.tag, fill.pair_tag, fill.qty_e9) == (1, YES, PAIR, 4 * E9)
    held = bench.position()
    assert (held.yes_qty_e9, held.cash_e9, held.venue_seq) == (4 * E9, -2 * E9, 1)
    assert held.fees_e9 == 0
    assert held.rebates_e9 > 0
    board = bench.own.board("orders")
    assert board.read(0, YES).filled_e9 == 4 * E9
    assert bench.count(Counter.executor_fills_received) == 1


def test_a_print_on_the_complement_fills_the_mirrored_order(bench):
    bench.settle_in()
    bench.world.show_trade(Side.BUY, 50, 4, index=1)
    bench.turn(60)
    assert bench.position().yes_qty_e9 == 4 * E9


def test_after_a_fill_only_quotes_that_know_it_are_placed(bench):
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 10)
    bench.turn(60)
    bench.turn(20)
    assert bench.states() == ["FILLED", "WORKING"]
    assert bench.count(Counter.executor_places_withheld) > 0
    bench.want()
    bench.turn()
    assert bench.states() == ["FILLED", "WORKING", "PENDING"]


def test_a_moved_quote_is_cancelled_first_and_placed_when_that_is_done(bench):
    bench.settle_in()
    bench.want(49, 52)
    bench.turn()
    assert bench.states() == ["CANCELLING", "WORKING"]
    bench.turn(60)
    assert bench.states() == ["CANCELLING", "WORKING"]
    bench.turn(20)  # effective after 20 ms, judged 60 ms later
    assert bench.orders()[2] == ("yes", "BUY", 49, 10, "PENDING")
    assert bench.states()[:2] == ["CANCELLED", "WORKING"]


def test_expired_quotes_cancel_although_nobody_rings(bench):
    bench.settle_in()
    due_ns = bench.role.due_ns()
    assert due_ns == bench.clock() - 100 * bench.make.MS + 1_000 * bench.make.MS
    bench.world.pass_ms(0)
    bench.turn((due_ns - bench.clock()) / bench.make.MS)
    assert bench.states() == ["CANCELLING"] * 2
    assert bench.role.due_ns() > bench.clock()


@pytest.mark.parametrize("end", ["stalled", "halted", "killed", "removed"])
def test_a_strategy_that_is_gone_has_its_orders_cancelled(bench, end):
    bench.settle_in(valid_ms=60_000)
    if end == "halted":
        bench.strategy.set_state(State.HALT)
    elif end == "killed":
        bench.strategy.close()
    elif end == "removed":
        bench.strategy.close(remove=True)
    for _ in range(7):
        bench.world.show_book(49, 53)
        bench.turn(100, but=[MAKER])
    assert bench.states() == ["CANCELLED"] * 2


def test_a_strategy_that_comes_back_with_its_old_quotes_is_obeyed_again(bench):
    bench.settle_in(valid_ms=60_000)
    for _ in range(7):
        bench.world.show_book(49, 53)
        bench.turn(100, but=[MAKER])
    bench.turn(1)
    assert bench.states() == ["CANCELLED"] * 2 + ["PENDING"] * 2


def test_a_second_strategy_is_refused_the_market_and_counted(bench):
    bench.settle_in()
    rival = bench.world.start_strategy("rival")
    bench.turn(0)
    bench.world.want(rival, 45, 60)
    bench.role.poll(bench.clock() + SCAN_NS)
    bench.turn()
    assert bench.orders() == WORKING
    assert bench.count(Counter.executor_strategy_refused) == 1


@pytest.mark.parametrize("flag", [Flag.RESYNC, Flag.WARMUP, Flag.CROSSED])
def test_a_book_not_to_be_trusted_cancels_its_market(bench, flag):
    bench.settle_in()
    bench.world.show_book(49, 53, flags=flag)
    bench.turn()
    assert bench.states() == ["CANCELLING"] * 2
    assert bench.count(Counter.executor_cancels_forced) == 2


def test_one_market_in_trouble_leaves_the_other_alone(bench):
    bench.settle_in()
    bench.world.list_market(1, name="b")
    bench.world.show_book(49, 53, slot=1)
    bench.want(slot=1, name="b")
    bench.turn(500)
    bench.world.show_book(49, 53)
    bench.world.show_book(49, 53, slot=1)
    bench.want()
    bench.want(slot=1, name="b")
    bench.turn()
    bench.turn(100)
    assert bench.states() == ["WORKING"] * 4
    bench.world.show_book(49, 53, slot=1, flags=Flag.RESYNC)
    bench.turn()
    assert bench.states() == ["WORKING"] * 2 + ["CANCELLING"] * 2


def test_a_dead_feed_cancels_everything(bench):
    bench.settle_in(valid_ms=60_000)
    bench.turn(600, but=["feed.polymarket.0"])
    assert bench.states() == ["CANCELLING"] * 2
    bench.turn(100, but=["feed.polymarket.0"])
    assert bench.states() == ["CANCELLED"] * 2


def test_a_restarted_feed_brings_quoting_back_without_a_hand(bench):
    bench.settle_in(valid_ms=60_000)
    bench.world.feed.close()
    bench.world.feed = bench.world.start_feed()
    bench.turn(1)
    assert bench.states() == ["CANCELLING"] * 2
    bench.turn(100)
    bench.world.list_market()
    bench.world.show_book(49, 53)
    bench.want()
    bench.turn()
    bench.turn(100)
    assert bench.states() == ["CANCELLED"] * 2 + ["WORKING"] * 2


def test_a_replaced_feed_segment_is_attached_and_the_bells_follow(bench):
    bench.settle_in()
    old = bench.role.bells[-1]
    bench.world.feed.close(remove=True)
    bench.world.feed = bench.world.start_feed()
    bench.turn(LOOK_NS / bench.make.MS)
    assert bench.role.bells[-1] is not old
    assert len(bench.role.bells) == 2
    assert bench.states() == ["CANCELLING"] * 2
    bench.turn(100)
    bench.world.list_market()
    bench.want()
    bench.turn()
    assert bench.states() == ["CANCELLED"] * 2  # the book of the old segment says nothing now
    bench.world.show_book(49, 53)
    bench.turn()
    assert bench.states()[2:] == ["PENDING"] * 2


def test_a_book_published_while_the_turn_began_is_not_from_the_future(bench):
    bench.settle_in()
    bench.world.show_book(49, 53)
    bench.role.poll(bench.clock() - 5 * bench.make.MS)
    assert bench.orders() == WORKING


def test_lost_prints_cancel_everything_because_the_queue_is_not_known(bench):
    bench.settle_in()
    for _ in range(200):
        bench.world.show_trade(Side.SELL, 30, 1, name="other")
    bench.turn()
    assert bench.states() == ["CANCELLING"] * 2
    assert bench.count(Counter.cache_stream_overrun) == 1


def test_a_host_that_slept_cancels_everything_and_waits_for_new_quotes(bench):
    bench.settle_in(valid_ms=60_000)
    bench.role.on_suspend(5 * 10**9)
    assert bench.states() == ["CANCELLING"] * 2
    bench.turn(100)
    bench.turn(1)
    assert bench.states() == ["CANCELLED"] * 2
    bench.want()
    bench.turn()
    assert bench.states()[2:] == ["PENDING"] * 2


def test_a_known_outcome_cancels_and_pays_out(bench):
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 10)
    bench.turn(60)
    assert bench.position().yes_qty_e9 == 10 * E9
    bench.world.show_outcome(Outcome.YES)
    bench.turn(100)
    bench.turn(100)
    bench.turn(100)
    held = bench.position()
    assert (held.yes_qty_e9, held.settled) == (0, Outcome.YES)
    assert held.cash_e9 == 5 * E9
    assert bench.states() == ["FILLED", "CANCELLED"]
    assert bench.count(Counter.executor_markets_settled) == 1
    bench.want()
    bench.turn(100)
    assert len(bench.orders()) == 2


def test_a_known_outcome_ends_trading_at_once_not_a_cancel_later(bench):
    bench.settle_in()
    bench.world.show_outcome(Outcome.NO)
    bench.turn(100)  # The cancels that go with it take 20 ms to take effect.
    bench.world.pass_ms(70)
    bench.world.show_trade(Side.SELL, 50, 10)  # 10 ms after the outcome, as the venue saw it.
    bench.turn(200)
    bench.turn(200)
    assert bench.position().fill_count == 0
    assert bench.states() == ["CANCELLED"] * 2


def test_what_is_told_of_fills_and_payouts_names_the_market(bench, said):
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 10)
    bench.turn(60)
    bench.world.show_outcome(Outcome.YES)
    for _ in range(3):
        bench.turn(100)
    told = said()
    assert "executor.filled market=a side=BUY" in told
    assert "executor.settled market=a outcome=YES" in told


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_is_held_of_a_market_that_is_gone_is_paid_out_while_its_outcome_stands(
    bench, is_killed
):
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 4)
    bench.turn(100)
    bench.world.list_market(id=b"")  # Released: its slots are free, and not given away yet.
    bench.turn(500)
    if is_killed:
        bench.start(kill=True)
    assert bench.position().yes_qty_e9 == 4 * E9
    bench.world.show_outcome(Outcome.YES)
    bench.turn(200)
    held = bench.position()
    assert (held.settled, held.yes_qty_e9, held.cash_e9) == (Outcome.YES, 0, 2 * E9)


def test_quotes_for_a_market_that_nobody_lists_are_counted(bench):
    bench.turn()
    bench.want(name="unheard")
    bench.turn(500)
    assert bench.count(Counter.executor_quotes_unlisted) == 1


def test_a_market_whose_slot_went_to_another_is_let_go(bench):
    bench.settle_in()
    bench.world.list_market(name="b", generation=1)
    bench.world.show_book(49, 53)
    bench.turn()
    assert bench.states() == ["CANCELLING"] * 2
    bench.turn(100)
    assert bench.states() == ["CANCELLED"] * 2
    assert bench.position(tag_of("polymarket", "b")) is not None


def test_more_markets_than_slots_are_refused_and_a_done_one_makes_room(bench):
    bench.start(kill=True, market_slots=1)
    bench.world.list_market(0, name="a")
    bench.turn(100)
    bench.world.list_market(1, name="b")
    bench.turn(100)
    assert bench.count(Counter.executor_markets_refused) >= 1
    assert bench.position(tag_of("polymarket", "b")) is None
    bench.world.list_market(0, name="c", generation=1)
    bench.turn(100)
    assert bench.position() is None


def test_an_order_beyond_a_limit_is_denied_on_the_board(bench):
    limits = bench.make.limits(order_qty_max_e9=5 * E9)
    bench.start(kill=True, limits=limits)
    bench.settle_in()
    assert bench.states() == ["DENIED"] * 2
    assert bench.count(Counter.executor_orders_denied) >= 2


def test_latencies_are_recorded_once_for_quotes_that_cause_orders(bench):
    bench.settle_in()
    latencies = bench.own.counters
    assert latencies.buckets(Histogram.quote_to_order_ns).sum() == 1
    assert latencies.buckets(Histogram.wire_to_order_ns).sum() == 0, "no input caused them"
    bench.want(48, 54, cause_ns=bench.clock() - bench.make.MS)
    bench.turn()
    assert latencies.buckets(Histogram.wire_to_order_ns).sum() == 1


def test_a_death_keeps_positions_ends_orders_and_quoting_goes_on(bench):
    bench.settle_in(valid_ms=60_000)
    bench.world.show_trade(Side.SELL, 50, 4)
    bench.turn(60)
    before = bench.position()
    bench.start(kill=True)
    after = bench.position()
    assert after.incarnation == before.incarnation + 1
    for name in ("yes_qty_e9", "no_qty_e9", "cash_e9", "rebates_e9", "fill_count", "venue_seq"):
        assert getattr(after, name) == getattr(before, name)
    assert bench.states() == ["CANCELLED"] * 2
    bench.turn(50)
    assert len(bench.states()) == 2  # those quotes do not know what was recovered
    bench.want()
    bench.turn()
    bench.turn(100)
    assert bench.orders()[2:] == WORKING
    bench.world.show_trade(Side.SELL, 50, 6)
    bench.turn(60)
    held = bench.position()
    assert (held.yes_qty_e9, held.fill_count, held.venue_seq) == (10 * E9, 2, 2)


@pytest.mark.parametrize("step", ["publish_position", "publish_order"])
def test_a_death_between_two_publishings_of_a_fill_loses_nothing(monkeypatch, bench, step):
    bench.settle_in()
    boards = bench.role._boards

    class Killed(Exception):
        pass

    def die(*args):
        raise Killed

    bench.world.show_trade(Side.SELL, 50, 4)
    bench.world.pass_ms(60)
    monkeypatch.setattr(boards, step, die)
    with pytest.raises(Killed):
        bench.role.poll(bench.clock())
    bench.start(kill=True)
    held = bench.position()
    assert (held.yes_qty_e9, held.cash_e9, held.fill_count) == (4 * E9, -2 * E9, 1)
    assert bench.states() == ["CANCELLED"] * 2
    assert bench.own.board("orders").read(0, 0).filled_e9 == 4 * E9
    bench.start(kill=True)
    assert bench.position().yes_qty_e9 == 4 * E9


def test_a_fill_left_over_is_booked_without_a_feed(monkeypatch, bench):
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 4)
    bench.world.pass_ms(60)
    monkeypatch.setattr(bench.role._boards, "publish_position", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.role.poll(bench.clock())
    bench.world.feed.close(remove=True)
    bench.start(kill=True)
    assert bench.position().yes_qty_e9 == 4 * E9


def test_a_halt_cancels_waits_and_leaves_nothing(monkeypatch, bench):
    bench.settle_in(valid_ms=60_000)
    monkeypatch.setattr(executor.runner.time, "sleep", lambda s: bench.world.pass_ms(s * 1000))
    began = bench.clock()
    bench.role.on_halt(began)
    assert bench.states() == ["CANCELLED"] * 2
    assert bench.clock() - began < 200 * bench.make.MS


def test_a_halt_is_bounded(monkeypatch, bench):
    bench.start(kill=True, halt_ns=30 * bench.make.MS)
    bench.settle_in(valid_ms=60_000)
    monkeypatch.setattr(executor.runner.time, "sleep", lambda s: bench.world.pass_ms(s * 1000))
    began = bench.clock()
    bench.role.on_halt(began)
    assert bench.clock() - began <= 40 * bench.make.MS
    assert bench.states() == ["CANCELLING"] * 2
    bench.start(kill=True)
    assert bench.states() == ["CANCELLED"] * 2


def test_an_idle_turn_is_no_work_and_waits_only_for_a_bell(bench):
    assert bench.turn(500) == 0
    assert bench.turn() == 0
    assert bench.role.due_ns() == 0


def test_the_bell_rings_once_a_turn_that_published(bench):
    bench.settle_in()
    before = bench.count(Counter.host_bells_rung)
    bench.world.show_trade(Side.SELL, 50, 2)
    bench.world.show_trade(Side.SELL, 50, 3)
    bench.turn(60)
    assert bench.count(Counter.executor_fills_received) == 2
    assert bench.count(Counter.host_bells_rung) == before + 1
    bench.turn()
    assert bench.count(Counter.host_bells_rung) == before + 1


FOREIGN = {
    "instruments": (0, 1),
    "pair_bbo": (0,),
    "depth": (0,),
    "trades": (0,),
    "settlement": (0,),
    "quotes": (0,),
}
"""Boards that others write, and the slots of the market on them."""


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_others_write_it_goes_on_and_its_own_records_stay_whole(bench, data):
    bench.segment.close(remove=True)
    bench.world.feed.close(remove=True)
    bench.world.feed = bench.world.start_feed()
    bench.start()
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 1)
    bench.world.show_outcome(Outcome.UNKNOWN)
    for _ in range(data.draw(st.integers(1, 4))):
        board = data.draw(st.sampled_from(sorted(FOREIGN)))
        slot = data.draw(st.sampled_from(FOREIGN[board]))
        segment = bench.strategy if board == "quotes" else bench.world.feed
        if data.draw(st.booleans()):
            spoil(segment, board, slot, data.draw(damages(board)))
        else:
            spoil_word(segment, *data.draw(stray_words({board: FOREIGN[board]})))
        bench.turn(data.draw(st.integers(0, 200)))
    bench.turn(100)
    bench.role.due_ns()
    bench.start(kill=True)
    assert bench.role._boards.is_known
    for record in bench.own.board("fills").stream().take():
        assert 0 < record.px_e9 < E9


def test_it_trades_again_once_the_damage_is_overwritten(bench):
    bench.settle_in()
    spoil(bench.world.feed, "pair_bbo", 0, {"yes_bid_px_e9": b"\xff" * 8})
    bench.turn(1)
    assert bench.states() == ["CANCELLING"] * 2
    assert bench.count(Counter.cache_record_unreadable) == 1
    for _ in range(3):
        bench.turn(1)
    assert bench.count(Counter.cache_record_unreadable) == 1, "it was told once"
    bench.turn(500)
    bench.world.show_book(49, 53)
    bench.want()
    bench.turn(500)
    bench.world.show_book(49, 53)
    bench.turn(200)
    assert bench.states()[-2:] == ["WORKING"] * 2


def test_a_print_that_is_none_fills_nothing_and_is_counted(bench):
    bench.settle_in()
    for damage in (
        {"side": b"\x09"},
        {"qty_e9": b"\xff" * 8},
        {"px_e9": b"\x7f" * 8},
        {"recv_ns": b"\x7f" * 8},
    ):
        bench.world.show_trade(Side.SELL, 50, 40)
        spoil(bench.world.feed, "trades", 0, damage)
    bench.world.show_trade(Side.SELL, 50, 40, name="a", index=7)  # No token of it.
    damaged = bench.world.feed.board("trades")
    assert damaged.version(0) == 9
    bench.role._feed._boards.trades.cursor = 1  # Only what was spoilt.
    bench.turn(200)
    assert bench.count(Counter.cache_record_unreadable) == 5


def test_a_winner_that_is_none_pays_nobody(bench):
    bench.settle_in()
    bench.world.show_outcome(Outcome.YES)
    spoil(bench.world.feed, "settlement", 0, {"outcome": b"\x09"})
    for _ in range(3):
        bench.turn(200)
    assert bench.position().settled == Outcome.UNKNOWN
    assert bench.count(Counter.cache_record_unreadable) == 1


@pytest.fixture
def said(capsys, monkeypatch):
    """What is written to the log from now on, as if it were the first time."""
    monkeypatch.setattr(SINK, "_repeats", {})
    return lambda: capsys.readouterr().err


@pytest.mark.parametrize("missing", ["pair_bbo", "trades"])
def test_a_feed_without_its_boards_is_refused_and_waited_for(bench, missing, said):
    world = bench.world
    world.feed.close(remove=True)
    boards = [p.spec for n, p in world.feed.places().items() if n != missing]
    foreign = world.writer("feed.polymarket.0", (*boards, BoardSpec(missing, DEPTH, 1, 4)))
    bench.turn(200)
    assert f"board '{missing}' holds depth, must hold" in said()
    foreign.close(remove=True)
    world.feed = world.start_feed()
    bench.settle_in()
    assert bench.states() == ["WORKING"] * 2


def test_with_a_damaged_record_of_its_own_it_trades_nothing_and_says_what_to_do(bench, said):
    bench.settle_in()
    bench.world.show_trade(Side.SELL, 50, 4)
    bench.turn(200)
    spoil(bench.segment, "fills", 0, {"side": b"\x09"})
    bench.start(kill=True)
    bench.world.list_market(1, name="b")
    bench.world.show_book(49, 53, slot=1)
    bench.want()
    bench.want(slot=1, name="b")
    for _ in range(5):
        bench.turn(200)
    assert set(bench.states()) <= {"CANCELLED", "FILLED"}
    assert bench.position().flags == Flag.SUSPECT
    assert bench.position(tag_of("polymarket", "b")).flags == Flag.SUSPECT
    text = said()
    assert text.count("position_unknown") == 1
    assert "penstock shm dump executor.paper" in text
    assert "penstock down" in text
    assert bench.count(Counter.cache_record_unreadable) == 1
