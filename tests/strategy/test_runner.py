"""Runs of the whole strategy against feeds and an executor in real shared memory."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from cache.counters import Counter, CounterReader, Histogram
from cache.layout import BBO, E9, Flag, Provenance, Reason, State, tag_of
from cache.segment import WriterSegment
from host.config import load
from strategy.inputs import Inputs
from strategy.link import LOOK_NS
from strategy.params import StrategyParams, strategy_params
from strategy.runner import REST_NS, SleepUntilDue, StrategyRunner, strategy_boards
from strategy.strategy_cache import RunAnchor, StrategyCache, StrategyCacheType, T
from tests.system.damage import damages, spoil, spoil_word, stray_words

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
            has_depth=params.micro_levels > 0,
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
        (booting_executor, Reason.NO_POSITION),
        (fill_without_position, Reason.NO_POSITION),
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
    assert maker.run() is Reason.NO_POSITION
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


FOREIGN = {
    "feed.polymarket.0": {"instruments": 2, "pair_bbo": 1, "settlement": 1},
    "feed.binance.0": {"instruments": 1, "bbo": 1, "features": 1, "samples": 1},
    "executor.paper": {"positions": 1, "fills": 1},
}
"""Boards that others write, and how many slots of each are in use."""


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_others_write_it_goes_on_and_says_why_it_does_not_quote(
    world: Any, data: st.DataObject
) -> None:
    world.close()
    world.start_all()
    world.position(yes=10)
    maker = Strategy(world)
    maker.run()
    for _ in range(data.draw(st.integers(1, 5))):
        role = data.draw(st.sampled_from(sorted(FOREIGN)))
        board = data.draw(st.sampled_from(sorted(FOREIGN[role])))
        slot = data.draw(st.integers(0, FOREIGN[role][board] - 1))
        if data.draw(st.booleans()):
            spoil(world.segments[role], board, slot, data.draw(damages(board)))
        else:
            spoil_word(world.segments[role], *data.draw(stray_words({board: (slot,)})))
        maker.run()
    maker = maker.restart()
    maker.run()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damages("quotes", keep=()))
def test_whatever_its_predecessor_left_it_starts_and_quotes(
    world: Any, damage: dict[str, bytes]
) -> None:
    world.close()
    world.start_all()
    maker = Strategy(world)
    maker.run()
    spoil(maker.segment, "quotes", 0, damage)
    maker = maker.restart()
    maker.run()
    maker.role.on_halt(time.monotonic_ns())


@pytest.mark.parametrize(
    "damage", [{"flags": b"\x02"}, {"yes_qty_e9": b"\xff" * 8}, {"no_qty_e9": b"\xff" * 8}]
)
def test_a_position_that_its_executor_does_not_know_quotes_nothing(
    world: Any, maker: Strategy, damage: dict[str, bytes]
) -> None:
    world.position(yes=10)
    assert maker.run() is Reason.QUOTING
    spoil(world.segments["executor.paper"], "positions", 0, damage)
    assert maker.run() is Reason.NO_POSITION


def test_a_strike_of_no_provenance_is_none(world: Any, maker: Strategy) -> None:
    assert maker.run() is Reason.QUOTING
    spoil(world.segments["feed.polymarket.0"], "settlement", 0, {"strike_provenance": b"\x09"})
    assert maker.run() is Reason.NO_STRIKE


# --- the warmup, and faults of our own --------------------------------------------------------


def test_until_enough_books_came_it_warms_up_and_then_quotes(world: Any) -> None:
    running = world.market_tag
    world.list_market(world.start_ns // E9 + 300, slot=1)
    world.market_tag = running
    maker = Strategy(world)
    assert maker.run() is Reason.WARMING_UP
    assert world.quotes().bid_qty_e9 == 0
    world.book(slot=1)
    assert maker.run() is Reason.QUOTING


def test_a_token_that_never_comes_is_disabled_and_the_others_are_quoted(world: Any) -> None:
    running = world.market_tag
    late = world.list_market(world.start_ns // E9 + 300, slot=1)
    world.market_tag = running
    maker = Strategy(world, replace(PARAMS, warmup_timeout_ns=300_000_000))
    assert maker.run() is Reason.WARMING_UP
    time.sleep(0.31)
    assert maker.run() is Reason.QUOTING
    world.market_tag = late
    assert world.quotes().reason == Reason.DISABLED
    world.book(slot=1)
    assert maker.run() is Reason.DISABLED
    assert maker.count(Counter.strategy_tokens_disabled) == 2


@pytest.mark.parametrize("part", ["_obstacle", "_signal", "_quotes"])
def test_a_fault_of_our_own_withdraws_everything_and_goes_on_to_the_frame(
    world: Any, maker: Strategy, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    assert maker.run() is Reason.QUOTING

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a worker raised")

    with monkeypatch.context() as broken:
        broken.setattr(f"strategy.market_maker.{part}", fail)
        world.book()
        with pytest.raises(ZeroDivisionError, match="a worker raised"):
            maker.role.run()
    got = world.quotes()
    assert (got.reason, got.bid_qty_e9, got.ask_qty_e9) == (Reason.HALTED, 0, 0)
    assert got.valid_until_ns == 0
    assert maker.run() is Reason.QUOTING  # nothing of the broken run is left in the cache


class Told(StrategyCache):
    """A cache that writes down what it was asked."""

    calls: ClassVar[list[str]] = []
    anchors: ClassVar[list[RunAnchor]] = []

    def start_run(self, tick_cache: StrategyCacheType, timestamp: datetime | RunAnchor) -> None:
        super().start_run(tick_cache, timestamp)
        self.calls.append("start")
        self.anchors.append(self.get_run_anchor())

    def set_dto(self, key: str, dto: Struct) -> None:
        super().set_dto(key, dto)
        self.calls.append(f"set {key}")

    def get_dtos(self, key: str, dto_type: type[T]) -> list[T]:
        self.calls.append(f"get {key}")
        return super().get_dtos(key, dto_type)

    def clear(self) -> None:
        self.calls.append("clear")
        super().clear()


def test_each_run_is_frozen_in_the_cache_decided_from_it_and_cleared(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategy.runner.StrategyCache", Told)
    maker = Strategy(world)
    Told.calls.clear()
    Told.anchors.clear()
    assert maker.run() is Reason.QUOTING
    run = Told.calls[: Told.calls.index("clear") + 1]
    assert run == [
        "start", "set views",
        "get views",  # threats
        "get threats", "get views", "set signals",
        "get threats", "get signals", "get views",  # planner
        "clear",
    ]  # fmt: skip
    world.reference(flags=Flag.SUSPECT)
    maker.run()
    assert "set threats" in Told.calls
    assert Told.calls.count("start") == Told.calls.count("clear") == len(Told.anchors)
    assert len({anchor.run_id for anchor in Told.anchors}) == len(Told.anchors)
    assert {(one.strategy_id, one.mode) for one in Told.anchors} == {("maker", PARAMS.mode)}


# --- causes, rest, and that nothing changed ---------------------------------------------------


def histogram_count(maker: Strategy, histogram: Histogram) -> int:
    return int(CounterReader(maker.segment._words).buckets(histogram).sum())


def test_quotes_name_the_newest_input_that_made_them_others(world: Any, maker: Strategy) -> None:
    maker.run()
    assert world.quotes().cause_ns == 0  # nothing came since a run before: there was none
    world.book(47 * CENT, 49 * CENT)
    world.reference(61_030)
    newest = world.segments["feed.binance.0"].board("bbo").last(0)
    maker.run()
    got = world.quotes()
    assert got.bid_px_e9 != 49 * CENT
    assert got.cause_ns == newest.recv_ns
    assert histogram_count(maker, Histogram.slot_to_quote_ns) == 1


def test_renewed_quotes_and_those_that_time_or_a_position_changed_have_no_cause(
    world: Any, maker: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.run()
    before = world.quotes()
    world.book()  # new, and changes nothing
    ahead_ns = PARAMS.maker.valid_ns // 4
    monkeypatch.setattr("strategy.runner.monotonic_ns", lambda: time.monotonic_ns() + ahead_ns)
    maker.run()
    renewed = world.quotes()
    assert (renewed.version, renewed.cause_ns) == (before.version + 1, 0)
    world.position(yes=90)
    maker.run()
    skewed = world.quotes()
    assert skewed.bid_px_e9 != renewed.bid_px_e9
    assert skewed.cause_ns == 0
    assert histogram_count(maker, Histogram.slot_to_quote_ns) == 0


def test_a_record_that_was_published_again_without_new_bytes_is_no_cause(
    world: Any, maker: Strategy
) -> None:
    maker.run()
    bbo = world.segments["feed.binance.0"].board("bbo")
    last = bbo.last(0)
    again = {name: getattr(last, name) for name in BBO.value_names} | {"flags": Flag.CROSSED}
    bbo.publish(0, tuple(again.values()))
    assert maker.run() is Reason.UNTRUSTED_REFERENCE
    assert world.quotes().cause_ns == 0


@pytest.mark.parametrize("bell_ns", [None, 2_000_000])
def test_where_nothing_is_wanted_it_rests_until_something_new_comes(
    world: Any, bell_ns: int | None
) -> None:
    params = replace(PARAMS, bell_interval_ns=bell_ns)
    maker = Strategy(world, params)
    world.settlement(0, Provenance.UNKNOWN)
    maker.run()
    ran_ns, tick_ns = maker.role._ran_ns, params.interval_ns
    runs = [maker.role.poll(ran_ns + tick * tick_ns) for tick in (1, 2, 3, 4, 5)]
    assert runs == [0, 0, 0, 1, 0]
    if bell_ns is not None:
        assert maker.role.due_ns() == ran_ns + 4 * tick_ns + REST_NS
    world.settlement()
    assert maker.role.poll(ran_ns + 6 * tick_ns) == 1
    assert world.quotes().reason == Reason.QUOTING
    assert maker.role.poll(ran_ns + 7 * tick_ns) == 1  # and now time may change it


def test_where_time_alone_may_begin_a_quote_it_does_not_rest(world: Any) -> None:
    out = replace(PARAMS.maker, quote=replace(_QUOTE, px_min_e9=90 * CENT))
    maker = Strategy(world, replace(PARAMS, maker=out))
    assert maker.run() is Reason.LIMIT
    ran_ns, tick_ns = maker.role._ran_ns, PARAMS.interval_ns
    assert [maker.role.poll(ran_ns + tick * tick_ns) for tick in (1, 2, 3)] == [1, 1, 1]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 10**16  # later than whenever the machine really started

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return 1_780_000_000 * E9 + self.now_ns


def test_a_long_series_of_inputs_is_decided_as_it_always_was(
    empty_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest is that of a runner that kept nothing from run to run but what it must."""
    clock, dice, world = Clock(), random.Random(11), empty_world
    monkeypatch.setattr(sys.modules["strategy_world"], "time", clock)
    monkeypatch.setattr("strategy.link.monotonic_ns", clock.monotonic_ns)
    monkeypatch.setattr("strategy.runner.monotonic_ns", clock.monotonic_ns)
    monkeypatch.setattr("strategy.runner.wall_ns", clock.time_ns)
    world.start_all()
    maker = Strategy(world)
    decided, reasons = [], set()
    mid, cents, strike = 61_024, 50, Provenance.STREAM
    for _ in range(1_500):
        clock.now_ns += dice.randrange(5, 400) * 1_000_000
        if dice.random() < 0.9:
            world.beat()
        if dice.random() < 0.5:
            mid += dice.randrange(-3, 4)
            world.reference(mid, flags=dice.choice([0] * 20 + [Flag.SUSPECT, Flag.NO_BID]))
        if dice.random() < 0.5:
            cents = min(max(cents + dice.randrange(-2, 3), 3), 97)
            flags = dice.choice([0] * 20 + [Flag.SUSPECT, Flag.CROSSED, Flag.RESYNC])
            world.book((cents - 1) * CENT, (cents + 1) * CENT, flags=flags)
        if dice.random() < 0.3:
            world.features(dice.randrange(5, 12), count=dice.choice([60] * 20 + [3]))
        for second in range(world.samples_until_s + 1, clock.time_ns() // E9 + 1):
            world.sample(second, mid)
        if dice.random() < 0.2:
            strike = dice.choice([Provenance.STREAM] * 9 + [Provenance.PROXY])
            world.settlement(61_000, strike, twap=mid - dice.randrange(20, 28))
        if dice.random() < 0.02:
            world.position(yes=dice.randrange(0, 20))
        if clock.time_ns() > world.start_ns + 310 * E9:
            world.list_market(clock.time_ns() // E9, generation=1)
            world.book()
            world.settlement()
        maker.role.poll(clock.now_ns)
        got = world.quotes()
        if got is not None:
            reasons.add(got.reason)
            decided.append((got.bid_px_e9, got.bid_qty_e9, got.ask_px_e9, got.ask_qty_e9, got.keep))
    assert len(reasons) >= 6
    digest = hashlib.blake2b(repr(decided).encode(), digest_size=8).hexdigest()
    assert digest == "95a9c7e0a0cc447c"
