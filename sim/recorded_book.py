"""The books of a recording, kept so that who comes late can be given them, and mirrored.

Frames are played untouched; this keeps what they say in the meantime. A book asked for in between
is written in the venue's words. Its last trade price, which stands in no frame, is found through
the book's own hash; where that fails, the shape without it is used, so no field is ever invented.

Where a recording holds one token of a market, the other one's book is its mirror, with the right
hash. The invariant: a mirrored frame only ever concerns a token whose own frames the recording
does not hold. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from sim.frames import PM_MARKET, SimFrame
from venue.book_hash import Levels, all_last_trades, find_last_trade_price, hash_text
from venue.decimals import E9, format_e9, parse_e9

_SIDES = {"BUY": "bids", "SELL": "asks"}
_OPPOSITE = {"BUY": "SELL", "SELL": "BUY"}


def complement(price: str) -> str:
    """Give the price of the other token: 1 - p, exactly."""
    return format_e9(E9 - parse_e9(price))


def mirror_id(token: str) -> str:
    """Make up the id of a token that a recording does not name."""
    return str(int.from_bytes(hashlib.sha256(f"mirror of {token}".encode()).digest(), "big"))


def by_best(levels: dict[str, str], *, is_bid: bool) -> list[tuple[str, str]]:
    """Sort levels as the venue does, best last."""
    return sorted(levels.items(), key=lambda level: parse_e9(level[0]), reverse=not is_bid)


@dataclass(slots=True)
class Market:
    """What is known of one market; its books live in `RecordedBooks`."""

    id: str
    tokens: list[str]
    """Up to two, in the order they were seen; which of them is Up, no recording says."""
    tick_size: str = "0.01"
    last_trade: str | None = None
    """As the hash has it; None while no book has proven it."""
    version: str = ""


@dataclass(slots=True)
class _Book:
    market: Market
    timestamp: str = "0"
    hash: str = ""
    raw: bytes | None = None
    """The last `book` event, while nothing has changed since."""
    is_parsed: bool = True
    bids: dict[str, str] = field(default_factory=dict)
    asks: dict[str, str] = field(default_factory=dict)

    def parse(self) -> None:
        """Read the levels out of `raw`, where that was put off."""
        if not self.is_parsed and self.raw is not None:
            self.load(orjson.loads(self.raw))

    def load(self, event: dict[str, Any]) -> None:
        """Take the levels of a `book` event."""
        self.bids = {level["price"]: level["size"] for level in event["bids"]}
        self.asks = {level["price"]: level["size"] for level in event["asks"]}
        self.timestamp, self.hash = event["timestamp"], event.get("hash", "")
        self.market.tick_size = event.get("tick_size", self.market.tick_size)
        self.market.version = event.get("version", self.market.version)
        self.is_parsed = True

    def levels(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Give bids and asks, best last."""
        return by_best(self.bids, is_bid=True), by_best(self.asks, is_bid=False)


