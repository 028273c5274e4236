"""Makes text of a survey: tables for a terminal, one status line for a log. Pure.

Unknown is shown as `-`, never as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cache.layout import E9
from host.picture import Picture, PositionRow, QuoteRow, ServedRow

NOTHING = "-"
_GOOD = {"LIVE", "QUIET", "RUNNING", "QUOTING", "KEEP"}
_BAD = {"WRITER_DEAD", "STALLED", "FAILED", "UNKNOWN", "ROLLED_BACK", "HIT_RATIO", "SLOWER"}


def number(value_e9: int | None, places: int = 4) -> str:
    """Give an integer in 1e-9 with at most `places` decimals; `-` when unknown."""
    if value_e9 is None:
        return NOTHING
    text = f"{value_e9 / E9:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quote(px_e9: int | None, qty_e9: int | None, places: int = 4) -> str:
    """Give a price with its size, if that is known, or `-` where nobody offers one."""
    if px_e9 is None or qty_e9 == 0:
        return NOTHING
    size = "" if qty_e9 is None else f" x {number(qty_e9, 2)}"
    return f"{number(px_e9, places)}{size}"


def age(age_ms: int | None) -> str:
    """Give an age in the unit that reads best."""
    if age_ms is None:
        return NOTHING
    if abs(age_ms) < 10_000:
        return f"{age_ms} ms"
    seconds = age_ms // 1000
    return f"{seconds} s" if abs(seconds) < 600 else f"{seconds // 60} min"


def aged(age_ms: int | None, *, is_stale: bool) -> Text:
    """Give the age of what never rests, coloured where it is more than is fresh."""
    return Text(age(age_ms), style="yellow" if is_stale else "")


def moved(move_e9: int | None, places: int = 4) -> str:
    """Give how far a price moved, with its sign."""
    return ("+" if (move_e9 or 0) > 0 else "") + number(move_e9, places)


def within(bound_ms: float | None) -> str:
    """Say in which bucket of ages something lies, given its upper bound; the last has none."""
    if bound_ms is None:
        return NOTHING
    return "over 5 s" if bound_ms == inf else f"to {age(int(bound_ms))}"


def worded(word: str) -> Text:
    """Colour a word by what it says of the state of things."""
    style = "green" if word in _GOOD else "bold red" if word in _BAD else "yellow"
    return Text(word, style=style)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name[0] == ">"
        table.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=True)
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """Add a row; what lies in memory is shown as it is, never taken for markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def process_table(picture: Picture) -> Table:
    """Who runs, who does not, and since when."""
    table = _table(
        f"processes of {picture.namespace}",
        "role", "liveness", "state", ">pid", ">incarnation", ">heartbeat", ">link", ">uptime",
        ">restarts", "supervisor",
    )  # fmt: skip
    for row in picture.processes:
        uptime = age(int(row.uptime_s * 1000)) if row.uptime_s is not None else NOTHING
        _add(
            table,
            row.role,
            worded(row.liveness),
            row.state,
            str(row.pid),
            str(row.incarnation),
            age(row.heartbeat_age_ms),
            age(row.link_age_ms),
            uptime,
            NOTHING if row.restart_count is None else str(row.restart_count),
            worded(row.phase) if row.phase else Text(NOTHING),
        )
    return table


def book_tables(picture: Picture) -> Iterable[Table]:
    """What the feeds say."""
    table = _table(
        "polymarket",
        "market", ">Up bid", ">Up ask", ">1 min", ">Down bid", ">Down ask", ">strike", ">twap",
        ">ends in", ">age", ">version", "trust", "flags",
    )  # fmt: skip
    for row in picture.books:
        _add(
            table,
            row.market,
            quote(row.yes_bid_px_e9, row.yes_bid_qty_e9),
            quote(row.yes_ask_px_e9, row.yes_ask_qty_e9),
            moved(row.move_1m_e9),
            quote(row.no_bid_px_e9, row.no_bid_qty_e9),
            quote(row.no_ask_px_e9, row.no_ask_qty_e9),
            f"{number(row.strike_e9 or None, 2)} {row.strike_provenance}",
            number(row.twap_e9 or None, 2),
            NOTHING if row.ends_s is None else f"{row.ends_s:.0f} s",
            age(row.age_ms),
            str(row.version),
            worded(row.trust),
            " ".join((*row.flags, *(f"{side} apart" for side in row.disagrees))),
        )
    yield table
    table = _table(
        "binance",
        "symbol",
        ">bid",
        ">ask",
        ">1 min",
        ">sigma",
        ">age",
        ">version",
        "trust",
        "flags",
    )
    for ref in picture.references:
        _add(
            table,
            ref.symbol,
            quote(ref.bid_px_e9, ref.bid_qty_e9, 2),
            quote(ref.ask_px_e9, ref.ask_qty_e9, 2),
            moved(ref.move_1m_e9, 2),
            number(ref.sigma_e9, 4),
            aged(ref.age_ms, is_stale=ref.is_stale),
            str(ref.version),
            worded(ref.trust),
            " ".join(ref.flags),
        )
    yield table
    table = _table("books served", "role", ">hits", ">hit rate", ">age p50", ">p95", "misses")
    for served in picture.served:
        misses = " ".join(f"{cause} {count:,}" for cause, count in served.miss_counts.items())
        _add(table, served.role, f"{served.hit_count:,}", *rates(served), misses)
    yield table


