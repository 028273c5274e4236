"""A session and a venue that serves it badly, over real sockets."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from websockets.asyncio.server import ServerConnection, serve

from cache.segment import WriterSegment
from feeds.session import Keepalive, Send, Session

SPAN_S = 4.0


class Handler:
    """Takes everything for data."""

    def on_connected(self, send: Send) -> bool:
        send("subscribe")
        return True

    def on_frame(self, data: bytes | bytearray, recv_ns: int) -> bool:
        return True

    def on_rejected(self, recv_ns: int) -> None: ...

    def on_burst(self) -> None: ...

    def on_stalled(self) -> None: ...

    def on_caught_up(self) -> None: ...

    def on_disconnected(self, reason: str) -> None: ...


def test_a_venue_that_cuts_after_each_first_frame_is_dialled_ever_more_rarely(
    namespace: str,
) -> None:
    dials: list[float] = []

    async def cut(connection: ServerConnection) -> None:
        dials.append(asyncio.get_running_loop().time())
        await connection.recv()
        await connection.send("data")
        connection.transport.abort()

    async def play() -> None:
        segment = WriterSegment.create("feed", (), namespace=namespace)
        async with serve(cut, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            keepalive = Keepalive(lambda number: "PING")
            session = Session(f"ws://127.0.0.1:{port}/", Handler(), keepalive, segment.counters)
            session._is_local = False  # as it dials a venue elsewhere
            running = asyncio.create_task(session.run())
            await asyncio.sleep(SPAN_S)
            session.stop()
            await running
        segment.close(remove=True)

    asyncio.run(play())
    gaps = [later - earlier for earlier, later in pairwise(dials)]
    assert 3 <= len(dials) <= 6, gaps
    assert gaps[-1] > gaps[0]
