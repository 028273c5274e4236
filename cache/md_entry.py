"""What the cache for REST snapshots keeps and says: a book, when it was asked for, or why not.

All of it is immutable and exact: prices and sizes are whole numbers of 1e-9, levels are tuples,
best first, whatever order the venue sent them in. Invariant: an `MDBook` that exists is sound
(sorted, no price twice, nothing crossed), and an entry's age is never less than the book's.

Pure: it reads no clock and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import pairwise

from msgspec import Struct

from cache.errors import PenstockError
from venue.decimals import E9_MAX

Level = tuple[int, int]
"""Price and size, both in 1e-9."""


class MDRefreshError(PenstockError):
    """The venue could not be asked, or answered with what is no book. The cache asks again."""


class MDBookError(MDRefreshError, ValueError):
    """Levels that cannot be a book."""


class MDMiss(Enum):
    """Why there is no book. None of them says that the book is empty."""

    DISABLED = "The cache is off: ask the venue."
    CLOSED = "The cache was closed."
    TOO_DEEP = "More levels were wanted than the cache may hold: ask the venue."
    NO_BOOK = "The venue says that it has no book of this symbol."
    FAILED = "The venue was asked, and every try failed."
    BACKING_OFF = "The last tries failed, and the venue is not asked again yet."
    INVALIDATED = "Each answer was outdated by an invalidation before it came."
    FULL = "Every place is being waited for: too many symbols at once."


class MDBook(Struct, frozen=True):
    """The levels of one book, best first. Make it with `of_levels`."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @classmethod
    def of_levels(cls, bids: Iterable[Level], asks: Iterable[Level]) -> MDBook:
        """Sort levels of any order into a book. Raises MDBookError where they cannot be one."""
        held, offered = _side("bids", bids), _side("asks", asks)
        held.reverse()
        if held and offered and held[0][0] >= offered[0][0]:
            raise MDBookError(
                f"the best bid {held[0][0]} is not under the best ask {offered[0][0]}"
            )
        return cls(tuple(held), tuple(offered))

    def cut(self, depth: int) -> MDBook:
        """Give the best `depth` levels a side; the book itself where it has no more."""
        if len(self.bids) <= depth and len(self.asks) <= depth:
            return self
        return MDBook(self.bids[:depth], self.asks[:depth])


class MDCacheEntry(Struct, frozen=True):
    """One answer of the venue. `book` is None where it said that there is none.

    `asked_ns` is when the venue was asked and `recv_ns` when it had answered; what it answered is
    from between the two, so an age from `asked_ns` is never less than the true one.
    """

    symbol: str
    book: MDBook | None
    asked_ns: int
    recv_ns: int
    generation: int

    def age_ms(self, now_ns: int) -> float:
        """Tell the age; negative where the clock went back, which is never fresh."""
        return (now_ns - self.asked_ns) / 1e6

    def is_stale(self, ttl_ms: float, now_ns: int) -> bool:
        """Tell whether it is older than `ttl_ms`, or from the future."""
        return not 0 <= now_ns - self.asked_ns <= ttl_ms * 1_000_000

    def cut(self, depth: int) -> MDCacheEntry:
        """Give the entry with the best `depth` levels a side."""
        if self.book is None or (book := self.book.cut(depth)) is self.book:
            return self
        return MDCacheEntry(self.symbol, book, self.asked_ns, self.recv_ns, self.generation)


def _side(name: str, levels: Iterable[Level]) -> list[Level]:
    """Check and sort one side, lowest price first."""
    made: list[Level] = []
    for level in levels:
        px, qty = level
        for word, value in (("price", px), ("size", qty)):
            if type(value) is not int:
                raise MDBookError(f"{name}: a {word} is {value!r}: it must be a whole number")
            if not 0 < value <= E9_MAX:
                raise MDBookError(f"{name}: a {word} is {value}: it must be 1 to {E9_MAX}")
        made.append((px, qty))
    made.sort()
    for (px, _), (other, _) in pairwise(made):
        if px == other:
            raise MDBookError(f"{name}: the price {px} stands twice")
    return made
