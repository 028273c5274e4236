"""cache/md_rollout.py: shares of the markets, shadow, the gates, and both ways measured."""

import asyncio
import itertools
import random

import pytest

from cache import layout
from cache.counters import Counter, CounterWriter, Histogram
from cache.layout import tag_of
from cache.md_config import MDCacheConfig
from cache.md_entry import MDMiss, MDRefreshError
from cache.md_rollout import (
    READS_MIN,
    WINDOW_NS,
    Figures,
    Gate,
    MDGates,
    MDRollout,
    figures_of,
    is_in_share,
    judge,
)
from tests.cache.md_world import MS, TICK, JumpLoop, book_at

IN, OUT = 0, 2**64 - 1
"""Tags of a market that is in every share but 0, and of one that is in none but 1."""


class World:
    """A rollout, the counters it keeps, and a venue that is told what to answer."""

    def __init__(self, **config):
        self.loop = JumpLoop()
        self.counters = CounterWriter(memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q"))
        self.answer, self.latency_ms, self.asked = book_at(50), 10, 0
        self.config = MDCacheConfig(**{"enabled": True} | config)
        self.rollouts = []
        self.starts()

    def starts(self):
        """Begin as a process does, on the counters of the one before it."""
        self.gates = MDGates(self.config, self.counters, now_ns=lambda: self.loop.now_ns)
        self.rollout = self.another()

    def another(self):
        """Make the rollout of one more connection."""
        made = MDRollout(
            self.config, self.refresh, self.counters, gates=self.gates,
            now_ns=lambda: self.loop.now_ns,
        )  # fmt: skip
        self.rollouts.append(made)
        return made

    async def refresh(self, symbol, depth):
        self.asked += 1
        answer = self.answer
        await asyncio.sleep(self.latency_ms / 1e3)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def read(self, tag=IN, symbol="S", depth=3, max_age_ms=1_000):
        reading = self.rollout.read(symbol, depth, max_age_ms, tag=tag)
        return self.loop.run_until_complete(reading)

    def bid(self, *args, **words):
        return self.read(*args, **words).book.bids[0][0] // TICK

    def passes(self, ms):
        self.loop.run_until_complete(asyncio.sleep(ms / 1e3))

    @property
    def figures(self):
        return figures_of(self.counters.reader)

    def close(self):
        for rollout in self.rollouts:
            self.loop.run_until_complete(rollout.cache.close())
        self.loop.close()


@pytest.fixture
def world():
    made = []

    def make(**config):
        made.append(World(**config))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- who goes through the cache -------------------------------------------------------------------


def test_the_markets_of_a_smaller_share_are_among_those_of_a_larger_one():
    tags = [tag_of("polymarket", f"0x{number:064x}") for number in range(4_000)]
    shares = (0, 0.01, 0.1, 0.5, 0.9, 1)
    chosen = [{tag for tag in tags if is_in_share(tag, share)} for share in shares]
    for smaller, larger in itertools.pairwise(chosen):
        assert smaller < larger
    for share, found in zip(shares, chosen, strict=True):
        assert len(found) / len(tags) == pytest.approx(share, abs=0.03)


def test_the_markets_of_a_share_are_the_same_on_every_host_and_after_every_start():
    tags = [tag_of("polymarket", f"0x{number:064x}") for number in range(8)]
    assert [number for number in range(8) if is_in_share(tags[number], 0.5)] == [0, 3, 4, 7]


def test_no_market_is_in_a_share_of_nothing_and_every_one_in_that_of_all():
    for tag in (IN, 1, 2**63, OUT, random.getrandbits(64)):
        assert is_in_share(tag, 1.0)
        assert not is_in_share(tag, 0.0)


def test_a_market_of_the_share_is_read_through_the_cache_and_another_asked_for_each_time(world):
    one = world(share=0.5)
    for _ in range(3):
        one.read(IN)
    assert one.asked == 1
    for _ in range(3):
        one.read(OUT)
    assert one.asked == 4
    assert one.rollout.cache.metrics.summary().hit_count == 2


def test_what_is_asked_past_the_cache_is_as_old_as_its_question_and_as_deep_as_wanted(world):
    one = world(share=0)
    one.answer = book_at(50, levels=9)
    begun_ns = one.loop.now_ns
    entry = one.read(depth=2)
    assert (entry.symbol, entry.asked_ns) == ("S", begun_ns)
    assert entry.recv_ns - entry.asked_ns == pytest.approx(10 * MS, rel=0.01)
    assert (len(entry.book.bids), len(entry.book.asks)) == (2, 2)
    assert len(one.rollout.cache) == 0


@pytest.mark.parametrize("error", [MDRefreshError("503"), TimeoutError(), ConnectionResetError()])
def test_past_the_cache_the_venues_fault_is_a_miss_that_is_counted(world, error):
    one = world(share=0)
    one.answer = error
    assert one.read() is MDMiss.FAILED
    assert one.asked == 1
    assert one.counters[Counter.cache_md_refreshes_failed] == 1


def test_past_the_cache_a_question_that_hangs_is_ended(world):
    one = world(share=0, refresh_timeout_ms=200)
    one.latency_ms = 60_000
    begun_ns = one.loop.now_ns
    assert one.read() is MDMiss.FAILED
    assert (one.loop.now_ns - begun_ns) / MS == pytest.approx(200, abs=1)


def test_past_the_cache_no_book_is_an_answer_and_a_fault_of_ours_is_raised(world):
    one = world(share=0)
    one.answer = None
    assert one.read() is MDMiss.NO_BOOK
    assert one.figures.direct_count == 1
    one.answer = KeyError("bids")
    with pytest.raises(KeyError):
        one.read()


# --- shadow ---------------------------------------------------------------------------------------


def test_in_shadow_the_venues_answer_is_given_whatever_the_cache_keeps(world):
    one = world(shadow=True)
    assert one.bid() == 50
    one.answer = book_at(60)
    assert one.bid() == 60
    assert one.figures.hit_count == 1
    one.answer = MDRefreshError("503")
    assert one.read() is MDMiss.FAILED, "what is kept stands in for nothing"


def test_in_shadow_nobody_waits_longer_than_for_the_venue_alone(world):
    one = world(shadow=True)
    begun_ns = one.loop.now_ns
    one.read()
    assert (one.loop.now_ns - begun_ns) / MS == pytest.approx(one.latency_ms, abs=0.1)


def test_in_shadow_what_the_cache_would_have_said_is_compared_with_the_venue(world):
    one = world(shadow=True, ttl_ms=5_000)
    one.read(max_age_ms=5_000)
    assert (one.figures.compared_count, one.figures.differed_count) == (1, 0)
    one.answer = book_at(60)
    one.read(max_age_ms=5_000)
    one.read(max_age_ms=5_000)
    assert (one.figures.compared_count, one.figures.differed_count) == (3, 2)
    one.answer = None
    one.read(max_age_ms=5_000)
    assert one.figures.compared_count == 3, "nothing was told to compare with"


def test_in_shadow_a_market_outside_the_share_is_only_asked_for(world):
    one = world(shadow=True, share=0.5)
    one.read(OUT)
    assert (one.figures.read_count, one.figures.direct_count) == (0, 1)


# --- figures --------------------------------------------------------------------------------------


def test_both_ways_are_measured_beside_each_other_and_ages_too(world):
    one = world(share=0.5, ttl_ms=5_000)
    for _ in range(100):
        one.read(IN, max_age_ms=5_000)
        one.latency_ms = 40
        one.read(OUT)
    found = one.figures
    assert (found.read_count, found.hit_count, found.direct_count) == (100, 99, 100)
    assert found.hit_ratio == 0.99
    assert found.read_p95_ns == 0
    assert found.direct_p95_ns == pytest.approx(40 * MS, rel=1 / 16)
    assert found.age_p50_ns == pytest.approx(2_000 * MS, rel=0.1)


def test_what_nobody_answered_is_no_figure_of_either_way(world):
    one = world(share=0.5, refresh_try_count_max=1)
    one.answer = MDRefreshError("503")
    for tag in (IN, OUT):
        one.read(tag)
        one.read(tag)
    assert one.figures == Figures()


def test_that_there_is_no_book_is_an_answer_of_either_way_and_has_no_age(world):
    one = world(share=0.5)
    one.answer = None
    for tag in (IN, IN, OUT):
        assert one.read(tag) is MDMiss.NO_BOOK
    found = one.figures
    assert (found.read_count, found.hit_count, found.direct_count) == (2, 1, 1)
    assert found.age_p50_ns is None


def test_nothing_was_measured_is_unknown_and_not_nought():
    empty = CounterWriter(memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q"))
    found = figures_of(empty.reader)
    assert (found.hit_ratio, found.read_p95_ns, found.direct_p95_ns) == (None, None, None)


# --- the gates ------------------------------------------------------------------------------------


def figures(hits=900, reads=1_000, cached_ms=10.0, direct_ms=10.0, directs=1_000):
    return Figures(
        read_count=reads, hit_count=hits, read_p95_ns=round(cached_ms * 1e6),
        direct_count=directs, direct_p95_ns=round(direct_ms * 1e6),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Figures(), Gate.UNKNOWN),
        (figures(0, READS_MIN - 1), Gate.UNKNOWN),
        (figures(0, READS_MIN), Gate.HIT_RATIO),
        (figures(499), Gate.HIT_RATIO),
        (figures(500), Gate.KEEP),
        (figures(cached_ms=11.5), Gate.KEEP),
        (figures(cached_ms=11.51), Gate.SLOWER),
        (figures(cached_ms=99, directs=READS_MIN - 1), Gate.KEEP),
        (figures(cached_ms=99, directs=READS_MIN), Gate.SLOWER),
        (figures(hits=0, cached_ms=99), Gate.HIT_RATIO),
    ],
)
def test_the_gates_are_a_hit_ratio_under_a_half_and_a_p95_over_fifteen_percent_more(
    found, expected
):
    assert judge(found)[0] is expected
    assert expected.is_tripped == (expected in (Gate.HIT_RATIO, Gate.SLOWER))


