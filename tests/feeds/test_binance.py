import asyncio
import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import segment
from cache.counters import Counter, Histogram
from cache.layout import E9, Flag, tag_of
from cache.segment import ReaderSegment, WriterSegment, segment_path
from feeds import binance
from feeds.binance import BRIDGE_NS_MIN, ROLE, BinanceFeed, boards
from feeds.binance_rest import BinanceRest
from feeds.binance_rest_wire import Rules
from feeds.first_books import FirstBooks
from feeds.symbols import LATE_NS
from host.settings import BinanceFeed as Settings

SETTINGS = Settings(
    symbols=("BTCUSDT", "ETHUSDT"), symbol_slots=4, feature_interval_ms=100,
    ticker_silence_ms=5_000, trade_silence_ms=60_000, connection_age_s_max=85_800.0,
    overlap_s=10.0, volatility_half_life_s=60.0, volatility_floor_bps=0.2,
    volatility_jump_z=4.0, volatility_jump_half_life_s=20.0, backfill_s=60,
    lookup_timeout_s=5.0, depth=False, source="stream", poll_url="http://service/x",
    poll_interval_ms=200, poll_timeout_ms=1_000, poll_lag_ms_max=2_000, poll_ignored=(),
)  # fmt: skip
BOTH = ("BTCUSDT", "ETHUSDT")
WALL_S = 1_791_000_000
DISTRUSTED = Flag.WARMUP | Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK


class Group:
    """Stands in for a task group: tasks are not run."""

    def create_task(self, coroutine):
        coroutine.close()


