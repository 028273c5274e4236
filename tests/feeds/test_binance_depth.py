"""Depth of the Binance feed: the venue's procedure, without a socket."""

import asyncio
import json

import pytest

from cache.book_store import bids_of
from cache.counters import Counter
from cache.ladder import Whole
from cache.layout import E9, Flag, tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds.binance import ROLE, boards
from feeds.binance_depth import LASTING_NS, THIN_NS, DepthFeed
from feeds.binance_slot import Boards, SymbolSlot
from feeds.features import VolatilityParams
from host.settings import BookStore as Settings
from tests.feeds.test_binance import SETTINGS

BTC, ETH = "BTCUSDT", "ETHUSDT"
BIDS = [(100 * E9, 5 * E9), (99 * E9, 7 * E9)]
ASKS = [(101 * E9, 6 * E9)]


def book_store(**changes):
    values = {
        "enabled": True, "default_max_stale_ms": 1_500, "hard_stale_ms": 5_000, "max_depth": 20,
        "warmup_timeout_ms": 10_000, "warmup_min_ready_fraction": 0.8,
    }  # fmt: skip
    return Settings(**(values | changes))


class Group:
    """Keeps tasks to be run when the test says so."""

    def __init__(self):
        self.tasks = []

    def create_task(self, coroutine):
        self.tasks.append(coroutine)


class World:
    """A depth feed of two symbols with its clock, a venue's REST side and a reader."""

    def __init__(self, namespace, monkeypatch, **changes):
        self.now_ns = 1_000 * E9
        monkeypatch.setattr("feeds.binance_depth.monotonic_ns", lambda: self.now_ns)
        self.segment = WriterSegment.create(ROLE, boards(SETTINGS), namespace=namespace)
        places = Boards(
            *(self.segment.board(name) for name in ("bbo", "features", "samples", "trades"))
        )
        params = VolatilityParams(60.0, 0.2, 4.0, 20.0)
        counters = self.segment.counters
        self.slots = {
            name: SymbolSlot(name, index, places, counters, params=params)
            for index, name in enumerate((BTC, ETH))
        }
        self.answers, self.asked, self.pauses, self.sent = [], [], [], []
        self.feed = DepthFeed(
            self.segment, "ws://venue/stream", book_store(**changes), slots=self.slots,
            ask=self.ask, jitter=lambda: 1.0, pause=self.pause,
        )  # fmt: skip
        self.feed._group = self.group = Group()
        reader = ReaderSegment.attach(ROLE, namespace=namespace)
        self.board, self.counters = reader.board("depth"), reader.counters
        self.reconnects = []
        monkeypatch.setattr(self.feed.session, "reconnect", self.reconnects.append)

    async def ask(self, symbol):
        self.asked.append(symbol)
        answer = self.answers.pop(0)
        return answer() if callable(answer) else answer

    async def pause(self, seconds):
        self.pauses.append(seconds)

    def connect(self):
        assert self.feed.on_connected(self.sent.append)

    def diff(self, first, last, bids=(), asks=(), *, symbol=BTC, recv_ns=None):
        levels = [
            [[f"{px / E9:.8f}", f"{qty / E9:.8f}"] for px, qty in side] for side in (bids, asks)
        ]
        data = {"e": "depthUpdate", "E": 1_791_000_000_000, "s": symbol, "U": first, "u": last}
        data |= {"b": levels[0], "a": levels[1]}
        wrapped = {"stream": f"{symbol.lower()}@depth@100ms", "data": data}
        raw = json.dumps(wrapped, separators=(",", ":")).encode()
        found = self.feed.on_frame(raw, self.now_ns if recv_ns is None else recv_ns)
        self.feed.on_burst()
        return found

    def rest(self, *answers):
        """Let every task that was begun run to its end, with these answers."""
        self.answers += answers
        while self.group.tasks:
            asyncio.run(self.group.tasks.pop(0))

    def start(self, sequence=10):
        """Connect and synchronise BTC."""
        self.connect()
        self.diff(sequence, sequence)
        self.rest(Whole(sequence, BIDS, ASKS))

    def read(self, symbol=BTC):
        return self.board.read((BTC, ETH).index(symbol), tag_of("binance", symbol))

    def is_ready(self, symbol=BTC):
        return not self.read(symbol).flags & (Flag.RESYNC | Flag.WARMUP)


