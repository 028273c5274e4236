"""What the executor publishes, and reads again after its own death: positions, orders, fills.

For each report of the venue the fill goes first, then the position that contains it (its
`venue_seq` is the number of the last fill contained), then the order. So whenever the process dies,
the boards hold at most one fill that its position does not contain yet, and `recover` names it. The
invariant: a position record is whole by itself, and positions are the sum of the fills; where that
cannot be, because a record of ours is damaged, positions say SUSPECT from then on, until the
segment is removed.

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
    Flag,
    OrderState,
    Outcome,
    Side,
    next_generation,
)
from cache.segment import WriterSegment
from executor.account import Desk
from executor.ledger import Fill, Holding
from executor.leftovers import fill_of, holding_of, is_order
from executor.market import outcome_index
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


Damage = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a predecessor left: holdings by market, and its last fill if no position has it.

    With anything `damaged` (board, slot, version), none of it is to be relied on.
    """

    holdings: dict[int, Holding]
    unbooked: Fill | None
    fill_id: int
    ended_count: int
    damaged: tuple[Damage, ...] = ()


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
        self.is_known = True
        """Whether what is held is known; if not, every position says SUSPECT."""

    # --- recovery -----------------------------------------------------------------------------

    def recover(self, now_ns: int) -> Recovered:
        """Read what the last incarnation left, publish it as ours, and end its orders."""
        fill_count = self._fills.version(0)
        damaged: list[Damage] = []
        holdings = self._read_positions(fill_count, damaged)
        booked = max((holding.fill_id for holding in holdings.values()), default=0)
        last = self._fills.last(0)
        fill = None if isinstance(last, Miss) else fill_of(last, fill_count)
        unbooked = fill if fill is not None and fill.fill_id > booked else None
        if not isinstance(last, Miss) and (fill is None or not _fits(unbooked, holdings)):
            damaged.append(("fills", 0, fill_count))
        alive = self._read_orders(damaged)
        self.is_known = not damaged
        for tag, holding in holdings.items():
            self._publish_position(self._market_slots[tag], holding, 0, now_ns)
        self._end_orders(alive, fill, now_ns)
        return Recovered(holdings, unbooked, fill_count, len(alive), tuple(damaged))

    def _read_positions(self, fill_count: int, damaged: list[Damage]) -> dict[int, Holding]:
        """Read the positions; a damaged one keeps its slot to itself, to be looked at."""
        holdings: dict[int, Holding] = {}
        for slot in range(self._positions.slot_count):
            left = self._positions.last(slot)
            if isinstance(left, Miss):
                self._free_markets.append(slot)
                continue
            holding = holding_of(left, fill_count)
            if holding is None or left.flags or left.tag in holdings:
                damaged.append(("positions", slot, left.version))
            if holding is None or left.tag in holdings:
                continue
            self._market_slots[left.tag] = slot
            self._market_generations[slot] = left.generation
            self._positions.assign(slot, left.tag, left.generation)
            holdings[left.tag] = holding
        return holdings

    def _read_orders(self, damaged: list[Damage]) -> list[tuple[int, Snapshot]]:
        """Read the orders; give those that were alive."""
        alive, used = [], []
        for slot in range(self._orders.slot_count):
            left = self._orders.last(slot)
            if isinstance(left, Miss):
                self._free_orders.append(slot)
                continue
            used.append(slot)
            self._order_generations[slot] = next_generation(left.generation)
            if not is_order(left):
                damaged.append(("orders", slot, left.version))
            elif left.state in LIVE:
                alive.append((slot, left))
        self._free_orders.extend(used)  # Last: how their orders ended stays there to be read.
        return alive

    def _end_orders(
        self, alive: list[tuple[int, Snapshot]], last_fill: Fill | None, now_ns: int
    ) -> None:
        """Publish every order that was alive as cancelled, or as filled by the last fill."""
        for slot, left in alive:
            values = {name: getattr(left, name) for name in WORKING_ORDER.value_names}
            values["publish_ns"] = now_ns
            values["state"] = OrderState.CANCELLED
            if last_fill is not None and last_fill.order_id == left.order_id:
                missing = last_fill.fill_id > left.venue_seq
                values["filled_e9"] += last_fill.qty_e9 if missing else 0
                if values["filled_e9"] >= left.qty_e9:
                    values["state"] = OrderState.FILLED
            self._orders.assign(slot, left.tag, left.generation)
            self._orders.publish(slot, tuple(values.values()))
            self._segment.counters.add(Counter.executor_orders_adopted)
            self.has_news = True

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
            generation = self._market_generations[slot]
            self._market_generations[slot] = next_generation(generation)
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
                *_head(holding.fill_id, now_ns, now_ns, 0 if self.is_known else Flag.SUSPECT),
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
            generation = self._order_generations[slot]
            self._order_generations[slot] = next_generation(generation)
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
                provenance.book_age_ns,
                provenance.reference_age_ns,
                provenance.decided_ns,
                provenance.quoted_ns,
                provenance.cause_ns,
                order.side,
                order.state,
                outcome_index(order.is_yes),
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
                outcome_index(fill.is_yes),
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


def _head(venue_seq: int, recv_ns: int, now_ns: int, flags: int = 0) -> tuple[int, ...]:
    """The common fields: batch, venue_seq, recv, publish, venue time, flags, proof."""
    return 0, venue_seq, recv_ns, now_ns, 0, flags, 0


def _fits(unbooked: Fill | None, holdings: dict[int, Holding]) -> bool:
    """Whether a fill that no position contains can be booked: it had a position, and shares."""
    if unbooked is None:
        return True
    held = holdings.get(unbooked.pair_tag)
    if held is None or held.settled is not Outcome.UNKNOWN:
        return False
    return unbooked.side is Side.BUY or held.held(unbooked.is_yes) >= unbooked.qty_e9
