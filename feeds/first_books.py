"""The first books of Binance: what its diff stream is begun with, which only REST offers.

They go through the cache for REST snapshots (`cache/md_cache.py`), which asks once at a time for
each symbol, again after delays that grow, ends a question that hangs, and measures them all. What
it does not do here is keep: a first book must be asked for after the first diff that it is to
precede, so one that was handed out is thrown away, and none is served twice.

It is not switched off with `[md_cache]`, whose witnesses the books can do without: without a first
book there is none. The invariant: nobody is given a book that was given before. Whether it is of
use is judged by `cache/ladder.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from cache.counters import CounterWriter
from cache.ladder import LEVELS_MAX, Whole
from cache.md_cache import MDCache
from cache.md_config import MDCacheConfig
from cache.md_entry import MDBook, MDBookError, MDRefreshError
from feeds.binance_depth_wire import depth_path, parse_snapshot
from feeds.binance_rest import BinanceRest
from feeds.binance_rest_wire import AnswerError
from host.clock import monotonic_ns

TRIES: Final = 4
RETRY_MS: Final = 250
RETRY_MS_MAX: Final = 4_000
TAKEN: Final = "taken"
"""Why a book is thrown away: it was handed out, and the stream goes on from it."""


class FirstBook(MDBook, frozen=True):
    """A book and the number of the update that made it."""

    sequence: int = 0

    def cut(self, depth: int) -> FirstBook:
        return FirstBook(self.bids[:depth], self.asks[:depth], self.sequence)


class FirstBooks:
    """Asks for the first books of some symbols; belongs to the event loop."""

    def __init__(
        self,
        rest: BinanceRest,
        symbols: Sequence[str],
        counters: CounterWriter,
        *,
        timeout_s: float,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        """`timeout_s` bounds one request; with the wait for its turn it may take twice as long."""
        self._rest = rest
        config = MDCacheConfig(
            enabled=True,
            stale_ok=False,
            refresh_timeout_ms=min(max(round(2_000 * timeout_s), 10), 60_000),
            refresh_try_count_max=TRIES,
            retry_delay_ms=RETRY_MS,
            retry_delay_ms_max=RETRY_MS_MAX,
            symbols_max=len(symbols),
        )
        self.cache = MDCache(
            config, self._refresh, depth_max=LEVELS_MAX, now_ns=now_ns, counters=counters
        )

    async def ask(self, symbol: str) -> Whole | None:
        """Give a book that nobody was given yet; None, counted and said, where there is none."""
        entry = await self.cache.get_orderbook(symbol, max_age_ms=0)
        self.cache.invalidate(symbol, reason=TAKEN)
        book = None if entry is None else entry.book
        return Whole(book.sequence, book.bids, book.asks) if isinstance(book, FirstBook) else None

    async def close(self) -> None:
        """End what is under way: it counts in a segment that has an owner only so long."""
        await self.cache.close()

    async def _refresh(self, symbol: str, depth: int) -> MDBook:
        found = await self._rest.ask(depth_path(symbol, depth), read_book, attempts=1)
        if found is None:
            raise MDRefreshError(f"no book of {symbol}")
        return found


def read_book(body: bytes) -> FirstBook:
    """Read an answer whole. Raises AnswerError, also where its levels cannot be a book."""
    told = parse_snapshot(body)
    try:
        book = MDBook.of_levels(told.bids, told.asks)
    except MDBookError as fault:
        raise AnswerError(str(fault)) from None
    return FirstBook(book.bids, book.asks, told.sequence)
