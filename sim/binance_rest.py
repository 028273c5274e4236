"""Binance's REST market data, as far as a feed falls back on it: the top of book and the depth.

`/binance/api/v3/ticker/bookTicker` and `/depth` answer for the moment of the frames last sent.
The depth of a venue that has no more than a top is that top, with its update id.
"""

from __future__ import annotations

import time

import orjson
from aiohttp import web

from sim.polymarket_rest import json_response
from sim.source import Json, Source

UNKNOWN_SYMBOL = {"code": -1121, "msg": "Invalid symbol."}


class BinanceRest:
    """The handlers of `/binance/api/v3`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers into an application."""
        base = "/binance/api/v3"
        app.router.add_get(f"{base}/ping", self.ping)
        app.router.add_get(f"{base}/time", self.time)
        app.router.add_get(f"{base}/ticker/bookTicker", self.book_ticker)
        app.router.add_get(f"{base}/depth", self.depth)

    async def ping(self, request: web.Request) -> web.Response:
        """`/ping`: nothing, but served."""
        return json_response({})

    async def time(self, request: web.Request) -> web.Response:
        """`/time` in milliseconds."""
        return json_response({"serverTime": time.time_ns() // 1_000_000})

    def _top(self, request: web.Request) -> Json | None:
        raw = self._source.book_ticker(request.query.get("symbol", ""))
        top: Json | None = orjson.loads(raw) if raw is not None else None
        return top

    async def book_ticker(self, request: web.Request) -> web.Response:
        """`/ticker/bookTicker?symbol=`: without update id or time, as the venue has it."""
        top = self._top(request)
        if top is None:
            return json_response(UNKNOWN_SYMBOL, status=400)
        return json_response(
            {
                "symbol": top["s"],
                "bidPrice": top["b"],
                "bidQty": top["B"],
                "askPrice": top["a"],
                "askQty": top["A"],
            }
        )

    async def depth(self, request: web.Request) -> web.Response:
        """`/depth?symbol=`."""
        top = self._top(request)
        if top is None:
            return json_response(UNKNOWN_SYMBOL, status=400)
        bids, asks = [[top["b"], top["B"]]], [[top["a"], top["A"]]]
        return json_response({"lastUpdateId": top["u"], "bids": bids, "asks": asks})
