"""One account: its desks (one a market), and what happens to them, purely.

    quotes  -> offer      one strategy owns a market; a second one is refused
    book    -> desk.book, desk.mode
    decide  -> diff -> risk gate -> gateway
    reports -> apply      order table, fills, holding, merge
    outcome -> settle     once no order of the market lives

The invariant: a holding is changed by fills, merges and settlement alone, and every live order is
in its desk and counts as exposure. It does no I/O: the gateway is given, whatever must be told is
left in `changed_orders` and in what the calls return, and counts go to the given tally.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from cache.counters import Counter, Histogram
from cache.layout import OrderState, Outcome, Side
from executor.diff import Decision, Mode, Place, View, Wanted, decide
from executor.gateway import Gateway, Report
from executor.ledger import Fill, Holding, reach
from executor.market import Book, Market, face
from executor.orders import LIVE, IllegalEvent, Order, OrderEvent, Provenance, advance, fill
from executor.risk import Denial, Exposure, RiskGate

CLOSED_MAX = 1024
"""Orders remembered after their end, for a report that comes late."""

_UNCERTAIN = (OrderState.PENDING, OrderState.CANCELLING, OrderState.UNKNOWN)


class Tally(Protocol):
    """Where counts and latencies go; a segment's counters are one."""

    def add(self, counter: Counter, count: int = 1) -> None: ...

    def record(self, histogram: Histogram, value_ns: int) -> None: ...


