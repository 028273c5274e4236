"""The paper venue: a gateway that fills orders from the live board, by these rules and no others.

Its one principle: *a fill that costs us is assumed, a fill that pays us must be proven.*

Time. An order reaches the venue a sampled latency after it was sent, and a cancel takes effect a
sampled latency after it was asked for, never before its order arrived. Latencies are lognormal,
drawn from a seed. The venue reports a trade later than the book that already shows it (35 to 40 ms
were seen), so the model judges the past: it runs `evidence_delay` behind the clock, takes a book as
of its publishing, and a print as of `evidence_delay` before it was received. What we then see of
our orders comes that much later too. Evidence that is later still is taken as of the model's time,
and counted.

Arrival. Without a book that can be trusted, or with the market closed, the order is rejected. One
that meets the opposite side is rejected if post-only; else it is held for the market's taker delay,
cannot be cancelled meanwhile, and then takes at most the displayed best opposite size at that price
for the taker's fee, if it still meets it; the rest goes to the queue. Any other order goes to the
end of the queue at its price: ahead of it is all that is displayed there, or, where the board does
not reach that deep, an unknown amount that is taken for infinite until the level is seen.

Queue. What is ahead shrinks by prints at the price alone, and is capped by what each later book
displays at the price (our orders are not in that book, so it cannot hold more than that before us).
New size at the level joins behind us.

Prints. A print on the second token is one on the first: BUY Down at 1 - p is SELL Up at p. It
reaches our orders at its price or better, on the side the taker hit: best price first, then oldest
first. At its own price it first eats the queue ahead; of an order that it traded through the queue
is gone. Each share of a print is spent once, over all our orders.

Crosses. When the opposite best price of a trusted book stands at our price or through it for
`persist` without a break, we are filled at our price: wholly if it stands through it, else as far
as the displayed opposite size goes, each share of which is spent once. A book that is not trusted,
or a hole in the books seen, is a break.

Money. Makers pay no fee; takers pay shares x rate x (p(1-p))^exponent, to five places. The maker's
share of the fee that its counterpart would pay is a rebate, told apart and never in the cash.
Fills are partial as they come. A market that is closed cancels all its orders.

What it does not model: our orders moving the market, other makers stepping ahead of us, rejects
by a busy venue, settlement on the chain. Pure: it reads no clock, and the same calls give the same
reports.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist

from cache.layout import E9
from executor.gateway import Report
from executor.market import Book, Market, Print, crosses, opposite
from executor.orders import Order, OrderEvent
from executor.resting import Execution, Queue, Resting
from venue.fees import maker_rebate_e9, taker_fee_e9

_NORMAL = NormalDist()
_Z99 = _NORMAL.inv_cdf(0.99)

_LATENCY_TAIL = 10
"""No latency is longer than this many times its 99th percentile."""

_WORD = (1 << 64) - 1


def _draw(seed: int, number: int) -> float:
    """Return draw `number` of a seed, between 0 and 1 and neither (SplitMix64)."""
    word = (seed + (number + 1) * 0x9E37_79B9_7F4A_7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58_476D_1CE4_E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D0_49BB_1331_11EB) & _WORD
    return (((word ^ (word >> 31)) >> 12) + 0.5) / (1 << 52)


@dataclass(frozen=True, slots=True)
class Latency:
    """A lognormal latency by its median and 99th percentile."""

    p50_ns: int
    p99_ns: int

    def at(self, quantile: float) -> int:
        """Return the latency that this fraction of all orders stays under."""
        longest_ns = max(self.p99_ns, self.p50_ns)
        spread = math.log(longest_ns / self.p50_ns) / _Z99
        found_ns = int(self.p50_ns * math.exp(spread * _NORMAL.inv_cdf(quantile)))
        return min(found_ns, _LATENCY_TAIL * longest_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperParams:
    """The numbers of the fill model; the configuration's [paper] explains them."""

    seed: int
    place: Latency
    cancel: Latency
    evidence_delay_ns: int
    persist_ns: int


@dataclass(slots=True, eq=False)
class _Held:
    """An order that the venue has, or that is on its way there."""

    market: Market
    is_yes: bool
    resting: Resting
    post_only: bool
    arrives_ns: int
    free_ns: int
    """Before this it cannot be cancelled."""
    is_gone: bool = False


