"""Truth on recordings: the book of snapshot and diffs has the best prices of the bookTicker."""

from __future__ import annotations

import gzip
import os
import re
from collections import Counter as Count
from pathlib import Path

import pytest

from cache.ladder import LEVELS_MAX, Ladder, Outcome
from feeds.binance_depth_wire import DepthUpdate, parse_depth, parse_snapshot
from feeds.binance_wire import BookTicker

RECORDINGS = os.environ.get("PENSTOCK_RECORDINGS")
BTC = ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")


def lines(name):
    if RECORDINGS is None:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    path = Path(RECORDINGS) / "binance" / name
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.splitlines()


class Follower:
    """Follows the books of a recording, and compares them with the tickers of the same id."""

    def __init__(self, levels_max=LEVELS_MAX):
        self.levels_max = levels_max
        self.ladders = {}
        self.tickers = {}
        self.outcomes = Count()
        self.thin = 0
        self.books = {}

    def ladder(self, symbol):
        return self.ladders.setdefault(symbol, Ladder(self.levels_max))

    def snapshot(self, symbol, body):
        ladder = self.ladder(symbol)
        self.outcomes["snapshot", ladder.apply_snapshot(parse_snapshot(body), 1)] += 1

    def frame(self, raw):
        event = parse_depth(raw)
        if isinstance(event, BookTicker):
            self.tickers[event.symbol, event.update_id] = event
        elif isinstance(event, DepthUpdate):
            ladder = self.ladder(event.symbol)
            self.outcomes[ladder.apply_delta(event.delta, 1)] += 1
            if ladder.is_ready:
                self.thin += ladder.is_thin(20)
                top = (*ladder.bids(1), *ladder.asks(1))
                self.books[event.symbol, ladder.sequence] = top

    def compare(self):
        """Give how many books had a ticker of the same id; all must have its best levels."""
        both = self.books.keys() & self.tickers.keys()
        for key in both:
            found = self.tickers[key]
            bid = (found.bid_px_e9, found.bid_qty_e9)
            ask = (found.ask_px_e9, found.ask_qty_e9)
            assert self.books[key] == (bid, ask), key
        return len(both)


@pytest.mark.parametrize("levels_max", [LEVELS_MAX, 100_000])
def test_ten_minutes_of_btc_agree_with_every_ticker_and_miss_nothing(levels_max):
    """With as many levels as a feed keeps, as long as they last; and with all that were told."""
    follower = Follower(levels_max)
    for name in BTC:
        for line in lines(name):
            body = line[line.find(b"{") :]
            if body.startswith(b'{"lastUpdateId"'):
                follower.snapshot("BTCUSDT", body)
            elif body.startswith(b'{"stream"'):
                follower.frame(body)
    count = follower.compare()
    print(f"{count} tops equal, {follower.thin} times thin, {follower.outcomes}")
    assert follower.outcomes["snapshot", Outcome.APPLIED] == 1
    assert follower.outcomes[Outcome.GAP] == follower.outcomes[Outcome.CROSSED] == 0
    assert follower.outcomes[Outcome.INVALID] == 0
    if levels_max == LEVELS_MAX:
        # Nobody is there to ask for a new snapshot: then the book ends rather than show a hole.
        assert count > 400
        assert follower.outcomes[Outcome.EXHAUSTED] == 1
    else:
        assert count > 1_000
        assert follower.outcomes[Outcome.EXHAUSTED] == 0


def test_the_books_of_four_thin_symbols_agree_with_every_ticker():
    follower, asked = Follower(), {}
    for line in lines("BINANCE.http.0.0"):
        found = re.match(rb"https://\S+depth\?symbol=(\w+)\S* -> [\d.]+: (\{.*)", line)
        if found:
            asked[found[1].decode()] = found[2]
    for line in lines("BINANCE.ws.1.0"):
        body = line[line.find(b"{") :]
        if body.startswith(b'{"stream"') and b"@kline" not in body[:40]:
            follower.frame(body)
        # The answers came while the first frames did.
        for symbol in [one for one in asked if follower.ladder(one).waiting_count >= 1]:
            follower.snapshot(symbol, asked.pop(symbol))
    assert not asked
    assert follower.compare() > 20
    assert follower.outcomes[Outcome.GAP] == follower.outcomes[Outcome.CROSSED] == 0
    print(f"{follower.compare()} tops equal, {follower.outcomes}")
