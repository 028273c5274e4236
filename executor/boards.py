"""What the executor publishes, and reads again after its own death: positions, orders, fills.

For each report of the venue the fill goes first, then the position that contains it (its
`venue_seq` is the number of the last fill contained), then the order. So whenever the process dies,
the boards hold at most one fill that its position does not contain yet, and `recover` names it. The
invariant: a position record is whole by itself, and positions are the sum of the fills.

Slots are used again: a market's when its desk is done, an order's when it ended longest ago. The
boards know nothing of limits or quotes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cache.board import Miss, Snapshot
from cache.counters import Counter
from cache.layout import (
    FILL,
    POSITION,
    WORKING_ORDER,
    BoardSpec,
    OrderState,
    Outcome,
    Side,
)
from cache.segment import WriterSegment
from executor.account import Desk
from executor.ledger import Fill, Holding
from executor.orders import LIVE, Order

LATEST_CELLS = 8
STREAM_CELLS = 4096


def specs(market_slots: int, order_slots: int) -> tuple[BoardSpec, ...]:
    """Say which boards an executor's segment has."""
    return (
        BoardSpec("positions", POSITION, market_slots, LATEST_CELLS),
        BoardSpec("orders", WORKING_ORDER, order_slots, LATEST_CELLS),
        BoardSpec("fills", FILL, 1, STREAM_CELLS),
    )


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a predecessor left: holdings by market, and its last fill if no position has it."""

    holdings: dict[int, Holding]
    unbooked: Fill | None
    fill_id: int
    ended_count: int


class AccountBoards:
    """The three boards of one executor's segment. Belongs to one thread."""

    def __init__(self, segment: WriterSegment) -> None:
        self._segment = segment
        self._positions = segment.board("positions")
        self._orders = segment.board("orders")
        self._fills = segment.board("fills")
        self._market_slots: dict[int, int] = {}
        self._free_markets: deque[int] = deque()
        self._market_generations = [0] * self._positions.slot_count
        self._order_slots: dict[bytes, int] = {}
        self._free_orders: deque[int] = deque()
        self._ended: deque[bytes] = deque()
        self._order_generations = [0] * self._orders.slot_count
        self.has_news = False
        """Something was published since the bell was rung."""

    # --- recovery -----------------------------------------------------------------------------

    def recover(self, now_ns: int) -> Recovered:
        """Read what the last incarnation left, publish it as ours, and end its orders."""
        holdings: dict[int, Holding] = {}
        last_fill = self._fills.last(0)
        for slot in range(self._positions.slot_count):
            left = self._positions.last(slot)
            if isinstance(left, Miss):
                self._free_markets.append(slot)
                continue
            self._market_slots[left.tag] = slot
            self._market_generations[slot] = left.generation
            self._positions.assign(slot, left.tag, left.generation)
            holding = holdings[left.tag] = _holding(left)
            self._publish_position(slot, holding, 0, now_ns)
        booked = max((holding.fill_id for holding in holdings.values()), default=0)
        unbooked = None
        if not isinstance(last_fill, Miss) and last_fill.fill_id > booked:
            unbooked = _fill(last_fill)
        ended_count = self._end_orders(last_fill, now_ns)
        fill_id = booked if isinstance(last_fill, Miss) else max(booked, last_fill.fill_id)
        return Recovered(holdings, unbooked, fill_id, ended_count)

    def _end_orders(self, last_fill: Snapshot | Miss, now_ns: int) -> int:
        """Publish every order that was alive as cancelled; give the number of them."""
        count, used = 0, []
        for slot in range(self._orders.slot_count):
            left = self._orders.last(slot)
            if isinstance(left, Miss):
                self._free_orders.append(slot)
                continue
            used.append(slot)
            self._order_generations[slot] = left.generation + 1
            if left.state not in LIVE:
                continue
            values = {name: getattr(left, name) for name in WORKING_ORDER.value_names}
            values["order_id"] = left.order_id.encode()
            values["publish_ns"] = now_ns
            values["state"] = OrderState.CANCELLED
            if not isinstance(last_fill, Miss) and last_fill.order_id == left.order_id:
                missing = last_fill.fill_id > left.venue_seq
                values["filled_e9"] += last_fill.qty_e9 if missing else 0
                if values["filled_e9"] >= left.qty_e9:
                    values["state"] = OrderState.FILLED
            self._orders.assign(slot, left.tag, left.generation)
            self._orders.publish(slot, tuple(values.values()))
            self._segment.counters.add(Counter.executor_orders_adopted)
            self.has_news = True
            count += 1
        self._free_orders.extend(used)  # Last: how their orders ended stays there to be read.
        return count

    # --- markets ------------------------------------------------------------------------------

    def claim(self, tag: int, is_done: Callable[[int], bool]) -> int | None:
        """Give a market a slot; return the tag whose slot it took, 0 if a free one, else None.

        None, and counted, says that there is no slot: the market cannot be traded.
        """
        if tag in self._market_slots:
            return 0
        gone = 0
        if not self._free_markets:
            # In order of age: a slot that is claimed goes to the end of the dictionary.
            gone = next((held for held in self._market_slots if is_done(held)), 0)
            if not gone:
                self._segment.counters.add(Counter.executor_markets_refused)
                return None
            slot = self._market_slots.pop(gone)
            self._market_generations[slot] += 1
        else:
            slot = self._free_markets.popleft()
        self._market_slots[tag] = slot
        self._positions.assign(slot, tag, self._market_generations[slot])
        return gone

    def publish_position(self, desk: Desk, now_ns: int) -> None:
        """Publish what is held of a market; it must have claimed its slot."""
        slot = self._market_slots[desk.market.tag]
        self._publish_position(slot, desk.holding, desk.in_flight_e9, now_ns)

    def _publish_position(
        self, slot: int, holding: Holding, in_flight_e9: int, now_ns: int
    ) -> None:
        self._positions.publish(
            slot,
            (
                *_head(holding.fill_id, now_ns, now_ns),
                holding.yes_e9,
                holding.no_e9,
                holding.cash_e9,
                holding.fees_e9,
                holding.rebates_e9,
                in_flight_e9,
                holding.fill_count,
                holding.settled,
                0,
            ),
        )
        self.has_news = True

    # --- orders and fills ---------------------------------------------------------------------

    def publish_order(self, order: Order, fill_id: int, now_ns: int) -> None:
        """Publish where an order stands; `fill_id` is the number of the account's last fill."""
        slot = self._order_slots.get(order.order_id)
        if slot is None:
            slot = self._order_slot()
            self._order_slots[order.order_id] = slot
            self._orders.assign(slot, order.token_tag, self._order_generations[slot])
            self._order_generations[slot] += 1
        provenance = order.provenance
        self._orders.publish(
            slot,
            (
                *_head(fill_id, order.created_ns, now_ns),
                order.order_id,
                order.pair_tag,
                order.px_e9,
                order.qty_e9,
                order.filled_e9,
                order.created_ns,
                order.working_ns,
                provenance.quotes_version,
                provenance.book_version,
                provenance.reference_version,
                order.side,
                order.state,
            ),
        )
        self.has_news = True
        if not order.is_live and order.order_id not in self._ended:
            self._ended.append(order.order_id)

    def _order_slot(self) -> int:
        if self._free_orders:
            return self._free_orders.popleft()
        # The configuration has at least twice the slots that orders may live at once.
        return self._order_slots.pop(self._ended.popleft())

    def publish_fill(self, fill: Fill, now_ns: int) -> None:
        """Add a fill to the stream."""
        self._fills.publish_tagged(
            0,
            fill.token_tag,
            0,
            (
                *_head(fill.fill_id, fill.at_ns, now_ns),
                fill.order_id,
                fill.fill_id,
                fill.pair_tag,
                fill.px_e9,
                fill.qty_e9,
                fill.fee_e9,
                fill.rebate_e9,
                fill.side,
                int(fill.is_maker),
                fill.book_version,
            ),
        )
        self.has_news = True

    def ring(self) -> bool:
        """Ring the bell if anything was published; once per turn."""
        had_news, self.has_news = self.has_news, False
        if had_news:
            self._segment.ring()
            self._segment.counters.add(Counter.host_bells_rung)
        return had_news


def _head(venue_seq: int, recv_ns: int, now_ns: int) -> tuple[int, ...]:
    """The common fields: batch, venue_seq, recv, publish, venue time, flags, proof."""
    return 0, venue_seq, recv_ns, now_ns, 0, 0, 0


def _holding(left: Snapshot) -> Holding:
    return Holding(
        yes_e9=left.yes_qty_e9,
        no_e9=left.no_qty_e9,
        cash_e9=left.cash_e9,
        fees_e9=left.fees_e9,
        rebates_e9=left.rebates_e9,
        fill_count=left.fill_count,
        fill_id=left.venue_seq,
        settled=Outcome(left.settled),
    )


def _fill(left: Snapshot) -> Fill:
    """Read a fill back; which token it names is known by its tag alone."""
    return Fill(
        fill_id=left.fill_id,
        order_id=left.order_id.encode(),
        pair_tag=left.pair_tag,
        token_tag=left.tag,
        is_yes=False,
        side=Side(left.side),
        px_e9=left.px_e9,
        qty_e9=left.qty_e9,
        fee_e9=left.fee_e9,
        rebate_e9=left.rebate_e9,
        is_maker=bool(left.is_maker),
        book_version=left.book_version,
        at_ns=left.recv_ns,
    )
