import asyncio
import json

import aiohttp
import pytest

from feeds import gamma
from feeds.gamma import GammaClient, LookupFailed
from feeds.gamma_wire import EventPrices, GammaError

START = 1_791_000_000
SLUG = f"btc-updown-5m-{START}"
MARKET = {
    "slug": SLUG,
    "conditionId": "0x" + "ab" * 32,
    "outcomes": '["Up", "Down"]',
    "clobTokenIds": '["111", "222"]',
    "orderPriceMinTickSize": 0.01,
    "orderMinSize": 5,
    "eventStartTime": "2026-10-03T04:00:00Z",
    "endDate": "2026-10-03T04:05:00Z",
}


class Content:
    def __init__(self, body):
        self.body = body

    async def iter_any(self):
        for at in range(0, len(self.body), 1 << 20):
            yield self.body[at : at + (1 << 20)]


class Answer:
    """Stands in for an HTTP answer, or raises instead of one."""

    def __init__(self, status, body):
        self.status, self.content, self.url = status, Content(body), "http://venue/x"

    async def __aenter__(self):
        if isinstance(self.status, BaseException):
            raise self.status
        return self

    async def __aexit__(self, *_):
        return None


class Http:
    def __init__(self, status, body):
        self.answer, self.asked = Answer(status, body), []

    def get(self, url, params):
        self.asked.append((url, params))
        return self.answer


def ask(status, body, question):
    client = GammaClient("http://venue/gamma/", "http://venue/clob", timeout_s=1)
    client._http = Http(status, body if isinstance(body, bytes) else json.dumps(body).encode())
    return asyncio.run(question(client)), client._http.asked


def test_a_market_is_asked_for_by_its_slug():
    market, asked = ask(200, MARKET, lambda client: client.market(SLUG))
    assert market.token_ids == ("111", "222")
    assert asked == [(f"http://venue/gamma/markets/slug/{SLUG}", [])]


@pytest.mark.parametrize(("status", "body"), [(404, b"no"), (200, b"[]"), (200, b" null\n")])
def test_what_is_not_there_yet_is_none(status, body):
    assert ask(status, body, lambda client: client.market(SLUG))[0] is None
    assert ask(status, body, lambda client: client.event(SLUG, "0x"))[0] is None
    assert ask(status, body, lambda client: client.listing("111"))[0] is None
    assert ask(status, body, lambda client: client.markets_of(["111"]))[0] == []


@pytest.mark.parametrize(
    "status",
    [500, 403, 302, TimeoutError(), aiohttp.ClientConnectionError("refused"), OSError("no")],
)
def test_a_venue_that_does_not_answer_is_a_failed_lookup(status):
    with pytest.raises(LookupFailed, match="http://venue/gamma"):
        ask(status, MARKET, lambda client: client.market(SLUG))


def test_an_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(gamma, "BODY_BYTES_MAX", 1000)
    with pytest.raises(LookupFailed, match="1000 bytes"):
        ask(200, b"x" * 5000, lambda client: client.market(SLUG))


def test_another_market_than_the_one_asked_for_is_refused():
    with pytest.raises(GammaError, match="slug"):
        ask(200, MARKET, lambda client: client.market("btc-updown-5m-1791000300"))


def test_an_event_gives_the_official_prices():
    event = {"eventMetadata": {"priceToBeat": 7.5}}
    found, asked = ask(200, event, lambda client: client.event(SLUG, "0x"))
    assert found == EventPrices(7_500_000_000)
    assert asked == [(f"http://venue/gamma/events/slug/{SLUG}", [])]


def test_markets_are_asked_for_by_their_tokens():
    found, asked = ask(200, [MARKET], lambda client: client.markets_of(["111", "5"]))
    assert found[0].slug == SLUG
    assert asked[0][1] == [("clob_token_ids", "111"), ("clob_token_ids", "5")]


def test_a_book_is_asked_for_by_its_token():
    book = {"asset_id": "111", "market": "0x" + "ab" * 32, "tick_size": "0.01"}
    with pytest.raises(GammaError, match="min_order_size"):
        ask(200, book, lambda client: client.listing("111"))
    found, asked = ask(200, book | {"min_order_size": "5"}, lambda client: client.listing("111"))
    assert found.token_ids == ("111", "")
    assert asked == [("http://venue/clob/book", [("token_id", "111")])]
