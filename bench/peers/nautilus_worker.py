"""NautilusTrader 1.221 on the same frames: decode, deltas per instrument, applied to its books.

Runs in the peers' environment and imports nothing of this project. It is the path of the adapter's
data client without what comes before and after: no socket, no look-up of instruments by text, no
message bus; so it is flattered. With `quotes` a QuoteTick is made of each book that changed, which
is what its readers of best prices are given. Requests and answers are lines of JSON
(`environment.Worker`).
"""

from __future__ import annotations

import gc
import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.adapters.polymarket.schemas.book import (  # type: ignore[import-not-found]
    PolymarketBookSnapshot,
    PolymarketQuotes,
    PolymarketTickSizeChange,
    PolymarketTrade,
)
from nautilus_trader.model.book import OrderBook  # type: ignore[import-not-found]
from nautilus_trader.model.currencies import USDC  # type: ignore[import-not-found]
from nautilus_trader.model.data import QuoteTick  # type: ignore[import-not-found]
from nautilus_trader.model.enums import AssetClass, BookType  # type: ignore[import-not-found]
from nautilus_trader.model.identifiers import (  # type: ignore[import-not-found]
    InstrumentId,
    Symbol,
)
from nautilus_trader.model.instruments import BinaryOption  # type: ignore[import-not-found]
from nautilus_trader.model.objects import Price, Quantity  # type: ignore[import-not-found]

EVENTS = PolymarketBookSnapshot | PolymarketQuotes | PolymarketTrade | PolymarketTickSizeChange
decode_one = msgspec.json.Decoder(EVENTS).decode
decode_any = msgspec.json.Decoder(list[EVENTS]).decode  # type: ignore[valid-type]


def instrument(market: str, token: str) -> Any:
    """Make the instrument of a token as the adapter does: ticks of a cent, sizes of 1e-6."""
    return BinaryOption(
        instrument_id=InstrumentId.from_str(f"{market}-{token}.POLYMARKET"),
        raw_symbol=Symbol(token),
        outcome="Up",
        description="bench",
        asset_class=AssetClass.ALTERNATIVE,
        currency=USDC,
        price_precision=2,
        price_increment=Price.from_str("0.01"),
        size_precision=6,
        size_increment=Quantity.from_str("0.000001"),
        activation_ns=0,
        expiration_ns=1 << 60,
        max_quantity=None,
        min_quantity=Quantity.from_str("5"),
        maker_fee=Decimal(0),
        taker_fee=Decimal(0),
        ts_event=0,
        ts_init=0,
    )


class Case:
    """One market's instruments and books, and the frames it is given."""

    def __init__(self, request: dict[str, Any]) -> None:
        lines = Path(request["path"]).read_bytes().splitlines()
        self.first, self.frames = lines[0], lines[1:]
        tokens = [token for token in request["tokens"] if token]
        self.instruments = {token: instrument(request["market"], token) for token in tokens}
        self.books: dict[str, Any] = {}
        self.has_quotes = False

    def reset(self) -> None:
        """Put the first whole books in place."""
        for event in decode_any(self.first):
            self.on_book(event)

    def on_book(self, event: Any) -> None:
        option = self.instruments[event.asset_id]
        deltas = event.parse_to_snapshot(option, time.time_ns())
        book = OrderBook(option.id, book_type=BookType.L2_MBP)
        if deltas is not None:
            book.apply_deltas(deltas)
        self.books[event.asset_id] = book
        if self.has_quotes:
            event.parse_to_quote(option, time.time_ns())

    def on_changes(self, event: Any) -> None:
        changes = event.price_changes
        token = changes[0].asset_id
        if all(change.asset_id == token for change in changes):
            self.apply(token, event)
            return
        by_token: dict[str, list[Any]] = {}
        for change in changes:
            by_token.setdefault(change.asset_id, []).append(change)
        for token, own in by_token.items():
            self.apply(token, PolymarketQuotes(event.market, own, event.timestamp))

    def apply(self, token: str, event: Any) -> None:
        option = self.instruments[token]
        book = self.books.get(token)
        if book is None:
            book = self.books[token] = OrderBook(option.id, book_type=BookType.L2_MBP)
        now_ns = time.time_ns()
        book.apply_deltas(event.parse_to_deltas(option, now_ns))
        if self.has_quotes:
            self.quote(option, book, int(event.timestamp) * 1_000_000, now_ns)

    def quote(self, option: Any, book: Any, event_ns: int, now_ns: int) -> None:
        """Make the QuoteTick of a book, as the data client does after each change."""
        bid, ask = book.best_bid_price(), book.best_ask_price()
        if bid is None or ask is None:
            return
        QuoteTick(
            instrument_id=option.id,
            bid_price=bid,
            ask_price=ask,
            bid_size=book.best_bid_size(),
            ask_size=book.best_ask_size(),
            ts_event=event_ns,
            ts_init=now_ns,
        )

    def run(self) -> int:
        """Take every frame; give the nanoseconds of all."""
        on_book, on_changes = self.on_book, self.on_changes
        began = time.thread_time_ns()
        for frame in self.frames:
            event = decode_one(frame)
            if type(event) is PolymarketQuotes:
                on_changes(event)
            else:
                on_book(event)
        return time.thread_time_ns() - began

    def tops(self) -> dict[str, list[str]]:
        """The best prices it ends with, to compare."""
        return {
            token: [str(book.best_bid_price()), str(book.best_ask_price())]
            for token, book in self.books.items()
        }


def main() -> None:
    case: Case | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "path" in request:
            case = Case(request)
            case.reset()
            gc.collect()
            gc.freeze()
            print(json.dumps(len(case.frames)), flush=True)
        else:
            assert case is not None
            case.has_quotes = request["quotes"]
            case.reset()
            ns = case.run()
            print(json.dumps({"ns": ns, "tops": case.tops()}), flush=True)


if __name__ == "__main__":
    main()
