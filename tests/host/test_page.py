import io
import itertools
import re

import msgspec
import pytest
from rich.console import Console

from host.page import WindowPage
from host.picture import Picture, ServedRow
from host.show import status_line
from host.survey import Survey

E9 = 10**9
NOW_NS = 5_000_000_000_000
WALL_NS = 1_800_000_000_000_000_000
LOGS = [f"line {number}" for number in range(6)]


@pytest.fixture
def picture(filled):
    return Survey(filled).take(NOW_NS, WALL_NS)


def lines_of(picture, height, width, **options):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True,
                      color_system=None)  # fmt: skip
    console.print(WindowPage(picture, "Ctrl-C stops", logs=LOGS, **options), end="")
    return console.file.getvalue().split("\n")


def many(picture, count):
    """As many markets, fills and orders as may be listed at once."""
    found = msgspec.structs.replace(picture)
    for name in ("books", "quotes", "positions", "orders"):
        (row,) = getattr(picture, name)
        rows = [
            msgspec.structs.replace(row, market=f"btc-updown-15m-17952258{number:02}")
            for number in range(count)
        ]
        setattr(found, name, rows)
    return found


@pytest.mark.parametrize(("height", "width"), [(24, 80), (50, 160), (100, 200)])
def test_quotes_fills_and_positions_are_on_a_page_of_any_usual_window(picture, height, width):
    text = "\n".join(lines_of(picture, height, width))
    for part in (
        "Ctrl-C stops", "line 5", "live 5/5", "btc-up-1", "0.45/0.47", "0.44x20", "QUOTING",
        "7 ms", "SUSPECT", "BTCUSDT", "60,000", "60,001", "last fills", "maker", "positions",
    ):  # fmt: skip
        assert part in text, part


def test_hit_rates_are_on_a_small_page_too(picture):
    picture.served = [
        ServedRow("strategy.maker", 99, {"stale": 1}, 0.99, (0,) * 8, 10, 250),
        ServedRow("executor.paper", 99, {}, 1.0, (0,) * 8, 10, 10),
    ]
    text = "\n".join(lines_of(picture, 24, 80))
    assert re.search(r"strategy.maker +99 +99.00 % +to 10 ms +to 250 ms", text)
    assert re.search(r"executor.paper +99 +100.00 %", text)


def test_no_page_has_more_lines_than_its_window_or_longer_ones(picture):
    for count, height, width in itertools.product((1, 30), (1, 2, 5, 13, 24, 50, 200), (40, 80)):
        for counters in (False, True):
            lines = lines_of(many(picture, count), height, width, counters=counters)
            assert len(lines) <= height
            assert max(map(len, lines)) <= width


def test_the_hint_and_the_newest_line_of_the_log_come_first(picture):
    assert lines_of(picture, 2, 80) == ["Ctrl-C stops", "line 5"]
    assert lines_of(picture, 100, 80)[:2] == ["Ctrl-C stops", "line 0"]


def test_a_head_says_where_it_does_not_show_all(picture):
    lines = lines_of(many(picture, 30), 19, 80)
    assert any(line.startswith("market (5 of 30) ") for line in lines)
    assert any(line.startswith("positions (3 of 30) ") for line in lines)
    assert any(line.startswith("last fills (3 of 12) ") for line in lines)


def test_a_name_too_long_for_the_window_loses_its_middle(picture):
    two = many(picture, 2)
    for book in two.books:
        book.flags = ["SUSPECT", "RESYNC"]
    lines = lines_of(two, 24, 80)
    (first, second) = (line for line in lines if "QUOTING" in line)
    assert first.startswith("btc-")
    assert "…" in first.split()[0]
    assert first.split()[0].endswith("00")
    assert second.split()[0].endswith("01")
    assert first.endswith("SUSPECT RESYNC")


def test_a_book_without_flags_says_how_far_it_may_be_trusted(picture):
    picture.books[0].flags, picture.books[0].trust = [], "QUIET"
    row = next(line for line in lines_of(picture, 24, 80) if "QUOTING" in line)
    assert row.endswith("QUIET")


def test_markets_that_are_quoted_come_first_and_a_quote_without_a_book_is_shown(picture):
    two = many(picture, 2)
    two.quotes[0].bid_qty_e9 = 0
    two.quotes[0].reason = "NO_STRIKE"
    names = [line.split()[0] for line in lines_of(two, 30, 160) if "0.45/0.47" in line]
    assert [name[-2:] for name in names] == ["01", "00"]
    two.books.clear()
    assert any("-/-" in line and "NO_STRIKE" in line for line in lines_of(two, 30, 160))


def test_the_dead_and_the_unreadable_are_told_at_once(picture):
    picture.processes[1].liveness = "STALLED"
    picture.processes[2].error = "is cut off"
    lines = lines_of(picture, 24, 80)
    assert "feed.binance.0=STALLED" in lines[2]
    assert lines[3] == "is cut off"


def test_fuller_tables_take_the_room_that_is_left_and_never_a_part_of_it(picture):
    wide = "\n".join(lines_of(picture, 60, 200))
    assert "incarnation" in wide
    assert "incarnation" not in "\n".join(lines_of(picture, 60, 80)), "the table is too wide"
    assert "feed.polymarket.0" in "\n".join(lines_of(picture, 60, 80))


def test_counters_are_shown_where_they_are_asked_for(picture):
    picture.counters = {"feed.x": {f"counter_{number}": number for number in range(1, 90)}}
    assert "counter_1" in "\n".join(lines_of(picture, 50, 80, counters=True))


def test_a_page_of_nothing_says_so():
    empty = Picture("mine", 0, *([] for _ in range(9)), {}, {})
    assert "nothing runs in mine" in "\n".join(lines_of(empty, 24, 80))
    assert status_line(empty)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (60, 120), (100, 200)])
def test_what_a_table_says_stands_in_no_short_line_besides(picture, height, width):
    picture.served = [ServedRow("strategy.maker", 9, {}, 1.0, (0,) * 8, 10, 10)]
    lines = lines_of(picture, height, width)
    heads = [line.split("  ")[0].strip() for line in lines]
    titles = {"reference": "binance", "last fills": "last fills", "orders": "orders",
              "positions": "positions", "books served": "books served"}  # fmt: skip
    for head, title in titles.items():
        assert heads.count(head) + (head != title) * heads.count(title) == 1, (head, lines)
