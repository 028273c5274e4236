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
