"""One flow for every tick, and what becomes of it when something raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct

from strategy.strategy_cache import (
    CacheAlreadyConfiguredError,
    CacheNotConfiguredError,
    IStrategyCache,
    RunAnchor,
    RunMode,
    StrategyCache,
)
from strategy.tick_manager import TickManager

ANCHOR = RunAnchor(1, 2, "1-1", "maker", RunMode.PAPER)


class Note(Struct, frozen=True):
    """A DTO of any kind."""

    text: str


class Flow:
    """A flow whose every part writes down that it ran, or raises where it is told to."""

    def __init__(self, fails_in: str = "") -> None:
        self.fails_in = fails_in
        self.fault: type[BaseException] = ZeroDivisionError
        self.steps: list[str] = []
        self.cache = StrategyCache()
        self.manager: TickManager[str] = TickManager(
            self.cache,
            (Part(self, "threats"), Part(self, "signals")),
            self,
            publish=self.publish,
            withdraw=self.withdraw,
        )

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fails_in:
            raise self.fault(name)

    def inputs(self) -> Iterator[tuple[str, Note]]:
        self.step("input")
        yield "views", Note("first")
        yield "views", Note("second")

    def plan(self, cache: IStrategyCache) -> Iterator[str]:
        self.step("plan")
        assert [note.text for note in cache.get_dtos("found", Note)] == ["threats", "signals"]
        for view in cache.get_dtos("views", Note):
            yield view.text

    def publish(self, decision: str) -> None:
        self.step(f"publish {decision}")

    def withdraw(self) -> None:
        with pytest.raises(CacheNotConfiguredError):
            self.cache.get_run_anchor()
        self.step("withdraw")

    def run(self) -> None:
        self.manager.run(ANCHOR, self.inputs())


class Part:
    """A worker."""

    def __init__(self, flow: Flow, name: str) -> None:
        self.flow, self.name = flow, name

    def process(self, cache: IStrategyCache) -> None:
        self.flow.step(self.name)
        assert cache.get_run_anchor() is ANCHOR
        assert len(cache.get_dtos("views", Note)) == 2
        cache.set_dto("found", Note(self.name))


WHOLE = ["input", "threats", "signals", "plan", "publish first", "publish second"]


def test_inputs_are_frozen_before_the_workers_run_and_these_before_the_planner() -> None:
    flow = Flow()
    flow.run()
    assert flow.steps == WHOLE


def test_after_a_flow_the_cache_is_empty_and_the_next_one_runs() -> None:
    flow = Flow()
    for count in (1, 2, 3):
        flow.run()
        assert flow.steps == WHOLE * count
        with pytest.raises(CacheNotConfiguredError):
            flow.cache.has_dto("views")


@pytest.mark.parametrize("part", WHOLE)
def test_whatever_raises_the_run_is_cleared_the_quotes_withdrawn_and_the_fault_told(
    part: str,
) -> None:
    flow = Flow(fails_in=part)
    with pytest.raises(ZeroDivisionError, match=part):
        flow.run()
    assert flow.steps == [*WHOLE[: WHOLE.index(part) + 1], "withdraw"]
    flow.fails_in, flow.steps = "", []
    flow.run()
    assert flow.steps == WHOLE


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_so_it_is_when_what_is_raised_is_no_fault_but_an_end(fault: type[BaseException]) -> None:
    flow = Flow(fails_in="signals")
    flow.fault = fault
    with pytest.raises(fault):
        flow.run()
    assert flow.steps == ["input", "threats", "signals", "withdraw"]
    with pytest.raises(CacheNotConfiguredError):
        flow.cache.get_run_anchor()


def test_a_decision_is_handed_on_before_the_next_one_is_made() -> None:
    flow = Flow()

    def plan(cache: IStrategyCache) -> Iterator[str]:
        for view in cache.get_dtos("views", Note):
            flow.step(f"decide {view.text}")
            yield view.text

    flow.plan = plan  # type: ignore[method-assign]
    flow.run()
    first = ["decide first", "publish first"]
    assert flow.steps[3:] == [*first, "decide second", "publish second"]


def test_a_worker_that_ends_the_run_itself_is_a_fault_like_any_other() -> None:
    flow = Flow()
    clearing = Part(flow, "threats")
    clearing.process = lambda cache: cache.clear()  # type: ignore[method-assign]
    manager: TickManager[str] = TickManager(
        flow.cache, (clearing, Part(flow, "signals")), flow, publish=flow.publish,
        withdraw=flow.withdraw,
    )  # fmt: skip
    with pytest.raises(CacheNotConfiguredError):
        manager.run(ANCHOR, flow.inputs())
    assert flow.steps == ["input", "signals", "withdraw"]


def test_an_input_that_is_no_dto_is_a_fault_like_any_other() -> None:
    flow = Flow()
    inputs: Any = [("views", "text")]
    with pytest.raises(TypeError, match="got str"):
        flow.manager.run(ANCHOR, inputs)
    assert flow.steps == ["withdraw"]


@pytest.mark.parametrize("fails_in", ["", "signals"])
def test_a_cache_that_cannot_be_cleared_is_a_fault_like_any_other(fails_in: str) -> None:
    class Stuck(StrategyCache):
        def clear(self) -> None:
            super().clear()
            raise MemoryError

    flow = Flow(fails_in)
    flow.cache = Stuck()
    manager: TickManager[str] = TickManager(
        flow.cache, (Part(flow, "threats"), Part(flow, "signals")), flow, publish=flow.publish,
        withdraw=flow.withdraw,
    )  # fmt: skip
    with pytest.raises(MemoryError):
        manager.run(ANCHOR, flow.inputs())
    assert flow.steps[-1] == "withdraw"


def test_a_flow_inside_another_is_refused_and_the_other_goes_on() -> None:
    flow = Flow()
    flow.cache.start_run({}, ANCHOR)
    with pytest.raises(CacheAlreadyConfiguredError):
        flow.run()
    assert flow.steps == []
    assert flow.cache.get_run_anchor() is ANCHOR
