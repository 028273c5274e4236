"""Which tokens the warmup is about, when each is ready, and what is said of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from cache.counters import Counter, CounterReader
from cache.gate import Witness
from cache.layout import Flag, Reason
from cache.liveness import Liveness
from cache.segment import WriterSegment
from host.config import load
from host.log import SINK
from strategy.inputs import Inputs
from strategy.params import StrategyParams, strategy_params
from strategy.pricing import NS
from strategy.runner import strategy_boards
from strategy.strategy_cache import RunAnchor, RunMode
from strategy.warming import Admissions
from tests.system.damage import spoil

PARAMS = strategy_params(load(environ={}))
TIMEOUT = PARAMS.warmup_timeout_ns


class Session:
    """A session's admissions, with a clock that the test moves."""

    def __init__(self, world: Any, params: StrategyParams = PARAMS) -> None:
        self.world = world
        self.segment = WriterSegment.create("eye", strategy_boards(1), namespace=world.namespace)
        world.segments["eye"] = self.segment
        self.inputs = Inputs(
            account="paper", families=params.families, namespace=world.namespace,
            counters=self.segment.counters, has_depth=params.micro_levels > 0,
        )  # fmt: skip
        self.inputs.refresh(0)
        self.admissions = Admissions(params, self.segment.counters)

    def take(
        self, later_ns: int = 0, *, wall_later_ns: int = 0, incarnation: int = 1,
        liveness: Liveness = Liveness.LIVE,
    ) -> list[Reason]:  # fmt: skip
        """What is said of each market that is listed, those that end soonest first."""
        look = self.inputs.look()
        wall_ns = time.time_ns() + wall_later_ns
        anchor = RunAnchor(time.monotonic_ns() + later_ns, wall_ns, "1", "maker", RunMode.PAPER)
        self.admissions.take(look, Witness(liveness, incarnation, 0), anchor)
        return [self.admissions.of(sight.pair) for sight in look.markets.values()]

    def count(self, counter: Counter) -> int:
        return CounterReader(self.segment._words)[counter]


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault was told yet: one that was just told is only counted."""
    monkeypatch.setattr(SINK, "_repeats", {})


@pytest.fixture
def two(world: Any) -> Any:
    """The running window with a book, and the next one without."""
    world.list_market(world.start_ns // NS + 300, slot=1)
    return world


def test_with_all_books_there_it_is_open_at_once_and_says_so(
    two: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    two.book(slot=1)
    assert Session(two).take() == [Reason.QUOTING, Reason.QUOTING]
    said = capsys.readouterr().err
    assert "warmed_up" in said
    assert "ready=4/4" in said


def test_too_few_books_hold_all_back_until_more_come(two: Any) -> None:
    session = Session(two)
    assert session.take() == [Reason.WARMING_UP, Reason.WARMING_UP]
    two.book(slot=1)
    assert session.take() == [Reason.QUOTING, Reason.QUOTING]


@pytest.mark.parametrize("flag", [Flag.WARMUP, Flag.RESYNC])
def test_a_book_that_is_not_whole_yet_is_not_ready(two: Any, flag: Flag) -> None:
    session = Session(two)
    two.book(slot=1, flags=flag)
    assert session.take() == [Reason.WARMING_UP, Reason.WARMING_UP]
    two.book(slot=1, flags=Flag.SUSPECT)  # whole, and the gate's business
    assert session.take() == [Reason.QUOTING, Reason.QUOTING]


def test_a_book_of_an_older_incarnation_is_not_ready(world: Any) -> None:
    assert Session(world).take(incarnation=2) == [Reason.WARMING_UP]


def test_after_the_timeout_trading_opens_and_who_never_came_is_disabled_and_named_once(
    two: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(two)
    session.take()
    assert session.take(TIMEOUT + NS) == [Reason.QUOTING, Reason.DISABLED]
    said = capsys.readouterr().err
    assert "warmup_expired" in said
    assert "ready=2/4" in said
    tokens = [f"{two.start_ns // NS}{side}" for side in (1, 2)]
    assert f"tokens={','.join(tokens)}" in said
    two.book(slot=1)  # too late
    assert session.take(2 * TIMEOUT) == [Reason.QUOTING, Reason.DISABLED]
    assert "disabled" not in capsys.readouterr().err
    assert session.count(Counter.strategy_tokens_disabled) == 2
    assert session.count(Counter.strategy_warmups_expired) == 1


def test_a_window_that_rolls_in_later_is_the_gates_business(two: Any) -> None:
    two.book(slot=1)
    session = Session(two)
    session.take()
    two.list_market(two.start_ns // NS + 300, slot=2)
    assert session.take(100 * TIMEOUT) == [Reason.QUOTING] * 3


def test_windows_that_are_over_or_far_away_are_not_waited_for(two: Any) -> None:
    now_s = time.time_ns() // NS
    two.book(slot=1)
    two.list_market(now_s - 301, slot=2)
    two.list_market(now_s + 900, slot=3)
    assert Session(two).take() == [Reason.QUOTING] * 4


def test_while_others_warm_up_they_are_told_by_their_time_until_it_comes(two: Any) -> None:
    two.list_market(time.time_ns() // NS + 900, slot=2)
    session = Session(two)
    assert session.take() == [Reason.WARMING_UP, Reason.WARMING_UP, Reason.QUOTING]
    assert session.take(wall_later_ns=700 * NS)[2] is Reason.WARMING_UP


def test_a_market_whose_time_is_over_is_held_back_no_longer(two: Any) -> None:
    session = Session(two)
    assert session.take() == [Reason.WARMING_UP, Reason.WARMING_UP]
    assert session.take(wall_later_ns=301 * NS)[0] is Reason.QUOTING


def test_a_market_without_a_window_is_waited_for(world: Any) -> None:
    world.list_market(0, slot=1, length_s=0)
    assert Session(world).take() == [Reason.WARMING_UP, Reason.WARMING_UP]


def test_both_tokens_of_a_market_must_come(two: Any) -> None:
    session = Session(two)
    two.book(slot=1)
    spoil(two.segments["feed.polymarket.0"], "pair_bbo", 1, {"no_flags": bytes([Flag.WARMUP])})
    assert session.take() == [Reason.WARMING_UP, Reason.WARMING_UP]
    two.book(slot=1)
    assert session.take() == [Reason.QUOTING, Reason.QUOTING]


def test_tokens_that_fail_later_are_named_with_those_that_failed_before(
    two: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(two, replace(PARAMS, warmup_fraction=1.0))
    session.take()
    two.list_market(two.start_ns // NS + 1, slot=2)
    session.take(NS)
    session.take(TIMEOUT + NS // 2)
    SINK._repeats.clear()  # A repeated fault is told later, and then by its last words.
    session.take(TIMEOUT + 2 * NS)
    last = [line for line in capsys.readouterr().err.splitlines() if "tokens_disabled" in line][-1]
    assert last.count(",") == 3, last


def test_while_the_feed_does_not_live_nothing_is_judged(two: Any) -> None:
    session = Session(two)
    session.take()
    later = session.take(TIMEOUT + NS, liveness=Liveness.WRITER_DEAD)
    assert later == [Reason.WARMING_UP, Reason.WARMING_UP]
    two.book(slot=1)
    assert session.take(TIMEOUT + 2 * NS) == [Reason.QUOTING, Reason.QUOTING]


def test_where_the_book_store_is_off_there_is_no_warmup(two: Any) -> None:
    session = Session(two, replace(PARAMS, has_warmup=False))
    assert session.take() == [Reason.QUOTING, Reason.QUOTING]


def test_fraction_and_timeout_are_the_configurations() -> None:
    environ = {
        "BOOK_STORE_WARMUP_TIMEOUT_MS": "1500", "BOOK_STORE_WARMUP_MIN_READY_FRACTION": "0.5",
        "HFT_BOOK_CACHE_ENABLED": "0",
    }  # fmt: skip
    params = strategy_params(load(environ=environ))
    assert params.warmup_timeout_ns == 1_500_000_000
    assert params.warmup_fraction == 0.5
    assert not params.has_warmup
    assert (PARAMS.has_warmup, PARAMS.warmup_timeout_ns, PARAMS.warmup_fraction) == (
        True, 10 * NS, 0.8
    )  # fmt: skip


def test_half_of_the_tokens_is_enough_where_that_is_wanted(
    two: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(two, replace(PARAMS, warmup_fraction=0.5))
    assert session.take() == session.take() == [Reason.QUOTING, Reason.QUOTING]
    assert capsys.readouterr().err.count("warmed_up") == 1  # though two are still waited for
    assert session.take(TIMEOUT + NS) == [Reason.QUOTING, Reason.DISABLED]
    assert session.count(Counter.strategy_warmups_expired) == 0
