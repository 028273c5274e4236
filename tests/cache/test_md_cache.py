"""cache/md_cache.py: fresh, stale while refreshed, shared flights, invalidation, bounds."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cache import layout
from cache.counters import CounterReader, CounterWriter
from cache.md_cache import MDCache
from cache.md_config import MDCacheConfig
from cache.md_entry import MDCacheEntry, MDMiss, MDRefreshError
from tests.cache.md_world import MS, TICK, JumpLoop, book_at


def bid_of(entry):
    return entry.book.bids[0][0] // TICK


# --- by the names of the first description; the others stand with their modules -------------------


def test_cache_disabled(md_world):
    world = md_world(enabled=False)
    assert world.get() is None
    assert world.read() is MDMiss.DISABLED
    assert (world.asked, world.cache.get_hit_ratio("S"), len(world.cache)) == ([], None, 0)


def test_cache_miss_first_call(md_world):
    world = md_world()
    entry = world.get("S", depth=50, max_age_ms=100)
    assert bid_of(entry) == 50
    assert len(world.asked) == 1
    assert world.cache.get_hit_ratio("S") == 0.0


def test_cache_hit_within_ttl(md_world):
    world = md_world()
    first = world.get()
    world.passes(50)
    assert world.get("S", depth=50, max_age_ms=100) is first
    assert len(world.asked) == 1
    assert world.cache.get_hit_ratio("S") == 0.5


def test_cache_stale_while_refresh(md_world):
    world = md_world()
    first = world.get()
    world.answer = book_at(60)
    world.passes(200)
    before_ns = world.loop.now_ns
    assert world.get() is first
    assert world.loop.now_ns == before_ns, "a stale book is served at once"
    world.passes(10)
    assert bid_of(world.get()) == 60
    assert len(world.asked) == 2


def test_cache_invalidate(md_world):
    world = md_world()
    world.get("A")
    world.get("B")
    assert world.cache.invalidate("A", reason="ws_gap")
    assert world.cache.get_cache_age_ms("A") is None
    assert world.cache.get_cache_age_ms("B") is not None
    world.answer = book_at(70)
    assert bid_of(world.get("A")) == 70
    assert not world.cache.invalidate("never seen", reason="ws_gap")


def test_cache_invalidate_all(md_world):
    world = md_world()
    for symbol in "ABC":
        world.get(symbol)
    assert world.cache.invalidate_all(reason="reconnect") == 3
    assert world.cache.invalidate_all(reason="reconnect") == 0
    assert [world.cache.get_cache_age_ms(symbol) for symbol in "ABC"] == [None] * 3
    assert world.cache.metrics.summary().invalidated == {"reconnect": 3}


# --- age ------------------------------------------------------------------------------------------


def test_an_age_counts_from_the_question_so_it_is_never_less_than_the_true_one(md_world):
    world = md_world()
    world.latency_ms = 40
    entry = world.get()
    assert world.cache.get_cache_age_ms("S") == pytest.approx(40)
    assert entry.recv_ns - entry.asked_ns == pytest.approx(40e6)


def test_the_age_of_what_is_not_there_is_unknown(md_world):
    world = md_world()
    assert world.cache.get_cache_age_ms("S") is None
    assert world.cache.get_refresh_latency_p95("S") is None
    assert world.cache.get_hit_ratio("S") is None


def test_a_caller_may_want_it_younger_than_the_configuration_does(md_world):
    world = md_world(ttl_ms=1_000)
    world.get()
    world.passes(50)
    world.get("S", max_age_ms=40)
    world.passes(50)
    assert len(world.asked) == 2
    world.passes(600)
    world.get("S", max_age_ms=90_000)
    world.passes(600)
    world.get("S", max_age_ms=90_000)
    world.passes(10)
    assert len(world.asked) == 3, "and never older"


def test_where_nothing_stale_is_wanted_the_caller_waits(md_world):
    world = md_world(stale_ok=False)
    world.get()
    world.passes(200)
    world.answer = book_at(60)
    assert bid_of(world.get()) == 60


def test_a_witness_can_refuse_what_is_stale_where_others_take_it(md_world):
    world = md_world()
    world.get()
    world.passes(200)
    world.answer = book_at(60)
    assert bid_of(world.get("S", stale_ok=False)) == 60


def test_a_book_too_old_is_not_served_stale(md_world):
    world = md_world(stale_ms_max=500)
    world.get()
    world.passes(501)
    world.answer = book_at(60)
    assert bid_of(world.get()) == 60


def test_a_failure_keeps_the_book_and_its_age_tells_the_truth(md_world):
    world = md_world(stale_ms_max=500)
    first = world.get()
    world.fails()
    for _ in range(4):
        world.passes(100)
        assert world.get() is first
    assert world.cache.get_cache_age_ms("S") > 400
    world.passes(200)
    assert world.get() is None
    assert world.cache.get_cache_age_ms("S") > 600, "it is kept, and not served"


def test_a_clock_that_goes_back_makes_nothing_fresh(md_world):
    world = md_world()
    world.get()
    world.loop.now_ns -= 10**9
    assert world.cache.get_cache_age_ms("S") is None
    world.answer = book_at(60)
    assert world.cache.metrics.summary().hit_count == 0
    world.get()
    assert world.cache.metrics.summary().hit_count == 0


# --- depth ----------------------------------------------------------------------------------------


def test_the_venue_is_asked_once_for_all_depths_and_each_gets_its_own(md_world):
    world = md_world(max_depth=3)
    world.answer = book_at(50, levels=9)
    assert [len(world.get("S", depth).book.asks) for depth in (1, 2, 3, None)] == [1, 2, 3, 3]
    assert [depth for _, depth, _ in world.asked] == [3]


def test_a_depth_larger_than_what_is_cached_is_a_miss_that_says_so(md_world):
    world = md_world(max_depth=3)
    world.get()
    assert world.read("S", 4) is MDMiss.TOO_DEEP
    assert world.cache.get_hit_ratio("S") == 0.0
    assert len(world.asked) == 1


def test_more_levels_than_the_configuration_may_say_are_kept_for_who_says_so_in_code(md_world):
    world = md_world(depth_max=1_000, max_depth=3)
    world.answer = book_at(3_000, levels=1_500)
    assert len(world.get().book.asks) == 1_000
    assert [depth for _, depth, _ in world.asked] == [1_000]
    assert world.read("S", 1_001) is MDMiss.TOO_DEEP


@pytest.mark.parametrize("wrong", [0, True, 5.0])
def test_what_is_no_number_of_levels_makes_no_cache(wrong):
    with pytest.raises(ValueError, match=f"depth_max is {wrong!r}: it must be a whole number"):
        MDCache(MDCacheConfig(), None, depth_max=wrong)


@pytest.mark.parametrize(
    ("config", "callback", "said"),
    [
        ({"ttl_ms": 100}, print, "config is {'ttl_ms': 100}: it must be an MDCacheConfig"),
        (MDCacheConfig(), None, "refresh_callback is None: it must be callable"),
        (MDCacheConfig(), "ask", "refresh_callback is 'ask': it must be callable"),
    ],
)
def test_a_cache_of_no_settings_or_that_can_ask_nobody_is_none(config, callback, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        MDCache(config, callback)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"symbol": 7}, "symbol is 7"),
        ({"symbol": 10**400}, "symbol is a number of many digits: it must be text"),
        ({"depth": -(10**400)}, "depth is a number of many digits"),
        ({"symbol": ""}, "symbol is ''"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": True}, "depth is True"),
        ({"depth": 5.0}, "depth is 5.0"),
        ({"max_age_ms": -1}, "max_age_ms is -1"),
        ({"max_age_ms": float("nan")}, "max_age_ms is nan"),
        ({"stale_ok": "no"}, "stale_ok is 'no'"),
        ({"stale_ok": 0}, "stale_ok is 0"),
    ],
)
def test_arguments_that_make_no_sense_are_named_and_change_nothing(md_world, words, named):
    world = md_world()
    with pytest.raises(ValueError, match=named):
        world.get(**{"symbol": "S"} | words)
    assert (len(world.cache), world.asked) == (0, [])
    assert world.cache.metrics.summary().hit_ratio is None


@pytest.mark.parametrize("reason", [None, 5, "", b"ws_gap"])
def test_a_reason_that_is_no_text_is_named_and_throws_nothing_away(md_world, reason):
    world = md_world()
    world.get()
    for call in (
        lambda: world.cache.invalidate("S", reason=reason),
        lambda: world.cache.invalidate_all(reason=reason),
    ):
        with pytest.raises(ValueError, match="reason is "):
            call()
    assert world.cache.get_cache_age_ms("S") is not None
    assert world.cache.metrics.summary().invalidated == {}


def test_a_symbol_that_is_no_text_is_named_where_it_is_to_be_thrown_away(md_world):
    world = md_world()
    with pytest.raises(ValueError, match="symbol is 7"):
        world.cache.invalidate(7, reason="ws_gap")


# --- unknown is a value ---------------------------------------------------------------------------


def test_no_book_at_the_venue_is_an_answer_that_is_kept_for_its_time(md_world):
    world = md_world()
    world.answer = None
    assert world.read() is MDMiss.NO_BOOK
    world.passes(50)
    assert world.read() is MDMiss.NO_BOOK
    assert len(world.asked) == 1
    world.passes(200)
    world.answer = book_at(50)
    assert bid_of(world.get()) == 50, "and never served stale"


def test_a_book_that_is_gone_is_not_served_from_before(md_world):
    world = md_world()
    world.get()
    world.answer = None
    world.passes(200)
    world.get()
    world.passes(10)
    assert world.read() is MDMiss.NO_BOOK


def test_failing_then_backing_off_say_so(md_world):
    world = md_world(refresh_try_count_max=2)
    world.fails()
    assert world.read() is MDMiss.FAILED
    assert len(world.asked) == 2
    assert world.read() is MDMiss.BACKING_OFF
    assert len(world.asked) == 2


def test_a_fault_of_ours_is_raised_to_who_waits(md_world):
    world = md_world()
    world.fails(KeyError("bids"))
    with pytest.raises(KeyError):
        world.get()
    world.answer = "not a book"
    with pytest.raises(TypeError, match="gave str, not MDBook or None"):
        world.get()


def test_a_fault_of_ours_that_nobody_waited_for_is_raised_at_the_next_read(md_world):
    world = md_world()
    world.get()
    world.fails(KeyError("bids"))
    world.passes(200)
    world.get()
    world.passes(10)
    with pytest.raises(KeyError):
        world.get()


def test_which_exceptions_are_the_venues_fault_can_be_said(md_world):
    world = md_world(failures=(KeyError,))
    world.fails(KeyError("bids"))
    assert world.read() is MDMiss.FAILED


# --- flights --------------------------------------------------------------------------------------


def test_all_who_find_nothing_share_one_flight(md_world):
    world = md_world()

    async def crowd():
        return await asyncio.gather(*(world.cache.get_orderbook("S") for _ in range(50)))

    entries = world.run(crowd())
    assert len({id(entry) for entry in entries}) == 1
    assert len(world.asked) == 1
    assert world.cache.metrics.summary().miss_count == 50


def test_symbols_do_not_wait_for_each_other(md_world):
    world = md_world()

    async def crowd():
        return await asyncio.gather(*(world.cache.get_orderbook(name) for name in "ABCDE"))

    assert [entry.symbol for entry in world.run(crowd())] == list("ABCDE")
    assert world.open_max == 5


def test_a_crowd_that_finds_a_stale_book_starts_one_refresh(md_world):
    world = md_world()
    world.get()
    world.passes(200)
    for _ in range(20):
        world.get()
    world.passes(10)
    assert len(world.asked) == 2


def test_a_waiter_that_is_cancelled_leaves_the_flight_to_the_others(md_world):
    world = md_world()

    async def crowd():
        tasks = [asyncio.create_task(world.cache.get_orderbook("S")) for _ in range(3)]
        await asyncio.sleep(0.001)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *rest = world.run(crowd())
    assert isinstance(first, asyncio.CancelledError)
    assert all(isinstance(one, MDCacheEntry) for one in rest)
    assert len(world.asked) == 1


def test_the_only_waiter_cancelled_leaves_the_answer_for_the_next(md_world):
    world = md_world()

    async def leave():
        task = asyncio.create_task(world.cache.get_orderbook("S"))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    world.run(leave())
    world.passes(10)
    assert isinstance(world.get(), MDCacheEntry)
    assert len(world.asked) == 1


def test_closing_tells_who_waits_and_ends_every_flight(md_world):
    world = md_world()

    async def close():
        task = asyncio.create_task(world.cache.read("S"))
        await asyncio.sleep(0.001)
        await world.cache.close()
        return await task

    world.get("kept")
    world.latency_ms = None
    assert world.run(close()) is MDMiss.CLOSED
    assert world.read() is MDMiss.CLOSED
    assert (world.open, len(world.cache)) == (0, 0)
    world.run(world.cache.close())


def test_a_cache_is_a_context(md_world):
    world = md_world()

    async def use():
        async with world.cache as cache:
            return await cache.read("S")

    assert isinstance(world.run(use()), MDCacheEntry)
    assert world.read() is MDMiss.CLOSED


# --- invalidation and flights ---------------------------------------------------------------------


def test_an_answer_from_before_an_invalidation_is_asked_for_again(md_world):
    world = md_world()

    async def invalidated():
        task = asyncio.create_task(world.cache.get_orderbook("S"))
        await asyncio.sleep(0.001)
        world.answer = book_at(60)
        world.cache.invalidate("S", reason="price_jump")
        return await task

    assert bid_of(world.run(invalidated())) == 60
    assert len(world.asked) == 2
    assert world.cache.metrics.summary().refresh_outdated_count == 1


def test_who_comes_after_an_invalidation_gets_no_answer_from_before_it(md_world):
    world = md_world(refresh_try_count_max=1)

    async def late():
        early = asyncio.create_task(world.cache.read("S"))
        await asyncio.sleep(0.001)
        world.answer = book_at(60)
        world.cache.invalidate("S", reason="price_jump")
        return await world.cache.read("S"), await early

    assert [bid_of(entry) for entry in world.run(late())] == [60, 60]
    assert world.open_max == 1


def test_an_answer_under_way_is_something_to_invalidate(md_world):
    world = md_world()

    async def invalidated():
        task = asyncio.create_task(world.cache.read("S"))
        await asyncio.sleep(0.001)
        assert world.cache.invalidate("S", reason="price_jump")
        await task

    world.run(invalidated())
    assert world.cache.metrics.summary().invalidated == {"price_jump": 1}


def test_an_invalidation_between_landing_and_the_waiters_turn_counts(md_world):
    world = md_world()

    async def raced():
        task = asyncio.create_task(world.cache.read("S"))
        await asyncio.sleep(0.001)
        (flight,) = (one for one in asyncio.all_tasks() if one.get_name() == "md refresh S")
        flight.add_done_callback(invalidate)
        return await task

    def invalidate(_):
        assert world.cache.asked_ns("S") is not None
        world.answer = book_at(60)
        world.cache.invalidate("S", reason="price_jump")

    assert bid_of(world.run(raced())) == 60


def test_invalidations_that_never_end_are_told_from_failure(md_world):
    world = md_world()

    async def storm():
        task = asyncio.create_task(world.cache.read("S"))
        while not task.done():
            await asyncio.sleep(0.001)
            world.cache.invalidate("S", reason="price_jump")
        return await task

    assert world.run(storm()) is MDMiss.INVALIDATED
    assert len(world.asked) == 6, "two flights of three tries"
    assert world.open_max == 1


# --- bounds ---------------------------------------------------------------------------------------


def test_the_least_recently_used_symbol_makes_room(md_world):
    world = md_world(symbols_max=2)
    for symbol in ("A", "B", "A", "C"):
        world.get(symbol)
    assert world.cache.symbols() == ("A", "C")
    assert world.cache.metrics.summary().evicted_count == 1
    assert world.cache.get_cache_age_ms("B") is None


def test_a_symbol_that_is_waited_for_is_not_evicted(md_world):
    world = md_world(symbols_max=2)

    async def crowd():
        return await asyncio.gather(*(world.cache.read(name) for name in "ABC"))

    first, second, third = world.run(crowd())
    assert (first.symbol, second.symbol, third) == ("A", "B", MDMiss.FULL)
    assert isinstance(world.read("C"), MDCacheEntry), "full is over when they have landed"


def test_a_flight_of_an_evicted_symbol_brings_nothing_back(md_world):
    world = md_world(symbols_max=1)
    world.get("A")
    world.passes(200)
    world.latency_ms = 500
    world.get("A")
    world.latency_ms = 5
    world.get("B")
    world.passes(1_000)
    assert world.cache.symbols() == ("B",)
    assert world.cache.metrics.summary().refresh_outdated_count == 1


def test_flights_are_bounded_however_fast_symbols_come_and_go(md_world):
    world = md_world(symbols_max=3)
    world.latency_ms = 900

    async def churn():
        tasks = []
        for number in range(50):
            tasks.append(asyncio.create_task(world.cache.read(f"S{number}")))
            await asyncio.sleep(0.001)
            tasks[-1].cancel()
            await asyncio.wait([tasks[-1]])
        return await world.cache.read("last")

    assert world.run(churn()) is MDMiss.FULL
    assert world.open_max == 3


# --- figures --------------------------------------------------------------------------------------


def test_the_segments_counters_say_what_the_cache_did(md_world):
    words = memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q")
    world = md_world(symbols_max=1, max_depth=3, counters=CounterWriter(words))
    world.get("A")
    world.get("A")
    world.passes(200)
    world.get("A")
    world.passes(10)
    world.read("A", 9)
    world.cache.invalidate("A", reason="ws_gap")
    world.fails(MDRefreshError("503"))
    world.get("B")
    assert CounterReader(words).all() == {
        "cache_md_hits": 2,
        "cache_md_hits_stale": 1,
        "cache_md_misses": 3,
        "cache_md_refreshes_failed": 3,
        "cache_md_evicted": 1,
        "cache_md_invalidated": 1,
        "cache_md_refused": 1,
        "cache_md_hit_permille": 400,
    }


def test_the_age_of_the_rows_is_that_of_now(md_world):
    world = md_world()
    world.get()
    world.passes(700)
    ages = [row for row in world.cache.rows() if row.name == "mm_md_cache_age_ms"]
    assert [(row.labels, row.value) for row in ages] == [((("symbol", "S"),), pytest.approx(705))]
    world.cache.invalidate("S", reason="ws_gap")
    assert not [row for row in world.cache.rows() if row.name == "mm_md_cache_age_ms"]


def test_the_p95_is_that_of_the_symbols_refreshes(md_world):
    world = md_world(stale_ok=False, ttl_ms=10)
    for latency_ms in (*range(1, 20), 300):
        world.latency_ms = latency_ms
        world.passes(50)
        world.get("S", max_age_ms=0)
    assert world.cache.get_refresh_latency_p95("S") == pytest.approx(19)


def test_the_defaults_are_those_of_the_document_and_it_is_off():
    config = MDCacheConfig()
    assert not config.enabled
    assert (config.ttl_ms, config.max_depth, config.stale_ok) == (100, 50, True)
    assert (config.invalidate_on_ws_gap_ms, config.max_inflight_refresh) == (300, 1)


# --- whatever the order ---------------------------------------------------------------------------


@dataclass
class Question:
    """One call of the callback: when it came, and the venue's version of the book then."""

    symbol: str
    asked_ns: int
    version: int
    answer: asyncio.Future


