"""A pricer service beside the simulated venue: `/pricer/snapshot?symbol=`, made of the same price.

For the feed that polls its reference instead of streaming it. The answer has the schema that
`cache/bn_poll.py` reads: the top of the frames last sent, and what such a service makes of the last
minute of candles, once a second. Here `ewma_vol` is the deviation of one second's relative return;
null where there are no candles.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import orjson
from aiohttp import web

from sim.binance_rest import UNKNOWN_SYMBOL
from sim.polymarket_rest import json_response
from sim.source import Json, Source

MINUTE_S = 60
_KEEP = 0.5 ** (1.0 / 30.0)
_MS, _NS = 1_000_000, 1_000_000_000
_UNKNOWN: Json = {"return_1m": None, "ewma_vol": None}


class Pricer:
    """The handler of `/pricer/snapshot`."""

    def __init__(self, source: Source, wall_ns: Callable[[], int]) -> None:
        self._source = source
        self._wall_ns = wall_ns
        self._derived: dict[str, tuple[int, Json, Json]] = {}

    def add_routes(self, app: web.Application) -> None:
        """Put the handler into an application."""
        app.router.add_get("/pricer/snapshot", self.snapshot)

    async def snapshot(self, request: web.Request) -> web.Response:
        """`/pricer/snapshot?symbol=`."""
        symbol = request.query.get("symbol", "")
        raw = self._source.book_ticker(symbol)
        if raw is None:
            return json_response(UNKNOWN_SYMBOL, status=404)
        top = orjson.loads(raw)
        venue_ns = self._source.venue_ns(self._wall_ns())
        features, pricer = self._look(symbol, venue_ns // _NS)
        return json_response(
            {
                "wall_ts_ms": venue_ns // _MS,
                "symbol": symbol,
                "bbo_bid": float(top["b"]),
                "bbo_ask": float(top["a"]),
                "features": features,
                "pricer": pricer,
            }
        )

    def _look(self, symbol: str, second: int) -> tuple[Json, Json]:
        held = self._derived.get(symbol)
        if held is None or held[0] != second:
            rows = self._source.candles(symbol, MINUTE_S + 2) or []
            closes = [float(str(row[4])) for row in rows[:-1]]  # The newest is not over.
            held = self._derived[symbol] = (second, *derive(closes))
        return held[1], held[2]


def derive(closes: list[float]) -> tuple[Json, Json]:
    """Features and pricer of an answer, from the closes of whole seconds, oldest first."""
    if len(closes) <= MINUTE_S:
        return _UNKNOWN, {"shock_z": None}
    changes = [now / then - 1.0 for then, now in pairwise(closes)]
    total = weight = 0.0
    for change in changes[:-1]:
        total = _KEEP * total + (1.0 - _KEEP) * change * change
        weight = _KEEP * weight + (1.0 - _KEEP)
    deviation = (total / weight) ** 0.5
    features = {"return_1m": closes[-1] / closes[-1 - MINUTE_S] - 1.0, "ewma_vol": deviation}
    return features, {"shock_z": changes[-1] / deviation if deviation else None}
