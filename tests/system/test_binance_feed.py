"""The Binance feed as a process, on real sockets: cuts, shutdowns, garbage, stalls, deaths."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from cache import segment
from cache.board import Miss
from cache.counters import Counter
from cache.errors import SegmentError
from cache.layout import E9, Flag, tag_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment, segment_path

ROOT = Path(__file__).resolve().parents[2]
ROLE = "feed.binance.0"
TAG = tag_of("binance", "BTCUSDT")
SHUTDOWN = json.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
PATIENCE_S = 30.0


STREAMS = ["btcusdt@bookTicker", "btcusdt@trade"]


class Venue:
    """A Binance of the tests: one WebSocket server in a thread, that does what a test tells it to.

    While it runs it sends tickers and trades of one symbol with growing ids to every client, and
    answers LIST_SUBSCRIPTIONS in order behind them, as the venue does.
    """

    def __init__(self, *, interval_s: float = 0.02) -> None:
        self.number = 1_000
        self.sent_trades: list[int] = []
        self.is_sending = True
        self.is_refusing = False
        self.muted: set[ServerConnection] = set()
        self.clients: list[ServerConnection] = []
        self.joined_count = 0
        self.paths: list[str] = []
        self.port = 0
        self._interval_s = interval_s
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Venue:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stream"

    def _main(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with serve(self._client, "127.0.0.1", 0, compression=None, close_timeout=0.2) as made:
            self.port = next(iter(made.sockets)).getsockname()[1]
            self._ready.set()
            while not self._stop.is_set():
                if self.is_sending:
                    self.step()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), self._interval_s)
            for client in self.clients:
                client.transport.abort()

    async def _client(self, client: ServerConnection) -> None:
        if self.is_refusing:
            client.transport.abort()
            return
        assert client.request is not None
        self.paths.append(client.request.path)
        self.clients.append(client)
        self.joined_count += 1
        try:
            async for text in client:
                asked = json.loads(text)
                if asked["method"] == "LIST_SUBSCRIPTIONS":
                    await client.send(json.dumps({"result": STREAMS, "id": asked["id"]}))
        except ConnectionClosed:
            pass
        finally:
            self.clients.remove(client)

    # --- what is sent; on the server's thread ---------------------------------------------------

    def step(self) -> None:
        """Send one ticker and one trade to everybody who is not muted."""
        self.number += 1
        self.sent_trades.append(self.number)
        now_ms = time.time_ns() // 1_000_000
        ticker = {
            "u": self.number, "s": "BTCUSDT", "b": f"{self.number}.00", "B": "1",
            "a": f"{self.number + 1}.00", "A": "2",
        }  # fmt: skip
        trade = {
            "e": "trade", "E": now_ms, "s": "BTCUSDT", "t": self.number, "p": "5.5", "q": "1",
            "T": now_ms, "m": True, "M": True,
        }  # fmt: skip
        for client in self.clients:
            if client not in self.muted:
                for stream, data in zip(STREAMS, (ticker, trade), strict=True):
                    self.write(client, json.dumps({"stream": stream, "data": data}))

    @staticmethod
    def write(client: ServerConnection, data: str | bytes) -> None:
        """Write one frame now, whatever it is; a client that leaves gets nothing."""
        if client.protocol.state is not State.OPEN:
            return
        if isinstance(data, str):
            client.protocol.send_text(data.encode())
        else:
            client.protocol.send_binary(data)
        client.transport.writelines(client.protocol.data_to_send())

    # --- for the test's thread ------------------------------------------------------------------

    def do(self, call: Callable[[], object]) -> None:
        """Do something on the server's thread, and wait until it is done."""
        done = threading.Event()

        def run() -> None:
            try:
                call()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def cut(self) -> None:
        """End every connection without a word."""
        self.do(lambda: [client.transport.abort() for client in list(self.clients)])

    def say(self, *frames: str | bytes) -> None:
        """Send frames to everybody, as they are."""
        self.do(lambda: [self.write(c, frame) for frame in frames for c in list(self.clients)])

    def mute(self) -> None:
        """Send nothing more on the connections there are; those to come are served."""
        self.do(lambda: self.muted.update(self.clients))


