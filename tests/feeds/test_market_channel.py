import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.board import Miss
from cache.book_metrics import summarize
from cache.counters import Counter, Histogram
from cache.layout import Flag, tag_of
from feeds.polymarket_wire import Level
from venue.book_hash import book_hash

pytestmark = pytest.mark.usefixtures("book_twin")

BIDS, ASKS = [("0.3", "30"), ("0.4", "10")], [("0.9", "90"), ("0.5", "20")]
OTHER = 1


@pytest.fixture
def open_desk(desk, make):
    """A desk with two markets; the first has both its books."""
    desk.other = desk.list(make.market_info(OTHER), slot=1)
    desk.feed(make.both_books(BIDS, ASKS))
    return desk


def other_book(desk, make, bids, asks):
    """Feed the books of the second market."""
    for token in desk.other.market.token_ids[:1]:
        event = make.book(token, bids, asks)
        event["market"] = desk.other.market.condition_id
        desk.feed(event)


def other_top(desk):
    return desk.reader.board("pair_bbo").read(1, desk.other.tag)


def test_what_the_venue_tells_of_the_markets_is_told_apart_from_chatter(open_desk, make):
    assert open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    assert open_desk.feed(make.both_books(BIDS, ASKS))
    assert not open_desk.feed(b"PONG")
    assert not open_desk.feed(b"[]")
    assert not open_desk.feed(b"{")
    assert not open_desk.feed({"event_type": "comet"})
    assert not open_desk.feed({})


def test_a_pong_is_passed_on(open_desk):
    open_desk.feed(b"PONG", b"PONG")
    assert open_desk.pongs == 2


def test_unknown_events_are_counted_and_harm_nothing(open_desk):
    open_desk.feed({"event_type": "comet", "market": "0x1", "price": 3}, {"surprise": True})
    assert open_desk.counted(Counter.feeds_events_unknown) == 2
    assert open_desk.counted(Counter.feeds_frames_rejected) == 0
    assert open_desk.top.flags == 0


def test_events_of_other_markets_are_counted_and_ignored(open_desk, make):
    version = open_desk.top.version
    others = (
        make.changes(make.change("1", "BUY", "0.5", "1", ("0.5", "0.6")), market="0x77"),
        {"event_type": "new_market", "market": "0x77", "assets_ids": ["1", "2"]},
        make.book("9", [], []) | {"market": "0x77"},
    )
    for event in others:
        assert not open_desk.feed(event), "it proves nothing of what we asked for"
    assert open_desk.counted(Counter.feeds_events_unlisted) == 3
    assert open_desk.top.version == version


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b'{"event_type":"price_change","price_changes":[', Counter.feeds_frames_malformed),
        (b"\xff\xfe\x00\x01", Counter.feeds_frames_binary),
        (b'{"event_type":"book","bids":7}', Counter.feeds_frames_mistyped),
        (b"[1,2]", Counter.feeds_frames_mistyped),
        (b"x" * 5_000_000, Counter.feeds_frames_malformed),
    ],
    ids=["truncated", "binary", "mistyped", "array", "huge"],
)
def test_a_frame_that_cannot_be_read_puts_every_book_in_doubt(open_desk, make, data, counter):
    other_book(open_desk, make, BIDS, ASKS)
    open_desk.feed(data)
    assert open_desk.counted(Counter.feeds_frames_rejected) == 1
    assert open_desk.counted(counter) == 1
    assert open_desk.top.flags == Flag.SUSPECT
    assert other_top(open_desk).flags == Flag.SUSPECT
    assert open_desk.yes == (0.4, 10, 0.5, 20)


def test_a_rejected_frame_of_a_known_market_puts_that_market_alone_in_doubt(open_desk, make):
    other_book(open_desk, make, BIDS, ASKS)
    open_desk.feed({"event_type": "price_change", "market": make.MARKET, "price_changes": 7})
    assert open_desk.top.flags == Flag.SUSPECT
    assert other_top(open_desk).flags == 0


