"""One WebSocket session with a venue: connect, keep alive, watch, reconnect.

A `Session` drives a socket and knows no venue. Frames go to a `Handler` straight from the read of
the socket, in order and without a queue, so what is behind is behind in the kernel and the venue
feels it. Everything venue-specific is the handler (what to subscribe, what a frame means) and a
`Keepalive` (what to send so that an answer proves the link).

The invariant: a handler is told `on_stalled` before it is given any frame that may have waited for
more than 250 ms in this process, and `on_caught_up` only once an answer arrived that was *read in
order behind* all of them. (A WebSocket pong would overtake unread frames and proves nothing.)

It publishes nothing and judges no book. A handler that raises ends `run` with its exception: a
fault of ours is a crash and a restart, never a reconnect.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import InvalidURI, WebSocketException
from websockets.frames import CloseCode

from cache.counters import Counter, CounterWriter
from feeds.connection import FRAME_BYTES_MAX, Connection, bind
from feeds.dialing import BACKOFF_LOCAL_S, BACKOFF_MAX_S, backoff_s, quota_of
from host.clock import SuspendWatch
from host.idle import until_next
from host.log import get_log

STALL_NS = 250_000_000
TICK_MS = 100
CLOSE_S = 1.0
FLOW_NS = 5_000_000_000
"""A connection that lived so long since its first data was a good one: the delay begins anew."""

Send = Callable[[str], None]
"""Writes one text message now; it is dropped when the connection is closing."""

log = get_log("feeds")


class Handler(Protocol):
    """What a feed does with its session. All calls come from the event loop's thread."""

    def on_connected(self, send: Send) -> bool:
        """Subscribe; return whether anything was sent: only then may the keepalive begin."""

    def on_frame(self, data: bytes | bytearray, recv_ns: int) -> bool:
        """Take one whole text frame, as bytes; return whether it was data that we asked for."""

    def on_rejected(self, recv_ns: int) -> None:
        """Hear that a binary frame was thrown away, and counted: state may be lost."""

    def on_burst(self) -> None:
        """Ring: every frame of one read of the socket has been given."""

    def on_stalled(self) -> None:
        """Call everything RESYNC: the process stood still, a backlog follows."""

    def on_caught_up(self) -> None:
        """Take RESYNC back: the backlog has been read."""

    def on_disconnected(self, reason: str) -> None:
        """Call everything RESYNC; `on_connected` comes again."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """What is sent to prove the link, how often, and when its answer is overdue.

    `message(n)` is the n-th of a connection, n from 1. The handler recognises the answer and calls
    `Session.answered`, with n where the venue repeats it. Pings of the protocol prove no order: the
    venue's are answered by the library, ours only show that the link lives.
    """

    message: Callable[[int], str]
    interval_s: float = 10.0
    stale_s: float = 30.0
    silence_s: float = 0.0
    """Without any frame this long the connection is made anew; 0 where silence is no fault."""
    ping_s: float = 0.0
    """Without any frame this long a ping of the protocol is sent, its pong to be read, and another
    one whether it came or not; 0 never."""


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Session:
    """Keeps one connection to `url` for as long as `run` runs."""

    def __init__(
        self,
        url: str,
        handler: Handler,
        keepalive: Keepalive,
        counters: CounterWriter,
        *,
        name: str = "",
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self.rtt_ns = 0
        """Round trip of the last answered keepalive message; 0 before any."""
        self._handler = handler
        self._keepalive = keepalive
        self._counters = counters
        self._name = name or url
        self._jitter = jitter
        self._is_local = _is_loopback(url)
        self._quota = quota_of(urlsplit(url).hostname or "")
        self._connection: Connection | None = None
        self._stopping = asyncio.Event()
        self._reason = ""
        self._fault: BaseException | None = None
        self._turn_ns = 0
        self._suspends = SuspendWatch()
        self._reset()

    def _reset(self) -> None:
        self._armed = False
        self._flow_ns = 0
        """When the first data of the connection came; 0 before."""
        self._sent: deque[tuple[int, int]] = deque()  # (number, sent_ns), unanswered
        self._number = 0
        self._next_ping_ns = 0
        self._probe = 0
        self._frame_count = 0
        self.read_ns = 0
        """When the socket was read last."""
        self._frame_ns = 0
        """When a frame was read last; a pong is none."""
        self._pinged_ns = 0
        self._closing_ns = 0

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @property
    def is_behind(self) -> bool:
        """Whether frames may be older than they look: a stall not yet caught up."""
        return self._probe > 0

    def send(self, text: str) -> None:
        """Write one text message now; without a connection it is dropped."""
        if self._connection is not None:
            broadcast([self._connection], text)

    def arm_keepalive(self) -> None:
        """Let the keepalive begin: something was subscribed after `on_connected`."""
        if not self._armed:
            self._armed = True
            self._pinged_ns = time.monotonic_ns()
            self._next_ping_ns = self._pinged_ns + int(self._keepalive.interval_s * 1e9)

    def answered(self, number: int | None = None) -> None:
        """Note the answer to keepalive message `number` (None: the oldest unanswered one)."""
        if not self._sent:
            return  # unsolicited: proves nothing
        now_ns = time.monotonic_ns()
        last = self._sent[0][0] if number is None else number
        while self._sent and self._sent[0][0] <= last:
            self.rtt_ns = now_ns - self._sent.popleft()[1]
        if self._probe and last >= self._probe:
            self._probe = 0
            self._handler.on_caught_up()

    def reconnect(self, reason: str) -> None:
        """Drop the connection and make a new one."""
        if self._connection is not None:
            self._reason = reason
            self._connection.transport.abort()

    def stop(self) -> None:
        """Make `run` close the connection and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Connect and reconnect until `stop`; raise only what a handler raised."""
        loop = asyncio.get_running_loop()
        self._turn_ns = time.monotonic_ns()
        ticker = loop.create_task(self._tick_forever())
        attempt = 0
        try:
            while not self._stopping.is_set():
                if not self._is_local:
                    await self._wait_turn()
                    if self._stopping.is_set():
                        return
                await self._run_once()
                if self._fault is not None:
                    raise self._fault
                has_flowed = self._flow_ns and time.monotonic_ns() - self._flow_ns >= FLOW_NS
                attempt = 0 if has_flowed else attempt + 1
                longest_s = BACKOFF_LOCAL_S if self._is_local else BACKOFF_MAX_S
                await self._wait(backoff_s(attempt, self._jitter(), longest_s=longest_s))
        finally:
            ticker.cancel()
            if self._connection is not None:
                self._connection.transport.abort()

    async def _wait(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _wait_turn(self) -> None:
        """Wait until the host's quota has a turn for this dial: at once, as a rule."""
        now_ns = time.monotonic_ns()
        wait_ns = self._quota.take(now_ns) - now_ns
        if wait_ns > 0:
            self._counters.add(Counter.feeds_session_delayed)
            log.warning("session_delayed", session=self._name, s=wait_ns / 1e9)
            await self._wait(wait_ns / 1e9)

    async def _run_once(self) -> None:
        self._reset()
        self._reason = ""
        began_ns = time.monotonic_ns()
        try:
            connection = await connect(
                self.url,
                compression=None,
                proxy=None if self._is_local else True,
                ping_interval=None,
                close_timeout=CLOSE_S,
                max_size=FRAME_BYTES_MAX,
                max_queue=None,
                create_connection=bind(self),
            )
        except InvalidURI:
            raise
        except (OSError, TimeoutError, WebSocketException) as fault:
            self._counters.add(Counter.feeds_session_refused)
            log.warning("session_refused", session=self._name, url=self.url, cause=str(fault))
            self._closed(f"refused: {fault}")
            return
        log.info(
            "session_connected",
            session=self._name,
            ms=(time.monotonic_ns() - began_ns) // 1_000_000,
        )
        await self._until_closed(connection)

    async def _until_closed(self, connection: ClientConnection) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        closed = asyncio.ensure_future(connection.wait_closed())
        try:
            await asyncio.wait((stopping, closed), return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():
                await connection.close(CloseCode.GOING_AWAY)
        finally:
            stopping.cancel()
            closed.cancel()
            connection.transport.abort()
        reason = self._reason or str(connection.protocol.close_exc)
        sent = connection.protocol.close_sent
        if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG:
            self._counters.add(Counter.feeds_frames_rejected)
            self._counters.add(Counter.feeds_frames_oversize)
        log.info("session_disconnected", session=self._name, reason=reason)
        self._closed(reason)

    def _closed(self, reason: str) -> None:
        if self._connection is None:
            return
        self._connection = None
        self._probe = 0
        self._counters.add(Counter.feeds_session_disconnected)
        self._handler.on_disconnected(reason)

    async def _tick_forever(self) -> None:
        while True:
            await until_next(TICK_MS)
            self._tick(time.monotonic_ns())

    def _tick(self, now_ns: int) -> None:
        if self._suspends.poll() or now_ns - self._turn_ns > STALL_NS:
            self._stalled(now_ns)
        self._turn_ns = now_ns
        connection = self._connection
        if connection is None:
            return
        if connection.protocol.close_expected():
            # Nobody else ends a connection whose peer does not close: it may go on sending.
            self._closing_ns = self._closing_ns or now_ns
            if now_ns - self._closing_ns > CLOSE_S * 1e9:
                connection.transport.abort()
            return
        policy = self._keepalive
        if self._armed and now_ns >= self._next_ping_ns:
            self._ping(now_ns)
        quiet_ns = now_ns - max(self._frame_ns, self._pinged_ns)
        if policy.ping_s and self._armed and quiet_ns >= policy.ping_s * 1e9:
            self._pinged_ns = now_ns
            connection.send_ping()
        if self._sent and now_ns - self._sent[0][1] > policy.stale_s * 1e9:
            self._silent("no answer to the keepalive message")
        elif policy.silence_s and now_ns - self.read_ns > policy.silence_s * 1e9:
            self._silent("no frame")

    def _silent(self, reason: str) -> None:
        if not self._reason:  # else it is being dropped already
            self._counters.add(Counter.feeds_session_silent)
            self.reconnect(reason)

    def _ping(self, now_ns: int) -> None:
        self._number += 1
        self._sent.append((self._number, now_ns))
        self._next_ping_ns = now_ns + int(self._keepalive.interval_s * 1e9)
        self.send(self._keepalive.message(self._number))

    def _stalled(self, now_ns: int) -> None:
        self._turn_ns = now_ns
        if self._connection is None or not self._armed:
            return
        self._counters.add(Counter.feeds_loop_stalled)
        self._ping(now_ns)
        self._probe = self._number
        self._handler.on_stalled()

    # --- connection.Taker -----------------------------------------------------------------------

    def on_opened(self, connection: Connection) -> None:
        self._connection = connection
        self._counters.add(Counter.feeds_session_connected)
        if self._handler.on_connected(self.send):
            self.arm_keepalive()

    def on_read(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._turn_ns > STALL_NS:
            self._stalled(now_ns)
        self.read_ns = now_ns

    def on_text(self, data: bytes | bytearray) -> None:
        self._frame_count += 1
        if self._handler.on_frame(data, self.read_ns) and not self._flow_ns:
            self._flow_ns = self.read_ns

    def on_binary(self) -> None:
        self._frame_count += 1
        self._counters.add(Counter.feeds_frames_rejected)
        self._counters.add(Counter.feeds_frames_binary)
        self._handler.on_rejected(self.read_ns)

    def on_read_end(self, byte_count: int) -> None:
        if self._frame_count:
            self._counters.add(Counter.feeds_frames_received, self._frame_count)
            self._frame_count = 0
            self._frame_ns = self.read_ns
            self._handler.on_burst()
        self._counters.add(Counter.feeds_bytes_received, byte_count)

    def on_fault(self, fault: BaseException) -> None:
        self._fault = fault