# At equal times the evidence comes first and the cancel last: an order is fillable until then.
_BOOK, _PRINT, _ARRIVE, _RELEASE, _CROSS, _CLOSE, _CANCEL = range(7)


class PaperGateway:
    """A gateway whose venue is the fill model above."""

    def __init__(self, params: PaperParams) -> None:
        self._params = params
        self._draw_count = 0
        self._queues: dict[int, Queue] = {}
        self._closed: set[int] = set()
        self._versions: dict[int, int] = {}
        self._held: dict[bytes, _Held] = {}
        self._events: list[tuple[int, int, int, Callable[[int], None]]] = []
        self._event_count = 0
        self._reports: list[Report] = []
        self._clock_ns = 0
        self.late_count = 0
        """Pieces of evidence that came after the model had passed their time."""

    # --- orders -------------------------------------------------------------------------------

    def place(self, order: Order, market: Market, now_ns: int) -> None:
        """Send an order: it arrives after a sampled latency."""
        arrives_ns = now_ns + self._sample(self._params.place)
        side, px_e9 = order.face
        resting = Resting(order.order_id, side, px_e9, order.qty_e9)
        held = _Held(market, order.is_yes, resting, order.post_only, arrives_ns, arrives_ns)
        self._held[order.order_id] = held
        self._at(arrives_ns, _ARRIVE, lambda at_ns: self._arrive(held, at_ns))

    def cancel(self, order: Order, now_ns: int) -> None:
        """Ask for a cancel; one for an order that is gone changes nothing."""
        held = self._held.get(order.order_id)
        if held is None:
            return
        at_ns = now_ns + self._sample(self._params.cancel)
        self._at(at_ns, _CANCEL, lambda at_ns: self._cancel(held, at_ns))

    def poll(self, now_ns: int) -> list[Report]:
        """Let the model's time come to `evidence_delay` before now; give what happened."""
        until_ns = now_ns - self._params.evidence_delay_ns
        events = self._events
        while events and events[0][0] <= until_ns:
            at_ns, _, _, happen = heapq.heappop(events)
            self._clock_ns = max(self._clock_ns, at_ns)
            happen(self._clock_ns)
        self._clock_ns = max(self._clock_ns, until_ns)
        reports, self._reports = self._reports, []
        return reports

    @property
    def next_due_ns(self) -> int | None:
        """When `poll` will have something to do, if nothing else comes in."""
        return self._events[0][0] + self._params.evidence_delay_ns if self._events else None

    # --- evidence -----------------------------------------------------------------------------

    def on_book(self, book: Book) -> None:
        """Take a top of book, as of when it was published."""
        self._evidence(book.at_ns, _BOOK, lambda at_ns: self._take_book(book, at_ns))

    def on_print(self, trade: Print) -> None:
        """Take a print, as of the evidence delay before it was received."""
        at_ns = trade.recv_ns - self._params.evidence_delay_ns
        self._evidence(at_ns, _PRINT, lambda at_ns: self._take_print(trade))

    def close_market(self, pair_tag: int, now_ns: int) -> None:
        """End a market: its orders are cancelled, later ones rejected."""
        self._evidence(now_ns, _CLOSE, lambda at_ns: self._close(pair_tag, at_ns))

    def forget_market(self, pair_tag: int) -> None:
        """Drop what is kept of a market that has no order any more."""
        if any(held.market.tag == pair_tag for held in self._held.values()):
            return
        self._queues.pop(pair_tag, None)
        self._versions.pop(pair_tag, None)
        self._closed.discard(pair_tag)

    # --- the model ----------------------------------------------------------------------------

    def _sample(self, latency: Latency) -> int:
        self._draw_count += 1
        return latency.at(_draw(self._params.seed, self._draw_count))

    def _at(self, at_ns: int, rank: int, happen: Callable[[int], None]) -> None:
        self._event_count += 1
        heapq.heappush(self._events, (at_ns, rank, self._event_count, happen))

    def _evidence(self, at_ns: int, rank: int, happen: Callable[[int], None]) -> None:
        if at_ns < self._clock_ns:
            self.late_count += 1
            at_ns = self._clock_ns
        self._at(at_ns, rank, happen)

    def _queue(self, pair_tag: int) -> Queue:
        queue = self._queues.get(pair_tag)
        if queue is None:
            queue = self._queues[pair_tag] = Queue(self._params.persist_ns)
        return queue

    def _take_book(self, book: Book, at_ns: int) -> None:
        queue = self._queue(book.pair_tag)
        self._versions[book.pair_tag] = book.version
        self._filled(queue.on_book(book, at_ns), at_ns)
        if queue.has_new_cross(at_ns):
            due_ns = at_ns + self._params.persist_ns
            self._at(due_ns, _CROSS, lambda at_ns: self._filled(queue.on_time(at_ns), at_ns))

    def _take_print(self, trade: Print) -> None:
        queue = self._queues.get(trade.pair_tag)
        if queue is not None:
            self._filled(queue.on_print(trade), self._clock_ns)

    def _arrive(self, held: _Held, at_ns: int) -> None:
        tag, resting = held.market.tag, held.resting
        queue = self._queue(tag)
        if tag in self._closed or queue.book is None:
            why = "the market is closed" if tag in self._closed else "no trusted book"
            self._end(held, OrderEvent.REJECT, at_ns, why)
            return
        if not crosses(resting.side, resting.px_e9, queue.book.best(opposite(resting.side))[0]):
            self._rest(held, queue, at_ns)
        elif held.post_only:
            self._end(held, OrderEvent.REJECT, at_ns, "post-only order meets the book")
        else:
            held.free_ns = at_ns + held.market.taker_delay_ns
            self._at(held.free_ns, _RELEASE, lambda at_ns: self._release(held, at_ns))

    def _rest(self, held: _Held, queue: Queue, at_ns: int) -> None:
        self._reports.append(Report(OrderEvent.ACCEPT, held.resting.order_id, at_ns))
        queue.join(held.resting)

    def _release(self, held: _Held, at_ns: int) -> None:
        """End a taker's hold: it trades with what is displayed, and the rest goes to the queue."""
        if held.is_gone:
            return
        queue = self._queue(held.market.tag)
        if queue.book is None:
            self._end(held, OrderEvent.REJECT, at_ns, "no trusted book")
            return
        execution = queue.take(held.resting)
        if held.resting.open_e9:
            self._rest(held, queue, at_ns)
        if execution is not None:
            self._fill(held, execution, at_ns, is_maker=False)

    def _cancel(self, held: _Held, at_ns: int) -> None:
        if held.is_gone:
            return
        if at_ns < held.free_ns:  # It is on its way still, or held: not before it is free.
            self._at(held.free_ns, _CANCEL, lambda at_ns: self._cancel(held, at_ns))
            return
        self._end(held, OrderEvent.CANCELLED, at_ns, "")

    def _close(self, pair_tag: int, at_ns: int) -> None:
        self._closed.add(pair_tag)
        for held in [held for held in self._held.values() if held.market.tag == pair_tag]:
            if held.arrives_ns <= at_ns:  # The others are rejected when they arrive.
                self._end(held, OrderEvent.CANCELLED, at_ns, "the market is closed")

    def _end(self, held: _Held, event: OrderEvent, at_ns: int, reason: str) -> None:
        held.is_gone = True
        self._queue(held.market.tag).leave(held.resting)
        del self._held[held.resting.order_id]
        self._reports.append(Report(event, held.resting.order_id, at_ns, reason=reason))

    def _filled(self, executions: Iterable[Execution], at_ns: int) -> None:
        for execution in executions:
            held = self._held[execution.order.order_id]
            self._fill(held, execution, at_ns, is_maker=True)

    def _fill(self, held: _Held, execution: Execution, at_ns: int, *, is_maker: bool) -> None:
        market = held.market
        fee_e9 = taker_fee_e9(
            execution.qty_e9,
            execution.px_e9,
            rate_e9=market.fee_rate_e9,
            exponent=market.fee_exponent,
        )
        rebate_e9 = maker_rebate_e9(fee_e9, rebate_rate_e9=market.rebate_rate_e9)
        done = execution.order.open_e9 == 0
        if done:
            held.is_gone = True
            del self._held[held.resting.order_id]
        self._reports.append(
            Report(
                OrderEvent.FILL_ALL if done else OrderEvent.FILL,
                held.resting.order_id,
                at_ns,
                qty_e9=execution.qty_e9,
                px_e9=execution.px_e9 if held.is_yes else E9 - execution.px_e9,
                fee_e9=0 if is_maker else fee_e9,
                rebate_e9=rebate_e9 if is_maker else 0,
                is_maker=is_maker,
                book_version=self._versions.get(market.tag, 0),
            )
        )