@pytest.fixture
def world(namespace, monkeypatch):
    made = World(namespace, monkeypatch)
    yield made
    for task in made.group.tasks:
        task.close()
    made.segment.close(remove=True)


def test_both_symbols_are_subscribed_by_the_url(world):
    assert world.feed.session.url == (
        "ws://venue/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms"
    )


def test_before_anything_came_every_book_says_resync(world):
    assert not world.is_ready()
    assert world.read().flags & Flag.RESYNC
    assert world.read().bid_count == 0


def test_the_first_diff_has_a_snapshot_asked_for_and_more_of_them_do_not(world):
    world.connect()
    for number in (10, 11, 12):
        assert world.diff(number, number)
    assert len(world.group.tasks) == 1
    assert not world.is_ready()
    world.rest(Whole(11, BIDS, ASKS))
    assert world.asked == [BTC]
    assert world.counters[Counter.feeds_books_requested] == 1
    assert world.is_ready()
    assert world.read().venue_seq == 12
    assert not world.is_ready(ETH)
    assert world.counters[Counter.cache_book_snapshots_applied] == 1
    assert world.counters[Counter.cache_book_deltas_applied] == 1


def test_each_diff_is_published_with_the_venues_time_and_id(world):
    world.start()
    before = world.read().version
    world.diff(11, 14, bids=[(100 * E9, 0), (98 * E9, E9)], recv_ns=world.now_ns + 7)
    book = world.read()
    assert book.version == before + 1
    assert bids_of(book) == [(99 * E9, 7 * E9), (98 * E9, E9)]
    assert (book.venue_seq, book.recv_ns) == (14, world.now_ns + 7)
    assert book.venue_ts_ns == 1_791_000_000_000 * 10**6


def test_a_snapshot_older_than_the_first_diff_is_asked_for_again_after_a_while(world):
    world.connect()
    world.diff(20, 22)
    world.rest(Whole(18, BIDS, ASKS), None, Whole(21, BIDS, ASKS))
    assert world.asked == [BTC] * 3
    assert world.pauses == [0.5, 1.0]
    assert world.is_ready()
    assert world.read().venue_seq == 22


def test_a_lost_diff_makes_the_book_not_ready_until_a_snapshot_bridges_the_gap(world):
    world.start()
    world.diff(12, 12)
    assert not world.is_ready()
    assert world.read().bid_count == 0
    assert world.counters[Counter.cache_book_gaps_seen] == 1
    world.diff(13, 13)
    world.rest(Whole(11, BIDS, ASKS))
    assert world.is_ready()
    assert world.read().venue_seq == 13


def test_a_diff_that_was_seen_is_counted_and_ignored(world):
    world.start()
    version = world.read().version
    world.diff(9, 10)
    assert world.read().version == version
    assert world.counters[Counter.feeds_updates_outdated] == 1


def test_a_crossed_book_is_reset_and_rebuilt(world):
    world.start()
    world.diff(11, 11, bids=[(101 * E9, E9)])
    assert not world.is_ready()
    assert world.counters[Counter.cache_book_resets_crossed] == 1
    world.diff(12, 12)
    world.rest(Whole(12, BIDS, ASKS))
    assert world.is_ready()


@pytest.mark.parametrize("far", [(11, 2**62), (2**62, 2**62 + 1)], ids=["joined", "apart"])
def test_a_damaged_update_id_keeps_no_book_away_for_longer_than_the_hard_limit(world, far):
    world.start()
    world.diff(*far)
    for number in range(11, 62):
        world.now_ns += 10**8
        world.diff(number, number)
        assert world.counters[Counter.feeds_sequence_reset] == 0, "not before the hard limit"
    world.now_ns += 10**8
    world.diff(62, 62)
    assert world.counters[Counter.feeds_sequence_reset] == 1
    assert not world.is_ready()
    world.rest(Whole(62, BIDS, ASKS))
    assert world.is_ready()
    assert world.read().venue_seq == 62
    world.diff(63, 63)
    assert world.read().venue_seq == 63


