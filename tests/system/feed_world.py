"""What the suites of the two feeds share: a venue in a thread, and the feed's process beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.protocol import State

from cache.board import BoardReader, Miss, Snapshot
from cache.counters import Counter
from cache.errors import SegmentError
from cache.layout import E9, Flag
from cache.liveness import Liveness
from cache.segment import ReaderSegment
from tests.shm import own_namespace

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0


class ServedVenue:
    """One WebSocket server in a thread; what it says is a suite's own business.

    While `is_sending` it takes a `step` every `interval_s`, on its own thread.
    """

    def __init__(self, *, interval_s: float = 0.02) -> None:
        self.number = 1_000
        self.is_sending = True
        self.clients: dict[ServerConnection, set[str]] = {}
        """Who is served, and what each asked for."""
        self.joined_count = 0
        self.port = 0
        self._interval_s = interval_s
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> ServedVenue:
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
            self.serve_client, "127.0.0.1", 0, compression=None, close_timeout=0.2,
            process_request=self.answer,
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

    # --- what a suite says; on the server's thread -----------------------------------------------

    def answer(self, client: ServerConnection, request: Request) -> Response | None:
        """Answer a plain request; None goes on to the handshake."""
        return None

    async def serve_client(self, client: ServerConnection) -> None:
        raise NotImplementedError

    def step(self) -> None:
        raise NotImplementedError

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

        def send() -> None:
            for frame in frames:
                for client in list(self.clients):
                    self.write(client, frame, is_text=is_text)

        self.do(send)


class FeedProcess:
    """A feed as a process, and a reader of its segment. A suite names what there is to read."""

    venue: ClassVar[str]
    board_name: ClassVar[str]
    tag: ClassVar[int]

    def __init__(self, namespace: str, directory: Path, urls: dict[str, str], **settings: object):
        self.namespace = namespace
        self.role = f"feed.{self.venue}.0"
        lines = [f'[host]\nnamespace = "{namespace}"', f"[venues.{self.venue}]"]
        lines += [f"{name} = {json.dumps(url)}" for name, url in urls.items()]
        lines += [f"[feeds.{self.venue}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        self.config = directory / "feed.toml"
        self.config.write_text("\n".join(lines))
        self.log = directory / "feed.log"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.reader: ReaderSegment
        self.board: BoardReader

    def start(self) -> FeedProcess:
        words = [sys.executable, "-m", "feeds", self.venue, "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.processes.append(subprocess.Popen(words, cwd=ROOT, stderr=log, stdout=log))
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.processes[-1]

    def attach(self) -> ReaderSegment:
        self.wait(self._try_attach, "a segment")
        return self.reader

    def _try_attach(self) -> bool:
        with contextlib.suppress(SegmentError):
            self.reader = ReaderSegment.attach(self.role, namespace=self.namespace)
            self.board = self.reader.board(self.board_name)
            return True
        return False

    def wait(
        self, condition: Callable[[], object], what: str = "", *, patience_s: float = PATIENCE_S
    ) -> None:
        end = time.monotonic() + patience_s
        while not condition():
            assert self.process.poll() is None, f"the feed ended:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"{what} never came:\n{self.log.read_text()}"
            time.sleep(0.002)

    def top(self) -> Snapshot | Miss:
        return self.board.read(0, self.tag)

    @property
    def flags(self) -> Flag | None:
        found = self.top()
        return None if isinstance(found, Miss) else Flag(found.flags)

    def is_live(self) -> bool:
        found = self.top()
        return (
            not isinstance(found, Miss)
            and found.incarnation == self.reader.incarnation
            and found.flags == 0
        )

    def wait_live(self) -> None:
        self.wait(self.is_live, "a top to be trusted")

    def count(self, counter: Counter) -> int:
        return self.reader.counters[counter]


@contextlib.contextmanager
def feed_starter(make: Callable[..., FeedProcess]) -> Iterator[Callable[..., FeedProcess]]:
    """Give what starts a feed, made by `make(namespace, **settings)`, and waits until it is live.

    In the end no process of it is left, and nothing in shared memory.
    """
    feeds: list[FeedProcess] = []
    with own_namespace() as namespace:

        def begin(**settings: object) -> FeedProcess:
            feeds.append(make(namespace, **settings).start())
            feeds[0].attach()
            feeds[0].wait_live()
            return feeds[0]

        try:
            yield begin
        finally:
            for feed in feeds:
                for process in feed.processes:
                    process.kill()
                    process.wait(10)


def stop_for_a_second(
    feed: FeedProcess, venue: ServedVenue
) -> tuple[Snapshot, list[Snapshot], int]:
    """Stop the feed while the venue goes on.

    Give the first top it trusts afterwards, those it doubted before, and the number that the venue
    had reached by the end of the stop.
    """
    feed.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    venue.do(lambda: None)
    newest, before = venue.number, feed.top()
    assert not isinstance(before, Miss)
    feed.process.send_signal(signal.SIGCONT)
    trusted: list[Snapshot] = []
    doubted: list[Snapshot] = []

    def look() -> bool:
        found = feed.top()
        if not isinstance(found, Miss) and found.version > before.version:
            (doubted if found.flags else trusted).append(found)
        return bool(trusted)

    feed.wait(look, "a trusted top")
    assert feed.count(Counter.feeds_loop_stalled) >= 1
    assert feed.count(Counter.feeds_session_connected) == 1
    return trusted[0], doubted, newest


def kill_and_start_again(feed: FeedProcess) -> tuple[Snapshot, Snapshot]:
    """Kill a feed, see it dead, start its successor; the tops before and after."""
    feed.process.kill()
    feed.process.wait(10)
    assert feed.reader.liveness(time.monotonic_ns() + E9) == Liveness.WRITER_DEAD
    held = feed.top()
    assert not isinstance(held, Miss)
    assert held.flags == 0, "the last whole record stays readable"
    feed.start()
    feed.wait(lambda: feed.reader.incarnation == 2, "the next incarnation")
    feed.wait_live()
    found = feed.top()
    assert not isinstance(found, Miss)
    assert (found.incarnation, found.generation) == (2, 0)
    assert found.version > held.version
    return held, found
