"""What the WebSocket endpoints of the simulated venue have in common.

A `Channel` accepts clients, reads their messages, passes market data through the injected faults
and fans it out. Its subclasses are the venues' protocols: they know who wants what
(`polymarket_ws`, `binance_ws`, `polybolt`). The invariant: market data goes through `emit`, where
faults apply, and answers to a client's own requests through `Client.send_text`, where none does.

It makes no market data: the server's pump hands it frames.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from sim.client import QUEUE_BYTES_MAX, Client, Tally
from sim.faults import Faults, Verdict
from sim.frames import SimFrame
from sim.garbage import Garbage
from sim.wire import PING, PONG, encode

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PingPolicy:
    """How often a server pings, and how long it waits for the pong; 0 never."""

    interval_ns: int = 0
    timeout_ns: int = 0


@dataclass(slots=True)
class Heart:
    """The pings of one client that are not answered yet, oldest first."""

    pinged_ns: int
    open_pings: deque[tuple[bytes, int]] = field(default_factory=deque)

    def answered(self, payload: bytes) -> None:
        """Take a pong: it must copy a ping's payload, and settles that ping and older ones."""
        if any(payload == ping for ping, _ in self.open_pings):
            while self.open_pings.popleft()[0] != payload:
                pass


class Channel:
    """One WebSocket endpoint with its clients; belongs to one event loop."""

    name = "channel"
    pings = PingPolicy()
    pong_reason = "Pong timeout"

    def __init__(self, tally: Tally, *, queue_bytes_max: int = QUEUE_BYTES_MAX) -> None:
        self.tally = tally
        self.faults: Faults[Client] = Faults()
        self.sample = b"{}"
        """The last frame of market data: garbage is made of it."""
        self._clients: dict[Client, Heart] = {}
        self._queue_bytes_max = queue_bytes_max

    # --- what a subclass is -------------------------------------------------------------------

    async def on_message(self, client: Client, text: str, now_ns: int) -> None:
        """Take one text message of a client."""
        raise NotImplementedError

    def on_joined(self, client: Client, request: web.Request, now_ns: int) -> None:
        """Take a client that has shaken hands."""

    def on_left(self, client: Client) -> None:
        """Forget a client."""

    async def on_control(self, client: Client, now_ns: int) -> bool:
        """Hear of any message or control frame; False closes, the subclass having said so."""
        return True

    def publish(self, frame: SimFrame) -> None:
        """Send one frame of market data to whoever wants it."""
        raise NotImplementedError

    def inject(self, garbage: Garbage) -> None:
        """Send garbage to every subscribed client."""
        raise NotImplementedError

    def has_subscriptions(self) -> bool:
        """Whether any client waits for market data."""
        raise NotImplementedError

    # --- what all share -----------------------------------------------------------------------

    @property
    def clients(self) -> tuple[Client, ...]:
        """The clients of now."""
        return tuple(self._clients)

    def backlog_bytes(self) -> int:
        """Bytes the slowest client has not taken yet."""
        return max((client.pending_bytes for client in self._clients if client.is_open), default=0)

    def emit(self, targets: Sequence[Client], frame: bytes) -> None:
        """Write an encoded frame of market data to `targets`, unless a fault says otherwise."""
        if self.faults.is_active:
            verdict = self.faults.judge(targets, frame)
            if verdict is Verdict.LOSE:
                self.tally.frames_withheld += 1
            if verdict in (Verdict.LOSE, Verdict.HOLD):
                return
            if verdict is Verdict.TWICE:
                for client in targets:
                    client.send(frame)
        for client in targets:
            client.send(frame)

    def answer(self, client: Client, text: str) -> None:
        """Answer a client's own request; a mute channel answers nothing."""
        if not self.faults.is_mute:
            client.send_text(text)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection from handshake to end."""
        status = self.faults.refusal(time.monotonic_ns())
        if status is not None:
            self.tally.clients_refused += 1
            if not status and request.transport is not None:
                request.transport.abort()
            return web.Response(status=status or 503, text="refused\n")
        try:
            client = await Client.accept(request, self.tally, queue_bytes_max=self._queue_bytes_max)
        except ConnectionError:  # It left in the middle of the handshake.
            self.tally.clients_refused += 1
            return web.Response(status=400)
        now_ns = time.monotonic_ns()
        self._clients[client] = Heart(now_ns)
        self.on_joined(client, request, now_ns)
        try:
            await self._read(client)
        finally:
            self._clients.pop(client, None)
            self.on_left(client)
        return client.ws

    async def _read(self, client: Client) -> None:
        """Take messages until the connection ends, by whichever side."""
        while client.is_open:
            message = await client.ws.receive()
            now_ns = time.monotonic_ns()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                return
            if message.type is WSMsgType.ERROR or not await self.on_control(client, now_ns):
                return
            if message.type is WSMsgType.PING:
                if not self.faults.is_mute:
                    client.send(encode(bytes(message.data), PONG))
            elif message.type is WSMsgType.PONG:
                self._clients[client].answered(bytes(message.data))
            elif message.type is WSMsgType.TEXT:
                await self.on_message(client, message.data, now_ns)
            elif message.type is WSMsgType.BINARY:
                await self.on_message(client, message.data.decode(errors="replace"), now_ns)

    def flush(self, now_ns: int) -> None:
        """Send what was held back and is due; called with every turn of the pump."""
        if not self.faults.is_active:
            return
        held, lost = self.faults.due(now_ns)
        self.tally.frames_withheld += lost
        for targets, frame in held:
            for client in targets:
                client.send(frame)

    async def keep_alive(self, now_ns: int) -> None:
        """Ping who is due and close who did not answer; called about once a second."""
        if not self.pings.interval_ns:
            return
        late: list[Client] = []
        for client, heart in self._clients.items():
            if heart.open_pings and now_ns - heart.open_pings[0][1] > self.pings.timeout_ns:
                self.tally.clients_dropped += 1
                heart.open_pings.clear()
                late.append(client)
            elif now_ns - heart.pinged_ns >= self.pings.interval_ns and not self.faults.is_mute:
                payload = str(time.time_ns() // 1_000_000).encode()
                heart.pinged_ns = now_ns
                heart.open_pings.append((payload, now_ns))
                client.send(encode(payload, PING))
        await asyncio.gather(*(client.close(1008, self.pong_reason) for client in late))

    async def drop(self, code: int = 0, reason: str = "") -> int:
        """End every connection, with a close code or (0) without a word; return how many."""
        clients = self.clients
        if code:
            await asyncio.gather(*(client.close(code, reason) for client in clients))
        else:
            for client in clients:
                client.abort()
        return len(clients)
