"""Asks Binance's REST side, beside the frames: a question never holds one up.

Each request runs on a thread of its own (`feeds/fetch.py`, which bounds it in time and in size);
the event loop reads the answer. A question is bounded in attempts besides, and the venue's
Retry-After is obeyed by all of them.

The invariant: whatever goes wrong is counted, and after the last attempt said once, and None; it
never looks like an answer. What the answers mean is `feeds/binance_rest_wire.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from cache.counters import Counter, CounterWriter
from cache.layout import E9
from feeds.binance_rest_wire import AnswerError
from feeds.dialing import backoff_s
from feeds.fetch import FetchFailed, fetch_aside
from host.clock import monotonic_ns
from host.log import get_log

ATTEMPTS: Final = 4
AT_ONCE: Final = 4
BAN_S: Final = 120.0
"""The shortest ban; what is obeyed where the venue says "too many" without saying how long."""

BAN_S_MAX: Final = 3 * 86_400.0
"""The longest ban the venue documents: a Retry-After beyond it is not believed."""

PATIENCE_S: Final = 30.0
"""A question does not wait longer than this for the venue to want it."""

_BUSY: Final = (418, 429)
_FINAL: Final = range(400, 500)

Read = TypeVar("Read")
log = get_log("feeds")


def judge(failed: FetchFailed) -> tuple[bool, float]:
    """Tell whether asking again is in vain, and for how long the venue wants no request."""
    if failed.status not in _BUSY:
        return failed.status in _FINAL, 0.0
    text = failed.retry_after
    is_number = text.isascii() and text.isdigit()
    return False, min(float(text), BAN_S_MAX) if is_number else BAN_S


class BinanceRest:
    """The REST side of the venue, at `base_url`; belongs to the event loop."""

    def __init__(
        self,
        base_url: str,
        counters: CounterWriter,
        *,
        timeout_s: float,
        get: Callable[[str, float], Awaitable[bytes]] = fetch_aside,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._counters = counters
        self._timeout_s = timeout_s
        self._get = get
        self._free = asyncio.Semaphore(AT_ONCE)
        self._barred_ns = 0
        """Until when the venue wants no request."""

    async def ask(
        self, path: str, read: Callable[[bytes], Read], *, attempts: int = ATTEMPTS
    ) -> Read | None:
        """Ask until `read` takes an answer; None, counted and said, after the last attempt."""
        cause, attempt = "", 0
        while attempt < attempts:
            attempt += 1
            if monotonic_ns() < self._barred_ns:
                cause = cause or "the venue wants no requests for now"
                break
            try:
                async with self._free:
                    body = await self._get(self._base_url + path, self._timeout_s)
                return read(body)
            except FetchFailed as failed:
                cause, (is_final, wait_s) = str(failed), judge(failed)
            except AnswerError as error:
                cause, is_final, wait_s = str(error), False, 0.0
            self._counters.add(Counter.feeds_requests_failed)
            if wait_s:
                self._barred_ns = monotonic_ns() + round(wait_s * E9)
            if is_final or attempt == attempts or wait_s > PATIENCE_S:
                break
            await asyncio.sleep(max(wait_s, backoff_s(attempt, random.random())))
        log.warning("request_failed", path=path, cause=cause, attempts=attempt)
        return None
