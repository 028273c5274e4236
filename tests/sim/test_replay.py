"""Recordings on a clock: pace, speed, rounds, and going on after a death."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import listing
from sim import replay as replay_module
from sim.recordings import RecordingError, frames
from sim.replay import BATCH_MAX, ReplaySource, Tape

S = 1_000_000_000
NOW = 1_800_000_000 * S


def polymarket(tmp_path, start_s=1776323400, *, offsets_ms=(0, 100, 250, 900), token="1"):
    lines = []
    for number, offset in enumerate(offsets_ms):
        book = {"market": "0xab", "asset_id": token, "event_type": "book", "tick_size": "0.01"}
        book |= {"bids": [{"price": "0.4", "size": str(number + 1)}], "asks": []}
        entry = {"recv_s": start_s + offset / 1000, "raw": book | {"timestamp": "1", "hash": ""}}
        lines.append(json.dumps(entry, separators=(",", ":")))
    path = tmp_path / f"btc-updown-5m-{start_s}.jsonl"
    path.write_text("\n".join(lines))
    return path


def binance(tmp_path, offsets_ms=(0, 50, 500)):
    lines = [
        f'{1723161600000000000 + offset * 1_000_000} {{"stream":"btcusdt@bookTicker",'
        f'"data":{{"u":{offset},"s":"BTCUSDT"}}}}'
        for offset in offsets_ms
    ]
    path = tmp_path / "spot.dat"
    path.write_text("\n".join(lines))
    return path


def sizes(found):
    return [orjson.loads(frame.payload)["bids"][0]["size"] for frame in found]


def source(*paths, **options):
    made = ReplaySource(paths, is_mirrored=False, **options)
    made.start(NOW)
    return made


def test_the_first_frame_is_the_state_and_the_rest_come_at_their_pace(tmp_path):
    replay = source(polymarket(tmp_path))
    assert orjson.loads(replay.book("1"))["bids"][0]["size"] == "1"
    assert replay.due(NOW) == []
    assert sizes(replay.due(NOW + S // 4)) == ["2", "3"]
    assert replay.due(NOW + S // 2) == []
    assert sizes(replay.due(NOW + S)) == ["4"]
    assert replay.tapes["polymarket"].is_over


def test_a_speed_multiplies_the_pace(tmp_path):
    replay = source(polymarket(tmp_path), speed_ratio=10)
    assert sizes(replay.due(NOW + S // 40)) == ["2", "3"]


def test_the_venues_clock_is_shifted_to_the_recording(tmp_path):
    replay = source(polymarket(tmp_path))
    assert replay.venue_ns(NOW) == 1776323400 * S
    assert replay.describe(NOW)["clock_behind_ns"] == NOW - 1776323400 * S
    assert replay.shift_ns == 1776323400 * S - NOW


def test_both_venues_start_together_whatever_their_dates(tmp_path):
    replay = source(polymarket(tmp_path), binance(tmp_path))
    channels = [frame.channel for frame in replay.due(NOW + S)]
    pm, bn = "pm.market", "bn.bookTicker"
    assert channels == [bn, pm, pm, bn, pm]
    assert orjson.loads(replay.book_ticker("BTCUSDT"))["u"] == 500
    assert replay.book_ticker("ETHUSDT") is None


def test_recordings_of_one_venue_keep_their_distance(tmp_path):
    early, late = polymarket(tmp_path), polymarket(tmp_path, 1776323700, token="2")
    replay = source(late, early)
    replay.due(NOW + 299 * S)
    assert replay.book("2") is None
    assert replay.market_by_slug("btc-updown-5m-1776323700")["conditionId"] == "0xab"
    assert len(replay.due(NOW + 300 * S)) == 1
    assert replay.book("2") is not None


def test_without_a_pace_the_clock_gives_nothing_and_pulling_gives_all(tmp_path):
    replay = source(polymarket(tmp_path), speed_ratio=0)
    assert not replay.is_paced
    assert list(replay.due(NOW + 100 * S)) == []
    assert sizes(replay.pull("polymarket", None, 2)) == ["2", "3"]
    assert sizes(replay.pull("polymarket", None)) == ["4"]
    assert replay.pull("polymarket", None) == []


def test_at_full_speed_books_and_reading_are_put_off_and_nothing_shows(tmp_path):
    path = polymarket(tmp_path, offsets_ms=range(0, 3000, 10))
    replay, eager = source(path, speed_ratio=0), source(path)
    replay.use_idle_time("polymarket", 100)
    found = replay.pull("polymarket", None, 150)
    replay.use_idle_time("polymarket", 20)
    assert replay.book("1") == found[-1].payload
    found += replay.pull("polymarket", None)
    assert found == list(eager.due(NOW + 5 * S))
    assert replay.tapes["polymarket"].is_over
    assert replay.book("1") == eager.book("1")


def test_what_is_put_off_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.replay.UNSETTLED_MAX", 10)
    monkeypatch.setattr("sim.replay.READ_AHEAD_MAX", 10)
    replay = source(polymarket(tmp_path, offsets_ms=range(100)), speed_ratio=0)
    replay.use_idle_time("polymarket", 1000)
    assert len(replay.tapes["polymarket"]._ahead) == 10
    replay.pull("polymarket", None)
    assert len(replay._unsettled) == 10


def test_a_looped_tape_begins_again_after_a_silence(tmp_path):
    tape = Tape("polymarket", [polymarket(tmp_path)], is_looped=True)
    assert sizes(tape.take(900_000_000)) == ["1", "2", "3", "4"]
    assert tape.take(1_800_000_000) == []
    assert sizes(tape.take(2_000_000_000)) == ["1", "2"]
    assert (tape.round_count, tape.is_over) == (1, False)


def test_a_replay_that_is_behind_is_given_in_batches(tmp_path):
    replay = source(polymarket(tmp_path, offsets_ms=range(BATCH_MAX + 10)))
    assert len(replay.due(NOW + 100 * S)) == BATCH_MAX
    assert len(replay.due(NOW + 100 * S)) == 9


def test_a_killed_replay_goes_on_where_it_would_be(tmp_path):
    path = polymarket(tmp_path, offsets_ms=range(0, 10_000, 100))
    behind_ns = -source(path).shift_ns
    again = ReplaySource([path], is_mirrored=False)
    again.resume(behind_ns, NOW + 5 * S)
    again.start(NOW + 5 * S)
    assert again.shift_ns == -behind_ns
    assert len(again.due(NOW + 5 * S)) == 50


@pytest.mark.parametrize("later_s", [-1, 20])
def test_a_replay_that_is_over_or_not_begun_starts_anew(tmp_path, later_s):
    path = polymarket(tmp_path, offsets_ms=range(0, 10_000, 100))
    behind_ns = -source(path).shift_ns
    again = ReplaySource([path], is_mirrored=False)
    again.resume(behind_ns, NOW + later_s * S)
    again.start(NOW + later_s * S)
    assert again.venue_ns(NOW + later_s * S) == 1776323400 * S


def test_the_unseen_half_is_played_right_behind_its_original(tmp_path):
    replay = ReplaySource([polymarket(tmp_path)])
    replay.start(NOW)
    market = replay.market_by_slug("btc-updown-5m-1776323400")
    original, other = orjson.loads(market["clobTokenIds"])
    found = replay.due(NOW + S // 4)
    assert [frame.key for frame in found] == [(original,), (other,)] * 2
    mirrored = orjson.loads(found[1].payload)
    assert mirrored["asks"] == [{"price": "0.6", "size": "2"}]
    assert orjson.loads(replay.book(other))["asks"][0]["price"] == "0.6"


def test_there_is_no_settlement_feed_and_no_strike(tmp_path):
    replay = source(polymarket(tmp_path))
    assert list(replay.twap_points("btcusd", 60, 60)) == []
    assert replay.event_by_slug("btc-updown-5m-1776323400")["eventMetadata"] is None
    assert replay.event_by_slug("other") is None


def test_a_recording_without_frames_is_refused(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text('{"t":"2026-10-05T23:15:25.682Z","dir":"send","data":"PING"}\n')
    with pytest.raises(RecordingError, match="no frame"):
        ReplaySource([path])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=30))
def test_any_steps_of_the_clock_give_the_same_frames(tmp_path_factory, steps_ms):
    path = polymarket(tmp_path_factory.mktemp("r"), offsets_ms=range(0, 2_000, 70))
    replay, found = source(path), []
    for step in sorted(steps_ms):
        found += replay.due(NOW + step * 1_000_000)
    found += replay.due(NOW + 3 * S)
    assert [frame.payload for frame in found] == [one.payload for one in frames(path)][1:]


def test_a_real_pair_of_recordings_plays_untouched_to_its_end(recordings_at):
    names = ("polymarket/derived/btc-updown-5m-1776326100.price_change.jsonl.gz",)
    paths = [recordings_at / name for name in (*names, "binance/spot_btcusdt_20240808.gz")]
    replay, found = source(*paths), []
    for second in range(400):
        while batch := replay.due(NOW + second * S):
            found += batch
    for path in paths:
        expected = [one.payload for one in frames(path)][1:]
        venue = "bn." if "binance" in str(path) else "pm."
        assert [one.payload for one in found if one.channel.startswith(venue)] == expected


def test_what_was_played_of_the_trades_has_candles(tmp_path):
    start_ms = 1_723_161_600_000
    lines = [f'{start_ms * 10**6} {{"stream":"btcusdt@bookTicker","data":{{"s":"BTCUSDT"}}}}']
    for offset_ms, price in ((100, "10.0"), (900, "11.0"), (2_100, "12.0"), (4_000, "13.0")):
        trade = {"e": "trade", "s": "BTCUSDT", "T": start_ms + offset_ms - 40, "p": price, "q": "1"}
        frame = json.dumps({"stream": "btcusdt@trade", "data": trade | {"m": True}})
        at_ns = (start_ms + offset_ms) * 10**6
        lines.append(f"{at_ns} {frame}".replace(": ", ":").replace(", ", ","))
    path = tmp_path / "spot.dat"
    path.write_text("\n".join(lines))
    replay = source(path)
    assert replay.candles("BTCUSDT", 127) == [], "nothing was played yet"
    assert replay.candles("ETHUSDT", 127) is None
    replay.due(NOW + 2_500_000_000)
    rows = replay.candles("BTCUSDT", 127)
    assert [(row[0] - start_ms, row[4], row[8]) for row in rows] == [
        (0, "11.00000000", 2), (1_000, "11.00000000", 0), (2_000, "12.00000000", 1),
    ]  # fmt: skip
    replay.due(NOW + 5 * S)
    assert [row[4] for row in replay.candles("BTCUSDT", 1)] == ["13.00000000"]
    assert replay.symbols() == ("BTCUSDT",)
    assert replay.rules("BTCUSDT")["symbol"] == "BTCUSDT"
    assert replay.rules("ETHUSDT") is None


# --- recordings that turn to junk -------------------------------------------------------------


@pytest.fixture
def spoilt(tmp_path, monkeypatch):
    """A recording whose fourth line is none, further on than is looked at from the start."""
    monkeypatch.setattr(listing, "SCAN_FRAMES_MAX", 1)
    path = polymarket(tmp_path, offsets_ms=range(0, 1_000, 100))
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:3], "junk", *lines[4:]]))
    return path


def test_a_recording_that_turns_to_junk_ends_there_and_says_so_once(spoilt, monkeypatch):
    said = []
    monkeypatch.setattr(replay_module.log, "error", lambda *words, **_: said.append(words))
    replay = source(spoilt)
    assert sizes(replay.due(NOW + 2 * S)) == ["2", "3"]
    assert replay.due(NOW + 5 * S) == []
    told = replay.describe(NOW + 5 * S)["tapes"]["polymarket"]
    assert told["is_over"]
    assert "line 4" in told["faults"][spoilt.name]
    assert [call[0] for call in said] == ["recording_ends_early"]
    assert orjson.loads(replay.book("1"))["bids"][0]["size"] == "3"


def test_one_that_is_looped_begins_again_where_it_can_be_read_no_further(spoilt):
    replay = source(spoilt, is_looped=True)
    assert sizes(replay.due(NOW + 3 * S)) == ["2", "3", "1", "2", "3", "1", "2", "3"]


def test_a_restart_on_a_recording_that_turns_to_junk_is_no_crash(spoilt):
    again = ReplaySource([spoilt], is_mirrored=False)
    again.resume(NOW - 1776323400 * S, NOW + S // 10)
    again.start(NOW + S // 10)
    assert sizes(again.due(NOW + S // 4)) == ["2", "3"]


@pytest.mark.parametrize("speed_ratio", [1.0, 0.0])
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("junk", ['{"event_type":"book","bids', '{"event_type":"book"}', "[7]"])
def test_a_frame_that_is_junk_is_played_and_says_nothing_of_the_books(
    tmp_path, speed_ratio, is_mirrored, junk
):
    path = polymarket(tmp_path)
    lines = path.read_text().split("\n")
    key = '"asset_id":"1"'
    lines[2] = f'{{"recv_s":1776323400.25,"raw":{junk} {key}}}'
    path.write_text("\n".join(lines))
    replay = ReplaySource([path], is_mirrored=is_mirrored, speed_ratio=speed_ratio)
    replay.start(NOW)
    found = replay.due(NOW + S // 2) if speed_ratio else replay.pull("polymarket", None, 2)
    assert f"{junk} {key}".encode() in [frame.payload for frame in found]
    book = replay.book("1")
    assert book is None or orjson.loads(book)["bids"][0]["size"] == "2"
    (replay.due(NOW + S) if speed_ratio else replay.pull("polymarket", None, 9))
    assert orjson.loads(replay.book("1"))["bids"][0]["size"] == "4"
