"""Finds the markets a feed carries: windows of a family by the clock, or plain token ids.

For each family it looks the running window up by slug, and the next one from `lead_s` before it
opens, and hands the market over with `on_listed`; `linger_s` after a window's end it takes it back
with `on_released`. A market that is not there yet is normal (new windows appear late) and is asked
for again with growing delay, as is one whose look-up failed. A window that is `known`, from before
a restart, is listed at once and asked for all the same: what the venue says of it holds.

The invariant: every market listed is released at most once, and nothing is listed on an answer that
could not be read whole.

What the answers mean is `feeds/gamma_wire.py`; which slots a market gets is the listener's affair.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

from cache.counters import Counter, CounterWriter
from feeds.gamma import GammaClient, LookupFailed
from feeds.gamma_wire import GammaError, MarketInfo, windows_wanted
from host.clock import wall_ns
from host.idle import until_next
from host.log import get_log

TICK_MS = 200
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 10.0
PLAIN_AFTER_COUNT = 3
"""After so many look-ups in vain a plain token is listed without metadata."""

TOKENS_MAX = 50
"""Plain tokens of one look-up: its answer has at most 100 markets, its address some 5 KB."""

TOKEN_QUESTIONS_MAX = 4
"""Look-ups of plain tokens under way at once."""

log = get_log("feeds")


class Listener(Protocol):
    """Who carries the markets."""

    def on_listed(self, market: MarketInfo) -> None:
        """Carry this market from now on."""

    def on_released(self, condition_id: str) -> None:
        """Stop carrying this market."""


@dataclass(slots=True)
class _Wanted:
    """Something to be looked up: a window by its slug, or a plain token (`end_s` 0: for good)."""

    name: str
    end_s: float = 0.0
    attempt: int = 0
    next_s: float = 0.0
    is_asking: bool = False
    is_found: bool = False
    """The venue has told all of it."""
    market: MarketInfo | None = None
    """What was found, or is known; once it is released nothing of this entry is left."""


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """What to follow, and when a window is taken up and given back."""

    families: tuple[str, ...]
    tokens: tuple[str, ...]
    lead_s: float
    linger_s: float
    jitter: Callable[[], float] = field(default=random.random)


def retry_s(attempt: int, fraction: float) -> float:
    """Delay before look-up `attempt` + 1: doubling, with `fraction` (0 to 1) of jitter."""
    full = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(attempt, 16))
    return float(full * (0.5 + 0.5 * fraction))


class Resolver:
    """Runs the look-ups of one feed; belongs to one event loop."""

    def __init__(
        self,
        client: GammaClient,
        listener: Listener,
        counters: CounterWriter,
        settings: DiscoverySettings,
        *,
        known: Mapping[str, MarketInfo] = MappingProxyType({}),
        wall: Callable[[], int] = wall_ns,
    ) -> None:
        self._known = dict(known)
        self._client = client
        self._listener = listener
        self._counters = counters
        self._settings = settings
        self._wall = wall
        self._wanted = {token: _Wanted(token) for token in settings.tokens}
        self._listed: dict[str, MarketInfo] = {}
        self._token_question_count = 0

    async def run(self) -> None:
        """List and release until cancelled; raises only what the listener raised."""
        async with asyncio.TaskGroup() as group:
            while True:
                for question in self.step(self._wall() / 1e9):
                    group.create_task(question)
                await until_next(TICK_MS)

    def step(self, now_s: float) -> list[Coroutine[Any, Any, None]]:
        """Release what is over, and give the look-ups that are due now."""
        settings = self._settings
        for family in settings.families:
            for window in windows_wanted(family, now_s, settings.lead_s):
                if window.slug not in self._wanted:
                    wanted = _Wanted(window.slug, float(window.end_s))
                    self._wanted[window.slug] = wanted
                    if (known := self._known.pop(window.slug, None)) is not None:
                        self._list(wanted, known)
        questions, tokens = [], []
        for name, wanted in list(self._wanted.items()):
            if wanted.end_s and now_s >= wanted.end_s + settings.linger_s:
                del self._wanted[name]
                if wanted.market is not None:
                    self._release(wanted.market)
            elif not (wanted.is_found or wanted.is_asking) and now_s >= wanted.next_s:
                if not wanted.end_s:
                    tokens.append(wanted)
                elif now_s < wanted.end_s:
                    questions.append(self._ask_window(wanted))
                    wanted.is_asking = True
        while tokens and self._token_question_count < TOKEN_QUESTIONS_MAX:
            asked, tokens = tokens[:TOKENS_MAX], tokens[TOKENS_MAX:]
            for wanted in asked:
                wanted.is_asking = True
            self._token_question_count += 1
            questions.append(self._ask_tokens(asked))
        return questions

    async def _ask_window(self, wanted: _Wanted) -> None:
        try:
            market = await self._client.market(wanted.name)
            if market is None:
                self._counters.add(Counter.feeds_lookup_empty)
            elif market.is_closed:
                log.warning("market_closed", slug=market.slug)
                self._drop(wanted)
                market = None
        except (LookupFailed, GammaError) as error:
            self._failed(wanted, error)
            market = None
        self._answered(wanted, market)

    async def _ask_tokens(self, asked: list[_Wanted]) -> None:
        found: dict[str, MarketInfo] = {}
        error: Exception | None = None
        try:
            for market in await self._client.markets_of([wanted.name for wanted in asked]):
                if isinstance(market, GammaError):
                    error = market
                else:
                    found |= dict.fromkeys(market.token_ids, market)
        except (LookupFailed, GammaError) as failed:
            error = failed
        missing = [wanted for wanted in asked if wanted.name not in found]
        if error is not None:
            self._failed(missing[0] if missing else asked[0], error)
        else:
            self._counters.add(Counter.feeds_lookup_empty, len(missing))
        for wanted in asked:
            market_found = found.get(wanted.name)
            if market_found is None and wanted.attempt + 1 >= PLAIN_AFTER_COUNT:
                market_found = await self._ask_listing(wanted)
            self._answered(wanted, market_found)
        self._token_question_count -= 1

    async def _ask_listing(self, wanted: _Wanted) -> MarketInfo | None:
        try:
            market = await self._client.listing(wanted.name)
        except (LookupFailed, GammaError) as error:
            self._failed(wanted, error)
            return None
        if market is not None:
            log.warning("market_without_metadata", token=wanted.name, market=market.condition_id)
        return market

    def _failed(self, wanted: _Wanted, error: Exception) -> None:
        self._counters.add(Counter.feeds_lookup_failed)
        log.warning("lookup_failed", market=wanted.name, cause=str(error))

    def _answered(self, wanted: _Wanted, market: MarketInfo | None) -> None:
        wanted.is_asking = False
        now_s = self._wall() / 1e9
        if market is None:
            wanted.next_s = now_s + retry_s(wanted.attempt, self._settings.jitter())
            wanted.attempt += 1
            return
        wanted.is_found = True
        if self._wanted.get(wanted.name) is not wanted:
            return  # It was over before the answer came.
        if wanted.market is not None:
            if replace(market, tick_e9=wanted.market.tick_e9) == wanted.market:
                return  # As it was known; of the tick the stream knows more.
            log.warning("market_changed", slug=market.slug, market=market.condition_id)
            self._drop(wanted)
        self._list(wanted, market)

    def _drop(self, wanted: _Wanted) -> None:
        """Take back what was listed because it was known."""
        if wanted.market is not None:
            self._release(wanted.market)
            wanted.market = None

    def _list(self, wanted: _Wanted, market: MarketInfo) -> None:
        wanted.market = market
        if market.condition_id in self._listed:
            return  # Both tokens of one market were asked for, or a window and its token.
        self._listed[market.condition_id] = market
        log.info("market_listed", slug=market.slug, market=market.condition_id)
        self._listener.on_listed(market)

    def _release(self, market: MarketInfo) -> None:
        if self._listed.pop(market.condition_id, None) is not None:
            log.info("market_released", slug=market.slug, market=market.condition_id)
            self._listener.on_released(market.condition_id)
