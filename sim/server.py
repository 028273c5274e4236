"""The simulated venue: one port of a loopback address, where HTTP and WebSockets are served.

The pump asks the source every few milliseconds for the frames that are due and hands each to the
channel it belongs to, which fans it out. A replay without a pace is drained instead: each venue as
fast as the slowest of its clients reads. The invariant: one event loop, so that what REST says,
what a first book says and what was sent are of one moment.

A venue that stood still (stopped, or the host slept) does not pass its backlog off as live: it
ends all connections, and who comes back finds the books of now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from sim.binance_rest import BinanceRest
from sim.binance_ws import BinanceChannel
from sim.channel import NS, Channel
from sim.client import QUEUE_BYTES_MAX, Tally
from sim.control import Control
from sim.faults import Faults
from sim.frames import BOLT_TWAP, PM_MARKET, SimFrame
from sim.polybolt import PolyBoltChannel
from sim.polymarket_rest import PolymarketRest
from sim.polymarket_ws import PolymarketChannel
from sim.pricer import Pricer
from sim.replay import ReplaySource
from sim.source import Json, Source

PUMP_S = 0.002
STALL_NS = 2 * NS
DRAIN_BYTES = 256 << 10
"""Unread bytes of its slowest client at which a drained replay waits."""
DRAIN_BATCH = 64
_KEEP_ALIVE_NS = NS // 4
_REST_PATHS = ("/polymarket/gamma/", "/polymarket/clob/", "/binance/api/", "/pricer/")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve; what is served is the source's business."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 lets the system choose: see `SimServer.port`."""
    queue_bytes_max: int = QUEUE_BYTES_MAX
    connection_age_s_max: float = 0.0
    """Binance connections are announced their end at this age; 0 never."""
    shutdown_s: float = 10.0
    """From that announcement to the end."""


class SimServer:
    """The venue's server; `start`, then `run` until cancelled, then `close`."""

    def __init__(
        self,
        source: Source,
        options: ServerOptions | None = None,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.options = options or ServerOptions()
        self.source = source
        self.tally = Tally()
        self.port = 0
        self._wall_ns = wall_ns
        limit = self.options.queue_bytes_max
        self.polymarket = PolymarketChannel(self.tally, source.book, queue_bytes_max=limit)
        self.binance = BinanceChannel(
            self.tally,
            age_ns_max=int(self.options.connection_age_s_max * NS),
            shutdown_ns=int(self.options.shutdown_s * NS),
            queue_bytes_max=limit,
        )
        self.polybolt = PolyBoltChannel(self.tally, source.twap_points, queue_bytes_max=limit)
        self._channels: tuple[Channel, ...] = (self.polymarket, self.binance, self.polybolt)
        self._rest_faults: Faults[object] = Faults()
        self._runner: web.AppRunner | None = None

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/polymarket/ws/market", self.polymarket.handle)
        app.router.add_get("/polymarket/polybolt", self.polybolt.handle)
        app.router.add_get("/binance/stream", self.binance.handle)
        app.router.add_get("/binance/ws", self.binance.handle)
        app.router.add_get("/binance/ws/{streams:.*}", self.binance.handle)
        PolymarketRest(self.source, self._wall_ns).add_routes(app)
        BinanceRest(self.source).add_routes(app)
        Pricer(self.source, self._wall_ns).add_routes(app)
        by_name = {channel.name: channel for channel in self._channels}
        Control(by_name, self._rest_faults, self.describe).add_routes(app)
        return app

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Let the injected faults of REST refuse a request."""
        status = None
        if request.path.startswith(_REST_PATHS):
            status = self._rest_faults.refusal(time.monotonic_ns())
        if status is None:
            return await handler(request)
        self.tally.clients_refused += 1
        if not status and request.transport is not None:
            request.transport.abort()
        return web.Response(status=status or 503, text="refused\n")

    async def start(self) -> None:
        """Begin the venue's data and listen. Raises OSError when the port is taken."""
        self.source.start(self._wall_ns())
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """End all connections and stop listening."""
        for channel in self._channels:
            await channel.drop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def run(self) -> None:
        """Pump until cancelled."""
        tasks = [self._pump(), self._keep_alive()]
        source = self.source
        if isinstance(source, ReplaySource) and not source.is_paced:
            tasks.extend(self._drain(source, venue) for venue in source.tapes)
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)

    async def _pump(self) -> None:
        last_ns, last_wall_ns = time.monotonic_ns(), self._wall_ns()
        while True:
            now_ns, wall_ns = time.monotonic_ns(), self._wall_ns()
            frames = self.source.due(wall_ns)
            # The wall clock too: the monotonic one stands still while the host sleeps.
            if max(now_ns - last_ns, wall_ns - last_wall_ns) > STALL_NS:
                await self._on_stalled()
            else:
                for frame in frames:
                    self._channel_of(frame).publish(frame)
            for channel in self._channels:
                channel.flush(now_ns)
            last_ns, last_wall_ns = now_ns, wall_ns
            await asyncio.sleep(PUMP_S)

    def _channel_of(self, frame: SimFrame) -> Channel:
        if frame.channel == PM_MARKET:
            return self.polymarket
        return self.polybolt if frame.channel == BOLT_TWAP else self.binance

    async def _on_stalled(self) -> None:
        self.tally.stalls_seen += 1
        for channel in self._channels:
            await channel.drop()

    async def _drain(self, source: ReplaySource, venue: str) -> None:
        """Play one venue's recordings as fast as its clients read, from the first subscriber on."""
        channel = self.polymarket if venue == self.polymarket.name else self.binance
        while not source.tapes[venue].is_over:
            if not channel.has_subscriptions():
                source.use_idle_time(venue, DRAIN_BATCH)
                await asyncio.sleep(PUMP_S / 10)
                continue
            for frame in source.pull(venue, None, DRAIN_BATCH):
                channel.publish(frame)
            await asyncio.sleep(0)
            while channel.backlog_bytes() > DRAIN_BYTES:
                source.use_idle_time(venue, DRAIN_BATCH // 8)
                await asyncio.sleep(0.0002)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_ALIVE_NS / NS)
            for channel in self._channels:
                await channel.keep_alive(time.monotonic_ns())

    def describe(self) -> Json:
        """Tell how the venue is: what `/control` answers."""
        return {
            "source": self.source.describe(self._wall_ns()),
            "clients": {channel.name: len(channel.clients) for channel in self._channels},
            "unread_bytes": {channel.name: channel.backlog_bytes() for channel in self._channels},
            "tally": self.tally.as_dict(),
        }
