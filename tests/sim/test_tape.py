"""Binance's bytes: the recorded form, and the same whatever the pieces they are asked in."""

from __future__ import annotations

import gzip
import json

import pytest

from sim.frames import BN_TICKER, BN_TRADE
from sim.params import ModelParams
from sim.price import PricePath
from sim.tape import BinanceTape, price_text, size_text

NS = 1_000_000_000
START = 1_790_000_100 * NS


@pytest.fixture(scope="module")
def tape():
    params = ModelParams()
    return BinanceTape(PricePath(1, params), params)


def test_numbers_have_eight_places():
    assert price_text(6_168_599) == "61685.99000000"
    assert price_text(7) == "0.07000000"
    assert size_text(125_869) == "1.25869000"
    assert size_text(9) == "0.00009000"


def test_pieces_of_any_size_give_the_same_stream(tape):
    whole = tape.frames(START - 2 * NS, START + 3 * NS)
    pieces = []
    at = START - 2 * NS
    for step in (1, 7, 999_999_999, 1_500_000_001, 2_499_999_992):
        pieces += tape.frames(at, at + step)
        at += step
    assert at == START + 3 * NS
    assert [frame.payload for frame in pieces] == [frame.payload for frame in whole]
    assert [frame.t_ns for frame in whole] == sorted(frame.t_ns for frame in whole)


def test_a_frame_is_sent_at_its_time_and_not_again(tape):
    for frame in tape.frames(START, START + NS)[:30]:
        assert tape.frames(frame.t_ns - 1, frame.t_ns) == [frame]
        assert tape.frames(frame.t_ns, frame.t_ns + 1) == []


def test_the_last_ticker_is_the_last_one_sent(tape):
    for at in (START, START + 1, START + NS, START + 2 * NS + 12_345):
        sent = [f for f in tape.frames(at - 20 * NS, at) if f.channel == BN_TICKER]
        assert tape.last_ticker(at) == sent[-1].payload


def test_a_trade_has_its_times_and_the_event_is_not_before_the_trade(tape):
    trades = [f for f in tape.frames(START, START + 30 * NS) if f.channel == BN_TRADE]
    assert len(trades) > 50
    for frame in trades:
        trade = json.loads(frame.payload)
        assert 0 <= trade["E"] - trade["T"] <= 1
        assert 0 <= frame.t_ns // 1_000_000 - trade["T"] <= 3


def test_the_form_is_that_of_the_recording(tape, recordings_at):
    mine = {f.channel: f.payload for f in tape.frames(START, START + 30 * NS)}
    theirs = {}
    with gzip.open(recordings_at / "binance" / "spot_btcusdt_20240809.gz") as lines:
        for line in lines:
            message = line.split(b" ", 1)[1].strip()
            stream, data = json.loads(message)["stream"].split("@")[1], message.split(b'"data":')[1]
            theirs.setdefault(f"bn.{stream}", data[:-1])
            if {BN_TICKER, BN_TRADE} <= set(theirs):
                break
    for channel in (BN_TICKER, BN_TRADE):
        left, right = json.loads(mine[channel]), json.loads(theirs[channel])
        assert list(left) == list(right)
        assert [type(value) for value in left.values()] == [type(v) for v in right.values()]
        assert json.dumps(left, separators=(",", ":")).encode() == mine[channel]
        assert json.dumps(right, separators=(",", ":")).encode() == theirs[channel]


def closes(rows):
    return {row[0] // 1000: (row[4], row[8]) for row in rows}


@pytest.mark.parametrize("at_s", [START // NS, START // NS // 300 * 300 + 3])
def test_candles_are_those_of_the_trades_that_were_sent(tape, at_s):
    """The second moment lies just behind the begin of a stretch of the price."""
    at_ns, seconds = at_s * NS + NS // 2, range(at_s - 20, at_s + 1)
    expected = {}
    for frame in tape.frames(at_ns - 25 * NS, at_ns):
        if frame.channel == BN_TRADE:
            trade = json.loads(frame.payload)
            _, count = expected.get(trade["T"] // 1000, ("", 0))
            expected[trade["T"] // 1000] = trade["p"], count + 1
    found = closes(tape.candles(at_ns, seconds))
    assert list(found) == list(seconds), "also the one that runs"
    for second in seconds:
        if second in expected:
            assert found[second] == expected[second]
        else:
            assert found[second] == (found[second - 1][0], 0)


def test_candles_that_are_over_are_the_same_whenever_they_are_asked_for(tape):
    at_s = START // NS
    early = closes(tape.candles(START, range(at_s - 400, at_s)))
    late = closes(tape.candles(START + 200 * NS, range(at_s - 400, at_s)))
    assert list(early) == list(range(at_s - 400, at_s))
    early.pop(at_s - 1), late.pop(at_s - 1)  # Its last trades were still on the wire.
    assert early == late
    assert tape.candles(START, range(0)) == []


def test_another_start_of_the_same_seed_has_the_same_past(tape):
    params = ModelParams()
    other = BinanceTape(PricePath(1, params), params)
    seconds = range(START // NS - 130, START // NS)
    assert other.candles(START, seconds) == tape.candles(START, seconds)


def test_a_trade_is_in_its_candle_from_when_it_is_sent(tape):
    sent = [frame for frame in tape.frames(START, START + NS) if frame.channel == BN_TRADE][-1]
    second = json.loads(sent.payload)["T"] // 1000
    (before,) = tape.candles(sent.t_ns - 1, range(second, second + 1))
    (after,) = tape.candles(sent.t_ns, range(second, second + 1))
    assert after[8] == before[8] + 1


def test_a_second_without_a_trade_has_the_price_of_the_one_before(tape):
    at_s = START // NS
    rows = tape.candles(START, range(at_s - 200, at_s))
    quiet = next(at for at, row in enumerate(rows) if at and row[8] == 0)
    second = rows[quiet][0] // 1000
    assert tape.candles(START, range(second, second + 1)) == [rows[quiet]]
