"""Orders and their state machine.

The machine is the table `TRANSITIONS` and nothing else: whoever changes an order's state goes
through `advance` or `fill`, and what the table does not name is an `IllegalEvent`. Drawn from it
(`draw()`, compared by a test):

    NONE        send PENDING · deny DENIED
    PENDING     accept WORKING · reject REJECTED · fill WORKING · fill_all FILLED ·
                cancel CANCELLING · cancelled CANCELLED · lose UNKNOWN
    WORKING     fill WORKING · fill_all FILLED · cancel CANCELLING · cancelled CANCELLED ·
                lose UNKNOWN
    CANCELLING  accept CANCELLING · reject REJECTED · fill CANCELLING · fill_all FILLED ·
                cancelled CANCELLED · keep WORKING · lose UNKNOWN
    UNKNOWN     accept WORKING · reject REJECTED · fill UNKNOWN · fill_all FILLED ·
                cancel UNKNOWN · cancelled CANCELLED
    CANCELLED   fill CANCELLED · fill_all FILLED

Three rules stand behind it. A fill is a fact: no live state refuses one, and one that is reported
after the cancel still counts. UNKNOWN is left only by what the venue is found to hold, never by
time. PENDING, WORKING, CANCELLING and UNKNOWN orders may all still trade, so all of them are risk.

Pure: no I/O and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from msgspec import Struct

from cache.layout import OrderState, Side
from executor.market import Face, face


class OrderEvent(Enum):
    """What can happen to an order."""

    SEND = "send"
    DENY = "deny"
    ACCEPT = "accept"
    REJECT = "reject"
    FILL = "fill"
    FILL_ALL = "fill_all"
    CANCEL = "cancel"
    CANCELLED = "cancelled"
    KEEP = "keep"
    LOSE = "lose"


_S, _E = OrderState, OrderEvent

TRANSITIONS: dict[OrderState, dict[OrderEvent, OrderState]] = {
    _S.NONE: {_E.SEND: _S.PENDING, _E.DENY: _S.DENIED},
    _S.PENDING: {
        _E.ACCEPT: _S.WORKING,
        _E.REJECT: _S.REJECTED,
        _E.FILL: _S.WORKING,
        _E.FILL_ALL: _S.FILLED,
        _E.CANCEL: _S.CANCELLING,
        _E.CANCELLED: _S.CANCELLED,
        _E.LOSE: _S.UNKNOWN,
    },
    _S.WORKING: {
        _E.FILL: _S.WORKING,
        _E.FILL_ALL: _S.FILLED,
        _E.CANCEL: _S.CANCELLING,
        _E.CANCELLED: _S.CANCELLED,
        _E.LOSE: _S.UNKNOWN,
    },
    _S.CANCELLING: {
        # The cancel may have been asked for before the order's own answer came.
        _E.ACCEPT: _S.CANCELLING,
        _E.REJECT: _S.REJECTED,
        _E.FILL: _S.CANCELLING,
        _E.FILL_ALL: _S.FILLED,
        _E.CANCELLED: _S.CANCELLED,
        _E.KEEP: _S.WORKING,
        _E.LOSE: _S.UNKNOWN,
    },
    _S.UNKNOWN: {
        _E.ACCEPT: _S.WORKING,
        _E.REJECT: _S.REJECTED,
        _E.FILL: _S.UNKNOWN,
        _E.FILL_ALL: _S.FILLED,
        _E.CANCEL: _S.UNKNOWN,
        _E.CANCELLED: _S.CANCELLED,
    },
    _S.CANCELLED: {_E.FILL: _S.CANCELLED, _E.FILL_ALL: _S.FILLED},
    _S.FILLED: {},
    _S.REJECTED: {},
    _S.DENIED: {},
}

LIVE = frozenset({_S.PENDING, _S.WORKING, _S.CANCELLING, _S.UNKNOWN})
"""States in which an order may still trade."""


class IllegalEvent(Exception):
    """An event that the order's state does not know: a venue that contradicts itself, or us."""


class Provenance(Struct, frozen=True):
    """Which records an order was decided on, how old they were, and when each stage passed.

    `decided_ns` is when the strategy froze its inputs, `quoted_ns` when it published, `cause_ns`
    when the bytes came that made it decide anew; 0 where there were none.
    """

    strategy_tag: int = 0
    quotes_version: int = 0
    book_version: int = 0
    reference_version: int = 0
    book_age_ns: int = 0
    reference_age_ns: int = 0
    decided_ns: int = 0
    quoted_ns: int = 0
    cause_ns: int = 0


@dataclass(slots=True, eq=False)
class Order:
    """One order; price and side are those of the token it names."""

    order_id: bytes
    pair_tag: int
    token_tag: int
    is_yes: bool
    side: Side
    px_e9: int
    qty_e9: int
    created_ns: int
    provenance: Provenance
    post_only: bool = True
    state: OrderState = OrderState.NONE
    filled_e9: int = 0
    working_ns: int = 0
    reason: str = ""
    face: Face = field(init=False)
    """Side and price as they show in the first token's book."""

    def __post_init__(self) -> None:
        self.face = face(self.is_yes, self.side, self.px_e9)

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def open_e9(self) -> int:
        """Size that may still trade."""
        return self.qty_e9 - self.filled_e9 if self.state in LIVE else 0


def advance(order: Order, event: OrderEvent) -> None:
    """Move the order along the table, or raise IllegalEvent and leave it as it is."""
    target = TRANSITIONS[order.state].get(event)
    if target is None:
        raise IllegalEvent(f"order {order.order_id!r} is {order.state.name}, got {event.value}")
    order.state = target


def fill(order: Order, qty_e9: int) -> None:
    """Book an execution; raises IllegalEvent when it is more than the order's size."""
    left = order.qty_e9 - order.filled_e9
    if not 0 < qty_e9 <= left:
        raise IllegalEvent(f"order {order.order_id!r} has {left} left, got a fill of {qty_e9}")
    advance(order, OrderEvent.FILL_ALL if qty_e9 == left else OrderEvent.FILL)
    order.filled_e9 += qty_e9


def draw() -> list[str]:
    """Draw the table, one line a state: what the docstring of this module shows."""
    return [
        f"{state.name} " + " · ".join(f"{e.value} {t.name}" for e, t in row.items())
        for state, row in TRANSITIONS.items()
        if row
    ]