def test_a_rejected_frame_of_a_foreign_market_harms_nothing(open_desk):
    open_desk.feed({"event_type": "book", "market": "0x77", "bids": 7})
    assert open_desk.counted(Counter.feeds_frames_mistyped) == 1
    assert open_desk.top.flags == 0


@pytest.mark.parametrize("market", [None, "0x77", ""])
@pytest.mark.parametrize("kind", ["changes", "book", "mistyped"])
def test_an_event_with_our_token_and_without_our_market_puts_its_market_in_doubt(
    open_desk, make, market, kind
):
    other_book(open_desk, make, BIDS, ASKS)
    event = {
        "changes": make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")),
        "book": make.book(make.YES, BIDS, ASKS),
        "mistyped": make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")) | {"timestamp": 7},
    }[kind] | {"market": market}
    if market is None:
        del event["market"]
    assert not open_desk.feed(event)
    assert open_desk.counted(Counter.feeds_frames_mistyped) == 1
    assert open_desk.counted(Counter.feeds_events_unlisted) == 0
    assert open_desk.top.flags == Flag.SUSPECT
    assert other_top(open_desk).flags == 0


def test_a_change_of_another_pairs_token_puts_both_pairs_in_doubt(open_desk, make):
    other_book(open_desk, make, BIDS, ASKS)
    token = open_desk.other.market.token_ids[0]
    open_desk.feed(make.changes(make.change(token, "BUY", "0.4", "12", ("0.4", "0.5"))))
    assert open_desk.top.flags == Flag.SUSPECT
    assert other_top(open_desk).flags == Flag.SUSPECT


def test_changes_stamped_far_ahead_of_our_clock_put_their_market_in_doubt(
    open_desk, make, monkeypatch
):
    monkeypatch.setattr("feeds.market_channel.wall_ns", lambda: make.T0 * 1_000_000)
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=2_000))
    assert open_desk.top.flags == 0
    open_desk.feed(make.both_changes("BUY", "0.46", "7", ("0.46", "0.5"), ms=9_000))
    assert open_desk.top.flags == Flag.SUSPECT
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1


