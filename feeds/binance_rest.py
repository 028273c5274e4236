"""Asks Binance's REST side, beside the frames: a question never holds one up.

Each request runs on a thread of its own, which does nothing but wait for bytes; the event loop
reads the answer. (A thread and the standard library cost nothing at the start; the asynchronous
HTTP client would cost 160 ms and 8 MB of a process that asks two questions a day.) A question is
bounded in time, in size and in attempts, and the venue's Retry-After is obeyed by all of them.

The invariant: whatever goes wrong is counted, and after the last attempt said once, and None; it
never looks like an answer. What the answers mean is `feeds/binance_rest_wire.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from cache.counters import Counter, CounterWriter
from cache.layout import E9
from feeds.binance_rest_wire import AnswerError
from feeds.dialing import backoff_s
from host.clock import monotonic_ns
from host.log import get_log

ATTEMPTS: Final = 4
AT_ONCE: Final = 4
BODY_BYTES_MAX: Final = 4 << 20
BAN_S: Final = 120.0
"""The shortest ban; what is obeyed where the venue says "too many" without saying how long."""

PATIENCE_S: Final = 30.0
"""A question does not wait longer than this for the venue to want it."""

_BUSY: Final = (418, 429)
_FINAL: Final = range(400, 500)
_CHUNK_BYTES: Final = 1 << 16
_HEADERS: Final = {"User-Agent": "penstock/0.1", "Accept": "application/json"}

Read = TypeVar("Read")
log = get_log("feeds")


class RequestFailed(Exception):
    """No answer: what happened, whether it is final, and how long the venue wants none."""

    def __init__(self, cause: str, *, is_final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_final = is_final
        self.wait_s = wait_s


def fetch(url: str, timeout_s: float) -> bytes:
    """Get a body, blocking. Raises RequestFailed."""
    deadline_ns = monotonic_ns() + round(timeout_s * E9)
    host = urlsplit(url).hostname or ""
    is_local = host == "localhost" or host.startswith("127.")
    opener = build_opener(ProxyHandler({})) if is_local else build_opener()
    parts: list[bytes] = []
    size = 0
    try:
        with opener.open(Request(url, headers=_HEADERS), timeout=timeout_s) as answer:
            while part := answer.read1(_CHUNK_BYTES):
                size += len(part)
                parts.append(part)
                if size > BODY_BYTES_MAX:
                    raise RequestFailed(f"more than {BODY_BYTES_MAX} bytes", is_final=True)
                if monotonic_ns() > deadline_ns:
                    raise RequestFailed("took too long")
    except HTTPError as error:
        with error:
            raise _refused(error) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RequestFailed(str(error) or type(error).__name__) from None
    return b"".join(parts)


def _refused(error: HTTPError) -> RequestFailed:
    wait_s = 0.0
    if error.code in _BUSY:
        text = error.headers.get("Retry-After", "")
        wait_s = float(text) if text.isascii() and text.isdigit() else BAN_S
    is_final = error.code in _FINAL and error.code not in _BUSY
    return RequestFailed(f"HTTP {error.code}", is_final=is_final, wait_s=wait_s)


async def fetch_aside(url: str, timeout_s: float) -> bytes:
    """Get a body on a thread of its own, which ends with the process. Raises RequestFailed.

    Not by the loop's executor: that is waited for at the end, and a venue may be slow.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes | RequestFailed] = loop.create_future()

    def settle(found: bytes | RequestFailed) -> None:
        if not done.done():
            done.set_result(found)

    def work() -> None:
        found: bytes | RequestFailed
        try:
            found = fetch(url, timeout_s)
        except RequestFailed as failed:
            found = failed
        with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile.
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name="rest", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s + 1.0):
            found = await done
    except TimeoutError:
        raise RequestFailed("took too long") from None
    if isinstance(found, RequestFailed):
        raise found
    return found


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

    async def ask(self, path: str, read: Callable[[bytes], Read]) -> Read | None:
        """Ask until `read` takes an answer; None, counted and said, after the last attempt."""
        cause, attempt = "", 0
        while attempt < ATTEMPTS:
            attempt += 1
            if monotonic_ns() < self._barred_ns:
                cause = cause or "the venue wants no requests for now"
                break
            try:
                async with self._free:
                    body = await self._get(self._base_url + path, self._timeout_s)
                return read(body)
            except RequestFailed as failed:
                cause, is_final, wait_s = failed.cause, failed.is_final, failed.wait_s
            except AnswerError as error:
                cause, is_final, wait_s = str(error), False, 0.0
            self._counters.add(Counter.feeds_requests_failed)
            if wait_s:
                self._barred_ns = monotonic_ns() + round(wait_s * E9)
            if is_final or attempt == ATTEMPTS or wait_s > PATIENCE_S:
                break
            await asyncio.sleep(max(wait_s, backoff_s(attempt, random.random())))
        log.warning("request_failed", path=path, cause=cause, attempts=attempt)
        return None
