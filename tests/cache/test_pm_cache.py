import math
import time

import numpy as np
import pytest

from cache.board import Miss
from cache.counters import Counter
from cache.errors import BoardError, SegmentMissing, UpdateRefused
from cache.gate import FAST15M, Trust, Witness, gate
from cache.layout import E9, PAIR_BBO, Flag, tag_of
from cache.liveness import Liveness
from cache.pm_cache import ROLE, PMCache, PMCacheWriter, pm_boards
from cache.segment import ReaderSegment, WriterSegment

MS = 1_000_000
CENT = 10_000_000
MARKET, YES, NO = "0x" + "ab" * 32, "1" * 77, "2" * 77
YES_BBO = (45 * CENT, 10 * E9, 48 * CENT, 20 * E9)
NO_BBO = (52 * CENT, 20 * E9, 55 * CENT, 10 * E9)


class World:
    """A writer with clocks of its own, and a cache that reads it."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.now_ms, self.wall_ms = 10_000, 1_790_000_000_000
        self.begin()

    def begin(self):
        self.segment = WriterSegment.create(ROLE, pm_boards(), namespace=self.namespace)
        self.writer = PMCacheWriter(
            self.segment, clock=lambda: self.now_ms * MS, wall=lambda: self.wall_ms * MS
        )

    def update(self, yes=YES_BBO, no=NO_BBO, market=MARKET):
        return self.writer.update_from_ws(
            yes_bbo=yes, no_bbo=no, market_id=market, yes_token_id=YES, no_token_id=NO
        )

    def attach(self):
        self.cache = PMCache.attach(MARKET, namespace=self.namespace)
        self.cache._clock = lambda: self.now_ms * MS
        return self.cache


@pytest.fixture
def world(namespace):
    made = World(namespace)
    yield made
    made.segment.close()


@pytest.fixture
def cache(world):
    """A cache of a market of which one snapshot was published, at 10,000 ms."""
    world.update()
    return world.attach()


def test_a_snapshot_has_both_tops_and_says_whose_they_are(cache):
    snapshot, seq = cache.get_latest()
    assert (snapshot.market_id, snapshot.yes_token_id, snapshot.no_token_id) == (MARKET, YES, NO)
    assert (seq, cache.get_seq(), snapshot.meta.feed_seq) == (1, 1, 1)
    yes, no = snapshot.yes_top, snapshot.no_top
    assert (yes.bid_px_e9, yes.bid_qty_e9, yes.ask_px_e9, yes.ask_qty_e9) == YES_BBO
    assert (no.bid_px_e9, no.bid_qty_e9, no.ask_px_e9, no.ask_qty_e9) == NO_BBO
    assert (snapshot.flags, snapshot.meta.source) == (0, "PM")
    assert snapshot.meta.monotonic_ts_ns == 10_000 * MS
    assert snapshot.meta.wall_ts_ns == 1_790_000_000_000 * MS
    assert snapshot.combined.disagrees == ()


def test_the_writer_returns_the_number_of_the_snapshot(world, cache):
    for seq in range(2, 12):
        world.now_ms += 1
        assert world.update() == seq
        assert cache.get_latest()[1] == seq
        assert cache.get_latest()[0].meta.feed_seq == seq


def test_a_book_that_is_missing_is_none_and_never_a_default(world, cache):
    world.update(yes=None, no=NO_BBO)
    snapshot, _ = cache.get_latest()
    assert snapshot.yes_top is None
    assert snapshot.no_top.bid_px_e9 == 52 * CENT
    assert snapshot.flags & Flag.WARMUP
    assert snapshot.combined.bid_px_e9 == 45 * CENT  # What the other book shows, mirrored.
    world.update(yes=None, no=None)
    snapshot, _ = cache.get_latest()
    assert (snapshot.yes_top, snapshot.no_top) == (None, None)
    assert snapshot.combined.mid_px_e9 is None


def test_an_empty_side_is_none_in_a_book_that_is_known(world, cache):
    world.update(yes=(None, None, 48 * CENT, E9), no=(52 * CENT, E9, None, None))
    snapshot, _ = cache.get_latest()
    assert (snapshot.no_top.bid_px_e9, snapshot.no_top.bid_qty_e9) == (52 * CENT, E9)
    assert (snapshot.no_top.ask_px_e9, snapshot.no_top.ask_qty_e9) == (None, None)
    world.update(yes=(None, None, 48 * CENT, E9), no=(None, None, None, None))
    snapshot, _ = cache.get_latest()
    assert (snapshot.yes_top.bid_px_e9, snapshot.yes_top.bid_qty_e9) == (None, None)
    assert snapshot.yes_top.mid_px_e9 is None
    assert snapshot.no_top is not None
    assert snapshot.yes_flags == Flag.NO_BID
    assert snapshot.no_flags == Flag.NO_BID | Flag.NO_ASK


SIDES = [f"{token}_{side}_{what}_e9" for token in ("yes", "no") for side in ("bid", "ask")
         for what in ("px", "qty")]  # fmt: skip


@pytest.mark.parametrize("no", [None, (None, None, None, None)])
def test_what_is_not_there_is_0_in_the_record_as_the_layout_says(world, cache, no):
    world.update(yes=(None, None, 48 * CENT, E9), no=no)
    found = cache.segment.board("pair_bbo").read(0, tag_of("polymarket", MARKET))
    assert [getattr(found, name) for name in SIDES] == [0, 0, 48 * CENT, E9, 0, 0, 0, 0]
    assert (found.venue_seq, found.proof, found.last_px_e9, found.tick_e9) == (0, 0, 0, 0)


def record(world, **changes):
    """Publish a record as a feed does, with these fields."""
    names = PAIR_BBO.value_names
    values = dict.fromkeys(names, 0) | {"recv_ns": world.now_ms * MS} | changes
    world.segment.board("pair_bbo").publish(0, tuple(values[name] for name in names))


def test_last_price_and_tick_of_a_feed_are_each_their_own_and_0_is_unknown(world, cache):
    record(world, last_px_e9=460_000_000, tick_e9=CENT, venue_ts_ns=7)
    snapshot, _ = cache.get_latest()
    assert (snapshot.last_px_e9, snapshot.tick_e9) == (460_000_000, CENT)
    assert snapshot.meta.wall_ts_ns == 7
    record(world)
    snapshot, _ = cache.get_latest()
    assert (snapshot.last_px_e9, snapshot.tick_e9, snapshot.meta.wall_ts_ns) == (None, None, None)


def test_a_book_that_warms_up_is_shown_as_far_as_it_is_known(world, cache):
    flags = int(Flag.WARMUP | Flag.NO_BID)
    record(world, flags=flags, yes_flags=flags, yes_ask_px_e9=48 * CENT, yes_ask_qty_e9=E9)
    snapshot, _ = cache.get_latest()
    top = snapshot.yes_top
    assert (top.bid_px_e9, top.bid_qty_e9) == (None, None)
    assert (top.ask_px_e9, top.ask_qty_e9) == (48 * CENT, E9)


def test_a_tenth_of_a_cent_and_less_is_exact(world, cache):
    world.update(yes=(1_200_000, 1, 1_300_000, 1), no=None)
    assert cache.get_latest()[0].yes_top.mid_px_e9 == 1_250_000


def test_a_crossed_book_is_published_and_says_so(world, cache):
    world.update(yes=(48 * CENT, E9, 48 * CENT, E9))
    assert cache.get_latest()[0].flags & Flag.CROSSED


REFUSED = [
    ({"yes": (1.5, 1, 2, 1)}, "yes_bbo bid_px is float"),
    ({"yes": (True, 1, 2, 1)}, "yes_bbo bid_px is bool"),
    ({"yes": ("45", 1, 2, 1)}, "yes_bbo bid_px is str"),
    ({"no": (1, None, 2, 1)}, "no_bbo bid_qty is NoneType"),
    ({"no": (None, 1, 2, 1)}, "no_bbo bid_px is NoneType"),
    ({"no": (0, 1, 2, 1)}, "no_bbo bid_px is 0"),
    ({"no": (1, 1, E9, 1)}, "no_bbo ask_px is 1000000000"),
    ({"no": (1, 1, 2, -1)}, "no_bbo ask_qty is -1"),
    ({"no": (1, 1, 2, 1 << 63)}, "no_bbo ask_qty is 9223372036854775808"),
    ({"yes": (1, 1, 2)}, "yes_bbo is not"),
    ({"yes": [1, 1, 2, 1]}, "yes_bbo is not"),
    ({"yes": {"bid": 1}}, "yes_bbo is not"),
    ({"no": (1, 1, 2, 10**5000)}, "no_bbo ask_qty is a number of many digits"),
    ({"no": (1, -(10**5000), 2, 1)}, "no_bbo bid_qty is a number of many digits"),
    ({"yes": (math.nan, 1, 2, 1)}, "yes_bbo bid_px is float"),
    ({"yes": (np.int64(1), 1, 2, 1)}, "yes_bbo bid_px is int64"),
    ({"yes": (1, 1, 2, 1, 1)}, "yes_bbo is not"),
    ({"yes": "abcd"}, "yes_bbo is not"),
    ({"market": "0xab\n"}, "market_id is '0xab"),
    ({"market": b"0xab"}, "market_id is bytes"),
    ({"market": 5}, "market_id is int"),
    ({"market": ""}, "market_id is ''"),
    ({"market": "x" * 73}, "market_id is"),
    ({"market": "\u00e9"}, "market_id is"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_is_wrong_is_refused_named_counted_and_changes_nothing(world, cache, changes, says):
    before = cache.get_latest()
    with pytest.raises(UpdateRefused, match=f"^{says}"):
        world.update(**changes)
    assert cache.get_latest() == before
    assert cache.get_seq() == 1
    assert cache.segment.counters[Counter.cache_updates_refused] == 1
    assert world.update() == 2, "the next one goes on as if nothing had been"


def test_a_book_that_is_refused_does_not_give_the_slot_to_its_market(world, cache):
    before, epoch = cache.get_latest(), cache.segment.epoch
    with pytest.raises(UpdateRefused, match=r"^no_bbo is not"):
        world.update(no="no book", market="0x" + "cd" * 32)
    assert cache.get_latest() == before
    assert (cache.segment.epoch, cache.segment.link_ns) == (epoch, 10_000 * MS)
    assert PMCache.attach(MARKET, namespace=world.namespace).get_latest() == before


@pytest.mark.parametrize("interval_ms", [-1, 1.5, None, "1000", True])
def test_an_interval_of_mids_that_is_none_is_refused_before_anything(world, interval_ms):
    with pytest.raises(UpdateRefused, match=r"^mids_interval_ms is "):
        PMCacheWriter(world.segment, mids_interval_ms=interval_ms)


@pytest.mark.parametrize("slot", [1, -1, None, "0", True, 0.0])
def test_a_slot_that_is_not_there_is_refused_before_anything(world, cache, slot):
    before, epoch = cache.get_latest(), cache.segment.epoch
    with pytest.raises(UpdateRefused, match=r"^slot is .*: it must be a whole number, 0 to 0"):
        PMCacheWriter(world.segment, slot)
    assert (cache.get_latest(), cache.segment.epoch) == (before, epoch)


@pytest.mark.parametrize("short", ["instruments", "pair_bbo", "mids"])
def test_a_slot_that_one_of_its_boards_does_not_have_is_refused(namespace, short):
    sizes = zip(pm_boards(1), pm_boards(2), strict=True)
    made = [one if one.name == short else two for one, two in sizes]
    segment = WriterSegment.create(ROLE, made, namespace=namespace)
    PMCacheWriter(segment, 0)
    with pytest.raises(UpdateRefused, match=r"^slot is 1: it must be a whole number, 0 to 0"):
        PMCacheWriter(segment, 1)
    segment.close()


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (("0xab", "7", "7"), "no_token_id is '7', the same as yes_token_id"),
        (("7", "7", "8"), "yes_token_id is '7', the same as market_id"),
        (("7", "8", "7"), "no_token_id is '7', the same as market_id"),
        (("0xab", "7" * 81, "8"), "yes_token_id is '777.*: it must be 1 to 80 ASCII"),
        (("0xab", "7", "8" * 81), "no_token_id is '888.*: it must be 1 to 80 ASCII"),
        (("0xab", 7, "8"), "yes_token_id is int: it must be text"),
        (("0xab", "7", None), "no_token_id is NoneType: it must be text"),
    ],
)
def test_market_and_tokens_are_three(world, cache, ids, says):
    with pytest.raises(UpdateRefused, match=f"^{says}"):
        world.writer.update_from_ws(YES_BBO, NO_BBO, *ids)
    assert cache.get_seq() == 1


def test_the_ends_of_a_range_are_in_it(world, cache):
    ends = (1, 1, E9 - 1, (1 << 63) - 1)
    world.update(yes=ends, no=ends)
    top = cache.get_latest()[0].no_top
    assert (top.bid_px_e9, top.bid_qty_e9, top.ask_px_e9, top.ask_qty_e9) == ends


def test_ids_as_long_as_the_directory_can_hold_are_taken(world):
    ids = ("m" * 72, "y" * 80, "n" * 80)
    assert world.writer.update_from_ws(YES_BBO, NO_BBO, *ids) == 1
    snapshot, _ = PMCache.attach(ids[0], namespace=world.namespace).get_latest()
    assert (snapshot.market_id, snapshot.yes_token_id, snapshot.no_token_id) == ids


def test_every_update_may_be_a_mid(world):
    writer = PMCacheWriter(world.segment, mids_interval_ms=0, clock=lambda: 5)
    for _ in range(3):
        writer.update_from_ws(YES_BBO, NO_BBO, MARKET, YES, NO)
    assert len(world.attach().mids()[0]) == 3


# --- age and staleness --------------------------------------------------------------------------


@pytest.mark.parametrize("later_ms", [0, 1, 499, 500, 501, 86_400_000])
def test_the_age_is_how_long_ago_it_was_received(cache, later_ms):
    assert cache.get_age_ms(10_000 + later_ms) == later_ms
    assert cache.is_stale(10_000 + later_ms) is (later_ms > 500)
    assert cache.is_stale(10_000 + later_ms, threshold_ms=later_ms) is False
    assert cache.is_stale(10_000 + later_ms, threshold_ms=later_ms - 1) is True


def test_the_wall_clock_has_no_part_in_it(world, cache):
    for wall_ms in (1, 1_790_000_000_000 + 10**9, 1_600_000_000_000):
        world.wall_ms = wall_ms
        world.now_ms += 100
        world.update()
        assert cache.get_age_ms(world.now_ms + 3) == 3
        assert not cache.is_stale(world.now_ms + 500)


def test_a_snapshot_of_the_future_is_stale_and_one_that_just_came_is_new(world, cache):
    world.now_ms = 10_000
    assert cache.get_age_ms(9_999) == 0  # The caller's clock was read before it came.
    world.now_ms = 9_998
    assert cache.get_age_ms(9_990) == -10
    assert cache.is_stale(9_990)
    assert cache.is_stale(9_990, threshold_ms=10**9)


def test_the_clock_that_is_asked_is_the_monotonic_one(world, cache):
    assert PMCache.attach(MARKET, namespace=world.namespace)._clock is time.monotonic_ns


@pytest.mark.parametrize("now", [10, 10.0, math.nan, -math.inf])
def test_a_clock_of_another_unit_makes_nothing_fresh(cache, now):
    assert cache.is_stale(now)
    assert cache.is_stale(now, threshold_ms=10**12)


def test_unknown_has_no_age_and_is_stale(world, cache):
    world.update(market="0x" + "cd" * 32)  # The slot is another market's now.
    assert cache.get_latest() == (None, 2)
    assert cache.get_age_ms(10_000) is None
    assert cache.is_stale(10_000)
    assert cache.is_stale(10_000, threshold_ms=10**12)


# --- restarts and markets -----------------------------------------------------------------------


def test_numbers_grow_across_a_restart_and_what_was_before_it_is_warming_up(world, cache):
    world.segment.close()
    world.begin()
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.flags) == (1, Flag.WARMUP)
    assert snapshot.yes_top.bid_px_e9 == 45 * CENT
    world.now_ms += 5
    assert world.update() == 2
    snapshot, seq = cache.get_latest()
    assert (seq, snapshot.flags) == (2, 0)


def test_a_market_that_nobody_lists_is_missing(world, cache):
    with pytest.raises(
        SegmentMissing, match=r"lists no market 0xnone .of 1.: name one by its condition id"
    ):
        PMCache.attach("0xnone", namespace=world.namespace)
    with pytest.raises(SegmentMissing, match="is its writer running"):
        PMCache.attach(MARKET, role="feed.none.0", namespace=world.namespace)


def test_the_gate_judges_what_the_writer_published_like_any_feeds(world, cache):
    found = cache.segment.board("pair_bbo").read(0, tag_of("polymarket", MARKET))
    for later_ms, trust in ((0, Trust.LIVE), (1_500, Trust.LIVE), (1_501, Trust.STALE)):
        now_ns = (10_000 + later_ms) * MS
        witness = Witness(Liveness.LIVE, cache.segment.incarnation, cache.segment.link_ns)
        assert gate(found, FAST15M, now_ns, witness=witness)[1] is trust


def test_an_update_proves_book_and_link_as_of_now_and_rings(world, cache):
    board, tag = cache.segment.board("pair_bbo"), tag_of("polymarket", MARKET)
    for step in range(1, 4):
        memory, at = cache.segment.bell_word
        rung = bytes(memory[at : at + 4])
        world.now_ms += step
        seq = world.update()
        found = board.read(0, tag)
        assert (found.recv_ns, found.proven_ns) == (world.now_ms * MS, world.now_ms * MS)
        assert (found.batch, found.version) == (seq, seq)
        assert cache.segment.link_ns == world.now_ms * MS
        assert bytes(memory[at : at + 4]) != rung


def test_a_slot_that_is_given_away_has_another_generation_and_the_directory_is_told(world, cache):
    board, epoch = cache.segment.board("pair_bbo"), cache.segment.epoch
    first = board.read(0, 0).generation
    world.update(market="0x" + "cd" * 32)
    assert board.read(0, 0).generation != first
    assert cache.segment.board("mids").version(0) == 1, "sampled by the clock, whoever it is"
    assert cache.segment.epoch > epoch
    world.update(market="0x" + "cd" * 32)
    assert cache.segment.epoch == epoch + 1


# --- mids ---------------------------------------------------------------------------------------


def test_the_rolling_mids_are_arrays_oldest_first(world, cache):
    for step in range(1, 6):
        world.now_ms += 1_000
        world.update(yes=((45 + step) * CENT, E9, (48 + step) * CENT, E9))
    times, mids = cache.mids()
    assert times.tolist() == [(10_000 + 1_000 * step) * MS for step in range(6)]
    assert mids.tolist() == [465_000_000 + step * CENT for step in range(6)]
    assert (times.dtype, mids.dtype) == (np.int64, np.int64)
    assert cache.mids(2)[1].tolist() == mids[-2:].tolist()


def test_mids_are_sampled_not_faster_than_the_interval_and_no_more_than_the_board_shows(world):
    world.writer._mids_ns = 0
    for _ in range(200):
        world.now_ms += 1
        world.update()
    assert len(world.attach().mids()[0]) == 126
    assert len(world.cache.mids(count=10_000)[0]) == 126
    world.writer._mids_ns = 1_000 * MS
    before = world.cache._mids._board.version(0)
    for _ in range(10):
        world.now_ms += 99
        world.update()
    assert world.cache._mids._board.version(0) == before


def test_a_mid_is_sampled_once_a_second_where_nothing_else_is_said(world, cache):
    for later_ms, count in ((999, 1), (1_000, 2), (1_999, 2), (2_000, 3)):
        world.now_ms = 10_000 + later_ms
        world.update()
        assert len(cache.mids()[0]) == count


def test_mids_that_could_not_be_read_whole_are_those_of_the_last_time(world, cache):
    world.now_ms += 1_000
    world.update()
    held = [found.tolist() for found in cache.mids()]
    board = cache._mids._board
    cache._mids._board = Busy(board)
    world.now_ms += 1_000
    world.update()
    assert [found.tolist() for found in cache.mids()] == held
    assert [found.tolist() for found in cache.mids(1)] == [run[-1:] for run in held]
    fresh = world.attach()
    fresh._mids._board = Busy(board)
    assert [found.size for found in fresh.mids()] == [0, 0]


def test_what_is_done_to_the_mids_that_were_given_out_changes_none_that_are(world, cache):
    for given_out in (cache.mids(), cache.mids()):
        for array in given_out:
            with pytest.raises(ValueError, match="read-only"):
                array -= 1
    held = [found.tolist() for found in cache.mids()]
    cache._mids._board = Busy(cache._mids._board)
    assert [found.tolist() for found in cache.mids()] == held


@pytest.mark.parametrize("count", ["5", None, 1.5, True])
def test_a_number_of_mids_that_is_no_number_is_refused(cache, count):
    with pytest.raises(BoardError, match=r"^the number of mids is .*: it must be a whole number"):
        cache.mids(count)


class Busy:
    """A board whose writer is always faster."""

    def __init__(self, board):
        self.cell_count = board.cell_count

    def history(self, slot, count, tag):
        return Miss.BUSY


@pytest.mark.parametrize("count", [0, -1, -(10**9), -(10**30)])
def test_a_number_of_mids_that_is_none_is_refused(cache, count):
    with pytest.raises(
        BoardError, match=f"number of mids is {count}: it must be a whole number, at least 1"
    ):
        cache.mids(count)


def test_the_mids_of_a_market_end_where_its_slot_was_given_away(world, cache):
    world.now_ms += 1_000
    world.update(market="0x" + "cd" * 32)
    assert [found.size for found in cache.mids()] == [0, 0]
    assert len(PMCache.attach("0x" + "cd" * 32, namespace=world.namespace).mids()[0]) == 1


def test_moments_without_a_mid_are_left_out_of_the_mids(world, cache):
    world.writer._mids_ns = 0
    for yes in (None, (None, None, 1, 1), (2 * CENT, 1, CENT, 1), (CENT, 1, 3 * CENT, 1)):
        world.now_ms += 1
        world.update(yes=yes)
    assert cache.mids()[1].tolist() == [465_000_000, 2 * CENT]


def test_a_feed_without_the_board_of_mids_has_none(world, cache):
    cache._mids._board = None
    assert [found.size for found in cache.mids()] == [0, 0]


def test_memory_is_copied_once_for_the_mids(world, cache, monkeypatch):
    copies = []
    board = cache._mids._board

    class Counted:
        cell_count = board.cell_count

        def history(self, *args):
            copies.append(args)
            return board.history(*args)

    cache._mids._board = Counted()
    cache.mids()
    assert copies == [(0, 126, tag_of("polymarket", MARKET))]


def test_get_latest_reads_a_record_only_when_there_is_a_newer_one(world, cache):
    snapshot, _ = cache.get_latest()
    assert cache.get_latest()[0] is snapshot
    world.update()
    assert cache.get_latest()[0] is not snapshot


def test_a_reader_of_the_segment_finds_market_and_tokens_in_the_directory(world, cache):
    listed = ReaderSegment.attach(ROLE, namespace=world.namespace).board("instruments")
    tokens = [listed.read(slot, 0) for slot in (0, 1)]
    assert [token.id for token in tokens] == [YES, NO]
    assert {(token.market_id, token.slug) for token in tokens} == {(MARKET, MARKET)}
    assert [(token.outcome, token.outcome_index) for token in tokens] == [("Yes", 0), ("No", 1)]


def test_each_market_has_a_slot_of_its_own(namespace):
    segment = WriterSegment.create(ROLE, pm_boards(3), namespace=namespace)
    writers = [PMCacheWriter(segment, slot) for slot in range(3)]
    for number in (1, 2):
        for slot, writer in enumerate(writers):
            top = (number * CENT + slot, E9, 90 * CENT, E9)
            assert writer.update_from_ws(top, top, f"m{slot}", f"y{slot}", f"n{slot}") == number
    for slot in range(3):
        cache = PMCache.attach(f"m{slot}", namespace=namespace)
        snapshot, number = cache.get_latest()
        ids = (snapshot.market_id, snapshot.yes_token_id, snapshot.no_token_id)
        assert (ids, number) == ((f"m{slot}", f"y{slot}", f"n{slot}"), 2)
        assert snapshot.yes_top.bid_px_e9 == 2 * CENT + slot
        assert cache.mids()[1].tolist() == [(91 * CENT + slot) // 2]
    segment.close()


@pytest.mark.parametrize("wrong", [None, 5, True, b"x", [], 10**70])
def test_what_is_no_text_is_named_where_a_cache_is_attached(world, cache, wrong):
    with pytest.raises(TypeError, match=r"^market_id is .*: it must be the condition id, as text"):
        PMCache.attach(wrong, namespace=world.namespace)


@pytest.mark.parametrize("now_ms", ["5", None, b"5", [], 1j])
def test_a_time_that_cannot_be_reckoned_with_is_named(world, cache, now_ms):
    assert cache.get_latest()[0] is not None
    for asks in (cache.get_age_ms, cache.is_stale):
        with pytest.raises(TypeError, match=r"^now_ms is .*: it must be a number of milliseconds"):
            asks(now_ms)


@pytest.mark.parametrize("threshold_ms", ["5", b"5", []])
def test_a_threshold_that_cannot_be_compared_is_named(world, cache, threshold_ms):
    with pytest.raises(TypeError, match=r"^threshold_ms is .*: it must be a number of millisec"):
        cache.is_stale(world.now_ms, threshold_ms)


@pytest.mark.parametrize("wrong", [None, "feed.mine.0", 5])
def test_a_writer_without_a_segment_and_boards_of_no_number_are_named(wrong):
    with pytest.raises(UpdateRefused, match=r"^segment is .*: it must be a WriterSegment"):
        PMCacheWriter(wrong)
    with pytest.raises(
        UpdateRefused, match=r"^market_slots is .*: it must be a whole number, 1 to"
    ):
        pm_boards(wrong if wrong != 5 else 0)
