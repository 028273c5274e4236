"""Checks a book against the hash the venue gave it: the proof that no change was lost. Pure.

The venue numbers nothing, but each frame carries the SHA-1 of the token's whole book as it is at
the end of the batch. A book of a hundred levels costs a tenth of a millisecond, so it is done on a
timer and not per frame, once the market has been still long enough for its batch to be over.

The last trade price is part of the hash and not of the frame, and tick size and minimum order size
may be known wrongly: so a mismatch counts against the book only after a match has shown that they
are known. It changes nothing: what a mismatch leads to is the channel's affair.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from itertools import chain

from feeds.book import TokenBook
from venue.book_hash import (
    all_last_trades,
    find_last_trade_price,
    hash_text,
    last_trade_candidates,
)
from venue.decimals import format_e9

TRADES_REMEMBERED = 8


class Verdict(Enum):
    """What a check found."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    UNKNOWN = "unknown"
    """Nothing to compare with, or not yet known what else is in the hash."""


class Certificate:
    """What is known of a market that goes into its hashes beside the books."""

    def __init__(self, market_id: str, *, neg_risk: bool, min_qty_e9: int) -> None:
        self._market_id = market_id
        self._neg_risk = neg_risk
        self._min_order_size = format_e9(min_qty_e9)
        self._trades: deque[int] = deque(maxlen=TRADES_REMEMBERED)
        self._last_trade: str | None = None

    def on_trade(self, px_e9: int) -> None:
        """Remember a trade's price: hashes carry the last one, in terms of either token."""
        self._trades.appendleft(px_e9)

    def check(self, book: TokenBook, *, tick_e9: int, is_v2: bool) -> Verdict:
        """Recompute the hash of a book at the end of a batch and compare it with the venue's."""
        expected = book.hash
        if not expected or not book.is_ready:
            return Verdict.UNKNOWN
        bids, asks = book.level_texts()
        text = hash_text(
            self._market_id,
            book.token_id,
            str(book.hash_ns // 1_000_000),
            bids=bids,
            asks=asks,
            tick_size=format_e9(tick_e9),
            neg_risk=self._neg_risk,
            min_order_size=self._min_order_size,
            version="v2" if is_v2 else "",
        )
        # Any price may be in it: of before we listened, or of a print that is still to come.
        known = () if self._last_trade is None else (self._last_trade,)
        tries = chain(known, last_trade_candidates(self._trades), all_last_trades())
        found = find_last_trade_price(expected, text, tries)
        if found is None:
            return Verdict.UNKNOWN if self._last_trade is None else Verdict.MISMATCHED
        self._last_trade = found
        return Verdict.MATCHED
