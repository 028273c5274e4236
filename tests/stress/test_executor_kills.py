"""The executor is killed again and again: no fill is lost, and none is counted twice."""

import importlib.util
import os
import random
import time
from pathlib import Path

import pytest

from cache.layout import E9, Side

KILL_COUNT = 40


def load(name):
    path = Path(__file__).resolve().parent.parent / "system" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.stress
def test_positions_are_the_sum_of_the_fills_after_every_kill(tmp_path):
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    source = random.Random(seed)
    stage = load("test_executor").Stage(tmp_path / "executor.log")
    fill_count = 0
    try:
        for _ in range(KILL_COUNT):
            process = stage.spawn()
            stage.wait_for(stage.has_run)
            until_s = time.monotonic() + source.uniform(0.3, 1.2)
            while time.monotonic() < until_s:
                stage.live_on()
                side, cents = source.choice(((Side.SELL, 49), (Side.BUY, 53)))
                stage.world.show_trade(side, cents, source.uniform(0.5, 3.0))
                time.sleep(source.uniform(0.0005, 0.003))
            process.kill()
            process.wait()
        stage.spawn()
        stage.wait_for(stage.has_run)
        stage.wait_for(lambda: stage.position() is not None)
        fills = stage.own().board("fills").history(0, 4094, 0)
        fill_count = len(fills)
        assert fill_count > KILL_COUNT
        assert fills["fill_id"].tolist() == list(range(1, fill_count + 1))
        held = stage.position()
        assert (held.fill_count, held.venue_seq) == (fill_count, fill_count)
        net, cash = 0, 0
        for fill in fills:
            is_yes = int(fill["tag"]) == stage.world.token_tag(0)
            sign = 1 if fill["side"] == Side.BUY else -1
            whole = int(fill["qty_e9"]) * int(fill["px_e9"])
            net += sign * int(fill["qty_e9"]) * (1 if is_yes else -1)
            cash -= -(-whole // E9) if sign > 0 else -(whole // E9)
        assert held.yes_qty_e9 - held.no_qty_e9 == net
        # Whatever merged came back as cash, one for each pair.
        merged = held.cash_e9 - cash
        assert merged >= 0
        assert min(held.yes_qty_e9, held.no_qty_e9) >= 0
    finally:
        print(f"{KILL_COUNT} kills, {fill_count} fills")
        stage.end()