def test_a_gate_says_why():
    assert judge(Figures())[1] == "0 of 500 reads"
    assert judge(figures(100))[1] == "hit ratio 0.10 is under 0.5"
    slower = judge(figures(cached_ms=20))[1]
    assert slower == "p95 20.00 ms, asked directly 10.00 ms: over 15% slower"
    assert judge(figures(directs=3))[1] == "hit ratio 0.90; 3 of 500 direct reads to compare with"
    kept = judge(figures())[1]
    assert kept == "hit ratio 0.90; p95 10.00 ms, asked directly 10.00 ms"


def missing(one, count):
    """Read so that nothing is a hit."""
    for _ in range(count):
        one.read(max_age_ms=0)
        one.rollout.cache.invalidate("S", reason="test")


def test_a_gate_that_trips_sends_every_question_to_the_venue_and_is_told_and_counted_once(world):
    one = world()
    missing(one, READS_MIN - 1)
    assert one.gates.check() == ""
    missing(one, 1)
    assert one.gates.check() == "hit ratio 0.00 is under 0.5"
    assert one.gates.check() == ""
    assert one.counters[Counter.cache_md_rolled_back] == 1
    asked = one.asked
    for _ in range(3):
        one.read()
    assert one.asked == asked + 3
    assert one.figures.read_count == READS_MIN, "the cache is not read any more"


