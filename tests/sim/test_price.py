"""The price: one path whatever the order it is asked in, with the manners of the recorded one."""

from __future__ import annotations

import numpy as np
import pytest

from sim.params import EPOCH_S, ModelParams
from sim.price import BLOCK_EPOCHS, PricePath

NS = 1_000_000_000
FIRST = 1_790_000_100 // EPOCH_S
COUNT = 16


@pytest.fixture(scope="module")
def epochs():
    """Eighty minutes at the rates of the recording."""
    path = PricePath(7, ModelParams(ticker_rate=112.0, trade_rate=30.0))
    return [path.epoch(FIRST + number) for number in range(COUNT)]


def joined(epochs, name):
    return np.concatenate([getattr(epoch, name) for epoch in epochs])


def mids_every(epochs, step_s):
    times = np.arange(FIRST * EPOCH_S + 1, (FIRST + COUNT) * EPOCH_S, step_s) * NS
    ticker_ns = joined(epochs, "ticker_ns")
    mids = (joined(epochs, "bid_c") + joined(epochs, "ask_c")) / 200.0
    return mids[np.searchsorted(ticker_ns, times.astype(np.int64), side="right") - 1]


def test_an_epoch_is_the_same_whatever_was_asked_before():
    params = ModelParams()
    one, other = PricePath(3, params), PricePath(3, params)
    other.epoch(FIRST + 5)
    for name in ("ticker_ns", "ticker_id", "bid_c", "ask_q", "trade_ns", "trade_c", "trade_q"):
        left, right = getattr(one.epoch(FIRST), name), getattr(other.epoch(FIRST), name)
        assert np.array_equal(left, right), name
    assert not np.array_equal(one.epoch(FIRST).bid_c, PricePath(4, params).epoch(FIRST).bid_c[:1])


@pytest.mark.parametrize("first", [FIRST, BLOCK_EPOCHS * (FIRST // BLOCK_EPOCHS + 1) - 2])
def test_epochs_join_without_a_step_also_where_blocks_meet(first):
    path = PricePath(3, ModelParams())
    for index in range(first, first + 3):
        left, right = path.epoch(index), path.epoch(index + 1)
        assert (left.bid_c[-1], left.ask_c[-1]) == (right.first_bid_c, right.first_bid_c + 1)
        assert left.ticker_id[-1] < right.ticker_id[0]
        assert left.trade_id[-1] < right.trade_id[0]
        assert left.ticker_ns[-1] < (index + 1) * EPOCH_S * NS <= right.ticker_ns[0]
        assert left.trade_ns[-1] < (index + 1) * EPOCH_S * NS <= right.trade_ns[0]


def test_times_and_ids_always_rise_and_the_top_is_never_crossed(epochs):
    for name in ("ticker_ns", "ticker_id", "trade_ns", "trade_id"):
        assert (np.diff(joined(epochs, name)) > 0).all(), name
    assert (joined(epochs, "ask_c") > joined(epochs, "bid_c")).all()
    for name in ("bid_q", "ask_q", "trade_q"):
        assert (joined(epochs, name) > 0).all(), name


def test_update_ids_have_gaps_and_trade_ids_have_none(epochs):
    steps = np.diff(joined(epochs, "ticker_id"))
    assert 2 <= np.median(steps) <= 6
    assert steps.max() > 50
    assert (np.diff(joined(epochs, "trade_id")) == 1).all()


def test_trades_are_at_the_side_they_took(epochs):
    for epoch in epochs[:4]:
        seen = np.maximum(np.searchsorted(epoch.ticker_ns, epoch.trade_ns, side="right") - 1, 0)
        expected = np.where(epoch.is_sell, epoch.bid_c[seen], epoch.ask_c[seen])
        assert (epoch.trade_c == expected).all()


def test_the_deviation_per_root_second_is_that_of_the_recording(epochs):
    moves = np.diff(mids_every(epochs, 10))
    assert 5.0 < moves.std() / 10**0.5 < 11.0
    fine = np.diff(mids_every(epochs, 1))
    assert fine.std() < 1.25 * moves.std() / 10**0.5
    # Heavy tails at a second; half of the seconds see no change at all.
    assert ((fine - fine.mean()) ** 4).mean() / fine.var() ** 2 > 8.0
    assert 0.3 < (fine == 0).mean() < 0.7


def test_messages_come_in_bursts_as_recorded(epochs):
    gaps = np.diff(joined(epochs, "ticker_ns"))
    assert 0.33 < (gaps < 100_000).mean() < 0.6
    at_s = (joined(epochs, "ticker_ns") // NS).astype(np.int64)
    counts = np.bincount(at_s - at_s[0])
    assert 60 < counts.mean() < 200
    assert np.percentile(counts, 99) > 3 * counts.mean()
    moves = np.abs(np.diff(mids_every(epochs, 1)))
    assert np.corrcoef(moves, counts[1 : len(moves) + 1])[0, 1] > 0.25


def test_the_spread_is_a_tick_nearly_always_and_at_times_dollars(epochs):
    spread = joined(epochs, "ask_c") - joined(epochs, "bid_c")
    assert 0.85 < (spread == 1).mean() < 0.99
    assert spread.max() > 500


def test_a_move_takes_one_side_first_and_the_other_follows(epochs):
    for epoch in epochs[:4]:
        is_bid, is_ask = np.diff(epoch.bid_c) != 0, np.diff(epoch.ask_c) != 0
        assert is_bid.sum() > 100
        assert not (is_bid & is_ask).any()


def test_configured_rates_are_met_over_a_day():
    params = ModelParams(ticker_rate=60.0, trade_rate=20.0)
    block = PricePath(1, params).block(FIRST // BLOCK_EPOCHS)
    assert abs(block.ticker_count.mean() / EPOCH_S - 60.0) < 1.0
    assert abs(block.trade_count.mean() / EPOCH_S - 20.0) < 0.5
    assert (block.bid_c > 0).all()
    assert (np.diff(block.ticker_id) >= block.ticker_count).all()
