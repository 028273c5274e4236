"""The levels of a token in pure Python: the twin of the C core (`_levels.c`), with its results.

`Levels` keeps one token's levels, and what the venue last said of them; `apply_changes` is the one
place where levels change one by one. The core keeps them in flat memory of its own. `feeds/book.py`
adds what need not be fast, on either twin. Pure.

Invariants: the best prices of a book are those of its levels after every change; a text that is no
canonical size, or no price on the grid of the tick size, raises ValueError before its level is
touched. The grid also limits a side: it has 9,999 prices at the finest tick.
"""

from __future__ import annotations

from feeds.polymarket_wire import Change, Level
from feeds.text_numbers import (
    BESTS,
    EMPTY_ASK,
    EMPTY_BID,
    NO_PRICE,
    PRICES,
    SIZES,
    UNKNOWN,
    OutOfRangeError,
    crossed,
)
from venue.decimals import E9

FIRST, SECOND, FIRST_AGREES, SECOND_AGREES = 1, 2, 4, 8
ALL = FIRST | SECOND | FIRST_AGREES | SECOND_AGREES
"""What applying changes tells: whose changes came, and which book's top is sound and as claimed."""

HASH_LENGTH, TOKEN_LENGTH_MAX = 40, 78


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


def _claimed(text: str) -> int:
    try:
        return BESTS[text]
    except ValueError:
        return NO_PRICE


class Levels:
    """The levels of one token, and what the venue last said of them.

    `bids` and `asks` are sizes by price, to be looked at only; `bid_px` and `ask_px` the best of
    them. `claim_bid_px` and `claim_ask_px` are the best prices the venue named last, `hash` the
    hash of the book it gave last, and `hash_ns` its time of it.
    """

    __slots__ = (
        "_token_id",
        "ask_px",
        "asks",
        "bid_px",
        "bids",
        "claim_ask_px",
        "claim_bid_px",
        "hash",
        "hash_ns",
    )

    def __init__(self) -> None:
        self._token_id = ""
        self.forget()

    @property
    def token_id(self) -> str:
        """Whose levels these are; "" where it is not known yet."""
        return self._token_id

    @token_id.setter
    def token_id(self, text: str) -> None:
        if len(text) > TOKEN_LENGTH_MAX or not text.isascii():
            raise OutOfRangeError("a token of a name that is none")
        self._token_id = text

    def forget(self) -> None:
        """Forget everything but the name."""
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.bid_px = EMPTY_BID
        self.ask_px = EMPTY_ASK
        self.forget_claim()

    def forget_claim(self) -> None:
        """Forget what the venue last said of the levels."""
        self.claim_bid_px = self.claim_ask_px = UNKNOWN
        self.take_hash("", 0)

    def claim(self, best_bid: str, best_ask: str, /) -> None:
        """Take what the venue says the best prices are."""
        self.claim_bid_px, self.claim_ask_px = _claimed(best_bid), _claimed(best_ask)

    def take_hash(self, told: object, time_ns: int, /) -> None:
        """Take what the venue gives as the hash of the book; what cannot be one is none."""
        is_hash = isinstance(told, str) and len(told) == HASH_LENGTH and told.isascii()
        self.hash, self.hash_ns = (str(told), time_ns) if is_hash else ("", 0)

    def load(self, bids: list[Level], asks: list[Level], tick_e9: int, /) -> None:
        """Take a whole book's levels; ValueError leaves the old ones as they were."""
        new_bids, bid_px = read_side(bids, True, tick_e9)
        new_asks, ask_px = read_side(asks, False, tick_e9)
        if bid_px >= ask_px:
            raise crossed(bid_px, ask_px)
        self.bids, self.asks = new_bids, new_asks
        self.bid_px, self.ask_px = bid_px, ask_px

    @property
    def bid_qty(self) -> int:
        """The size at the best bid; 0 where there is none."""
        return self.bids.get(self.bid_px, 0)

    @property
    def ask_qty(self) -> int:
        """The size at the best ask; 0 where there is none."""
        return self.asks.get(self.ask_px, 0)

    def best_levels(self, count: int, /) -> tuple[list[int], list[int]]:
        """The best `count` bids and asks as flat lists price, size, price ..., best first."""
        bids, asks = self.bids, self.asks
        bid_flat: list[int] = []
        for px in sorted(bids, reverse=True)[:count]:
            bid_flat += (px, bids[px])
        ask_flat: list[int] = []
        for px in sorted(asks)[:count]:
            ask_flat += (px, asks[px])
        return bid_flat, ask_flat

    def _is_claimed(self) -> bool:
        """Whether the top is sound, and wholly what the venue claims."""
        bid, ask = self.bid_px, self.ask_px
        return self.claim_bid_px == bid and self.claim_ask_px == ask and 0 < bid < ask < E9


def _put(book: Levels, change: Change, tick_e9: int) -> None:
    """Set one level's total; 0 removes it."""
    px = PRICES[change.price]
    size = SIZES[change.size]
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


def apply_changes(
    first: Levels, second: Levels, changes: list[Change], time_ns: int, tick_e9: int, /
) -> int:
    """Apply the changes of one frame to both books; tell which were touched, and which agree.

    A size is the level's new total, 0 removes it. The last change of a book is its new claim and
    has its hash. Both agree only where they also mirror each other, as the tokens of a market do.
    ValueError tells of a price, size or side that is none: the changes before it have been applied
    and nothing is claimed, so the pair's state is then in doubt.
    """
    last_first: Change | None = None
    last_second: Change | None = None
    for change in changes:
        token_id = change.asset_id
        if token_id == first._token_id:
            book, last_first = first, change
        elif token_id == second._token_id:
            book, last_second = second, change
        elif second._token_id:
            raise OutOfRangeError("a token of another market")
        else:  # a token listed alone: this is how its sibling becomes known
            second.token_id = token_id
            book, last_second = second, change
        _put(book, change, tick_e9)
    found = 0
    told = (last_first, first, FIRST, FIRST_AGREES), (last_second, second, SECOND, SECOND_AGREES)
    for last, book, is_touched, does_agree in told:
        if last is not None:
            book.claim(last.best_bid, last.best_ask)
            book.take_hash(last.hash, time_ns)
            found |= is_touched | does_agree if book._is_claimed() else is_touched
    is_mirror = first.bid_px + second.ask_px == E9 and first.ask_px + second.bid_px == E9
    return found & (FIRST | SECOND) if found == ALL and not is_mirror else found
