from dataclasses import replace

import pytest

from cache.counters import Counter
from cache.layout import PAIR_BBO, Flag, Proof, tag_of
from feeds import pair as pairs

pytestmark = pytest.mark.usefixtures("book_twin")

BIDS, ASKS = [("0.3", "30"), ("0.4", "10")], [("0.9", "90"), ("0.5", "20")]
CENT = 10_000_000


@pytest.fixture
def open_desk(desk, make):
    """A desk whose market has both its books."""
    desk.feed(make.both_books(BIDS, ASKS))
    return desk


def test_a_market_without_a_book_is_in_warmup(desk):
    top = desk.top
    assert top.flags == Flag.WARMUP | Flag.RESYNC
    assert (top.yes_bid_px_e9, top.no_ask_px_e9, top.proof) == (0, 0, Proof.NONE)


def test_both_books_are_one_record_with_both_tops(open_desk, make):
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.no == (0.5, 20, 0.6, 10)
    top = open_desk.top
    assert (top.flags, top.yes_flags, top.no_flags) == (0, 0, 0)
    assert (top.proof, top.proven_ns, top.recv_ns) == (Proof.SNAPSHOT, 2_000, 2_000)
    assert top.venue_ts_ns == make.T0 * 1_000_000
    assert top.tick_e9 == CENT


def test_the_array_of_both_books_is_one_publication(desk, make):
    before = desk.top.version
    desk.feed(make.both_books(BIDS, ASKS))
    assert desk.top.version == before + 1


def test_a_change_that_agrees_with_its_best_prices_is_published_at_once(open_desk, make):
    version = open_desk.top.version
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=5))
    top = open_desk.top
    assert open_desk.yes == (0.45, 7, 0.5, 20)
    assert open_desk.no == (0.5, 20, 0.55, 7)
    assert (top.version, top.proof) == (version + 1, Proof.BEST_PRICES)
    assert (top.recv_ns, top.proven_ns) == (3_000, 3_000)
    assert top.venue_ts_ns == (make.T0 + 5) * 1_000_000


def test_the_batch_number_grows_with_every_publication(open_desk, make):
    first = open_desk.top.batch
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    assert open_desk.top.batch == first + 1


def test_a_batch_is_held_until_the_book_agrees_with_its_end(open_desk, make):
    # A sale of 0.38 arrives while the bid of 0.4 still stands; the next frame removes it.
    before = open_desk.top.version
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    assert open_desk.top.version == before
    open_desk.feed(make.both_changes("BUY", "0.4", "0", ("0.3", "0.38"), ms=1))
    assert open_desk.top.version == before + 1
    assert open_desk.yes == (0.3, 30, 0.38, 9)
    assert open_desk.top.flags == 0


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        (("0.41", "0.5"), ("0.5", "0.6")),
        (("0.4", "0.51"), ("0.5", "0.6")),
        (("0.4", "0.5"), ("0.49", "0.6")),
        (("0.4", "0.5"), ("0.5", "0.61")),
    ],
)
def test_each_of_the_four_best_prices_must_agree(open_desk, make, yes, no):
    version = open_desk.top.version
    frame = make.changes(
        make.change(make.YES, "BUY", "0.2", "1", yes), make.change(make.NO, "SELL", "0.8", "1", no)
    )
    open_desk.feed(frame)
    assert open_desk.top.version == version
    assert open_desk.wait(5_000_000)
    assert open_desk.top.flags == Flag.SUSPECT


def test_a_batch_that_never_agrees_is_published_as_suspect(open_desk, make):
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    assert not open_desk.wait(4_999_999)
    assert open_desk.wait(1)
    top = open_desk.top
    assert top.flags == Flag.SUSPECT | Flag.CROSSED
    assert top.yes_flags == top.no_flags == Flag.SUSPECT | Flag.CROSSED
    assert open_desk.yes == (0.4, 10, 0.38, 9)


def test_only_the_token_that_disagrees_is_suspect(open_desk, make):
    wrong = make.changes(
        make.change(make.YES, "BUY", "0.2", "1", ("0.41", "0.5")),
        make.change(make.NO, "SELL", "0.8", "1", ("0.5", "0.6")),
    )
    open_desk.feed(wrong)
    open_desk.wait(5_000_000)
    assert (open_desk.top.yes_flags, open_desk.top.no_flags) == (Flag.SUSPECT, 0)
    assert open_desk.top.flags == Flag.SUSPECT