class Feed:
    """The feed's process and a reader of its segment."""

    def __init__(self, namespace, url, directory, **settings):
        self.namespace = namespace
        lines = [f"{name} = {value}" for name, value in settings.items()]
        self.config = directory / "feed.toml"
        self.config.write_text(
            f'[host]\nnamespace = "{namespace}"\n[venues.binance]\nws_url = "{url}"\n'
            + "\n".join(["[feeds.binance]", *lines])
        )
        self.log = directory / "feed.log"
        self.processes = []
        self.reader = None

    def start(self):
        with self.log.open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "feeds", "binance", "--config", str(self.config)],
                    cwd=ROOT,
                    stderr=log,
                    stdout=log,
                )
            )
        return self

    @property
    def process(self):
        return self.processes[-1]

    def attach(self):
        self.wait(self._try_attach)
        return self.reader

    def _try_attach(self):
        with contextlib.suppress(SegmentError):
            self.reader = ReaderSegment.attach(ROLE, namespace=self.namespace)
            self.bbo = self.reader.board("bbo")
            return True
        return False

    def wait(self, condition, what="", *, patience_s=PATIENCE_S):
        end = time.monotonic() + patience_s
        while not condition():
            assert self.process.poll() is None, f"the feed ended:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"{what} never came:\n{self.log.read_text()}"
            time.sleep(0.002)

    def top(self):
        return self.bbo.read(0, TAG)

    @property
    def flags(self):
        found = self.top()
        return None if isinstance(found, Miss) else Flag(found.flags)

    def is_live(self):
        found = self.top()
        return (
            not isinstance(found, Miss)
            and found.incarnation == self.reader.incarnation
            and found.flags == 0
        )

    def wait_live(self):
        self.wait(self.is_live, "a top to be trusted")

    def count(self, counter):
        return self.reader.counters[counter]


@pytest.fixture
def venue():
    with Venue() as made:
        yield made


@pytest.fixture
def start(venue, tmp_path):
    """Start a feed with some settings of its own, and wait until it is live."""
    namespace, feeds = f"penstock-test-{os.getpid()}-{time.monotonic_ns() % 10**9}", []

    def begin(**settings):
        feeds.append(Feed(namespace[:32], venue.url, tmp_path, **settings).start())
        feeds[0].attach()
        feeds[0].wait_live()
        return feeds[0]

    yield begin
    for feed in feeds:
        for process in feed.processes:
            process.kill()
            process.wait(10)
    for role in segment.roles(namespace[:32]):
        for path in (
            segment_path(namespace[:32], role),
            segment_path(namespace[:32], role) + ".lock",
        ):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def test_a_feed_follows_the_venue_until_it_is_told_to_stop(start, venue):
    feed = start()
    assert venue.paths == ["/stream?streams=btcusdt@bookTicker/btcusdt@trade"]
    feed.wait(lambda: feed.top().venue_seq > 1_020, "twenty updates")
    found = feed.top()
    assert found.bid_px_e9 == found.venue_seq * E9
    assert found.ask_px_e9 == (found.venue_seq + 1) * E9
    assert found.last_px_e9 == 5_500_000_000
    assert 0 <= time.monotonic_ns() - feed.reader.link_ns < 5 * E9
    feed.wait(lambda: feed.reader.board("samples").version(0) >= 2, "samples")
    features = feed.reader.board("features").read(0, TAG)
    assert features.flags == 0
    feed.process.send_signal(signal.SIGTERM)
    assert feed.process.wait(10) == 0
    assert feed.flags == Flag.RESYNC, "whoever stops following says so"


def test_a_lost_connection_is_resync_until_the_next_one_delivers(start, venue):
    feed = start()
    venue.is_refusing = True
    before = feed.reader.board("samples").version(0)
    venue.cut()
    feed.wait(lambda: feed.flags == Flag.RESYNC, "RESYNC")
    seen = feed.top().venue_seq
    time.sleep(0.5)
    assert feed.flags == Flag.RESYNC
    assert feed.top().venue_seq == seen
    venue.is_refusing = False
    feed.wait_live()
    assert feed.top().venue_seq > seen
    assert feed.count(Counter.feeds_session_disconnected) >= 1
    feed.wait(lambda: feed.reader.board("samples").version(0) > before, "a sample")


