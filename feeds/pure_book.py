"""The loops over levels in pure Python: the twin of the C core (`_book.c`), same names and results.

`apply_changes` is the inner loop of the feed and the one place where levels change one by one;
`read_side` reads a whole side. With them stand the tables that turn the venue's text into integers,
which both twins use. `feeds/book.py` has the books, and takes either twin. Pure.

Invariants: the best prices of a book are those of its levels after every change; a text that is no
canonical size, or no price on the grid of the tick size, raises ValueError before its level is
touched. The grid also limits a side: it has 9,999 prices at the finest tick (`TICK_MIN`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feeds.polymarket_wire import Change, Level
from venue.decimals import E9, parse_e9

if TYPE_CHECKING:
    from feeds.book import TokenBook

UNKNOWN = -1
"""A best price the venue did not tell."""

TICK_MIN = E9 // 10_000
"""The finest tick of the venue. Every other is a multiple of it, so no side outgrows its grid."""

EMPTY_BID = 0
EMPTY_ASK = E9
"""What stands for the best price of an empty side, here as in the venue's frames ("0" and "1")."""

SIZE_MAX = 9_000_000_000 * E9
"""The largest size that a signed 64-bit word holds, and no size of a market of this venue."""

FIRST, SECOND, FIRST_AGREES, SECOND_AGREES = 1, 2, 4, 8
ALL = FIRST | SECOND | FIRST_AGREES | SECOND_AGREES
"""What `apply_changes` tells: whose changes came, and which book's top is sound and as claimed."""

TIME_MS_MIN, TIME_MS_MAX = 10**12, 9 * 10**12
"""Times of thirteen digits, whose nanoseconds fit a signed 64-bit word."""

_TABLE_MAX = 16_384


class OutOfRangeError(ValueError):
    """A number that cannot be a price, a size or a time of this venue."""


class CrossedError(ValueError):
    """A whole book whose best bid is not below its best ask."""


class _Table(dict[str, int]):
    """Text to integer, remembered: the same prices and many sizes come again and again.

    A hit costs one look-up of a dict. Only good texts enter, so garbage cannot push them out, and
    the table is emptied when it is full.
    """

    low = 0
    high = E9

    def __missing__(self, text: str) -> int:
        value = parse_e9(text)
        if not self.low <= value <= self.high:
            raise OutOfRangeError(f"{text!r} is not within {self.low}e-9 and {self.high}e-9")
        if len(self) >= _TABLE_MAX:
            self.clear()
        self[text] = value
        return value


class _LevelPrices(_Table):
    low, high = 1, E9 - 1