def test_the_next_batch_that_agrees_takes_suspect_back(open_desk, make):
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    open_desk.wait(5_000_000)
    open_desk.feed(make.both_changes("BUY", "0.4", "0", ("0.3", "0.38"), ms=2))
    assert open_desk.top.flags == 0
    assert open_desk.top.proof == Proof.BEST_PRICES


def test_an_unproven_top_keeps_the_time_of_its_last_proof(open_desk, make):
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    open_desk.wait(5_000_000)
    assert open_desk.top.proven_ns == 2_000
    assert open_desk.top.recv_ns == 3_000


def test_best_prices_that_come_before_their_batch_hold_it(open_desk, make):
    version = open_desk.top.version
    best = {
        "event_type": "best_bid_ask", "market": make.MARKET, "asset_id": make.YES,
        "best_bid": "0.45", "best_ask": "0.5", "spread": "0.05", "timestamp": str(make.T0 + 6),
    }  # fmt: skip
    open_desk.feed(best)
    assert open_desk.top.version == version
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=5))
    assert open_desk.top.version == version + 1
    assert open_desk.top.flags == 0
    assert not open_desk.wait(10_000_000)


def test_best_prices_that_agree_publish_nothing(open_desk, make):
    version = open_desk.top.version
    best = {
        "event_type": "best_bid_ask", "market": make.MARKET, "asset_id": make.NO,
        "best_bid": "0.5", "best_ask": "0.6", "timestamp": str(make.T0 + 6),
    }  # fmt: skip
    open_desk.feed(best)
    assert open_desk.top.version == version


def test_best_prices_whose_batch_never_comes_are_suspect(open_desk, make):
    best = {
        "event_type": "best_bid_ask", "market": make.MARKET, "asset_id": make.YES,
        "best_bid": "0.45", "best_ask": "0.5", "timestamp": str(make.T0 + 6),
    }  # fmt: skip
    open_desk.feed(best)
    open_desk.wait(5_000_000)
    assert open_desk.top.yes_flags == Flag.SUSPECT


def test_best_prices_older_than_the_book_are_ignored(open_desk, make):
    best = {
        "event_type": "best_bid_ask", "market": make.MARKET, "asset_id": make.YES,
        "best_bid": "0.2", "best_ask": "0.5", "timestamp": str(make.T0 - 1),
    }  # fmt: skip
    open_desk.feed(best)
    assert not open_desk.wait(10_000_000)
    assert open_desk.top.flags == 0
    assert open_desk.counted(Counter.feeds_updates_outdated) == 1


def test_empty_sides_are_flagged_and_agree_with_zero_and_one(open_desk, make):
    gone = make.changes(
        make.change(make.YES, "BUY", "0.3", "0", ("0", "0.5")),
        make.change(make.YES, "BUY", "0.4", "0", ("0", "0.5")),
        make.change(make.NO, "SELL", "0.7", "0", ("0.5", "1")),
        make.change(make.NO, "SELL", "0.6", "0", ("0.5", "1")),
    )
    open_desk.feed(gone)
    top = open_desk.top
    assert (top.yes_flags, top.no_flags) == (Flag.NO_BID, Flag.NO_ASK)
    assert top.flags == Flag.NO_BID | Flag.NO_ASK
    assert open_desk.yes == (0, 0, 0.5, 20)
    assert open_desk.no == (0.5, 20, 0, 0)


def test_one_tokens_book_shows_the_other_as_its_mirror(desk, make):
    desk.feed(make.book(make.YES, BIDS, ASKS))
    assert desk.yes == (0.4, 10, 0.5, 20)
    assert desk.no == (0.5, 20, 0.6, 10)
    assert desk.top.flags == 0
    one = make.changes(make.change(make.YES, "BUY", "0.45", "7", ("0.45", "0.5")))
    desk.feed(one)
    assert desk.no == (0.5, 20, 0.55, 7)
    assert desk.top.proof == Proof.BEST_PRICES


def test_the_second_token_alone_is_mirrored_too(desk, make):
    desk.feed(make.book(make.NO, BIDS, ASKS))
    assert desk.no == (0.4, 10, 0.5, 20)
    assert desk.yes == (0.5, 20, 0.6, 10)


def test_two_books_that_come_apart_are_not_mixed(open_desk, make):
    version = open_desk.top.version
    newer = [("0.41", "1")], [("0.42", "2")]
    open_desk.feed(make.book(make.YES, *newer, ms=3))
    assert open_desk.top.version == version
    open_desk.feed(make.book(make.NO, [("0.58", "2")], [("0.59", "1")], ms=3))
    assert open_desk.top.version == version + 1
    assert (open_desk.yes, open_desk.no) == ((0.41, 1, 0.42, 2), (0.58, 2, 0.59, 1))


