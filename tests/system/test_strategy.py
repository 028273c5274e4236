"""The strategy as a process of its own, on feeds and an executor that the test writes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cache.counters import Counter
from cache.layout import E9, Provenance, Reason, State
from cache.liveness import Liveness
from cache.segment import ReaderSegment

ROOT = Path(__file__).resolve().parent.parent.parent
WORLD_PATH = Path(__file__).resolve().parent / "strategy_world.py"
TIMEOUT_S = 10.0
NS = 1_000_000_000


def load_world() -> Any:
    name = "strategy_world"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, WORLD_PATH)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Stage:
    """A world and the strategy processes in it."""

    def __init__(self, world: Any, log: Path) -> None:
        self.world = world
        self.processes: list[subprocess.Popen[bytes]] = []
        self._log = log

    def spawn(self, *command: str, **settings: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {"PENSTOCK_HOST_NAMESPACE": self.world.namespace} | settings
        environ["PYTHONPATH"] = str(ROOT)
        command = command or ("-m", "strategy")
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environ, stderr=log, stdout=log
            )
        self.processes.append(process)
        return process

    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, what: Callable[[], bool], refresh: Callable[[], None]) -> float:
        """Keep the world as `refresh` makes it until `what` holds; the seconds it took."""
        began_s = time.monotonic()
        while not what():
            took_s = time.monotonic() - began_s
            assert took_s < TIMEOUT_S, f"timed out:\n{self._log.read_text()}"
            refresh()
            time.sleep(0.01)
        return time.monotonic() - began_s

    def reason(self) -> Reason | None:
        try:
            found = self.world.quotes()
        except load_world().SegmentMissing:
            return None
        return None if found is None else Reason(found.reason)

    def wait_for_reason(self, reason: Reason, refresh: Callable[[], None] | None = None) -> float:
        return self.wait_for(lambda: self.reason() is reason, refresh or self.world.refresh)

    def attach(self) -> ReaderSegment:
        return ReaderSegment.attach("strategy.maker", namespace=self.world.namespace)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    worlds = load_world().make_world("process")
    world = next(worlds)
    made = Stage(world, tmp_path / "strategy.log")
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=TIMEOUT_S)
    load_world().remove("strategy.maker", namespace=world.namespace)
    worlds.close()


@pytest.mark.parametrize("trigger", ["rate", "bell"])
def test_it_starts_before_its_inputs_and_quotes_when_they_are_there(
    stage: Stage, trigger: str
) -> None:
    process = stage.spawn(PENSTOCK_STRATEGY_TRIGGER=trigger)
    stage.wait_for(lambda: _is_running(stage), lambda: None)
    assert stage.reason() is None
    stage.world.start_all()
    stage.wait_for_reason(Reason.QUOTING)
    found = stage.world.quotes()
    assert found.bid_px_e9 < found.fair_px_e9 < found.ask_px_e9
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=TIMEOUT_S) == 0
    left = stage.attach()
    assert left.state is State.HALT
    assert stage.reason() is Reason.HALTED
    assert stage.world.quotes().bid_qty_e9 == 0


def test_a_feed_that_stops_takes_the_quotes_with_it_and_brings_them_back(stage: Stage) -> None:
    world = stage.world
    world.start_all()
    process = stage.spawn()
    stage.wait_for_reason(Reason.QUOTING)
    stage.wait_for_reason(Reason.UNTRUSTED_BOOK, lambda: None)  # neither feed beats now
    stage.wait_for_reason(Reason.QUOTING)

    world.segments.pop("feed.binance.0").close()  # dead: its lock is free
    beating = world.segments["feed.polymarket.0"], world.segments["executor.paper"]

    def others() -> None:
        for segment in beating:
            segment.heartbeat(time.monotonic_ns())
            segment.set_link(time.monotonic_ns())
        world.book()

    took_s = stage.wait_for_reason(Reason.UNTRUSTED_REFERENCE, others)
    assert took_s < 3.0
    world.start("feed.binance.0", world.BN_BOARDS)
    world.list_symbol()
    stage.wait_for_reason(Reason.QUOTING)
    assert process.poll() is None


def test_killed_at_any_time_its_successor_quotes_again_in_the_same_slot(stage: Stage) -> None:
    world = stage.world
    world.start_all()
    for incarnation in (1, 2, 3):
        process = stage.spawn()
        stage.wait_for(
            lambda want=incarnation: _incarnation(stage) == want,  # type: ignore[misc]
            world.refresh,
        )
        stage.wait_for_reason(Reason.QUOTING)
        found = world.quotes()
        assert found.generation == 0
        process.kill()
        process.wait()
        segment = stage.attach()
        assert segment.board("quotes").version(0) >= found.version
        time.sleep(0.6)
        assert segment.liveness(time.monotonic_ns()) is Liveness.WRITER_DEAD


@pytest.mark.parametrize(("open_s", "reference"), [(20, 61_000), (100, 61_024)])
def test_without_a_settlement_feed_quoting_goes_on_from_the_proxy_to_the_official_strike(
    stage: Stage, open_s: int, reference: int
) -> None:
    """In a window that was seen to begin the basis is then known; else there is doubt instead."""
    world = stage.world
    world.told = {"strike": 61_024, "provenance": Provenance.PROXY, "twap": None}
    world.start_all(open_s=open_s)
    stage.spawn(PENSTOCK_STRATEGY_STRIKE_MIN="proxy")
    stage.wait_for_reason(Reason.QUOTING)
    assert world.quotes().reference_px_e9 == 61_024 * E9
    world.told = {"strike": 61_000, "provenance": Provenance.OFFICIAL, "twap": None}
    reasons = set()

    def is_decided_on_the_official_strike() -> bool:
        reasons.add(stage.reason())
        found = world.quotes()
        return found is not None and found.strike_e9 == 61_000 * E9

    stage.wait_for(is_decided_on_the_official_strike, world.refresh)
    assert reasons == {Reason.QUOTING}
    assert world.quotes().reference_px_e9 == reference * E9
    for _ in range(20):
        world.refresh()
        time.sleep(0.05)
        reasons.add(stage.reason())
    assert reasons == {Reason.QUOTING}


FAULTY = str(Path(__file__).resolve().parent / "faulty_strategy.py")


def test_a_worker_that_raises_leaves_no_quote_and_ends_the_process(
    stage: Stage, tmp_path: Path
) -> None:
    world, fault = stage.world, tmp_path / "fault"
    world.start_all()
    process = stage.spawn(FAULTY, FAULT_FILE=str(fault))
    stage.wait_for_reason(Reason.QUOTING)
    fault.touch()
    stage.wait_for(lambda: process.poll() is not None, world.refresh)
    assert process.returncode == 1
    assert stage.attach().state is State.FAIL
    left = world.quotes()
    assert (left.reason, left.bid_qty_e9, left.ask_qty_e9) == (Reason.HALTED, 0, 0)
    assert "run_broken_off" in stage.said()
    assert "ZeroDivisionError: a worker raised" in stage.said()
    # One that raises on every tick never wants anything, and each of them ends.
    for _ in range(2):
        process = stage.spawn(FAULTY, FAULT_FILE=str(fault))
        stage.wait_for(lambda one=process: one.poll() is not None, world.refresh)  # type: ignore[misc]
        assert process.returncode == 1
        assert world.quotes().bid_qty_e9 == 0
    fault.unlink()
    stage.spawn(FAULTY, FAULT_FILE=str(fault))
    stage.wait_for_reason(Reason.QUOTING)


def test_it_warms_up_and_leaves_out_what_never_came(stage: Stage) -> None:
    world = stage.world
    world.start_all()
    running = world.market_tag
    late = world.list_market(world.start_ns // NS + 300, slot=1)
    world.market_tag = running
    stage.spawn(BOOK_STORE_WARMUP_TIMEOUT_MS="1500")
    stage.wait_for_reason(Reason.WARMING_UP)
    assert world.quotes().bid_qty_e9 == 0
    stage.wait_for_reason(Reason.QUOTING)
    world.market_tag = late
    assert stage.reason() is Reason.DISABLED
    assert "ready=2/4" in stage.said()
    assert f"tokens={world.start_ns // NS}1,{world.start_ns // NS}2" in stage.said()
    counters = stage.attach().counters
    assert counters[Counter.strategy_tokens_disabled] == 2
    assert counters[Counter.strategy_warmups_expired] == 1


def test_after_a_kill_the_warmup_is_over_at_once_where_the_books_are_there(stage: Stage) -> None:
    world = stage.world
    world.start_all()
    for incarnation in (1, 2):
        process = stage.spawn(BOOK_STORE_WARMUP_TIMEOUT_MS="60000")
        stage.wait_for(
            lambda want=incarnation: _incarnation(stage) == want,  # type: ignore[misc]
            world.refresh,
        )
        stage.wait_for_reason(Reason.QUOTING)
        process.kill()
        process.wait()
        assert stage.said().count("warmed_up") == incarnation
        assert stage.said().count("ready=2/2") == incarnation


def test_a_second_one_is_refused_and_so_is_a_wrong_configuration(stage: Stage) -> None:
    stage.spawn()
    stage.wait_for(lambda: _is_running(stage), lambda: None)
    assert stage.spawn().wait(timeout=TIMEOUT_S) == 3
    assert stage.spawn(PENSTOCK_PAPER_QUOTE_QTY="much").wait(timeout=TIMEOUT_S) == 2


def _is_running(stage: Stage) -> bool:
    try:
        return stage.attach().state is State.RUN
    except load_world().SegmentMissing:
        return False


def _incarnation(stage: Stage) -> int:
    try:
        return stage.attach().incarnation
    except load_world().SegmentMissing:
        return 0
