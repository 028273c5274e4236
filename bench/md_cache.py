"""What the cache for REST snapshots saves: fetches, whole ticks and deadlines, with it and without.

The venue is a process of its own on loopback, asked over real HTTP, with a latency that is drawn
(seeded) so that a fetch takes about 55 ms in the 95th percentile. Twenty strategies tick one symbol
each: fetch, then the rest of the tick, a pause that is drawn too, so that a tick takes about 145 ms
in the 95th percentile without the cache. Both are the baseline that was given; so is the target of
20 ms less. The stream beside it is drawn: a message each 50 ms, a jump of over five ticks now and
then, silence of 400 ms now and then. `python -m bench.md_cache` is the venue.

Ways are measured in turns, several rounds each. Stale answers count as hits, and how old they were
is told: what the cache saves in waiting, it pays in age.
"""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import count

import aiohttp
import orjson
from aiohttp import web

from bench.peers.environment import ROOT
from bench.row import Row
from cache.md_cache import MDCache
from cache.md_config import MDCacheConfig
from cache.md_entry import MDBook, MDMiss, MDRefreshError
from cache.md_invalidator import MDCacheInvalidator
from cache.md_refresh import Refresh
from venue.decimals import parse_e9

STRATEGIES = 20
MINUTES, ROUNDS_MIN, ROUND_S_MAX = 0.8, 3, 30.0
LATENCY_MS, REST_MS = (27.0, 0.36), (72.0, 0.22)
"""Median and shape of log-normal pauses: of the venue, and of the rest of a tick."""
DEADLINE_MS = 180.0
TICK_E9 = 10_000_000
MESSAGE_S, SILENCE_S = 0.05, 0.4
JUMPS_PER_S, GAPS_PER_S = 0.2, 0.05
HIT_COUNT = 20_000


@dataclass(frozen=True, slots=True)
class Way:
    """One way to fetch: through which cache, beside which stream."""

    name: str
    config: MDCacheConfig
    jumps_per_s: float = JUMPS_PER_S


WITHOUT = Way("without the cache", MDCacheConfig())
WITH = Way("with the cache", MDCacheConfig(enabled=True))
STORM = Way("with the cache, ten times the jumps", MDCacheConfig(enabled=True), 10 * JUMPS_PER_S)
FRESH = Way("with the cache, stale_ok off", MDCacheConfig(enabled=True, stale_ok=False))
WAYS = (WITHOUT, WITH, STORM, FRESH)


@dataclass(slots=True)
class Found:
    """What one way gave, over all rounds; times in ms."""

    fetches: list[float] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    hits: int = 0
    stale: int = 0
    misses: int = 0
    failed: int = 0
    requests: int = 0


# --- the venue ----------------------------------------------------------------------------------


async def serve() -> None:
    """Serve `/book` until standard input ends; print the port."""
    chance = random.Random(3)
    numbers = count()

    async def book(request: web.Request) -> web.Response:
        await asyncio.sleep(_drawn(chance, LATENCY_MS))
        size = f"{next(numbers) % 1_000 + 1}.25"
        bids = [{"price": f"0.{at:03}", "size": size} for at in range(440, 490)]
        asks = [{"price": f"0.{at:03}", "size": size} for at in range(540, 490, -1)]
        return web.Response(body=orjson.dumps({"bids": bids, "asks": asks}))

    app = web.Application()
    app.router.add_get("/book", book)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def _drawn(chance: random.Random, told: tuple[float, float]) -> float:
    median_ms, shape = told
    return chance.lognormvariate(math.log(median_ms), shape) / 1e3


# --- the strategies -----------------------------------------------------------------------------


async def _ask(http: aiohttp.ClientSession, symbol: str) -> MDBook:
    async with http.get(f"/book?token_id={symbol}") as response:
        body = await response.read()
        if response.status != 200:
            raise MDRefreshError(f"status {response.status}")
    told = orjson.loads(body)
    bids, asks = (
        [(parse_e9(level["price"]), parse_e9(level["size"])) for level in told[side]]
        for side in ("bids", "asks")
    )
    return MDBook.of_levels(bids, asks)


async def _tick(
    symbol: str, cache: MDCache, ask: Refresh, found: Found, *, seed: int, until: float
) -> None:
    """Tick until then: fetch as a pipeline does, by itself where the cache is off."""
    chance = random.Random(seed)
    await asyncio.sleep(chance.random() * 0.1)  # they do not tick in step
    while (begun := time.monotonic()) < until:
        entry = await cache.read(symbol, 50, 100)
        if entry is MDMiss.DISABLED:
            await ask(symbol, 50)
            found.requests += 1
        elif isinstance(entry, MDMiss):
            found.failed += 1
        else:
            found.ages.append(entry.age_ms(time.monotonic_ns()))
        found.fetches.append((time.monotonic() - begun) * 1e3)
        await asyncio.sleep(_drawn(chance, REST_MS))
        found.ticks.append((time.monotonic() - begun) * 1e3)