@dataclass(slots=True, eq=False)
class Desk:
    """One market of the account."""

    market: Market
    holding: Holding = field(default_factory=Holding)
    orders: dict[bytes, Order] = field(default_factory=dict)
    """Live orders only."""
    owner: int = 0
    """Tag of the strategy that quotes here; 0 nobody."""
    wanted: Wanted | None = None
    is_fresh: bool = False
    """The wanted quotes have not been acted on yet."""
    is_stirred: bool = False
    """Something that a decision rests on changed since the last one."""
    book: Book | None = None
    mode: Mode = Mode.CANCEL
    fill_seen_ns: int = 0
    outcome: Outcome = Outcome.UNKNOWN
    is_listed: bool = True
    denied: dict[Side, tuple[Place, Denial]] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether there is anything to decide."""
        return self.wanted is not None or bool(self.orders)

    def is_due(self, now_ns: int) -> bool:
        """Whether deciding again could decide anything new."""
        if self.is_stirred:
            return self.is_active
        return self.wanted is not None and self.wanted.valid_until_ns <= now_ns

    @property
    def in_flight_e9(self) -> int:
        """Open size of orders whose outcome is not known yet."""
        return sum(o.open_e9 for o in self.orders.values() if o.state in _UNCERTAIN)

    @property
    def is_done(self) -> bool:
        """Whether the desk may be given up: nothing lives, nothing is held or to come."""
        return not self.is_active and not self.is_listed and self.holding.is_flat


class Account:
    """The desks of one account, its risk gate and its gateway. Belongs to one thread."""

    def __init__(
        self, gateway: Gateway, gate: RiskGate, tally: Tally, *, next_id: Callable[[], bytes]
    ) -> None:
        self.desks: dict[int, Desk] = {}
        self.changed_orders: list[Order] = []
        """Orders to be published; whoever publishes them clears the list."""
        self.fill_id = 0
        """Number of the account's last fill."""
        self._gateway = gateway
        self._gate = gate
        self._tally = tally
        self._next_id = next_id
        self._order_desk: dict[bytes, tuple[Order, Desk]] = {}
        self._closed: deque[bytes] = deque()

    # --- quotes -------------------------------------------------------------------------------

    def offer(self, desk: Desk, wanted: Wanted, now_ns: int) -> bool:
        """Take a strategy's quotes; False, and counted, when the market has another owner."""
        tag = wanted.provenance.strategy_tag
        wants_something = bool(wanted.bid_qty_e9 or wanted.ask_qty_e9)
        if desk.owner != tag:
            if not wants_something:
                return True
            if desk.owner and not self._is_free(desk, now_ns):
                self._tally.add(Counter.executor_strategy_refused)
                return False
            desk.owner = tag
        desk.wanted = wanted
        desk.is_fresh = desk.is_stirred = True
        return True

    def withdraw(self, strategy_tag: int) -> int:
        """Forget what a strategy wants: its orders are cancelled; return how many markets."""
        desks = [d for d in self.desks.values() if d.owner == strategy_tag and d.wanted]
        for desk in desks:
            desk.wanted = None
            desk.is_stirred = True
        return len(desks)

    @staticmethod
    def _is_free(desk: Desk, now_ns: int) -> bool:
        wanted = desk.wanted
        return not desk.orders and (wanted is None or wanted.valid_until_ns <= now_ns)

    # --- decisions ----------------------------------------------------------------------------

    def decide(self, desk: Desk, now_ns: int) -> int:
        """Bring a market's orders nearer to what is wanted; return how many messages were sent."""
        desk.is_stirred = False
        orders = tuple(desk.orders.values())
        view = View(
            desk.market,
            desk.wanted,
            desk.book,
            orders,
            desk.holding,
            desk.mode,
            desk.fill_seen_ns,
        )
        decision = decide(view, now_ns)
        self._send_cancels(desk, decision, now_ns)
        placed = sum(self._place(desk, place, now_ns) for place in decision.places)
        if decision.withheld:
            self._tally.add(Counter.executor_places_withheld, len(decision.withheld))
        sent = placed + len(decision.cancels)
        if desk.is_fresh and desk.wanted is not None and sent:
            provenance = desk.wanted.provenance
            self._tally.record(Histogram.quote_to_order_ns, now_ns - provenance.quoted_ns)
            if provenance.cause_ns:
                self._tally.record(Histogram.wire_to_order_ns, now_ns - provenance.cause_ns)
        desk.is_fresh = False
        if desk.wanted is not None and desk.wanted.valid_until_ns <= now_ns and not desk.orders:
            desk.wanted = None  # Expired and carried out.
        return sent

    def _send_cancels(self, desk: Desk, decision: Decision, now_ns: int) -> None:
        if decision.cancels and desk.mode is Mode.CANCEL:
            self._tally.add(Counter.executor_cancels_forced, len(decision.cancels))
        for order in decision.cancels:
            if not self._gate.cancel(now_ns):
                self._tally.add(Counter.executor_cancels_unbudgeted)
            advance(order, OrderEvent.CANCEL)
            self._gateway.cancel(order, now_ns)
            self._tally.add(Counter.executor_orders_cancelled)
            self.changed_orders.append(order)

    def _place(self, desk: Desk, place: Place, now_ns: int) -> int:
        """Send one order, or deny it; return how many were sent."""
        assert desk.wanted is not None
        assert desk.book is not None
        side = face(place.is_yes, place.side, place.px_e9).side
        denial = self._gate.admit(place, self._exposure(desk), now_ns)
        if denial is not None:
            self._tally.add(Counter.executor_orders_denied)
            desk.is_stirred = True  # Another time the limits may leave room.
            if desk.denied.get(side) == (place, denial):
                return 0  # The same as before: counted, but not told again.
            desk.denied[side] = place, denial
        order = Order(
            order_id=self._next_id(),
            pair_tag=desk.market.tag,
            token_tag=desk.market.token_tag(place.is_yes),
            is_yes=place.is_yes,
            side=place.side,
            px_e9=place.px_e9,
            qty_e9=place.qty_e9,
            created_ns=now_ns,
            provenance=_provenance(desk),
            reason=denial.value if denial else "",
        )
        self.changed_orders.append(order)
        if denial is not None:
            advance(order, OrderEvent.DENY)
            return 0
        desk.denied.pop(side, None)
        advance(order, OrderEvent.SEND)
        desk.orders[order.order_id] = order
        self._order_desk[order.order_id] = order, desk
        self._gateway.place(order, desk.market, now_ns)
        self._tally.add(Counter.executor_orders_placed)
        return 1

    def _exposure(self, desk: Desk) -> Exposure:
        assert desk.book is not None
        live = [order for other in self.desks.values() for order in other.orders.values()]
        return Exposure(
            market=desk.market,
            tick_e9=desk.book.tick_e9,
            holding=desk.holding,
            orders=tuple(desk.orders.values()),
            other_loss_e9=sum(
                reach(other.holding, other.orders.values()).loss_e9
                for other in self.desks.values()
                if other is not desk and other.holding.settled is Outcome.UNKNOWN
            ),
            live_count=len(live),
            uncancelled_count=sum(o.state is not OrderState.CANCELLING for o in live),
        )

    # --- what became of them ------------------------------------------------------------------

    def reports(self, now_ns: int) -> Iterator[tuple[Desk, Fill | None]]:
        """Apply what the gateway knows, one report at a time, so that each is published whole."""
        for report in self._gateway.poll(now_ns):
            applied = self._apply(report)
            if applied is not None:
                yield applied

    def _apply(self, report: Report) -> tuple[Desk, Fill | None] | None:
        """Apply one report; None, and counted, when it fits no order."""
        order, desk = self._order_desk.get(report.order_id, (None, None))
        if order is None or desk is None:
            self._tally.add(Counter.executor_reports_unmatched)
            return None
        made: Fill | None = None
        try:
            if report.event in (OrderEvent.FILL, OrderEvent.FILL_ALL):
                fill(order, report.qty_e9)
                made = self._book(desk, order, report)
            else:
                advance(order, report.event)
        except IllegalEvent:
            self._tally.add(Counter.executor_reports_unmatched)
            return None
        order.reason = report.reason or order.reason
        if report.event is OrderEvent.ACCEPT:
            order.working_ns = report.at_ns
        elif report.event is OrderEvent.REJECT:
            self._tally.add(Counter.executor_orders_rejected)
        elif report.event is OrderEvent.LOSE:
            self._tally.add(Counter.executor_orders_unknown)
        if order.state not in LIVE:
            self._close(order, desk)
        desk.holding.merge(desk.orders.values())
        desk.is_stirred = True
        self.changed_orders.append(order)
        return desk, made

    def _book(self, desk: Desk, order: Order, report: Report) -> Fill:
        self.fill_id += 1
        made = Fill(
            fill_id=self.fill_id,
            order_id=order.order_id,
            pair_tag=order.pair_tag,
            token_tag=order.token_tag,
            is_yes=order.is_yes,
            side=order.side,
            px_e9=report.px_e9,
            qty_e9=report.qty_e9,
            fee_e9=report.fee_e9,
            rebate_e9=report.rebate_e9,
            is_maker=report.is_maker,
            book_version=report.book_version,
            at_ns=report.at_ns,
        )
        desk.holding.apply(made)
        self._tally.add(Counter.executor_fills_received)
        return made

    def _close(self, order: Order, desk: Desk) -> None:
        if desk.orders.pop(order.order_id, None) is None:
            return  # A late fill of an order that had ended.
        self._closed.append(order.order_id)
        if len(self._closed) > CLOSED_MAX:
            del self._order_desk[self._closed.popleft()]

    def settle(self, desk: Desk) -> bool:
        """Pay a market out when its outcome is known and nothing lives; True when it did."""
        if desk.outcome is Outcome.UNKNOWN or desk.orders:
            return False
        if desk.holding.settled is not Outcome.UNKNOWN:
            return False
        desk.holding.settle(desk.outcome)
        desk.wanted = None
        self._tally.add(Counter.executor_markets_settled)
        return True

    @property
    def live_count(self) -> int:
        return sum(len(desk.orders) for desk in self.desks.values())


def _provenance(desk: Desk) -> Provenance:
    """Say what an order rests on; quotes acted on before are not what caused it."""
    assert desk.wanted is not None
    found = desk.wanted.provenance
    return found if desk.is_fresh else replace(found, cause_ns=0)