class _Sizes(_Table):
    """Every second size of a change is new, so the common forms are read here: "649", "649.17"."""

    def __missing__(self, text: str) -> int:
        if isinstance(text, str) and len(text) < 11 and text.isascii():
            if text[-3:-2] == "." and (digits := text[:-3] + text[-2:]).isdigit():
                value = int(digits) * (E9 // 100)
            elif text.isdigit():
                value = int(text) * E9
            else:
                value = parse_e9(text)
        else:
            value = parse_e9(text)
        if value > SIZE_MAX:
            raise OutOfRangeError(f"a size of {text!r}")
        if len(self) >= _TABLE_MAX:
            self.clear()
        self[text] = value
        return value


class _BestPrices(_Table):
    """Best prices as claimed: 0 and 1 stand for an empty side, and "" for no claim at all."""

    def __missing__(self, text: str) -> int:
        return UNKNOWN if text == "" else super().__missing__(text)


PRICES = _LevelPrices()
SIZES = _Sizes()
BESTS = _BestPrices()


def is_tick(tick_e9: int) -> bool:
    """Whether this can be a tick size: 1 less a price on the grid is on it too."""
    return 0 < tick_e9 < E9 and E9 % tick_e9 == 0 and tick_e9 % TICK_MIN == 0


def parse_tick(text: str) -> int:
    """Parse a tick size; ValueError when it cannot be one."""
    tick_e9 = parse_e9(text)
    if is_tick(tick_e9):
        return tick_e9
    raise OutOfRangeError(f"a tick size of {text!r}")


def parse_time_ns(text: str) -> int:
    """Parse the venue's epoch milliseconds into nanoseconds; ValueError when they cannot be."""
    if len(text) == 13 and text.isascii() and text.isdigit():
        value = int(text)
        if TIME_MS_MIN <= value < TIME_MS_MAX:
            return value * 1_000_000
    raise OutOfRangeError(f"{text[:32]!r} is not a time in milliseconds")


def read_side(levels: list[Level], is_bid: bool, tick_e9: int) -> tuple[dict[int, int], int]:
    """Read one side of a whole book: its sizes by price, and the best price.

    The venue sends the best level last; this does not rely on it.
    """
    prices, sizes = PRICES, SIZES
    found = {prices[level.price]: size for level in levels if (size := sizes[level.size])}
    if any(px % tick_e9 for px in found):
        raise OutOfRangeError("a price off the grid")
    best = max(found, default=EMPTY_BID) if is_bid else min(found, default=EMPTY_ASK)
    return found, best


def apply_changes(
    first: TokenBook,
    second: TokenBook,
    changes: list[Change],
    frame: bytes | bytearray,
    tick_e9: int,
) -> int:
    """Apply the changes of one frame to both books; tell which were touched, and which agree.

    A size is the level's new total, 0 removes it. The last change of a book is its new claim. Both
    agree only where they also mirror each other, as the two tokens of a market do.
    ValueError tells of a price, size or side that is none: the changes before it have been applied
    and nothing is claimed, so the pair's state is then in doubt.
    """
    first_id, second_id = first.token_id, second.token_id
    prices, sizes = PRICES, SIZES
    last_first: Change | None = None
    last_second: Change | None = None
    for change in changes:
        token_id = change.asset_id
        if token_id == first_id:
            book, last_first = first, change
        elif token_id == second_id:
            book, last_second = second, change
        elif second_id:
            raise OutOfRangeError("a token of another market")
        else:  # a token listed alone: this is how its sibling becomes known
            second.token_id = second_id = token_id
            book, last_second = second, change
        px = prices[change.price]
        size = sizes[change.size]
        if px % tick_e9:
            raise OutOfRangeError("a price off the grid")
        if change.side == "BUY":
            levels = book.bids
            if size:
                levels[px] = size
                if px > book.bid_px:
                    book.bid_px = px
            elif px in levels:
                del levels[px]
                if px == book.bid_px:
                    book.bid_px = max(levels, default=EMPTY_BID)
        elif change.side == "SELL":
            levels = book.asks
            if size:
                levels[px] = size
                if px < book.ask_px:
                    book.ask_px = px
            elif px in levels:
                del levels[px]
                if px == book.ask_px:
                    book.ask_px = min(levels, default=EMPTY_ASK)
        else:
            raise OutOfRangeError("a side that is none")
    found = 0
    if last_first is not None:
        first.claim, first.frame = last_first, frame
        found = FIRST | FIRST_AGREES if _agrees(first, last_first) else FIRST
    if last_second is not None:
        second.claim, second.frame = last_second, frame
        found |= SECOND | SECOND_AGREES if _agrees(second, last_second) else SECOND
    if found == ALL and not first.mirrors(second):
        return FIRST | SECOND
    return found


def _agrees(book: TokenBook, change: Change) -> bool:
    """Whether a book has a sound top, which is the one that the change claims."""
    try:
        is_claimed = BESTS[change.best_bid] == book.bid_px and BESTS[change.best_ask] == book.ask_px
    except ValueError:
        return False  # whoever looks at the claim again, as it does not agree, refuses it
    return is_claimed and 0 < book.bid_px < book.ask_px < E9
