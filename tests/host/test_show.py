import io
import math

import pytest
from rich.console import Console

from cache.book_metrics import AGE_BOUNDS_MS
from host.picture import Picture, RestCacheRow, ServedRow
from host.show import age, aged, moved, number, quote, screen, status_line, within
from host.survey import Survey

E9 = 10**9
NOW_NS = 5_000_000_000_000
WALL_NS = 1_800_000_000_000_000_000


def text_of(picture, **options):
    console = Console(file=io.StringIO(), width=220)
    console.print(screen(picture, **options))
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (450_000_000, "0.45"), (-3 * E9, "-3"), (1_234_500_000_000, "1,234.5")],
)
def test_numbers_read_well(value, text):
    assert number(value) == text


def test_a_side_that_nobody_offers_is_a_dash():
    assert quote(450_000_000, 0) == "-"
    assert quote(None, None) == "-"
    assert quote(450_000_000, 5 * E9) == "0.45 x 5"


def test_a_price_whose_size_nobody_knows_stands_alone():
    assert quote(450_000_000, None) == "0.45"


def test_ages_are_given_in_the_unit_that_reads_best():
    assert [age(x) for x in (None, 12, 12_000, 1_200_000)] == ["-", "12 ms", "12 s", "20 min"]


def test_the_page_shows_processes_books_quotes_positions_and_fills(filled):
    text = text_of(Survey(filled).take(NOW_NS, WALL_NS), counters=True)
    for part in (
        "feed.polymarket.0", "LIVE", "btc-up-1", "0.45 x 10", "60,010 STREAM", "SUSPECT",
        "BTCUSDT", "60,001 x 1", "QUOTING", "0.44 x 20", "positions", "last fills", "maker",
    ):  # fmt: skip
        assert part in text


def test_books_that_are_not_mirrors_of_each_other_say_on_which_side(filled):
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    assert "apart" not in text_of(picture)
    picture.books[0].disagrees = ["bid"]
    assert "bid apart" in text_of(picture)


def test_the_cache_of_rest_snapshots_has_a_table_where_there_is_one(filled):
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    assert "rest snapshots" not in text_of(picture)
    row = RestCacheRow("feed.polymarket.0", "SLOWER", "p95 2.00 ms", read_count=1_200)
    row.hit_ratio, row.read_p50_ns, row.read_p95_ns = 0.875, 15_000, 2_000_000
    row.compared_count, row.differed_count = 1_000, 4
    picture.rest_caches.append(row)
    text = text_of(picture)
    for part in (
        "rest snapshots",
        "SLOWER",
        "p95 2.00 ms",
        "1,200",
        "0.88",
        "0.01/2.00",
        "4/1,000",
    ):
        assert part in text
    (line,) = (line for line in text.splitlines() if "4/1,000" in line)
    assert line.count(" - ") == 2, "unknown is no nought"


def test_metrics_are_shown_by_their_names_beside_the_counters_of_their_process(filled):
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    role = min(picture.counters)
    metrics = {"mm_md_cache_hit_total": 1_234, "mm_md_refresh_latency_ms_p95": 7.864}
    picture.rest_caches.append(RestCacheRow(role, "", metrics=metrics))
    words = " ".join(text_of(picture, counters=True).split())
    assert f"{role} mm_md_cache_hit_total 1,234" in words
    assert f"{role} mm_md_refresh_latency_ms_p95 7.86" in words
    assert "mm_md" not in text_of(picture)
    assert "rest snapshots" not in text_of(picture), "nothing goes past this one"


def test_how_far_a_price_moved_is_shown_with_its_sign_and_an_old_reference_in_colour(filled):
    assert [moved(x) for x in (None, 0, 5_000_000, -5_000_000)] == ["-", "0", "+0.005", "-0.005"]
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    picture.books[0].move_1m_e9, picture.references[0].move_1m_e9 = 15_000_000, -12 * 10**9
    text = text_of(picture)
    assert "+0.015" in text
    assert "-12" in text
    assert (aged(7, is_stale=True).style, aged(7, is_stale=False).style) == ("yellow", "")
    assert aged(None, is_stale=True).plain == "-"


def test_hit_rates_and_ages_of_the_books_served_are_on_the_page(filled):
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    assert "books served" not in text_of(picture)
    picture.served = [
        ServedRow("strategy.maker", 9_990, {"stale": 10}, 0.999, (0,) * 8, 10, 250),
        ServedRow("executor.paper", 0, {"not_ready": 1}, 0.0, (0,) * 8),
    ]
    words = " ".join(text_of(picture).split())
    assert "strategy.maker 9,990 99.90 % to 10 ms to 250 ms stale 10" in words
    assert "executor.paper 0 0.00 % - - not_ready 1" in words


def test_an_age_beyond_the_last_bound_is_said_so():
    assert within(math.inf) == f"over {AGE_BOUNDS_MS[-1] // 1000} s"


def test_a_page_of_nothing_says_so():
    empty = Picture("mine", 0, *([] for _ in range(9)), {}, {})
    assert "nothing runs in mine" in text_of(empty)


def test_the_status_line_tells_the_whole_story_in_one_line(filled):
    line = status_line(Survey(filled).take(NOW_NS, WALL_NS))
    assert "\n" not in line
    for part in (
        "live 5/5", "BTCUSDT 60,000/60,001", "btc-up-1 Up 0.45/0.47", "SUSPECT",
        "quote 0.44 x 20 | -", "orders 1", "fills 2", "cash -3",
    ):  # fmt: skip
        assert part in line


def test_the_status_line_says_where_no_market_has_a_book(filled):
    assert "no market has a book" not in status_line(Survey(filled).take(NOW_NS, WALL_NS))
    empty = Picture(**{name: [] for name in Picture.__struct_fields__})
    assert "no market has a book" in status_line(empty)


def test_an_expired_quote_is_no_quote_and_the_dead_are_named(filled):
    line = status_line(Survey(filled).take(NOW_NS + 10 * E9, WALL_NS))
    assert "no quote: QUOTING" in line
    assert "live 0/5" in line
    assert "feed.binance.0=STALLED" in line


def test_how_far_a_book_and_a_reference_may_be_trusted_stands_beside_them(filled):
    picture = Survey(filled, clock=lambda: NOW_NS).take(NOW_NS, WALL_NS)
    picture.books[0].trust, picture.references[0].trust = "QUIET", "GAP"
    lines = text_of(picture).splitlines()
    assert any("btc-up-1" in line and "QUIET" in line for line in lines)
    assert any("BTCUSDT" in line and "GAP" in line for line in lines)
