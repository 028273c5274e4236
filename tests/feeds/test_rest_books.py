import asyncio
import json
import uuid
from contextlib import closing
from itertools import pairwise

import pytest

from cache import layout
from cache.counters import Counter, CounterWriter
from cache.md_entry import MDBookError, MDRefreshError
from cache.segment import WriterSegment
from feeds import rest_books
from feeds.fetch import FetchFailed
from feeds.rest_books import (
    ASKED_MAX,
    FAILED_S_MAX,
    QUESTIONS_MAX,
    READ_COUNT,
    RETRY_AFTER_S_MAX,
    RestBooks,
)
from feeds.rest_books_wire import BOOKS_MAX
from tests.cache.md_world import JumpLoop

NO_BOOK = "999"
TIMESTAMP = "1790766981000"


class Venue:
    """Answers questions for books in reverse order; it waits at its gate."""

    def __init__(self, **faults):
        self.asked = []
        self.under_way = self.under_way_max = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.faults = faults

    async def post(self, url, timeout_s, question):
        tokens = [entry["token_id"] for entry in json.loads(question)]
        self.asked.append(tokens)
        self.url, self.timeout_s = url, timeout_s
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if "raises" in self.faults:
            raise self.faults["raises"]
        price = self.faults.get("price", "0.4")
        return self.faults.get("body") or json.dumps(
            [
                {
                    "asset_id": token, "timestamp": TIMESTAMP, "asks": [],
                    "bids": [{"price": price, "size": token}],
                }
                for token in reversed(tokens)
                if token != NO_BOOK
            ]
        ).encode()  # fmt: skip


@pytest.fixture
def ask(monkeypatch):
    """Run something with the questions of a venue; give both and the counters afterwards."""
    monkeypatch.setattr(rest_books, "GATHER_S", 0)
    monkeypatch.setattr(rest_books, "GAP_S", 0)
    segment = WriterSegment.create("feed.t.0", (), namespace=f"t{uuid.uuid4().hex[:12]}")

    def run(work, **faults):
        async def main():
            venue = Venue(**faults)
            books = RestBooks("http://v/clob/", segment.counters, timeout_s=1.5, post=venue.post)
            try:
                return await work(books, venue)
            finally:
                await books.close()

        with closing(JumpLoop()) as loop:
            return loop.run_until_complete(main())

    run.counters = segment.counters
    yield run
    segment.close(remove=True)


def test_what_is_wanted_together_is_one_question_and_each_gets_its_own_book(ask):
    async def work(books, venue):
        tokens = [str(number) for number in range(1, 30)] + [NO_BOOK, "7"]
        found = await asyncio.gather(*(books.refresh(token, 20) for token in tokens))
        sizes = [book and book.bids[0][1] // 10**9 for book in found]
        assert sizes == [*range(1, 30), None, 7]
        assert venue.asked == [tokens[:-1]]
        assert (venue.url, venue.timeout_s) == ("http://v/clob/books", 1.5)

    ask(work)
    assert ask.counters[Counter.feeds_witness_asked] == 1


def test_a_question_has_no_more_tokens_than_its_answer_has_room_for(ask, monkeypatch):
    monkeypatch.setattr(rest_books, "ASKED_MAX", 3)

    async def work(books, venue):
        await asyncio.gather(*(books.refresh(str(number), 20) for number in range(1, 8)))
        assert [len(tokens) for tokens in venue.asked] == [3, 3, 1]

    ask(work)


def test_one_question_begins_no_sooner_after_the_other_than_the_venue_allows(ask, monkeypatch):
    monkeypatch.setattr(rest_books, "ASKED_MAX", 2)
    monkeypatch.setattr(rest_books, "GAP_S", 0.02)

    async def work(books, venue):
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(books.refresh(str(number), 20) for number in range(1, 10)))
        assert len(venue.asked) == 5
        assert asyncio.get_running_loop().time() - begun >= 4 * 0.02

    ask(work)


def test_the_rate_of_questions_is_within_what_the_venue_allows():
    assert 10 / rest_books.GAP_S <= 500
    assert ASKED_MAX <= BOOKS_MAX


def test_few_questions_are_under_way_and_the_rest_is_gathered_meanwhile(ask):
    async def work(books, venue):
        venue.gate.clear()
        wanted = []
        for number in range(1, 11):
            wanted.append(asyncio.create_task(books.refresh(str(number), 20)))
            await asyncio.sleep(0.001)
        assert venue.under_way == QUESTIONS_MAX
        venue.gate.set()
        await asyncio.gather(*wanted)
        assert venue.under_way_max == QUESTIONS_MAX
        assert len(venue.asked) == QUESTIONS_MAX + 1

    ask(work)


