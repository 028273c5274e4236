"""One WebSocket client of the simulated venue, its bounded queue, and what is counted.

Frames come encoded and are written as they are. The queue of a client is its transport's
buffer. The invariant: that queue is bounded. A client that does not read is disconnected when it
is full, as the venues do, and counted; it never makes another one wait.

It knows no venue: what is sent to whom is the channels' business.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from typing import cast

from aiohttp import web

from sim.wire import encode

QUEUE_BYTES_MAX = 16 << 20
"""Bytes a client may leave unread before it is disconnected."""

_CLOSE_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Tally:
    """What the simulated venue counts of itself; the server copies it into the segment."""

    clients_connected: int = 0
    clients_dropped: int = 0
    clients_refused: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_withheld: int = 0
    stalls_seen: int = 0

    def as_dict(self) -> dict[str, int]:
        """Give every count by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Client:
    """One connection; made by the handler that accepted it, and used from its event loop only."""

    __slots__ = ("_limit", "_queue_bytes_max", "_tally", "_transport", "ws")

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        tally: Tally,
        *,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        self.ws = ws
        self._transport = transport
        self._tally = tally
        self._queue_bytes_max = queue_bytes_max
        self._limit = queue_bytes_max

    @classmethod
    async def accept(
        cls, request: web.Request, tally: Tally, *, queue_bytes_max: int = QUEUE_BYTES_MAX
    ) -> Client:
        """Shake hands. Raises HTTPBadRequest when the request is no WebSocket's."""
        ws = web.WebSocketResponse(
            # Neither compression nor automatic pongs: frames are written past this object, and
            # what a ping means is the channel's business.
            compress=False,
            autoping=False,
            timeout=_CLOSE_TIMEOUT_S,
            max_msg_size=1 << 20,
        )
        await ws.prepare(request)
        transport = cast(asyncio.Transport, request.transport)
        tally.clients_connected += 1
        return cls(ws, transport, tally, queue_bytes_max=queue_bytes_max)

    @property
    def is_open(self) -> bool:
        """Whether anything written now may still arrive."""
        return not (self.ws.closed or self._transport.is_closing())

    @property
    def pending_bytes(self) -> int:
        """Bytes written and not yet taken by the kernel."""
        return self._transport.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        """Write one encoded frame, or disconnect the client when its queue is full."""
        if not self.is_open:
            return
        if self._transport.get_write_buffer_size() > self._limit:
            self._tally.clients_dropped += 1
            self._transport.abort()
            return
        size = len(frame)
        if size > self._queue_bytes_max >> 2:
            # A giant frame (an injected fault) is no sign that its receiver is slow.
            self._limit = self._queue_bytes_max + size
        self._tally.frames_sent += 1
        self._tally.bytes_sent += size
        self._transport.write(frame)

    def send_text(self, text: str) -> None:
        """Write one text message of this client alone."""
        self.send(encode(text.encode()))

    def abort(self) -> None:
        """End the connection without a word, as a broken link does."""
        self._transport.abort()

    async def close(self, code: int, reason: str = "") -> None:
        """Close with a code; waits a moment for the client's answer, then does without."""
        try:
            async with asyncio.timeout(2 * _CLOSE_TIMEOUT_S):
                # Not drained: a client that does not read would keep us here.
                await self.ws.close(code=code, message=reason.encode(), drain=False)
        except TimeoutError:
            self._transport.abort()