def rates(served: ServedRow) -> tuple[str, str, str]:
    """Say how often a book was there, and how old half of them and nearly all of them were."""
    hit_rate = f"{100 * served.hit_rate:.2f} %"
    return hit_rate, within(served.age_ms_p50), within(served.age_ms_p95)


def trading_tables(picture: Picture) -> Iterable[Table]:
    """What we want, hold and got."""
    table = _table(
        "quotes", "strategy", "market", ">bid", ">ask", ">fair", ">model", "reason", ">valid"
    )
    for row in picture.quotes:
        _add(
            table,
            row.strategy,
            row.market,
            quote(row.bid_px_e9, row.bid_qty_e9),
            quote(row.ask_px_e9, row.ask_qty_e9),
            number(row.fair_px_e9 or None),
            number(row.model_px_e9 or None),
            worded(row.reason),
            age(row.valid_ms),
        )
    yield table
    table = _table("orders", "account", "market", "outcome", "side", ">order", ">filled", "state")
    for order in picture.orders:
        order_text = quote(order.px_e9, order.qty_e9)
        filled = number(order.filled_e9, 2)
        _add(
            table,
            order.account,
            order.market,
            order.outcome,
            order.side,
            order_text,
            filled,
            order.state,
        )
    yield table
    yield _position_table(picture.positions)
    table = _table(
        "last fills", "account", ">fill", "market", "outcome", "side", ">price x size", ">fee",
        "by", ">ago",
    )  # fmt: skip
    for fill in picture.fills:
        _add(
            table,
            fill.account,
            str(fill.fill_id),
            fill.market,
            fill.outcome,
            fill.side,
            quote(fill.px_e9, fill.qty_e9),
            number(fill.fee_e9),
            "maker" if fill.is_maker else "taker",
            age(fill.age_ms),
        )
    yield table


def rest_table(picture: Picture) -> Table:
    """What the cache for REST snapshots did, beside what was asked past it."""
    table = _table(
        "rest snapshots", "role", ">cached", ">hits", ">age p50/p95 ms", ">took p50/p95 ms",
        ">direct", ">took p50/p95 ms", ">differed", "gate", "reason",
    )  # fmt: skip
    for row in picture.rest_caches:
        if not row.gate:
            continue  # Nothing goes past it: its metrics stand beside the counters.
        _add(
            table,
            row.role,
            f"{row.read_count:,}",
            NOTHING if row.hit_ratio is None else f"{row.hit_ratio:.2f}",
            _span(row.age_p50_ns, row.age_p95_ns),
            _span(row.read_p50_ns, row.read_p95_ns),
            f"{row.direct_count:,}",
            _span(row.direct_p50_ns, row.direct_p95_ns),
            f"{row.differed_count:,}/{row.compared_count:,}" if row.compared_count else NOTHING,
            worded(row.gate),
            row.reason,
        )
    return table


def _span(p50_ns: int | None, p95_ns: int | None) -> str:
    if p50_ns is None or p95_ns is None:
        return NOTHING
    return f"{p50_ns / 1e6:.2f}/{p95_ns / 1e6:.2f}"


def _position_table(positions: list[PositionRow]) -> Table:
    table = _table(
        "positions", "account", "market", ">Up", ">Down", ">cash", ">fees", ">rebates", ">fills",
        "settled",
    )  # fmt: skip
    for row in positions:
        _add(
            table,
            row.account,
            row.market,
            number(row.yes_qty_e9, 2),
            number(row.no_qty_e9, 2),
            number(row.cash_e9),
            number(row.fees_e9),
            number(row.rebates_e9),
            str(row.fill_count),
            settled(row),
        )
    return table


