"""The books of one Polymarket market: both tokens' levels in exact 1e-9 integers. Pure.

A `TokenBook` is a token's `Levels` with what is known of their worth. Levels are kept by one of two
twins under the same tests: the C core (`_levels.c`), or `pure_book.py` where it was not built.

The venue writes in every frame what the best prices are at the *end* of its batch, and a batch may
be several frames, between which the levels are stale, locked or crossed. So a book knows what the
venue `claims` last, and a pair is only fit to be published where book and claim agree.

Invariants: `bid_px` and `ask_px` are always the best of the levels; a whole book replaces one at
once or not at all. It reads no clock, and publishes nothing (`feeds/pair.py` does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cache.layout import Flag
from feeds import pure_book, text_numbers
from feeds.core import core
from feeds.polymarket_wire import Change, Level, Message
from feeds.text_numbers import EMPTY_ASK, EMPTY_BID, NO_PRICE, UNKNOWN, OutOfRangeError, crossed
from venue.decimals import E9, format_e9

if core is not None:
    core.configure(Change, Level, Message, OutOfRangeError, crossed)
if TYPE_CHECKING:
    from feeds.pure_book import Levels
else:
    Levels = (core or pure_book).Levels
parse_time_ns: Callable[[str], int] = (core or text_numbers).parse_time_ns

# Plain integers: arithmetic on an IntFlag costs a microsecond.
WARMUP = int(Flag.WARMUP)
SUSPECT = int(Flag.SUSPECT)
NO_BID = int(Flag.NO_BID)
NO_ASK = int(Flag.NO_ASK)
CROSSED = int(Flag.CROSSED)
RESYNC = int(Flag.RESYNC)
RESOLVED = int(Flag.RESOLVED)

Top = tuple[int, int, int, int, int]
"""Bid, size, ask, size as the records have them (0 for an empty side), and the token's flags."""

OUTDATED_NS_MAX = 10_000_000_000
"""What is older than its book by more than this is not: the book's own time was absurd."""


AHEAD_NS_MAX = 2_000_000_000
"""What the venue stamps later than this after our clock is refused.

A host that keeps time is right to milliseconds. One that is wrong by seconds misprices a window of
five minutes: better to say so than to serve it.
"""


