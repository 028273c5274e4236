"""Lays a survey out for a window: the line that matters most comes first, and none is too many.

What an operator must see stands in short lines: who lives, then a line for each market with its
book and the quote on it, the reference, the last fills, what is held. Where the window has room
the tables of `host/show.py` follow, and what a table says stands in no short line besides but that
of the markets; then the rest of the short lines. A page never has more lines
than its window, so nothing that is on it is cut off. It reads no memory and draws no window. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from host.picture import BookRow, Picture, QuoteRow
from host.show import (
    NOTHING,
    age,
    aged,
    counter_table,
    is_standing,
    moved,
    number,
    quote,
    rates,
    settled,
    tables,
    worded,
    worded_summary,
)

NAME_LEAST = 12
"""So few characters of a market's name are left where a line is too long for the window."""

ERRORS_SHOWN = 3
GAP = "  "
WIDEST = 10_000
"""Wider than any table wants to be."""

Cells = Sequence[str | Text]
Line = list[Segment]


class Block(NamedTuple):
    """Short lines of one kind, the most important first; the first cell of a row is a name."""

    heads: tuple[str, ...]
    rows: list[Cells]
    least: int
    """So many of the rows come before anything that is fuller."""
    table: str = ""
    """First word of the table that says all of it; "" where none does."""

    def lines(self, count: int, width: int) -> list[Text]:
        """Give the head and `count` rows; a head says how many there are if these are not all."""
        rows = self.rows[:count]
        if not rows:
            return []
        part = f" ({len(rows)} of {len(self.rows)})" if len(rows) < len(self.rows) else ""
        heads = [Text(self.heads[0] + part), *map(Text, self.heads[1:])]
        shown = [heads, *([_text(cell) for cell in row] for row in rows)]
        widths = [max(cell.cell_len for cell in column) for column in zip(*shown, strict=True)]
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        widths[0] = min(widths[0], max(NAME_LEAST, widths[0] - max(0, excess)))
        lines = [_aligned(row, widths) for row in shown]
        lines[0].stylize("bold")
        return lines


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _aligned(row: Iterable[Text], widths: list[int]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        if place == 0:
            cell = Text(_shortened(cell.plain, width))
        line.append_text(cell).append(" " * (width - cell.cell_len) + GAP)
    line.rstrip()
    return line


def _shortened(name: str, width: int) -> str:
    """Leave out the middle of a name: both its ends tell it from others."""
    if len(name) <= width:
        return name
    head = width // 3
    return f"{name[:head]}…{name[len(name) - (width - head - 1) :]}"


def market_block(picture: Picture) -> Block:
    """A line for each market: its book, what we want on it or why nothing, how far it is known."""
    wishes = {wish.market: wish for wish in picture.quotes}
    books = {book.market: book for book in picture.books}
    unlisted = (BookRow(market=name, slot=0) for name in wishes if name not in books)
    ordered = sorted(
        (*picture.books, *unlisted),
        key=lambda book: not is_standing(wishes.get(book.market)),
    )
    return Block(
        ("market", "ends", "Up book", "our quote", "reason", "age", "state"),
        [_market_row(book, wishes.get(book.market)) for book in ordered],
        5,
    )


def _market_row(book: BookRow, wish: QuoteRow | None) -> Cells:
    ours = NOTHING
    if wish is not None and is_standing(wish):
        sides = ((wish.bid_px_e9, wish.bid_qty_e9), (wish.ask_px_e9, wish.ask_qty_e9))
        ours = " | ".join(quote(*side).replace(" ", "") for side in sides)
    flags = " ".join((*book.flags, *(f"{side} apart" for side in book.disagrees)))
    return (
        book.market,
        NOTHING if book.ends_s is None else f"{book.ends_s:.0f} s",
        f"{number(book.yes_bid_px_e9)}/{number(book.yes_ask_px_e9)}",
        ours,
        NOTHING if wish is None else worded(wish.reason),
        age(book.age_ms),
        _state(book.trust, flags),
    )


def _state(trust: str, flags: str) -> Text:
    """Say what is wrong with a book where it says so itself, else how far it may be trusted."""
    return Text(flags, style="yellow") if flags else worded(trust)


def blocks(picture: Picture) -> Iterator[Block]:
    """Everything in short lines, the most important first."""
    yield market_block(picture)
    rows: list[Cells] = [
        (ref.symbol, f"{number(ref.bid_px_e9, 2)}/{number(ref.ask_px_e9, 2)}",
         moved(ref.move_1m_e9, 2), number(ref.sigma_e9), aged(ref.age_ms, is_stale=ref.is_stale),
         _state(ref.trust, " ".join(ref.flags)))
        for ref in picture.references
    ]  # fmt: skip
    yield Block(("reference", "bid/ask", "1 min", "sigma", "age", "state"), rows, 2, "binance")
    fills = sorted(picture.fills, key=lambda fill: fill.age_ms or 0)
    rows = [
        (fill.market, fill.outcome, fill.side, quote(fill.px_e9, fill.qty_e9),
         "maker" if fill.is_maker else "taker", age(fill.age_ms))
        for fill in fills
    ]  # fmt: skip
    yield Block(("last fills", "outcome", "side", "price x size", "by", "ago"), rows, 3, "last")
    held = sorted(picture.positions, key=lambda row: row.is_known and row.settled != "UNKNOWN")
    rows = [
        (row.market, number(row.yes_qty_e9, 2), number(row.no_qty_e9, 2), number(row.cash_e9),
         number(row.fees_e9), str(row.fill_count), settled(row))
        for row in held
    ]  # fmt: skip
    holdings = ("positions", "Up", "Down", "cash", "fees", "fills", "settled")
    yield Block(holdings, rows, 3, "positions")
    rows = [(row.role, *rates(row)) for row in picture.served]
    yield Block(("books served", "hit rate", "age p50", "p95"), rows, 2, "books")
    rows = [
        (order.market, order.outcome, order.side, quote(order.px_e9, order.qty_e9),
         number(order.filled_e9, 2), order.state)
        for order in picture.orders
    ]  # fmt: skip
    yield Block(("orders", "outcome", "side", "price x size", "filled", "state"), rows, 0, "orders")
    rows = [
        (row.role, worded(row.liveness), row.state, str(row.pid), age(row.heartbeat_age_ms),
         NOTHING if row.restart_count is None else str(row.restart_count))
        for row in picture.processes
    ]  # fmt: skip
    roles = ("processes", "liveness", "state", "pid", "heartbeat", "restarts")
    yield Block(roles, rows, 0, "processes")


class WindowPage:
    """A page for the window it is drawn in, whatever size that has by then."""

    def __init__(
        self, picture: Picture, hint: str, *, logs: Sequence[str] = (), counters: bool = False
    ) -> None:
        self._picture = picture
        self._hint = hint
        self._logs = logs
        self._counters = counters

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.size
        lines = self._lines(console, options.update(width=width, height=None), height)
        for place, line in enumerate(lines[:height]):
            if place:
                yield Segment.line()
            yield from line

    def _lines(self, console: Console, options: ConsoleOptions, height: int) -> list[Line]:
        """Choose what there is room for: short lines, then tables, then more short lines."""
        parts = list(blocks(self._picture))
        head, logs = self._head(), list(self._logs)
        room = height - len(head) - min(1, len(logs))
        counts = []
        for part in parts:
            counts.append(_more(part, 0, part.least, room))
            room -= counts[-1] + bool(counts[-1])
        drawn, kinds = self._tables(console, options, room)
        room -= len(drawn)
        for place, part in enumerate(parts):
            if part.table in kinds:
                room += counts[place] + bool(counts[place])
                counts[place] = 0
        for place, part in enumerate(parts):
            if part.table not in kinds:
                more = _more(part, counts[place], len(part.rows), room)
                room -= more + bool(more and not counts[place])
                counts[place] += more
        logs = logs[-1 - max(0, room) :]
        short = [*head[:1], *(Text(line, style="dim") for line in logs), *head[1:]]
        for part, count in zip(parts, counts, strict=True):
            short += part.lines(count, options.max_width)
        return [_drawn(console, options, line) for line in short] + drawn

    def _head(self) -> list[Text]:
        """The hint, who lives and who does not, and what cannot be read."""
        faults = [row.error for row in self._picture.processes if row.error]
        summary = worded_summary(self._picture)
        errors = [Text(fault, style="red") for fault in faults[:ERRORS_SHOWN]]
        return [Text(self._hint, style="dim"), summary, *errors]

    def _tables(
        self, console: Console, options: ConsoleOptions, room: int
    ) -> tuple[list[Line], set[str]]:
        """Draw the tables that fit whole, and what fits of the counters; name their kinds."""
        drawn: list[Line] = []
        kinds = set()
        if self._counters:
            asked_for = counter_table(self._picture)
            drawn = console.render_lines(asked_for, options, pad=False)[: max(0, room)]
        for table in tables(self._picture):
            lines = console.render_lines(table, options, pad=False)
            wanted = console.measure(table, options=options.update(width=WIDEST)).maximum
            if wanted <= options.max_width and len(drawn) + len(lines) <= room:
                drawn += lines
                kinds.add(str(table.title).split()[0])
        return drawn, kinds


def _more(part: Block, shown: int, wanted: int, room: int) -> int:
    """How many rows more there is room for, with the head where the block has no row yet."""
    return max(0, min(min(wanted, len(part.rows)) - shown, room - (not shown)))


def _drawn(console: Console, options: ConsoleOptions, line: Text) -> Line:
    """Draw one line, cut where the window ends; a text that would be two lines is its first."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return console.render_lines(line, options, pad=False)[0]
