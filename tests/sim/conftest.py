"""What the tests of the simulated venue share: a client without a socket, recordings, a source."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest


class FakeClient:
    """Takes what a channel sends; decodes text frames of up to 64 KiB."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.is_open = True
        self.pending_bytes = 0

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send_text(self, text: str) -> None:
        self.frames.append(b"\x81\x00" + text.encode())

    def abort(self) -> None:
        self.is_open = False

    async def close(self, code: int, reason: str = "") -> None:
        self.closed, self.is_open = (code, reason), False

    def take(self) -> list[str]:
        """Give what came since the last time, as text."""
        taken, self.frames = self.frames, []
        return [frame[4 if frame[1] == 126 else 2 :].decode() for frame in taken]

    def take_json(self):
        return [json.loads(text) for text in self.take()]


class FakeRequest:
    """As much of a request as a channel looks at."""

    def __init__(self, path: str = "/", query=None, match_info=None) -> None:
        self.path, self.query, self.match_info = path, query or {}, match_info or {}


class Talk:
    """Puts clients and messages to a channel without a socket."""

    def __init__(self, channel) -> None:
        self.channel = channel

    def join(self, path="/", now_ns=0, **request) -> FakeClient:
        client = FakeClient()
        # The base class would make this entry when it accepts a socket.
        self.channel._clients[client] = _Heart(now_ns)
        self.channel.on_joined(client, FakeRequest(path, **request), now_ns)
        return client

    def leave(self, client) -> None:
        del self.channel._clients[client]
        self.channel.on_left(client)

    def say(self, client, message, now_ns=0) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        asyncio.run(self.channel.on_message(client, text, now_ns))


def _Heart(now_ns):
    from sim.channel import Heart

    return Heart(now_ns)


@pytest.fixture
def talk():
    return Talk


@pytest.fixture
def new_client():
    return FakeClient


@pytest.fixture
def recordings_at() -> Path:
    """The folder of real recordings; skips where none is named, fails where one is missing."""
    named = os.environ.get("PENSTOCK_RECORDINGS")
    if not named:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    return Path(named)


class FakeSource:
    """Knows two tokens of one market and one symbol."""

    tokens = ("111", "222")

    def __init__(self) -> None:
        self.frames = []

    def start(self, wall_ns):
        self.started_ns = wall_ns

    def due(self, wall_ns):
        taken, self.frames = self.frames, []
        return taken

    def venue_ns(self, wall_ns):
        return wall_ns

    def book(self, token):
        if token not in self.tokens:
            return None
        asks = (
            [] if token == "222" else [{"price": "0.9", "size": "1"}, {"price": "0.6", "size": "2"}]
        )
        book = {"market": "0xab", "asset_id": token, "timestamp": "5", "hash": "h", "asks": asks}
        book |= {"bids": [{"price": "0.1", "size": "1"}, {"price": "0.45", "size": "2"}]}
        book |= {"tick_size": "0.001", "event_type": "book", "last_trade_price": "0.500"}
        return json.dumps(book).encode()

    def market_by_slug(self, slug):
        return {"slug": slug, "conditionId": "0xab"} if slug == "known" else None

    def market_by_id(self, identity):
        return self.market_by_slug("known") if identity in (*self.tokens, "0xab") else None

    def event_by_slug(self, slug):
        return {"slug": slug} if slug == "known" else None

    def twap_points(self, symbol, window_seconds, count):
        return ()

    def book_ticker(self, symbol):
        known = b'{"u":7,"s":"BTCUSDT","b":"1.0","B":"2.0","a":"3.0","A":"4.0"}'
        return known if symbol == "BTCUSDT" else None

    def depth(self, symbol, limit):
        if symbol != "BTCUSDT":
            return None
        bids = [["1.0", "2.0"], ["0.9", "5.0"]]
        return {"lastUpdateId": 7, "bids": bids[:limit], "asks": [["3.0", "4.0"]]}

    def candles(self, symbol, limit, *, start_s=None, end_s=None):
        return [[limit, start_s, end_s]] if symbol == "BTCUSDT" else None

    def rules(self, symbol):
        return {"symbol": symbol, "filters": []} if symbol in self.symbols() else None

    def symbols(self):
        return ("BTCUSDT", "ETHUSDT")

    def describe(self, wall_ns):
        return {"mode": "fake"}


@pytest.fixture
def fake_source():
    return FakeSource()


@pytest.fixture
def ask():
    """Call a REST handler without a socket: (handler, path, body, **match) to (status, JSON)."""
    from aiohttp.test_utils import make_mocked_request

    def call(handler, path, body=b"", **match):
        request = make_mocked_request("GET", path, match_info=match)

        async def read():
            return body

        request.read = read
        response = asyncio.run(handler(request))
        return response.status, json.loads(response.body)

    return call
