"""One flow for every tick: inputs frozen -> workers -> planner -> cleared, whatever happens.

    start_run(anchor) -> set_dto(inputs) -> each Worker.process(cache) -> Planner.plan(cache)
        -> publish, one decision after the other -> clear()

Signals and threats are workers: each reads what was frozen and what workers before it found, and
adds its own. The planner makes decisions of it, and each is handed on as soon as it is made.

A worker that raises is our own fault, not the venue's. Then nothing that this strategy wants may
stand: `withdraw` is called once the run is cleared, and the fault goes on to the process frame,
which says FAIL and ends the process; its next start is the recovery, and a crash loop is braked.
What was published before the fault was decided in full, and is withdrawn with the rest. The
invariant: after a flow, ended or broken off, the cache is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from strategy.strategy_cache import IStrategyCache, RunAnchor

Decision = TypeVar("Decision")
Made = TypeVar("Made", covariant=True)


class Worker(Protocol):
    """Finds something in what was frozen, and says so in the cache: a signal, a threat."""

    def process(self, cache: IStrategyCache) -> None:
        """Read DTOs of this run, add others."""


class Planner(Protocol[Made]):
    """Makes decisions of what the workers found."""

    def plan(self, cache: IStrategyCache) -> Iterator[Made]:
        """Give the decisions of this run, the most pressing first."""


class TickManager(Generic[Decision]):
    """Runs the flow of one strategy. Belongs to one thread."""

    def __init__(
        self,
        cache: IStrategyCache,
        workers: Sequence[Worker],
        planner: Planner[Decision],
        *,
        publish: Callable[[Decision], None],
        withdraw: Callable[[], None],
    ) -> None:
        self._cache = cache
        self._workers = workers
        self._planner = planner
        self._publish = publish
        self._withdraw = withdraw

    def run(self, anchor: RunAnchor, inputs: Iterable[tuple[str, Struct]]) -> None:
        """Run one tick. Raises what a worker, the planner or an input raised."""
        cache = self._cache
        cache.start_run({}, anchor)
        try:
            try:
                for key, dto in inputs:
                    cache.set_dto(key, dto)
                for worker in self._workers:
                    worker.process(cache)
                for decision in self._planner.plan(cache):
                    self._publish(decision)
            finally:
                cache.clear()
        except BaseException:
            self._withdraw()
            raise
