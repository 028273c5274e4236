"""The venue's text as integers: prices, sizes and best prices in 1e-9, tick sizes, times. Pure.

Prices and sizes come again and again, so tables remember them; both twins of the books
(`_decoded.h`, `pure_book.py`) take what these take and refuse what these refuse. The invariant:
what is no canonical number of its range raises ValueError, and no table keeps it.
"""

from __future__ import annotations

from venue.decimals import E9, format_e9, parse_e9

UNKNOWN = -1
"""A best price the venue did not tell."""

NO_PRICE = -2
"""What the venue told in place of a best price is none."""

TICK_MIN = E9 // 10_000
"""The finest tick of the venue. Every other is a multiple of it, so no side outgrows its grid."""

EMPTY_BID = 0
EMPTY_ASK = E9
"""What stands for the best price of an empty side, here as in the venue's frames ("0" and "1")."""

SIZE_MAX = 9_000_000_000 * E9
"""The largest size that a signed 64-bit word holds, and no size of a market of this venue."""

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


def crossed(bid_px: int, ask_px: int) -> CrossedError:
    """Make the error that tells of a crossed book."""
    return CrossedError(f"a book of {format_e9(bid_px)} against {format_e9(ask_px)}")
