import asyncio
import json

import pytest

from feeds.fetch import FetchFailed
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


def ask(answer, question):
    """Ask a venue that answers with a body, or raises; give what was found, and the URLs."""
    asked = []

    async def get(url, timeout_s):
        asked.append(url)
        if isinstance(answer, FetchFailed):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    client = GammaClient("http://venue/gamma/", "http://venue/clob", timeout_s=1, get=get)
    return asyncio.run(question(client)), asked


def test_a_market_is_asked_for_by_its_slug():
    market, asked = ask(MARKET, lambda client: client.market(SLUG))
    assert market.token_ids == ("111", "222")
    assert asked == [f"http://venue/gamma/markets/slug/{SLUG}"]


@pytest.mark.parametrize("answer", [FetchFailed("status 404", status=404), b"[]", b" null\n"])
def test_what_is_not_there_yet_is_none(answer):
    assert ask(answer, lambda client: client.market(SLUG))[0] is None
    assert ask(answer, lambda client: client.event(SLUG, "0x"))[0] is None
    assert ask(answer, lambda client: client.listing("111"))[0] is None
    assert ask(answer, lambda client: client.markets_of(["111"]))[0] == []


@pytest.mark.parametrize("status", [500, 403, 302, 0])
def test_a_venue_that_does_not_answer_is_a_failed_lookup(status):
    with pytest.raises(LookupFailed, match=r"^http://venue/gamma.*: refused"):
        ask(FetchFailed("refused", status=status), lambda client: client.market(SLUG))


def test_another_market_than_the_one_asked_for_is_refused():
    with pytest.raises(GammaError, match="slug"):
        ask(MARKET, lambda client: client.market("btc-updown-5m-1791000300"))


def test_an_event_gives_the_official_prices():
    event = {"eventMetadata": {"priceToBeat": 7.5}}
    found, asked = ask(event, lambda client: client.event(SLUG, "0x"))
    assert found == EventPrices(7_500_000_000)
    assert asked == [f"http://venue/gamma/events/slug/{SLUG}"]


def test_markets_are_asked_for_by_their_tokens():
    found, asked = ask([MARKET], lambda client: client.markets_of(["111", "5"]))
    assert found[0].slug == SLUG
    assert asked == ["http://venue/gamma/markets?clob_token_ids=111&clob_token_ids=5&limit=2"]
    _, asked = ask([MARKET], lambda client: client.markets_of(["111"]))
    assert asked == ["http://venue/gamma/markets?clob_token_ids=111"]


def test_a_book_is_asked_for_by_its_token():
    book = {"asset_id": "111", "market": "0x" + "ab" * 32, "tick_size": "0.01"}
    with pytest.raises(GammaError, match="min_order_size"):
        ask(book, lambda client: client.listing("111"))
    found, asked = ask(book | {"min_order_size": "5"}, lambda client: client.listing("111"))
    assert found.token_ids == ("111", "")
    assert asked == ["http://venue/clob/book?token_id=111"]