def settled(row: PositionRow) -> str | Text:
    """Say how a market ended, or that what is held of it is not known."""
    if not row.is_known:
        return worded("UNKNOWN")  # What is held, that is: nothing is traded.
    return NOTHING if row.settled == "UNKNOWN" else row.settled


def counter_table(picture: Picture) -> Table:
    """Every counter that is not zero, the latencies, and metrics by their own names, by role."""
    table = _table("counters", "role", "name", ">value")
    metrics = {row.role: row.metrics for row in picture.rest_caches}
    for role in sorted(picture.counters):
        for name, value in picture.counters[role].items():
            _add(table, role, name, f"{value:,}")
        for name, points in picture.latencies.get(role, {}).items():
            shown = " / ".join(f"{point / 1000:,.0f}" for point in points)
            _add(table, role, f"{name} p50 / p99 / p99.9", f"{shown} us")
        for name, metric in metrics.get(role, {}).items():
            _add(
                table, role, name, f"{metric:,.2f}" if isinstance(metric, float) else f"{metric:,}"
            )
    return table


def tables(picture: Picture) -> list[Table]:
    """Every table that has a row."""
    made = [process_table(picture), *book_tables(picture), *trading_tables(picture)]
    made.append(rest_table(picture))
    return [table for table in made if table.row_count]


def screen(picture: Picture, *, counters: bool = False) -> RenderableType:
    """Everything, as one page; tables without a row are left out."""
    shown = tables(picture)
    if counters:
        shown.append(counter_table(picture))
    errors = [Text(row.error, style="red") for row in picture.processes if row.error]
    return Group(*shown, *errors) if shown else Text(f"nothing runs in {picture.namespace}")


def status_line(picture: Picture) -> str:
    """One line that says how things stand: for logs, and for `make run` without a terminal."""
    words = list(_living(picture))
    for ref in picture.references:
        flags = f" {'+'.join(ref.flags)}" if ref.flags else ""
        bid, ask = number(ref.bid_px_e9, 2), number(ref.ask_px_e9, 2)
        words.append(f"{ref.symbol} {bid}/{ask} {age(ref.age_ms)}{flags}")
    wishes = {wish.market: wish for wish in picture.quotes}
    for book in picture.books:
        flags = f" {'+'.join(book.flags)}" if book.flags else ""
        bid, ask = number(book.yes_bid_px_e9), number(book.yes_ask_px_e9)
        wanted = _wanted(wishes.get(book.market))
        words.append(f"{book.market} Up {bid}/{ask} {age(book.age_ms)}{flags}, {wanted}")
    if not picture.books:
        words.append("no market has a book")
    words.append(_sums(picture))
    return " · ".join(words)


def worded_summary(picture: Picture) -> Text:
    """Who lives and what came of it: the head of a page."""
    if not picture.processes:
        return Text(f"nothing runs in {picture.namespace}")
    first, *down = _living(picture)
    stand = Text(first, style="yellow" if down else "green")
    for word in down:
        stand.append(" · ").append(word, style="bold red")
    return stand.append(f" · {_sums(picture)}", style="none")


def _living(picture: Picture) -> Iterable[str]:
    live = sum(row.liveness == "LIVE" for row in picture.processes)
    yield f"live {live}/{len(picture.processes)}"
    yield from (f"{row.role}={row.liveness}" for row in picture.processes if row.liveness != "LIVE")


def _sums(picture: Picture) -> str:
    fills = sum(row.fill_count for row in picture.positions)
    cash = sum(row.cash_e9 for row in picture.positions)
    return f"orders {len(picture.orders)} fills {fills} cash {number(cash)}"


def is_standing(wish: QuoteRow | None) -> bool:
    """Whether a strategy wants a quote on a market now."""
    return (
        wish is not None and (wish.valid_ms or 0) > 0 and bool(wish.bid_qty_e9 or wish.ask_qty_e9)
    )


def _wanted(wish: QuoteRow | None) -> str:
    """Say what a strategy wants on a market, or why nothing."""
    if wish is None:
        return "no quote"
    if not is_standing(wish):
        return f"no quote: {wish.reason}"
    bid, ask = quote(wish.bid_px_e9, wish.bid_qty_e9), quote(wish.ask_px_e9, wish.ask_qty_e9)
    return f"quote {bid} | {ask}"