def test_who_has_given_up_is_not_asked_for_and_harms_nobody(ask):
    async def work(books, venue):
        venue.gate.clear()
        first = [asyncio.create_task(books.refresh(token, 20)) for token in ("1", "2")]
        await asyncio.sleep(0.002)
        first[0].cancel()
        given_up = asyncio.create_task(books.refresh("3", 20))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0.002)
        venue.gate.set()
        assert (await first[1]).bids
        assert venue.asked == [["1", "2"]]

    ask(work)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"raises": FetchFailed("status 503", status=503)}, "status 503"),
        ({"body": b'{"error":"no"}'}, "no list of books"),
        ({"body": b'[{"asset_id":1}, 2, null]'}, "no book"),
    ],
)
def test_a_question_that_fails_fails_for_all_who_waited(ask, faults, expected):
    async def work(books, venue):
        found = await asyncio.gather(
            *(books.refresh(token, 20) for token in "123"), return_exceptions=True
        )
        assert [type(fault) for fault in found] == [MDRefreshError] * 3
        assert expected in str(found[0])
        assert books._next_s > asyncio.get_running_loop().time(), "it is asked less"

    ask(work, **faults)


def test_a_fault_of_ours_is_not_taken_for_the_venues(ask):
    async def work(books, venue):
        with pytest.raises(ZeroDivisionError):
            await books.refresh("1", 20)

    ask(work, raises=ZeroDivisionError())


def test_a_book_that_cannot_be_one_fails_alone(ask):
    async def work(books, venue):
        with pytest.raises(MDBookError):
            await books.refresh("1", 20)

    ask(work, price="2.5")


def test_closing_ends_what_is_under_way(ask):
    async def work(books, venue):
        venue.gate.clear()
        wanted = asyncio.create_task(books.refresh("1", 20))
        await asyncio.sleep(0.002)
        await books.close()
        with pytest.raises(MDRefreshError, match="ended"):
            await wanted
        assert venue.under_way == 0

    ask(work)


def test_closing_tells_who_waits_for_a_question_that_never_began(ask):
    async def work(books, venue):
        wanted = asyncio.create_task(books.refresh("1", 20))
        await asyncio.sleep(0)
        await books.close()
        with pytest.raises(MDRefreshError, match="ended"):
            await wanted
        assert venue.asked == []

    ask(work)


def test_after_closing_nothing_is_asked_any_more(ask):
    async def work(books, venue):
        venue.gate.clear()
        for token in range(2 * QUESTIONS_MAX):
            asyncio.create_task(books.refresh(str(token), 20)).add_done_callback(
                lambda task: task.exception()
            )
            await asyncio.sleep(0.002)
        asked_count = len(venue.asked)
        await books.close()
        await asyncio.sleep(0.01)
        assert len(venue.asked) == asked_count

    ask(work)


def test_frames_are_looked_after_between_the_books_of_a_long_answer(ask):
    async def work(books, venue):
        venue.gate.clear()
        tokens = [str(number) for number in range(1, 4 * READ_COUNT + 1)]
        wanted = [asyncio.create_task(books.refresh(token, 20)) for token in tokens]
        await asyncio.sleep(0.002)
        venue.gate.set()
        done_counts = set()
        while not all(task.done() for task in wanted):
            await asyncio.sleep(0)
            done_counts.add(sum(task.done() for task in wanted))
        assert len(done_counts) >= 4

    ask(work)


def test_books_beside_one_that_is_none_are_given_and_no_token_is_said_to_have_none(ask):
    level = [{"price": "0.4", "size": "1"}]
    good = {"asset_id": "1", "timestamp": TIMESTAMP, "bids": level, "asks": []}
    wrong = good | {"asset_id": "2", "timestamp": 1}
    body = json.dumps([good, wrong, good | {"asset_id": "4"}]).encode()

    async def work(books, venue):
        found = await asyncio.gather(
            *(books.refresh(token, 20) for token in "1234"), return_exceptions=True
        )
        assert found[0].bids
        assert found[3].bids
        assert [type(fault) for fault in found[1:3]] == [MDRefreshError] * 2
        now_s = asyncio.get_running_loop().time()
        assert books._next_s <= now_s, "the venue answered: it is asked on"

    ask(work, body=body)