class RecordedBooks:
    """Every book a recording has shown so far."""

    def __init__(self) -> None:
        self.markets: dict[str, Market] = {}
        self._books: dict[str, _Book] = {}

    def market_of(self, token: str) -> Market | None:
        """Find the market of a token that has shown a book."""
        book = self._books.get(token)
        return book.market if book else None

    def apply(self, frame: SimFrame) -> None:
        """Take one frame of market data."""
        payload = frame.payload
        if len(frame.key) == 1 and payload[:1] == b"{" and b'"price_change' not in payload:
            known = self._books.get(frame.key[0])
            if known is not None and b'"bids"' in payload:
                # Recordings of whole books: most are replaced before anybody asks for one.
                known.raw, known.is_parsed = payload, False
                return
        events = orjson.loads(payload)
        is_list = isinstance(events, list)
        for event in events if is_list else [events]:
            raw = orjson.dumps(event) if is_list else payload
            self._apply_event(event, raw)

    def _apply_event(self, event: dict[str, Any], raw: bytes) -> None:
        kind = event.get("event_type")
        if kind == "book":
            book = self._book(event["market"], event["asset_id"])
            book.load(event)
            book.raw = raw
        elif kind == "price_change":
            for change in event["price_changes"]:
                book = self._book(event["market"], change["asset_id"])
                book.parse()
                levels: dict[str, str] = getattr(book, _SIDES[change["side"]])
                if change["size"] == "0":
                    levels.pop(change["price"], None)
                else:
                    levels[change["price"]] = change["size"]
                book.timestamp, book.hash = event["timestamp"], change.get("hash", "")
                book.raw = None
        elif kind == "tick_size_change":
            self._book(event["market"], event["asset_id"]).market.tick_size = event["new_tick_size"]

    def _book(self, market_id: str, token: str) -> _Book:
        book = self._books.get(token)
        if book is None:
            market = self.markets.setdefault(market_id, Market(market_id, []))
            if token not in market.tokens:
                market.tokens.append(token)
            book = self._books[token] = _Book(market)
        return book

    def book(self, token: str) -> bytes | None:
        """Write the book of a token as a first `book` event, or None if it has shown none."""
        book = self._books.get(token)
        if book is None:
            return None
        if book.raw is not None and b'"tick_size"' in book.raw:
            return book.raw
        book.parse()
        bids, asks = book.levels()
        self._prove(book, token, bids, asks)
        return _write_book(token, book, bids, asks)

    def _prove(self, book: _Book, token: str, bids: Levels, asks: Levels) -> None:
        """Find tick size and last trade price of the market by the hash of this book."""
        market = book.market
        for tick_size in dict.fromkeys((market.tick_size, "0.01", "0.001")):
            text = hash_text(
                market.id,
                token,
                book.timestamp,
                bids=bids,
                asks=asks,
                tick_size=tick_size,
                version=market.version,
            )
            known = [market.last_trade] if market.last_trade is not None else []
            found = find_last_trade_price(book.hash, text, (*known, *all_last_trades()))
            if found is not None:
                market.tick_size, market.last_trade = tick_size, found
                return
        market.last_trade = None

    # --- the unseen half ----------------------------------------------------------------------

    def unseen_half(self, token: str) -> str | None:
        """Give the made-up id of a token's other half; None where the recording holds that."""
        market = self.market_of(token)
        return mirror_id(token) if market is not None and len(market.tokens) == 1 else None

    def mirrored_book(self, token: str) -> bytes | None:
        """Write the book of the unseen half of `token`."""
        book = self._books.get(token)
        other = self.unseen_half(token)
        if book is None or other is None:
            return None
        book.parse()
        self._prove(book, token, *book.levels())
        mirror = _Book(
            book.market,
            timestamp=book.timestamp,
            bids={complement(price): size for price, size in book.asks.items()},
            asks={complement(price): size for price, size in book.bids.items()},
        )
        bids, asks = mirror.levels()
        mirror.hash = self._hash(mirror, other, bids, asks)
        return _write_book(other, mirror, bids, asks)

    def _hash(self, book: _Book, token: str, bids: Levels, asks: Levels) -> str:
        market = book.market
        text = hash_text(
            market.id,
            token,
            book.timestamp,
            bids=bids,
            asks=asks,
            tick_size=market.tick_size,
            version=market.version,
        )
        whole = text.before + (market.last_trade or "") + text.after
        return hashlib.sha1(whole.encode()).hexdigest()

    def mirrored_frame(self, frame: SimFrame) -> SimFrame | None:
        """Write, after `apply`, what the same event says of the unseen half."""
        other = self.unseen_half(frame.key[0]) if len(frame.key) == 1 else None
        if other is None:
            return None
        token = frame.key[0]
        event = orjson.loads(frame.payload)
        if isinstance(event, list):
            event = event[0]
        book = self.mirrored_book(token)
        if book is None:
            return None
        if event.get("event_type") != "price_change":
            return SimFrame(frame.t_ns, PM_MARKET, (other,), book)
        event["price_changes"] = [
            change
            | {
                "asset_id": other,
                "price": complement(change["price"]),
                "side": _OPPOSITE[change["side"]],
                "hash": orjson.loads(book)["hash"],
                "best_bid": complement(change["best_ask"]),
                "best_ask": complement(change["best_bid"]),
            }
            for change in event["price_changes"]
        ]
        return SimFrame(frame.t_ns, PM_MARKET, (other,), orjson.dumps(event))


def _write_book(token: str, book: _Book, bids: Levels, asks: Levels) -> bytes:
    """Write a `book` event; with tick size and last trade only where the hash has proven them."""
    market = book.market
    sides = {
        "bids": [{"price": price, "size": size} for price, size in bids],
        "asks": [{"price": price, "size": size} for price, size in asks],
    }
    head = {"market": market.id, "asset_id": token}
    stamps = {"timestamp": book.timestamp, "hash": book.hash}
    if market.last_trade is None:
        tail = {"hash": book.hash, "timestamp": book.timestamp, "event_type": "book"}
        return orjson.dumps(head | sides | tail)
    known = {"tick_size": market.tick_size, "event_type": "book"}
    last = {"last_trade_price": market.last_trade}
    version = {"version": market.version} if market.version else {}
    return orjson.dumps(head | stamps | sides | known | last | version)
