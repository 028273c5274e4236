"""The gate that every order passes before it is sent: limits, grid, and the rate budget.

An order is sent only if no limit would be broken even when all that is open trades in the worst
way; else it is DENIED, with the reason. Two things are never refused: a cancel, and (by the limits
on exposure) an order that brings its market nearer to flat.

The rate budget is two buckets, as the venue keeps them: orders and cancels. An order needs a token
of the first and leaves in the second enough to cancel everything that lives, itself included. So
the invariant holds that a cancel never waits for the budget.

Pure: `now_ns` is an argument. It has no default for any limit; they come from the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

from cache.layout import E9, Side
from executor.diff import Place
from executor.ledger import Holding, reach
from executor.market import Market, face
from executor.orders import Order


class Denial(Enum):
    """Why an order is not sent."""

    PRICE_BOUNDS = "price_bounds"
    OFF_GRID = "off_grid"
    TICK_UNKNOWN = "tick_unknown"
    SIZE_BOUNDS = "size_bounds"
    OFF_LOT = "off_lot"
    NOT_HELD = "not_held"
    MARKET_SIZE = "market_size"
    MARKET_LOSS = "market_loss"
    TOTAL_LOSS = "total_loss"
    ORDER_COUNT = "order_count"
    ORDER_RATE = "order_rate"
    CANCEL_ROOM = "cancel_room"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an account may do at most; sizes in shares, losses in collateral, all in 1e-9.

    Losses are worst cases: what is lost when every open order that hurts trades and the worse
    outcome comes. The total is the sum over markets, because they move together.
    """

    px_min_e9: int
    px_max_e9: int
    order_qty_max_e9: int
    market_qty_max_e9: int
    market_loss_max_e9: int
    total_loss_max_e9: int
    orders_open_max: int
    orders_per_s: int
    orders_burst: int
    cancels_per_s: int
    cancels_burst: int


class Bucket:
    """A token bucket in whole numbers: `rate` tokens a second, at most `burst`."""

    def __init__(self, rate_per_s: int, burst: int, now_ns: int) -> None:
        self._rate = rate_per_s
        self._burst_e9 = burst * E9
        self._level_e9 = self._burst_e9
        self._at_ns = now_ns

    def level(self, now_ns: int) -> int:
        """Return the whole tokens there are."""
        self._fill(now_ns)
        return self._level_e9 // E9

    def take(self, now_ns: int) -> bool:
        """Take a token; False where there was none, and the level stays at zero."""
        self._fill(now_ns)
        if self._level_e9 < E9:
            return False
        self._level_e9 -= E9
        return True

    def _fill(self, now_ns: int) -> None:
        # A tokens-per-second rate is the same number of 1e-9 tokens per nanosecond.
        if now_ns > self._at_ns:
            grown = self._level_e9 + (now_ns - self._at_ns) * self._rate
            self._level_e9 = min(self._burst_e9, grown)
            self._at_ns = now_ns


class Exposure(Struct, frozen=True):
    """What the gate has to know besides the order: the market, and the account around it.

    `other_loss_e9` is the worst-case loss of all other markets together, `live_count` the live
    orders of the whole account, `uncancelled_count` those of them that no cancel was sent for.
    """

    market: Market
    tick_e9: int
    holding: Holding
    orders: Sequence[Order]
    other_loss_e9: int
    live_count: int
    uncancelled_count: int


class RiskGate:
    """The limits of one account, with the state of its rate budget."""

    def __init__(self, limits: Limits, now_ns: int) -> None:
        self.limits = limits
        self._orders = Bucket(limits.orders_per_s, limits.orders_burst, now_ns)
        self._cancels = Bucket(limits.cancels_per_s, limits.cancels_burst, now_ns)

    def admit(self, place: Place, exposure: Exposure, now_ns: int) -> Denial | None:
        """Give the reason against an order, or None and take its token from the budget."""
        denial = (
            self._against_shape(place, exposure)
            or self._against_exposure(place, exposure)
            or self._against_count(exposure, now_ns)
        )
        if denial is None and not self._orders.take(now_ns):
            return Denial.ORDER_RATE
        return denial

    def cancel(self, now_ns: int) -> bool:
        """Account for a cancel; it is sent either way. False says the budget had no room."""
        return self._cancels.take(now_ns)

    def _against_shape(self, place: Place, exposure: Exposure) -> Denial | None:
        limits, market = self.limits, exposure.market
        if not max(1, limits.px_min_e9) <= place.px_e9 <= min(E9 - 1, limits.px_max_e9):
            return Denial.PRICE_BOUNDS
        if exposure.tick_e9 <= 0:
            return Denial.TICK_UNKNOWN
        if place.px_e9 % exposure.tick_e9:
            return Denial.OFF_GRID
        if not 0 < market.min_qty_e9 <= place.qty_e9 <= limits.order_qty_max_e9:
            return Denial.SIZE_BOUNDS
        if market.floor_lot(place.qty_e9) != place.qty_e9:
            return Denial.OFF_LOT
        return None

    def _against_exposure(self, place: Place, exposure: Exposure) -> Denial | None:
        limits, holding = self.limits, exposure.holding
        if place.side is Side.SELL:
            promised = sum(
                order.open_e9
                for order in exposure.orders
                if order.side is Side.SELL and order.is_yes is place.is_yes
            )
            if promised + place.qty_e9 > holding.held(place.is_yes):
                return Denial.NOT_HELD
        before = reach(holding, exposure.orders)
        side, px_e9 = face(place.is_yes, place.side, place.px_e9)
        after = before.plus(side, px_e9, place.qty_e9)
        extreme = (
            after.net_e9 + after.buys_e9 if side is Side.BUY else after.sells_e9 - after.net_e9
        )
        if extreme > limits.market_qty_max_e9:
            return Denial.MARKET_SIZE
        if after.loss_e9 > before.loss_e9:
            if after.loss_e9 > limits.market_loss_max_e9:
                return Denial.MARKET_LOSS
            if after.loss_e9 + exposure.other_loss_e9 > limits.total_loss_max_e9:
                return Denial.TOTAL_LOSS
        return None

    def _against_count(self, exposure: Exposure, now_ns: int) -> Denial | None:
        if exposure.live_count >= self.limits.orders_open_max:
            return Denial.ORDER_COUNT
        # One more for the order itself.
        if self._cancels.level(now_ns) < exposure.uncancelled_count + 1:
            return Denial.CANCEL_ROOM
        return None