# --- a venue that fails is asked less -------------------------------------------------------------


class Refused:
    """Books of a venue that fails, wanted by a hundred tokens that each ask again and again."""

    def __init__(self, *faults, latency_s=0.01):
        self.loop = JumpLoop()
        self.faults, self.latency_s = list(faults), latency_s
        self.asked_s = []
        writer = CounterWriter(memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q"))
        self.books = RestBooks("http://v", writer, timeout_s=1.0, post=self.post)

    async def post(self, url, timeout_s, question):
        self.asked_s.append(self.loop.time())
        fault = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
        await asyncio.sleep(self.latency_s)
        if fault is None:
            tokens = [entry["token_id"] for entry in json.loads(question)]
            book = {"timestamp": TIMESTAMP, "bids": [], "asks": []}
            return json.dumps([book | {"asset_id": token} for token in tokens]).encode()
        raise fault

    async def want(self, token, until_s):
        while self.loop.time() < until_s:
            try:
                async with asyncio.timeout(1.0):
                    await self.books.refresh(token, 20)
                return
            except (MDRefreshError, TimeoutError):
                await asyncio.sleep(0.03 + int(token) / 1e3)  # Each has a delay of its own.

    def run(self, seconds):
        async def main():
            until_s = self.loop.time() + seconds
            await asyncio.gather(*(self.want(str(number), until_s) for number in range(100)))
            await self.books.close()

        self.loop.run_until_complete(main())
        self.loop.close()
        return [later - sooner for sooner, later in pairwise(self.asked_s)]


def refusal(retry_after="", status=429):
    return FetchFailed(f"status {status}", status=status, retry_after=retry_after)


def test_a_venue_that_fails_is_asked_later_and_later_however_many_tokens_want_a_book():
    one = Refused(refusal(status=503))
    gaps = one.run(60)
    assert len(one.asked_s) <= 60, "before there were as many as the least gap allows"
    assert gaps[1] >= 0.25 - one.latency_s
    assert all(FAILED_S_MAX / 2 <= gap <= FAILED_S_MAX + 0.1 for gap in gaps[6:])


def test_a_retry_after_is_obeyed_by_every_token():
    one = Refused(refusal("20"), None)
    gap = one.run(60)[0]
    assert gap == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ("text", "least_s", "most_s"),
    [
        ("9" * 5_000, RETRY_AFTER_S_MAX, RETRY_AFTER_S_MAX + 0.1),
        *((text, 0.1, 0.5) for text in ("-1", "nan", "inf", "", "\u0663", "Wed, 21 Oct 2026")),
    ],
)
def test_a_retry_after_beyond_belief_is_bounded_and_none_is_a_delay_all_the_same(
    text, least_s, most_s
):
    gap = Refused(refusal(text), None).run(2 * RETRY_AFTER_S_MAX)[0]
    assert least_s <= gap <= most_s


def test_an_answer_ends_the_delay():
    one = Refused(*[refusal(status=503)] * 5, None, refusal(status=503), None)

    async def work():
        await one.want("1", one.loop.time() + 60)
        begun_s = one.loop.time()
        await one.want("2", begun_s + 60)
        assert one.loop.time() - begun_s < 1.0
        await one.books.close()

    one.loop.run_until_complete(work())
    one.loop.close()
    assert len(one.asked_s) == 8


def test_what_is_scheduled_already_waits_too_when_another_question_fails():
    one = Refused(refusal("20"), None, latency_s=0.02)

    async def work():
        first = asyncio.create_task(one.want("1", one.loop.time() + 60))
        await asyncio.sleep(0.015)
        second = asyncio.create_task(one.want("2", one.loop.time() + 60))
        await asyncio.gather(first, second)
        await one.books.close()

    one.loop.run_until_complete(work())
    one.loop.close()
    assert one.asked_s[1] - one.asked_s[0] == pytest.approx(20, abs=0.1)


def test_a_retry_after_holds_when_a_question_fails_later_that_says_no_time():
    one = Refused(refusal("20"), refusal(status=503), None, latency_s=0.06)

    async def work():
        first = asyncio.create_task(one.want("1", one.loop.time() + 60))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(one.want("2", one.loop.time() + 60))
        await asyncio.gather(first, second)
        await one.books.close()

    one.loop.run_until_complete(work())
    one.loop.close()
    assert one.asked_s[1] - one.asked_s[0] < 0.06, "both were under way"
    assert one.asked_s[2] - one.asked_s[0] == pytest.approx(20, abs=0.1)
