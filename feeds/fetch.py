"""Gets one body over HTTP, beside the frames: a question never holds one up.

Each request runs on a thread of its own, which does nothing but wait for bytes. (A thread and the
standard library cost nothing at the start; an asynchronous HTTP client costs a feed that starts
150 ms, and 8 MB, for a few questions a minute.)

The invariant: a request is bounded in time and in size, and whatever is not a whole answer of
status 200 is a `FetchFailed` that says its status. Who asks aside is told in time even where the
thread cannot be ended (a look-up of a name that hangs, headers that drip); no more than `LEFT_MAX`
such threads are left behind before nothing is asked any more. It asks once, and knows no venue.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ssl
import threading
from functools import cache
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from cache.errors import PenstockError
from cache.layout import E9
from host.clock import monotonic_ns

BODY_BYTES_MAX: Final = 4 << 20
LEFT_MAX: Final = 8
"""Threads that still wait for an answer that nobody waits for; beyond them nothing is asked."""

_CHUNK_BYTES: Final = 1 << 16
_HEADERS: Final = {"User-Agent": "penstock/0.1", "Accept": "application/json"}
"""The library's default User-Agent is refused by the venues' fronts."""


class FetchFailed(PenstockError):
    """No answer of status 200: what happened."""

    def __init__(self, cause: str, *, status: int = 0, retry_after: str = "") -> None:
        super().__init__(cause)
        self.status = status
        """0 where there was no answer at all."""
        self.retry_after = retry_after
        """The header of that name, as it came."""


@cache
def _certificates() -> ssl.SSLContext:
    """Read the host's certificates once: it takes 20 ms, and witnesses are asked every second."""
    return ssl.create_default_context()


def fetch(url: str, timeout_s: float, question: bytes | None = None) -> bytes:
    """Get a body, blocking; a JSON `question` is POSTed. Raises FetchFailed."""
    deadline_ns = monotonic_ns() + round(timeout_s * E9)
    address = urlsplit(url)
    host = address.hostname or ""
    handlers: list[ProxyHandler | HTTPSHandler] = []
    if host in ("localhost", "::1") or host.startswith("127."):
        handlers.append(ProxyHandler({}))
    if address.scheme == "https":
        handlers.append(HTTPSHandler(context=_certificates()))
    headers = _HEADERS if question is None else _HEADERS | {"Content-Type": "application/json"}
    body = bytearray()
    try:
        opener = build_opener(*handlers)
        request = Request(url, question, headers)
        with opener.open(request, timeout=timeout_s) as answer:
            if answer.status != http.client.OK:
                raise FetchFailed(f"status {answer.status}", status=answer.status)
            while part := answer.read1(_CHUNK_BYTES):
                body += part
                if len(body) > BODY_BYTES_MAX:
                    raise FetchFailed(f"a body over {BODY_BYTES_MAX} bytes", status=answer.status)
                if monotonic_ns() > deadline_ns:
                    raise FetchFailed("took too long", status=answer.status)
            if answer.length:  # What `read1` takes for the end, the header does not.
                raise FetchFailed(f"cut off: {answer.length} bytes missing", status=answer.status)
    except HTTPError as error:
        with error:
            after = error.headers.get("Retry-After", "")
            raise FetchFailed(
                f"status {error.code}", status=error.code, retry_after=after
            ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchFailed(f"{type(error).__name__} {error}".rstrip()) from None
    return bytes(body)


_left: set[threading.Thread] = set()


async def fetch_aside(url: str, timeout_s: float, question: bytes | None = None) -> bytes:
    """Do what `fetch` does on a thread of its own, which ends with the process.

    Not by the loop's executor: that is waited for at the end, and a venue may be slow.
    """
    _left.difference_update([thread for thread in _left if not thread.is_alive()])
    if len(_left) >= LEFT_MAX:
        raise FetchFailed(f"too many unanswered questions: {len(_left)}")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes | FetchFailed] = loop.create_future()

    def settle(found: bytes | FetchFailed) -> None:
        if not done.done():
            done.set_result(found)

    def work() -> None:
        found: bytes | FetchFailed
        try:
            found = fetch(url, timeout_s, question)
        except FetchFailed as failed:
            found = failed
        with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile.
            loop.call_soon_threadsafe(settle, found)

    thread = threading.Thread(target=work, name="fetch", daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(timeout_s + 1.0):
            found = await done
    except TimeoutError:
        raise FetchFailed("took too long") from None
    finally:
        if done.cancelled():  # By the time-out, or because whoever asked was ended.
            _left.add(thread)
    if isinstance(found, FetchFailed):
        raise found
    return found
