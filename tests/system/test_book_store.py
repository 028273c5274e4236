"""Books from the wire to a decision, with real processes: a venue, two feeds and a reader.

The reader is a process of its own, which counts everything it does with a network: nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.stack import free_port
from cache.book_metrics import summarize
from cache.book_store import BookStore, asks_of, bids_of
from cache.counters import Counter
from cache.errors import SegmentError
from cache.ladder import LEVELS_MAX
from cache.segment import ReaderSegment
from tests.shm import own_namespace
from venue.decimals import parse_e9

ROOT = Path(__file__).resolve().parents[2]
BN, PM = "feed.binance.0", "feed.polymarket.0"
BTC = "BTCUSDT"
PATIENCE_S = 60.0


class World:
    """The processes of one test, each ended with it."""

    def __init__(self, namespace: str, directory: Path) -> None:
        self.namespace, self.directory, self.port = namespace, directory, free_port()
        own = {"PENSTOCK_HOST_NAMESPACE": namespace, "PENSTOCK_SIM_PORT": str(self.port)}
        self.environ = os.environ | own | {"PYTHONPATH": str(ROOT)}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.last: dict[str, Any] = {}

    def begin(self, name: str, *words: str) -> subprocess.Popen[str]:
        with (self.directory / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=self.environ, text=True,
                stdin=subprocess.PIPE if name == "reader" else subprocess.DEVNULL,
                stdout=subprocess.PIPE if name == "reader" else log,
                stderr=log,
            )  # fmt: skip
        self.processes[name] = process
        return process

    def feed(self, venue: str) -> None:
        self.begin(venue, "-m", "feeds", venue)

    def read(self, *words: str) -> None:
        process = self.begin("reader", "tests/system/book_reader.py", self.namespace, *words)

        def follow() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self.lines.put(json.loads(line))

        self.follower = threading.Thread(target=follow, daemon=True)
        self.follower.start()

    def report(self) -> dict[str, Any]:
        """What the reader said last."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.last = self.lines.get_nowait()
        return self.last

    def end_reader(self) -> dict[str, Any]:
        process = self.processes["reader"]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        self.wait(lambda: self.report().get("is_last"))
        return self.last

    def now(self, role: str) -> set[str]:
        """How far the reader trusts the tokens of a feed now."""
        found = self.report().get("now", {}).get(role, {})
        return set(found.values())

    def wait(self, condition: Callable[[], object], what: str = "") -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"{what} never came: {self.last}"
            time.sleep(0.02)

    def wait_live(self, *roles: str) -> None:
        for role in roles:
            self.wait(lambda role=role: "LIVE" in self.now(role), f"a book of {role}")

    def fault(self, name: str, **fields: object) -> None:
        body = json.dumps({"fault": name, **fields}).encode()
        self.ask("/control", body)

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: bytes = answer.read()
        return found

    def rest_depth(self) -> dict[str, Any]:
        path = f"/binance/api/v3/depth?symbol={BTC}&limit={LEVELS_MAX}"
        found: dict[str, Any] = json.loads(self.ask(path))
        return found

    def is_served(self) -> bool:
        with contextlib.suppress(OSError):
            self.ask("/control")
            return True
        return False

    def segment(self, role: str) -> ReaderSegment:
        found: list[ReaderSegment] = []

        def attach() -> bool:
            with contextlib.suppress(SegmentError):
                found.append(ReaderSegment.attach(role, namespace=self.namespace))
            return bool(found)

        self.wait(attach, role)
        return found[0]

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)
            if process.stdout is not None and process.stdin is not None:
                self.follower.join(10)
                process.stdout.close()
                process.stdin.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with own_namespace() as namespace:
        made = World(namespace, tmp_path)
        try:
            made.begin("sim", "-m", "sim")
            made.wait(made.is_served, "the venue")
            yield made
        finally:
            made.close()


def test_a_lost_link_marks_books_not_ready_and_a_reader_skips_its_ticks_without_a_socket(
    world: World,
) -> None:
    world.feed("binance")
    world.feed("polymarket")
    world.read()
    world.wait_live(BN, PM)
    world.fault("refuse", channel="all", code=503, seconds=3600)
    world.fault("drop", channel="all")
    world.wait(lambda: world.now(BN) == world.now(PM) == {"GAP"}, "the gap")
    assert world.report()["ready"] == {BN: 0, PM: 0}
    hits = world.report()["hits"]
    misses = world.report()["misses"]
    time.sleep(1.0)
    world.wait(lambda: world.report()["misses"] > misses, "a skipped tick")
    assert world.last["hits"] == hits, "a book was served without a link"
    world.fault("reset")
    world.wait_live(BN, PM)
    fds = Path(f"/proc/{world.processes['reader'].pid}/fd")
    assert not [one for one in fds.iterdir() if os.readlink(one).startswith("socket:")]
    last = world.end_reader()
    assert last["network"] == []
    assert last["crossed"] == last["backward"] == 0
    assert last["changes"] > 0
    assert last["hits"] > hits
    assert last["hits"] + last["misses"] == sum(
        count for seen in last["seen"].values() for count in seen.values()
    )
    assert sum(last["age_histogram"]) == last["hits"]
    print(f"hit rate {last['hit_rate']:.4f}, mean age {last['mean_age_ms']:.1f} ms")


