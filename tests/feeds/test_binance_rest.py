import asyncio
import inspect
from types import SimpleNamespace

import pytest

from cache.counters import Counter
from cache.layout import E9
from feeds import binance_rest
from feeds.binance_rest import AT_ONCE, ATTEMPTS, BAN_S, BAN_S_MAX, BinanceRest, judge
from feeds.binance_rest_wire import AnswerError
from feeds.fetch import FetchFailed, fetch_aside


def refusal(status, retry_after=""):
    return FetchFailed(f"status {status}", status=status, retry_after=retry_after)


class Counters(dict):
    def add(self, counter, count=1):
        self[counter] = self.get(counter, 0) + count


class World:
    """A venue that answers from a list, and the clock that sleeping moves."""

    def __init__(self, monkeypatch):
        self.now_ns = 1_000 * E9
        self.answers = []
        self.asked = []
        self.slept = []
        self.lines = []
        self.counters = Counters()
        monkeypatch.setattr(binance_rest, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(binance_rest, "asyncio", SimpleNamespace(
            Semaphore=asyncio.Semaphore, sleep=self.sleep))  # fmt: skip
        log = SimpleNamespace(warning=lambda event, **values: self.lines.append((event, values)))
        monkeypatch.setattr(binance_rest, "log", log)
        self.rest = BinanceRest("http://venue/", self.counters, timeout_s=5.0, get=self.get)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_ns += round(seconds * E9)

    async def get(self, url, timeout_s):
        self.asked.append((url, timeout_s))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, *answers, read=bytes.decode):
        self.answers = list(answers)
        return asyncio.run(self.rest.ask("/path", read))

    @property
    def failed(self):
        return self.counters.get(Counter.feeds_requests_failed, 0)


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_an_answer_is_what_its_reader_makes_of_it(world):
    assert world.ask(b"text") == "text"
    assert world.asked == [("http://venue/path", 5.0)]
    assert (world.failed, world.lines) == (0, [])


def test_few_questions_are_under_way_at_once_and_all_are_asked():
    under_way = most = 0

    async def get(url, timeout_s):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return b"text"

    async def crowd():
        rest = BinanceRest("http://venue/", Counters(), timeout_s=5.0, get=get)
        return await asyncio.gather(*(rest.ask("/path", bytes.decode) for _ in range(20)))

    assert asyncio.run(crowd()) == ["text"] * 20
    assert most == AT_ONCE


def test_a_failure_is_counted_and_asked_again_later_and_later(world):
    failures = [FetchFailed("refused")] * (ATTEMPTS - 1)
    assert world.ask(*failures, b"text") == "text"
    assert world.failed == ATTEMPTS - 1
    assert len(world.slept) == ATTEMPTS - 1
    assert all(0.25 <= slept <= 4.0 for slept in world.slept)
    assert world.lines == []


def test_after_the_last_attempt_it_is_said_once_and_there_is_no_answer(world):
    assert world.ask(*[FetchFailed("refused")] * ATTEMPTS) is None
    assert (world.failed, len(world.asked)) == (ATTEMPTS, ATTEMPTS)
    (line,) = world.lines
    assert line == ("request_failed", {"path": "/path", "cause": "refused", "attempts": ATTEMPTS})


def test_an_answer_that_cannot_be_read_is_a_failure(world):
    def read(body):
        raise AnswerError("no list")

    assert world.ask(*[b"{}"] * ATTEMPTS, read=read) is None
    assert world.failed == ATTEMPTS


def test_what_will_not_change_is_not_asked_again(world):
    assert world.ask(refusal(451)) is None
    assert (world.failed, world.slept) == (1, [])


def test_a_short_wait_that_the_venue_asks_for_is_waited(world):
    assert world.ask(refusal(429, "20"), b"text") == "text"
    assert world.slept == [20.0]


def test_during_a_long_wait_nothing_is_asked_of_anybody(world):
    assert world.ask(refusal(418, "120")) is None
    assert world.ask() is None
    assert len(world.asked) == 1
    assert len(world.lines) == 2
    world.now_ns += 121 * E9
    assert world.ask(b"text") == "text"


@pytest.mark.parametrize(
    ("status", "retry_after", "is_final", "wait_s"),
    [
        (400, "", True, 0.0),
        (403, "7", True, 0.0),
        (451, "", True, 0.0),
        (429, "7", False, 7.0),
        (429, "0", False, 0.0),
        (418, "600", False, 600.0),
        (429, "", False, BAN_S),
        (429, "soon", False, BAN_S),
        (429, "nan", False, BAN_S),
        (429, "inf", False, BAN_S),
        (429, "-5", False, BAN_S),
        (429, "\u0665", False, BAN_S),
        (418, "999999", False, BAN_S_MAX),
        (418, "9" * 400, False, BAN_S_MAX),
        (418, "9" * 5000, False, BAN_S_MAX),
        (500, "", False, 0.0),
        (503, "7", False, 0.0),
        (200, "", False, 0.0),
        (0, "", False, 0.0),
    ],
)
def test_a_refusal_says_whether_asking_again_may_help(status, retry_after, is_final, wait_s):
    failed = FetchFailed("refused", status=status, retry_after=retry_after)
    assert judge(failed) == (is_final, wait_s)


def test_a_ban_without_end_is_obeyed_for_as_long_as_the_venue_documents(world):
    assert world.ask(refusal(418, "9" * 400)) is None
    assert (world.failed, world.slept) == (1, [])
    world.now_ns += round(BAN_S_MAX - 1) * E9
    assert world.ask() is None
    world.now_ns += 2 * E9
    assert world.ask(b"text") == "text"


def test_it_asks_by_the_one_fetch_of_the_feeds():
    assert inspect.signature(BinanceRest).parameters["get"].default is fetch_aside
