"""What the executor needs of a venue: the seam between decisions and the wire.

A gateway takes orders and cancels, returns at once, and tells later, through `poll`, what became
of them. Whatever it reports is an event of the order table (`executor/orders.py`), so the account
treats every gateway alike. It neither judges limits nor keeps positions.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from executor.market import Market
from executor.orders import Order, OrderEvent


class Report(Struct, frozen=True):
    """What the venue says of one order. Price and fee are those of the token the order names."""

    event: OrderEvent
    order_id: bytes
    at_ns: int
    qty_e9: int = 0
    px_e9: int = 0
    fee_e9: int = 0
    rebate_e9: int = 0
    is_maker: bool = True
    book_version: int = 0
    reason: str = ""


class Gateway(Protocol):
    """A venue's order entry."""

    def place(self, order: Order, market: Market, now_ns: int) -> None:
        """Send an order; its outcome comes as a report, however late."""

    def cancel(self, order: Order, now_ns: int) -> None:
        """Ask for a cancel; the order may trade until CANCELLED is reported."""

    def poll(self, now_ns: int) -> list[Report]:
        """Give what became known since the last call, in the order it happened."""
