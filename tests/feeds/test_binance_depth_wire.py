"""Frames of the diff depth stream and REST snapshots: exact values, or why not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counter
from cache.ladder import Delta, Whole
from feeds.binance_depth_wire import (
    LEVELS_MAX,
    DepthUpdate,
    depth_path,
    depth_stream,
    parse_depth,
    parse_snapshot,
)
from feeds.binance_rest_wire import AnswerError
from feeds.binance_wire import BookTicker, Rejected, Reply, Shutdown

REAL = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161601374,"s":"BTCUSDT",'
    b'"U":50093421613,"u":50093421620,"b":[["61685.29000000","0.00083000"],["61000.00000000",'
    b'"0.00000000"]],"a":[["61686.00000000","2.44816000"]]}}'
)


def frame(stream="btcusdt@depth@100ms", **changes):
    data = {"e": "depthUpdate", "E": 1_723_161_601_374, "s": "BTCUSDT", "U": 5, "u": 7}
    data |= {"b": [], "a": []} | changes
    return json.dumps({"stream": stream, "data": data}).replace(": ", ":").encode()


def test_a_recorded_frame_becomes_an_exact_delta():
    found = parse_depth(REAL)
    bids = [(61_685_290_000_000, 830_000), (61_000_000_000_000, 0)]
    delta = Delta(50_093_421_613, 50_093_421_620, bids, [(61_686_000_000_000, 2_448_160_000)])
    assert found == DepthUpdate("BTCUSDT", delta, 1_723_161_601_374_000_000)


def test_keys_nobody_knows_are_ignored():
    assert isinstance(parse_depth(frame(pu=3, st=1)), DepthUpdate)


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (frame(U=8), Counter.feeds_frames_out_of_range),
        (frame(U=0), Counter.feeds_frames_out_of_range),
        (frame(E=0), Counter.feeds_frames_out_of_range),
        (frame(E=2**63 // 10**6 + 1), Counter.feeds_frames_out_of_range),
        (frame(u=2**63), Counter.feeds_frames_out_of_range),
        (frame(b=[["x", "1"]]), Counter.feeds_frames_out_of_range),
        (frame(b=[["-1", "1"]]), Counter.feeds_frames_out_of_range),
        (frame(a=[["1", "1"]] * (LEVELS_MAX + 1)), Counter.feeds_frames_out_of_range),
        (frame(u="7"), Counter.feeds_frames_mistyped),
        (frame(b=None), Counter.feeds_frames_mistyped),
        (frame(b=[["1"]]), Counter.feeds_frames_mistyped),
        (frame(b=[[1, 2]]), Counter.feeds_frames_mistyped),
        (frame(s="ETHUSDT"), Counter.feeds_frames_mistyped),
        (REAL[:60], Counter.feeds_frames_malformed),
        (REAL.replace(b"61685", b"\xff1685"), Counter.feeds_frames_binary),
    ],
)
def test_a_bad_frame_is_rejected_by_its_cause(bad, cause):
    found = parse_depth(bad)
    assert isinstance(found, Rejected)
    assert found.cause is cause


def test_whatever_else_the_connection_brings_is_read_as_everywhere():
    assert parse_depth(b'{"result":["btcusdt@depth@100ms"],"id":3}') == Reply(
        3, ("btcusdt@depth@100ms",)
    )
    assert isinstance(
        parse_depth(
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
        ),
        Shutdown,
    )
    ticker = (
        b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2",'
        b'"A":"1"}}'
    )
    assert isinstance(parse_depth(ticker), BookTicker)


@given(st.binary(max_size=80), st.integers(0, len(REAL)))
def test_no_bytes_raise(noise, at):
    parse_depth(noise)
    parse_depth(REAL[:at] + noise + REAL[at:])


def test_a_snapshot_is_read_whole():
    body = b'{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]],"x":1}'
    assert parse_snapshot(body) == Whole(
        160, [(2_400_000, 10_000_000_000)], [(2_600_000, 100_000_000_000)]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b'{"lastUpdateId":0,"bids":[],"asks":[]}',
        b'{"lastUpdateId":"5","bids":[],"asks":[]}',
        b'{"lastUpdateId":5,"bids":[["a","1"]],"asks":[]}',
        b'{"lastUpdateId":5,"bids":[["1","1"]]}',
        b'{"lastUpdateId":5,"bids":[["1","\xfc"]],"asks":[]}',
    ],
)
def test_a_snapshot_that_is_none_is_refused(body):
    with pytest.raises(AnswerError):
        parse_snapshot(body)


def test_the_names_on_the_wire():
    assert depth_stream("BTCUSDT") == "btcusdt@depth@100ms"
    assert depth_path("BTCUSDT", 1_000) == "/api/v3/depth?symbol=BTCUSDT&limit=1000"