def test_diffs_that_a_newer_snapshot_holds_already_are_no_reason_to_reset(world):
    world.start(20)
    for number in range(11, 21):
        world.now_ns += 10**8
        world.diff(number, number)
    world.diff(21, 21)
    world.now_ns += 6 * E9
    world.diff(21, 21)
    assert world.is_ready()
    assert world.counters[Counter.feeds_sequence_reset] == 0


def test_diffs_of_an_earlier_connection_say_nothing_of_the_book_of_this_one(world):
    world.start(20)
    world.diff(11, 11)
    world.feed.on_disconnected("gone")
    world.connect()
    world.now_ns += 6 * E9
    world.feed.tick(world.now_ns)
    world.rest(Whole(30, BIDS, ASKS), Whole(30, BIDS, ASKS))
    world.diff(25, 25)
    assert world.is_ready()
    assert world.counters[Counter.feeds_sequence_reset] == 0


def test_a_book_that_is_reset_again_and_again_is_asked_for_ever_more_rarely(world):
    world.start()
    for number in range(11, 31, 2):  # Every other diff crosses: the venue, or we, have gone mad.
        world.now_ns += 10**8
        world.diff(number, number, bids=[(101 * E9, E9)])
        assert not world.is_ready()
        world.diff(number + 1, number + 1)
        world.rest(Whole(number + 1, BIDS, ASKS))
        assert world.is_ready()
    assert world.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    world.now_ns += LASTING_NS
    world.diff(40, 40)
    world.rest(Whole(40, BIDS, ASKS))
    assert len(world.pauses) == 10, "a book that stood for a while is asked for at once"


def test_who_waits_to_ask_again_asks_nothing_once_the_connection_is_gone(world):
    world.start()
    asked_count = len(world.asked)

    async def cut(seconds):
        world.feed.on_disconnected("gone")

    world.feed._pause = cut
    world.diff(12, 12)
    world.rest()
    assert len(world.asked) == asked_count


def test_a_frame_that_was_thrown_away_makes_every_book_not_ready(world):
    world.start()
    assert not world.feed.on_frame(b"{", world.now_ns)
    assert not world.is_ready()
    assert world.counters[Counter.feeds_frames_malformed] == 1
    world.start(20)
    world.feed.on_rejected(world.now_ns)
    assert not world.is_ready()


def test_a_lost_connection_marks_every_book_at_once_and_begins_anew_on_the_next(world):
    world.start()
    world.feed.on_disconnected("gone")
    assert not world.is_ready()
    world.start(3)  # The venue's ids may even have begun anew.
    assert world.is_ready()


def test_a_snapshot_that_was_asked_for_on_an_earlier_connection_is_not_taken(world):
    world.connect()
    world.diff(10, 10)

    def cut():
        world.feed.on_disconnected("gone")
        world.now_ns += 1
        world.connect()
        return Whole(10, BIDS, ASKS)

    world.rest(cut, Whole(30, BIDS, ASKS))
    assert world.asked == [BTC, BTC]
    assert world.read().venue_seq == 30


def test_asking_ends_when_the_connection_is_gone(world):
    world.connect()
    world.diff(10, 10)

    def cut():
        world.feed.on_disconnected("gone")

    world.rest(cut)
    assert world.asked == [BTC]
    world.connect()
    world.diff(50, 50)
    assert len(world.group.tasks) == 1


def test_a_backlog_is_shown_as_such_until_it_was_read(world):
    world.start()
    world.feed.on_stalled()
    assert not world.is_ready()
    world.diff(11, 11)
    assert not world.is_ready()
    world.feed.on_caught_up()
    assert world.is_ready()


