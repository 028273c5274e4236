"""Asks Gamma and the CLOB over HTTP; what they answer is read by `feeds/gamma_wire.py`.

Every question is bounded in time and in size. The invariant: "not there" (404, an empty list) is
None, which is normal for a market that is about to be made; whatever else goes wrong is a
`LookupFailed` or a `GammaError`, and never looks like an answer. It does not repeat a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from urllib.parse import quote

import aiohttp

from cache.errors import PenstockError
from feeds.gamma_wire import (
    EventPrices,
    GammaError,
    MarketInfo,
    parse_book_listing,
    parse_event,
    parse_market,
    parse_markets,
)

BODY_BYTES_MAX = 4 << 20
_HEADERS = {"User-Agent": "penstock/0.1", "Accept": "application/json"}
"""The library's default User-Agent is refused by the venue's front."""
_EMPTY = (b"", b"[]", b"null", b"{}")


class LookupFailed(PenstockError):
    """The venue could not be asked, or answered with an error."""


class GammaClient:
    """One HTTP session with the venue's catalogue; use it as an async context."""

    def __init__(self, gamma_url: str, clob_url: str, *, timeout_s: float) -> None:
        self._gamma_url = gamma_url.rstrip("/")
        self._clob_url = clob_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> GammaClient:
        self._http = aiohttp.ClientSession(timeout=self._timeout, headers=_HEADERS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def market(self, slug: str) -> MarketInfo | None:
        """Look a market up by its slug; None while it does not exist."""
        body = await self._get(f"{self._gamma_url}/markets/slug/{quote(slug, safe='')}")
        if body is None:
            return None
        market = parse_market(body)
        if market.slug != slug:
            raise GammaError("slug", f"is {market.slug[:60]!r}, asked for {slug!r}")
        return market

    async def event(self, slug: str, condition_id: str) -> EventPrices | None:
        """Look up what is known of a window's official prices; None while it does not exist."""
        body = await self._get(f"{self._gamma_url}/events/slug/{quote(slug, safe='')}")
        return None if body is None else parse_event(body, condition_id)

    async def markets_of(self, tokens: Sequence[str]) -> list[MarketInfo | GammaError]:
        """Look up the markets of some tokens; those Gamma does not know are left out."""
        query = [("clob_token_ids", token) for token in tokens]
        body = await self._get(f"{self._gamma_url}/markets", query)
        return [] if body is None else parse_markets(body)

    async def listing(self, token_id: str) -> MarketInfo | None:
        """Look up what the CLOB's book says of a token's market; None if it has no book."""
        body = await self._get(f"{self._clob_url}/book", [("token_id", token_id)])
        return None if body is None else parse_book_listing(body, token_id)

    async def _get(self, url: str, query: Sequence[tuple[str, str]] = ()) -> bytes | None:
        assert self._http is not None  # used outside of its context
        try:
            async with self._http.get(url, params=list(query)) as response:
                body = await _bounded(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise LookupFailed(f"{url}: {type(error).__name__} {error}") from None
        if response.status == 404:
            return None
        if response.status != 200:
            raise LookupFailed(f"{url}: status {response.status}")
        return None if body.strip() in _EMPTY else body


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read a body of at most BODY_BYTES_MAX. Raises LookupFailed."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise LookupFailed(f"{response.url}: a body over {BODY_BYTES_MAX} bytes")
    return bytes(body)
