"""Binance's REST market data, as far as a feed asks for it.

`/binance/api/v3/ticker/bookTicker`, `/depth` and `/klines` (of a second) answer for the moment of
the frames last sent, `/exchangeInfo` with the grids of the symbols. A replayed venue has no depth,
and says so.
"""

from __future__ import annotations

import time

import orjson
from aiohttp import web

from sim.candles import LIMIT_DEFAULT, LIMIT_MAX
from sim.polymarket_rest import json_response
from sim.source import Json, Source

UNKNOWN_SYMBOL = {"code": -1121, "msg": "Invalid symbol."}
UNKNOWN_INTERVAL = {"code": -1120, "msg": "Invalid interval."}
ILLEGAL = {"code": -1100, "msg": "Illegal characters found in a parameter."}
UNAVAILABLE = {"code": -1000, "msg": "No depth of this symbol is known here."}
DEPTH_DEFAULT, DEPTH_MAX = 100, 5_000
_TIME_MAX_MS = 9_000_000_000_000


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
        app.router.add_get(f"{base}/klines", self.klines)
        app.router.add_get(f"{base}/exchangeInfo", self.exchange_info)

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
        """`/depth?symbol=&limit=`."""
        symbol = request.query.get("symbol", "")
        try:
            limit = _number(request.query.get("limit", str(DEPTH_DEFAULT)))
        except ValueError:
            return json_response(ILLEGAL, status=400)
        found = self._source.depth(symbol, max(1, min(limit, DEPTH_MAX)))
        if found is not None:
            return json_response(found)
        if self._source.book_ticker(symbol) is None:
            return json_response(UNKNOWN_SYMBOL, status=400)
        return json_response(UNAVAILABLE, status=503)

    async def klines(self, request: web.Request) -> web.Response:
        """`/klines?symbol=&interval=1s`, with `limit`, `startTime` and `endTime`."""
        query = request.query
        if query.get("interval") != "1s":
            return json_response(UNKNOWN_INTERVAL, status=400)
        try:
            limit = _number(query.get("limit", str(LIMIT_DEFAULT)))
            start_ms, end_ms = (_time(query.get(name)) for name in ("startTime", "endTime"))
        except ValueError:
            return json_response(ILLEGAL, status=400)
        found = self._source.candles(
            query.get("symbol", ""),
            max(1, min(limit, LIMIT_MAX)),
            # A candle belongs to the answer when it begins within it.
            start_s=None if start_ms is None else -(-start_ms // 1000),
            end_s=None if end_ms is None else end_ms // 1000,
        )
        if found is None:
            return json_response(UNKNOWN_SYMBOL, status=400)
        return json_response(found)

    async def exchange_info(self, request: web.Request) -> web.Response:
        """`/exchangeInfo`, of all symbols, of `symbol=` or of `symbols=["..."]`."""
        query, wanted = request.query, self._source.symbols()
        try:
            if "symbols" in query:
                wanted = tuple(orjson.loads(query["symbols"]))
            elif "symbol" in query:
                wanted = (query["symbol"],)
        except (orjson.JSONDecodeError, TypeError):
            return json_response(ILLEGAL, status=400)
        found = [self._source.rules(str(symbol)) for symbol in wanted]
        if None in found:
            return json_response(UNKNOWN_SYMBOL, status=400)
        now_ms = time.time_ns() // 1_000_000
        body = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": []}
        return json_response(body | {"symbols": found})


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _TIME_MAX_MS:
        raise ValueError(text)
    return int(text)


def _time(text: str | None) -> int | None:
    return None if text is None else _number(text)
