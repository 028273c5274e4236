"""The Polymarket feed as a process, on real sockets: rules, cuts, garbage, stalls, deaths."""

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
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from cache import segment
from cache.board import Miss
from cache.counters import Counter, Histogram
from cache.errors import SegmentError
from cache.layout import E9, Flag, Proof, tag_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment, segment_path

ROOT = Path(__file__).resolve().parents[2]
ROLE = "feed.polymarket.0"
MARKET = "0x" + "ab" * 32
YES, NO = "7" * 77, "5" * 76
TAG = tag_of("polymarket", MARKET)
PATIENCE_S = 30.0

LISTING = {
    "conditionId": MARKET, "slug": "will-it-hold", "outcomes": '["Yes", "No"]',
    "clobTokenIds": json.dumps([YES, NO]), "orderPriceMinTickSize": 0.01, "orderMinSize": 5,
    "negRisk": False, "closed": False,
}  # fmt: skip


def change(token, side, price, size, best):
    return {
        "asset_id": token, "price": price, "size": size, "side": side, "hash": "",
        "best_bid": best[0], "best_ask": best[1],
    }  # fmt: skip


class Venue:
    """A Polymarket of the tests: one server in a thread, with the venue's rules.

    Its one market bids 0.40 and asks 0.50; the size of the bid is a number that grows with every
    frame. The first message must be a subscription; PING is answered PONG in order.
    """

    def __init__(self, *, interval_s: float = 0.02) -> None:
        self.number = 1_000
        self.is_sending = True
        self.clients: dict[ServerConnection, set[str]] = {}
        self.heard: list[object] = []
        self.joined_count = 0
        self.refused_count = 0
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

    def _main(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        serving = serve(
            self._client, "127.0.0.1", 0, compression=None, close_timeout=0.2,
            process_request=self._answer,
        )  # fmt: skip
        async with serving as made:
            self.port = next(iter(made.sockets)).getsockname()[1]
            self._ready.set()
            while not self._stop.is_set():
                if self.is_sending:
                    self.step()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), self._interval_s)
            for client in list(self.clients):
                client.transport.abort()

    def _answer(self, client: ServerConnection, request: Request) -> Response | None:
        """Answer look-ups; the WebSocket's path goes on to its handshake."""
        if request.path == "/ws/market":
            return None
        found = [LISTING] if request.path == f"/gamma/markets?clob_token_ids={YES}" else []
        return client.respond(HTTPStatus.OK, json.dumps(found))

    async def _client(self, client: ServerConnection) -> None:
        self.joined_count += 1
        try:
            async for text in client:
                assert isinstance(text, str)
                if client not in self.clients:
                    await self._first(client, text)
                elif text == "PING":
                    self.heard.append(text)
                    self.write(client, "PONG")
                else:
                    self._later(client, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self.clients.pop(client, None)

    async def _first(self, client: ServerConnection, text: str) -> None:
        asked = json.loads(text) if text.startswith("{") else {}
        if asked.get("type") != "market":
            self.refused_count += 1
            await client.close(1008, "invalid subscription payload")
            return
        self.heard.append(asked)
        self.clients[client] = set(asked["assets_ids"])
        self.write(client, json.dumps(self.books(asked["assets_ids"])) + "\n")

    def _later(self, client: ServerConnection, asked: dict[str, object]) -> None:
        self.heard.append(asked["operation"])
        tokens = asked["assets_ids"]
        assert isinstance(tokens, list)
        if asked["operation"] == "unsubscribe":
            self.clients[client].difference_update(tokens)
        else:
            self.clients[client].update(tokens)
            self.write(client, json.dumps(self.books(tokens)))

    # --- what is sent; on the server's thread ---------------------------------------------------

    @staticmethod
    def now() -> str:
        return str(time.time_ns() // 1_000_000)

    def books(self, tokens: list[str]) -> list[dict[str, object]]:
        sides = {
            YES: (("0.4", str(self.number)), ("0.5", "20")),
            NO: (("0.5", "20"), ("0.6", str(self.number))),
        }
        return [
            {
                "market": MARKET, "asset_id": token, "timestamp": self.now(), "hash": "",
                "bids": [{"price": sides[token][0][0], "size": sides[token][0][1]}],
                "asks": [{"price": sides[token][1][0], "size": sides[token][1][1]}],
                "event_type": "book",
            }
            for token in tokens
        ]  # fmt: skip

    def changes(self, *entries: dict[str, str]) -> str:
        return json.dumps(
            {
                "market": MARKET, "price_changes": entries, "timestamp": self.now(),
                "event_type": "price_change",
            }
        )  # fmt: skip

    def step(self) -> None:
        """Send the next size of the bid to everybody who wants the market."""
        self.number += 1
        size = str(self.number)
        frame = self.changes(
            change(YES, "BUY", "0.4", size, ("0.4", "0.5")),
            change(NO, "SELL", "0.6", size, ("0.5", "0.6")),
        )
        for client, tokens in self.clients.items():
            if tokens:
                self.write(client, frame)

    @staticmethod
    def write(client: ServerConnection, data: str | bytes, *, is_text: bool = False) -> None:
        """Write one frame now, whatever it is; a client that leaves gets nothing."""
        if client.protocol.state is not State.OPEN:
            return
        if isinstance(data, str) or is_text:
            client.protocol.send_text(data.encode() if isinstance(data, str) else data)
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

    def say(self, *frames: str | bytes, is_text: bool = False) -> None:
        """Send frames to everybody, as they are."""
        self.do(
            lambda: [
                self.write(client, frame, is_text=is_text)
                for frame in frames
                for client in list(self.clients)
            ]
        )


class Feed:
    """The feed's process and a reader of its segment."""

    def __init__(self, namespace, port, directory, **settings):
        self.namespace = namespace
        settings = {"families": [], "tokens": [YES], "market_slots": 2} | settings
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        self.config = directory / "feed.toml"
        self.config.write_text(
            f'[host]\nnamespace = "{namespace}"\n[venues.polymarket]\n'
            f'ws_url = "ws://127.0.0.1:{port}/ws/market"\n'
            f'gamma_url = "http://127.0.0.1:{port}/gamma"\n'
            f'clob_url = "http://127.0.0.1:{port}/clob"\n'
            'polybolt_url = ""\n' + "\n".join(["[feeds.polymarket]", *lines])
        )
        self.log = directory / "feed.log"
        self.processes = []
        self.reader = None

    def start(self):
        with self.log.open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "feeds", "polymarket", "--config", str(self.config)],
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
        self.wait(self._try_attach, "a segment")

    def _try_attach(self):
        with contextlib.suppress(SegmentError):
            self.reader = ReaderSegment.attach(ROLE, namespace=self.namespace)
            self.board = self.reader.board("pair_bbo")
            return True
        return False

    def wait(self, condition, what, *, patience_s=PATIENCE_S):
        end = time.monotonic() + patience_s
        while not condition():
            assert self.process.poll() is None, f"the feed ended:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"{what} never came:\n{self.log.read_text()}"
            time.sleep(0.002)

    def top(self):
        return self.board.read(0, TAG)

    @property
    def flags(self):
        found = self.top()
        return None if isinstance(found, Miss) else Flag(found.flags)

    @property
    def number(self):
        """The newest number of the venue that was published."""
        return self.top().yes_bid_qty_e9 // E9

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
    namespace, feeds = f"pm-test-{os.getpid()}-{time.monotonic_ns() % 10**9}", []

    def begin(**settings):
        feeds.append(Feed(namespace, venue.port, tmp_path, **settings).start())
        feeds[0].attach()
        feeds[0].wait_live()
        return feeds[0]

    yield begin
    for feed in feeds:
        for process in feed.processes:
            process.kill()
            process.wait(10)
    for role in segment.roles(namespace):
        for path in (segment_path(namespace, role), segment_path(namespace, role) + ".lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def test_a_feed_follows_the_venue_until_it_is_told_to_stop(start, venue):
    feed = start()
    newest = venue.number
    feed.wait(lambda: feed.number > newest + 20, "new sizes")
    found = feed.top()
    assert (found.yes_bid_px_e9, found.yes_ask_px_e9) == (400_000_000, 500_000_000)
    assert (found.no_bid_px_e9, found.no_ask_px_e9) == (500_000_000, 600_000_000)
    assert found.no_ask_qty_e9 == found.yes_bid_qty_e9
    assert (found.proof, found.proven_ns) == (Proof.BEST_PRICES, found.recv_ns)
    assert abs(time.time_ns() - found.venue_ts_ns) < 60 * E9
    assert venue.heard[0] == {
        "assets_ids": [YES, NO], "type": "market", "custom_feature_enabled": True,
    }  # fmt: skip
    depth = feed.reader.board("depth")
    feed.wait(lambda: depth.version(1) > 3, "depth")
    assert depth.read(1, tag_of("polymarket", NO)).asks[0] == 600_000_000
    feed.wait(lambda: feed.reader.board("mids").version(0) >= 1, "a mid")
    assert feed.reader.counters.percentiles(Histogram.wire_to_slot_ns, 0.5) is not None
    assert time.monotonic_ns() - feed.reader.link_ns < 10 * E9
    feed.process.send_signal(signal.SIGTERM)
    assert feed.process.wait(10) == 0
    assert feed.flags == Flag.RESYNC


def test_a_lost_connection_is_resync_until_its_whole_book_comes_again(start, venue):
    feed = start()
    held = []

    def look():
        found = feed.top()
        held.append((int(found.flags), found.yes_bid_px_e9))
        return found.flags == 0 and feed.count(Counter.feeds_session_connected) == 2

    venue.cut()
    feed.wait(look, "the next connection")
    assert (int(Flag.RESYNC), 400_000_000) in held
    assert {flags for flags, _ in held} <= {0, int(Flag.RESYNC)}
    assert venue.refused_count == 0


GARBAGE = (
    '{"event_type":"price_change","price_changes":[',
    json.dumps({"event_type": "book", "market": MARKET, "bids": 7}),
    json.dumps({"market": MARKET, "event_type": "price_change", "timestamp": "9999999999999",
                "price_changes": [change(YES, "BUY", "NaN", "1", ("0.4", "0.5"))]}),
    json.dumps({"market": MARKET, "event_type": "price_change", "timestamp": "9999999999999",
                "price_changes": [change(YES, "BUY", "0.4", "-1", ("0.4", "0.5"))]}),
    json.dumps({"market": MARKET, "event_type": "price_change", "timestamp": "9999999999999",
                "price_changes": [change(YES, "BUY", "0.4", "9" * 30, ("0.4", "0.5"))]}),
    "[1, 2]",
    "null",
    "x" * 5_000_000,
)  # fmt: skip


def test_garbage_is_counted_by_cause_and_the_connection_lives(start, venue):
    feed = start(quiet_s=3600.0)
    venue.say(*GARBAGE)
    venue.say(b"\x00\x01", b"")
    venue.say(b'{"event_type":"\xff"}', is_text=True)
    venue.say("[]", json.dumps({"event_type": "comet"}), json.dumps({"surprise": 1}))
    feed.wait(lambda: feed.count(Counter.feeds_events_unknown) == 2, "the last of it")
    causes = {
        Counter.feeds_frames_rejected: 11, Counter.feeds_frames_malformed: 2,
        Counter.feeds_frames_mistyped: 3, Counter.feeds_frames_out_of_range: 3,
        Counter.feeds_frames_binary: 3,
    }  # fmt: skip
    assert {counter: feed.count(counter) for counter in causes} == causes
    feed.wait(lambda: "subscribe" in venue.heard, "a whole book to be asked for")
    feed.wait_live()
    newest = venue.number
    feed.wait(lambda: feed.number > newest, "new sizes")
    assert venue.joined_count == 1
    assert feed.count(Counter.feeds_books_requested) >= 1


def test_a_doubted_book_stays_suspect_until_its_whole_book_comes(start, venue):
    feed = start()
    seen = []
    venue.say("{")

    def look():
        found = feed.top()
        seen.append(int(found.flags))
        return found.flags == 0 and int(Flag.SUSPECT) in seen

    feed.wait(look, "a whole book")
    assert set(seen) <= {0, int(Flag.SUSPECT)}


def test_a_frame_over_16_mib_costs_a_reconnect(start, venue):
    feed = start()
    venue.say("x" * ((16 << 20) + 1))
    feed.wait(lambda: feed.count(Counter.feeds_frames_oversize) == 1, "the refusal")
    feed.wait(lambda: feed.count(Counter.feeds_session_connected) == 2, "the next connection")
    feed.wait_live()


def test_a_batch_that_does_not_agree_is_suspect_until_it_does(start, venue):
    feed = start()
    venue.do(lambda: setattr(venue, "is_sending", False))
    newest = venue.number
    feed.wait(lambda: feed.number == newest, "all that was sent")
    crossing = ("0", "0.38")
    venue.say(
        venue.changes(
            change(YES, "SELL", "0.38", "9", crossing),
            change(NO, "BUY", "0.62", "9", ("0.62", "1")),
        )
    )
    feed.wait(lambda: feed.flags == Flag.SUSPECT | Flag.CROSSED, "SUSPECT")
    assert feed.top().proof in (Proof.BEST_PRICES, Proof.SNAPSHOT)
    venue.say(
        venue.changes(
            change(YES, "BUY", "0.4", "0", crossing), change(NO, "SELL", "0.6", "0", ("0.62", "1"))
        )
    )
    feed.wait(lambda: not feed.flags & Flag.SUSPECT, "agreement")
    assert feed.count(Counter.feeds_batches_held) >= 1
    assert feed.count(Counter.feeds_batches_suspect) >= 1


def test_arrays_of_changes_are_taken(start, venue):
    feed = start()
    venue.do(lambda: setattr(venue, "is_sending", False))
    one = venue.changes(
        change(YES, "BUY", "0.45", "7", ("0.45", "0.5")),
        change(NO, "SELL", "0.55", "7", ("0.5", "0.55")),
    )
    venue.say(f"[{one}]")
    feed.wait(lambda: feed.top().yes_bid_px_e9 == 450_000_000, "the array")


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
    assert trusted[0].yes_bid_qty_e9 // E9 >= newest
    assert all(found.flags == Flag.RESYNC for found in doubted)
    assert feed.count(Counter.feeds_loop_stalled) >= 1
    assert feed.count(Counter.feeds_session_connected) == 1
    assert "PING" in venue.heard


def test_a_killed_feed_is_seen_dead_and_its_successor_keeps_the_slot(start, venue):
    feed = start()
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
    assert found.yes_bid_qty_e9 > held.yes_bid_qty_e9


def test_a_venue_that_is_not_there_yet_is_waited_for(tmp_path):
    namespace = f"pm-late-{os.getpid()}"
    with Venue() as first:
        port = first.port
    feed = Feed(namespace, port, tmp_path).start()
    try:
        feed.attach()
        feed.wait(lambda: feed.count(Counter.feeds_lookup_failed) >= 1, "a failed look-up")
        feed.wait(lambda: feed.count(Counter.feeds_session_refused) >= 1, "a refused connection")
        assert feed.process.poll() is None
    finally:
        feed.process.kill()
        feed.process.wait(10)
        for path in (segment_path(namespace, ROLE), segment_path(namespace, ROLE) + ".lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
