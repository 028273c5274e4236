"""cache/md_invalidator.py: link gaps, price jumps in exchange ticks, grids that change."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.md_invalidator import MDCacheInvalidator, Verdict
from tests.cache.md_world import MS, TICK, World


@pytest.fixture
def watch(md_world):
    def make(**config):
        world = md_world(ttl_ms=5_000, **config)
        return world, MDCacheInvalidator(world.cache)

    return make


def is_held(world, symbol="S"):
    return world.cache.asked_ns(symbol) is not None


def reasons(world):
    return world.cache.metrics.summary().invalidated


# --- gaps -----------------------------------------------------------------------------------------


def test_ws_gap_invalidation(watch):
    world, invalidator = watch(invalidate_on_ws_gap_ms=300)
    world.get()
    assert not invalidator.on_message("S", 1_000 * MS)
    assert not invalidator.on_message("S", 1_300 * MS)
    assert is_held(world), "exactly the limit is no gap"
    assert invalidator.on_message("S", 1_600 * MS + 1)
    assert not is_held(world)
    assert reasons(world) == {"ws_gap": 1}


def test_a_quiet_symbol_on_a_proven_link_has_no_gap(watch):
    world, invalidator = watch()
    world.get()
    invalidator.on_message("S", 0)
    for at_ms in range(0, 600_000, 250):
        invalidator.on_link(at_ms * MS)
        assert invalidator.check(at_ms * MS) == []
    assert not invalidator.on_message("S", 600_000 * MS)
    assert is_held(world)


def test_a_gap_of_the_link_throws_away_what_has_no_proof_of_its_own(watch):
    world, invalidator = watch()
    for symbol in ("busy", "quiet", "never"):
        world.get(symbol)
    invalidator.on_link(0)
    invalidator.on_message("quiet", 0)
    invalidator.on_message("busy", 290 * MS)
    invalidator.on_message("busy", 580 * MS)
    assert sorted(invalidator.on_link(600 * MS)) == ["never", "quiet"]
    assert is_held(world, "busy")
    assert not is_held(world, "quiet")
    assert not is_held(world, "never")


def test_a_gap_that_goes_on_is_found_without_a_message_and_said_once(watch):
    world, invalidator = watch()
    world.get()
    invalidator.on_message("S", 0)
    assert invalidator.check(300 * MS) == []
    assert invalidator.check(301 * MS) == ["S"]
    assert not is_held(world)
    world.get()
    assert invalidator.check(900 * MS) == []
    assert is_held(world), "what was asked for in the gap stands until the gap is over"
    assert invalidator.on_message("S", 950 * MS)
    assert invalidator.check(951 * MS) == []
    assert invalidator.check(1_300 * MS) == ["S"]


def test_a_clock_that_goes_back_is_a_gap(watch):
    world, invalidator = watch()
    world.get()
    invalidator.on_message("S", 1_000 * MS)
    assert invalidator.on_message("S", 999 * MS)


def test_before_the_first_message_there_is_no_gap(watch):
    world, invalidator = watch()
    world.get()
    assert invalidator.check(10**15) == []
    assert not invalidator.on_message("S", 10**15)
    assert invalidator.on_link(10**16) == []
    assert is_held(world)


def test_a_reconnect_throws_all_away_and_compares_with_nothing_from_before(watch):
    world, invalidator = watch()
    world.get("A")
    world.get("B")
    invalidator.on_link(0)
    invalidator.on_message("A", 0)
    invalidator.on_top("A", 50 * TICK, 51 * TICK, TICK)
    invalidator.on_reconnect()
    assert reasons(world) == {"reconnect": 2}
    world.get("A")
    assert not invalidator.on_message("A", 9_000 * MS)
    assert invalidator.on_top("A", 10 * TICK, 11 * TICK, TICK) is Verdict.FIRST
    assert is_held(world, "A")


# --- jumps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tick", [10_000_000, 1_000_000, 2_500_000, 100_000])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("way", [1, -1])
def test_price_jump_invalidation(watch, tick, side, way):
    world, invalidator = watch(price_jump_ticks=5)
    world.get()
    top = [400_000_000, 600_000_000]
    assert invalidator.on_top("S", *top, tick) is Verdict.FIRST
    top[side] += way * 5 * tick
    assert invalidator.on_top("S", *top, tick) is Verdict.STEADY
    assert is_held(world), "exactly so many ticks is no jump"
    top[side] += way
    assert invalidator.on_top("S", *top, tick) is Verdict.JUMPED
    assert not is_held(world)
    assert reasons(world) == {"price_jump": 1}


def test_a_tenth_of_a_percent_of_the_price_has_nothing_to_do_with_it(watch):
    world, invalidator = watch(price_jump_ticks=5)
    world.get()
    tick = 10_000_000
    invalidator.on_top("S", 60_000 * 10**9, 60_001 * 10**9, tick)
    assert invalidator.on_top("S", 60_000 * 10**9 + 6 * tick, 60_001 * 10**9, tick) is (
        Verdict.JUMPED
    )


def test_a_drift_in_small_steps_is_a_jump_too(watch):
    world, invalidator = watch(price_jump_ticks=5)
    world.get()
    verdicts = [
        invalidator.on_top("S", (50 + at) * TICK, (51 + at) * TICK, TICK) for at in range(8)
    ]
    assert verdicts == [Verdict.FIRST, *[Verdict.STEADY] * 5, Verdict.JUMPED, Verdict.STEADY]


def test_a_new_snapshot_is_judged_from_the_top_of_its_time(watch):
    world, invalidator = watch(price_jump_ticks=5, stale_ok=False)
    world.get()
    invalidator.on_top("S", 50 * TICK, 51 * TICK, TICK)
    invalidator.on_top("S", 54 * TICK, 55 * TICK, TICK)
    world.passes(10)
    world.get("S", max_age_ms=0)
    assert invalidator.on_top("S", 58 * TICK, 59 * TICK, TICK) is Verdict.STEADY
    assert invalidator.on_top("S", 60 * TICK, 61 * TICK, TICK) is Verdict.JUMPED


def test_a_jump_outdates_an_answer_that_is_under_way(watch):
    world, invalidator = watch(stale_ms_max=60_000)
    world.get()
    invalidator.on_top("S", 50 * TICK, 51 * TICK, TICK)
    world.passes(5_100)
    world.get()
    world.passes(2)
    assert world.open == 1
    invalidator.on_top("S", 70 * TICK, 71 * TICK, TICK)
    jumped_ns = world.loop.now_ns
    world.passes(20)
    assert world.cache.asked_ns("S") >= jumped_ns


@pytest.mark.parametrize("empty", [None, 0])
def test_a_side_that_goes_or_comes_is_a_jump(watch, empty):
    world, invalidator = watch()
    world.get()
    invalidator.on_top("S", 50 * TICK, 51 * TICK, TICK)
    assert invalidator.on_top("S", 50 * TICK, empty, TICK) is Verdict.JUMPED
    assert invalidator.on_top("S", 50 * TICK, empty, TICK) is Verdict.STEADY
    world.get()
    assert invalidator.on_top("S", 50 * TICK, 51 * TICK, TICK) is Verdict.JUMPED


@pytest.mark.parametrize("unknown", [None, 0])
def test_without_a_tick_any_move_counts_and_no_move_does_not(watch, unknown):
    world, invalidator = watch()
    world.get()
    invalidator.on_top("S", 50 * TICK, 51 * TICK, unknown)
    assert invalidator.on_top("S", 50 * TICK, 51 * TICK, unknown) is Verdict.STEADY
    assert is_held(world)
    assert invalidator.on_top("S", 50 * TICK + 1, 51 * TICK, unknown) is Verdict.UNKNOWN
    assert reasons(world) == {"tick_unknown": 1}


def test_a_grid_that_changes_throws_away_what_lies_on_the_old_one(watch):
    world, invalidator = watch()
    world.get()
    invalidator.on_top("S", 96 * TICK, 97 * TICK, TICK)
    assert invalidator.on_top("S", 96 * TICK, 97 * TICK, TICK // 10) is Verdict.RETICKED
    assert not is_held(world)
    world.get()
    assert invalidator.on_top("S", 96 * TICK, 97 * TICK, TICK // 10) is Verdict.STEADY
    assert invalidator.on_top("S", 96 * TICK + 6 * TICK // 10, 97 * TICK, TICK // 10) is (
        Verdict.JUMPED
    )
    assert reasons(world) == {"tick_change": 1, "price_jump": 1}


def test_a_tick_that_is_unknown_for_a_while_is_not_forgotten(watch):
    world, invalidator = watch()
    world.get()
    for tick in (TICK, None):
        invalidator.on_top("S", 50 * TICK, 51 * TICK, tick)
    assert invalidator.on_top("S", 50 * TICK, 51 * TICK, TICK // 10) is Verdict.RETICKED


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((-1, 1, 1), "bid_px_e9 is -1"),
        ((1, 0.5, 1), "ask_px_e9 is 0.5"),
        ((1, 2, True), "tick_e9 is True"),
        ((1, 2, float("nan")), "tick_e9 is nan"),
        ((1, False, 1), "ask_px_e9 is False"),
    ],
)
def test_a_price_that_is_none_is_named_and_changes_nothing(watch, words, named):
    _, invalidator = watch()
    with pytest.raises(ValueError, match=named):
        invalidator.on_top("S", *words)
    assert not invalidator._seen


def test_symbols_are_bounded(watch):
    _, invalidator = watch(symbols_max=3)
    for number in range(50):
        invalidator.on_message(f"S{number}", number)
        invalidator.on_top(f"S{number}", TICK, 2 * TICK, TICK)
    assert list(invalidator._seen) == ["S47", "S48", "S49"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=30), st.integers(1, 10))
def test_what_is_held_is_never_further_away_than_allowed(prices, allowed):
    world = World(ttl_ms=5_000, price_jump_ticks=allowed)
    invalidator = MDCacheInvalidator(world.cache)
    invalidator.on_top("S", prices[0] * TICK, (prices[0] + 1) * TICK, TICK)
    world.get()
    first = prices[0]
    for px in prices:
        invalidator.on_top("S", px * TICK, (px + 1) * TICK, TICK)
        if not is_held(world):
            world.get()
            first = px
        assert abs(px - first) <= allowed
    world.close()
