"""The hash Polymarket gives each book, recomputed: our certificate that no change was lost.

The venue has no sequence numbers, but every `book` and `price_change` carries the SHA-1 of the
whole book of its token after the batch. What is hashed is one JSON object whose keys, key order
and number formats are fixed; a book kept here that gives the same hash is the venue's book.

The last trade price is part of the hash and not of the frame: one value per market, sometimes in
terms of the other token, so `find_last_trade_price` tries p and 1 - p of recent trades. This file
keeps no books and decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from venue.decimals import E9

Levels = Sequence[tuple[str, str]]
"""Levels as (price, size) text in venue order, best last: bids ascending, asks descending."""

_MILLI = E9 // 1000


def _levels_json(levels: Levels) -> str:
    return ",".join([f'{{"price":"{price}","size":"{size}"}}' for price, size in levels])


class HashText(NamedTuple):
    """The hashed text of one book, cut where the last trade price belongs."""

    before: str
    after: str


def hash_text(
    market: str,
    asset_id: str,
    timestamp: str,
    *,
    bids: Levels,
    asks: Levels,
    tick_size: str,
    neg_risk: bool = False,
    min_order_size: str = "5",
    version: str = "",
) -> HashText:
    """Build what is hashed of one token's book, all but the last trade price.

    `timestamp` is the frame's text; `version` is "v2" for markets of protocol V2, "" for V1.
    """
    # Written by hand: the venue hashes compact JSON whose strings never need an escape.
    before = (
        f'{{"market":"{market}","asset_id":"{asset_id}","timestamp":"{timestamp}","hash":"",'
        f'"bids":[{_levels_json(bids)}],"asks":[{_levels_json(asks)}],'
        f'"min_order_size":"{min_order_size}","tick_size":"{tick_size}",'
        f'"neg_risk":{"true" if neg_risk else "false"},"last_trade_price":"'
    )
    return HashText(before, f'","version":"{version}"}}' if version else '"}')


def book_hash(
    market: str,
    asset_id: str,
    timestamp: str,
    bids: Levels,
    asks: Levels,
    *,
    tick_size: str,
    last_trade_price: str,
    neg_risk: bool = False,
    min_order_size: str = "5",
    version: str = "",
) -> str:
    """Compute the venue's SHA-1 of one token's book.

    `last_trade_price` is as `format_last_trade` writes it, "" before any trade.
    """
    text = hash_text(
        market,
        asset_id,
        timestamp,
        bids=bids,
        asks=asks,
        tick_size=tick_size,
        neg_risk=neg_risk,
        min_order_size=min_order_size,
        version=version,
    )
    return hashlib.sha1((text.before + last_trade_price + text.after).encode()).hexdigest()


def find_last_trade_price(expected: str, text: HashText, candidates: Iterable[str]) -> str | None:
    """Return the candidate with which the book gives the `expected` hash; None if none does."""
    # The long part is hashed once: each further candidate costs a copy and one short update.
    common = hashlib.sha1(text.before.encode())
    for candidate in candidates:
        digest = common.copy()
        digest.update((candidate + text.after).encode())
        if digest.hexdigest() == expected:
            return candidate
    return None


def _milli_text(milli: int) -> str:
    return f"{milli // 1000}.{milli % 1000:03d}"


def format_last_trade(px_e9: int) -> str:
    """Write a trade price as the hash has it: three places, "0.490"; "" for 0, before any trade."""
    if px_e9 == 0:
        return ""
    # Half a unit up. The venue's "%.3f" of a float falls to either side where the fourth place is a
    # 5; `last_trade_candidates` gives the other side too.
    return _milli_text((px_e9 + _MILLI // 2) // _MILLI)


def last_trade_candidates(recent_px_e9: Iterable[int]) -> Iterator[str]:
    """Yield what the hash may hold after these trades, newest first: each p, its 1 - p, and "".

    Each is given once, at ticks below 0.001 with the price rounded down too.
    """
    seen: set[str] = set()
    for px_e9 in recent_px_e9:
        for value in (px_e9, E9 - px_e9):
            for text in (format_last_trade(value), _milli_text(value // _MILLI)):
                if text not in seen:
                    seen.add(text)
                    yield text
    if "" not in seen:
        yield ""


def all_last_trades() -> Iterator[str]:
    """Yield every last trade price there can be, for a market whose trades we have not seen.

    A full search costs about a millisecond whatever the size of the book.
    """
    yield ""
    for milli in range(1001):
        yield _milli_text(milli)