def test_a_frame_thrown_away_within_a_backlog_does_not_end_it(world):
    world.start()
    world.feed.on_stalled()
    world.feed.on_rejected(world.now_ns)
    world.diff(11, 11)
    world.rest(Whole(11, BIDS, ASKS))
    assert world.read().bid_count == 2
    assert not world.is_ready(), "what follows may still be old"
    world.feed.on_caught_up()
    assert world.is_ready()


def test_a_backlog_ends_with_its_connection(world):
    world.start()
    world.feed.on_stalled()
    world.feed.on_disconnected("gone")
    assert not world.is_ready()
    world.start(3)
    assert world.is_ready()


def test_depth_names_the_batch_of_the_top_with_the_same_id_and_no_other(world):
    bbo = world.segment.board("bbo")

    def top(batch, update_id):
        values = (batch, update_id, world.now_ns, world.now_ns, 0, 0, 4)
        bbo.publish(0, (*values, 100 * E9, 1, 101 * E9, 1, 0, 0, 1, world.now_ns))

    bbo.assign(0, tag_of("binance", BTC), 0)
    top(5, 10)
    world.start()
    assert world.read().batch == 5
    bbo.assign(0, tag_of("binance", ETH), 0)
    top(5, 11)
    world.diff(11, 11)
    assert world.read().batch == 0, "a top of another symbol"
    bbo.assign(0, tag_of("binance", BTC), 0)
    world.start()
    world.diff(11, 12)
    assert world.read().batch == 0
    top(6, 14)
    world.diff(13, 14)
    assert world.read().batch == 6
    world.diff(16, 16)
    world.diff(17, 17)
    top(7, 17)
    world.rest(Whole(15, BIDS, ASKS))
    assert world.read().venue_seq == 17
    assert world.read().batch == 7


def test_a_book_that_lost_too_many_levels_is_asked_for_again_but_not_all_the_time(
    world, monkeypatch
):
    world.connect()
    world.diff(10, 10)
    bids = [((2_000 - i) * E9, E9) for i in range(1_000)]  # As many as fit: there may be more.
    world.rest(Whole(10, bids, [(3_000 * E9, E9)]))
    gone = [(px, 0) for px, _ in bids[:901]]
    world.now_ns += THIN_NS
    world.diff(11, 11, bids=gone)
    assert world.group.tasks == []
    world.now_ns += 1
    world.diff(12, 12)
    assert len(world.group.tasks) == 1
    assert world.is_ready()
    assert world.read().bid_count == 20
    world.rest(Whole(12, bids, [(3_000 * E9, E9)]))
    world.diff(13, 13)
    assert world.group.tasks == []


def test_a_silent_symbol_is_subscribed_anew_and_witnessed_by_a_snapshot(world):
    world.start()
    world.now_ns += 5 * E9
    world.feed.tick(world.now_ns)
    assert world.sent == []
    world.now_ns += 1
    world.feed.tick(world.now_ns)
    wanted = [json.loads(text) for text in world.sent]
    assert [(one["method"], one["params"]) for one in wanted[:2]] == [
        ("UNSUBSCRIBE", ["btcusdt@depth@100ms"]),
        ("SUBSCRIBE", ["btcusdt@depth@100ms"]),
    ]
    assert world.counters[Counter.feeds_stream_silent] == 2  # ETH never said a word.
    version = world.read().version
    # The venue has nothing newer: the market is calm, and the book proven.
    world.rest(Whole(10, BIDS, ASKS), Whole(7, BIDS, ASKS))
    assert world.is_ready()
    assert world.read().version == version + 1
    assert world.read().recv_ns == world.now_ns
    world.now_ns += 10 * E9 + 1
    world.feed.tick(world.now_ns)
    world.rest(Whole(10, BIDS, ASKS), Whole(7, BIDS, ASKS))
    assert world.asked == [BTC, BTC, ETH, BTC, ETH]
    assert world.reconnects == []