def test_a_token_outrun_by_its_sibling_is_shown_as_the_mirror(open_desk, make):
    open_desk.feed(make.book(make.YES, [("0.41", "1")], [("0.42", "2")], ms=3))
    open_desk.wait(5_000_000)
    assert open_desk.no == (0.58, 2, 0.59, 1)
    assert open_desk.top.flags == 0
    assert not open_desk.pair.is_whole
    open_desk.feed(make.book(make.NO, [("0.58", "2")], [("0.59", "1")], ms=4))
    assert open_desk.pair.is_whole


def test_changes_before_any_book_are_no_book(desk, make):
    desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "1")))
    assert desk.top.flags & Flag.WARMUP
    desk.feed(make.both_books(BIDS, ASKS))
    assert desk.yes == (0.4, 10, 0.5, 20)


def test_a_change_the_book_already_contains_is_left_out(open_desk, make):
    before = open_desk.top
    open_desk.feed(make.both_changes("BUY", "0.39", "7", ("0.4", "0.5"), ms=-1))
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.version == before.version
    assert open_desk.counted(Counter.feeds_updates_outdated) == 2
    assert not open_desk.wait(10**9)
    assert open_desk.top.flags == 0


def test_a_change_that_is_left_out_and_contradicts_the_book_makes_it_suspect(open_desk, make):
    version = open_desk.top.version
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=-1))
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.version == version
    open_desk.wait(5_000_000)
    assert open_desk.top.flags == Flag.SUSPECT
    open_desk.feed(make.both_changes("BUY", "0.46", "7", ("0.46", "0.5"), ms=1))
    assert open_desk.top.flags == 0


def test_a_book_stamped_ahead_of_our_clock_outdates_nothing_that_follows(open_desk, make):
    open_desk.feed(make.both_books(BIDS, ASKS, ms=2_000))
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    assert open_desk.yes[0] == 0.45
    assert open_desk.top.flags == 0
    assert open_desk.counted(Counter.feeds_updates_outdated) == 0


def test_a_book_stamped_far_ahead_of_our_clock_is_refused(open_desk, make):
    open_desk.feed(make.both_books([("0.2", "1")], ASKS, ms=2_001))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 2
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.flags == Flag.SUSPECT
    open_desk.ahead_ns = 1_000_000
    open_desk.feed(make.both_books([("0.2", "1")], ASKS, ms=2_001))
    assert (open_desk.yes[0], open_desk.top.flags) == (0.2, 0)


@pytest.mark.parametrize("price", ["0.4567", "0.455", "0.000000001"])
def test_a_change_off_the_grid_is_refused_and_its_market_in_doubt(open_desk, make, price):
    entry = make.change(make.YES, "BUY", price, "7", (price, "0.5"))
    open_desk.feed(make.changes(entry))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.flags == Flag.SUSPECT
    assert open_desk.pair.is_suspect  # so its whole book is asked for


def test_a_book_off_the_grid_is_refused_unless_it_brings_its_tick(open_desk, make):
    levels = [("0.401", "1")], [("0.499", "1")]
    open_desk.feed(make.book(make.YES, *levels))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert open_desk.top.flags == Flag.SUSPECT
    books = make.both_books(*levels)
    open_desk.feed([one | {"tick_size": "0.001"} for one in books])
    assert (open_desk.yes, open_desk.top.flags) == ((0.401, 1, 0.499, 1), 0)
    assert open_desk.top.tick_e9 == CENT // 10


def tick_change(make, tick):
    return {
        "event_type": "tick_size_change", "market": make.MARKET, "asset_id": make.YES,
        "old_tick_size": "0.01", "new_tick_size": tick, "timestamp": str(make.T0 + 1),
    }  # fmt: skip


def test_prices_of_a_finer_tick_are_taken_after_its_event(open_desk, make):
    open_desk.feed(tick_change(make, "0.001"))
    open_desk.feed(make.both_changes("BUY", "0.455", "7", ("0.455", "0.5"), ms=2))
    assert (open_desk.yes[0], open_desk.top.flags) == (0.455, 0)


