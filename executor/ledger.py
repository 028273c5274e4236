"""What an account holds of one market, and what it can lose there.

A holding is shares of both tokens and the collateral gained or spent since the first fill. Pairs
merge into collateral one for one; the winning token pays one at settlement. The invariant: at any
time, cash plus what the shares would redeem for equals the sum over all fills, fees included.
Amounts that do not come out even in 1e-9 are rounded against us, never for us.

Pure. It does not know whether a market's price is fair: losses are counted to the worst outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import Struct

from cache.layout import E9, Outcome, Side
from executor.market import winner_is_yes
from executor.orders import Order


def cost_e9(qty_e9: int, px_e9: int) -> int:
    """Return what `qty` costs at `px`, rounded up."""
    return -(-qty_e9 * px_e9 // E9)


def proceeds_e9(qty_e9: int, px_e9: int) -> int:
    """Return what `qty` earns at `px`, rounded down."""
    return qty_e9 * px_e9 // E9


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of ours; price and side are those of the token the order names."""

    fill_id: int
    order_id: bytes
    pair_tag: int
    token_tag: int
    is_yes: bool
    side: Side
    px_e9: int
    qty_e9: int
    fee_e9: int
    rebate_e9: int
    is_maker: bool
    book_version: int
    at_ns: int


@dataclass(slots=True)
class Holding:
    """The position of one market."""

    yes_e9: int = 0
    no_e9: int = 0
    cash_e9: int = 0
    fees_e9: int = 0
    rebates_e9: int = 0
    fill_count: int = 0
    fill_id: int = 0
    """Number of the last fill contained, so that a restart knows which ones are not."""
    settled: Outcome = Outcome.UNKNOWN

    @property
    def net_e9(self) -> int:
        """Signed exposure in shares of the first token."""
        return self.yes_e9 - self.no_e9

    @property
    def is_flat(self) -> bool:
        return not self.yes_e9 and not self.no_e9

    def held(self, is_yes: bool) -> int:
        return self.yes_e9 if is_yes else self.no_e9

    def apply(self, fill: Fill) -> None:
        """Book one execution. Raises ValueError for a sale of what is not held: our fault."""
        change = fill.qty_e9 if fill.side is Side.BUY else -fill.qty_e9
        if self.held(fill.is_yes) + change < 0:
            raise ValueError(f"fill {fill.fill_id} sells {fill.qty_e9}, held is {self}")
        if fill.is_yes:
            self.yes_e9 += change
        else:
            self.no_e9 += change
        if fill.side is Side.BUY:
            self.cash_e9 -= cost_e9(fill.qty_e9, fill.px_e9)
        else:
            self.cash_e9 += proceeds_e9(fill.qty_e9, fill.px_e9)
        self.cash_e9 -= fill.fee_e9
        self.fees_e9 += fill.fee_e9
        self.rebates_e9 += fill.rebate_e9
        self.fill_count += 1
        self.fill_id = fill.fill_id

    def merge(self, orders: Iterable[Order]) -> int:
        """Turn pairs into collateral, save shares that working sales promise; return how many."""
        yes = no = 0
        for order in orders:
            if order.side is Side.SELL:
                if order.is_yes:
                    yes += order.open_e9
                else:
                    no += order.open_e9
        count = max(0, min(self.yes_e9 - yes, self.no_e9 - no))
        self.yes_e9 -= count
        self.no_e9 -= count
        self.cash_e9 += count
        return count

    def settle(self, outcome: Outcome) -> int:
        """Pay out the winning token and clear both; return the amount. Settles only once."""
        if self.settled is not Outcome.UNKNOWN:
            raise ValueError(f"already settled as {self.settled.name}")
        paid = self.held(winner_is_yes(outcome))
        self.cash_e9 += paid
        self.yes_e9 = self.no_e9 = 0
        self.settled = outcome
        return paid


class Reach(Struct, frozen=True):
    """How far a market can go if the worst subset of its open orders trades.

    `buys` and `sells` are open sizes by face; the two values are cash plus redemption when the
    first token wins (then it hurts to have sold it) and when it loses.
    """

    net_e9: int
    buys_e9: int
    sells_e9: int
    if_yes_e9: int
    if_no_e9: int

    @property
    def loss_e9(self) -> int:
        """The most this market can lose; 0 when it cannot."""
        return max(0, -min(self.if_yes_e9, self.if_no_e9))

    def plus(self, side: Side, px_e9: int, qty_e9: int) -> Reach:
        """Return the reach with one more open order, given by its face."""
        if side is Side.BUY:
            loses = self.if_no_e9 - cost_e9(qty_e9, px_e9)
            return Reach(self.net_e9, self.buys_e9 + qty_e9, self.sells_e9, self.if_yes_e9, loses)
        loses = self.if_yes_e9 - cost_e9(qty_e9, E9 - px_e9)
        return Reach(self.net_e9, self.buys_e9, self.sells_e9 + qty_e9, loses, self.if_no_e9)


def reach(holding: Holding, orders: Iterable[Order]) -> Reach:
    """Compute the reach of a market; an order that already settled counts no more."""
    found = Reach(
        holding.net_e9, 0, 0, holding.cash_e9 + holding.yes_e9, holding.cash_e9 + holding.no_e9
    )
    for order in orders:
        if order.open_e9:
            side, px_e9 = order.face
            found = found.plus(side, px_e9, order.open_e9)
    return found
