from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.counters import Counter, CounterReader
from cache.layout import BBO, E9, FEATURES, SAMPLE, TRADE, BoardSpec, Flag, Proof, Side, tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds.binance_order import RESET_NS, STEP_MAX, STUCK_NS
from feeds.binance_rest_wire import Rules
from feeds.binance_slot import BEYOND_NS, Boards, SymbolSlot
from feeds.binance_wire import BookTicker, Trade
from feeds.features import VolatilityParams
from tests.system.damage import damages, spoil

BOARDS = (
    BoardSpec("bbo", BBO, 2, 8),
    BoardSpec("features", FEATURES, 2, 8),
    BoardSpec("samples", SAMPLE, 2, 128),
    BoardSpec("trades", TRADE, 1, 64),
)
PARAMS = VolatilityParams(half_life_s=60, floor_bps=0.1, jump_z=4, jump_half_life_s=20)
TAG = tag_of("binance", "BTCUSDT")
SECOND = 1_791_000_000
NOW_NS = 1 << 61


class Bench:
    """One symbol slot, and a reader of all it writes."""

    def __init__(self, namespace, symbol="BTCUSDT"):
        self.writer = WriterSegment.create("feed.binance.0", BOARDS, namespace=namespace)
        self.reader = ReaderSegment.attach("feed.binance.0", namespace=namespace)
        boards = Boards(*(self.writer.board(spec.name) for spec in BOARDS))
        self.slot = SymbolSlot(symbol, 1, boards, self.writer.counters, params=PARAMS)
        self.slot.recall(self.reader.board("samples"), NOW_NS)
        self.tag = self.slot.tag
        self.trades = self.reader.board("trades").stream()

    def read(self, board="bbo"):
        return self.reader.board(board).read(1, self.tag)

    def count(self, counter):
        counters = self.reader.counters
        assert isinstance(counters, CounterReader)
        return counters[counter]

    def close(self):
        self.writer.close()

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
        bench.slot.on_ticker(ticker(number, 100 + number, 106), number)
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
        bench.slot.on_ticker(ticker(number + second, 1000 + second % 3, 1010), now_ns)
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


def test_a_venue_that_was_set_back_is_followed_and_counted(bench):
    bench.trust()
    bench.slot.on_ticker(ticker(1000), 0)
    bench.slot.order.allow_reset()
    assert not bench.slot.on_ticker(ticker(5), 1)
    assert bench.slot.on_ticker(ticker(6, 50, 51), 1 + RESET_NS)
    bench.slot.flush(2 * RESET_NS)
    assert (bench.read().bid_px_e9, bench.read().venue_seq) == (50 * E9, 6)
    assert bench.count(Counter.feeds_sequence_reset) == 1


# --- what cannot be right -------------------------------------------------------------------------


def good(bench, number=1000, at_ns=E9):
    """Bring the top to where it is trusted."""
    bench.trust()
    bench.slot.on_ticker(ticker(number), at_ns)
    bench.slot.flush(at_ns)
    assert bench.read().flags == 0


def test_a_ticker_whose_id_is_far_ahead_is_refused_and_keeps_no_later_one_out(bench):
    good(bench)
    assert not bench.slot.on_ticker(ticker(2**63 - 1, 1, 9_000_000), 2 * E9)
    bench.slot.flush(2 * E9)
    found = bench.read()
    assert (found.bid_px_e9, found.venue_seq, found.flags) == (100 * E9, 1000, Flag.SUSPECT)
    assert bench.slot.ticker_ns == E9, "a refused ticker is no sign of life"
    assert bench.count(Counter.feeds_ids_refused) == 1
    assert bench.slot.on_ticker(ticker(1001), 2 * E9)
    bench.slot.flush(2 * E9)
    assert (bench.read().flags, bench.read().venue_seq) == (0, 1001)
    assert not bench.slot.order.needs_reset


def test_a_ticker_that_comes_late_is_no_sign_of_life_either(bench):
    good(bench)
    assert not bench.slot.on_ticker(ticker(999), 2 * E9)
    assert bench.slot.ticker_ns == E9
    bench.slot.on_trade(trade(7), 1, 1)
    assert not bench.slot.on_trade(trade(7), 3 * E9, 3 * E9)
    assert bench.slot.trade_ns == 1


