"""The whole pipeline while a service beside the market data is absent, fails, or is slow.

Neither the look-ups of markets (Gamma) nor the settlement stream (PolyBolt) carries a book: without
them the feeds stay live, what is quoted rests on what is known, and else the reason is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.stack import Stack, free_port
from cache.counters import Counter
from cache.layout import Reason

FEED, REFERENCE = "feed.polymarket.0", "feed.binance.0"
LOOKUP_TIMEOUT_S = 1.0
HOLD_S = 3.0
"""So long a state is looked at that is to stay."""

DOUBT_S = 2.0


class Pipeline(Stack):
    """`penstock up`, and a word with its simulated venue."""

    def __init__(self, **settings: str) -> None:
        self.sim_port = settings.setdefault("PENSTOCK_SIM_PORT", str(free_port()))
        super().__init__(**settings)

    def control(self, **command: object) -> None:
        """Have the venue misbehave."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.sim_port}/control", json.dumps(command).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def count(self, counter: Counter) -> int:
        segment = self.segment(FEED)
        return segment.counters[counter] if segment is not None else 0

    def reasons(self) -> set[Reason]:
        """What the strategy says of its markets."""
        return {Reason(wish.reason) for wish in self.board("strategy.maker", "quotes")}

    def are_books_live(self) -> bool:
        """Whether both feeds have a top without a flag that was published just now."""
        since_ns = time.monotonic_ns() - 1_000_000_000
        tops = self.board(FEED, "pair_bbo"), self.board(REFERENCE, "bbo")
        return all(any(one.publish_ns > since_ns and not one.flags for one in of) for of in tops)

    def holds(self, span_s: float = HOLD_S) -> None:
        """See that quotes stand again and again, or that the edge of a window is why not.

        A book may be doubted for a moment at any time, and is not quoted on then.
        """
        seen = began = time.monotonic()
        while (now := time.monotonic()) < began + span_s:
            if self.quotes() or Reason.OUTSIDE_WINDOW in self.reasons():
                seen = now
            assert now - seen < DOUBT_S, self.reasons()
            time.sleep(0.02)


class Gamma:
    """Stands before the look-ups of the simulated venue: passes them on, late or not at all."""

    def __init__(self, behind: int) -> None:
        self.is_failing, self.delay_s, self.asked_count = False, 0.0, 0
        gamma = self

        class Asked(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gamma.asked_count += 1
                time.sleep(gamma.delay_s)
                status, body = 503, b"sorry"
                if not gamma.is_failing:
                    url = f"http://127.0.0.1:{behind}/polymarket{self.path}"
                    try:
                        with urllib.request.urlopen(url, timeout=10) as answer:
                            status, body = answer.status, answer.read()
                    except urllib.error.HTTPError as refused:
                        status, body = refused.code, refused.read()
                    except urllib.error.URLError:
                        pass  # The venue is not there yet.
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # Who asked did not wait.
                    super().handle()

            def log_message(self, format: str, *words: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/gamma"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def gamma(port: int) -> Iterator[Gamma]:
    made = Gamma(port)
    yield made
    made.close()


def settings(gamma: Gamma, port: int) -> dict[str, str]:
    return {
        "PENSTOCK_SIM_PORT": str(port),
        "PENSTOCK_VENUES_POLYMARKET_GAMMA_URL": gamma.url,
        "PENSTOCK_FEEDS_POLYMARKET_LOOKUP_TIMEOUT_S": str(LOOKUP_TIMEOUT_S),
        "PENSTOCK_FEEDS_POLYMARKET_OFFICIAL_INTERVAL_S": "1",
    }


def test_without_a_settlement_stream_the_strike_is_the_official_one_and_it_quotes() -> None:
    with Pipeline(PENSTOCK_VENUES_POLYMARKET_POLYBOLT_URL="") as pipeline:
        pipeline.wait(pipeline.are_books_live)
        pipeline.wait(pipeline.quotes)
        assert pipeline.count(Counter.feeds_twap_received) == 0


def test_a_settlement_stream_that_is_lost_takes_no_book_with_it_and_comes_back() -> None:
    with Pipeline() as pipeline:
        pipeline.wait(pipeline.quotes)
        pipeline.control(fault="refuse", channel="polybolt", code=503, seconds=60)
        pipeline.control(fault="drop", channel="polybolt")
        pipeline.wait(lambda: any(row.flags for row in pipeline.board(FEED, "settlement")))
        points = pipeline.count(Counter.feeds_twap_received)
        pipeline.holds()
        assert pipeline.are_books_live()
        assert pipeline.count(Counter.feeds_twap_received) == points
        pipeline.control(fault="reset", channel="polybolt")
        pipeline.wait(lambda: pipeline.count(Counter.feeds_twap_received) > points)
        pipeline.wait(lambda: any(not row.flags for row in pipeline.board(FEED, "settlement")))
        pipeline.wait(pipeline.quotes)


@pytest.mark.parametrize(
    ("is_failing", "delay_s"), [(True, 0.0), (False, 3 * LOOKUP_TIMEOUT_S)], ids=["fails", "slow"]
)
def test_gamma_that_is_of_no_use_at_the_start_is_told_and_quoting_begins_when_it_answers(
    gamma: Gamma, port: int, is_failing: bool, delay_s: float
) -> None:
    gamma.is_failing, gamma.delay_s = is_failing, delay_s
    with Pipeline(**settings(gamma, port)) as pipeline:
        pipeline.wait(lambda: "live 6/6" in pipeline.said())
        pipeline.wait(lambda: pipeline.count(Counter.feeds_lookup_failed) >= 2)
        pipeline.wait(lambda: "no market has a book" in pipeline.said())
        assert "lookup_failed" in pipeline.said()
        assert not pipeline.quotes()
        gamma.is_failing, gamma.delay_s = False, 0.0
        pipeline.wait(pipeline.are_books_live)
        pipeline.wait(pipeline.quotes)


def test_gamma_that_is_slow_or_fails_later_stops_no_quote_on_markets_that_are_known(
    gamma: Gamma, port: int
) -> None:
    gamma.delay_s = LOOKUP_TIMEOUT_S / 2
    with Pipeline(**settings(gamma, port)) as pipeline:
        pipeline.wait(pipeline.quotes)
        gamma.delay_s = 3 * LOOKUP_TIMEOUT_S
        pipeline.holds()
        gamma.is_failing, gamma.delay_s = True, 0.0
        pipeline.holds()
        assert pipeline.are_books_live()
        pid, asked_count = pipeline.pids()[FEED], gamma.asked_count
        os.kill(pid, signal.SIGKILL)  # What its successor knows of the markets is in memory.
        pipeline.wait(lambda: pipeline.pids().get(FEED, pid) not in (0, pid))
        pipeline.wait(pipeline.are_books_live)
        pipeline.wait(pipeline.quotes)
        pipeline.wait(lambda: gamma.asked_count > asked_count)
        pipeline.holds()
        gamma.is_failing = False
        answered = pipeline.count(Counter.feeds_lookup_failed)
        pipeline.holds()
        assert pipeline.count(Counter.feeds_lookup_failed) <= answered + 1
