"""Our paper orders in one market's queue: which evidence fills which order, and how far.

Everything is in terms of the first token. The rules are those of `executor/paper.py`, which feeds
this with books, prints and the passing of time in order. The invariant: the sizes that one print
fills, over all orders, never exceed the print. Pure; it knows no latency, fee or order state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cache.layout import Side
from executor.market import Book, Print, crosses, opposite

UNSEEN_E9 = 1 << 62
"""Queue ahead of an order whose price level the book does not show."""


@dataclass(slots=True, eq=False)
class Resting:
    """One order of ours at the venue, by its face."""

    order_id: bytes
    side: Side
    px_e9: int
    open_e9: int
    ahead_e9: int = UNSEEN_E9
    crossed_ns: int | None = None
    """Since when the book has stood at or through the price; None while it does not."""


@dataclass(frozen=True, slots=True)
class Execution:
    """So much of an order traded; makers trade at their own price."""

    order: Resting
    qty_e9: int
    px_e9: int


@dataclass(slots=True)
class Queue:
    """The resting orders of one market, oldest first."""

    persist_ns: int
    book: Book | None = None
    """The newest book, None while it is not to be trusted."""
    orders: list[Resting] = field(default_factory=list)
    spent: dict[tuple[Side, int], int] = field(default_factory=dict)
    """Displayed size, by side and price, that our orders have already traded with."""

    def join(self, order: Resting) -> None:
        """Put an order behind what is displayed at its price."""
        assert self.book is not None
        shown_e9 = self.book.displayed(order.side, order.px_e9)
        order.ahead_e9 = UNSEEN_E9 if shown_e9 is None else shown_e9
        self.orders.append(order)

    def leave(self, order: Resting) -> None:
        if order in self.orders:
            self.orders.remove(order)

    def on_book(self, book: Book, at_ns: int) -> list[Execution]:
        """Take a new book: cap queues, start and end crosses, fill those that have lasted."""
        if not book.is_trusted:
            self.book = None
            for order in self.orders:
                order.crossed_ns = None
            return []
        self.book = book
        self._forget_spent(book)
        for order in self.orders:
            shown_e9 = book.displayed(order.side, order.px_e9)
            if shown_e9 is not None:
                order.ahead_e9 = min(order.ahead_e9, shown_e9)
            if not crosses(order.side, order.px_e9, book.best(opposite(order.side))[0]):
                order.crossed_ns = None
            elif order.crossed_ns is None or book.has_gap:
                order.crossed_ns = at_ns
        return self.on_time(at_ns)

    def on_time(self, now_ns: int) -> list[Execution]:
        """Fill the orders that the book has crossed for long enough, best price first."""
        found = []
        for order in self._by_priority(self.orders):
            if order.crossed_ns is not None and now_ns - order.crossed_ns >= self.persist_ns:
                qty_e9 = self._crossed_size(order)
                if qty_e9:
                    found.append(self._execute(order, qty_e9, order.px_e9))
        return found

    def has_new_cross(self, at_ns: int) -> bool:
        """Say whether a cross began just now: its end of patience is then to be watched for."""
        return any(order.crossed_ns == at_ns for order in self.orders)

    def on_print(self, trade: Print) -> list[Execution]:
        """Spend a print once over all orders it reaches: best price first, then oldest first."""
        side = opposite(trade.side)
        left_e9 = trade.qty_e9
        found = []
        for order in self._by_priority(o for o in self.orders if o.side is side):
            if not crosses(side, order.px_e9, trade.px_e9):
                continue
            if order.px_e9 != trade.px_e9:
                order.ahead_e9 = 0  # It traded through: the queue at our price is gone.
            reached_e9 = left_e9 - order.ahead_e9
            order.ahead_e9 = max(0, order.ahead_e9 - left_e9)
            if reached_e9 > 0:
                qty_e9 = min(reached_e9, order.open_e9)
                found.append(self._execute(order, qty_e9, order.px_e9))
                left_e9 -= qty_e9
        return found

    def take(self, order: Resting) -> Execution | None:
        """Let an order that is not resting yet trade with the best opposite size, as a taker."""
        if self.book is None:
            return None
        side = opposite(order.side)
        px_e9, shown_e9 = self.book.best(side)
        if not crosses(order.side, order.px_e9, px_e9):
            return None
        qty_e9 = min(order.open_e9, shown_e9 - self.spent.get((side, px_e9), 0))
        if qty_e9 <= 0:
            return None
        self.spent[side, px_e9] = self.spent.get((side, px_e9), 0) + qty_e9
        return self._execute(order, qty_e9, px_e9)

    def _crossed_size(self, order: Resting) -> int:
        """How much a lasting cross fills: all when it went through, else what is displayed."""
        if self.book is None:
            return 0
        side = opposite(order.side)
        px_e9, shown_e9 = self.book.best(side)
        if px_e9 != order.px_e9:
            return order.open_e9
        spent_e9 = self.spent.get((side, px_e9), 0)
        qty_e9 = max(0, min(order.open_e9, shown_e9 - spent_e9))
        self.spent[side, px_e9] = spent_e9 + qty_e9
        return qty_e9

    def _execute(self, order: Resting, qty_e9: int, px_e9: int) -> Execution:
        order.open_e9 -= qty_e9
        if not order.open_e9:
            self.leave(order)
        return Execution(order, qty_e9, px_e9)

    def _forget_spent(self, book: Book) -> None:
        """Drop what was spent at prices that are no longer best: that size is gone."""
        for side, px_e9 in list(self.spent):
            if book.best(side)[0] != px_e9:
                del self.spent[side, px_e9]

    @staticmethod
    def _by_priority(orders: list[Resting] | Iterator[Resting]) -> list[Resting]:
        """Best price first; orders of one price keep the order in which they came."""
        return sorted(
            orders,
            key=lambda order: -order.px_e9 if order.side is Side.BUY else order.px_e9,
        )
