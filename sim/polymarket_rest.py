"""Gamma and the REST side of the order book, as far as market data and listings need them.

Gamma: markets and events by slug, markets by token or condition id. CLOB: the book of one token or
of several, and the small look-ups around it. Every answer is of the same moment as the frames last
sent. The invariant: what the venue does not know is said to be unknown (404, or left out of a
list), never an empty book. Orders and accounts are not served.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp import web

from sim.source import Json, Source
from venue.decimals import E9, format_e9, parse_e9

BOOKS_MAX = 500
MIN_ORDER_SIZE = "5"
NO_BOOK = "No orderbook exists for the requested token id"


def json_response(value: object, *, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8"
    )


def _error(status: int, text: str) -> web.Response:
    return json_response({"error": text}, status=status)


class PolymarketRest:
    """The handlers of `/polymarket/gamma` and `/polymarket/clob`."""

    def __init__(self, source: Source, wall_ns: Callable[[], int]) -> None:
        self._source = source
        self._wall_ns = wall_ns

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers into an application."""
        gamma, clob = "/polymarket/gamma", "/polymarket/clob"
        app.router.add_get(f"{gamma}/markets", self.markets)
        app.router.add_get(f"{gamma}/markets/keyset", self.markets)
        app.router.add_get(f"{gamma}/markets/slug/{{slug}}", self.market)
        app.router.add_get(f"{gamma}/events", self.events)
        app.router.add_get(f"{gamma}/events/slug/{{slug}}", self.event)
        app.router.add_get(f"{clob}/time", self.time)
        app.router.add_get(f"{clob}/version", self.version)
        app.router.add_get(f"{clob}/book", self.book)
        app.router.add_post(f"{clob}/books", self.books)
        for name in ("midpoint", "spread", "tick-size", "neg-risk", "fee-rate", "last-trade-price"):
            app.router.add_get(f"{clob}/{name}", self.detail)

    # --- Gamma --------------------------------------------------------------------------------

    async def market(self, request: web.Request) -> web.Response:
        """`/markets/slug/{slug}`."""
        market = self._source.market_by_slug(request.match_info["slug"])
        return json_response(market) if market else _error(404, "slug not found")

    async def event(self, request: web.Request) -> web.Response:
        """`/events/slug/{slug}`."""
        event = self._source.event_by_slug(request.match_info["slug"])
        return json_response(event) if event else _error(404, "slug not found")

    async def events(self, request: web.Request) -> web.Response:
        """`/events?slug=`."""
        found = [self._source.event_by_slug(slug) for slug in request.query.getall("slug", [])]
        return json_response([event for event in found if event])

    async def markets(self, request: web.Request) -> web.Response:
        """`/markets?slug=` or `?clob_token_ids=` or `?condition_ids=`, each any number of times."""
        query = request.query
        found = [self._source.market_by_slug(slug) for slug in query.getall("slug", [])]
        for name in ("clob_token_ids", "condition_ids"):
            for listed in query.getall(name, []):
                found.extend(self._source.market_by_id(identity) for identity in listed.split(","))
        # Two tokens of one market name one market.
        unique = {market["conditionId"]: market for market in found if market}
        if request.path.endswith("keyset"):
            return json_response({"markets": list(unique.values()), "next_cursor": ""})
        return json_response(list(unique.values()))

    # --- CLOB ---------------------------------------------------------------------------------

    async def time(self, request: web.Request) -> web.Response:
        """`/time`: the venue's clock, in seconds."""
        return json_response(self._source.venue_ns(self._wall_ns()) // E9)

    async def version(self, request: web.Request) -> web.Response:
        """`/version` of the exchange contracts."""
        return json_response({"version": 2})

    def _summary(self, token: str) -> Json | None:
        """Write the book of a token as REST does: the `book` event and what seeds its hash."""
        raw = self._source.book(token)
        if raw is None:
            return None
        event = orjson.loads(raw)
        summary = {name: event[name] for name in ("market", "asset_id", "timestamp", "hash")}
        summary |= {"bids": event["bids"], "asks": event["asks"]}
        summary |= {
            "min_order_size": MIN_ORDER_SIZE,
            "tick_size": event.get("tick_size", "0.01"),
            "neg_risk": False,
            "last_trade_price": event.get("last_trade_price", ""),
        }
        return summary | ({"version": event["version"]} if "version" in event else {})

    async def book(self, request: web.Request) -> web.Response:
        """`/book?token_id=`."""
        summary = self._summary(request.query.get("token_id", ""))
        return json_response(summary) if summary else _error(404, NO_BOOK)

    async def books(self, request: web.Request) -> web.Response:
        """`POST /books`: up to 500; tokens without a book are left out."""
        try:
            asked = orjson.loads(await request.read())
            tokens = [entry["token_id"] for entry in asked]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return _error(400, "Invalid payload")
        if len(tokens) > BOOKS_MAX:
            return _error(400, "Payload exceeds the limit")
        found = [self._summary(token) for token in tokens if isinstance(token, str)]
        return json_response([summary for summary in found if summary])

    async def detail(self, request: web.Request) -> web.Response:
        """Answer one of the small look-ups of a token."""
        summary = self._summary(request.query.get("token_id", ""))
        if summary is None:
            return _error(404, NO_BOOK)
        name = request.path.rpartition("/")[2]
        if name in ("midpoint", "spread"):
            return _of_the_top(name, summary)
        answers: dict[str, Json] = {
            "tick-size": {"minimum_tick_size": float(summary["tick_size"])},
            "neg-risk": {"neg_risk": False},
            "fee-rate": {"base_fee": 1000},
            "last-trade-price": {"price": summary["last_trade_price"], "side": ""},
        }
        return json_response(answers[name])


def _of_the_top(name: str, summary: Json) -> web.Response:
    """Answer midpoint or spread; a one-sided book has neither."""
    if not summary["bids"] or not summary["asks"]:
        return _error(404, NO_BOOK)
    bid = parse_e9(summary["bids"][-1]["price"])
    ask = parse_e9(summary["asks"][-1]["price"])
    if name == "spread":
        return json_response({"spread": format_e9(ask - bid)})
    return json_response({"mid": format_e9((bid + ask) // 2)})
