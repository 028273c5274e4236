"""The whole pipeline on the simulated venue: quoting, and quoting again after every kill."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stack import ROOT, Stack
from cache.counters import Counter
from cache.layout import OrderState, Reason
from cache.segment import roles
from host.survey import Survey

ROLES = ("feed.binance.0", "feed.polymarket.0", "strategy.maker", "executor.paper", "sim")


class Pipeline(Stack):
    """`penstock up` as anybody starts it, watched through its memory alone."""

    def is_quoting(self, since_ns: int = 0) -> bool:
        """Whether a wish that was published after `since_ns` stands, and an order rests."""
        wishes = self.board("strategy.maker", "quotes")
        orders = self.board("executor.paper", "orders")
        return any(
            wish.reason == Reason.QUOTING
            and wish.publish_ns > since_ns
            and wish.valid_until_ns > time.monotonic_ns()
            for wish in wishes
        ) and any(order.state == OrderState.WORKING for order in orders)

    def shows(self, pattern: str) -> bool:
        """Whether a line of the output has the pattern."""
        return re.search(pattern, self.said()) is not None

    def fills(self) -> int:
        return sum(row.fill_count for row in self.board("executor.paper", "positions"))

    def is_gone(self) -> bool:
        command = f"{self.namespace}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if command in path.read_bytes() and int(path.parent.name) != os.getpid():
                    return False
            except (OSError, PermissionError):
                continue
        return roles(self.namespace) == []


def test_quoting_comes_back_after_every_kill_and_a_killed_supervisor_halts_all() -> None:
    with Pipeline() as pipeline:
        pipeline.wait(pipeline.is_quoting)
        pipeline.wait(pipeline.fills)
        pipeline.wait(
            lambda: pipeline.shows(r"status  live 6/6 · BTCUSDT [\d,.]+/[\d,.]+ .* Up 0\.")
        )
        for role in ROLES:
            pid = pipeline.pids()[role]
            fills = pipeline.fills()
            killed_ns = time.monotonic_ns()
            os.kill(pid, signal.SIGKILL)
            pipeline.wait(lambda role=role, pid=pid: pipeline.pids().get(role, pid) != pid)
            born_ns = time.monotonic_ns()
            pipeline.wait(lambda born_ns=born_ns: pipeline.is_quoting(born_ns))
            print(f"{role}: quoting again after {(time.monotonic_ns() - killed_ns) / 1e6:.0f} ms")
            assert pipeline.fills() >= fills, f"fills were lost with {role}"
        pipeline.process.kill()
        pipeline.process.wait()
        pipeline.wait(pipeline.is_gone, timeout_s=60)


def test_every_cache_is_at_work_in_a_run_as_shipped() -> None:
    with Pipeline() as pipeline:
        pipeline.wait(pipeline.is_quoting)
        at_work = {
            "strategy.maker": (Counter.cache_book_hits, Counter.strategy_ticks_run),
            "executor.paper": (Counter.cache_book_hits,),
            "feed.binance.0": (
                Counter.cache_book_snapshots_applied, Counter.cache_book_deltas_applied,
                Counter.cache_md_misses,
            ),
            "feed.polymarket.0": (Counter.feeds_witness_matched, Counter.cache_md_misses),
        }  # fmt: skip
        for role, counters in at_work.items():
            segment = pipeline.segment(role)
            assert segment is not None
            for counter in counters:
                pipeline.wait(lambda segment=segment, counter=counter: segment.counters[counter])
        # What `penstock up` says of book and reference it has of PMCache and BNCache.
        pipeline.wait(lambda: pipeline.shows(r"status  .*BTCUSDT [\d,.]+/[\d,.]+ .* Up 0\."))
        picture = Survey(pipeline.namespace).take(time.monotonic_ns(), time.time_ns())
        served = {row.role: row for row in picture.served}
        assert set(served) == {"strategy.maker", "executor.paper"}
        assert all(row.hit_rate > 0.5 and row.age_ms_p50 is not None for row in served.values())
        depths = {row.feed for row in picture.depths if row.is_ready}
        assert depths == {"feed.polymarket.0", "feed.binance.0"}
        assert any(row.version and row.yes_bid_px_e9 for row in picture.books), "PMCache"
        assert [bool(row.version and row.bid_px_e9) for row in picture.references] == [True]
        rest = {row.role: row.metrics["mm_md_cache_miss_total"] for row in picture.rest_caches}
        assert rest.keys() == {"feed.polymarket.0", "feed.binance.0"}


def test_the_same_pipeline_quotes_and_is_filled_on_a_polled_reference() -> None:
    with Pipeline(PENSTOCK_FEEDS_BINANCE_SOURCE="poll") as pipeline:
        pipeline.wait(pipeline.is_quoting, timeout_s=240)
        pipeline.wait(pipeline.fills, timeout_s=240)
        feed = pipeline.segment("feed.binance.0")
        assert feed is not None
        assert feed.counters[Counter.feeds_polls_taken] > 0
        assert pipeline.board("feed.binance.0", "trades") == [], "nothing was streamed"


def test_a_run_ends_by_itself_and_leaves_nothing() -> None:
    with Pipeline("--duration", "12") as pipeline:
        assert pipeline.process.wait(120) == 0, pipeline.said()[-4000:]
        assert pipeline.is_gone()


def test_a_run_from_recordings_shows_books_and_says_that_there_is_no_strike() -> None:
    folder = os.environ.get("PENSTOCK_RECORDINGS")
    if not folder:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    market = Path(folder, "polymarket/derived/btc-updown-5m-1776326100.price_change.jsonl.gz")
    spot = Path(folder, "binance/spot_btcusdt_20240808.gz")
    assert market.exists()
    assert spot.exists()
    book = r"BTCUSDT 61,\d+.* btc-updown-5m-1776326100 Up 0\.\d+/0\.\d+ .* no quote: NO_STRIKE"
    with Pipeline(
        PENSTOCK_SIM_MODE="replay", PENSTOCK_SIM_RECORDINGS=f'["{market}", "{spot}"]'
    ) as pipeline:
        pipeline.wait(lambda: pipeline.shows(book), timeout_s=120)


@pytest.fixture
def two_coins() -> Iterator[Pipeline]:
    """A pipeline on a venue with the markets of two coins."""
    coins, symbols = '["btc-updown-5m", "eth-updown-5m"]', '["BTCUSDT", "ETHUSDT"]'
    pipeline = Pipeline(
        PENSTOCK_SIM_EMBEDDED="false", PENSTOCK_FEEDS_POLYMARKET_FAMILIES=coins,
        PENSTOCK_STRATEGY_FAMILIES=coins, PENSTOCK_FEEDS_BINANCE_SYMBOLS=symbols,
    )  # fmt: skip
    words = [sys.executable, "-m", "tests.system.two_coins", pipeline.port]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as venue:
        try:
            assert venue.stdout is not None
            assert venue.stdout.readline() == b"ready\n"
            with pipeline:
                yield pipeline
        finally:
            venue.kill()


def test_markets_of_two_coins_are_quoted_side_by_side_and_again_after_a_kill(
    two_coins: Pipeline,
) -> None:
    def quoted(since_ns: int = 0) -> set[str]:
        """The coins of which a wish stands that was published since."""
        fresh = {
            wish.tag for wish in two_coins.board("strategy.maker", "quotes")
            if wish.reason == Reason.QUOTING and wish.publish_ns > since_ns
        }  # fmt: skip
        listed = two_coins.board("feed.polymarket.0", "instruments")
        return {one.slug.partition("-")[0] for one in listed if one.pair_tag in fresh}

    two_coins.wait(lambda: quoted() == {"btc", "eth"})
    pid = two_coins.pids()["feed.polymarket.0"]
    os.kill(pid, signal.SIGKILL)
    two_coins.wait(lambda: two_coins.pids().get("feed.polymarket.0", pid) != pid)
    born_ns = time.monotonic_ns()
    two_coins.wait(lambda: quoted(born_ns) == {"btc", "eth"})
    strategy = two_coins.segment("strategy.maker")
    assert strategy is not None
    assert strategy.counters[Counter.strategy_tokens_disabled] == 0
    picture = Survey(two_coins.namespace).take(time.monotonic_ns(), time.time_ns())
    bids = {row.symbol: row.bid_px_e9 or 0 for row in picture.references}
    assert bids["BTCUSDT"] > 2 * bids["ETHUSDT"] > 0
    strikes = {row.market[:3]: row.strike_e9 for row in picture.books if row.strike_e9}
    assert strikes["btc"] > 2 * strikes["eth"], "each market has the strike of its own coin"