class World:
    """A feed with no sockets, its clock, and a reader of its boards."""

    def __init__(self, namespace, monkeypatch):
        self.now_ns = 1_000 * E9
        monkeypatch.setattr(binance, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr("feeds.binance_lane.monotonic_ns", lambda: self.now_ns)
        self.segment = WriterSegment.create(ROLE, boards(SETTINGS), namespace=namespace)
        self.reader = ReaderSegment.attach(ROLE, namespace=namespace)
        self.feed = BinanceFeed(
            self.segment, "ws://venue/stream", SETTINGS, rest_url="http://venue/rest",
            namespace=namespace, wall=lambda: self.wall_ns,
        )  # fmt: skip
        self.feed._group = Group()
        self.feed._open_lane("start")
        self.number = 0

    @property
    def wall_ns(self):
        return self.now_ns + (WALL_S - 1_000) * E9

    @property
    def lanes(self):
        return self.feed.lanes

    def bell(self):
        memory, at = self.reader.bell_word
        return int.from_bytes(memory[at : at + 4], "little")

    def count(self, counter):
        return self.reader.counters[counter]

    def read(self, symbol="BTCUSDT", board="bbo"):
        return self.reader.board(board).read(BOTH.index(symbol), tag_of("binance", symbol))

    def connect(self, lane):
        lane.on_connected(lambda text: None)

    def send(self, lane, *frames):
        for frame in frames:
            data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
            lane.on_frame(data, self.now_ns)
        lane.on_burst()

    def tickers(self, lane, *symbols, number=None):
        if number is None:
            self.number += 1
            number = self.number
        self.send(lane, *(ticker(symbol, number) for symbol in symbols or BOTH))

    def tick(self, seconds=0.1, late_ns=0):
        self.now_ns += round(seconds * E9)
        self.feed.tick(self.now_ns, self.wall_ns, late_ns=late_ns)

    def wait(self, seconds, *lanes, has_trades=True):
        """Let time pass with tickers on these lanes."""
        for _ in range(round(seconds * 2)):
            self.number += 1
            for lane in lanes:
                self.tickers(lane, number=self.number)
                if has_trades:
                    self.send(lane, *(trade(symbol, self.number) for symbol in BOTH))
            self.tick(0.5)

    def live(self):
        """Bring the first lane to where everything is trusted."""
        self.connect(self.lanes[0])
        self.tickers(self.lanes[0])
        self.now_ns += BRIDGE_NS_MIN
        return self.lanes[0]


def ticker(symbol, number, bid="100.0"):
    data = {"u": number, "s": symbol, "b": bid, "B": "1", "a": "101.0", "A": "2"}
    return {"stream": f"{symbol.lower()}@bookTicker", "data": data}


def trade(symbol, number):
    data = {
        "e": "trade", "E": WALL_S * 1000, "s": symbol, "t": number, "p": "100.5", "q": "1",
        "T": WALL_S * 1000, "m": True,
    }  # fmt: skip
    return {"stream": f"{symbol.lower()}@trade", "data": data}


@pytest.fixture
def world(monkeypatch):
    name = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    made = World(name, monkeypatch)
    yield made
    made.segment.close()
    for role in segment.roles(name):
        for path in (segment_path(name, role), segment_path(name, role) + ".lock"):
            if os.path.exists(path):
                os.unlink(path)


def test_the_directory_names_every_symbol_and_its_slot(world):
    for symbol in BOTH:
        found = world.read(symbol, "instruments")
        assert (found.id, found.pair_tag, found.generation) == (symbol, 0, 0)
    assert world.reader.epoch == 1


def test_every_symbol_warms_up_until_its_own_first_ticker(world):
    assert world.read().flags == world.read("ETHUSDT").flags == DISTRUSTED
    world.connect(world.lanes[0])
    assert world.read().flags == DISTRUSTED
    world.tickers(world.lanes[0], "BTCUSDT")
    assert (world.read().flags, world.read().bid_px_e9) == (0, 100 * E9)
    assert world.read("ETHUSDT").flags == DISTRUSTED


def test_a_burst_rings_once_after_everything_is_published(world):
    lane = world.live()
    bell, top = world.bell(), world.read().version
    world.send(lane, *(ticker("BTCUSDT", 10 + n) for n in range(5)), trade("BTCUSDT", 1))
    assert world.bell() == bell + 1
    assert world.read().version == top + 1
    assert (world.read().venue_seq, world.read().last_px_e9) == (14, 100_500_000_000)
    assert world.count(Counter.feeds_updates_conflated) == 4
    assert world.reader.counters.percentiles(Histogram.wire_to_slot_ns, 0.5) is not None
    assert world.reader.counters.percentiles(Histogram.venue_to_wire_ns, 0.5) is not None


def test_a_burst_that_changes_nothing_rings_nobody(world):
    lane = world.live()
    bell = world.bell()
    world.send(lane, ticker("BTCUSDT", 1), {"result": None, "id": 1})
    assert world.bell() == bell


def test_the_link_is_proven_by_frames_but_not_by_a_backlog(world):
    lane = world.live()
    world.tickers(lane)
    proven = world.now_ns
    assert world.reader.link_ns == proven
    world.now_ns += E9
    lane.on_stalled()
    world.tickers(lane)
    assert world.reader.link_ns == proven


def test_a_lost_connection_makes_every_slot_resync_until_its_next_ticker(world):
    lane = world.live()
    lane.on_disconnected("cut")
    assert world.read().flags == world.read("ETHUSDT").flags == Flag.RESYNC
    world.connect(lane)
    assert world.read().flags == Flag.RESYNC
    world.tickers(lane, "ETHUSDT")
    assert (world.read().flags, world.read("ETHUSDT").flags) == (Flag.RESYNC, 0)


def test_an_old_ticker_on_a_new_connection_proves_nothing(world):
    lane = world.live()
    world.tickers(lane, number=50)
    lane.on_disconnected("cut")
    world.connect(lane)
    world.tickers(lane, number=49)
    assert world.read().flags == Flag.RESYNC
    world.tickers(lane, number=50)
    assert world.read().flags == 0, "the same id is the same top"


def test_after_a_stall_the_slots_are_resync_until_the_answer_behind_the_backlog(world):
    lane = world.live()
    lane.on_stalled()
    assert world.read().flags == Flag.RESYNC
    world.tickers(lane)
    assert world.read().flags == Flag.RESYNC
    lane.on_caught_up()
    assert world.read().flags == 0


def test_the_reply_to_the_probe_is_passed_to_the_session(world, monkeypatch):
    lane, answered = world.live(), []
    monkeypatch.setattr(lane.session, "answered", answered.append)
    names = [f"{s.lower()}@{k}" for s in BOTH for k in ("bookTicker", "trade")]
    world.send(
        lane, {"result": names, "id": 4}, {"result": None, "id": 5}, {"result": [], "id": "x"}
    )
    assert answered == [4]


def test_a_shutdown_is_bridged_without_a_moment_of_doubt(world):
    old = world.live()
    world.send(old, {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
    assert [lane.number for lane in world.lanes] == [1, 2]
    new = world.lanes[1]
    world.wait(1, old)
    assert len(world.lanes) == 2, "the new lane is not connected yet"
    world.connect(new)
    world.wait(1, old)
    assert len(world.lanes) == 2, "it has not delivered yet"
    outdated = world.count(Counter.feeds_updates_outdated)
    world.number += 1
    world.tickers(old, number=world.number)
    world.tickers(new, number=world.number)
    assert world.count(Counter.feeds_updates_outdated) == outdated + 2
    world.tick()
    assert world.lanes == [new]
    assert old.session._stopping.is_set()
    old.on_disconnected("closed")
    assert world.read().flags == world.read("ETHUSDT").flags == 0
    assert world.count(Counter.feeds_session_bridged) == 1


def test_a_shutdown_just_after_a_new_lane_is_not_forgotten(world):
    world.connect(world.lanes[0])
    world.send(world.lanes[0], {"e": "serverShutdown", "E": 1})
    assert len(world.lanes) == 1
    world.tick(0.5)
    assert len(world.lanes) == 1
    world.tick(0.6)
    assert len(world.lanes) == 2


def test_a_lane_cut_before_the_handover_leaves_what_it_knew_to_the_one_beside_it(world):
    old = world.live()
    world.send(old, {"e": "serverShutdown", "E": 1})
    new = world.lanes[1]
    world.connect(new)
    world.tickers(new, "BTCUSDT")
    old.on_disconnected("cut")
    assert world.lanes == [new]
    assert world.read().flags == world.read("ETHUSDT").flags == 0


def test_a_lane_cut_before_the_other_is_connected_leaves_nothing(world):
    old = world.live()
    world.send(old, {"e": "serverShutdown", "E": 1})
    old.on_disconnected("cut")
    assert world.lanes[0].number == 2
    assert world.read().flags == Flag.RESYNC
    world.connect(world.lanes[0])
    assert world.read().flags == Flag.RESYNC
    world.tickers(world.lanes[0])
    assert world.read().flags == 0


def test_a_lane_that_was_behind_leaves_nothing(world):
    old = world.live()
    world.send(old, {"e": "serverShutdown", "E": 1})
    world.connect(world.lanes[1])
    old.on_stalled()
    old.on_disconnected("cut")
    assert world.read().flags == Flag.RESYNC


@pytest.mark.parametrize("is_alone", [True, False])
def test_only_a_lane_that_is_alone_may_find_the_ids_set_back(world, is_alone):
    old = world.live()
    world.tickers(old, number=1000)
    world.send(old, {"e": "serverShutdown", "E": 1})
    new = world.lanes[1]
    if is_alone:
        old.on_disconnected("cut")
    world.connect(new)
    for _ in range(6):
        world.tickers(new, number=5)
        world.tick(0.5)
    assert world.read().venue_seq == (5 if is_alone else 1000)
    assert world.count(Counter.feeds_sequence_reset) == (2 if is_alone else 0)


def test_a_symbol_that_says_nothing_does_not_hold_up_the_handover_for_ever(world):
    old = world.live()
    world.send(old, {"e": "serverShutdown", "E": 1})
    new = world.lanes[1]
    world.connect(new)
    for _ in range(25):
        world.tickers(old, "BTCUSDT")
        world.tickers(new, "BTCUSDT", number=world.number)
        world.tick(0.5)
    assert old not in world.lanes
    assert new in world.lanes
    assert world.read("ETHUSDT").flags & Flag.RESYNC == 0


def test_a_connection_is_replaced_before_the_venue_cuts_it(world):
    lane = world.live()
    world.now_ns += 85_700 * E9
    world.wait(90, lane)
    assert len(world.lanes) == 1
    world.wait(20, lane)
    assert len(world.lanes) == 2


def test_a_silent_ticker_stream_is_suspect_and_gets_a_second_lane(world):
    lane = world.live()
    for _ in range(12):
        world.tickers(lane, "BTCUSDT")
        world.tick(0.5)
    assert world.read().flags == 0
    assert world.read("ETHUSDT").flags == Flag.SUSPECT
    assert len(world.lanes) == 2
    assert world.count(Counter.feeds_stream_silent) == 1
    new = world.lanes[1]
    world.connect(new)
    world.tickers(new)
    assert world.read("ETHUSDT").flags == 0
    world.tick()
    assert world.lanes == [new]


def test_a_silent_trade_stream_gets_a_second_lane_but_the_top_stays_good(world):
    lane = world.live()
    world.wait(61, lane, has_trades=False)
    assert len(world.lanes) == 2
    assert world.read().flags == 0


def test_one_ticker_with_an_impossible_id_freezes_nothing(world):
    lane = world.live()
    world.tickers(lane, "BTCUSDT", number=2**63 - 1)
    assert (world.read().flags, world.read("ETHUSDT").flags) == (Flag.SUSPECT, 0)
    world.tickers(lane, "BTCUSDT")
    assert (world.read().flags, world.read().venue_seq) == (0, world.number)
    world.tick()
    assert len(world.lanes) == 1


def test_an_id_that_keeps_all_others_out_is_suspect_and_gets_a_second_lane_and_is_left(world):
    lane = world.live()
    world.tickers(lane, "BTCUSDT", number=world.number + 90_000)
    assert world.read().flags == 0, "no bound can tell this one"
    world.wait(1.5, lane)
    assert (world.read().flags, world.read("ETHUSDT").flags) == (Flag.SUSPECT, 0)
    assert len(world.lanes) == 2
    assert world.count(Counter.feeds_stream_silent) == 1
    world.wait(3, lane)
    assert (world.read().flags, world.read().venue_seq) == (0, world.number)
    assert world.count(Counter.feeds_sequence_reset) == 1
    assert world.count(Counter.feeds_stream_silent) == 1


def test_a_trade_id_that_keeps_all_others_out_is_left_and_the_top_stays_good(world):
    lane = world.live()
    world.send(lane, trade("BTCUSDT", 90_000))
    world.wait(1.5, lane)
    assert len(world.lanes) == 2
    world.wait(3, lane)
    assert world.read().flags == 0
    assert world.count(Counter.feeds_sequence_reset) == 1
    stream = world.reader.board("trades").stream()
    world.wait(0.5, lane)
    assert {found.trade_id for found in stream.take()} == {world.number}


def test_a_frame_thrown_away_leaves_every_top_suspect_until_its_next_ticker(world):
    lane = world.live()
    world.send(lane, b'{"stream":"btcusdt@bookTicker","data":{"u":9,')
    assert world.read().flags == world.read("ETHUSDT").flags == Flag.SUSPECT
    assert world.count(Counter.feeds_frames_rejected) == 1
    assert world.count(Counter.feeds_frames_malformed) == 1
    world.tickers(lane, "BTCUSDT")
    assert (world.read().flags, world.read("ETHUSDT").flags) == (0, Flag.SUSPECT)
    lane.on_rejected(world.now_ns)
    lane.on_burst()
    assert world.read().flags == Flag.SUSPECT


def test_what_is_not_ours_is_counted_and_changes_nothing(world):
    lane = world.live()
    world.send(
        lane, ticker("SOLUSDT", 1), trade("SOLUSDT", 1), {"e": "aggTrade"}, {"code": 2, "msg": "x"}
    )
    assert world.count(Counter.feeds_events_unlisted) == 2
    assert world.count(Counter.feeds_events_unknown) == 1
    assert world.count(Counter.feeds_requests_refused) == 1
    assert world.read().flags == 0


def test_samples_are_taken_on_the_second_and_features_at_every_tick(world):
    lane = world.live()
    world.tick(0.9)
    features = world.read(board="features")
    for _ in range(50):
        world.tickers(lane)
        world.tick(0.1)
    found = world.reader.board("samples").history(0, 100, tag_of("binance", "BTCUSDT"))
    assert (np_diff(found["wall_ns"]) == E9).all()
    assert len(found) == 6
    assert found["wall_ns"][-1] == (WALL_S + 6) * E9
    assert world.read(board="features").version - features.version == 50


def version(found):
    return getattr(found, "version", 0)


def np_diff(values):
    return values[1:] - values[:-1]


def test_a_timer_that_comes_late_publishes_nothing_and_samples_nothing(world):
    lane = world.live()
    world.wait(2, lane)
    features, samples = world.read(board="features").version, world.read(board="samples").version
    world.tick(1.0, late_ns=LATE_NS + 1)
    assert world.read(board="features").version == features
    assert world.read(board="samples").version == samples
    assert world.count(Counter.feeds_samples_missed) == 2


def test_no_second_is_sampled_twice(world):
    lane = world.live()
    for _ in range(30):
        world.tickers(lane)
        world.tick(0.01)
    assert version(world.read(board="samples")) <= 1


FRAMES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda symbol, number, bid: json.dumps(ticker(symbol, number, bid)).encode(),
        st.sampled_from([*BOTH, "SOLUSDT"]),
        st.integers(-1, 2**64),
        st.sampled_from(["100.0", "0", "-1", "9999999999999", "NaN", "102.5"]),
    ),
    st.builds(lambda number: json.dumps(trade("BTCUSDT", number)).encode(), st.integers(-1, 2**64)),
    st.sampled_from([b'{"e":"serverShutdown","E":1}', b'{"result":null,"id":1}', b"[]"]),
)


@given(st.lists(FRAMES, max_size=30))
@settings(max_examples=60)
def test_no_frame_can_raise_out_of_the_handler(frames):
    name = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    with pytest.MonkeyPatch.context() as patch:
        world = World(name, patch)
        try:
            lane = world.live()
            for frame in frames:
                world.send(lane, frame)
                world.tick(0.3)
        finally:
            world.segment.close(remove=True)


def test_what_no_frame_says_is_asked_for_once_a_connection_is_on(world, monkeypatch):
    polled = []
    monkeypatch.setattr(world.feed._backfill, "poll", lambda now_ns, group: polled.append(group))
    world.tick()
    assert polled == []
    world.live()
    world.tick()
    assert polled == [world.feed._group]
    world.lanes[0].on_disconnected("cut")
    world.tick()
    assert len(polled) == 1


def test_the_rules_go_into_the_directory_and_the_top(world):
    world.live()
    assert (world.read(board="instruments").tick_e9, world.read().tick_e9) == (0, 0)
    epoch = world.reader.epoch
    for slot in world.feed.slots.values():
        slot.rules = Rules(10_000_000, 10_000, 20_000)
    world.feed._list_instruments()
    found = world.read(board="instruments")
    assert (found.tick_e9, found.lot_e9, found.min_qty_e9) == (10_000_000, 10_000, 20_000)
    assert (found.id, found.generation) == ("BTCUSDT", 0)
    assert world.reader.epoch == epoch + 1
    world.tickers(world.lanes[0])
    assert world.read().tick_e9 == 10_000_000


def test_the_end_of_a_feed_is_the_end_of_the_questions_for_first_books(world, monkeypatch):
    async def get(url, timeout_s):
        await asyncio.Event().wait()

    asking = []

    async def until_told(*_):
        asking.append(asyncio.create_task(world.feed._first_books.ask("BTCUSDT")))
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def work():
        with pytest.raises(asyncio.CancelledError):
            await world.feed.run()
        return asyncio.all_tasks() - {asyncio.current_task()}

    monkeypatch.setattr(binance, "on_time", until_told)
    monkeypatch.setattr(world.feed, "_open_lane", lambda reason: None)
    rest = BinanceRest("http://venue", world.segment.counters, timeout_s=5.0, get=get)
    world.feed._first_books = FirstBooks(rest, BOTH, world.segment.counters, timeout_s=5.0)
    assert not asyncio.run(work())
    assert world.count(Counter.cache_md_refreshes_failed) == 0
