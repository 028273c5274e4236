"""The depth of the model venue: snapshot and diffs are one book, whoever asks and whenever."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.ladder import Delta, Ladder, Outcome, Whole
from sim.depth import INTERVAL_NS, LEVELS, DepthTape
from sim.frames import BN_DEPTH
from sim.params import ModelParams
from sim.price import PricePath
from sim.tape import BinanceTape
from venue.decimals import parse_e9

NS = 1_000_000_000
EPOCH = 1_790_000_100 * NS  # An edge between two stretches of the price.
PARAMS = ModelParams()
PATH = PricePath(1, PARAMS)
WIRE_NS = int(PARAMS.binance_wire_ms * 1e6)


@pytest.fixture(scope="module")
def tape():
    return DepthTape(1, PATH, PARAMS)


def levels(side):
    return [(parse_e9(px), parse_e9(qty)) for px, qty in side]


def whole_of(answer):
    return Whole(answer["lastUpdateId"], levels(answer["bids"]), levels(answer["asks"]))


def delta_of(frame):
    data = json.loads(frame.payload)
    return Delta(data["U"], data["u"], levels(data["b"]), levels(data["a"]))


def book(ladder):
    return ladder.bids(9_999), ladder.asks(9_999)


@settings(max_examples=15)
@given(st.integers(-150 * NS, 150 * NS) | st.integers(-3 * NS, 0))
def test_a_snapshot_of_any_moment_and_the_diffs_behind_it_give_the_venues_book(tape, offset):
    at_ns = EPOCH + offset
    ladder = Ladder()
    # As a client does: the stream was open for a while when the snapshot is taken.
    for frame in tape.frames(at_ns - NS, at_ns):
        ladder.apply_delta(delta_of(frame), 1)
    whole = whole_of(tape.snapshot(at_ns, 5_000))
    assert ladder.apply_snapshot(whole, 1) is Outcome.APPLIED
    later = tape.frames(at_ns, at_ns + 10 * NS)
    assert len(later) > 50
    for number, frame in enumerate(later):
        outcome = ladder.apply_delta(delta_of(frame), 2)
        # The snapshot may contain the whole of the first one.
        assert outcome is Outcome.APPLIED or (number == 0 and outcome is Outcome.OUTDATED)
        if number % 7 == 0:
            truth = whole_of(tape.snapshot(frame.t_ns, 5_000))
            assert ladder.sequence == truth.sequence
            assert book(ladder) == (list(truth.bids), list(truth.asks))


def test_update_ids_follow_each_other_without_a_gap_across_stretches(tape):
    frames = tape.frames(EPOCH - 2 * NS, EPOCH + 2 * NS)
    deltas = [delta_of(frame) for frame in frames]
    assert all(after.first == before.last + 1 for before, after in pairwise(deltas))
    assert {frame.channel for frame in frames} == {BN_DEPTH}
    assert all((frame.t_ns - WIRE_NS) % INTERVAL_NS == 0 for frame in frames)


def test_the_best_levels_are_those_of_the_book_ticker_with_the_same_id(tape):
    tickers = BinanceTape(PATH, PARAMS)
    for at_ns in range(EPOCH, EPOCH + NS, 130_000_001):
        top = json.loads(tickers.last_ticker(at_ns))
        found = tape.snapshot(at_ns, 1)
        assert found["lastUpdateId"] == top["u"]
        assert [list(level) for level in found["bids"]] == [[top["b"], top["B"]]]
        assert [list(level) for level in found["asks"]] == [[top["a"], top["A"]]]


def test_a_snapshot_is_sorted_uncrossed_and_as_deep_as_was_asked(tape):
    found = whole_of(tape.snapshot(EPOCH, 5_000))
    assert len(found.bids) in (LEVELS + 1, LEVELS + 2)
    assert list(found.bids) == sorted(found.bids, reverse=True)
    assert list(found.asks) == sorted(found.asks)
    assert found.bids[0][0] < found.asks[0][0]
    assert all(qty > 0 for side in found[1:] for _, qty in side)
    assert len(tape.snapshot(EPOCH, 20)["bids"]) == 20


def test_pieces_of_any_size_give_the_same_stream(tape):
    whole = tape.frames(EPOCH - NS, EPOCH + NS)
    pieces, at_ns = [], EPOCH - NS
    for step in (1, 99_999_999, 100_000_000, 700_000_001, 1_099_999_999):
        pieces += tape.frames(at_ns, at_ns + step)
        at_ns += step
    assert at_ns == EPOCH + NS
    assert pieces == whole


def test_deeper_levels_take_new_sizes_now_and_then(tape):
    early, late = (dict(whole_of(tape.snapshot(EPOCH + at, 5_000)).bids) for at in (0, 40 * NS))
    both = early.keys() & late.keys()
    assert len(both) > 20
    assert any(early[px] != late[px] for px in both)


def test_lost_diffs_are_the_same_ones_each_time_and_leave_a_gap():
    params = ModelParams(depth_missing=0.1)
    lossy = DepthTape(1, PricePath(1, params), params)
    frames = lossy.frames(EPOCH, EPOCH + 20 * NS)
    assert frames == lossy.frames(EPOCH, EPOCH + 20 * NS)
    deltas = [delta_of(frame) for frame in frames]
    gaps = sum(after.first != before.last + 1 for before, after in pairwise(deltas))
    assert 5 <= gaps <= 50
    with pytest.raises(ValueError, match="depth_missing"):
        ModelParams(depth_missing=1.0)
