import gc
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.layout import E9
from cache.snapshots import (
    BNSnapshot,
    MarketSnapshotMeta,
    PMBookSnapshot,
    PMBookTop,
    age_ms,
)

MS = 1_000_000
META = MarketSnapshotMeta(7_000 * MS, None, 3, "PM")
EMPTY = PMBookTop(None, None, None, None)


def book(yes, no):
    return PMBookSnapshot(META, "0xab", "1", "2", yes, no, 0)


def cents(bid, ask, qty=1):
    return PMBookTop(bid * E9 // 100, qty * E9, ask * E9 // 100, qty * E9)


@pytest.mark.parametrize(
    "kind",
    [META, EMPTY, book(EMPTY, None), book(None, None).combined, BNSnapshot(META, "X", None, None)],
)
def test_a_snapshot_cannot_be_changed(kind):
    for name in kind.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(kind, name, 0)
    assert not gc.is_tracked(kind)


def test_a_snapshot_goes_through_json_with_its_unknowns():
    given_ = book(PMBookTop(10**7, 5 * E9, None, None), None)
    text = msgspec.json.encode(given_)
    assert msgspec.json.decode(text, type=PMBookSnapshot) == given_
    assert b'"no_top":null' in text


def test_age_is_by_the_monotonic_clock_alone():
    for wall_ns in (None, 0, 1 << 62, -(1 << 62)):
        meta = MarketSnapshotMeta(7_000 * MS + 999_999, wall_ns, 1, "BN")
        assert [meta.age_ms(now) for now in (6_999, 7_000, 7_500)] == [-1, 0, 500]


@pytest.mark.parametrize(
    ("now_ms", "clock_ms", "age"),
    [
        (7_500, 0, 500),
        (7_000, 0, 0),
        (6_990, 7_000, 0),  # It came after the caller had read the clock.
        (6_990, 6_999, -10),  # Even the clock of now has not come so far.
        (6_000, 7_000, 0),
        (5_999, 7_000, -1_001),  # Nobody reads a clock so long before: it is another one,
        (7, 7_000, -6_993),  # or one of seconds.
    ],
)
def test_only_what_the_clock_has_not_reached_is_of_the_future(now_ms, clock_ms, age):
    assert age_ms(META, now_ms, lambda: clock_ms * MS) == age


def test_a_time_that_is_no_number_makes_nothing_new():
    assert math.isnan(age_ms(META, math.nan, lambda: 8_000 * MS))


def test_what_was_not_said_of_a_snapshot_is_not_known():
    pm, bn = book(EMPTY, EMPTY), BNSnapshot(META, "X", 1, 2)
    assert (pm.yes_flags, pm.no_flags, pm.last_px_e9, pm.tick_e9) == (0, 0, None, None)
    assert (bn.best_bid_qty_e9, bn.best_ask_qty_e9, bn.ewma_vol_1s_e9) == (None, None, None)
    assert (bn.return_1s_e9, bn.return_1m_e9, bn.shock_z_e9) == (None, None, None)
    assert (bn.sample_count, bn.flags) == (0, 0)


def test_a_mid_needs_both_sides():
    assert cents(45, 48).mid_px_e9 == 465_000_000
    assert PMBookTop(1, 1, None, None).mid_px_e9 is None
    assert PMBookTop(None, None, 1, 1).mid_px_e9 is None
    assert book(PMBookTop(1, 1, None, None), None).combined.mid_px_e9 is None
    assert book(PMBookTop(None, None, 1, 1), None).combined.mid_px_e9 is None
    assert BNSnapshot(META, "X", 10, 13).mid_px_e9 == 11
    assert BNSnapshot(META, "X", None, 13).mid_px_e9 is None
    assert BNSnapshot(META, "X", 13, None).mid_px_e9 is None


def test_mirrored_books_combine_to_either_and_agree():
    combined = book(cents(45, 48), cents(52, 55)).combined
    assert (combined.bid_px_e9, combined.ask_px_e9) == (450_000_000, 480_000_000)
    assert (combined.bid_apart_e9, combined.ask_apart_e9) == (0, 0)
    assert combined.disagrees == ()
    assert combined.mid_px_e9 == 465_000_000


def test_the_combined_view_takes_the_better_of_both_and_says_what_disagrees():
    combined = book(cents(45, 48, 1), cents(53, 54, 2)).combined
    assert (combined.bid_px_e9, combined.bid_qty_e9) == (460_000_000, 2 * E9)  # 1 - NO ask
    assert (combined.ask_px_e9, combined.ask_qty_e9) == (470_000_000, 2 * E9)  # 1 - NO bid
    assert (combined.bid_apart_e9, combined.ask_apart_e9) == (-10_000_000, 10_000_000)
    assert combined.disagrees == ("bid", "ask")


def test_an_order_that_both_books_show_is_counted_once():
    combined = book(cents(45, 48, 7), cents(52, 55, 5)).combined
    assert (combined.bid_qty_e9, combined.ask_qty_e9) == (5 * E9, 5 * E9)


@pytest.mark.parametrize("other", [None, EMPTY])
def test_a_book_that_is_missing_leaves_the_other_and_no_disagreement(other):
    for snapshot in (book(cents(45, 48), other), book(other, cents(52, 55))):
        combined = snapshot.combined
        assert (combined.bid_px_e9, combined.ask_px_e9) == (450_000_000, 480_000_000)
        assert (combined.bid_apart_e9, combined.ask_apart_e9) == (None, None)
        assert combined.disagrees == ()
    nothing = book(other, other).combined
    assert (nothing.bid_px_e9, nothing.ask_px_e9, nothing.mid_px_e9) == (None, None, None)


PX = st.none() | st.integers(1, E9 - 1)


@settings(deadline=None)
@given(*[PX] * 4)
def test_the_combined_top_is_never_worse_than_either_book(yes_bid, yes_ask, no_bid, no_ask):
    yes = PMBookTop(yes_bid, yes_bid and 1, yes_ask, yes_ask and 1)
    no = PMBookTop(no_bid, no_bid and 1, no_ask, no_ask and 1)
    combined = book(yes, no).combined
    bids = [px for px in (yes_bid, no_ask and E9 - no_ask) if px]
    asks = [px for px in (yes_ask, no_bid and E9 - no_bid) if px]
    assert combined.bid_px_e9 == (max(bids) if bids else None)
    assert combined.ask_px_e9 == (min(asks) if asks else None)