def test_a_reader_that_does_open_a_socket_is_found_out(world: World) -> None:
    world.read("sneak")
    world.wait(lambda: "socket.__new__" in world.report().get("network", ()), "the socket")


def test_a_lost_diff_is_noticed_and_the_book_is_rebuilt_from_a_snapshot(world: World) -> None:
    world.feed("binance")
    world.read()
    world.wait_live(BN)
    counters = world.segment(BN).counters
    assert counters[Counter.cache_book_gaps_seen] == 0
    asked = counters[Counter.feeds_books_requested]
    time.sleep(1.0)
    assert counters[Counter.feeds_books_requested] == asked, "a book in order needs no REST"
    world.fault("lose", channel="binance", stream="btcusdt@depth@100ms", count=2)
    world.wait(lambda: counters[Counter.cache_book_gaps_seen] == 1, "the gap")
    world.wait(lambda: counters[Counter.cache_book_snapshots_applied] == 2, "a new snapshot")
    world.wait_live(BN)
    assert counters[Counter.feeds_session_disconnected] == 0, (
        "the tickers had nothing to do with it"
    )
    words = [sys.executable, "-m", "host", "status", "--json"]
    said = subprocess.run(
        words, cwd=ROOT, env=world.environ, capture_output=True, text=True, check=True
    )
    shown = json.loads(said.stdout)["counters"][BN]
    assert shown["cache_book_gaps_seen"] == summarize(counters).sequence_gaps == 1
    assert shown["cache_book_snapshots_applied"] == 2
    last = world.end_reader()
    assert last["backward"] == last["crossed"] == 0


def test_the_published_depth_is_the_venues_own(world: World) -> None:
    world.feed("binance")
    store = BookStore(world.segment(BN))
    world.wait(lambda: store.is_ready(BTC), "a book")
    matched = 0
    end = time.monotonic() + PATIENCE_S
    books: dict[int, tuple[object, object]] = {}
    truths: dict[int, tuple[object, object]] = {}
    while matched < 3 and time.monotonic() < end:
        book = store.read(BTC)
        books[book.venue_seq] = bids_of(book), asks_of(book)
        if len(books) % 5 == 0:
            truth = world.rest_depth()
            sides = (truth["bids"][:20], truth["asks"][:20])
            truths[truth["lastUpdateId"]] = tuple(
                [(parse_e9(px), parse_e9(qty)) for px, qty in side] for side in sides
            )
        both = books.keys() & truths.keys()
        assert all(books[number] == truths[number] for number in both)
        matched = len(both)
        time.sleep(0.005)
    assert matched >= 3


def test_a_killed_feed_skips_ticks_and_its_successor_serves_again(world: World) -> None:
    world.feed("binance")
    world.read()
    world.wait_live(BN)
    feed = world.processes["binance"]
    feed.send_signal(signal.SIGKILL)
    feed.wait(10)
    world.wait(lambda: world.now(BN) == {"WRITER_DEAD"}, "the death")
    hits = world.report()["hits"]
    time.sleep(0.3)
    assert world.report()["hits"] == hits
    world.feed("binance")
    world.wait_live(BN)
    last = world.end_reader()
    assert last["hits"] > hits
    assert last["network"] == []


def test_a_feed_that_is_stopped_skips_ticks_and_serves_no_backlog_as_fresh(world: World) -> None:
    world.feed("binance")
    world.read()
    world.wait_live(BN)
    feed = world.processes["binance"]
    feed.send_signal(signal.SIGSTOP)
    try:
        world.wait(lambda: world.now(BN) == {"STALLED"}, "the stall")
        hits = world.report()["hits"]
        time.sleep(0.5)
        assert world.report()["hits"] == hits
    finally:
        feed.send_signal(signal.SIGCONT)
    world.wait_live(BN)
    last = world.end_reader()
    assert last["backward"] == last["crossed"] == 0
    assert last["network"] == []


def test_depth_that_is_switched_off_is_not_subscribed(world: World) -> None:
    world.environ["HFT_BOOK_CACHE_ENABLED"] = "0"
    world.feed("binance")
    segment = world.segment(BN)
    world.wait(lambda: segment.counters[Counter.feeds_bbo_published] > 10, "tickers")
    assert segment.counters[Counter.feeds_session_connected] == 1
    assert segment.counters[Counter.feeds_books_requested] == 0
    assert not BookStore(segment).is_ready(BTC)
