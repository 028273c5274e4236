"""A market as the executor sees it: its two tokens, its rules, and the terms all else is said in.

Both books of a pair show the same liquidity: BUY Up at p and SELL Down at 1 - p stand in the same
queue. So every comparison here is made *in terms of the first token*: an order has a `face`, the
side and price it shows in the first token's book, whatever token it names. The invariant is that
`face` and `as_order` are each other's inverse. It knows no prices of the moment; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

from cache.layout import E9, Outcome, Side


def opposite(side: Side) -> Side:
    """Return the other side."""
    return Side.SELL if side is Side.BUY else Side.BUY


class Face(NamedTuple):
    """Side and price in terms of the first token."""

    side: Side
    px_e9: int


def face(is_yes: bool, side: Side, px_e9: int) -> Face:
    """Say how an order on either token shows in the first token's book."""
    return Face(side, px_e9) if is_yes else Face(opposite(side), E9 - px_e9)


def outcome_index(is_yes: bool) -> int:
    """Number a token as the records do."""
    return 0 if is_yes else 1


def crosses(side: Side, px_e9: int, opposite_px_e9: int) -> bool:
    """Say whether an order would meet the best opposite price; 0 means that side is empty."""
    if opposite_px_e9 == 0:
        return False
    return px_e9 >= opposite_px_e9 if side is Side.BUY else px_e9 <= opposite_px_e9


@dataclass(frozen=True, slots=True)
class Market:
    """What does not change while a market lives; the tick does, and comes with the book."""

    tag: int
    slot: int
    generation: int
    yes_tag: int
    no_tag: int
    lot_e9: int
    min_qty_e9: int
    fee_rate_e9: int
    fee_exponent: int
    rebate_rate_e9: int
    taker_delay_ns: int
    slug: str = ""

    @property
    def name(self) -> str:
        """What people call it; its tag where nobody said."""
        return self.slug or f"{self.tag:#x}"

    @classmethod
    def unlisted(cls, tag: int) -> Market:
        """Stand in for a market of which only the name is known: nothing can be traded on it."""
        return cls(tag, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def token_tag(self, is_yes: bool) -> int:
        return self.yes_tag if is_yes else self.no_tag

    def floor_lot(self, qty_e9: int) -> int:
        """Cut a size to the size grid."""
        return qty_e9 - qty_e9 % self.lot_e9 if self.lot_e9 > 0 else qty_e9


class Book(Struct, frozen=True):
    """One top of book in terms of the first token, with deeper levels where they are known.

    Prices are 0 where a side is empty. `at_ns` is from when on it holds. `bids` and `asks` are
    price, size, price, size ... best first; None when only the top is known. `has_gap`: records
    between this and the one before were not seen, so nothing may be called lasting across it.
    """

    pair_tag: int
    version: int
    at_ns: int
    is_trusted: bool
    bid_px_e9: int
    bid_qty_e9: int
    ask_px_e9: int
    ask_qty_e9: int
    tick_e9: int = 0
    bids: tuple[int, ...] | None = None
    asks: tuple[int, ...] | None = None
    has_gap: bool = False

    def best(self, side: Side) -> tuple[int, int]:
        """Return best price and size of one side; a price of 0 means it is empty."""
        if side is Side.BUY:
            return self.bid_px_e9, self.bid_qty_e9
        return self.ask_px_e9, self.ask_qty_e9

    def displayed(self, side: Side, px_e9: int) -> int | None:
        """Return the size shown at a price; None where the book does not reach that deep."""
        best_px, best_qty = self.best(side)
        if px_e9 == best_px:
            return best_qty
        if best_px == 0 or (px_e9 > best_px if side is Side.BUY else px_e9 < best_px):
            return 0
        levels = self.bids if side is Side.BUY else self.asks
        if not levels:
            return None
        for at in range(0, len(levels), 2):
            px = levels[at]
            if px == px_e9:
                return levels[at + 1]
            if (px < px_e9) if side is Side.BUY else (px > px_e9):
                return 0
        return None


class Print(Struct, frozen=True):
    """One trade of the venue, in terms of the first token; `side` is the taker's."""

    pair_tag: int
    recv_ns: int
    side: Side
    px_e9: int
    qty_e9: int


def print_of(
    pair_tag: int, recv_ns: int, *, is_yes: bool, side: Side, px_e9: int, qty_e9: int
) -> Print:
    """Say a print on either token in terms of the first: BUY Down at 1 - p is SELL Up at p."""
    shown = face(is_yes, side, px_e9)
    return Print(pair_tag, recv_ns, shown.side, shown.px_e9, qty_e9)


def winner_is_yes(outcome: Outcome) -> bool:
    """Say whether the first token won; the outcome must be known."""
    if outcome is Outcome.UNKNOWN:
        raise ValueError("the outcome is not known")
    return outcome is Outcome.YES