@pytest.mark.parametrize("tick", ["0.3", "0.00001", "1", "0"])
def test_a_tick_that_is_none_is_refused(open_desk, make, tick):
    open_desk.feed(tick_change(make, tick))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert (open_desk.top.tick_e9, open_desk.top.flags) == (CENT, Flag.SUSPECT)


def test_a_coarser_tick_puts_the_books_in_doubt_until_they_come_again(open_desk, make):
    open_desk.feed(tick_change(make, "0.1"))
    assert (open_desk.top.tick_e9, open_desk.top.flags) == (10 * CENT, Flag.SUSPECT)
    change = make.both_changes("BUY", "0.4", "7", ("0.4", "0.5"), ms=2)
    open_desk.feed(change)
    assert open_desk.top.flags == Flag.SUSPECT
    books = make.both_books([("0.2", "1")], [("0.5", "20")], ms=3)
    open_desk.feed([one | {"tick_size": "0.1"} for one in books])
    assert open_desk.top.flags == 0


def test_a_coarser_tick_amid_a_batch_is_not_forgotten_at_its_end(open_desk, make):
    open_desk.feed(make.both_changes("SELL", "0.3", "9", ("0.2", "0.3"), ms=1))
    open_desk.feed(tick_change(make, "0.1"))
    yes, no = ("0.2", "0.3"), ("0.7", "0.8")
    entries = [
        *(make.change(make.YES, "BUY", price, "0", yes) for price in ("0.3", "0.4")),
        *(make.change(make.NO, "SELL", price, "0", no) for price in ("0.7", "0.6")),
        make.change(make.YES, "BUY", "0.2", "5", yes),
        make.change(make.NO, "SELL", "0.8", "5", no),
    ]
    open_desk.feed(make.changes(*entries, ms=1))
    assert open_desk.yes == (0.2, 5, 0.3, 9)
    assert open_desk.top.flags == Flag.SUSPECT


def test_levels_cannot_grow_without_bounds(open_desk, make):
    for start in range(0, 20_000, 500):
        entries = [
            make.change(make.YES, "BUY", f"0.{number:06d}", "7", ("0.4", "0.5"))
            for number in range(start + 1, start + 501)
        ]
        open_desk.feed(make.changes(*entries))
    assert len(open_desk.pair.first.bids) == 2
    assert open_desk.top.flags == Flag.SUSPECT


def test_two_books_of_one_array_that_are_no_mirrors_are_suspect(open_desk, make):
    version = open_desk.top.version
    pair = [
        make.book(make.YES, [("0.4", "1")], [("0.5", "1")]),
        make.book(make.NO, [("0.1", "1")], [("0.2", "1")]),
    ]
    open_desk.feed(pair)
    assert open_desk.top.version == version
    open_desk.wait(5_000_000)
    assert open_desk.top.flags == Flag.SUSPECT
    assert open_desk.pair.is_suspect
    open_desk.feed(make.both_books(BIDS, ASKS, ms=1))
    assert open_desk.top.flags == 0


def test_changes_of_both_tokens_that_are_no_mirrors_are_suspect(open_desk, make):
    frame = make.changes(
        make.change(make.YES, "BUY", "0.45", "7", ("0.45", "0.5")),
        make.change(make.NO, "SELL", "0.57", "7", ("0.5", "0.57")),
    )
    open_desk.feed(frame)
    open_desk.wait(5_000_000)
    assert open_desk.top.flags == Flag.SUSPECT


@pytest.mark.parametrize(("bid", "ask"), [("0.5", "0.5"), ("0.6", "0.5")])
def test_a_book_crossed_in_itself_is_thrown_away_and_the_market_in_doubt(open_desk, make, bid, ask):
    open_desk.feed(make.both_books([(bid, "1")], [(ask, "1")], ms=1))
    assert open_desk.counted(Counter.feeds_books_crossed) == 2
    assert open_desk.counted(Counter.feeds_frames_rejected) == 2
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.flags == Flag.SUSPECT
    assert open_desk.pair.is_suspect
    open_desk.feed(make.both_books(BIDS, ASKS, ms=2))
    assert open_desk.top.flags == 0


def test_a_batch_whose_end_is_crossed_is_suspect_though_it_is_as_claimed(open_desk, make):
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.4", "0.38"), ms=1))
    open_desk.wait(5_000_000)
    assert open_desk.top.flags == Flag.SUSPECT | Flag.CROSSED
    assert open_desk.pair.is_suspect


