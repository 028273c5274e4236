"""cache/md_refresh.py: tries, delays, timeouts and how many flights there may be."""

import asyncio
from itertools import pairwise

import pytest

from cache.md_entry import MDMiss, MDRefreshError
from tests.cache.md_world import MS, book_at


def gaps_ms(world):
    at = [asked_ns for _, _, asked_ns in world.asked]
    return [(new - old) / MS for old, new in pairwise(at)]


def test_a_failed_try_is_repeated_after_delays_that_double(md_world):
    world = md_world(refresh_try_count_max=5, retry_delay_ms=50, retry_delay_ms_max=300)
    world.latency_ms = 0
    world.fails()
    assert world.read() is MDMiss.FAILED
    assert gaps_ms(world) == pytest.approx([50, 100, 200, 300], abs=0.1)
    assert world.cache.metrics.summary().refresh_failed_count == 5


def test_jitter_takes_as_much_as_half_of_the_delay(md_world):
    world = md_world(refresh_try_count_max=3, retry_delay_ms=100)
    world.latency_ms, world.jitter = 0, 1.0
    world.fails()
    world.read()
    assert gaps_ms(world) == pytest.approx([50, 100], abs=0.1)


def test_one_try_that_succeeds_makes_up_for_those_before(md_world):
    world = md_world()
    world.fails()

    async def recover():
        task = asyncio.create_task(world.cache.read("S"))
        await asyncio.sleep(0.03)
        world.answer = book_at(50)
        return await task

    assert world.run(recover()).book == book_at(50)
    assert len(world.asked) == 2
    assert world.cache.metrics.summary().refresh_failed_count == 1


def test_the_delay_grows_over_flights_and_ends_with_a_success(md_world):
    world = md_world(refresh_try_count_max=1, retry_delay_ms=100, retry_delay_ms_max=10_000)
    world.latency_ms = 0
    world.fails()
    for held_ms in (100, 200, 400):
        assert world.read() is MDMiss.FAILED
        world.passes(held_ms - 1)
        assert world.read() is MDMiss.BACKING_OFF
        world.passes(2)
    world.answer = book_at(50)
    assert not isinstance(world.read(), MDMiss)
    world.cache.invalidate("S", reason="ws_gap")
    world.fails()
    world.read()
    world.passes(101)
    assert world.read() is MDMiss.FAILED, "the delay began anew"


def test_an_invalidation_does_not_get_around_the_delay(md_world):
    world = md_world(refresh_try_count_max=1)
    world.fails()
    world.read()
    world.cache.invalidate("S", reason="price_jump")
    assert world.read() is MDMiss.BACKING_OFF
    assert len(world.asked) == 1


def test_a_try_that_hangs_is_ended_and_counts_as_failed(md_world):
    world = md_world(refresh_timeout_ms=200, refresh_try_count_max=2, retry_delay_ms=10)
    world.latency_ms = None
    before_ns = world.loop.now_ns
    assert world.read() is MDMiss.FAILED
    assert (world.loop.now_ns - before_ns) / MS == pytest.approx(410, abs=1)
    assert (world.open, world.open_max, len(world.asked)) == (0, 1, 2)


@pytest.mark.parametrize("error", [MDRefreshError("503"), TimeoutError(), ConnectionResetError()])
def test_what_is_the_venues_or_the_networks_fault_is_tried_again(md_world, error):
    world = md_world()
    world.fails(error)
    assert world.read() is MDMiss.FAILED
    assert len(world.asked) == 3


def test_a_callback_that_cancels_itself_is_a_failure_that_holds(md_world):
    world = md_world()
    world.fails(asyncio.CancelledError())
    assert world.read() is MDMiss.FAILED
    assert world.read() is MDMiss.BACKING_OFF
    assert len(world.asked) == 1


def test_one_flight_a_symbol_however_slow_it_is(md_world):
    world = md_world()
    world.get()
    world.latency_ms = 900
    for _ in range(8):
        world.passes(100)
        world.get()
    assert (world.open_max, len(world.asked)) == (1, 2)


def test_where_two_may_fly_the_second_goes_when_the_first_is_slow(md_world):
    world = md_world(max_inflight_refresh=2)
    world.get()
    world.passes(200)
    world.latency_ms = 900
    world.get()
    world.passes(50)
    world.get()
    assert len(world.asked) == 2, "the first is not slow yet"
    world.passes(100)
    world.latency_ms, world.answer = 5, book_at(60)
    world.get()
    world.get()
    world.passes(10)
    assert len(world.asked) == 3
    assert world.get().book == book_at(60)
    asked_ns = world.cache.asked_ns("S")
    world.passes(900)
    assert world.cache.asked_ns("S") >= asked_ns, "the slow answer is older and changes nothing"
    assert world.cache.metrics.summary().refresh_outdated_count == 1
    assert world.open_max == 2


def test_where_two_may_fly_an_outdated_one_is_not_waited_for(md_world):
    world = md_world(max_inflight_refresh=2)
    world.latency_ms = 900

    async def late():
        early = asyncio.create_task(world.cache.read("S"))
        await asyncio.sleep(0.001)
        world.cache.invalidate("S", reason="price_jump")
        world.latency_ms, world.answer = 5, book_at(60)
        begun_ns = world.loop.now_ns
        found = await world.cache.read("S")
        took_ms = (world.loop.now_ns - begun_ns) / MS
        await early
        return found, took_ms

    found, took_ms = world.run(late())
    assert found.book == book_at(60)
    assert took_ms < 10


def test_the_book_is_cut_to_what_may_be_kept(md_world):
    world = md_world(max_depth=2)
    world.answer = book_at(50, levels=9)
    world.get()
    assert len(world.cache._slots.find("S").entry.book.bids) == 2