async def _stream(watch: MDCacheInvalidator, symbols: list[str], way: Way, *, until: float) -> None:
    """Tell of messages and tops, of a jump now and then, and fall silent now and then."""
    chance = random.Random(7)
    bids = dict.fromkeys(symbols, 500)
    while time.monotonic() < until:
        is_gap = chance.random() < GAPS_PER_S * MESSAGE_S
        await asyncio.sleep(SILENCE_S if is_gap else MESSAGE_S)
        watch.check(time.monotonic_ns())
        for symbol in symbols:
            watch.on_message(symbol, time.monotonic_ns())
            if chance.random() < way.jumps_per_s * MESSAGE_S:
                bids[symbol] += chance.choice((-6, 6))
            bid = bids[symbol] * TICK_E9
            watch.on_top(symbol, bid, bid + TICK_E9, TICK_E9)


async def _round(way: Way, port: int, found: Found, seed: int, seconds: float) -> None:
    symbols = [f"S{at}" for at in range(STRATEGIES)]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def ask(symbol: str, depth: int) -> MDBook:
            return (await _ask(http, symbol)).cut(depth)

        await asyncio.gather(*(_ask(http, symbol) for symbol in symbols))  # connections are made
        async with MDCache(way.config, ask) as cache:
            until = time.monotonic() + seconds
            watch = MDCacheInvalidator(cache)
            async with asyncio.TaskGroup() as group:
                group.create_task(_stream(watch, symbols, way, until=until))
                for at, symbol in enumerate(symbols):
                    group.create_task(_tick(symbol, cache, ask, found, seed=seed + at, until=until))
            summary = cache.metrics.summary()
    found.hits += summary.hit_count
    found.stale += summary.stale_count
    found.misses += summary.miss_count
    found.requests += summary.refresh_count


async def _hit_us() -> float:
    """CPU time of one fresh hit, in us; the least of some rounds."""
    levels = [(at * TICK_E9, TICK_E9) for at in range(1, 51)]

    async def refresh(symbol: str, depth: int) -> MDBook:
        return MDBook.of_levels(levels, [])

    best = math.inf
    async with MDCache(MDCacheConfig(enabled=True, ttl_ms=5_000), refresh) as cache:
        await cache.read("S")
        for _ in range(10):
            begun = time.thread_time_ns()
            for _ in range(HIT_COUNT // 10):
                await cache.read("S", 50, 5_000)
            best = min(best, (time.thread_time_ns() - begun) / (HIT_COUNT / 10) / 1e3)
    return best


# --- the rows -----------------------------------------------------------------------------------


def _at(values: list[float], point: float) -> float:
    return sorted(values)[math.ceil(point * len(values)) - 1]


def _rows_of(way: Way, found: Found) -> list[Row]:
    is_cached, is_judged = way is not WITHOUT, way is WITH
    name, ticks = way.name, found.ticks
    made = [Row(f"fetch p50, {name}", _at(found.fetches, 0.5), "ms", "")]
    made.append(
        Row(f"fetch p95, {name}", _at(found.fetches, 0.95), "ms", "<= 35" if is_judged else "")
    )
    made.append(Row(f"fetch p99, {name}", _at(found.fetches, 0.99), "ms", ""))
    if is_cached:
        reads = found.hits + found.misses
        beside = f"{found.stale / reads:.2f} of all stale; {found.failed} of {reads} without a book"
        target = ">= 0.7" if is_judged else ""
        made.append(Row(f"hit ratio, {name}", found.hits / reads, "", target, beside))
        beside = f"p50 {_at(found.ages, 0.5):.0f}, p99 {_at(found.ages, 0.99):.0f} ms"
        made.append(Row(f"age served p95, {name}", _at(found.ages, 0.95), "ms", "", beside))
    target = "<= 130" if is_judged else ""
    made.append(Row(f"tick total p95, {name}", _at(ticks, 0.95), "ms", target, f"{len(ticks):,}"))
    missed = 100 * sum(tick > DEADLINE_MS for tick in ticks) / len(ticks)
    target = "< 2" if is_judged else ""
    made.append(Row(f"ticks over {DEADLINE_MS:.0f} ms, {name}", missed, "%", target))
    asked = found.requests / len(ticks)
    made.append(Row(f"requests a tick, {name}", asked, "", ""))
    return made


def rows(*, minutes: float = MINUTES) -> list[Row]:
    """Measure every way, in turns, for `minutes` in all."""
    seconds = 60 * minutes / len(WAYS)
    rounds = max(ROUNDS_MIN, round(seconds / ROUND_S_MAX))
    command = [sys.executable, "-m", "bench.md_cache"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    found = {way: Found() for way in WAYS}
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for at in range(rounds):
            for way in WAYS:
                asyncio.run(_round(way, port, found[way], 1_000 * at, seconds / rounds))
    finally:
        process.kill()
        process.communicate()
    made = [row for way in WAYS for row in _rows_of(way, found[way])]
    saved = _at(found[WITHOUT].fetches, 0.95) - _at(found[WITH].fetches, 0.95)
    made.append(Row("fetch p95 saved by the cache", saved, "ms", ">= 20"))
    made.append(Row("a fresh hit, CPU time", asyncio.run(_hit_us()), "us", ""))
    return made


if __name__ == "__main__":
    asyncio.run(serve())
