"""The books of one Polymarket market: both tokens' levels in exact 1e-9 integers. Pure.

A `TokenBook` is two dicts, price to size, with the best price of each side kept as levels come and
go. `apply_changes` is the inner loop of the feed and the one place where levels change one by one.

The venue writes in every frame what the best prices are at the *end* of its batch, and a batch may
be several frames, between which the levels are stale, locked or crossed. So a book knows what the
venue `claims` last, and a pair is only fit to be published where book and claim agree.

Invariants: `bid_px` and `ask_px` are always the best of the levels; a whole book replaces one at
once or not at all; text that is no canonical price or size raises ValueError before its level is
touched. It reads no clock, and publishes nothing (`feeds/pair.py` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cache.layout import Flag
from feeds.polymarket_wire import Change, Level, Message
from venue.decimals import E9, format_e9, parse_e9

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

UNKNOWN = -1
"""A best price the venue did not tell."""

EMPTY_BID = 0
EMPTY_ASK = E9
"""What stands for the best price of an empty side, here as in the venue's frames ("0" and "1")."""

LEVELS_MAX = 20_000
"""No side of a real book comes near: the finest tick gives 9,999 prices."""

SIZE_MAX = 9_000_000_000 * E9
"""The largest size that a signed 64-bit word holds, and no size of a market of this venue."""

_TABLE_MAX = 16_384
TIME_MS_MIN, TIME_MS_MAX = 10**12, 9 * 10**12
"""Times of thirteen digits, whose nanoseconds fit a signed 64-bit word."""

OUTDATED_NS_MAX = 10_000_000_000
"""What is older than its book by more than this is not: the book's own time was absurd."""


class OutOfRangeError(ValueError):
    """A number that cannot be a price, a size or a time of this venue."""


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
        if len(text) < 11 and text.isascii():
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


def parse_time_ns(text: str) -> int:
    """Parse the venue's epoch milliseconds into nanoseconds; ValueError when they cannot be."""
    value = int(text)
    # Thirteen characters that make a number of thirteen digits leave no room for signs or blanks.
    if len(text) != 13 or not TIME_MS_MIN <= value < TIME_MS_MAX:
        raise OutOfRangeError(f"{text[:32]!r} is not a time in milliseconds")
    return value * 1_000_000


class TokenBook:
    """Levels of one token, and what the venue last claimed of them.

    `claim` is the newest event that tells its best prices, `frame` the newest frame with its hash.
    `is_ready`: a whole book came. `is_sure`: no frame was lost since. `is_doubted`: the claim
    stayed unlike the levels. `miss_count`: hashes in a row that were not the venue's.
    `snapshot_ns`: the venue's time of the whole book.
    """

    __slots__ = (
        "ask_px",
        "asks",
        "bid_px",
        "bids",
        "claim",
        "frame",
        "is_doubted",
        "is_ready",
        "is_sure",
        "miss_count",
        "snapshot_ns",
        "token_id",
    )

    def __init__(self, token_id: str) -> None:
        self.token_id = token_id
        self.clear()

    def clear(self) -> None:
        """Forget everything: not ready until the next whole book."""
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.bid_px = EMPTY_BID
        self.ask_px = EMPTY_ASK
        self.claim: Change | Message | None = None
        self.frame: bytes | bytearray = b""
        self.is_ready = False
        self.is_sure = True
        self.is_doubted = False
        self.miss_count = 0
        self.snapshot_ns = 0

    def replace(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take a whole book in place of this one; ValueError leaves the old one as it was."""
        prices, sizes = PRICES, SIZES
        new_bids = {prices[level.price]: size for level in bids if (size := sizes[level.size])}
        new_asks = {prices[level.price]: size for level in asks if (size := sizes[level.size])}
        if len(new_bids) > LEVELS_MAX or len(new_asks) > LEVELS_MAX:
            raise OutOfRangeError(f"a book of {len(new_bids)} and {len(new_asks)} levels")
        self.bids, self.asks = new_bids, new_asks
        # The venue sends the best level last; max and min do not rely on it.
        self.bid_px = max(new_bids, default=EMPTY_BID)
        self.ask_px = min(new_asks, default=EMPTY_ASK)
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
        """Whether the best prices are those the venue last claimed; ValueError if they are none."""
        claim = self.claim
        if claim is None:
            return True
        bid, ask = BESTS[claim.best_bid], BESTS[claim.best_ask]
        return bid in (self.bid_px, UNKNOWN) and ask in (self.ask_px, UNKNOWN)

    @property
    def is_suspect(self) -> bool:
        """Whether this book may not be the venue's."""
        return self.is_ready and (self.is_doubted or not self.is_sure)

    def mirrors(self, other: TokenBook) -> bool:
        """Whether both tops show the same liquidity, as the two tokens of a market do."""
        return self.bid_px + other.ask_px == E9 and self.ask_px + other.bid_px == E9

    def best_levels(self, count: int) -> tuple[list[int], list[int]]:
        """The best `count` bids and asks as flat lists price, size, price ..., best first."""
        bids, asks = self.bids, self.asks
        bid_flat: list[int] = []
        for px in sorted(bids, reverse=True)[:count]:
            bid_flat += (px, bids[px])
        ask_flat: list[int] = []
        for px in sorted(asks)[:count]:
            ask_flat += (px, asks[px])
        return bid_flat, ask_flat

    def level_texts(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """All levels as the venue writes and hashes them: bids ascending, asks descending."""
        bids = [(format_e9(px), format_e9(self.bids[px])) for px in sorted(self.bids)]
        asks = [(format_e9(px), format_e9(self.asks[px])) for px in sorted(self.asks, reverse=True)]
        return bids, asks


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
    return bid, book.bids.get(bid, 0), ask, book.asks.get(ask, 0), flags


def mirror_top(top: Top) -> Top:
    """Show a token's top as that of the other token of its market."""
    bid, bid_qty, ask, ask_qty, flags = top
    kept = flags & ~(NO_BID | NO_ASK)
    if flags & NO_BID:
        kept |= NO_ASK
    if flags & NO_ASK:
        kept |= NO_BID
    return E9 - ask if ask else 0, ask_qty, E9 - bid if bid else 0, bid_qty, kept


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


def drop_outdated(
    books: Iterable[TokenBook], changes: Sequence[Change], time_ns: int
) -> list[Change]:
    """Leave out changes that a whole book, stamped later than they, already contains."""
    ahead = {book.token_id for book in books if is_outdated(time_ns, book.snapshot_ns)}
    return [change for change in changes if change.asset_id not in ahead]


def apply_changes(
    first: TokenBook, second: TokenBook, changes: Sequence[Change]
) -> tuple[Change | None, Change | None]:
    """Apply the changes of one frame to both books; return each token's last change, if any.

    A size is the level's new total, 0 removes it. ValueError tells of a price or size that is
    none: the changes before it have been applied, so the pair's state is then in doubt.
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
        else:
            levels = book.asks
            if size:
                levels[px] = size
                if px < book.ask_px:
                    book.ask_px = px
            elif px in levels:
                del levels[px]
                if px == book.ask_px:
                    book.ask_px = min(levels, default=EMPTY_ASK)
    return last_first, last_second