def test_a_print_amid_a_batch_does_not_end_its_hold(open_desk, make):
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    trade = {
        "event_type": "last_trade_price", "market": make.MARKET, "asset_id": make.NO,
        "price": "0.51", "size": "11", "side": "SELL", "timestamp": str(make.T0 + 1),
    }  # fmt: skip
    open_desk.feed(trade)
    assert open_desk.wait(5_000_000)
    assert open_desk.top.flags == Flag.SUSPECT | Flag.CROSSED


def test_a_frame_without_changes_proves_nothing(open_desk, make):
    before = open_desk.top
    open_desk.feed(make.changes())
    assert open_desk.top.version == before.version


def test_a_lost_connection_keeps_the_prices_and_says_resync(open_desk):
    open_desk.channel.on_down()
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.flags == Flag.RESYNC
    assert open_desk.top.proven_ns == 2_000


def test_a_new_connection_is_resync_until_its_whole_book_comes(open_desk, make):
    open_desk.channel.on_down()
    open_desk.pair.on_subscribed()
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=9))
    assert open_desk.top.flags == Flag.RESYNC
    open_desk.feed(make.both_books([("0.2", "1")], ASKS, ms=10))
    assert open_desk.top.flags == 0
    assert open_desk.yes == (0.2, 1, 0.5, 20)


def test_what_is_read_from_a_backlog_is_resync_and_proves_nothing(open_desk, make):
    open_desk.channel.on_behind(True)
    assert open_desk.top.flags == Flag.RESYNC
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=9))
    assert open_desk.yes[0] == 0.45
    assert open_desk.top.flags == Flag.RESYNC
    assert open_desk.top.proven_ns == 2_000
    open_desk.channel.on_behind(False)
    assert open_desk.top.flags == 0
    open_desk.feed(make.both_changes("BUY", "0.46", "7", ("0.46", "0.5"), ms=9))
    assert open_desk.top.proven_ns == open_desk.now_ns


def test_a_trade_is_a_print_and_the_last_price_in_terms_of_the_first_token(open_desk, make):
    stream = open_desk.reader.board("trades").stream()
    trade = {
        "event_type": "last_trade_price", "market": make.MARKET, "asset_id": make.NO,
        "price": "0.51", "size": "11.276594", "side": "SELL", "timestamp": str(make.T0 + 40),
        "fee_rate_bps": "0", "transaction_hash": "0x1",
    }  # fmt: skip
    open_desk.feed(trade)
    (found,) = stream.take()
    assert (found.px_e9, found.qty_e9, found.side) == (510_000_000, 11_276_594_000, 2)
    assert found.tag == tag_of("polymarket", make.NO)
    assert found.pair_tag == tag_of("polymarket", make.MARKET)
    assert found.venue_ts_ns == (make.T0 + 40) * 1_000_000
    assert open_desk.top.last_px_e9 == 490_000_000


def test_a_tick_change_and_a_resolution_show(open_desk, make):
    tick = {
        "event_type": "tick_size_change", "market": make.MARKET, "asset_id": make.YES,
        "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": str(make.T0 + 1),
    }  # fmt: skip
    open_desk.feed(tick)
    assert open_desk.top.tick_e9 == CENT // 10
    open_desk.feed({"event_type": "market_resolved", "market": make.MARKET, "id": "1"})
    assert open_desk.top.flags == Flag.RESOLVED


def test_depth_belongs_to_the_newest_top(open_desk, make):
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    open_desk.channel.flush_depth()
    board = open_desk.reader.board("depth")
    yes = board.read(0, tag_of("polymarket", make.YES))
    assert (yes.bid_count, yes.ask_count, yes.batch) == (3, 2, open_desk.top.batch)
    assert yes.bids[:6] == (45 * CENT, 7 * 10**9, 40 * CENT, 10**10, 30 * CENT, 3 * 10**10)
    assert yes.asks[:4] == (50 * CENT, 2 * 10**10, 90 * CENT, 9 * 10**10)
    assert set(yes.bids[6:] + yes.asks[4:]) == {0}
    no = board.read(1, tag_of("polymarket", make.NO))
    assert no.bids[:2] == (50 * CENT, 2 * 10**10)
    assert no.batch == yes.batch


def test_no_more_than_twenty_levels_a_side_are_shown(desk, make):
    bids = [(f"0.{number:02d}", "1") for number in range(10, 45)]
    desk.feed(make.both_books(bids, [("0.5", "1")]))
    desk.channel.flush_depth()
    shown = desk.reader.board("depth").read(0, 0)
    assert shown.bid_count == 20
    assert (shown.bids[0], shown.bids[38]) == (44 * CENT, 25 * CENT)


