"""A world around a strategy: feeds and executor in real shared memory, written by the test."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WORLD_PATH = Path(__file__).resolve().parent.parent / "system" / "strategy_world.py"


def load_world() -> ModuleType:
    name = "strategy_world"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, WORLD_PATH)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(autouse=True)
def steady_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks that go on by a microsecond a look: a test that is held up finds nothing stale."""
    wall_offset_ns, now_ns = time.time_ns() - time.monotonic_ns(), time.monotonic_ns()

    def passes(seconds: float = 1e-6) -> int:
        nonlocal now_ns
        now_ns += round(seconds * 1e9)
        return now_ns

    monkeypatch.setattr(time, "monotonic_ns", passes)
    monkeypatch.setattr(time, "time_ns", lambda: wall_offset_ns + passes())
    monkeypatch.setattr(time, "sleep", passes)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both feeds, an executor and one open market, everything fresh."""
    made = load_world().make_world("strategy")
    world = next(made)
    world.start_all()
    yield world
    made.close()


@pytest.fixture
def empty_world() -> Iterator[Any]:
    """A namespace in which nothing runs yet."""
    made = load_world().make_world("empty")
    yield next(made)
    made.close()