def test_a_symbol_that_stays_silent_while_the_venue_moves_on_has_the_connection_made_anew(world):
    world.start()
    world.diff(10, 10, symbol=ETH)
    world.rest(Whole(10, BIDS, ASKS))
    for number, wait_s in enumerate((5, 10), 1):
        world.now_ns += wait_s * E9 + 1
        world.diff(10 + number, 10 + number, symbol=ETH)
        world.feed.tick(world.now_ns)
        world.rest(Whole(20 + number, BIDS, ASKS))
    assert world.asked[2:] == [BTC, BTC]
    assert len(world.reconnects) == 1
    assert BTC in world.reconnects[0]


def test_a_frame_between_two_silences_begins_the_count_anew(world):
    world.start()
    world.diff(10, 10, symbol=ETH)
    world.rest(Whole(10, BIDS, ASKS))
    for number in range(1, 6):
        world.now_ns += 5 * E9 + 1
        world.diff(10 + number, 10 + number, symbol=ETH)
        world.feed.tick(world.now_ns)
        world.rest(Whole(20 * number, BIDS, ASKS))
        world.diff(20 * number + 1, 20 * number + 1)
    assert world.reconnects == []


def test_without_a_connection_no_silence_is_told(world):
    world.now_ns += 100 * E9
    world.feed.tick(world.now_ns)
    assert world.counters[Counter.feeds_stream_silent] == 0
    assert not world.group.tasks


def test_how_long_a_symbol_may_be_silent_is_a_setting(namespace, monkeypatch):
    world = World(namespace, monkeypatch, hard_stale_ms=7_000)
    world.start()
    world.now_ns += 7 * E9
    world.feed.tick(world.now_ns)
    assert world.sent == []
    world.now_ns += 1
    world.feed.tick(world.now_ns)
    assert len(world.sent) == 4
    for task in world.group.tasks:
        task.close()
    world.segment.close(remove=True)


def test_no_more_levels_are_published_than_the_settings_allow(namespace, monkeypatch):
    world = World(namespace, monkeypatch, max_depth=1)
    world.start()
    assert (world.read().bid_count, world.read().ask_count) == (1, 1)
    world.segment.close(remove=True)


def test_answers_and_notices_of_the_venue_are_understood(world):
    world.start()
    answered = []
    world.feed.session.answered = answered.append
    assert not world.feed.on_frame(b'{"result":["btcusdt@depth@100ms"],"id":3}', world.now_ns)
    assert not world.feed.on_frame(b'{"result":null,"id":0}', world.now_ns)
    assert answered == [3]
    world.feed.on_frame(b'{"code":2,"msg":"Invalid request"}', world.now_ns)
    assert world.counters[Counter.feeds_requests_refused] == 1
    world.feed.on_frame(b'{"stream":"x","data":{"e":"kline"}}', world.now_ns)
    assert world.counters[Counter.feeds_events_unknown] == 1
    world.diff(1, 1, symbol="DOGEUSDT")
    assert world.counters[Counter.feeds_events_unlisted] == 1
    shutdown = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
    world.feed.on_frame(shutdown, world.now_ns)
    assert world.reconnects == ["server shutdown"]
    assert world.is_ready()


def test_the_link_of_the_segment_is_not_spoken_for(world, namespace):
    world.start()
    world.diff(11, 11)
    assert ReaderSegment.attach(ROLE, namespace=namespace).link_ns == 0


def test_the_tick_of_the_trading_rules_goes_out_with_the_depth(world):
    world.start()
    assert world.read().tick_e9 == 0
    world.slots[BTC].rules = world.slots[BTC].rules.__class__(10_000_000, 1, 1)
    world.diff(11, 11)
    assert world.read().tick_e9 == 10_000_000


def test_the_end_of_the_feed_leaves_no_book_ready(world, monkeypatch):
    world.start()

    async def nothing():
        return None

    monkeypatch.setattr(world.feed.session, "run", nothing)
    asyncio.run(world.feed.run())
    assert not world.is_ready()
