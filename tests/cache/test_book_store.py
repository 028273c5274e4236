"""The book store: whole books by token, read from the board of whichever feed writes it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.bells import make_waiter
from cache.board import Miss
from cache.book_store import BookStore, BookStoreWriter, Stamp, asks_of, bids_of
from cache.counters import Counter
from cache.errors import SegmentMissing, UpdateRefused
from cache.ladder import Delta, Outcome, Whole
from cache.layout import INSTRUMENT, Flag, Proof
from cache.liveness import Liveness
from cache.segment import WriterSegment
from tests.cache.book_world import NOW, FeedWorld
from tests.shm import own_namespace

BIDS = ((100, 5), (99, 7))
ASKS = ((101, 6), (102, 8))
BTC = "BTCUSDT"


@pytest.fixture
def world(namespace):
    return FeedWorld(namespace)


@pytest.fixture
def pm(namespace):
    return FeedWorld(namespace, "polymarket", ("111", "222"))


def snapshot(world, sequence=10, **stamp):
    return world.writer.apply_snapshot(0, Whole(sequence, BIDS, ASKS), world.stamp(**stamp))


# --- writing --------------------------------------------------------------------------------------


def test_before_a_snapshot_there_is_no_book(world):
    store = world.store()
    assert store.read(BTC) is Miss.NEVER
    assert not store.is_ready(BTC)
    assert store.last_update_ns(BTC) is store.sequence(BTC) is None
    assert store.update_count(BTC) == 0


def test_a_snapshot_is_published_whole_with_its_sequence_and_time(world):
    store = world.store()
    world.publish_top()
    assert snapshot(world, venue_ts_ns=77, batch=1) is Outcome.APPLIED
    assert store.is_ready(BTC)
    book = store.read(BTC)
    assert bids_of(book) == list(BIDS)
    assert asks_of(book) == list(ASKS)
    assert (book.venue_seq, book.recv_ns, book.venue_ts_ns) == (10, NOW, 77)
    assert (book.flags, book.proof) == (0, Proof.SNAPSHOT)
    assert store.sequence(BTC) == 10
    assert store.last_update_ns(BTC) == NOW
    assert store.update_count(BTC) == 1


def test_a_delta_moves_book_sequence_and_time_on(world):
    store = world.store()
    snapshot(world)
    done = world.writer.apply_delta(0, Delta(11, 14, ((100, 0),), ()), world.stamp(NOW + 5))
    assert done is Outcome.APPLIED
    assert bids_of(store.read(BTC)) == [(99, 7)]
    assert store.sequence(BTC) == 14
    assert store.last_update_ns(BTC) == NOW + 5
    assert store.update_count(BTC) == 2
    assert store.read(BTC).proof == Proof.VENUE_SEQ


@pytest.mark.parametrize(
    "bad", [Delta(13, 13, (), ()), Delta(11, 11, ((101, 1),), ()), Delta(11, 11, ((0, 1),), ())]
)
def test_any_anomaly_marks_the_book_not_ready_and_shows_no_level(world, bad):
    store = world.store()
    world.publish_top()
    snapshot(world)
    assert store.is_ready(BTC)
    world.writer.apply_delta(0, bad, world.stamp(NOW + 5))
    assert not store.is_ready(BTC)
    book = store.read(BTC)
    assert (book.bid_count, book.ask_count, book.venue_seq) == (0, 0, 0)
    assert book.flags == Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK
    assert book.proof == Proof.NONE


def test_a_crossed_snapshot_is_rejected_counted_and_leaves_the_book_not_ready(world):
    store = world.store()
    world.publish_top()
    snapshot(world)
    crossed = Whole(20, ((101, 1),), ((101, 1),))
    assert world.writer.apply_snapshot(0, crossed, world.stamp()) is Outcome.CROSSED
    assert not store.is_ready(BTC)
    summary = world.writer.metrics.summary()
    assert (summary.snapshots_applied, summary.snapshot_rejects) == (1, 1)
    assert summary.crossed_book_resets == 1


def test_an_older_snapshot_publishes_nothing(world):
    store = world.store()
    snapshot(world)
    assert snapshot(world, sequence=9) is Outcome.OUTDATED
    assert store.update_count(BTC) == 1


def test_waiting_deltas_are_published_as_one_book_and_each_is_counted(world):
    store = world.store()
    for number in (11, 12):
        world.writer.apply_delta(0, Delta(number, number, ((100, number),), ()), world.stamp())
    assert store.update_count(BTC) == 0
    snapshot(world)
    assert store.update_count(BTC) == 1
    assert store.sequence(BTC) == 12
    summary = world.writer.metrics.summary()
    assert (summary.snapshots_applied, summary.deltas_applied) == (1, 2)


def test_a_book_of_a_lost_link_is_not_ready_until_the_next_snapshot(world):
    store = world.store()
    world.publish_top()
    snapshot(world)
    world.writer.mark_not_ready(0, world.stamp())
    assert not store.is_ready(BTC)
    snapshot(world, sequence=3)  # The venue's numbers may have begun anew.
    assert store.is_ready(BTC)


def test_a_backlog_takes_readiness_away_and_gives_it_back(world):
    store = world.store()
    world.publish_top()
    snapshot(world)
    world.writer.mark_behind(0, world.stamp(), is_behind=True)
    assert not store.is_ready(BTC)
    world.writer.apply_delta(0, Delta(11, 11, ((100, 1),), ()), world.stamp())
    assert not store.is_ready(BTC)
    world.writer.mark_behind(0, world.stamp(), is_behind=False)
    assert store.is_ready(BTC)
    assert bids_of(store.read(BTC), 1) == [(100, 1)]


def test_no_more_levels_are_published_than_were_asked_for(namespace):
    world = FeedWorld(namespace)
    writer = BookStoreWriter(world.depth, depth_max=2)
    writer.open(0, world.tag(BTC), 0)
    deep = tuple((100 - i, 1) for i in range(30)), tuple((101 + i, 1) for i in range(30))
    writer.apply_snapshot(0, Whole(1, *deep), world.stamp())
    book = world.store().read(BTC)
    assert (book.bid_count, book.ask_count) == (2, 2)
    assert bids_of(book) == list(deep[0][:2])


def test_twenty_levels_a_side_are_the_default(world):
    deep = tuple((100 - i, i + 1) for i in range(30)), tuple((101 + i, i + 1) for i in range(30))
    world.writer.apply_snapshot(0, Whole(1, *deep), world.stamp())
    book = world.store().read(BTC)
    assert bids_of(book) == list(deep[0][:20])
    assert asks_of(book) == list(deep[1][:20])
    assert asks_of(book, 3) == list(deep[1][:3])


@pytest.mark.parametrize("sizes", [{"depth_max": 0}, {"depth_max": 21}, {"levels_max": 19}])
def test_a_depth_that_cannot_be_published_is_refused(world, sizes):
    with pytest.raises(ValueError, match="depth_max"):
        BookStoreWriter(world.depth, **sizes)


# --- reading --------------------------------------------------------------------------------------


def test_a_token_nobody_lists_has_no_book(world):
    store = world.store()
    assert store.read("DOGEUSDT") is store.look("DOGEUSDT") is None
    assert store.sequence("DOGEUSDT") is store.last_update_ns("DOGEUSDT") is None
    assert store.update_count("DOGEUSDT") == 0
    assert not store.is_ready("DOGEUSDT")
    assert store.tokens() == ("BTCUSDT", "ETHUSDT")


def test_a_token_that_is_listed_later_is_found_and_one_that_goes_is_not(world):
    store = world.store()
    assert store.read("SOLUSDT") is None
    world.list(2, "SOLUSDT")
    world.writer.open(2, world.tag("SOLUSDT"), 0)
    assert store.read("SOLUSDT") is Miss.NEVER
    world.list(2, "SOLUSDT", is_listed=False)
    assert store.read("SOLUSDT") is None


def test_a_slot_that_was_given_away_is_never_read_under_the_old_name(world):
    store = world.store()
    snapshot(world)
    world.depth.assign(0, world.tag("SOLUSDT"), 1)
    world.publish_depth()
    assert store.read(BTC) is Miss.OTHER_TAG
    assert not store.is_ready(BTC)


def test_depth_of_an_earlier_incarnation_is_not_ready(world, namespace):
    world.publish_top()
    snapshot(world)
    assert world.store().is_ready(BTC)
    world.segment.close()
    again = FeedWorld(namespace)
    store = again.store()
    assert not store.is_ready(BTC)
    again.publish_top()
    snapshot(again)
    assert store.is_ready(BTC)


def test_the_books_of_polymarket_are_read_by_the_same_store(pm):
    store = pm.store()
    pm.publish_top(batch=4)
    pm.publish_depth(slot=1, batch=4, bids=((899, 3),), asks=((900, 2),))
    assert store.tokens() == ("111", "222")
    assert store.is_ready("222")
    assert bids_of(store.read("222")) == [(899, 3)]
    # The venue numbers nothing: the batch is what grows.
    assert store.sequence("222") == 4
    assert not store.is_ready("111")


def test_a_book_whose_top_was_marked_is_not_ready_at_once(pm):
    store = pm.store()
    pm.publish_top(batch=4)
    pm.publish_depth(batch=4)
    assert store.is_ready("111")
    pm.publish_top(batch=5, flags=int(Flag.RESYNC))
    assert not store.is_ready("111")


def test_a_book_of_a_market_that_is_over_is_not_ready(pm):
    store = pm.store()
    pm.publish_top(batch=4)
    pm.publish_depth(batch=4, flags=int(Flag.RESOLVED))
    assert not store.is_ready("111")


def test_a_listing_under_another_tokens_tag_is_none(world):
    store = world.store()
    board = world.segment.board("instruments")
    world.list(2, "SOLUSDT")
    listed = dict(zip(INSTRUMENT.value_names, struct_values(board.last(2)), strict=True))
    board.assign(2, 12345, 0)
    board.publish(2, tuple(listed.values()))
    world.segment.bump_epoch()
    assert store.tokens() == ("BTCUSDT", "ETHUSDT")


def struct_values(record):
    """What a publisher gave for an instrument."""
    values = (getattr(record, name) for name in INSTRUMENT.value_names)
    return [value.encode() if isinstance(value, str) else value for value in values]


def test_depth_and_top_are_of_one_moment_only_where_their_batch_is_equal(pm):
    store = pm.store()
    pm.publish_depth(batch=4)
    assert not store.look("111").is_one_moment
    pm.publish_top(batch=4)
    assert store.look("111").is_one_moment
    pm.publish_top(batch=5)
    assert not store.look("111").is_one_moment


def test_batch_nought_is_no_batch(world):
    world.publish_depth(batch=0)
    world.publish_top(batch=0)
    assert not world.store().look(BTC).is_one_moment


def test_the_witness_tells_of_the_writer_and_its_link(world):
    store = world.store()
    world.beat(NOW, link_ns=NOW - 5)
    found = store.witness(NOW)
    assert (found.liveness, found.incarnation, found.link_ns) == (Liveness.LIVE, 1, NOW - 5)
    ahead_ns = time.monotonic_ns() + 3_600 * NOW
    world.segment.heartbeat(ahead_ns)
    assert store.witness(NOW).liveness is Liveness.STALLED, "a beat of the future is none"


# --- notification ---------------------------------------------------------------------------------


def test_what_changed_since_the_last_look_is_told_by_token(world):
    store = world.store()
    assert store.changed() == []
    snapshot(world)
    assert store.changed() == [BTC]
    assert store.changed() == []
    world.writer.apply_snapshot(1, Whole(1, BIDS, ASKS), world.stamp())
    world.writer.apply_delta(0, Delta(11, 11, (), ()), world.stamp())
    assert sorted(store.changed()) == ["BTCUSDT", "ETHUSDT"]


def test_a_change_rings_the_bell_of_whoever_waits(world):
    store = world.store()
    waiter = make_waiter([store.segment])
    waiter.load()
    assert store.changed() == []
    snapshot(world)
    world.segment.ring()
    assert waiter.wait(5_000_000_000)
    assert store.changed() == [BTC]


def test_a_feed_that_never_ran_is_missing(namespace):
    with pytest.raises(SegmentMissing):
        BookStore.attach("feed.binance.0", namespace=namespace)


def test_a_segment_without_a_top_of_book_gives_depth_alone(namespace):
    world = FeedWorld(namespace)
    specs = tuple(place.spec for name, place in world.segment.places().items() if name != "bbo")
    world.segment.close(remove=True)
    segment = WriterSegment.create(world.role, specs, namespace=namespace)
    world.segment, world.depth = segment, segment.board("depth")
    world.list(0, BTC)
    world.depth.assign(0, world.tag(BTC), 0)
    world.publish_depth()
    store = world.store()
    assert store.look(BTC).top is None
    assert not store.look(BTC).is_one_moment
    assert store.is_ready(BTC)


sides = st.dictionaries(st.integers(1, 9), st.integers(0, 5), max_size=4)
steps = st.tuples(st.sampled_from("sdrb"), st.integers(0, 9), st.integers(0, 2), sides, sides)


@given(st.lists(steps, max_size=20))
def test_whatever_happens_a_reader_sees_the_writers_book_or_that_there_is_none(events):
    with own_namespace() as namespace:
        world = FeedWorld(namespace)
        world.publish_top()
        store, ladder = world.store(), world.writer.ladder(0)
        for at_ns, (kind, first, span, bids, asks) in enumerate(events, NOW):
            levels = [
                tuple(side.items()) for side in (bids, {10 + px: q for px, q in asks.items()})
            ]
            stamp = world.stamp(at_ns)
            if kind == "s":
                whole = [tuple(level for level in side if level[1]) for side in levels]
                world.writer.apply_snapshot(0, Whole(first, *whole), stamp)
            elif kind == "d":
                world.writer.apply_delta(0, Delta(first + 1, first + 1 + span, *levels), stamp)
            elif kind == "r":
                world.writer.mark_not_ready(0, stamp)
            else:
                world.writer.mark_behind(0, stamp, is_behind=span == 0)
            book = store.read(BTC)
            if isinstance(book, Miss):
                assert not ladder.is_ready
                continue
            assert store.is_ready(BTC) == (ladder.is_ready and not world.writer.is_behind(0))
            assert book.venue_seq == ladder.sequence
            assert bids_of(book) == ladder.bids(20)
            assert asks_of(book) == ladder.asks(20)
        world.segment.close(remove=True)


# --- what is no update ---------------------------------------------------------------------------

GOOD_WHOLE, GOOD_DELTA, GOOD_STAMP = Whole(20, BIDS, ASKS), Delta(11, 12, (), ()), Stamp(NOW, NOW)
BEYOND = 2**64


@pytest.mark.parametrize(
    ("slot", "update", "stamp", "said"),
    [
        (9, GOOD_WHOLE, GOOD_STAMP, "slot is 9: open it first"),
        ("0", GOOD_WHOLE, GOOD_STAMP, "slot is '0'"),
        (0, None, GOOD_STAMP, "update is None: it must be a"),
        (0, GOOD_WHOLE._replace(sequence=11.5), GOOD_STAMP, "sequence is 11.5: it must be a whole"),
        (0, GOOD_WHOLE._replace(sequence=BEYOND), GOOD_STAMP, "sequence is 18446744073709551616"),
        (0, GOOD_WHOLE._replace(bids=None), GOOD_STAMP, "bids is None"),
        (0, GOOD_WHOLE._replace(bids=[(99.5, 1)]), GOOD_STAMP, r"bids has \(99.5, 1\): both are"),
        (0, GOOD_WHOLE._replace(asks=[(102, "1")]), GOOD_STAMP, "asks has .102, '1'.: both are"),
        (0, GOOD_WHOLE._replace(asks=[(102,)]), GOOD_STAMP, r"asks has \(102,\): a level is"),
        (0, GOOD_WHOLE._replace(asks=[5]), GOOD_STAMP, "asks has 5: a level is"),
        (0, GOOD_DELTA._replace(first="11"), GOOD_STAMP, "first is '11'"),
        (0, GOOD_DELTA._replace(last=BEYOND), GOOD_STAMP, "last is 18446744073709551616"),
        (0, GOOD_DELTA._replace(bids=[(99, True)]), GOOD_STAMP, r"bids has \(99, True\)"),
        (0, GOOD_WHOLE, None, "stamp is None: it must be a Stamp"),
        (0, GOOD_WHOLE, GOOD_STAMP._replace(recv_ns=-1), "recv_ns is -1"),
        (0, GOOD_DELTA, GOOD_STAMP._replace(publish_ns=1.5), "publish_ns is 1.5"),
        (0, GOOD_DELTA, GOOD_STAMP._replace(batch=BEYOND), "batch is 18446744073709551616"),
    ],
)  # fmt: skip
def test_what_is_no_update_is_refused_named_counted_and_changes_nothing(
    world, slot, update, stamp, said
):
    snapshot(world)
    ladder, metrics = world.writer.ladder(0), world.writer.metrics.counts
    apply = world.writer.apply_delta if type(update) is Delta else world.writer.apply_snapshot

    def state():
        counted = {counter: metrics[counter] for counter in Counter}
        counted.pop(Counter.cache_updates_refused)
        held = (ladder.is_ready, ladder.sequence, ladder.bids(9), ladder.asks(9))
        return held, world.depth.last(0).version, counted

    before = state()
    with pytest.raises(UpdateRefused, match=said):
        apply(slot, update, stamp)
    assert state() == before
    assert metrics[Counter.cache_updates_refused] == 1


@pytest.mark.parametrize("told", ["mark_not_ready", "mark_behind"])
def test_a_mark_with_a_stamp_that_is_none_is_refused_and_changes_nothing(world, told):
    snapshot(world)
    more = {"is_behind": True} if told == "mark_behind" else {}
    for slot, stamp, said in ((0, Stamp("x", NOW), "recv_ns is 'x'"), (9, GOOD_STAMP, "slot is 9")):
        with pytest.raises(UpdateRefused, match=said):
            getattr(world.writer, told)(slot, stamp, **more)
    assert world.writer.ladder(0).is_ready
    assert not world.writer.is_behind(0)


def test_a_slot_or_a_tick_that_is_none_is_refused_by_its_name(world):
    for arguments, said in (
        (("x", 1, 0), "slot is 'x'"), ((0, 2**64, 0), "tag is 1844"), ((0, 1, -1), "generation is"),
    ):  # fmt: skip
        with pytest.raises(UpdateRefused, match=said):
            world.writer.open(*arguments)
    with pytest.raises(UpdateRefused, match=r"tick_e9 is 0\.01: it must be a whole number"):
        world.writer.set_tick(0, 0.01)


READS = ("read", "look", "is_ready", "last_update_ns", "sequence", "update_count")


@pytest.mark.parametrize("asks", READS)
@pytest.mark.parametrize("token", [5, None, True, b"BTCUSDT", ["BTCUSDT"], {}, 10**70])
def test_a_token_that_is_no_text_is_named_and_not_told_as_one_nobody_lists(world, asks, token):
    snapshot(world)
    store = world.store()
    with pytest.raises(TypeError, match=r"^token is .*: it must be the venue's id, as text"):
        getattr(store, asks)(token)
    assert store.read(BTC).bid_count == 2
    assert store.read("nobody") is None


@pytest.mark.parametrize("now_ns", [None, "5", b"5", []])
def test_a_witness_of_no_time_is_refused_by_its_name(world, now_ns):
    store = world.store()
    with pytest.raises(TypeError, match=r"^now_ns is .*: it must be a whole number"):
        store.witness(now_ns)
