"""Runs of the whole strategy against feeds and an executor in real shared memory."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from cache.counters import Counter, CounterReader
from cache.layout import E9, Flag, Provenance, Reason, State, tag_of
from cache.segment import WriterSegment
from host.config import load
from strategy.inputs import Inputs
from strategy.link import LOOK_NS
from strategy.params import StrategyParams, strategy_params
from strategy.runner import SleepUntilDue, StrategyRunner, strategy_boards

CENT = E9 // 100
PARAMS = strategy_params(load(environ={}))
_QUOTE = replace(PARAMS.maker.quote, widen_e9=0, half_spread_e9=CENT)
PARAMS = replace(PARAMS, maker=replace(PARAMS.maker, market_weight=0.0, quote=_QUOTE))


class Strategy:
    """A strategy in this process; the test turns it by hand."""

    def __init__(self, world: Any, params: StrategyParams = PARAMS) -> None:
        self.world = world
        self.ahead_ns = 0
        self.segment = WriterSegment.create(
            "strategy.maker", strategy_boards(4), namespace=world.namespace
        )
        world.segments["strategy.maker"] = self.segment  # removed with the world
        inputs = Inputs(
            account="paper",
            families=params.families,
            namespace=world.namespace,
            counters=self.segment.counters,
        )
        self.role = StrategyRunner(self.segment, params, inputs)
        self.role.on_start(time.monotonic_ns())
        self.segment.set_state(State.RUN)

    def run(self) -> Reason:
        """One run in which every link looks again; the reason that is then on the board."""
        self.ahead_ns += 2 * LOOK_NS
        self.role.poll(time.monotonic_ns() + self.ahead_ns)
        self.role.run()
        found = self.world.quotes()
        assert found is not None
        return Reason(found.reason)

    def count(self, counter: Counter) -> int:
        return CounterReader(self.segment._words)[counter]

    def restart(self) -> Strategy:
        self.segment.close()
        return Strategy(self.world)


@pytest.fixture
def maker(world: Any) -> Strategy:
    return Strategy(world)


def test_with_everything_fresh_it_quotes_and_says_on_what(world: Any, maker: Strategy) -> None:
    assert maker.run() is Reason.QUOTING
    got = world.quotes()
    assert got.strategy_tag == tag_of("strategy", "maker")
    assert (got.bid_px_e9, got.ask_px_e9) == (49 * CENT, 51 * CENT)
    assert got.fair_px_e9 == E9 // 2
    assert (got.reference_px_e9, got.strike_e9) == (61_000 * E9, 61_000 * E9)
    assert got.book_version == world.segments["feed.polymarket.0"].board("pair_bbo").version(0)
    assert got.reference_version == world.segments["feed.binance.0"].board("bbo").version(0)
    assert 0 < got.book_age_ns < 10 * E9
    assert 0 < got.reference_age_ns < 10 * E9
    assert got.recv_ns <= got.publish_ns < got.valid_until_ns
    assert got.valid_until_ns == got.recv_ns + PARAMS.maker.valid_ns


def test_the_quotes_follow_the_reference(world: Any, maker: Strategy) -> None:
    maker.run()
    world.reference(61_034)
    maker.run()
    got = world.quotes()
    assert got.reference_px_e9 == 61_010 * E9
    assert got.fair_px_e9 > 52 * CENT


def broken_book(world: Any) -> None:
    world.book(flags=Flag.RESYNC)


def crossed_book(world: Any) -> None:
    world.book(52 * CENT, 51 * CENT, flags=Flag.CROSSED)


def warming_reference(world: Any) -> None:
    world.reference(flags=Flag.WARMUP)


def one_sided_reference(world: Any) -> None:
    world.reference(flags=Flag.NO_BID)


def unknown_strike(world: Any) -> None:
    world.settlement(0, Provenance.UNKNOWN)


def proxy_strike(world: Any) -> None:
    world.settlement(61_000, Provenance.PROXY)


def few_samples(world: Any) -> None:
    world.features(count=3)


def old_features(world: Any) -> None:
    world.features(age_ns=10 * E9)


def stale_book(world: Any) -> None:
    world.book(age_ns=3 * E9)
    for segment in world.segments.values():
        segment.set_link(time.monotonic_ns() - 3 * E9)


def halted_feed(world: Any) -> None:
    world.segments["feed.polymarket.0"].set_state(State.HALT)


def dead_reference(world: Any) -> None:
    segment = world.segments.pop("feed.binance.0")
    segment.heartbeat(time.monotonic_ns() - 5 * E9)
    segment.close()


def stalled_feed(world: Any) -> None:
    world.segments["feed.polymarket.0"].heartbeat(time.monotonic_ns() - 5 * E9)


def booting_executor(world: Any) -> None:
    world.segments["executor.paper"].set_state(State.BOOT)


def fill_without_position(world: Any) -> None:
    world.fill()


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (broken_book, Reason.UNTRUSTED_BOOK),
        (crossed_book, Reason.UNTRUSTED_BOOK),
        (stale_book, Reason.UNTRUSTED_BOOK),
        (halted_feed, Reason.UNTRUSTED_BOOK),
        (stalled_feed, Reason.UNTRUSTED_BOOK),
        (warming_reference, Reason.UNTRUSTED_REFERENCE),
        (dead_reference, Reason.UNTRUSTED_REFERENCE),
        (one_sided_reference, Reason.NO_REFERENCE),
        (unknown_strike, Reason.NO_STRIKE),
        (proxy_strike, Reason.NO_STRIKE),
        (few_samples, Reason.NO_VOLATILITY),
        (old_features, Reason.NO_VOLATILITY),
        (booting_executor, Reason.HALTED),
        (fill_without_position, Reason.HALTED),
    ],
)
def test_what_breaks_withdraws_the_quotes_and_says_why(
    world: Any, maker: Strategy, breaks: Any, reason: Reason
) -> None:
    assert maker.run() is Reason.QUOTING
    breaks(world)
    assert maker.run() is reason
    got = world.quotes()
    assert (got.bid_qty_e9, got.ask_qty_e9, got.keep) == (0, 0, 0)
    assert got.valid_until_ns <= time.monotonic_ns()


def test_a_short_suspect_keeps_the_standing_quotes(world: Any, maker: Strategy) -> None:
    maker.run()
    stood = world.quotes()
    world.book(flags=Flag.SUSPECT)
    assert maker.run() is Reason.UNTRUSTED_BOOK
    got = world.quotes()
    assert got.keep == 1
    assert (got.bid_px_e9, got.bid_qty_e9) == (stood.bid_px_e9, stood.bid_qty_e9)
    assert got.valid_until_ns < stood.valid_until_ns
    world.book()
    assert maker.run() is Reason.QUOTING


def test_nothing_is_there_yet_and_then_it_is(empty_world: Any) -> None:
    maker = Strategy(empty_world)
    maker.role.poll(time.monotonic_ns())
    empty_world.start_all()
    assert maker.run() is Reason.QUOTING


def test_a_feed_that_starts_anew_is_believed_when_its_new_incarnation_speaks(
    world: Any, maker: Strategy
) -> None:
    maker.run()
    world.restart("feed.polymarket.0", world.PM_BOARDS)
    assert maker.run() is Reason.NO_MARKET
    world.list_market(world.start_ns // E9)
    world.beat()
    assert maker.run() is Reason.UNTRUSTED_BOOK  # the old incarnation's book is WARMUP
    world.book()
    assert maker.run() is Reason.QUOTING  # strike and samples hold across incarnations


def test_samples_and_strike_survive_a_restart_of_the_reference_feed(
    world: Any, maker: Strategy
) -> None:
    maker.run()
    world.restart("feed.binance.0", world.BN_BOARDS)
    world.list_symbol()
    world.beat()
    assert maker.run() is Reason.UNTRUSTED_REFERENCE
    world.reference()
    assert maker.run() is Reason.QUOTING


def test_a_segment_that_is_replaced_is_attached_again(world: Any, maker: Strategy) -> None:
    maker.run()
    world.replace("feed.polymarket.0", world.PM_BOARDS)
    world.list_market(world.start_ns // E9)
    world.refresh()
    assert maker.run() is Reason.QUOTING
    assert maker.count(Counter.cache_segment_reattached) == 1


def test_a_market_that_is_listed_no_longer_is_withdrawn_and_its_slot_reused(
    world: Any, maker: Strategy
) -> None:
    maker.run()
    first = world.market_tag
    for number in range(1, 6):
        world.list_market(world.start_ns // E9 + 300 * number, generation=number)
        world.book()
        maker.run()
    last, world.market_tag = world.market_tag, first
    gone = world.quotes()
    assert gone is None  # five markets on four slots: the first one's was needed
    world.market_tag = last
    assert world.quotes().generation == 1


def test_a_position_moves_and_limits_the_quotes(world: Any, maker: Strategy) -> None:
    maker.run()
    flat = world.quotes()
    world.position(yes=100)
    maker.run()
    long = world.quotes()
    assert long.version > flat.version
    assert (long.bid_qty_e9, long.ask_px_e9) == (0, 49 * CENT + CENT)
    world.position(yes=100, no=100)
    maker.run()
    assert world.quotes().bid_qty_e9 == flat.bid_qty_e9


def test_a_changed_position_is_news_even_where_the_quotes_are_the_same(
    world: Any, maker: Strategy
) -> None:
    maker.run()
    before = world.quotes().version
    maker.role.run()
    assert world.quotes().version == before
    world.fill()
    world.position(yes=0)
    world.position(yes=1, no=0)
    maker.role.run()
    assert world.quotes().version == before + 1


def test_an_old_position_counts_only_once_the_new_executor_confirms_it(
    world: Any, maker: Strategy
) -> None:
    world.fill()
    world.position(yes=10)
    assert maker.run() is Reason.QUOTING
    world.restart("executor.paper", world.EXECUTOR_BOARDS)
    assert maker.run() is Reason.HALTED
    world.position(yes=10)
    assert maker.run() is Reason.QUOTING


def test_a_restarted_strategy_withdraws_first_and_keeps_its_slots(
    world: Any, maker: Strategy
) -> None:
    maker.run()
    stood = world.quotes()
    again = maker.restart()
    taken_back = world.quotes()
    assert taken_back.reason == Reason.HALTED
    assert taken_back.bid_qty_e9 == 0
    assert taken_back.version == stood.version + 1
    assert again.run() is Reason.QUOTING


def test_a_halt_withdraws(world: Any, maker: Strategy) -> None:
    maker.run()
    maker.role.on_halt(time.monotonic_ns())
    assert world.quotes().reason == Reason.HALTED
    assert world.quotes().bid_qty_e9 == 0


def test_after_the_host_slept_it_is_blind_for_a_while(
    world: Any, maker: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.run()
    maker.role.on_suspend(5 * E9)
    assert maker.run() is Reason.HALTED
    monkeypatch.setattr(maker.role, "_blind_ns", 0)
    assert maker.run() is Reason.QUOTING


def test_another_family_is_left_alone(world: Any) -> None:
    maker = Strategy(world, replace(PARAMS, families=frozenset({"eth-updown-5m"})))
    maker.role.poll(time.monotonic_ns())
    assert world.quotes() is None


def test_a_proxy_strike_is_quoted_on_where_that_is_wanted(world: Any) -> None:
    wanted = replace(PARAMS, maker=replace(PARAMS.maker, strike_min=Provenance.PROXY))
    maker = Strategy(world, wanted)
    world.settlement(61_024, Provenance.PROXY, twap=None)
    assert maker.run() is Reason.QUOTING
    # No point of the source ever came: strike and reference are in the reference's own terms.
    assert world.quotes().reference_px_e9 == 61_024 * E9
    assert world.quotes().model_px_e9 == E9 // 2


def test_runs_keep_to_the_grid_and_missed_ones_are_not_made_up(maker: Strategy) -> None:
    role, interval = maker.role, PARAMS.interval_ns
    start = role.due_ns()
    assert role.poll(start - 1) == 0
    assert role.poll(start + 5) == 1
    assert role.due_ns() == start + interval
    assert role.poll(start + interval - 1) == 0
    assert role.poll(start + 10 * interval) == 1
    assert role.due_ns() == start + 11 * interval
    assert maker.count(Counter.strategy_ticks_late) == 1


def test_on_a_bell_it_runs_when_something_new_came_but_not_too_often(world: Any) -> None:
    params = replace(PARAMS, bell_interval_ns=2_000_000, interval_ns=E9)
    maker = Strategy(world, params)
    role = maker.role
    now_ns = time.monotonic_ns()
    assert role.poll(now_ns) == 1
    assert [segment.role for segment in role.bells] == [
        "feed.polymarket.0", "feed.binance.0", "executor.paper"
    ]  # fmt: skip
    assert role.poll(now_ns + 5_000_000) == 0  # nothing new
    world.book()
    assert role.poll(now_ns + 1_000_000) == 0  # too soon
    assert role.due_ns() == now_ns + 2_000_000  # and it wants to be woken for it
    assert role.poll(now_ns + 2_000_000) == 1
    assert role.due_ns() == now_ns + 2_000_000 + E9
    assert role.poll(now_ns + 2_000_000 + E9) == 1  # at the rate at the least


def test_idling_ends_when_the_next_run_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("strategy.runner.time.sleep", slept.append)
    monkeypatch.setattr("strategy.runner.time.monotonic_ns", lambda: 1_000)
    idle = SleepUntilDue([])
    idle.idle(1, 5_000)
    idle.idle(0, 500)
    idle.idle(0, 3_000)
    assert slept == [2e-6]


def test_each_run_is_counted_and_so_is_each_quote_withheld(world: Any, maker: Strategy) -> None:
    runs, withheld = (
        maker.count(c) for c in (Counter.strategy_ticks_run, Counter.strategy_quotes_withheld)
    )
    maker.role.run()
    world.settlement(0, Provenance.UNKNOWN)
    maker.role.run()
    assert maker.count(Counter.strategy_ticks_run) == runs + 2
    assert maker.count(Counter.strategy_quotes_withheld) == withheld + 1
