"""A world for the tests of the REST snapshot cache: time that jumps, and a venue told what to do.

The loop's time moves only when nothing is left to do, straight to the next timer: no test sleeps,
and every run is the same.
"""

import asyncio
import selectors

from cache.md_cache import MDCache
from cache.md_config import MDCacheConfig
from cache.md_entry import MDBook, MDRefreshError

MS = 1_000_000
TICK = 10_000_000
START_NS = 1_000_000 * MS


class _Jump(selectors.DefaultSelector):
    loop = None

    def select(self, timeout=None):
        assert timeout is not None, "nothing is left to do, and nobody will do anything"
        self.loop.now_ns += max(0, -(-int(timeout * 1e12) // 1_000))
        return super().select(0)


class JumpLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is `now_ns`."""

    def __init__(self):
        self.now_ns = START_NS
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.now_ns / 1e9


def book_at(bid, ask=None, levels=3):
    """A book of some levels; prices in ticks of 0.01."""
    ask = bid + 1 if ask is None else ask
    return MDBook.of_levels(
        [((bid - at) * TICK, (at + 1) * 10**9) for at in range(levels) if bid > at],
        [((ask + at) * TICK, (at + 1) * 10**9) for at in range(levels)],
    )


class World:
    """A cache, and the venue that it asks."""

    def __init__(self, **config):
        self.loop = JumpLoop()
        self.asked = []
        self.open = self.open_max = 0
        self.latency_ms = 5
        self.answer = book_at(50)
        self.jitter = 0.0
        known = {"counters", "depth_max", "failures"} & config.keys()
        extra = {name: config.pop(name) for name in known}
        config = {"enabled": True} | config
        self.cache = MDCache(
            MDCacheConfig(**config),
            self._refresh,
            now_ns=lambda: self.loop.now_ns,
            jitter=lambda: self.jitter,
            **extra,
        )

    async def _refresh(self, symbol, depth):
        self.asked.append((symbol, depth, self.loop.now_ns))
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        answer = self.answer
        try:
            if self.latency_ms is None:
                await self.loop.create_future()
            await asyncio.sleep(self.latency_ms / 1e3)
        finally:
            self.open -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def get(self, symbol="S", *args, **words):
        return self.run(self.cache.get_orderbook(symbol, *args, **words))

    def read(self, symbol="S", *args, **words):
        return self.run(self.cache.read(symbol, *args, **words))

    def passes(self, ms):
        """Let time pass, and what is due happen."""
        self.run(asyncio.sleep(ms / 1e3))

    def fails(self, error=None):
        self.answer = error or MDRefreshError("503")

    def close(self):
        self.run(self.cache.close())
        self.loop.close()
