"""Windows found, followed and settled over real sockets: Gamma, the TWAP feed, the board.

The wall clock of the feed is set so that a window opens three seconds after the start of a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from aiohttp import WSMsgType, web

from cache.board import Miss, Snapshot
from cache.counters import Counter
from cache.layout import E9, SETTLEMENT, BoardSpec, Flag, Provenance, tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds.discovery import DiscoverySettings, Resolver
from feeds.gamma import GammaClient
from feeds.gamma_wire import MarketInfo
from feeds.twap import SettlementFeed, SettlementSettings

ROLE = "feed.polymarket.0"
BOARDS = (BoardSpec("settlement", SETTLEMENT, 4, 8),)
FAMILY = "btc-updown-1m"
LENGTH = 60
PATIENCE_S = 20.0
LEAD_S = 3.0
HEAD = {"symbol": "btcusd", "window_seconds": 60, "source": "chainlink"}


def condition(start: int) -> str:
    return f"0x{start:064x}"


def price_e9(second: int) -> int:
    return (second % 100_000 + 1) * E9 + 123_456_789


def row(second: int) -> dict[str, object]:
    text = f"{second % 100_000 + 1}.123456789999999999"
    return {"timestamp": second * 1000, "value": 1.0, "full_accuracy_value": text}


class Venue:
    """Gamma and PolyBolt on one loopback port; a point a second, which names its second."""

    def __init__(self) -> None:
        real_s = time.time()
        self.offset_s = (LENGTH - LEAD_S - real_s) % LENGTH
        self.start = round(real_s + self.offset_s + LEAD_S)
        """The window that opens three seconds after the venue was made."""
        self.sockets: dict[web.WebSocketResponse, int] = {}
        self.withheld: set[int] = set()
        self.asked: list[str] = []
        self.official: dict[str, object] = {}
        self.is_listing = True
        self.is_serving_points = True
        self.login_count = 0
        self.port = 0

    def wall_ns(self) -> int:
        return time.time_ns() + round(self.offset_s * E9)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/gamma/markets/slug/{slug}", self.market)
        app.router.add_get("/gamma/events/slug/{slug}", self.event)
        app.router.add_get("/polybolt", self.polybolt)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        points = asyncio.create_task(self.send_points())
        try:
            yield
        finally:
            points.cancel()
            await self.cut()
            await runner.cleanup()

    async def market(self, request: web.Request) -> web.Response:
        slug = request.match_info["slug"]
        self.asked.append(slug)
        if not self.is_listing:
            return web.Response(status=404)
        start = int(slug.rpartition("-")[2])
        times = [datetime.fromtimestamp(at, UTC).isoformat() for at in (start, start + LENGTH)]
        return web.json_response(
            {
                "slug": slug, "conditionId": condition(start), "outcomes": '["Up", "Down"]',
                "clobTokenIds": f'["{start}1", "{start}2"]', "orderPriceMinTickSize": 0.01,
                "orderMinSize": 5, "eventStartTime": times[0], "endDate": times[1],
                "cryptoMarketConfig": {"twapEnabled": True, "twapLookbackSeconds": 60},
            }
        )  # fmt: skip

    async def event(self, request: web.Request) -> web.Response:
        return web.json_response({"eventMetadata": self.official})

    async def polybolt(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            asked = json.loads(message.data) if message.type is WSMsgType.TEXT else {}
            if asked.get("op") == "auth":
                self.login_count += 1
                await socket.send_json({"op": "authed", "rid": asked["rid"]})
            elif asked.get("op") == "subscribe":
                self.sockets[socket] = 0
                now_s = self.wall_ns() // E9
                count = 60 if self.is_serving_points else 0
                past = [row(second) for second in range(now_s - count, now_s)]
                await self.send(socket, HEAD | {"data": past}, snapshot=True)
        self.sockets.pop(socket, None)
        return socket

    async def send(
        self, socket: web.WebSocketResponse, payload: dict[str, object], **more: object
    ) -> None:
        self.sockets[socket] += 1
        frame = {"v": 1, "channel": "price.crypto.twap", "seq": self.sockets[socket], "ts": 1}
        with contextlib.suppress(ConnectionError):
            await socket.send_json(frame | more | {"payload": payload})

    async def send_points(self) -> None:
        last = self.wall_ns() // E9
        while True:
            await asyncio.sleep(0.05)
            second = self.wall_ns() // E9 - 1
            if second > last:
                last = second
                for socket in list(self.sockets):
                    if self.is_serving_points and second not in self.withheld:
                        await self.send(socket, HEAD | row(second))

    async def cut(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
            self.sockets.pop(socket, None)


class World:
    """The venue, and the parts of a feed process that settle markets."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.venue = Venue()
        self.listed: dict[str, int] = {}
        self.released: list[str] = []

    def on_listed(self, market: MarketInfo) -> None:
        slot = len(self.listed) % 4
        self.listed[market.slug] = slot
        self.settlement.listed(market, slot, 0)

    def on_released(self, condition_id: str) -> None:
        self.released.append(condition_id)
        self.settlement.released(condition_id)

    @contextlib.asynccontextmanager
    async def running(self, *, linger_s: float = 60.0) -> AsyncIterator[None]:
        """Run what a feed process runs; leaving this is its death."""
        base = f"127.0.0.1:{self.venue.port}"
        self.segment = WriterSegment.create(ROLE, BOARDS, namespace=self.namespace)
        self.reader = ReaderSegment.attach(ROLE, namespace=self.namespace)
        wall = self.venue.wall_ns
        url = f"ws://{base}/polybolt"
        gamma = GammaClient(f"http://{base}/gamma", f"http://{base}/clob", timeout_s=2.0)
        settings = SettlementSettings(url, 5.0, 2.5, 1.0, None, {})
        self.settlement = SettlementFeed(self.segment, gamma, settings, wall=wall)
        found = DiscoverySettings((FAMILY,), (), 30.0, linger_s)
        resolver = Resolver(gamma, self, self.segment.counters, found, wall=wall)
        tasks = [asyncio.create_task(self.settlement.run())]
        tasks.append(asyncio.create_task(resolver.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self.segment.close()
        assert all(isinstance(found, asyncio.CancelledError) for found in results), results

    def read(self, start: int) -> Snapshot | None:
        """The newest record of the window that starts then, wherever it lies."""
        board, tag = self.reader.board("settlement"), tag_of("polymarket", condition(start))
        for slot in range(board.slot_count):
            found = board.read(slot, tag)
            if not isinstance(found, Miss):
                return found
        return None

    async def until(self, what: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                await asyncio.sleep(0.01)

    async def until_strike(self, provenance: Provenance) -> Snapshot:
        def known() -> bool:
            found = self.read(self.venue.start)
            return found is not None and found.strike_provenance == provenance

        await self.until(known)
        found = self.read(self.venue.start)
        assert found is not None
        return found


def test_a_window_is_listed_before_it_opens_and_has_its_strike_a_second_after(
    namespace: str,
) -> None:
    async def play() -> None:
        world = World(namespace)
        start = world.venue.start
        async with world.venue.served(), world.running(linger_s=3.0):
            await world.until(lambda: len(world.listed) == 2)
            assert world.venue.wall_ns() < start * E9, "listed before it opens"
            assert set(world.listed) == {f"{FAMILY}-{start - LENGTH}", f"{FAMILY}-{start}"}
            found = await world.until_strike(Provenance.STREAM)
            assert found.strike_e9 == price_e9(start)
            assert world.venue.wall_ns() < (start + 30) * E9
            ended = world.read(start - LENGTH)
            assert ended is not None
            assert ended.final_e9 == price_e9(start), "the end of one is the start of the next"
            await world.until(lambda: world.released == [condition(start - LENGTH)])

    asyncio.run(play())


def test_a_strike_that_did_not_come_live_is_fetched_by_a_replay(namespace: str) -> None:
    async def play() -> None:
        world = World(namespace)
        start = world.venue.start
        world.venue.withheld.add(start)
        async with world.venue.served(), world.running():
            await world.until(lambda: world.read(start))
            found = await world.until_strike(Provenance.STREAM)
            assert found.strike_e9 == price_e9(start)
            assert world.venue.login_count == 2
            assert world.reader.counters[Counter.feeds_twap_lost] >= 1

    asyncio.run(play())


def test_a_lost_stream_is_told_and_comes_back(namespace: str) -> None:
    async def play() -> None:
        world = World(namespace)
        start = world.venue.start
        async with world.venue.served(), world.running():
            await world.until_strike(Provenance.STREAM)
            await world.venue.cut()
            await world.until(lambda: world.read(start).flags == Flag.RESYNC)  # type: ignore[union-attr]
            await world.until(lambda: world.read(start).flags == 0)  # type: ignore[union-attr]
            found = world.read(start)
            assert found is not None
            assert found.strike_e9 == price_e9(start)

    asyncio.run(play())


def test_a_strike_survives_the_death_of_its_feed_though_the_venue_is_gone(namespace: str) -> None:
    async def play() -> None:
        world = World(namespace)
        async with world.venue.served():
            async with world.running():
                before = await world.until_strike(Provenance.STREAM)
            world.listed.clear()
            world.venue.is_serving_points = False
            async with world.running():
                found = await world.until_strike(Provenance.STREAM)
                assert found.strike_e9 == before.strike_e9
                await world.until(lambda: world.reader.incarnation == 2 and world.listed)

    asyncio.run(play())


def test_an_official_strike_takes_the_place_of_the_streams(namespace: str) -> None:
    async def play() -> None:
        world = World(namespace)
        async with world.venue.served(), world.running():
            await world.until_strike(Provenance.STREAM)
            world.venue.official = {"priceToBeat": 77.5}
            found = await world.until_strike(Provenance.OFFICIAL)
            assert found.strike_e9 == 77_500_000_000
            assert world.reader.counters[Counter.feeds_strikes_revised] >= 1

    asyncio.run(play())


def test_a_window_that_is_not_there_yet_is_asked_for_until_it_is(namespace: str) -> None:
    async def play() -> None:
        world = World(namespace)
        world.venue.is_listing = False
        async with world.venue.served(), world.running():
            await world.until(lambda: len(world.venue.asked) >= 3)
            assert not world.listed
            world.venue.is_listing = True
            await world.until(lambda: world.read(world.venue.start))
            assert world.reader.counters[Counter.feeds_lookup_empty] >= 2

    asyncio.run(play())
