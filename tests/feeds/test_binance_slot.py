import os
import time

import pytest

from cache import segment
from cache.counters import Counter, CounterReader
from cache.layout import BBO, E9, FEATURES, SAMPLE, TRADE, BoardSpec, Flag, Side, tag_of
from cache.segment import ReaderSegment, WriterSegment, segment_path
from feeds.binance_slot import RESET_NS, Boards, Order, SymbolSlot
from feeds.binance_wire import BookTicker, Trade
from feeds.features import VolatilityParams

BOARDS = (
    BoardSpec("bbo", BBO, 2, 8),
    BoardSpec("features", FEATURES, 2, 8),
    BoardSpec("samples", SAMPLE, 2, 128),
    BoardSpec("trades", TRADE, 1, 64),
)
PARAMS = VolatilityParams(half_life_s=60, floor_bps=0.1, jump_z=4, jump_half_life_s=20)
TAG = tag_of("binance", "BTCUSDT")
SECOND = 1_791_000_000


@pytest.fixture
def namespace():
    name = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for role in segment.roles(name):
        for path in (segment_path(name, role), segment_path(name, role) + ".lock"):
            if os.path.exists(path):
                os.unlink(path)


class Bench:
    """One symbol slot, and a reader of all it writes."""

    def __init__(self, namespace, symbol="BTCUSDT"):
        self.writer = WriterSegment.create("feed.binance.0", BOARDS, namespace=namespace)
        self.reader = ReaderSegment.attach("feed.binance.0", namespace=namespace)
        boards = Boards(*(self.writer.board(spec.name) for spec in BOARDS))
        self.slot = SymbolSlot(symbol, 1, boards, self.writer.counters, params=PARAMS)
        self.slot.recall(self.reader.board("samples"))
        self.tag = self.slot.tag
        self.trades = self.reader.board("trades").stream()

    def read(self, board="bbo"):
        return self.reader.board(board).read(1, self.tag)

    def count(self, counter):
        counters = self.reader.counters
        assert isinstance(counters, CounterReader)
        return counters[counter]

    def trust(self):
        self.slot.is_resync = False
        self.slot.judge()


@pytest.fixture
def bench(namespace):
    made = Bench(namespace)
    yield made
    made.writer.close()


def ticker(number, bid=100, ask=101, *, bid_qty=1, ask_qty=2):
    return BookTicker("BTCUSDT", number, bid * E9, bid_qty * E9, ask * E9, ask_qty * E9)