def test_of_a_key_that_stands_twice_the_last_value_counts(open_desk, make):
    text = json.dumps(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    open_desk.feed(text.replace('"size": "7"', '"size": "7", "size": "9"').encode())
    assert (open_desk.yes[:2], open_desk.top.flags) == ((0.45, 9), 0)


def test_every_publication_is_counted_and_nothing_else(open_desk, make):
    def told():
        open_desk.channel.end_burst()
        return open_desk.counted(Counter.feeds_bbo_published)

    began, version = told(), open_desk.top.version
    trade = {
        "event_type": "last_trade_price", "market": make.MARKET, "asset_id": make.NO,
        "price": "0.51", "size": "11", "side": "SELL", "timestamp": str(make.T0),
    }  # fmt: skip
    open_desk.feed(
        make.changes(),
        make.both_changes("BUY", "0.39", "7", ("0.4", "0.5"), ms=-1),
        make.both_changes("BUY", "0.39", "7", ("0.4", "0.5")),
        trade,
        make.both_changes("SELL", "0.38", "9", ("0.3", "0.38")),
        trade,
        b"{",
    )
    open_desk.wait(10**9)
    open_desk.channel.on_behind(True)
    open_desk.channel.on_behind(False)
    open_desk.channel.on_down()
    others = 4  # the second market's, each time all are concerned
    assert told() - began == open_desk.top.version - version + others


def test_a_refusal_of_the_venue_is_counted_and_harms_nothing(open_desk):
    open_desk.feed(b"INVALID OPERATION")
    assert open_desk.counted(Counter.feeds_requests_refused) == 1
    assert open_desk.top.flags == 0


@pytest.mark.parametrize(
    "entry",
    [
        {"price": "NaN"}, {"price": "-0.4"}, {"price": "1.2"}, {"price": "0"}, {"price": "4e-1"},
        {"size": "-1"}, {"size": "99999999999999999999"}, {"size": "NaN"}, {"size": ""},
        {"best_bid": "two"}, {"best_ask": "-1"}, {"best_ask": "1.01"}, {"asset_id": "77"},
    ],
    ids=str,
)  # fmt: skip
def test_a_change_with_an_absurd_number_is_refused_and_its_market_in_doubt(open_desk, make, entry):
    sound = make.change(make.YES, "BUY", "0.4", "12", ("0.4", "0.5"))
    open_desk.feed(make.changes(sound, sound | entry))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert open_desk.top.flags == Flag.SUSPECT
    open_desk.wait(10**9)
    open_desk.feed(make.both_books(BIDS, ASKS, ms=1))
    assert open_desk.top.flags == 0


def test_a_bad_claim_of_one_token_does_not_spoil_later_frames(open_desk, make):
    # The first token disagrees, so the second one's claim is looked at last.
    frame = make.changes(
        make.change(make.YES, "BUY", "0.4", "12", ("0.3", "0.5")),
        make.change(make.NO, "SELL", "0.6", "12", ("junk", "0.6")),
    )
    open_desk.feed(frame)
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    open_desk.wait(10**9)
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert open_desk.yes[0] == 0.45


def test_a_bad_claim_is_not_remembered(open_desk, make):
    open_desk.feed(make.changes(make.change(make.NO, "SELL", "0.6", "12", ("junk", "0.6"))))
    open_desk.feed(make.changes(make.change(make.YES, "BUY", "0.4", "12", ("0.4", "0.5"))))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert open_desk.yes[1] == 12


@pytest.mark.parametrize(
    "time", ["", "0", "nan", "17907669816280", "1790766981.62", "9999999999999"]
)
def test_a_frame_with_an_absurd_time_is_refused(open_desk, make, time):
    frame = make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")) | {"timestamp": time}
    open_desk.feed(frame)
    assert open_desk.counted(Counter.feeds_frames_rejected) == 1
    assert open_desk.yes[0] == 0.4
    assert open_desk.top.flags == Flag.SUSPECT


def test_a_book_with_an_absurd_level_leaves_the_old_one_in_doubt(open_desk, make):
    open_desk.feed(make.book(make.YES, [("0.4", "NaN")], ASKS))
    assert open_desk.counted(Counter.feeds_frames_out_of_range) == 1
    assert open_desk.yes == (0.4, 10, 0.5, 20)
    assert open_desk.top.flags == Flag.SUSPECT


def test_an_event_without_its_fields_is_refused(open_desk, make):
    open_desk.feed(
        {"event_type": "book", "market": make.MARKET, "asset_id": make.YES},
        {"event_type": "price_change", "market": make.MARKET},
        {"event_type": "last_trade_price", "market": make.MARKET, "asset_id": make.YES},
    )
    assert open_desk.counted(Counter.feeds_frames_mistyped) == 3


def test_a_doubt_stays_until_every_token_has_its_whole_book(open_desk, make):
    open_desk.channel.lose_all()
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    assert open_desk.top.flags == Flag.SUSPECT
    first, second = make.both_books([("0.45", "7")], ASKS, ms=1)
    open_desk.feed(first)
    assert (open_desk.top.yes_flags, open_desk.top.no_flags) == (0, Flag.SUSPECT)
    open_desk.feed(second)
    assert open_desk.top.flags == 0


def test_changes_are_taken_from_arrays_too(open_desk, make):
    open_desk.feed([make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"))])
    assert open_desk.yes[0] == 0.45


def test_everything_is_counted_once(open_desk, make):
    before = {c: open_desk.counted(c) for c in Counter}
    open_desk.feed(
        make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")),
        make.both_changes("SELL", "0.38", "9", ("0.3", "0.38")),
        make.both_changes("SELL", "0.38", "8", ("0.3", "0.38")),
    )
    open_desk.wait(10**9)
    grown = {
        c: open_desk.counted(c) - before[c] for c in Counter if open_desk.counted(c) - before[c]
    }
    assert grown == {
        Counter.feeds_changes_applied: 6, Counter.feeds_bbo_published: 1,
        Counter.feeds_batches_held: 1, Counter.feeds_batches_suspect: 1,
        Counter.cache_book_deltas_applied: 3,
    }  # fmt: skip
    assert open_desk.channel.end_burst()
    assert open_desk.counted(Counter.feeds_bbo_published) - before[Counter.feeds_bbo_published] == 2


def test_the_figures_of_the_book_store_are_those_of_its_books_too(desk, make):
    def told():
        found = summarize(desk.reader.counters)
        return (
            found.snapshots_applied, found.snapshot_rejects, found.deltas_applied,
            found.sequence_gaps, found.crossed_book_resets,
        )  # fmt: skip

    desk.feed(make.both_books([("0.4", "10")], [("0.5", "20")]))
    assert told() == (2, 0, 0, 0, 0)
    desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=1))
    desk.feed(make.both_changes("BUY", "0.45", "x", ("0.45", "0.5"), ms=2))
    assert told() == (2, 0, 1, 0, 0), "what was refused was not applied"
    desk.feed(make.book(make.YES, [("0.4", "x")], [("0.5", "20")]))
    assert told() == (2, 1, 1, 0, 0)
    desk.feed(make.book(make.YES, [("0.6", "1")], [("0.5", "20")]))
    assert told() == (2, 2, 1, 0, 1)


def test_a_gap_is_a_loss_that_the_hashes_showed_and_counts_once(desk, make):
    first, second = make.both_books([("0.4", "10")], [("0.5", "20")])
    desk.feed([hashed(make, first), hashed(make, second)])
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    levels = [[Level("0.1", "1"), Level("0.4", "10")], [Level("0.5", "20")]]
    desk.pair.first.load(*levels, 10_000_000)
    for gaps in (0, 1, 1):
        desk.channel.certify_next(desk.now_ns + 20_000_000)
        assert summarize(desk.reader.counters).sequence_gaps == gaps
    assert desk.top.yes_flags == Flag.SUSPECT


def test_the_time_from_wire_to_slot_is_recorded_once_a_read(open_desk, make):
    open_desk.channel.on_frame(json.dumps(make.both_books(BIDS, ASKS)).encode(), 5_000)
    open_desk.channel.on_frame(json.dumps(make.both_books(BIDS, ASKS)).encode(), 5_000)
    before = open_desk.reader.counters.buckets(Histogram.wire_to_slot_ns).sum()
    assert open_desk.channel.end_burst()
    assert not open_desk.channel.end_burst()
    assert open_desk.reader.counters.buckets(Histogram.wire_to_slot_ns).sum() == before + 1


def test_a_print_is_no_time_from_wire_to_slot_whatever_other_markets_do(open_desk, make):
    trade = {
        "event_type": "last_trade_price", "market": make.MARKET, "asset_id": make.NO,
        "price": "0.51", "size": "11", "side": "SELL", "timestamp": str(make.T0),
    }  # fmt: skip
    other_book(open_desk, make, BIDS, ASKS)
    before = open_desk.reader.counters.buckets(Histogram.wire_to_slot_ns).sum()
    open_desk.feed(trade)
    assert open_desk.reader.counters.buckets(Histogram.wire_to_slot_ns).sum() == before


def test_depth_of_a_held_batch_waits(open_desk, make):
    open_desk.channel.flush_depth()
    assert not open_desk.channel.flush_depth()
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    open_desk.feed(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38")))
    assert not open_desk.channel.flush_depth()
    open_desk.wait(10**9)
    assert open_desk.channel.flush_depth()


def test_a_market_that_is_removed_and_carried_again_has_its_depth_published(open_desk, make):
    open_desk.feed(make.both_changes("BUY", "0.41", "7", ("0.41", "0.5")))
    pair = open_desk.channel.remove(make.MARKET)
    assert not open_desk.channel.flush_depth(), "it is not its channel's any more"
    open_desk.channel.add(pair)
    pair.on_subscribed()
    open_desk.feed(make.both_books([("0.4", "1")], [("0.5", "1")]))
    assert open_desk.channel.flush_depth()
    assert open_desk.channel.remove(make.MARKET) is pair


def test_a_market_that_is_removed_shows_that_it_is_not_live(open_desk, make):
    assert open_desk.channel.remove(make.MARKET) is open_desk.pair
    assert open_desk.channel.remove(make.MARKET) is None
    assert open_desk.top.flags == Flag.RESYNC
    open_desk.feed(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")))
    assert open_desk.yes[0] == 0.4


def hashed(make, event, last_trade="", tick="0.01"):
    """Give a book event the hash the venue would."""
    bids, asks = ([(one["price"], one["size"]) for one in event[side]] for side in ("bids", "asks"))
    event["hash"] = book_hash(
        make.MARKET, event["asset_id"], event["timestamp"], bids, asks,
        tick_size=tick, last_trade_price=last_trade,
    )  # fmt: skip
    return event


def test_hashes_are_checked_once_the_market_is_still(desk, make):
    first, second = make.both_books([("0.4", "10")], [("0.5", "20")])
    desk.feed([hashed(make, first), hashed(make, second)])
    desk.channel.certify_next(desk.now_ns + 1)
    assert desk.counted(Counter.feeds_hash_matched) == 0
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    assert desk.counted(Counter.feeds_hash_matched) == 2


def test_a_lost_change_shows_in_the_hash_and_puts_the_book_in_doubt(desk, make):
    first, second = make.both_books([("0.4", "10")], [("0.5", "20")])
    desk.feed([hashed(make, first), hashed(make, second)])
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    levels = [[Level("0.1", "1"), Level("0.4", "10")], [Level("0.5", "20")]]
    desk.pair.first.load(*levels, 10_000_000)  # as if a removal had been lost
    for _ in range(2):
        assert desk.top.flags == 0
        desk.channel.certify_next(desk.now_ns + 20_000_000)
    assert desk.counted(Counter.feeds_hash_mismatched) == 2
    assert (desk.top.yes_flags, desk.top.no_flags) == (Flag.SUSPECT, 0)


def test_a_hash_of_before_a_loss_takes_no_doubt_back(desk, make):
    first, second = make.both_books([("0.4", "10")], [("0.5", "20")])
    desk.feed([hashed(make, first), hashed(make, second)])
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    assert desk.counted(Counter.feeds_hash_matched) == 2
    desk.pair.on_lost()
    for _ in range(3):
        desk.channel.certify_next(desk.now_ns + 20_000_000)
        assert desk.top.flags == Flag.SUSPECT
    first, second = make.both_books([("0.4", "11")], [("0.5", "20")], ms=5)
    desk.feed([hashed(make, first), hashed(make, second)])
    assert desk.top.flags == 0


def test_a_hash_of_before_a_tick_change_is_not_held_against_the_book(desk, make):
    first, second = make.both_books([("0.4", "10")], [("0.5", "20")])
    desk.feed([hashed(make, first), hashed(make, second)])
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    for token in (make.YES, make.NO):
        desk.feed({
            "event_type": "tick_size_change", "market": make.MARKET, "asset_id": token,
            "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": str(make.T0 + 1),
        })  # fmt: skip
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    assert desk.counted(Counter.feeds_hash_mismatched) == 0
    assert desk.counted(Counter.feeds_hash_matched) == 2
    first, second = make.both_books([("0.401", "10")], [("0.5", "20")], ms=2)
    desk.feed([hashed(make, first, tick="0.001"), hashed(make, second, tick="0.001")])
    desk.channel.certify_next(desk.now_ns + 20_000_000)
    assert desk.counted(Counter.feeds_hash_matched) == 4


# --- no frame can raise out of the handler ------------------------------------------------------

junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["0.5", "NaN", "-1", "1e5", "0", "1", "99999999999999999999", "BUY", "SELL"]),
    st.sampled_from(["9999999999999", "9000000000", "8999999999999", "0.000000001"]),
    st.lists(st.text(max_size=3), max_size=2), st.dictionaries(st.text(max_size=3), st.none()),
)  # fmt: skip


def spoil(data, events):
    """Take a good event and change, remove or add anything in it."""
    event = json.loads(json.dumps(data.draw(st.sampled_from(events))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = event
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
                place = inner
                continue
            if isinstance(place, dict) and data.draw(st.booleans()):
                del place[key]
            else:
                place[key] = data.draw(junk)
            break
    return event


@pytest.fixture(scope="module")
def shared_desk(make):
    made = make.Desk()
    yield made
    made.close()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("field", ["hash", "a_field_we_skip"])
def test_a_byte_that_is_no_text_is_refused_also_in_a_field_nobody_reads(
    open_desk, make, field, many
):
    event = {**make.both_books(BIDS, ASKS)[0], field: "~"}
    frame = json.dumps([event] if many else event).encode().replace(b"~", b"a\xfc")
    assert not open_desk.feed(frame)
    assert open_desk.counted(Counter.feeds_frames_binary) == 1
    assert open_desk.top.flags & Flag.SUSPECT
    open_desk.channel.certify_next(open_desk.now_ns + 10**10)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_frame_raises_whatever_is_in_it(make, shared_desk, data):
    desk = shared_desk
    desk.reset()
    desk.feed(make.both_books(BIDS, ASKS))
    good = [
        make.both_books(BIDS, ASKS),
        make.both_books(BIDS, ASKS)[0],
        make.both_changes("BUY", "0.45", "7", ("0.45", "0.5")),
        {"event_type": "best_bid_ask", "market": make.MARKET, "asset_id": make.NO,
         "best_bid": "0.5", "best_ask": "0.6", "timestamp": str(make.T0)},
        {"event_type": "last_trade_price", "market": make.MARKET, "asset_id": make.NO,
         "price": "0.51", "size": "11", "side": "SELL", "timestamp": str(make.T0)},
        {"event_type": "tick_size_change", "market": make.MARKET, "asset_id": make.YES,
         "new_tick_size": "0.001", "timestamp": str(make.T0)},
        {"event_type": "market_resolved", "market": make.MARKET, "assets_ids": []},
    ]  # fmt: skip
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.integers(0, 3)):
            frame = json.dumps(spoil(data, good)).encode()
            if data.draw(st.booleans()):  # a byte of the wire itself
                at = data.draw(st.integers(0, len(frame) - 1))
                frame = frame[:at] + bytes([data.draw(st.integers(0, 255))]) + frame[at + 1 :]
        else:
            frame = data.draw(st.binary(max_size=40))
        cut = data.draw(st.integers(0, 8))
        desk.feed(frame[: len(frame) - cut] if cut < 2 else frame)
        if data.draw(st.booleans()):
            desk.wait(10_000_000)
    desk.wait(10_000_000)
    desk.channel.flush_depth()
    desk.channel.publish_mids()
    desk.channel.certify_next(desk.now_ns + 10**9)
    # Whatever came, a whole book of each token heals the market.
    desk.feed([one | {"tick_size": "0.01"} for one in make.both_books(BIDS, ASKS)])
    found = desk.reader.board("pair_bbo").read(0, tag_of("polymarket", make.MARKET))
    assert not isinstance(found, Miss)
    assert found.flags & ~Flag.RESOLVED == 0
