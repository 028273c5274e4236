"""`POST /books` of Polymarket: the question, and the books of its answer. Pure.

The answer is a list of books in any order, without those that the venue does not have. Its books
are taken apart before they are decoded, one by one: an answer may have megabytes. What is no book
raises for the token that it is about, what is no answer for all of them, and what names no token
for those that no book came of. Its levels become exact integers, best first, and no more of them
than are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from cache.md_entry import MDBook, MDBookError, MDRefreshError
from feeds.book import TokenBook, parse_time_ns
from feeds.polymarket_wire import DECODE_FAULTS, Level
from feeds.text_numbers import TICK_MIN, parse_tick

BOOKS_MAX: Final = 500
"""Tokens of one question; the venue refuses more."""


class RestBook(msgspec.Struct, gc=False):
    """One book as the answer has it."""

    asset_id: str
    timestamp: str
    bids: list[Level]
    asks: list[Level]
    tick_size: str = ""


class VenueBook(MDBook, frozen=True):
    """A book, when the venue says that it changed last, and its tick size; 0 where it says none."""

    venue_ts_ns: int = 0
    tick_e9: int = 0

    def cut(self, depth: int) -> VenueBook:
        if len(self.bids) <= depth and len(self.asks) <= depth:
            return self
        return VenueBook(self.bids[:depth], self.asks[:depth], self.venue_ts_ns, self.tick_e9)


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder(RestBook).decode


def books_question(tokens: Iterable[str]) -> bytes:
    """Write the question for the books of some tokens."""
    return msgspec.json.encode([{"token_id": token} for token in tokens])


def split_books(body: bytes) -> list[msgspec.Raw]:
    """Take an answer apart, decoding none of its books. Raises MDRefreshError."""
    try:
        return _split(body)
    except DECODE_FAULTS as fault:
        raise MDRefreshError(f"no list of books: {fault}") from None


def parse_book(part: msgspec.Raw) -> RestBook:
    """Decode one book of an answer. Raises MDRefreshError: nobody knows whose it was to be."""
    try:
        return _decode(part)
    except DECODE_FAULTS as fault:
        raise MDRefreshError(f"no book: {fault}") from None


def read_book(told: RestBook, depth: int) -> VenueBook:
    """Turn the best `depth` levels a side into integers. Raises MDBookError."""
    try:
        book = TokenBook("")
        book.replace(told.bids, told.asks, TICK_MIN)
        venue_ts_ns = parse_time_ns(told.timestamp)
        tick_e9 = parse_tick(told.tick_size) if told.tick_size else 0
    except ValueError as fault:
        raise MDBookError(str(fault)[:120]) from None
    bids, asks = book.best_levels(depth)
    found = MDBook.of_levels(
        zip(bids[::2], bids[1::2], strict=True), zip(asks[::2], asks[1::2], strict=True)
    )
    return VenueBook(found.bids, found.asks, venue_ts_ns, tick_e9)