class TokenBook(Levels):
    """Levels of one token, and whether they are the venue's.

    `is_ready`: a whole book came. `is_sure`: no frame was lost since. `is_doubted`: the claim
    stayed unlike the levels. `miss_count`: hashes in a row that were not the venue's.
    `snapshot_ns`: the venue's time of the whole book.
    """

    __slots__ = ("is_doubted", "is_ready", "is_sure", "miss_count", "snapshot_ns")

    def __init__(self, token_id: str) -> None:
        self.token_id = token_id
        self.clear()

    def clear(self) -> None:
        """Forget everything: not ready until the next whole book."""
        self.forget()
        self.is_ready = False
        self.is_sure = True
        self.is_doubted = False
        self.miss_count = 0
        self.snapshot_ns = 0

    def replace(self, bids: list[Level], asks: list[Level], tick_e9: int) -> None:
        """Take a whole book in place of this one; ValueError leaves the old one as it was."""
        self.load(bids, asks, tick_e9)
        self.forget_claim()
        self.is_ready = self.is_sure = True
        self.is_doubted = False
        self.miss_count = 0

    def on_hash(self, *, is_match: bool) -> None:
        """Take doubts back on a match; cast one on the second miss in a row.

        One miss may be a new tick size, or a frame that is still to come.
        """
        if is_match:
            self.is_sure, self.is_doubted, self.miss_count = True, False, 0
        else:
            self.miss_count += 1
            self.is_sure = self.is_sure and self.miss_count < 2

    @property
    def agrees(self) -> bool:
        """Whether the top is sound, and what the venue last claimed; ValueError if that is none.

        At the end of a batch no book of the venue is crossed.
        """
        bid, ask = self.claim_bid_px, self.claim_ask_px
        if NO_PRICE in (bid, ask):
            raise OutOfRangeError("a best price that is none")
        is_claimed = bid in (self.bid_px, UNKNOWN) and ask in (self.ask_px, UNKNOWN)
        return is_claimed and self.bid_px < self.ask_px

    @property
    def is_unlike(self) -> bool:
        """Whether this is a book, and not the one the venue last claimed."""
        return self.is_ready and not self.agrees

    @property
    def is_suspect(self) -> bool:
        """Whether this book may not be the venue's."""
        return self.is_ready and (self.is_doubted or not self.is_sure)

    def mirrors(self, other: TokenBook) -> bool:
        """Whether both tops show the same liquidity, as the two tokens of a market do."""
        return self.bid_px + other.ask_px == E9 and self.ask_px + other.bid_px == E9

    def level_texts(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """All levels as the venue writes and hashes them: bids ascending, asks descending."""
        bids, asks = self.bids, self.asks
        return (
            [(format_e9(px), format_e9(bids[px])) for px in sorted(bids)],
            [(format_e9(px), format_e9(asks[px])) for px in sorted(asks, reverse=True)],
        )


def top_of(book: TokenBook) -> Top:
    """Give a book's best levels and flags as they are published."""
    flags = SUSPECT if book.is_doubted or not book.is_sure else 0
    bid, ask = book.bid_px, book.ask_px
    if bid >= ask:
        flags |= CROSSED
    if ask == EMPTY_ASK:
        flags |= NO_ASK
        ask = 0
    if bid == EMPTY_BID:
        flags |= NO_BID
    return bid, book.bid_qty, ask, book.ask_qty, flags


def are_mirrors(first: TokenBook, second: TokenBook) -> bool:
    """Whether both tops, where both are known, show the same liquidity."""
    return not (first.is_ready and second.is_ready) or first.mirrors(second)


def mirror_top(top: Top) -> Top:
    """Show a token's top as that of the other token of its market."""
    bid, bid_qty, ask, ask_qty, flags = top
    kept = flags & ~(NO_BID | NO_ASK)
    if flags & NO_BID:
        kept |= NO_ASK
    if flags & NO_ASK:
        kept |= NO_BID
    return E9 - ask if ask else 0, ask_qty, E9 - bid if bid else 0, bid_qty, kept


def tops_of(first: TokenBook, second: TokenBook) -> tuple[Top, Top]:
    """Give both tokens' tops, one without a book as the mirror of the other."""
    if not second.is_ready:
        top = top_of(first)
        return top, mirror_top(top)
    if not first.is_ready:
        top = top_of(second)
        return mirror_top(top), top
    return top_of(first), top_of(second)


def _mirror_levels(flat: Sequence[int]) -> list[int]:
    mirrored = list(flat)
    mirrored[::2] = [E9 - px for px in flat[::2]]
    return mirrored


def depth_of(book: TokenBook, sibling: TokenBook, count: int) -> tuple[int, list[int], list[int]]:
    """Give a token's flags and its best bids and asks, as its sibling's mirror if it has no book.

    The levels are flat, price, size, price ..., best first.
    """
    if book.is_ready:
        return top_of(book)[4], *book.best_levels(count)
    bids, asks = sibling.best_levels(count)
    return mirror_top(top_of(sibling))[4], _mirror_levels(asks), _mirror_levels(bids)


def is_outdated(time_ns: int, newest_ns: int) -> bool:
    """Whether something of the venue is older than what is known already."""
    return 0 < newest_ns - time_ns <= OUTDATED_NS_MAX


def check_ahead(time_ns: int, latest_ns: int) -> None:
    """Raise OutOfRangeError for a time of the venue that it cannot have reached."""
    if time_ns - latest_ns > AHEAD_NS_MAX:
        raise OutOfRangeError(f"stamped {(time_ns - latest_ns) / 1e9:.3f} s ahead of our clock")


def drop_outdated(
    books: Iterable[TokenBook], changes: Sequence[Change], time_ns: int
) -> list[Change]:
    """Leave out changes that a whole book, stamped later than they, already contains.

    What they claim stands all the same: a book that was stamped wrongly is unlike it.
    """
    ahead = {book.token_id: book for book in books if is_outdated(time_ns, book.snapshot_ns)}
    for change in changes:
        if change.asset_id in ahead:
            ahead[change.asset_id].claim(change.best_bid, change.best_ask)
    return [change for change in changes if change.asset_id not in ahead]
