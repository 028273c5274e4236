"""Views live for one run."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as changed

from strategy.quoting import TwoSided
from strategy.strategy_cache import StrategyCache
from strategy.tick import RunAnchor, RunMode, View

ANCHOR = RunAnchor(now_ns=1, wall_ns=2, run_id=1, strategy_id="maker", mode=RunMode.PAPER)
VIEW = View(ANCHOR, None, None, None, None, None, None, TwoSided())


def test_views_are_read_within_their_run_and_gone_after_it() -> None:
    cache = StrategyCache()
    with cache.run(ANCHOR) as run:
        run.freeze(7, VIEW)
        assert run.view(7) is VIEW
        assert run.views() == {7: VIEW}
        assert run.anchor is ANCHOR
        with pytest.raises(KeyError):
            run.view(8)
    for read in (lambda: cache.view(7), cache.views, lambda: cache.anchor):
        with pytest.raises(AssertionError, match="no run is on"):
            read()
    with cache.run(ANCHOR) as run:
        assert run.views() == {}


def test_a_run_that_fails_leaves_nothing_behind() -> None:
    cache = StrategyCache()

    def fail() -> None:
        with cache.run(ANCHOR) as run:
            run.freeze(7, VIEW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with cache.run(ANCHOR) as run:
        assert run.views() == {}


def test_a_market_is_frozen_once_and_under_the_anchor_of_the_run() -> None:
    cache = StrategyCache()
    with cache.run(ANCHOR) as run:
        run.freeze(7, VIEW)
        with pytest.raises(AssertionError, match="frozen already"):
            run.freeze(7, VIEW)
        other = changed(VIEW, anchor=changed(ANCHOR, run_id=2))
        with pytest.raises(AssertionError, match="another anchor"):
            run.freeze(8, other)


def test_a_run_does_not_begin_inside_another() -> None:
    cache = StrategyCache()
    with (
        cache.run(ANCHOR),
        pytest.raises(AssertionError, match="inside another"),
        cache.run(ANCHOR),
    ):
        pass