def trade(number, px=100):
    return Trade("BTCUSDT", number, px * E9, E9 // 2, Side.SELL, 77 * E9, 76 * E9)


def test_a_slot_is_warming_up_until_its_first_ticker(bench):
    bench.slot.publish_now(5)
    assert bench.read().flags == Flag.WARMUP | Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK
    bench.slot.on_ticker(ticker(7), 10)
    bench.trust()
    bench.slot.flush(12)
    found = bench.read()
    assert (found.flags, found.venue_seq, found.recv_ns, found.publish_ns) == (0, 7, 10, 12)
    assert (found.bid_px_e9, found.bid_qty_e9) == (100 * E9, E9)
    assert (found.ask_px_e9, found.ask_qty_e9) == (101 * E9, 2 * E9)
    assert (found.venue_ts_ns, found.proven_ns) == (0, 10)


def test_an_older_ticker_is_ignored_and_counted(bench):
    assert bench.slot.on_ticker(ticker(7), 10)
    bench.slot.flush(11)
    assert not bench.slot.on_ticker(ticker(7, 90), 12)
    assert not bench.slot.on_ticker(ticker(6, 90), 12)
    assert not bench.slot.flush(13)
    assert bench.read().bid_px_e9 == 100 * E9
    assert bench.count(Counter.feeds_updates_outdated) == 2


def test_of_one_burst_the_newest_is_published_and_the_others_counted(bench):
    for number in range(1, 5):
        bench.slot.on_ticker(ticker(number, 100 + number, 110), number)
    bench.slot.flush(9)
    assert bench.read().bid_px_e9 == 104 * E9
    assert bench.count(Counter.feeds_updates_conflated) == 3
    assert bench.count(Counter.feeds_bbo_published) == 1


@pytest.mark.parametrize(
    ("event", "flags"),
    [
        (ticker(1, 0, 101), Flag.NO_BID),
        (ticker(1, 100, 101, bid_qty=0), Flag.NO_BID),
        (ticker(1, 100, 0), Flag.NO_ASK),
        (ticker(1, 0, 0), Flag.NO_BID | Flag.NO_ASK),
        (ticker(1, 101, 101), Flag.CROSSED),
        (ticker(1, 102, 101), Flag.CROSSED),
    ],
)
def test_a_top_that_is_not_whole_says_so(bench, event, flags):
    bench.trust()
    bench.slot.on_ticker(event, 1)
    bench.slot.flush(2)
    assert bench.read().flags == flags
    assert not bench.slot.sample(SECOND, 3)


def test_a_change_of_trust_is_published_without_a_ticker(bench):
    bench.trust()
    bench.slot.on_ticker(ticker(1), 1)
    bench.slot.flush(2)
    bench.slot.is_resync = True
    bench.slot.judge()
    assert bench.slot.flush(3)
    assert (bench.read().flags, bench.read().recv_ns) == (Flag.RESYNC, 1)
    bench.slot.judge()
    assert not bench.slot.flush(4)


def test_a_ticker_read_behind_a_backlog_stays_resync(bench):
    bench.slot.on_ticker(ticker(1), 1)
    bench.slot.flush(2)
    assert bench.read().flags == Flag.RESYNC


def test_doubt_and_silence_end_with_the_next_ticker(bench):
    bench.trust()
    bench.slot.on_ticker(ticker(1), 1)
    bench.slot.is_doubted = bench.slot.is_silent = True
    bench.slot.judge()
    bench.slot.flush(2)
    assert bench.read().flags == Flag.SUSPECT
    bench.slot.on_ticker(ticker(1), 3)
    bench.slot.flush(3)
    assert bench.read().flags == Flag.SUSPECT
    bench.slot.on_ticker(ticker(2), 3)
    bench.slot.flush(4)
    assert bench.read().flags == 0


def test_a_trade_is_published_and_shows_in_the_top(bench):
    bench.trust()
    bench.slot.on_ticker(ticker(1), 1)
    assert bench.slot.on_trade(trade(5, 123), 2, 3)
    assert not bench.slot.on_trade(trade(5, 124), 2, 3)
    assert not bench.slot.on_trade(trade(4, 124), 2, 3)
    bench.slot.flush(4)
    (found,) = bench.trades.take()
    assert (found.tag, found.trade_id, found.venue_seq) == (TAG, 5, 5)
    assert (found.px_e9, found.qty_e9, found.side) == (123 * E9, E9 // 2, Side.SELL)
    assert (found.venue_ts_ns, found.recv_ns, found.publish_ns) == (77 * E9, 2, 3)
    assert (bench.read().last_px_e9, bench.read().last_qty_e9) == (123 * E9, E9 // 2)
    assert bench.read().recv_ns == 1
    assert bench.count(Counter.feeds_updates_outdated) == 2


def test_samples_are_taken_of_a_good_top_only(bench):
    assert not bench.slot.sample(SECOND, 1)
    bench.trust()
    bench.slot.on_ticker(ticker(1), 1)
    assert bench.slot.sample(SECOND, 2)
    found = bench.read("samples")
    assert (found.mid_px_e9, found.wall_ns) == (100 * E9 + E9 // 2, SECOND * E9)
    bench.slot.is_resync = True
    bench.slot.judge()
    assert not bench.slot.sample(SECOND + 1, 3)
    assert bench.read("samples").version == 1
    assert bench.count(Counter.feeds_samples_missed) == 2


def test_features_carry_the_flags_of_the_top(bench):
    assert not bench.slot.tick(1)
    bench.slot.on_ticker(ticker(1), 1)
    assert bench.slot.tick(2)
    assert bench.read("features").flags == Flag.RESYNC
    bench.trust()
    bench.slot.tick(3)
    assert (bench.read("features").flags, bench.read("features").mid_px_e9) == (0, 100_500_000_000)


def run_for(bench, seconds, *, first=0, number=1):
    """Let a good slot take one ticker, one sample and one look a second."""
    bench.trust()
    for second in range(first, first + seconds):
        now_ns = (1000 + second) * E9
        bench.slot.on_ticker(ticker(number + second, 100 + second % 3, 110), now_ns)
        bench.slot.flush(now_ns)
        bench.slot.sample(SECOND + second, now_ns)
        bench.slot.tick(now_ns)
    return bench.read("features").sample_count


@pytest.mark.parametrize(("hole", "count"), [(2, 59 + 1), (3, 0)])
def test_a_hole_in_the_line_keeps_the_history_only_while_it_is_short(bench, hole, count):
    assert run_for(bench, 60) == 59
    bench.slot.is_resync = True
    bench.slot.judge()
    bench.slot.tick((1000 + 59) * E9 + 1)
    # The last good look was at second 59; a hole of 2 s and more is too long.
    second = 59 + hole
    shift = -1 if hole == 2 else 0
    bench.slot.is_resync = False
    bench.slot.judge()
    now_ns = (1000 + second) * E9 + shift
    bench.slot.sample(SECOND + second, now_ns)
    bench.slot.tick(now_ns)
    assert bench.read("features").sample_count == count


@pytest.mark.parametrize(("hole_ns", "is_kept"), [(2 * E9 - 1, True), (2 * E9, False)])
def test_a_restarted_feed_goes_on_from_the_samples_unless_the_hole_is_too_long(
    namespace, hole_ns, is_kept
):
    first = Bench(namespace)
    assert run_for(first, 200) == 199
    sigma = first.slot.features.volatility.sigma
    first.writer.close()
    second = Bench(namespace)
    assert second.slot.features.volatility.count == 125
    assert second.slot.features.volatility.sigma == pytest.approx(sigma, rel=0.3)
    second.trust()
    now_ns = (1000 + 199) * E9 + hole_ns
    second.slot.on_ticker(ticker(1), now_ns)
    second.slot.tick(now_ns)
    found = second.read("features")
    assert found.sample_count == (125 if is_kept else 0)
    assert (found.sigma_e9 > 0) == is_kept
    second.writer.close()


def test_a_restarted_feed_shows_the_old_prices_as_warming_up(namespace):
    first = Bench(namespace)
    first.trust()
    first.slot.on_ticker(ticker(7), 10)
    first.slot.on_trade(trade(1, 99), 10, 10)
    first.slot.flush(11)
    first.writer.close()
    second = Bench(namespace)
    second.slot.publish_now(20)
    found = second.read()
    assert found.flags == Flag.WARMUP | Flag.RESYNC
    assert (found.bid_px_e9, found.recv_ns, found.last_px_e9) == (100 * E9, 10, 99 * E9)
    assert (found.incarnation, found.generation, found.venue_seq) == (2, 0, 0)
    assert second.slot.on_ticker(ticker(3), 21), "the new incarnation takes the venue's word"
    second.writer.close()


def test_a_slot_given_to_another_symbol_changes_its_generation(namespace):
    first = Bench(namespace)
    run_for(first, 10)
    first.writer.close()
    second = Bench(namespace, "ETHUSDT")
    assert second.slot.generation == 1
    assert second.slot.features.volatility.count == 0
    second.slot.publish_now(20)
    found = second.read()
    assert (found.tag, found.bid_px_e9) == (tag_of("binance", "ETHUSDT"), 0)
    second.writer.close()


def test_ids_that_begin_anew_are_taken_again_on_a_fresh_connection_only():
    order = Order()
    assert order.accept(1000, 0)
    assert not order.accept(5, 1)
    assert not order.begins_anew(5, 1)
    assert not order.begins_anew(5, 10 * RESET_NS)
    order.allow_reset()
    assert not order.begins_anew(5, 20 * RESET_NS)
    assert not order.begins_anew(1000, 22 * RESET_NS), "a repeat of the last one is no reset"
    assert order.begins_anew(6, 22 * RESET_NS)
    assert order.last == 6
    assert not order.begins_anew(5, 30 * RESET_NS)


def test_a_newer_id_ends_the_possibility_of_a_reset():
    order = Order()
    order.accept(1000, 0)
    order.allow_reset()
    assert not order.begins_anew(5, 1)
    assert order.accept(1001, 2)
    assert not order.begins_anew(5, 10 * RESET_NS)


def test_a_venue_that_was_set_back_is_followed_and_counted(bench):
    bench.trust()
    bench.slot.on_ticker(ticker(1000), 0)
    bench.slot.order.allow_reset()
    assert not bench.slot.on_ticker(ticker(5), 1)
    assert bench.slot.on_ticker(ticker(6, 50, 51), 1 + RESET_NS)
    bench.slot.flush(2 * RESET_NS)
    assert (bench.read().bid_px_e9, bench.read().venue_seq) == (50 * E9, 6)
    assert bench.count(Counter.feeds_sequence_reset) == 1
