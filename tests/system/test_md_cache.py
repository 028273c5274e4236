"""The cache for REST snapshots over real HTTP: a venue on loopback that is slow, fails or is away.

One aiohttp server a test, on a port that the system chose, in this process; the callback is the one
a user would write, with the venue's own shape of a book.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import aiohttp
import orjson
from aiohttp import web

from cache import layout
from cache.counters import CounterWriter
from cache.md_cache import MDCache
from cache.md_config import MDCacheConfig
from cache.md_entry import MDBook, MDCacheEntry, MDMiss, MDRefreshError
from cache.md_invalidator import MDCacheInvalidator
from feeds.rest_books import RestBooks
from venue.decimals import DecimalError, parse_e9

CENT = 10_000_000
PATIENCE_S = 10.0


class Venue:
    """`GET /book?token_id=`: the best bid is the number of the request, in ticks of 0.001."""

    def __init__(self):
        self.asked = 0
        self.open = self.open_max = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.status = 200
        self.body = None

    async def book(self, request):
        self.asked += 1
        number = self.asked
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            await self.gate.wait()
        finally:
            self.open -= 1
        if self.status != 200:
            return web.json_response({"error": "no"}, status=self.status)
        if self.body is not None:
            return web.Response(body=self.body)
        bids = [{"price": f"0.{at:03}", "size": "5.25"} for at in range(max(1, number - 4), number)]
        bids.append({"price": f"0.{number:03}", "size": "100"})
        asks = [{"price": "0.999", "size": "1"}, {"price": "0.998", "size": "2.5"}]
        return web.json_response(
            {"asset_id": request.query["token_id"], "bids": bids, "asks": asks}
        )


class Site:
    """Where the venue listens; it can go away and come back."""

    def __init__(self, runner, port):
        self._runner = runner
        self._port = port
        self._site = None

    async def start(self):
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()

    async def stop(self):
        await self._site.stop()


def read_book(body):
    """Read a book in the venue's shape, worst level first; exact, or refused."""
    try:
        told = orjson.loads(body)
        sides = [
            [(parse_e9(level["price"]), parse_e9(level["size"])) for level in told[side]]
            for side in ("bids", "asks")
        ]
    except (orjson.JSONDecodeError, DecimalError, KeyError, TypeError) as error:
        raise MDRefreshError(f"not a book: {error}") from None
    return MDBook.of_levels(*sides)


@asynccontextmanager
async def world(**config):
    """A venue, and a cache that asks it."""
    venue = Venue()
    app = web.Application()
    app.router.add_get("/book", venue.book)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    port = place.getsockname()[1]
    place.close()
    site = Site(runner, port)
    await site.start()

    async def refresh(symbol, depth):
        async with http.get(f"http://127.0.0.1:{port}/book?token_id={symbol}") as response:
            body = await response.read()
            if response.status == 404:
                return None
            if response.status != 200:
                raise MDRefreshError(f"status {response.status}")
        return read_book(body)

    settings = MDCacheConfig(**{"enabled": True, "ttl_ms": 200} | config)
    failures = (MDRefreshError, OSError, aiohttp.ClientError)
    try:
        async with (
            aiohttp.ClientSession() as http,
            MDCache(settings, refresh, failures=failures) as cache,
        ):
            yield venue, cache, site
    finally:
        await runner.cleanup()


def run(test):
    async def bounded():
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(bounded())


async def until(condition):
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit
        await asyncio.sleep(0.005)


def bid_of(entry):
    assert isinstance(entry, MDCacheEntry), entry
    return entry.book.bids[0]


def test_a_book_comes_over_http_exact_and_best_first():
    async def test():
        async with world() as (venue, cache, _):
            venue.asked = 289
            entry = await cache.get_orderbook("123", depth=2, max_age_ms=100)
            assert entry.book.bids == ((290_000_000, 100 * 10**9), (289_000_000, 5_250_000_000))
            assert entry.book.asks == ((998_000_000, 2_500_000_000), (999_000_000, 10**9))
            assert cache.get_cache_age_ms("123") > 0

    run(test)


def test_a_slow_venue_is_asked_once_by_a_crowd_and_never_keeps_a_reader_of_a_stale_book():
    async def test():
        async with world(stale_ms_max=60_000, refresh_timeout_ms=60_000) as (venue, cache, _):
            venue.gate.clear()
            readers = [asyncio.create_task(cache.get_orderbook("S")) for _ in range(100)]
            await until(lambda: venue.open)
            venue.gate.set()
            crowd = await asyncio.gather(*readers)
            assert {bid_of(entry)[0] for entry in crowd} == {1_000_000}
            assert venue.asked == 1
            venue.gate.clear()
            await asyncio.sleep(0.25)
            for _ in range(100):
                assert await cache.get_orderbook("S") is crowd[0]
                await asyncio.sleep(0)
            await until(lambda: venue.asked == 2)
            assert venue.open == 1, "nobody waited for it"
            venue.gate.set()
            await until(lambda: cache.asked_ns("S") != crowd[0].asked_ns)
            assert venue.open_max == 1

    run(test)


