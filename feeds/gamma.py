"""Asks Gamma and the CLOB over HTTP; what they answer is read by `feeds/gamma_wire.py`.

Every question is bounded in time and in size. The invariant: "not there" (404, an empty list) is
None, which is normal for a market that is about to be made; whatever else goes wrong is a
`LookupFailed` or a `GammaError`, and never looks like an answer. It does not repeat a question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from urllib.parse import quote, urlencode

from cache.errors import PenstockError
from feeds.fetch import FetchFailed, fetch_aside
from feeds.gamma_wire import (
    EventPrices,
    GammaError,
    MarketInfo,
    parse_book_listing,
    parse_event,
    parse_market,
    parse_markets,
)

_EMPTY = (b"", b"[]", b"null", b"{}")


class LookupFailed(PenstockError):
    """The venue could not be asked, or answered with an error."""


class GammaClient:
    """The venue's catalogue; belongs to the event loop."""

    def __init__(
        self,
        gamma_url: str,
        clob_url: str,
        *,
        timeout_s: float,
        get: Callable[[str, float], Awaitable[bytes]] = fetch_aside,
    ) -> None:
        self._gamma_url = gamma_url.rstrip("/")
        self._clob_url = clob_url.rstrip("/")
        self._timeout_s = timeout_s
        self._get = get

    async def market(self, slug: str) -> MarketInfo | None:
        """Look a market up by its slug; None while it does not exist."""
        body = await self._ask(f"{self._gamma_url}/markets/slug/{quote(slug, safe='')}")
        if body is None:
            return None
        market = parse_market(body)
        if market.slug != slug:
            raise GammaError("slug", f"is {market.slug[:60]!r}, asked for {slug!r}")
        return market

    async def event(self, slug: str, condition_id: str) -> EventPrices | None:
        """Look up what is known of a window's official prices; None while it does not exist."""
        body = await self._ask(f"{self._gamma_url}/events/slug/{quote(slug, safe='')}")
        return None if body is None else parse_event(body, condition_id)

    async def markets_of(self, tokens: Sequence[str]) -> list[MarketInfo | GammaError]:
        """Look up the markets of some tokens; those Gamma does not know are left out."""
        query = [("clob_token_ids", token) for token in tokens]
        if len(tokens) > 1:  # Without it the answer may be cut.
            query.append(("limit", str(len(tokens))))
        body = await self._ask(f"{self._gamma_url}/markets", query)
        return [] if body is None else parse_markets(body)

    async def listing(self, token_id: str) -> MarketInfo | None:
        """Look up what the CLOB's book says of a token's market; None if it has no book."""
        body = await self._ask(f"{self._clob_url}/book", [("token_id", token_id)])
        return None if body is None else parse_book_listing(body, token_id)

    async def _ask(self, url: str, query: Sequence[tuple[str, str]] = ()) -> bytes | None:
        if query:
            url = f"{url}?{urlencode(query)}"
        try:
            body = await self._get(url, self._timeout_s)
        except FetchFailed as failed:
            if failed.status == HTTPStatus.NOT_FOUND:
                return None
            raise LookupFailed(f"{url}: {failed}") from None
        return None if body.strip() in _EMPTY else body
