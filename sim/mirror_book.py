"""One market's book, kept once and shown twice: Up's bids are Down's asks at one less the price.

Prices are thousandths of a dollar (1 to 999), sizes hundredths of a share; both are written as the
venue writes them. The invariant: levels have a positive size, and the book is not crossed when a
batch is over. It does not know who trades; `take` is all the matching there is, as the model has
one anonymous queue a level.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from venue.book_hash import Levels, book_hash

NO_BID = 0
NO_ASK = 1000


class Change(NamedTuple):
    """A level of Up's book and its new size; 0 removes it."""

    is_bid: bool
    px: int
    qty: int


class Fill(NamedTuple):
    """What a taker got at one level, and what is left there."""

    px: int
    qty: int
    left: int


class TokenBook(NamedTuple):
    """The book as one of the two tokens shows it, in the venue's text and order: best last."""

    bids: Levels
    asks: Levels


def _milli_text(px: int) -> str:
    whole, part = divmod(px, 1000)
    return f"{whole}.{part:03d}".rstrip("0").rstrip(".")


PX_TEXT: tuple[str, ...] = tuple(_milli_text(px) for px in range(1001))
"""Prices as the venue writes them; no bid is "0", no ask "1"."""


@lru_cache(maxsize=65_536)
def qty_text(qty: int) -> str:
    """Write a size: no padding, "71", "10788.8"."""
    whole, part = divmod(qty, 100)
    return f"{whole}.{part:02d}".rstrip("0") if part else str(whole)


class MirrorBook:
    """The levels of one market, in terms of Up."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def best_bid(self) -> int:
        """Return the best bid, NO_BID where there is none."""
        return max(self.bids, default=NO_BID)

    def best_ask(self) -> int:
        """Return the best ask, NO_ASK where there is none."""
        return min(self.asks, default=NO_ASK)

    def apply(self, change: Change) -> None:
        """Set a level to its new size."""
        side = self.bids if change.is_bid else self.asks
        if change.qty > 0:
            side[change.px] = change.qty
        else:
            side.pop(change.px, None)

    def take(self, *, is_buy: bool, qty: int, limit: int) -> list[Fill]:
        """Say what an order for Up would get, best price first; the book is not changed."""
        fills: list[Fill] = []
        for px in sorted(self.asks) if is_buy else sorted(self.bids, reverse=True):
            if qty <= 0 or (px > limit if is_buy else px < limit):
                break
            there = self.asks[px] if is_buy else self.bids[px]
            got = min(there, qty)
            fills.append(Fill(px, got, there - got))
            qty -= got
        return fills

    def show(self) -> tuple[TokenBook, TokenBook]:
        """Write the book as Up and as Down show it."""
        bids = [(px, qty_text(self.bids[px])) for px in sorted(self.bids)]
        asks = [(px, qty_text(self.asks[px])) for px in sorted(self.asks, reverse=True)]
        # Up's asks from the worst to the best are Down's bids from the worst to the best.
        up = TokenBook([(PX_TEXT[px], q) for px, q in bids], [(PX_TEXT[px], q) for px, q in asks])
        down = TokenBook(
            [(PX_TEXT[1000 - px], q) for px, q in asks], [(PX_TEXT[1000 - px], q) for px, q in bids]
        )
        return up, down


def hash_of(
    book: TokenBook, market: str, token: str, *, timestamp: str, tick_size: str, last_trade: str
) -> str:
    """Return the venue's hash of one token's book."""
    return book_hash(
        market,
        token,
        timestamp,
        book.bids,
        book.asks,
        tick_size=tick_size,
        last_trade_price=last_trade,
    )
