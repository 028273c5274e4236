"""Garbage of every kind on every channel of a running pipeline: no harm, and soon no trace."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from typing import Any, Self

from bench.stack import Stack
from cache.counters import Counter
from cache.layout import Flag, Reason, tag_of
from sim.garbage import KINDS

CHANNELS = ("polymarket", "binance", "polybolt")
FEEDS = ("feed.polymarket.0", "feed.binance.0")
WINDOW_S = 300
EDGE_S = 30
"""Near the ends of a window nothing is quoted, whatever comes."""
BACK_S = 10.0
INPUTS = (
    ("book", "feed.polymarket.0", "pair_bbo"),
    ("reference", "feed.binance.0", "bbo"),
)
PRICES = ("yes_bid_px_e9", "yes_ask_px_e9", "no_bid_px_e9", "no_ask_px_e9")
BTC = tag_of("binance", "BTCUSDT")
DOUBTS = Flag.WARMUP | Flag.SUSPECT | Flag.RESYNC | Flag.CROSSED | Flag.RESOLVED


class Watch:
    """Looks at every quote of a pipeline, and at the books and references they rest on."""

    def __init__(self, stack: Stack) -> None:
        self.faults: list[str] = []
        self.judged: set[int] = set()
        self._stack = stack
        self._seen: dict[tuple[str, int, int], Any] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.001):
            for kind, role, name in INPUTS:
                for record in self._stack.board(role, name):
                    self._seen[kind, record.tag, record.version] = record
            for quote in self._stack.board("strategy.maker", "quotes"):
                if quote.reason == Reason.QUOTING and not quote.keep:
                    self._judge(quote)

    def _judge(self, quote: Any) -> None:
        top = self._seen.get(("book", quote.tag, quote.book_version))
        if top is not None:
            self.judged.add(quote.book_version)
            self._check(not top.flags & DOUBTS, f"{Flag(top.flags)!r} is under {quote}")
            prices = [getattr(top, name) for name in PRICES]
            self._check(not any(px % top.tick_e9 for px in prices), f"off the grid: {top}")
        reference = self._seen.get(("reference", BTC, quote.reference_version))
        if reference is not None:
            self._check(not reference.flags & DOUBTS, f"{Flag(reference.flags)!r} is under {quote}")
            is_sane = 10**12 < reference.bid_px_e9 < reference.ask_px_e9 < 10**16
            self._check(is_sane, f"no price of BTC: {reference}")

    def _check(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


def inject(port: str, channel: str, kind: str) -> None:
    command = {"fault": "garbage", "channel": channel, "kinds": [kind], "count": 3}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/control", data=json.dumps(command).encode()
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["done"] == 1


def wait_for_room(stack: Stack) -> None:
    stack.wait(lambda: EDGE_S < time.time() % WINDOW_S < WINDOW_S - 2 * EDGE_S, every_s=0.1)


def test_no_garbage_ends_a_process_or_is_quoted_on_and_quoting_is_soon_back() -> None:
    with Stack() as stack, Watch(stack) as watch:
        stack.wait(stack.quotes)
        pids = stack.pids()
        for kind in KINDS:
            wait_for_room(stack)
            stack.wait(stack.quotes)
            for channel in CHANNELS:
                inject(stack.port, channel, kind)
            sent_ns = time.monotonic_ns()
            time.sleep(0.3)  # so that it has come, and what is quoted was decided on afterwards
            stack.wait(
                lambda sent_ns=sent_ns: any(
                    quote.publish_ns > sent_ns + 250_000_000 for quote in stack.quotes()
                ),
                timeout_s=BACK_S,
            )
            print(f"{kind}: quoting after {(time.monotonic_ns() - sent_ns) / 1e9:.2f} s")
        assert stack.pids() == pids, "a process died"
        for role in FEEDS:
            segment = stack.segment(role)
            assert segment is not None
            counters = segment.counters
            found = {c.name: counters[c] for c in Counter if counters[c] and c.name[:6] == "feeds_"}
            print(role, found)
            assert counters[Counter.feeds_frames_rejected] > 10
    assert watch.faults == []
    assert len(watch.judged) > 10