def test_a_server_shutdown_loses_nothing_and_raises_no_doubt(start, venue):
    feed = start()
    trades, first = feed.reader.board("trades").stream(), venue.number
    seen, flags = [], set()

    def look():
        seen.extend(found.trade_id for found in trades.take(4096))
        flags.add(feed.flags)
        return feed.count(Counter.feeds_session_bridged) == 1

    old = list(venue.clients)
    venue.say(SHUTDOWN)
    feed.wait(look, "the bridge")
    venue.do(lambda: [client.transport.abort() for client in old])
    last = venue.number + 20
    feed.wait(lambda: look() and seen and seen[-1] >= last, "more trades")
    assert flags == {Flag(0)}
    assert seen == list(range(seen[0], seen[-1] + 1)), "no trade is lost, none comes twice"
    assert seen[0] <= first + 2
    assert venue.joined_count == 2
    assert feed.count(Counter.feeds_updates_outdated) > 0, "both connections delivered for a while"


def test_garbage_is_counted_and_the_connection_lives(start, venue):
    feed = start()
    venue.is_sending = False
    time.sleep(0.1)
    garbage = [
        "{",
        "[]",
        "",
        '{"stream":"btcusdt@bookTicker","data":{"u":-5,"s":"BTCUSDT"}}',
        '{"stream":"btcusdt@bookTicker","data":{"u":9e99,"b":"NaN"}}',
        '{"stream":"btcusdt@bookTicker","data":' + "[" * 50_000,
        '{"pad":"' + "x" * 5_000_000 + '"',
        b"\x00\xff\xfe",
    ]
    rejected = feed.count(Counter.feeds_frames_rejected)
    venue.say(*garbage)
    feed.wait(
        lambda: feed.count(Counter.feeds_frames_rejected) == rejected + len(garbage), "the counts"
    )
    assert feed.flags == Flag.SUSPECT
    assert feed.count(Counter.feeds_frames_binary) == 1
    venue.is_sending = True
    feed.wait_live()
    assert venue.joined_count == 1


def test_a_stopped_feed_does_not_pass_its_backlog_off_as_fresh(start, venue):
    feed = start()
    feed.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    venue.do(lambda: None)
    newest, version = venue.number, feed.top().version
    feed.process.send_signal(signal.SIGCONT)

    trusted, doubted = [], []

    def look():
        found = feed.top()
        if found.version > version:
            (doubted if found.flags else trusted).append(found)
        return trusted

    feed.wait(look, "a trusted top")
    assert trusted[0].venue_seq >= newest
    assert feed.count(Counter.feeds_loop_stalled) >= 1
    assert all(found.flags & Flag.RESYNC for found in doubted)
    assert feed.count(Counter.feeds_session_connected) == 1


def test_a_silent_stream_is_suspect_and_followed_on_a_new_connection(start, venue):
    feed = start(ticker_silence_ms=400)
    venue.mute()
    feed.wait(lambda: feed.flags == Flag.SUSPECT, "SUSPECT")
    feed.wait_live()
    assert venue.joined_count == 2
    feed.wait(lambda: feed.count(Counter.feeds_session_bridged) == 1, "the old one to be left")
    feed.wait(lambda: len(venue.clients) == 1, "the old one to be closed")


def test_a_connection_is_replaced_before_it_grows_too_old(start, venue):
    feed = start(connection_age_s_max=1.5)
    flags = set()

    def look():
        flags.add(feed.flags)
        return feed.count(Counter.feeds_session_bridged) >= 2

    feed.wait(look, "two bridges")
    assert flags == {Flag(0)}


def test_a_killed_feed_is_seen_dead_and_its_successor_goes_on(start, venue):
    feed = start()
    features = feed.reader.board("features")
    feed.wait(lambda: getattr(features.read(0, TAG), "sample_count", 0) >= 3, "some samples")
    feed.process.kill()
    feed.process.wait(10)
    assert feed.reader.liveness(time.monotonic_ns() + E9) == Liveness.WRITER_DEAD
    held = feed.top()
    assert held.flags == 0, "the last whole record stays readable"
    feed.start()
    feed.wait(lambda: feed.reader.incarnation == 2, "the next incarnation")
    feed.wait_live()
    found = feed.top()
    assert (found.incarnation, found.generation) == (2, 0)
    assert found.version > held.version
    assert found.venue_seq > held.venue_seq
    feed.wait(lambda: features.read(0, TAG).incarnation == 2, "features")
    # Whether the history is kept depends on how long the hole was; it is never joined across one.
    hole_ns = found.publish_ns - held.publish_ns
    if hole_ns < 1_800_000_000:
        assert features.read(0, TAG).sample_count >= 3
    if hole_ns > 2_500_000_000:
        assert features.read(0, TAG).sample_count < 3