def test_a_cache_that_is_slower_than_the_venue_trips_too(world):
    one = world(share=0.5, ttl_ms=10)
    for _ in range(READS_MIN):
        one.read(OUT)
        one.counters.record(Histogram.cache_md_read_ns, 12 * MS)
        one.counters.add(Counter.cache_md_hits)
    assert "over 15% slower" in one.gates.check()


def test_a_cache_that_is_good_is_kept(world):
    one = world(ttl_ms=5_000)
    for _ in range(READS_MIN + 1):
        one.read()
    assert one.gates.check() == ""
    assert not one.gates.is_rolled_back


def test_all_rollouts_of_a_process_go_back_together_those_made_later_too(world):
    one = world()
    first, second = one.rollout, one.another()
    missing(one, READS_MIN)
    assert one.gates.check()
    for rollout in (first, second, one.another()):
        one.rollout, asked = rollout, one.asked
        for _ in range(3):
            one.read()
        assert one.asked == asked + 3
        assert len(rollout.cache) == (rollout is first)
    assert one.gates.check() == ""
    assert one.counters[Counter.cache_md_rolled_back] == 1


def test_what_was_good_for_long_does_not_hide_what_is_bad_now(world):
    one = world(ttl_ms=5_000)
    for _ in range(10 * READS_MIN):
        one.read(max_age_ms=5_000)
    one.loop.now_ns += WINDOW_NS + 1
    assert one.gates.check() == ""
    missing(one, READS_MIN - 1)
    assert one.gates.check() == "", "too little of this hour"
    missing(one, 1)
    assert judge(one.figures)[0] is Gate.KEEP, "of all that was measured"
    assert one.gates.check() == "hit ratio 0.00 is under 0.5"


def test_nor_does_a_slow_cache_hide_behind_the_days_when_it_was_quick(world):
    one = world(share=0.5)
    for _ in range(5 * READS_MIN):
        one.counters.record(Histogram.cache_md_read_ns, 1)
        one.counters.record(Histogram.cache_md_direct_ns, 50 * MS)
        one.counters.add(Counter.cache_md_hits)
    one.loop.now_ns += WINDOW_NS + 1
    assert one.gates.check() == ""
    for _ in range(READS_MIN):
        one.counters.record(Histogram.cache_md_read_ns, 12 * MS)
        one.counters.record(Histogram.cache_md_direct_ns, 10 * MS)
        one.counters.add(Counter.cache_md_hits)
    assert "over 15% slower" in one.gates.check()


def test_within_the_hour_all_that_was_measured_counts(world):
    one = world(ttl_ms=5_000)
    for _ in range(READS_MIN):
        one.read(max_age_ms=5_000)
    one.loop.now_ns += WINDOW_NS // 2
    assert one.gates.check() == ""
    missing(one, READS_MIN // 2)
    assert one.gates.check() == ""


def test_a_process_that_starts_begins_anew_whatever_was_given_up_before(world):
    one = world()
    missing(one, READS_MIN)
    assert one.gates.check()
    one.starts()
    assert one.counters[Counter.cache_md_rolled_back] == 0
    assert one.gates.check() == ""
    assert not one.gates.is_rolled_back
    assert one.figures.read_count == READS_MIN, "what was measured stays to be seen"


def test_in_shadow_the_gates_are_shown_and_not_applied(world):
    one = world(shadow=True)
    missing(one, READS_MIN)
    assert judge(one.figures)[0] is Gate.HIT_RATIO
    assert one.gates.check() == ""
    one.read()
    assert one.figures.read_count == READS_MIN + 1
