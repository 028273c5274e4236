"""Truth on recordings: after each read of the socket the published top is the last bookTicker."""

import gzip
import json
import os
import random
import time
from pathlib import Path

import pytest

from cache.counters import Counter, Histogram
from cache.layout import tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds.binance import ROLE, BinanceFeed, boards
from host.settings import BinanceFeed as Settings
from venue.decimals import parse_e9

RECORDINGS = os.environ.get("PENSTOCK_RECORDINGS")
BTC = ("BTCUSDT",)
FILES = {
    "spot_btcusdt_20240808.gz": (BTC, 28_040),
    "spot_btcusdt_20240809.gz": (BTC, 45_134),
    "spot_btcusdt_20230405.dat.gz": (BTC, 8_015),
    "BINANCE.ws.1.0": (("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR"), 0),
}


def frames(name):
    if RECORDINGS is None:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    path = Path(RECORDINGS) / "binance" / name
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in data.splitlines():
        start = line.find(b'{"stream"')
        if start >= 0:
            yield line[start:]


class Group:
    """Stands in for a task group: connections are not made."""

    def create_task(self, coroutine):
        coroutine.close()


@pytest.mark.parametrize("name", FILES)
def test_the_published_top_is_the_last_book_ticker(name):
    symbols, ticker_count = FILES[name]
    settings = Settings(
        symbols=symbols, symbol_slots=4, feature_interval_ms=100, ticker_silence_ms=5_000,
        trade_silence_ms=60_000, connection_age_s_max=85_800.0, overlap_s=10.0,
        volatility_half_life_s=60.0, volatility_floor_bps=0.2, volatility_jump_z=4.0,
        volatility_jump_half_life_s=20.0, backfill_s=60, lookup_timeout_s=5.0, depth=False,
        source="stream",
        poll_url="http://service/x", poll_interval_ms=200, poll_timeout_ms=1_000,
        poll_lag_ms_max=2_000, poll_ignored=(),
    )  # fmt: skip
    namespace = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    writer = WriterSegment.create(ROLE, boards(settings), namespace=namespace)
    try:
        feed = BinanceFeed(
            writer, "ws://venue/stream", settings, rest_url="http://venue", namespace=namespace
        )
        feed._group = Group()
        feed._open_lane("start")
        lane = feed.lanes[0]
        lane.on_connected(lambda text: None)
        reader = ReaderSegment.attach(ROLE, namespace=namespace)
        board, rng = reader.board("bbo"), random.Random(1)
        last, trades, left, seen = {}, {}, 1, 0
        for frame in frames(name):
            data = json.loads(frame)["data"]
            if "A" in data:
                last[data["s"]] = data
                seen += 1
            elif data["e"] == "trade":
                trades[data["s"]] = data
            lane.on_frame(frame, time.monotonic_ns())
            left -= 1
            if left:
                continue
            left = rng.randint(1, 20)
            lane.on_burst()
            for slot, symbol in enumerate(symbols):
                if symbol in last:
                    found, want = board.read(slot, tag_of("binance", symbol)), last[symbol]
                    assert (found.venue_seq, found.flags) == (want["u"], 0)
                    top = (found.bid_px_e9, found.bid_qty_e9, found.ask_px_e9, found.ask_qty_e9)
                    assert top == tuple(parse_e9(want[name]) for name in "bBaA")
                if symbol in trades and symbol in last:
                    assert found.last_px_e9 == parse_e9(trades[symbol]["p"])
        lane.on_burst()
        counters = reader.counters
        conflated = counters[Counter.feeds_updates_conflated]
        assert counters[Counter.feeds_frames_rejected] == 0
        assert counters[Counter.feeds_updates_outdated] == 0
        assert seen >= ticker_count > 0 or (seen > 10 and not ticker_count)
        published = int(counters.buckets(Histogram.wire_to_slot_ns).sum())
        assert published + conflated == seen, "every accepted ticker is published or counted"
    finally:
        writer.close(remove=True)