def test_a_trade_whose_id_is_far_ahead_is_refused_and_keeps_no_later_one_out(bench):
    good(bench)
    assert bench.slot.on_trade(trade(5), 2 * E9, 2 * E9)
    assert not bench.slot.on_trade(trade(2**63 - 1, 1), 2 * E9, 2 * E9)
    assert bench.slot.on_trade(trade(6), 2 * E9, 2 * E9)
    assert [found.trade_id for found in bench.trades.take()] == [5, 6]
    assert bench.count(Counter.feeds_ids_refused) == 1
    bench.slot.flush(3 * E9)
    assert bench.read().flags == 0


def test_an_id_that_keeps_all_others_out_is_doubted_and_then_left(bench):
    good(bench)
    assert bench.slot.on_ticker(ticker(1000 + STEP_MAX, 99), 2 * E9), "within the bound"
    for turn in range(4):
        assert not bench.slot.on_ticker(ticker(1001 + turn), 2 * E9 + turn * STUCK_NS // 3)
        bench.slot.flush(3 * E9)
        assert bench.read().flags == (0 if turn < 3 else Flag.SUSPECT)
    assert bench.slot.order.needs_reset
    bench.slot.order.allow_reset()
    assert not bench.slot.on_ticker(ticker(1010), 3 * E9)
    assert bench.slot.on_ticker(ticker(1011), 3 * E9 + RESET_NS)
    bench.slot.flush(6 * E9)
    assert (bench.read().flags, bench.read().venue_seq) == (0, 1011)


@pytest.mark.parametrize(("bid", "ask"), [(97, 101), (100, 104), (1, 9_000_000), (1000, 1001)])
def test_a_price_far_from_the_trusted_ones_is_suspect_until_the_next_ticker(bench, bid, ask):
    good(bench)
    assert bench.slot.on_ticker(ticker(1001, bid, ask), 2 * E9)
    assert not bench.slot.tick(2 * E9), "it goes into no return"
    assert not bench.slot.sample(SECOND, 2 * E9)
    bench.slot.flush(2 * E9)
    assert bench.read().flags == Flag.SUSPECT
    assert bench.count(Counter.feeds_tops_doubted) == 1
    bench.slot.judge()
    assert not bench.slot.flush(2 * E9), "it stays what it is"
    bench.slot.on_ticker(ticker(1002), 3 * E9)
    bench.slot.flush(3 * E9)
    assert bench.read().flags == 0


def test_a_jump_is_confirmed_by_the_next_ticker_near_it(bench):
    good(bench)
    for number, flags in ((1001, Flag.SUSPECT), (1002, 0), (1003, 0)):
        bench.slot.on_ticker(ticker(number, 110, 111), number * E9)
        bench.slot.flush(number * E9)
        assert bench.read().flags == flags


def test_a_jump_is_confirmed_by_a_trade_near_both_its_sides_alone(bench):
    good(bench)
    bench.slot.on_ticker(ticker(1001, 110, 111), 2 * E9)
    for number, px, flags in ((1, 100, Flag.SUSPECT), (2, 110, 0)):
        bench.slot.on_trade(trade(number, px), 2 * E9, 2 * E9)
        bench.slot.flush(2 * E9)
        assert bench.read().flags == flags
    bench.slot.on_ticker(ticker(1002, 110, 112), 2 * E9)
    bench.slot.flush(2 * E9)
    assert bench.read().flags == 0, "it is what the next is compared with"


def test_tops_without_a_sane_spread_do_not_confirm_each_other(bench):
    bench.trust()
    for number in range(1, 5):
        bench.slot.on_ticker(ticker(number, 1, 9_000_000), number)
        bench.slot.on_trade(trade(number, 100), number, number)
        bench.slot.flush(number)
        assert bench.read().flags == Flag.SUSPECT


@pytest.mark.parametrize("px", [99, 102])
def test_trades_that_go_on_beyond_the_top_make_it_suspect_until_the_next_ticker(bench, px):
    good(bench)
    for number, after_ns, flags in ((1, 0, 0), (2, BEYOND_NS, 0), (3, BEYOND_NS + 1, Flag.SUSPECT)):
        bench.slot.on_trade(trade(number, px), 2 * E9 + after_ns, 1)
        bench.slot.flush(3 * E9)
        assert bench.read().flags == flags
    assert bench.count(Counter.feeds_tops_contradicted) == 1
    bench.slot.on_trade(trade(4, px), 4 * E9, 1)
    assert bench.count(Counter.feeds_tops_contradicted) == 1
    bench.slot.on_ticker(ticker(1001), 5 * E9)
    bench.slot.on_trade(trade(5, px), 5 * E9, 1)
    bench.slot.flush(5 * E9)
    assert bench.read().flags == 0


def test_trades_within_the_top_or_parted_by_a_ticker_say_nothing_against_it(bench):
    good(bench)
    for second in range(2, 6):
        bench.slot.on_ticker(ticker(1000 + second), second * E9)
        bench.slot.on_trade(trade(2 * second, 99), second * E9, 1)
        for px in (100, 101):
            bench.slot.on_trade(trade(2 * second + px - 99, px), second * E9 + E9 // 2, 1)
        bench.slot.flush(second * E9)
        assert bench.read().flags == 0


# --- the past that others saw ---------------------------------------------------------------------


MID = 100 * E9 + E9 // 2


def live(bench, *seconds):
    """Bring the top to where it is trusted, and sample these seconds."""
    bench.slot.on_ticker(ticker(1), SECOND * E9)
    bench.trust()
    for second in seconds:
        bench.slot.tick(second * E9)
        assert bench.slot.sample(second, second * E9)


def past(first, last, px=MID):
    return {second: px + second % 7 for second in range(first, last + 1)}


def shown(bench):
    """The samples board as a reader has it: what stands behind its last step back."""
    run = bench.reader.board("samples").history(1, 126, bench.tag)
    rows = [(int(r["wall_ns"]) // E9, int(r["mid_px_e9"]), int(r["proof"])) for r in run]
    first = max((at for at in range(1, len(rows)) if rows[at][0] <= rows[at - 1][0]), default=0)
    return rows[first:]


def test_closes_fill_the_seconds_before_the_first_sample(bench):
    live(bench, SECOND, SECOND + 1)
    assert bench.slot.fill(past(SECOND - 60, SECOND + 1), SECOND + 1, 5) == 60
    rows = shown(bench)
    assert [second for second, _, _ in rows] == list(range(SECOND - 60, SECOND + 2))
    assert [proof for _, _, proof in rows] == [Proof.WITNESS] * 60 + [Proof.NONE] * 2
    assert rows[0][1] == past(SECOND - 60, SECOND)[SECOND - 60]
    assert [mid for _, mid, _ in rows[-2:]] == [MID, MID], "what was sampled here wins"
    assert bench.slot.features.volatility.count == 61


def test_a_filled_record_says_when_it_was_read_and_what_it_stands_for(bench):
    live(bench, SECOND)
    bench.slot.fill(past(SECOND - 5, SECOND - 1), SECOND, 777)
    run = bench.reader.board("samples").history(1, 126, bench.tag)
    first = next(r for r in run if r["proof"] == Proof.WITNESS)
    assert (first["recv_ns"], first["publish_ns"], first["flags"]) == (777, 777, 0)
    assert first["venue_ts_ns"] == first["wall_ns"] == (SECOND - 5) * E9
    last = run[-1]
    assert (last["recv_ns"], last["publish_ns"]) == (SECOND * E9, SECOND * E9), "as it was"


def test_the_volatility_is_that_of_the_whole_history(bench):
    live(bench, SECOND, SECOND + 1)
    closes = {second: MID + (second % 2) * E9 // 10 for second in range(SECOND - 100, SECOND)}
    bench.slot.fill(closes, SECOND + 1, 5)
    assert bench.slot.features.volatility.sigma == pytest.approx(1e-3, rel=0.05)
    before = bench.slot.features.volatility.count
    bench.slot.tick((SECOND + 2) * E9)
    bench.slot.sample(SECOND + 2, (SECOND + 2) * E9)
    assert bench.slot.features.volatility.count == before + 1
    assert shown(bench)[-1][0] == SECOND + 2


def test_for_the_volatility_too_the_sampled_mid_wins(bench):
    live(bench, SECOND, SECOND + 1)
    closes = dict.fromkeys(range(SECOND - 60, SECOND), MID) | {SECOND: MID + E9, SECOND + 1: E9}
    bench.slot.fill(closes, SECOND + 1, 5)
    assert bench.slot.features.volatility.sigma == pytest.approx(0.1e-4), "the floor"


def test_one_second_before_the_first_sample_is_filled_as_well(bench):
    live(bench, SECOND)
    assert bench.slot.fill(past(SECOND - 2, SECOND - 1), SECOND, 5) == 2
    assert bench.slot.features.volatility.count == 2


def test_samples_of_a_clock_that_was_set_back_since_are_left_out(bench):
    live(bench, SECOND, SECOND + 1)
    assert bench.slot.fill(past(SECOND - 600, SECOND - 500), SECOND - 500, 5) == 101
    assert shown(bench)[-1][0] == SECOND - 500


def test_of_more_than_the_board_shows_the_newest_are_taken(bench):
    live(bench, SECOND)
    assert bench.slot.fill(past(SECOND - 900, SECOND), SECOND, 5) == 125
    rows = shown(bench)
    assert [second for second, _, _ in rows] == list(range(SECOND - 125, SECOND + 1))
    run = bench.reader.board("samples").history(1, 126, bench.tag)
    assert len(run) == len(rows), "then nothing older is in reach"


def test_a_second_that_is_not_over_is_left_to_its_mid(bench):
    live(bench, SECOND)
    bench.slot.fill(past(SECOND - 5, SECOND + 3), SECOND, 5)
    assert [second for second, _, _ in shown(bench)] == list(range(SECOND - 5, SECOND + 1))


def test_seconds_in_a_hole_are_filled_between_those_that_were_seen(bench):
    live(bench, SECOND, SECOND + 1, SECOND + 9)
    assert bench.slot.fill(past(SECOND, SECOND + 9), SECOND + 9, 5) == 7
    rows = shown(bench)
    assert [second for second, _, _ in rows] == list(range(SECOND, SECOND + 10))
    assert [proof for _, _, proof in rows] == [0, 0, *[Proof.WITNESS] * 7, 0]


@pytest.mark.parametrize(
    ("closes", "what"),
    [
        ({}, "nothing"),
        ({SECOND: MID, SECOND + 1: MID}, "what was sampled, or is not over"),
        (past(SECOND - 60, SECOND - 1, MID * 101 // 100), "another price"),
        (past(SECOND - 60, SECOND - 1, MID * 99 // 100), "another price"),
    ],
)
def test_closes_that_are_of_no_use_change_nothing(bench, closes, what):
    live(bench, SECOND)
    version = bench.reader.board("samples").version(1)
    volatility = bench.slot.features.volatility
    before = (volatility.count, volatility.sigma)
    assert bench.slot.fill(closes, SECOND, 5) == 0, what
    assert bench.reader.board("samples").version(1) == version
    assert (volatility.count, volatility.sigma) == before


def test_closes_that_end_long_before_now_change_nothing(bench):
    bench.slot.on_ticker(ticker(1), 5)
    bench.trust()
    assert bench.slot.fill(past(SECOND - 60, SECOND - 4), SECOND, 5) == 0
    assert bench.slot.fill(past(SECOND - 60, SECOND - 3), SECOND, 5) == 58


def test_closes_that_leave_a_hole_before_the_newest_seconds_change_nothing(bench):
    live(bench, SECOND, SECOND + 1)
    assert bench.slot.fill(past(SECOND - 60, SECOND - 4), SECOND + 1, 5) == 0
    assert bench.slot.fill(past(SECOND - 60, SECOND - 3), SECOND + 1, 5) == 58
    bench.slot.tick((SECOND + 20) * E9)
    bench.slot.sample(SECOND + 20, (SECOND + 20) * E9)
    assert bench.slot.fill(past(SECOND - 90, SECOND + 15), SECOND + 20, 5) == 0
    assert bench.slot.fill(past(SECOND - 90, SECOND + 19), SECOND + 20, 5) > 0


@pytest.mark.parametrize("doubt", ["is_resync", "is_silent", "is_doubted"])
def test_without_a_trusted_top_nothing_is_filled(bench, doubt):
    live(bench, SECOND)
    setattr(bench.slot, doubt, True)
    bench.slot.judge()
    assert bench.slot.fill(past(SECOND - 60, SECOND - 1), SECOND, 5) == 0


def test_filling_gives_no_trust(bench):
    live(bench, SECOND)
    bench.slot.flush(5)
    before = bench.read().version
    bench.slot.fill(past(SECOND - 60, SECOND - 1), SECOND, 5)
    assert bench.read().version == before
    bench.slot.is_resync = True
    bench.slot.judge()
    bench.slot.tick((SECOND + 1) * E9)
    assert bench.read("features").flags & Flag.RESYNC


def test_a_start_and_a_long_hole_lack_their_past_and_a_short_one_does_not(bench):
    assert not bench.slot.lacks_past
    live(bench, SECOND)
    assert bench.slot.lacks_past
    bench.slot.lacks_past = False
    for hole_s, lacks in ((1.9, False), (2.0, True)):
        now_ns = bench.slot._good_ns
        bench.slot.is_resync = True
        bench.slot.judge()
        bench.slot.tick(now_ns + E9)
        bench.slot.is_resync = False
        bench.slot.judge()
        bench.slot.tick(now_ns + round(hole_s * E9))
        assert bench.slot.lacks_past is lacks


def test_a_wall_clock_that_was_set_back_forgets_what_was_taken(bench):
    live(bench, SECOND, SECOND + 1)
    bench.slot.sample(SECOND - 500, (SECOND + 2) * E9)
    assert bench.slot.live_count == 1
    assert bench.slot.fill(past(SECOND - 560, SECOND), SECOND - 500, 5) == 60
    assert [second for second, _, _ in shown(bench)] == list(range(SECOND - 560, SECOND - 499))


def test_a_restarted_feed_recalls_what_was_filled_but_calls_it_not_its_own(namespace):
    bench = Bench(namespace)
    live(bench, SECOND, SECOND + 1)
    bench.slot.fill(past(SECOND - 60, SECOND - 1), SECOND + 1, (SECOND + 1) * E9)
    bench.writer.close()
    again = Bench(namespace)
    assert again.slot.features.volatility.count == 61
    assert again.slot.live_count == 2
    assert [s.second for s in again.slot._live] == [SECOND, SECOND + 1]
    assert again.slot.features._times == [SECOND * E9, (SECOND + 1) * E9]
    again.writer.close()


def test_the_tick_size_is_unknown_until_the_rules_are(bench):
    live(bench, SECOND)
    bench.slot.publish_now(5)
    assert bench.read().tick_e9 == 0
    bench.slot.rules = Rules(10_000_000, 10_000, 10_000)
    bench.slot.publish_now(6)
    assert bench.read().tick_e9 == 10_000_000


def trade_on(bench, first, last):
    """A top, a sample and features for each of some seconds."""
    bench.trust()
    for number in range(first, last):
        bench.slot.on_ticker(ticker(number), number * E9)
        bench.slot.flush(number * E9)
        bench.slot.sample(SECOND + number, number * E9)
        bench.slot.tick(number * E9)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.fixed_dictionaries({}, optional={b: damages(b) for b in ("bbo", "features", "samples")}))
def test_whatever_its_predecessor_left_a_slot_starts_and_publishes(namespace, damage):
    with closing(Bench(namespace)) as bench:
        trade_on(bench, 1, 7)
        for board, fields in damage.items():
            spoil(bench.writer, board, 1, fields)
    with closing(Bench(namespace)) as bench:
        trade_on(bench, 7, 12)
        assert bench.read().bid_px_e9 == 100 * E9
        bench.writer.close(remove=True)


@pytest.mark.parametrize("field", ["mid_px_e9", "publish_ns", "wall_ns"])
@pytest.mark.parametrize("value", [bytes(8), b"\x7f" * 8, b"\xff" * 8])
def test_a_sample_that_cannot_be_is_not_gone_on_from(namespace, field, value):
    with closing(Bench(namespace)) as bench:
        trade_on(bench, 1, 7)
        half_ns = (13 * E9 // 2).to_bytes(8, "little")
        spoil(bench.writer, "samples", 1, {"publish_ns": half_ns, field: value})
    with closing(Bench(namespace)) as bench:
        trade_on(bench, 7, 8)
        bench.slot.tick(15 * E9 // 2)  # A second after what was spoilt.
        found = bench.read("features")
        assert (found.return_1s_e9, found.return_5s_e9) == (0, 0)
        assert found.sample_count <= 7
