"""Every format of recording is read, its bytes untouched, its times in order."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.recordings import BINANCE, POLYMARKET, RecordingError, frames, slug_of, venue_of

BOOK = '{"market":"0xabc","asset_id":"111","bids":[],"asks":[],"event_type":"book"}'
SPACED = '{"market": "0xabc", "price_changes": [{"asset_id": "111"}, {"asset_id": "222"}]}'
TICKER = '{"u":1,"s":"BTCUSDT","b":"1.0","B":"1","a":"2.0","A":"1"}'


def written(tmp_path, text, *, name="x.jsonl"):
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
@pytest.mark.parametrize("key", ["raw", "frame"])
def test_a_recorder_line_is_cut_and_its_object_untouched(tmp_path, key, name):
    line = '{"recv_s":1776323404.7760892,"%s":%s}\n'
    (frame,) = frames(written(tmp_path, line % (key, BOOK), name=name))
    assert frame.payload == BOOK.encode()
    assert frame.t_ns == 1776323404776089200
    assert (frame.channel, frame.key) == ("pm.market", ("111",))


def test_frames_recorded_as_text_keep_their_blanks_and_answers_are_left_out(tmp_path):
    entries = [
        {"receivedAt": "2026-09-30T11:16:20.252Z", "payloadUtf8": f"[{BOOK}]\n"},
        {"receivedAt": "2026-09-30T11:16:21Z", "payloadUtf8": "PONG"},
        {"receivedAt": "2026-09-30T11:16:22Z", "payloadUtf8": SPACED},
    ]
    text = "\n".join(json.dumps(entry) for entry in entries)
    first, second = frames(written(tmp_path, text))
    assert first.payload == f"[{BOOK}]\n".encode()
    assert second.payload == SPACED.encode()
    assert second.key == ("111", "222")
    assert second.t_ns - first.t_ns == 1_748_000_000


def test_a_session_gives_what_was_received_and_a_bare_object_carries_its_own_time(tmp_path):
    entries = [
        {"t": "2026-10-05T23:15:25.682Z", "dir": "send", "data": "PING"},
        {"t": "2026-10-05T23:15:25.847Z", "dir": "recv", "data": BOOK},
        {"t": "2026-10-05T23:15:26.847Z", "dir": "recv", "data": "PONG"},
        {"received_ms": 1791242127000, "raw": SPACED},
    ]
    bare = '{"asset_id":"111","timestamp":"1791242128000"}'
    text = "\n".join([*(json.dumps(entry) for entry in entries), bare])
    found = list(frames(written(tmp_path, text)))
    assert [frame.payload for frame in found] == [BOOK.encode(), SPACED.encode(), bare.encode()]
    assert found[-1].t_ns == 1791242128000 * 10**6


@pytest.mark.parametrize(
    ("stamp", "t_ns"),
    [
        ("1723161600001692584", 1723161600001692584),
        ("1680652800004231", 1680652800004231000),
        ("1680652800004", 1680652800004000000),
        ("1633998512.0633569:", 1633998512063356900),
    ],
)
def test_binance_lines_of_every_clock_are_unwrapped(tmp_path, stamp, t_ns):
    text = f'{stamp} {{"stream":"btcusdt@bookTicker","data":{TICKER}}}\n'
    path = written(tmp_path, f'{text}{stamp} {{"lastUpdateId":1}}\n')
    assert venue_of(path) == BINANCE
    (frame,) = frames(path)
    assert (frame.t_ns, frame.payload) == (t_ns, TICKER.encode())
    assert (frame.channel, frame.key) == ("bn.bookTicker", ("BTCUSDT",))


def test_times_never_go_back(tmp_path):
    lines = [f'{{"recv_s":{at},"raw":{BOOK}}}' for at in (2.5, 1.0, 3.0)]
    times = [frame.t_ns for frame in frames(written(tmp_path, "\n".join(lines)))]
    assert times == [2_500_000_000, 2_500_000_000, 3_000_000_000]


@given(st.integers(0, 2 * 10**9), st.integers(0, 10**9 - 1))
def test_seconds_become_nanoseconds_exactly(whole, part):
    from sim.recordings import _seconds_ns

    assert _seconds_ns(f"{whole}.{part:09d}") == whole * 10**9 + part


@pytest.mark.parametrize("text", ["", "hello\n", "<html>"])
def test_what_is_no_recording_is_refused_by_name(tmp_path, text):
    with pytest.raises(RecordingError, match=r"x\.jsonl"):
        list(frames(written(tmp_path, text)))


def test_a_damaged_line_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(RecordingError, match="line 2"):
        list(frames(written(tmp_path, '{"recv_s":1.0,"raw":{}}\n{"a":1}\n')))
    with pytest.raises(RecordingError, match="name a recording that exists"):
        venue_of(tmp_path / "absent")


def test_the_slug_is_the_name_without_its_endings(tmp_path):
    path = tmp_path / "btc-updown-5m-1776323400.price_change.jsonl.gz"
    assert slug_of(path) == "btc-updown-5m-1776323400"


COUNTS = {
    "polymarket/books/btc-updown-5m-1776326100.jsonl.gz": 5369,
    "polymarket/derived/btc-updown-5m-1776336900.price_change.jsonl.gz": 33,
    "polymarket/frames/15m_raw.first30.jsonl": 30,
    "polymarket/frames/market-ws-frames-h1-run-8.jsonl": 26,
    "polymarket/frames/polymarket_book.jsonl": 10,
    "polymarket/frames/polymarket_trade.jsonl": 10,
    "polymarket/frames/ws-market-v2-session.jsonl": 2,
    "binance/BINANCE.ws.1.0": 265,
    "binance/spot_btcusdt_20230405.dat.gz": 15088,
}


@pytest.mark.parametrize("name", COUNTS)
def test_real_recordings_are_read_whole_and_every_frame_is_json(recordings_at, name):
    import orjson

    path = recordings_at / name
    found = list(frames(path))
    assert len(found) == COUNTS[name]
    for frame in found[:: max(1, len(found) // 200)]:
        orjson.loads(frame.payload)
    assert venue_of(path) == (BINANCE if name.startswith("binance") else POLYMARKET)
