"""A Polymarket whose markets do what a test says: the simulated venue, a source of its own.

Each market is asked 0.50; its bid moves between 0.40 and 0.41 with every change, and its size is a
number that grows. A market that is `busy` changes ten times a second, another one never. What REST
says is the truth of this moment, whatever a fault withholds from the stream.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time

from cache.layout import tag_of
from sim.control import Command, Control
from sim.frames import PM_MARKET, SimFrame
from sim.server import SimServer

CHANGE_NS = 100_000_000


class ScriptedMarket:
    """One market and the truth about it."""

    def __init__(self, number: int, *, is_busy: bool) -> None:
        self.id = f"0x{number:064x}"
        self.slug = f"market-{number}"
        self.tag = tag_of("polymarket", self.id)
        self.tokens = (f"{number:03}1" * 15, f"{number:03}2" * 15)
        self.is_busy = is_busy
        self.number = 1_000
        self.changed_ms = time.time_ns() // 1_000_000

    def listing(self):
        return {
            "conditionId": self.id, "slug": self.slug, "outcomes": '["Yes", "No"]',
            "clobTokenIds": json.dumps(self.tokens), "orderPriceMinTickSize": 0.01,
            "orderMinSize": 5, "negRisk": False, "closed": False,
        }  # fmt: skip

    def bid(self):
        """The price of the bid, and of the other token's ask."""
        return ("0.41", "0.59") if self.number % 2 else ("0.4", "0.6")

    def book(self, token):
        bid, ask = self.bid()
        yes = ([(bid, str(self.number))], [("0.5", "20")])
        no = ([("0.5", "20")], [(ask, str(self.number))])
        bids, asks = yes if token == self.tokens[0] else no
        sides = {
            "bids": [{"price": px, "size": qty} for px, qty in bids],
            "asks": [{"price": px, "size": qty} for px, qty in asks],
        }
        head = {"market": self.id, "asset_id": token, "timestamp": str(self.changed_ms), "hash": ""}
        return json.dumps(head | sides | {"event_type": "book"}).encode()

    def change(self, wall_ns):
        """Move the bid, and say so for both tokens."""
        before = self.bid()
        self.number += 1
        self.changed_ms = wall_ns // 1_000_000
        bid, ask = self.bid()
        changes = [
            {
                "asset_id": token, "price": px, "size": size, "side": side, "hash": "",
                "best_bid": best[0], "best_ask": best[1],
            }
            for token, side, best, levels in (
                (self.tokens[0], "BUY", (bid, "0.5"), (before[0], bid)),
                (self.tokens[1], "SELL", ("0.5", ask), (before[1], ask)),
            )
            for px, size in zip(levels, ("0", str(self.number)), strict=True)
        ]  # fmt: skip
        event = {
            "market": self.id, "price_changes": changes, "timestamp": str(self.changed_ms),
            "event_type": "price_change",
        }  # fmt: skip
        return SimFrame(wall_ns, PM_MARKET, self.tokens, json.dumps(event).encode())


class ScriptedSource:
    """The source of such markets; what the server asks beside them it does not know."""

    def __init__(self, *busy: bool) -> None:
        self.markets = [ScriptedMarket(n, is_busy=one) for n, one in enumerate(busy, 1)]
        self._by_id = {
            identity: market for market in self.markets for identity in (market.id, *market.tokens)
        }
        self._due_ns = 0

    def start(self, wall_ns):
        self._due_ns = wall_ns

    def due(self, wall_ns):
        if wall_ns < self._due_ns:
            return []
        self._due_ns = wall_ns + CHANGE_NS
        return [market.change(wall_ns) for market in self.markets if market.is_busy]

    def venue_ns(self, wall_ns):
        return wall_ns

    def book(self, token):
        market = self._by_id.get(token)
        return market.book(token) if market is not None else None

    def market_by_id(self, identity):
        market = self._by_id.get(identity)
        return market.listing() if market is not None else None

    def market_by_slug(self, slug):
        return None

    event_by_slug = book_ticker = rules = market_by_slug

    def twap_points(self, symbol, window_seconds, count):
        return ()

    def symbols(self):
        return ()

    def describe(self, wall_ns):
        return {"mode": "scripted"}


class ScriptedVenue:
    """The server in a thread; a context manager."""

    def __init__(self, *busy: bool) -> None:
        self.source = ScriptedSource(*busy)
        self.markets = self.source.markets
        self.server = SimServer(self.source)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._running.cancel)
        self._thread.join(10)
        self._loop.close()

    def _main(self):
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        await self.server.start()
        self._running = asyncio.ensure_future(self.server.run())
        self._ready.set()
        await asyncio.wait([self._running])
        await self.server.close()

    def fault(self, fault, **words):
        """Do what a POST to /control does."""
        channels = {channel.name: channel for channel in self.server._channels}
        control = Control(channels, self.server._rest_faults, dict)
        done = control.do(Command(fault=fault, **words), time.monotonic_ns())
        return asyncio.run_coroutine_threadsafe(done, self._loop).result(10)

    def cut_one(self):
        """End the oldest connection of the market channel without a word; give its tokens."""
        (channel,) = (one for one in self.server._channels if one.name == "polymarket")

        async def cut():
            client = channel.clients[0]
            tokens = frozenset(channel._subscriptions[client].tokens)
            client.abort()
            return tokens

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def urls(self):
        at = f"127.0.0.1:{self.server.port}/polymarket"
        return {
            "ws_url": f"ws://{at}/ws/market", "polybolt_url": "",
            "gamma_url": f"http://{at}/gamma", "clob_url": f"http://{at}/clob",
        }  # fmt: skip
