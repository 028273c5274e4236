"""A poller without a network: its answers are given by hand, on a clock of its own."""

import asyncio
import json

from cache.layout import E9, tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds import poller
from feeds.fetch import FetchFailed
from feeds.poller import Poller
from feeds.symbols import ROLE, boards
from host.settings import BinanceFeed as Settings

MS = 1_000_000
WALL_S = 1_791_000_000
SETTINGS = Settings(
    symbols=("BTCUSDT",), symbol_slots=4, feature_interval_ms=100,
    ticker_silence_ms=5_000, trade_silence_ms=60_000, connection_age_s_max=85_800.0,
    overlap_s=10.0, volatility_half_life_s=60.0, volatility_floor_bps=0.2,
    volatility_jump_z=4.0, volatility_jump_half_life_s=20.0, backfill_s=60,
    lookup_timeout_s=5.0, depth=False, source="poll", poll_url="http://service/x?s={symbol}",
    poll_interval_ms=200, poll_timeout_ms=1_000, poll_lag_ms_max=2_000, poll_ignored=("seq",),
)  # fmt: skip


def answer(wall_ms, bid=100.0, ask=101.0, **changes):
    """The body of an answer; a change of ... takes the key away."""
    made = {"wall_ts_ms": wall_ms, "symbol": "BTCUSDT", "bbo_bid": bid, "bbo_ask": ask}
    made |= {"features": {"return_1m": 0.5, "ewma_vol": 77.0}, "pricer": {"shock_z": 9.0}}
    made |= changes
    return json.dumps({k: v for k, v in made.items() if v is not ...}).encode()


class World:
    def __init__(self, namespace, monkeypatch):
        self.namespace = namespace
        self.now_ns = 1_000 * E9
        monkeypatch.setattr(poller, "monotonic_ns", lambda: self.now_ns)
        self.asked, self.replies = [], []
        self.begin()
        self.reader = ReaderSegment.attach(ROLE, namespace=namespace)

    def begin(self):
        self.segment = WriterSegment.create(ROLE, boards(SETTINGS), namespace=self.namespace)
        self.poller = Poller(
            self.segment, SETTINGS, namespace=self.namespace, wall=lambda: self.wall_ns,
            get=self.get,
        )  # fmt: skip

    @property
    def wall_ns(self):
        return self.now_ns + (WALL_S - 1_000) * E9

    @property
    def wall_ms(self):
        return self.wall_ns // MS

    @property
    def slot(self):
        return self.poller.slots["BTCUSDT"]

    async def get(self, url, timeout_s):
        self.asked.append((url, timeout_s))
        found = self.replies.pop(0)
        if isinstance(found, FetchFailed):
            raise found
        return found() if callable(found) else found

    def ask(self, reply):
        self.replies.append(reply)
        return asyncio.run(self.poller.ask(self.slot, "http://service"))

    def take(self, body, took_ms=0):
        asked_ns, self.now_ns = self.now_ns, self.now_ns + took_ms * MS
        return self.poller.take(self.slot, body, asked_ns, self.now_ns)

    def good(self, bid=100.0, ask=101.0):
        """Take an answer of now."""
        return self.take(answer(self.wall_ms, bid, ask))

    def wait(self, seconds, *, late_ns=0):
        """Let time pass up to a tick."""
        self.now_ns += round(seconds * E9)
        self.poller.tick(self.now_ns, self.wall_ns, late_ns)

    def read(self, board="bbo"):
        return self.reader.board(board).read(0, tag_of("binance", "BTCUSDT"))

    def count(self, counter):
        return self.reader.counters[counter]