def test_a_lost_connection_shows_in_the_depth_too(open_desk, make):
    open_desk.channel.flush_depth()
    open_desk.channel.on_down()
    for slot, token in enumerate((make.YES, make.NO)):
        shown = open_desk.reader.board("depth").read(slot, tag_of("polymarket", token))
        assert shown.flags == Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK
        assert (shown.bid_count, shown.ask_count, set(shown.bids)) == (0, 0, {0})
        assert shown.batch == open_desk.top.batch


def test_depth_follows_a_backlogs_begin_and_end_so_that_both_are_of_one_batch(open_desk, make):
    open_desk.channel.flush_depth()
    for is_behind in (True, False):
        open_desk.channel.on_behind(is_behind)
        open_desk.channel.flush_depth()
        shown = open_desk.reader.board("depth").read(0, tag_of("polymarket", make.YES))
        assert shown.flags == (Flag.RESYNC if is_behind else 0)
        assert shown.batch == open_desk.top.batch


def test_fewer_levels_may_be_asked_for(open_desk, make):
    pair = open_desk.pair
    pair._boards = replace(pair._boards, depth_max=1)
    pair.publish_depth()
    shown = open_desk.reader.board("depth").read(0, tag_of("polymarket", make.YES))
    assert (shown.bid_count, shown.ask_count) == (1, 1)
    assert shown.bids[:4] == (40 * CENT, 10**10, 0, 0)


def test_mids_are_the_tops_as_they_stand(open_desk):
    open_desk.channel.publish_mids()
    open_desk.channel.publish_mids()
    board = open_desk.reader.board("mids")
    assert board.version(0) == 2
    assert board.read(0, 0).yes_bid_px_e9 == 40 * CENT
    assert board.read(0, 0).batch == open_desk.top.batch


def test_a_market_that_never_had_a_book_has_no_mids(desk):
    desk.channel.publish_mids()
    assert desk.reader.board("mids").version(0) == 0


def test_a_token_listed_alone_is_published_with_its_mirror(make):
    desk = make.Desk()
    try:
        desk.pair = pairs.Pair(make.market_info(token_ids=(make.YES, "")), 0, 0, desk.boards)
        desk.channel.add(desk.pair)
        desk.pair.on_subscribed()
        desk.feed(make.book(make.YES, BIDS, ASKS))
        desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=1))
        assert desk.yes == (0.45, 7, 0.5, 20)
        assert desk.no == (0.5, 20, 0.55, 7)
        assert desk.pair.is_whole
        desk.channel.flush_depth()
        assert desk.reader.board("depth").version(0) == 1
        assert desk.reader.board("depth").version(1) == 0
    finally:
        desk.close()


def test_a_witness_proves_the_same_record_anew_and_never_goes_back(desk, make):
    desk.feed(make.both_books([("0.4", "1")], [("0.5", "2")]))
    before = desk.top
    desk.pair.on_witnessed(desk.now_ns + 5)
    desk.pair.on_witnessed(desk.now_ns + 4)
    found = desk.top
    assert found.version == before.version + 1
    assert (found.proof, found.proven_ns) == (Proof.WITNESS, desk.now_ns + 5)
    changed = {"version", "publish_ns", "proof", "proven_ns"}
    names = [name for name in PAIR_BBO.value_names if name not in changed]
    assert [getattr(found, name) for name in names] == [getattr(before, name) for name in names]
    desk.feed(make.both_changes("BUY", "0.4", "3", ("0.4", "0.5"), ms=1))
    assert (desk.top.proof, desk.top.proven_ns) == (Proof.BEST_PRICES, desk.now_ns)


def test_only_whole_sound_books_on_a_live_connection_can_be_proven(desk, make):
    pair = desk.pair
    assert not pair.is_provable
    desk.feed(make.both_books([("0.4", "1")], [("0.5", "2")]))
    assert pair.is_provable
    pair.on_behind(True)
    assert not pair.is_provable
    pair.on_behind(False)
    desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    assert pair.held_ns
    assert not pair.is_provable
    desk.feed(make.both_books([("0.4", "1")], [("0.5", "2")], ms=2))
    assert pair.is_provable
    pair.on_lost()
    assert not pair.is_provable
    desk.feed(make.both_books([("0.4", "1")], [("0.5", "2")], ms=3))
    assert pair.is_provable
    pair.on_down()
    assert not pair.is_provable
