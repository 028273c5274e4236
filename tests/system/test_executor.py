"""The executor as a process of its own, on a feed and a strategy that the test writes."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache.counters import Counter
from cache.layout import E9, OrderState, Side, State, tag_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 10.0
PAIR = tag_of("polymarket", "a")


def load_world():
    path = Path(__file__).resolve().parent / "executor_world.py"
    spec = importlib.util.spec_from_file_location("executor_world", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stage:
    """A living feed, a quoting strategy, and the executor processes."""

    def __init__(self, log):
        self.world = load_world().World(time.monotonic_ns)
        self.world.list_market()
        self.strategy = self.world.start_strategy()
        self.quotes = True
        self.processes = []
        self.log = log

    def spawn(self):
        environ = os.environ | {"PENSTOCK_HOST_NAMESPACE": self.world.namespace}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "executor"], cwd=ROOT, env=environ, stderr=log, stdout=log
            )
        self.processes.append(process)
        return process

    def live_on(self):
        """Let feed and strategy do what they do all the time."""
        now_ns = time.monotonic_ns()
        for role, segment in self.world.writers.items():
            if role == "strategy.maker" and not self.quotes:
                continue
            segment.heartbeat(now_ns)
            segment.set_link(now_ns)
        self.world.show_book(49, 53)
        if self.quotes:
            self.world.want(self.strategy)
        for segment in self.world.writers.values():
            segment.ring()

    def wait_for(self, what):
        began_s = time.monotonic()
        while not what():
            assert time.monotonic() - began_s < TIMEOUT_S, f"timed out:\n{self.log.read_text()}"
            self.live_on()
            time.sleep(0.01)
        return time.monotonic() - began_s

    def own(self):
        return ReaderSegment.attach("executor.paper", namespace=self.world.namespace)

    def has_run(self):
        path = Path(f"/dev/shm/{self.world.namespace}.executor.paper")
        return path.exists() and self.own().state == State.RUN

    def states(self):
        """How many orders of this incarnation stand in each state."""
        own = self.own()
        board, found = own.board("orders"), {}
        for slot in range(board.slot_count):
            if board.version(slot):
                order = board.read(slot, 0)
                if order.incarnation == own.incarnation:
                    state = OrderState(order.state)
                    found[state] = found.get(state, 0) + 1
        return found

    def is_working(self):
        return self.has_run() and self.states().get(OrderState.WORKING) == 2

    def position(self):
        board = self.own().board("positions")
        for slot in range(board.slot_count):
            if board.version(slot):
                record = board.read(slot, 0)
                if record.tag == PAIR:
                    return record
        return None

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(TIMEOUT_S)
        self.world.close()


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path / "executor.log")
    yield made
    made.end()


def test_a_killed_executor_keeps_its_positions_and_quotes_again_without_a_hand(stage):
    first = stage.spawn()
    stage.wait_for(stage.is_working)
    stage.world.show_trade(Side.SELL, 50, 6)
    stage.wait_for(lambda: stage.position().fill_count == 1)
    before = stage.position()
    first.kill()
    first.wait(TIMEOUT_S)
    stage.spawn()
    stage.wait_for(lambda: stage.own().incarnation == 2 and stage.is_working())
    after = stage.position()
    for name in ("yes_qty_e9", "no_qty_e9", "cash_e9", "rebates_e9", "fill_count", "venue_seq"):
        assert getattr(after, name) == getattr(before, name)
    assert after.yes_qty_e9 == 6 * E9
    # The resting ask, and the bid that was partly filled: both were ended.
    assert stage.states()[OrderState.CANCELLED] == 2
    assert stage.own().counters[Counter.executor_orders_adopted] >= 2


def test_an_executor_that_is_told_to_stop_leaves_no_order(stage):
    process = stage.spawn()
    stage.wait_for(stage.is_working)
    process.send_signal(signal.SIGTERM)
    stage.wait_for(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert stage.own().state == State.HALT
    assert set(stage.states()) == {OrderState.CANCELLED}


def test_a_strategy_that_hangs_has_its_orders_cancelled(stage):
    stage.spawn()
    stage.wait_for(stage.is_working)
    stage.quotes = False
    stage.wait_for(lambda: set(stage.states()) == {OrderState.CANCELLED})


def test_two_executors_of_one_account_do_not_live_together(stage):
    stage.spawn()
    stage.wait_for(stage.is_working)
    second = stage.spawn()
    stage.wait_for(lambda: second.poll() is not None)
    assert second.returncode == 3
    assert stage.own().liveness(time.monotonic_ns()) in (Liveness.LIVE, Liveness.STALLED)
    assert stage.is_working()
