"""The ladder: snapshot and deltas in sequence, and not ready on any anomaly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.ladder import Delta, Ladder, Outcome, Whole
from venue.decimals import E9_MAX

BIDS = ((100, 5), (99, 7))
ASKS = ((101, 6), (102, 8))


def ready(sequence=10, **more):
    ladder = Ladder(**more)
    assert ladder.apply_snapshot(Whole(sequence, BIDS, ASKS), 1_000) is Outcome.APPLIED
    return ladder


def delta(first, last, bids=(), asks=()):
    return Delta(first, last, bids, asks)


def assert_empty(ladder):
    assert not ladder.is_ready
    assert ladder.sequence == 0
    assert ladder.best_bid is None
    assert ladder.best_ask is None
    assert ladder.bids(20) == ladder.asks(20) == []


# --- snapshots ------------------------------------------------------------------------------------


def test_before_any_snapshot_nothing_is_known():
    ladder = Ladder()
    assert_empty(ladder)
    assert ladder.last_update_ns == 0
    assert ladder.update_count == 0


def test_a_snapshot_replaces_the_whole_book_whatever_the_order_of_its_levels():
    ladder = ready()
    ladder.apply_snapshot(Whole(20, ((90, 1), (95, 2)), ((97, 3), (96, 4))), 2_000)
    assert ladder.bids(20) == [(95, 2), (90, 1)]
    assert ladder.asks(20) == [(96, 4), (97, 3)]
    assert (ladder.sequence, ladder.last_update_ns, ladder.update_count) == (20, 2_000, 2)


def test_a_snapshot_older_than_the_book_changes_nothing():
    ladder = ready(sequence=10)
    assert ladder.apply_snapshot(Whole(9, (), ()), 2_000) is Outcome.OUTDATED
    assert ladder.is_ready
    assert (ladder.sequence, ladder.last_update_ns, ladder.update_count) == (10, 1_000, 1)
    assert ladder.best_bid == 100


@pytest.mark.parametrize("ask", [100, 99])
def test_a_snapshot_that_locks_or_crosses_is_rejected_and_leaves_the_ladder_not_ready(ask):
    ladder = ready()
    crossed = Whole(20, ((100, 5),), ((ask, 5),))
    assert ladder.apply_snapshot(crossed, 2_000) is Outcome.CROSSED
    assert_empty(ladder)
    assert ladder.last_update_ns == 1_000
    assert ladder.update_count == 1


@pytest.mark.parametrize(
    "whole",
    [
        Whole(20, ((0, 5),), ()),
        Whole(20, ((100, 0),), ()),
        Whole(20, (), ((-1, 5),)),
        Whole(20, ((E9_MAX + 1, 5),), ()),
        Whole(20, ((99, 5), (99, 6)), ()),
    ],
)
def test_a_snapshot_with_a_number_that_cannot_be_leaves_the_ladder_not_ready(whole):
    ladder = ready()
    assert ladder.apply_snapshot(whole, 2_000) is Outcome.INVALID
    assert_empty(ladder)


def test_an_update_number_below_zero_is_none():
    ladder = Ladder()
    assert ladder.apply_snapshot(Whole(-1, BIDS, ASKS), 1) is Outcome.INVALID
    assert_empty(ladder)


def test_an_empty_side_is_a_book_without_a_best():
    ladder = Ladder()
    assert ladder.apply_snapshot(Whole(1, BIDS, ()), 1) is Outcome.APPLIED
    assert ladder.is_ready
    assert (ladder.best_bid, ladder.best_ask) == (100, None)


# --- deltas ---------------------------------------------------------------------------------------


def test_a_delta_sets_totals_and_removes_with_zero():
    ladder = ready(10)
    found = ladder.apply_delta(delta(11, 12, ((100, 0), (98, 3)), ((101, 9),)), 2_000)
    assert found is Outcome.APPLIED
    assert ladder.bids(20) == [(99, 7), (98, 3)]
    assert ladder.asks(20) == [(101, 9), (102, 8)]
    assert (ladder.sequence, ladder.last_update_ns, ladder.update_count) == (12, 2_000, 2)


def test_removing_a_level_that_is_not_there_is_normal():
    ladder = ready(10)
    assert ladder.apply_delta(delta(11, 11, ((50, 0),)), 2) is Outcome.APPLIED
    assert ladder.bids(20) == [(100, 5), (99, 7)]


def test_a_duplicate_and_an_older_delta_are_ignored():
    ladder = ready(10)
    ladder.apply_delta(delta(11, 13, ((100, 1),)), 2_000)
    for again in (delta(11, 13, ((100, 2),)), delta(9, 10, ((100, 3),))):
        assert ladder.apply_delta(again, 3_000) is Outcome.OUTDATED
    assert ladder.bids(1) == [(100, 1)]
    assert (ladder.sequence, ladder.last_update_ns) == (13, 2_000)


def test_a_delta_that_overlaps_the_book_is_applied():
    ladder = ready(10)
    assert ladder.apply_delta(delta(8, 12, ((100, 1),)), 2) is Outcome.APPLIED
    assert ladder.sequence == 12


def test_a_gap_leaves_the_ladder_not_ready_until_a_snapshot_that_reaches_the_delta_behind_it():
    ladder = ready(10)
    assert ladder.apply_delta(delta(12, 13, ((100, 1),)), 2) is Outcome.GAP
    assert_empty(ladder)
    assert ladder.apply_snapshot(Whole(10, BIDS, ASKS), 3) is Outcome.TOO_OLD
    assert_empty(ladder)
    assert ladder.apply_snapshot(Whole(11, BIDS, ASKS), 4) is Outcome.APPLIED
    assert ladder.bids(1) == [(100, 1)]
    assert ladder.sequence == 13


def test_deltas_out_of_order_are_a_gap_and_the_late_one_is_ignored():
    ladder = ready(10)
    assert ladder.apply_delta(delta(12, 12), 2) is Outcome.GAP
    assert ladder.apply_delta(delta(11, 11), 3) is Outcome.OUTDATED
    assert_empty(ladder)


def test_a_delta_that_locks_or_crosses_resets():
    for bid in (101, 105):
        ladder = ready(10)
        assert ladder.apply_delta(delta(11, 11, ((bid, 1),)), 2) is Outcome.CROSSED
        assert_empty(ladder)


def test_a_delta_may_pass_through_a_crossed_state_within_itself():
    ladder = ready(10)
    assert ladder.apply_delta(delta(11, 11, ((101, 1),), ((101, 0),)), 2) is Outcome.APPLIED
    assert (ladder.best_bid, ladder.best_ask) == (101, 102)


@pytest.mark.parametrize(
    "bad",
    [
        delta(11, 11, ((0, 1),)), delta(11, 11, ((9, -1),)), delta(12, 11), delta(0, 11),
        delta(11, 11, ((E9_MAX + 1, 1),)), delta(11, 11, (), ((200, E9_MAX + 1),)),
    ],
)  # fmt: skip
def test_a_delta_with_a_number_that_cannot_be_resets(bad):
    ladder = ready(10)
    assert ladder.apply_delta(bad, 2) is Outcome.INVALID
    assert_empty(ladder)
    waiting = Ladder()
    waiting.apply_delta(delta(10, 10), 1)
    assert waiting.apply_delta(bad, 2) is Outcome.INVALID
    assert waiting.waiting_count == 0, "what came before it is of no use behind the hole"


# --- waiting --------------------------------------------------------------------------------------


def test_deltas_wait_for_the_snapshot_which_drops_those_it_contains():
    ladder = Ladder()
    for number in (11, 12, 13):
        waits = delta(number, number, ((100, number),))
        assert ladder.apply_delta(waits, 1) is Outcome.WAITING
    assert ladder.waiting_count == 3
    assert ladder.apply_snapshot(Whole(12, BIDS, ASKS), 2) is Outcome.APPLIED
    assert ladder.bids(1) == [(100, 13)]
    assert (ladder.sequence, ladder.waiting_count, ladder.update_count) == (13, 0, 2)


def test_a_snapshot_older_than_the_first_waiting_delta_is_rejected_and_what_waits_stays():
    ladder = Ladder()
    ladder.apply_delta(delta(20, 22), 1)
    assert ladder.apply_snapshot(Whole(18, BIDS, ASKS), 2) is Outcome.TOO_OLD
    assert not ladder.is_ready
    assert ladder.waiting_count == 1
    assert ladder.apply_snapshot(Whole(19, BIDS, ASKS), 3) is Outcome.APPLIED
    assert ladder.sequence == 22


def test_a_first_delta_that_begins_right_behind_the_snapshot_is_no_gap():
    ladder = Ladder()
    ladder.apply_delta(delta(11, 15), 1)
    assert ladder.apply_snapshot(Whole(10, BIDS, ASKS), 2) is Outcome.APPLIED
    assert ladder.sequence == 15


def test_a_gap_among_what_waits_lets_go_of_what_came_before():
    ladder = Ladder()
    ladder.apply_delta(delta(1, 2), 1)
    assert ladder.apply_delta(delta(4, 5), 2) is Outcome.GAP
    assert ladder.waiting_count == 1
    assert ladder.apply_snapshot(Whole(2, BIDS, ASKS), 3) is Outcome.TOO_OLD
    assert ladder.apply_snapshot(Whole(3, BIDS, ASKS), 4) is Outcome.APPLIED


def test_what_waits_is_bounded_and_the_snapshot_must_then_be_newer():
    ladder = Ladder(waiting_max=2)
    for number in (1, 2, 3):
        ladder.apply_delta(delta(number, number), 1)
    assert ladder.waiting_count == 2
    assert ladder.apply_snapshot(Whole(0, BIDS, ASKS), 2) is Outcome.TOO_OLD
    assert ladder.apply_snapshot(Whole(1, BIDS, ASKS), 3) is Outcome.APPLIED


def test_no_more_than_a_thousand_and_twenty_four_deltas_wait():
    ladder = Ladder()
    for number in range(1, 1_100):
        ladder.apply_delta(delta(number, number), 1)
    assert ladder.waiting_count == 1_024


def test_a_waiting_delta_that_crosses_the_snapshot_leaves_the_ladder_not_ready():
    ladder = Ladder()
    ladder.apply_delta(delta(11, 11, ((101, 1),)), 1)
    assert ladder.apply_snapshot(Whole(10, BIDS, ASKS), 2) is Outcome.CROSSED
    assert_empty(ladder)


def test_a_reset_forgets_what_waits_too():
    ladder = Ladder()
    ladder.apply_delta(delta(20, 20), 1)
    ladder.reset()
    assert ladder.apply_snapshot(Whole(1, BIDS, ASKS), 2) is Outcome.APPLIED


# --- how deep it is known -------------------------------------------------------------------------


def test_a_snapshot_that_was_cut_off_is_known_down_to_its_last_level_only():
    ladder = Ladder(levels_max=2)
    ladder.apply_snapshot(Whole(10, BIDS, ASKS), 1)
    ladder.apply_delta(delta(11, 11, ((98, 1), (100, 0))), 2)
    # 98 lies beyond the last bid that was told: what lies between is not known.
    assert ladder.bids(20) == [(99, 7)]
    assert ladder.is_thin(2)
    assert not ladder.is_thin(1)


def test_a_book_that_grows_over_its_bound_forgets_its_worst_level():
    ladder = Ladder(levels_max=3)
    ladder.apply_snapshot(Whole(10, BIDS, ASKS), 1)
    ladder.apply_delta(delta(11, 11, ((98, 1), (97, 1))), 2)
    assert ladder.bids(20) == [(100, 5), (99, 7), (98, 1)]
    ladder.apply_delta(delta(12, 12, ((97, 4), (100, 0))), 3)
    assert ladder.bids(20) == [(99, 7), (98, 1)]
    assert ladder.is_thin(3)


def test_a_side_whose_known_levels_are_all_gone_leaves_the_ladder_not_ready():
    ladder = Ladder(levels_max=2)
    ladder.apply_snapshot(Whole(10, BIDS, ASKS), 1)
    done = ladder.apply_delta(delta(11, 11, ((100, 0), (99, 0), (98, 9))), 2)
    assert done is Outcome.EXHAUSTED
    assert_empty(ladder)
    # A book that was told whole may well lose its last bid.
    whole = ready(10)
    assert whole.apply_delta(delta(11, 11, ((100, 0), (99, 0))), 2) is Outcome.APPLIED
    assert whole.is_ready


def test_a_book_that_was_told_whole_is_never_thin():
    assert not ready().is_thin(20)


def test_a_ladder_without_room_is_refused():
    for more in ({"levels_max": 0}, {"waiting_max": 0}):
        with pytest.raises(ValueError, match="at least one"):
            Ladder(**more)


# --- any order of events --------------------------------------------------------------------------


class Naive:
    """The same rules as plainly as can be: a list of everything, looked through each time."""

    def __init__(self):
        self.book = None  # (sequence, {px: qty} bids, asks)
        self.waiting = []

    def snapshot(self, whole):
        if self.book and whole.sequence < self.book[0]:
            return
        bids, asks = dict(whole.bids), dict(whole.asks)
        if bids and asks and max(bids) >= min(asks):
            self.book = None
            return
        waiting = [one for one in self.waiting if one.last > whole.sequence]
        self.waiting = waiting
        if waiting and waiting[0].first > whole.sequence + 1:
            return
        self.book, self.waiting = (whole.sequence, bids, asks), []
        for one in waiting:
            self.delta(one)
            if not self.book:
                # What waited behind the anomaly begins to wait anew.
                self.waiting = waiting[waiting.index(one) + 1 :]
                break

    def delta(self, one):
        if not self.book:
            if self.waiting and one.last <= self.waiting[-1].last:
                return
            if self.waiting and one.first > self.waiting[-1].last + 1:
                self.waiting = []
            self.waiting.append(one)
            return
        sequence, bids, asks = self.book
        if one.last <= sequence:
            return
        if one.first > sequence + 1:
            self.book, self.waiting = None, [one]
            return
        bids = {px: qty for px, qty in (bids | dict(one.bids)).items() if qty}
        asks = {px: qty for px, qty in (asks | dict(one.asks)).items() if qty}
        crossed = bids and asks and max(bids) >= min(asks)
        self.book = None if crossed else (one.last, bids, asks)


def levels(low, high, least):
    return st.dictionaries(st.integers(low, high), st.integers(least, 9), max_size=4).map(
        lambda found: tuple(found.items())
    )


wholes = st.builds(Whole, st.integers(0, 12), levels(1, 6, 1), levels(5, 10, 1))
deltas = st.tuples(st.integers(1, 12), st.integers(0, 3), levels(1, 6, 0), levels(5, 10, 0)).map(
    lambda v: Delta(v[0], v[0] + v[1], v[2], v[3])
)


@settings(max_examples=200)
@given(st.lists(wholes | deltas, max_size=25))
def test_any_order_of_snapshots_and_deltas_gives_the_book_of_the_plain_rules(events):
    ladder, naive = Ladder(), Naive()
    for now_ns, event in enumerate(events, 1):
        count, last_ns = ladder.update_count, ladder.last_update_ns
        if isinstance(event, Whole):
            outcome = ladder.apply_snapshot(event, now_ns)
            naive.snapshot(event)
        else:
            outcome = ladder.apply_delta(event, now_ns)
            naive.delta(event)
        assert ladder.is_ready == (naive.book is not None)
        if naive.book:
            sequence, bids, asks = naive.book
            assert ladder.sequence == sequence
            assert ladder.bids(99) == sorted(bids.items(), reverse=True)
            assert ladder.asks(99) == sorted(asks.items())
        else:
            assert_empty(ladder)
        assert ladder.waiting_count == len(naive.waiting)
        if outcome is Outcome.OUTDATED:
            assert (ladder.update_count, ladder.last_update_ns) == (count, last_ns)
        if outcome is Outcome.APPLIED:
            assert ladder.last_update_ns == now_ns
            assert ladder.update_count > count


@given(st.integers(1, 30), st.data())
def test_a_stream_that_is_cut_into_any_pieces_and_overlaps_ends_in_the_same_book(count, data):
    changes = [(data.draw(st.integers(1, 9)), data.draw(st.integers(0, 5))) for _ in range(count)]
    truth = {}
    for px, qty in changes:
        truth[px] = qty
    at, ladder = 0, Ladder()
    ladder.apply_snapshot(Whole(0, (), ()), 1)
    while at < count:
        back = data.draw(st.integers(0, at))
        end = data.draw(st.integers(at + 1, count))
        piece = dict(changes[back:end])
        outcome = ladder.apply_delta(Delta(back + 1, end, tuple(piece.items()), ()), 2)
        assert outcome is Outcome.APPLIED
        at = end
    assert dict(ladder.bids(99)) == {px: qty for px, qty in truth.items() if qty}


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), max_size=60),
    st.dictionaries(st.integers(1, 40), st.integers(1, 3), max_size=8),
)
def test_the_levels_that_are_kept_are_always_the_best_ones_without_a_hole(room, changes, first):
    ladder, truth = Ladder(levels_max=room), dict(first)
    # The venue cuts a snapshot off at so many levels.
    told = sorted(first.items(), reverse=True)[:room]
    ladder.apply_snapshot(Whole(0, told, ()), 1)
    for number, (px, qty) in enumerate(changes, 1):
        truth[px] = qty
        if ladder.apply_delta(Delta(number, number, ((px, qty),), ()), 2) is Outcome.EXHAUSTED:
            return
        whole = sorted(((p, q) for p, q in truth.items() if q), reverse=True)
        known = ladder.bids(99)
        assert known == whole[: len(known)]
        assert len(known) <= room
        assert len(known) == len(whole) or ladder.is_thin(len(known) + 1)
