import copy
import time

import numpy as np
import pytest

from cache.bn_cache import FEATURES_LAG_NS, ROLE, BNCache, BNCacheWriter, bn_boards
from cache.board import Miss
from cache.counters import Counter
from cache.errors import BoardError, SegmentMissing, UpdateRefused
from cache.layout import E9, Flag, Known, tag_of
from cache.segment import ReaderSegment, WriterSegment

MS = 1_000_000
TAG = tag_of("binance", "BTCUSDT")
WALL_MS = 1_790_766_981_628
RAW = {
    "wall_ts_ms": WALL_MS,
    "symbol": "BTCUSDT",
    "bbo_bid": 60_000.0,
    "bbo_ask": 60_001.0,
    "features": {"return_1m": 0.004, "ewma_vol": 1.9},
    "pricer": {"shock_z": -0.25},
}


class World:
    """A writer with a clock of its own, and a cache that reads it."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.now_ms = 10_000
        self.begin()

    def begin(self):
        self.segment = WriterSegment.create(ROLE, bn_boards(), namespace=self.namespace)
        self.writer = BNCacheWriter(
            self.segment,
            "BTCUSDT",
            clock=lambda: self.now_ms * MS,
            wall=lambda: (WALL_MS + self.now_ms) * MS,
        )

    def attach(self):
        self.cache = BNCache.attach("BTCUSDT", namespace=self.namespace)
        self.cache._clock = lambda: self.now_ms * MS
        return self.cache

    def top(self, bid=100, ask=101, *, batch=1, publish_ms=None, flags=0, qty=1):
        """Publish a top as the stream does."""
        publish_ns = (self.now_ms if publish_ms is None else publish_ms) * MS
        board = self.segment.board("bbo")
        return board.publish(0, (batch, 7, self.now_ms * MS, publish_ns, 0, flags, 4,
                                 bid * E9, qty * E9, ask * E9, qty * E9, 0, 0, 0, 0))  # fmt: skip

    def derived(self, *, batch=1, known=15, count=60, publish_ms=None):
        """Publish features as the stream does."""
        publish_ns = (self.now_ms if publish_ms is None else publish_ms) * MS
        board = self.segment.board("features")
        return board.publish(0, (batch, 7, 0, publish_ns, 0, 0, 0, 100 * E9, 11, 55, 66, 8 * E9,
                                 -E9, count, known))  # fmt: skip


@pytest.fixture
def world(namespace):
    made = World(namespace)
    yield made
    made.segment.close()


@pytest.fixture
def cache(world):
    return world.attach()


def answer(**changes):
    made = copy.deepcopy(RAW)
    for name, value in changes.items():
        *group, key = name.split("__")
        (made[group[0]] if group else made)[key] = value
    return made


def test_nothing_is_known_before_anything_came(cache):
    assert cache.get_latest() == (None, 0)
    assert cache.get_seq() == 0
    assert cache.get_age_ms(10_000) is None
    assert cache.is_stale(10_000)
    assert [found.size for found in cache.mids()] == [0, 0]


# --- answers of a service -----------------------------------------------------------------------


def test_an_answer_becomes_a_snapshot(world, cache):
    assert world.writer.update_from_poll(RAW) == 1
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.meta.feed_seq, snapshot.symbol) == (1, 1, "BTCUSDT")
    assert (snapshot.best_bid_px_e9, snapshot.best_ask_px_e9) == (60_000 * E9, 60_001 * E9)
    assert (snapshot.best_bid_qty_e9, snapshot.best_ask_qty_e9) == (None, None)
    assert (snapshot.meta.monotonic_ts_ns, snapshot.meta.wall_ts_ns) == (10_000 * MS, WALL_MS * MS)
    assert (snapshot.meta.source, snapshot.flags) == ("BN", 0)


def test_the_return_of_a_minute_is_not_shown_for_that_of_a_second(world, cache):
    world.writer.update_from_poll(RAW)
    snapshot, _ = cache.get_latest()
    assert snapshot.return_1m_e9 == 4_000_000
    assert snapshot.return_1s_e9 is None


def test_a_volatility_in_an_unknown_unit_is_not_carried(world, cache):
    world.writer.update_from_poll(RAW)
    snapshot, _ = cache.get_latest()
    assert (snapshot.ewma_vol_1s_e9, snapshot.sample_count) == (None, 0)
    assert snapshot.shock_z_e9 == -250_000_000


def test_what_the_service_does_not_know_is_none_and_not_0(world, cache):
    world.writer.update_from_poll(answer(features={}, pricer={}, wall_ts_ms=None))
    snapshot, _ = cache.get_latest()
    assert (snapshot.return_1m_e9, snapshot.shock_z_e9) == (None, None)
    assert snapshot.meta.wall_ts_ns is None
    assert (snapshot.return_1s_e9, snapshot.ewma_vol_1s_e9, snapshot.sample_count) == (
        None,
        None,
        0,
    )
    world.writer.update_from_poll(answer(features__return_1m=0.0, pricer__shock_z=0))
    snapshot, _ = cache.get_latest()
    assert (snapshot.return_1m_e9, snapshot.shock_z_e9) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bbo_bid": 60_002.0}, "bbo_bid"),
        ({"bbo_ask": float("nan")}, "bbo_ask"),
        ({"symbol": "ETHUSDT"}, "symbol"),
        ({"extra": 1}, "extra"),
        ({"pricer__shock_z": "1"}, "pricer.shock_z"),
        ({"symbol": [10**5000]}, "symbol"),
    ],
)
def test_what_is_wrong_is_refused_named_counted_and_changes_nothing(world, cache, changes, says):
    world.writer.update_from_poll(RAW)
    before, features = cache.get_latest(), cache.segment.board("features")
    world.now_ms += 400
    with pytest.raises(UpdateRefused, match=f"^{says} "):
        world.writer.update_from_poll(answer(**changes))
    assert cache.get_latest() == before
    assert (cache.get_seq(), features.version(0)) == (1, 1)
    assert cache.segment.link_ns == 10_000 * MS
    assert cache.segment.counters[Counter.cache_updates_refused] == 1


def test_an_answer_moves_the_link_rings_and_is_a_batch_of_its_own(world, cache):
    tops, features = (cache.segment.board(name) for name in ("bbo", "features"))
    for step in range(1, 4):
        memory, at = cache.segment.bell_word
        rung = bytes(memory[at : at + 4])
        world.now_ms += step
        world.writer.update_from_poll(RAW)
        top, derived = tops.read(0, TAG), features.read(0, TAG)
        assert (top.batch, derived.batch) == (step, step)
        assert (top.venue_seq, top.proof, top.flags, derived.flags) == (0, 0, 0, 0)
        assert (top.bid_qty_e9, top.ask_qty_e9, top.last_px_e9, top.tick_e9) == (0, 0, 0, 0)
        assert derived.mid_px_e9 == (top.bid_px_e9 + top.ask_px_e9) // 2
        assert (top.recv_ns, top.proven_ns) == (world.now_ms * MS, world.now_ms * MS)
        assert cache.segment.link_ns == world.now_ms * MS
        assert bytes(memory[at : at + 4]) != rung


def test_a_symbol_that_is_listed_is_told_to_the_directories(world, cache):
    epoch = cache.segment.epoch
    BNCacheWriter(world.segment, "ETHUSDT")
    assert cache.segment.epoch == epoch + 1


@pytest.mark.parametrize(
    ("symbol", "says"),
    [
        (5, "symbol is int"),
        (None, "symbol is NoneType"),
        (b"BTCUSDT", "symbol is bytes"),
        ("", "symbol is ''"),
        ("x" * 81, "symbol is 'xx"),
        ("BTC\n", "symbol is 'BTC"),
    ],
)
def test_a_symbol_that_no_directory_can_hold_is_refused_and_changes_nothing(
    world, cache, symbol, says
):
    world.writer.update_from_poll(RAW)
    before, epoch = cache.get_latest(), cache.segment.epoch
    with pytest.raises(UpdateRefused, match=f"^{says}"):
        BNCacheWriter(world.segment, symbol)
    assert (cache.get_latest(), cache.segment.epoch) == (before, epoch)


@pytest.mark.parametrize("slot", [1, -1, None, "0", True, 0.0])
def test_a_slot_that_is_not_there_is_refused_and_changes_nothing(world, cache, slot):
    world.writer.update_from_poll(RAW)
    before, epoch = cache.get_latest(), cache.segment.epoch
    with pytest.raises(UpdateRefused, match=r"^slot is .*: it must be a whole number, 0 to 0"):
        BNCacheWriter(world.segment, "BTCUSDT", slot)
    assert (cache.get_latest(), cache.segment.epoch) == (before, epoch)


@pytest.mark.parametrize("short", ["instruments", "bbo", "features", "samples"])
def test_a_slot_that_one_of_its_boards_does_not_have_is_refused(namespace, short):
    sizes = zip(bn_boards(1), bn_boards(2), strict=True)
    made = [one if one.name == short else two for one, two in sizes]
    segment = WriterSegment.create(ROLE, made, namespace=namespace)
    BNCacheWriter(segment, "BTCUSDT", 0)
    with pytest.raises(UpdateRefused, match=r"^slot is 1: it must be a whole number, 0 to 0"):
        BNCacheWriter(segment, "BTCUSDT", 1)
    segment.close()


@pytest.mark.parametrize("ignored", ["extra", None, ["extra"], 5])
def test_what_is_no_set_of_keys_to_ignore_is_refused(world, ignored):
    with pytest.raises(UpdateRefused, match=r"^ignored is .*: it must be a set of keys"):
        BNCacheWriter(world.segment, "BTCUSDT", ignored=ignored)


def test_a_number_of_numpys_is_what_it_says(world, cache):
    world.writer.update_from_poll(answer(bbo_bid=np.float64(59_999.29), bbo_ask=60_001))
    snapshot, _ = cache.get_latest()
    assert (snapshot.best_bid_px_e9, snapshot.best_ask_px_e9) == (59_999_290_000_000, 60_001 * E9)


def test_keys_may_be_named_as_known_and_of_no_use(world, cache):
    writer = BNCacheWriter(world.segment, "BTCUSDT", ignored={"extra"}, clock=lambda: 1)
    assert writer.update_from_poll(answer(extra=1)) == 1


# --- age and staleness --------------------------------------------------------------------------


@pytest.mark.parametrize("later_ms", [0, 1, 999, 1_000, 1_001, 86_400_000])
def test_the_age_is_how_long_ago_it_was_received(world, cache, later_ms):
    world.writer.update_from_poll(RAW)
    assert cache.get_age_ms(10_000 + later_ms) == later_ms
    assert cache.is_stale(10_000 + later_ms) is (later_ms > 1_000)
    assert cache.is_stale(10_000 + later_ms, threshold_ms=later_ms) is False
    assert cache.is_stale(10_000 + later_ms, threshold_ms=later_ms - 1) is True


def test_the_services_wall_clock_has_no_part_in_it(world, cache):
    for step, wall_ms in enumerate((1, WALL_MS + 10**9, WALL_MS - 10**9, None)):
        world.now_ms = 20_000 + step
        world.writer.update_from_poll(answer(wall_ts_ms=wall_ms))
        assert cache.get_age_ms(world.now_ms + 3) == 3


def test_the_clock_that_is_asked_is_the_monotonic_one(world):
    assert BNCache.attach("BTCUSDT", namespace=world.namespace)._clock is time.monotonic_ns


def test_a_snapshot_of_the_future_is_stale_and_one_that_just_came_is_new(world, cache):
    world.writer.update_from_poll(RAW)
    assert cache.get_age_ms(9_999) == 0
    world.now_ms = 9_000
    assert cache.get_age_ms(9_000) == -1_000
    assert cache.is_stale(9_000, threshold_ms=10**9)


# --- top and features ---------------------------------------------------------------------------


def test_the_features_that_stood_while_the_top_did_join_it(world, cache):
    world.derived(batch=1)
    world.top(batch=1)
    snapshot, _ = cache.get_latest()
    assert (snapshot.return_1s_e9, snapshot.return_1m_e9, snapshot.shock_z_e9) == (11, 66, -E9)
    assert (snapshot.ewma_vol_1s_e9, snapshot.sample_count) == (8 * E9, 60)
    world.top(102, 103, batch=2)
    snapshot, _ = cache.get_latest()
    assert (snapshot.best_bid_px_e9, snapshot.return_1s_e9) == (102 * E9, 11)


def test_features_that_were_there_before_any_top_join_the_first_one(world, cache):
    world.derived(batch=1)
    assert cache.get_latest() == (None, 0)
    world.top(batch=1)
    assert cache.get_latest()[0].return_1s_e9 == 11


def test_features_whose_read_stays_busy_are_those_of_before_and_read_again(world, cache):
    world.derived(batch=1, count=60)
    world.top(batch=1)
    cache.get_latest()
    world.derived(batch=1, count=61)
    read, cache._features_read = cache._features_read, lambda slot, tag: Miss.BUSY
    assert cache.get_latest()[0].sample_count == 60
    cache._features_read = read
    assert cache.get_latest()[0].sample_count == 61


def test_newer_features_of_the_same_top_are_seen(world, cache):
    world.derived(known=0, count=0)
    world.top()
    first, seq = cache.get_latest()
    assert (first.return_1s_e9, first.return_1m_e9, first.shock_z_e9) == (None, None, None)
    assert first.ewma_vol_1s_e9 is None
    world.derived(known=int(Known.RETURN_1S))
    second, again = cache.get_latest()
    assert (again, second.return_1s_e9, second.return_1m_e9) == (seq, 11, None)


def test_features_ahead_of_their_top_are_not_mixed_with_it(world, cache):
    world.derived(batch=1)
    world.top(batch=1)
    cache.get_latest()
    world.derived(batch=2)  # The writer was killed here, or has not come to the top yet.
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.best_bid_px_e9, snapshot.return_1s_e9) == (1, 100 * E9, None)
    world.top(102, 103, batch=2)
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.best_bid_px_e9, snapshot.return_1s_e9) == (2, 102 * E9, 11)


def test_a_top_that_came_while_the_features_were_read_is_read_again(world, cache):
    world.derived(batch=1)
    world.top(batch=1)
    cache.get_latest()
    read, calls = cache._read, []

    def read_then_publish(*place):
        found = read(*place)
        if not calls:
            calls.append(found)
            world.derived(batch=3)
            world.top(102, 103, batch=3)
        return found

    cache._read = read_then_publish
    world.top(101, 103, batch=2)
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.best_bid_px_e9, snapshot.return_1s_e9) == (3, 102 * E9, 11)
    assert len(calls) == 1


def test_a_read_that_stayed_busy_gives_the_last_whole_snapshot_with_its_own_number(world, cache):
    world.top(batch=1)
    whole = cache.get_latest()
    world.top(102, 103, batch=2)
    read, cache._read = cache._read, lambda slot, tag: Miss.BUSY
    assert cache.get_latest() == whole
    assert (whole[1], cache.get_seq()) == (1, 2)
    cache._read = read
    assert cache.get_latest()[1] == 2


@pytest.mark.parametrize("late_ns", [FEATURES_LAG_NS, FEATURES_LAG_NS + MS])
def test_features_of_a_timer_that_stands_still_are_none(world, cache, late_ns):
    assert FEATURES_LAG_NS == 3 * E9
    world.derived(batch=1)
    world.top(batch=1, publish_ms=10_000 + late_ns // MS)
    found, _ = cache.get_latest()
    shown = found.return_1s_e9, found.return_1m_e9, found.shock_z_e9
    derived = found.ewma_vol_1s_e9, found.sample_count
    if late_ns == FEATURES_LAG_NS:
        assert (shown, derived) == ((11, 66, -E9), (8 * E9, 60))
    else:
        assert (shown, derived) == ((None, None, None), (None, 0))


def test_features_of_a_predecessor_are_none_and_its_top_is_warming_up(world, cache):
    world.derived()
    world.top()
    assert cache.get_latest()[0].flags == 0
    world.segment.close()
    world.begin()
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.flags, snapshot.return_1s_e9) == (1, Flag.WARMUP, None)
    assert (snapshot.best_bid_px_e9, snapshot.sample_count) == (100 * E9, 0)
    world.top(batch=1)
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.flags, snapshot.return_1s_e9) == (2, 0, None)


def test_a_new_writers_features_do_not_join_its_predecessors_top(world, cache):
    world.top(batch=5)
    world.segment.close()
    world.begin()
    world.derived(batch=1)  # It was killed before its first top, or has not come to it yet.
    snapshot, _ = cache.get_latest()
    assert (snapshot.best_bid_px_e9, snapshot.return_1s_e9) == (100 * E9, None)


def test_a_top_that_never_had_features_is_warming_up_too_when_its_writer_restarts(world, cache):
    world.top()
    assert cache.get_latest()[0].flags == 0
    world.segment.close()
    world.begin()
    assert cache.get_latest()[0].flags == Flag.WARMUP


def test_an_empty_side_is_none(world, cache):
    world.top(0, 101, flags=int(Flag.NO_BID))
    snapshot, _ = cache.get_latest()
    assert (snapshot.best_bid_px_e9, snapshot.mid_px_e9) == (None, None)
    assert snapshot.best_ask_px_e9 == 101 * E9


def test_numbers_grow_across_restarts_and_answers(world, cache):
    seen = []
    for _ in range(3):
        for _ in range(3):
            seen.append(world.writer.update_from_poll(RAW))
            assert cache.get_latest()[1] == cache.get_seq() == seen[-1]
        world.segment.close()
        world.begin()
    assert seen == list(range(1, 10))


def test_get_latest_is_the_same_object_until_something_is_published(world, cache):
    world.writer.update_from_poll(RAW)
    first = cache.get_latest()
    assert cache.get_latest() is first
    world.writer.update_from_poll(RAW)
    assert cache.get_latest() is not first


def test_a_symbol_that_nobody_lists_is_missing(world):
    with pytest.raises(
        SegmentMissing, match="lists no symbol ETHUSDT, but BTCUSDT; try again later"
    ):
        BNCache.attach("ETHUSDT", namespace=world.namespace)


def test_a_slot_given_to_another_symbol_shows_nothing_of_it(world, cache):
    world.writer.update_from_poll(RAW)
    assert cache.get_latest()[0] is not None
    other = BNCacheWriter(world.segment, "ETHUSDT", clock=lambda: 20_000 * MS)
    other.update_from_poll(answer(symbol="ETHUSDT"))
    assert cache.get_latest() == (None, 2)
    assert BNCache.attach("ETHUSDT", namespace=world.namespace).get_latest()[1] == 2


def test_features_of_before_a_slot_was_given_away_do_not_join_what_comes_after(world, cache):
    world.derived(batch=1)
    world.top(batch=1)
    assert cache.get_latest()[0].return_1s_e9 == 11
    boards = [world.segment.board(name) for name in ("bbo", "features")]
    for board in boards:
        board.assign(0, tag_of("binance", "ETHUSDT"), 7)
    world.derived(batch=2)
    world.top(batch=2)
    assert cache.get_latest() == (None, 2)
    boards[0].assign(0, TAG, 8)
    world.top(batch=3)
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.best_bid_px_e9, snapshot.return_1s_e9) == (3, 100 * E9, None)


def test_the_rolling_mids_are_arrays_of_whole_seconds_oldest_first(world, cache):
    board = world.segment.board("samples")
    board.assign(0, TAG, 0)
    for second in range(200):
        flags = int(Flag.SUSPECT) if second == 150 else 0
        board.publish(0, (0, 0, 0, second, 0, flags, 0, (100 + second) * E9, second * E9))
    times, mids = cache.mids()
    assert times.tolist() == [s * E9 for s in range(74, 200) if s != 150]
    assert (mids - times == 100 * E9).all()
    assert cache.mids(3)[0].tolist() == [197 * E9, 198 * E9, 199 * E9]
    assert len(cache.mids(10**30)[0]) == 125
    assert (times.dtype, mids.dtype) == (np.int64, np.int64)
    with pytest.raises(
        BoardError, match="the number of mids is -1: it must be a whole number, at least 1"
    ):
        cache.mids(-1)
    cache._samples._board = Busy(cache._samples._board)
    assert [found.tolist() for found in cache.mids()] == [times.tolist(), mids.tolist()]
    assert cache.mids(3)[0].tolist() == [197 * E9, 198 * E9, 199 * E9]


@pytest.mark.parametrize("begin", [0, 5], ids=["filled in", "set back"])
def test_mids_stay_in_order_where_the_past_was_filled_in_or_the_wall_clock_set_back(
    world, cache, begin
):
    board = world.segment.board("samples")
    board.assign(0, TAG, 0)
    for second in (8, 9, 9, *range(begin, 10)):
        board.publish(0, (0, 0, 0, second, 0, 0, 0, (100 + second) * E9, second * E9))
    times, mids = cache.mids()
    assert times.tolist() == [second * E9 for second in range(begin, 10)]
    assert (mids - times == 100 * E9).all()
    assert cache.mids(2)[0].tolist() == [8 * E9, 9 * E9]
    for array in (times, mids):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_the_first_answer_of_each_second_is_its_mid(world, cache):
    second_ms = 1_000 - (WALL_MS + world.now_ms) % 1_000 + world.now_ms
    begun_s = (WALL_MS + second_ms) // 1_000
    for later_ms in (0, 1, 999, 1_000, 1_500, 1_999, 4_400, 4_401):
        world.now_ms = second_ms + later_ms
        world.writer.update_from_poll(answer(bbo_bid=60_000 + later_ms, bbo_ask=70_000))
    times, mids = cache.mids()
    assert times.tolist() == [(begun_s + second) * E9 for second in (0, 1, 4)]
    assert mids.tolist() == [(130_000 + later) * E9 // 2 for later in (0, 1_000, 4_400)]
    taken = cache.segment.board("samples").read(0, TAG)
    assert (taken.recv_ns, taken.batch, taken.flags) == ((second_ms + 4_400) * MS, 7, 0)


def test_an_answer_that_is_refused_is_no_mid(world, cache):
    with pytest.raises(UpdateRefused):
        world.writer.update_from_poll(answer(bbo_bid=None))
    assert cache.mids()[0].size == 0
    world.writer.update_from_poll(RAW)
    assert cache.mids()[1].tolist() == [60_000_500_000_000]


def test_a_feed_without_the_board_of_samples_has_no_mids(namespace):
    made = [board for board in bn_boards() if board.name != "samples"]
    segment = WriterSegment.create(ROLE, made, namespace=namespace)
    cache = BNCache(ReaderSegment.attach(ROLE, namespace=namespace), "BTCUSDT", 0)
    assert cache.get_latest() == (None, 0)
    assert [found.size for found in cache.mids()] == [0, 0]
    segment.close()


class Busy:
    """A board whose writer is always faster."""

    def __init__(self, board):
        self.cell_count = board.cell_count

    def history(self, slot, count, tag):
        return Miss.BUSY


@pytest.mark.parametrize("wrong", [None, 5, True, b"x", [], 10**70])
def test_what_is_no_text_is_named_where_a_cache_is_attached(world, cache, wrong):
    with pytest.raises(TypeError, match=r"^symbol is .*: it must be text"):
        BNCache.attach(wrong, namespace=world.namespace)


@pytest.mark.parametrize("now_ms", ["5", None, b"5", [], 1j])
def test_a_time_that_cannot_be_reckoned_with_is_named(world, cache, now_ms):
    world.top()
    assert cache.get_latest()[0] is not None
    for asks in (cache.get_age_ms, cache.is_stale):
        with pytest.raises(TypeError, match=r"^now_ms is .*: it must be a number of milliseconds"):
            asks(now_ms)


@pytest.mark.parametrize("threshold_ms", ["5", b"5", []])
def test_a_threshold_that_cannot_be_compared_is_named(world, cache, threshold_ms):
    world.top()
    with pytest.raises(TypeError, match=r"^threshold_ms is .*: it must be a number of millisec"):
        cache.is_stale(world.now_ms, threshold_ms)


@pytest.mark.parametrize("wrong", [None, "feed.mine.0", 5])
def test_a_writer_without_a_segment_and_boards_of_no_number_are_named(wrong):
    with pytest.raises(UpdateRefused, match=r"^segment is .*: it must be a WriterSegment"):
        BNCacheWriter(wrong, "BTCUSDT")
    with pytest.raises(
        UpdateRefused, match=r"^symbol_slots is .*: it must be a whole number, 1 to"
    ):
        bn_boards(wrong if wrong != 5 else 0)