class Machine(RuleBasedStateMachine):
    """Reads, answers, failures, hangs, invalidations and evictions in any order.

    The venue's book has a version, its best bid, which moves on whenever the test says; an
    invalidation moves it too. So a book served convicts itself of its age.
    """

    SYMBOLS = ("A", "B", "C", "D")

    @initialize(
        flights=st.integers(1, 3),
        places=st.integers(1, 3),
        tries=st.integers(1, 3),
        stale_ok=st.booleans(),
    )
    def begin(self, flights, places, tries, stale_ok):
        self.loop = JumpLoop()
        self.config = MDCacheConfig(
            enabled=True, ttl_ms=100, stale_ms_max=400, max_inflight_refresh=flights,
            symbols_max=places, refresh_try_count_max=tries, stale_ok=stale_ok,
            refresh_timeout_ms=300, retry_delay_ms=20, retry_delay_ms_max=80,
        )  # fmt: skip
        self.cache = MDCache(
            self.config, self.ask, now_ns=lambda: self.loop.now_ns, jitter=lambda: 0.5
        )
        self.open = []
        self.version = 10
        self.born_ns = {10: self.loop.now_ns}
        self.died_ns = {}
        self.forbidden = dict.fromkeys(self.SYMBOLS, 0)
        self.waiters = []

    async def ask(self, symbol, depth):
        version = self.version
        question = Question(symbol, self.loop.now_ns, version, self.loop.create_future())
        self.open.append(question)
        try:
            await question.answer
        finally:
            self.open.remove(question)
        return book_at(version)

    def move(self):
        self.died_ns[self.version] = self.loop.now_ns
        self.version += 1
        self.born_ns[self.version] = self.loop.now_ns

    def settle(self):
        async def turns():
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    async def judged(self, symbol):
        """Read, and judge what came at the very moment that it came."""
        floor = self.forbidden[symbol]
        begun_ns = self.loop.now_ns
        found = await self.cache.read(symbol)
        now_ns = self.loop.now_ns
        if isinstance(found, MDMiss):
            return
        version = found.book.bids[0][0] // TICK
        assert found.symbol == symbol
        assert version >= self.forbidden[symbol] >= floor, "from before an invalidation"
        age_ns = now_ns - found.asked_ns
        assert age_ns >= 0
        # The venue still had this version when it was asked, or later: the age is no less than
        # the true one.
        assert self.died_ns.get(version, now_ns) >= found.asked_ns, "older than it says"
        assert self.born_ns[version] <= found.recv_ns
        if found.recv_ns < begun_ns:
            limit_ms = self.config.stale_ms_max if self.config.stale_ok else self.config.ttl_ms
            assert age_ns <= limit_ms * MS, "served too old"

    @rule(symbol=st.sampled_from(SYMBOLS))
    def read(self, symbol):
        self.waiters.append(self.loop.create_task(self.judged(symbol)))
        self.settle()

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def stop_waiting(self, data):
        data.draw(st.sampled_from(self.waiters)).cancel()
        self.settle()

    @rule(symbol=st.sampled_from(SYMBOLS))
    def invalidate(self, symbol):
        self.move()
        self.forbidden[symbol] = self.version
        self.cache.invalidate(symbol, reason="price_jump")
        assert self.cache.get_cache_age_ms(symbol) is None
        self.settle()

    @rule()
    def invalidate_all(self):
        self.move()
        self.forbidden = dict.fromkeys(self.SYMBOLS, self.version)
        self.cache.invalidate_all(reason="reconnect")
        self.settle()

    @rule()
    def the_book_moves(self):
        self.move()

    @rule(ms=st.sampled_from((1, 30, 99, 101, 250, 450)))
    def time_passes(self, ms):
        self.loop.run_until_complete(asyncio.sleep(ms / 1e3))
        self.settle()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), fails=st.booleans())
    def the_venue_answers(self, data, fails):
        question = data.draw(st.sampled_from(self.open))
        if not question.answer.done():
            if fails:
                question.answer.set_exception(MDRefreshError("503"))
            else:
                question.answer.set_result(None)
        self.settle()

    @invariant()
    def nothing_is_without_bound(self):
        if not hasattr(self, "open"):
            return
        asked = [question.symbol for question in self.open]
        for symbol in set(asked):
            assert asked.count(symbol) <= self.config.max_inflight_refresh
        assert len(asked) <= self.config.symbols_max * self.config.max_inflight_refresh
        assert len(self.cache) <= self.config.symbols_max
        for task in [task for task in self.waiters if task.done()]:
            self.waiters.remove(task)
            if not task.cancelled():
                task.result()

    def teardown(self):
        if not hasattr(self, "open"):
            return
        # Whatever hangs, everybody is answered in the end.
        self.loop.run_until_complete(asyncio.sleep(10))
        assert all(task.done() for task in self.waiters)
        self.nothing_is_without_bound()
        assert not self.open
        summary = self.cache.metrics.summary()
        rows = [row for row in self.cache.rows() if row.name == "mm_md_cache_hit_total"]
        assert sum(row.value for row in rows) == summary.hit_count
        self.loop.run_until_complete(self.cache.close())
        self.loop.close()


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_whatever_the_order_it_keeps_its_word = Machine.TestCase