def test_a_failing_venue_is_left_alone_for_a_while_and_the_old_book_tells_its_age():
    async def test():
        settings = {"refresh_try_count_max": 1, "retry_delay_ms": 9_000, "stale_ms_max": 60_000}
        async with world(**settings, retry_delay_ms_max=9_000) as (venue, cache, _):
            first = await cache.read("S")
            venue.status = 503
            await asyncio.sleep(0.25)
            assert await cache.read("S") is first
            await until(lambda: cache.metrics.summary().refresh_failed_count == 1)
            assert await cache.read("S") is first
            assert cache.get_cache_age_ms("S") > 250
            assert await cache.read("S", stale_ok=False, max_age_ms=0) is MDMiss.BACKING_OFF
            assert venue.asked == 2

    run(test)


def test_a_venue_that_hangs_is_given_up():
    async def test():
        settings = {"refresh_timeout_ms": 100, "refresh_try_count_max": 2, "retry_delay_ms": 10}
        async with world(**settings) as (venue, cache, _):
            venue.gate.clear()
            assert await cache.read("S") is MDMiss.FAILED
            assert venue.asked == 2
            venue.gate.set()

    run(test)


def test_a_venue_that_is_away_is_a_failure_and_one_that_comes_back_is_found():
    async def test():
        async with world(retry_delay_ms=5, retry_delay_ms_max=5) as (venue, cache, site):
            await site.stop()
            assert await cache.read("S") is MDMiss.FAILED
            assert venue.asked == 0
            await site.start()
            while isinstance(await cache.read("S"), MDMiss):
                await asyncio.sleep(0.01)
            assert venue.asked == 1

    run(test)


def test_what_is_no_book_is_a_failure_and_no_book_is_an_answer():
    async def test():
        async with world(retry_delay_ms=1, retry_delay_ms_max=1) as (venue, cache, _):
            level = {"price": "0.5", "size": "1"}
            for bad in (
                b"not json",
                b"[]",
                b"{}",
                orjson.dumps({"bids": [{"price": "nan", "size": "1"}], "asks": []}),
                orjson.dumps({"bids": [level], "asks": [level]}),
            ):
                venue.body = bad
                assert await cache.read("S") is MDMiss.FAILED, bad
                await asyncio.sleep(0.005)
            venue.body, venue.status = None, 404
            assert await cache.read("S") is MDMiss.NO_BOOK
            venue.status = 200
            await asyncio.sleep(0.25)
            assert isinstance(await cache.read("S"), MDCacheEntry)

    run(test)


def test_a_jump_on_the_stream_keeps_the_answer_under_way_from_being_served():
    async def test():
        async with world() as (venue, cache, _):
            watch = MDCacheInvalidator(cache)
            venue.gate.clear()
            watch.on_top("S", 50 * CENT, 51 * CENT, CENT)
            asked = asyncio.create_task(cache.read("S"))
            await until(lambda: venue.open)
            watch.on_top("S", 60 * CENT, 61 * CENT, CENT)
            venue.gate.set()
            assert bid_of(await asked)[0] == 2_000_000
            assert cache.metrics.summary().refresh_outdated_count == 1

    run(test)


def test_closing_in_the_middle_of_a_request_leaves_nothing_open():
    async def test():
        async with world() as (venue, cache, _):
            venue.gate.clear()
            asked = asyncio.create_task(cache.read("S"))
            await until(lambda: venue.open)
            await cache.close()
            assert await asked is MDMiss.CLOSED
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert not [name for name in names if name.startswith("md refresh")]

    run(test)


def test_a_hundred_tokens_at_a_venue_that_refuses_them_ask_once_until_it_says():
    asked_s = []

    async def books(request):
        asked_s.append(time.monotonic())
        if len(asked_s) == 1:
            return web.json_response({"error": "no"}, status=429, headers={"Retry-After": "1"})
        return web.json_response(
            [
                {"asset_id": one["token_id"], "timestamp": "1790766981000", "bids": [], "asks": []}
                for one in await request.json()
            ]
        )

    async def test():
        app = web.Application()
        app.router.add_post("/books", books)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        counters = CounterWriter(memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q"))
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        asker = RestBooks(url, counters, timeout_s=1.0)
        try:
            async with MDCache(MDCacheConfig(enabled=True), asker.refresh) as cache:
                tokens = [str(number) for number in range(100)]
                found = await asyncio.gather(*(cache.read(token) for token in tokens))
            assert [entry.symbol for entry in found] == tokens
            assert asked_s[1] - asked_s[0] >= 1.0
            assert len(asked_s) <= 5
        finally:
            await asker.close()
            await runner.cleanup()

    run(test)
