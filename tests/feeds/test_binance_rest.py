import asyncio
import io
from http.client import HTTPMessage
from types import SimpleNamespace
from urllib.error import HTTPError

import pytest

from cache.counters import Counter
from cache.layout import E9
from feeds import binance_rest
from feeds.binance_rest import (
    ATTEMPTS,
    BAN_S,
    BODY_BYTES_MAX,
    BinanceRest,
    RequestFailed,
    fetch,
    fetch_aside,
)
from feeds.binance_rest_wire import AnswerError


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


def test_a_failure_is_counted_and_asked_again_later_and_later(world):
    failures = [RequestFailed("refused")] * (ATTEMPTS - 1)
    assert world.ask(*failures, b"text") == "text"
    assert world.failed == ATTEMPTS - 1
    assert len(world.slept) == ATTEMPTS - 1
    assert all(0.25 <= slept <= 4.0 for slept in world.slept)
    assert world.lines == []


def test_after_the_last_attempt_it_is_said_once_and_there_is_no_answer(world):
    assert world.ask(*[RequestFailed("refused")] * ATTEMPTS) is None
    assert (world.failed, len(world.asked)) == (ATTEMPTS, ATTEMPTS)
    (line,) = world.lines
    assert line == ("request_failed", {"path": "/path", "cause": "refused", "attempts": ATTEMPTS})


def test_an_answer_that_cannot_be_read_is_a_failure(world):
    def read(body):
        raise AnswerError("no list")

    assert world.ask(*[b"{}"] * ATTEMPTS, read=read) is None
    assert world.failed == ATTEMPTS


def test_what_will_not_change_is_not_asked_again(world):
    assert world.ask(RequestFailed("HTTP 451", is_final=True)) is None
    assert (world.failed, world.slept) == (1, [])


def test_a_short_wait_that_the_venue_asks_for_is_waited(world):
    assert world.ask(RequestFailed("HTTP 429", wait_s=20.0), b"text") == "text"
    assert world.slept == [20.0]


def test_during_a_long_wait_nothing_is_asked_of_anybody(world):
    assert world.ask(RequestFailed("HTTP 418", wait_s=120.0)) is None
    assert world.ask() is None
    assert len(world.asked) == 1
    assert len(world.lines) == 2
    world.now_ns += 121 * E9
    assert world.ask(b"text") == "text"


# --- one request ----------------------------------------------------------------------------------


class Answer(io.BytesIO):
    pass


class Opener:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def open(self, request, timeout):
        self.asked.append((request.full_url, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def opened(monkeypatch, answer):
    opener = Opener(answer)
    monkeypatch.setattr(binance_rest, "build_opener", lambda *handlers: opener)
    return opener


def refusal(code, **headers):
    message = HTTPMessage()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return HTTPError("http://venue", code, "text", message, io.BytesIO(b"{}"))


def test_a_body_is_fetched_whole(monkeypatch):
    opener = opened(monkeypatch, Answer(b"x" * 200_000))
    assert fetch("http://venue/path", 5.0) == b"x" * 200_000
    assert opener.asked == [("http://venue/path", 5.0)]


@pytest.mark.parametrize(
    ("error", "is_final", "wait_s"),
    [
        (refusal(400), True, 0.0),
        (refusal(403), True, 0.0),
        (refusal(451), True, 0.0),
        (refusal(429, Retry_After="7"), False, 7.0),
        (refusal(418, Retry_After="600"), False, 600.0),
        (refusal(429), False, BAN_S),
        (refusal(429, Retry_After="soon"), False, BAN_S),
        (refusal(500), False, 0.0),
        (refusal(503, Retry_After="7"), False, 0.0),
        (ConnectionRefusedError("no"), False, 0.0),
        (TimeoutError(), False, 0.0),
        (ValueError("unknown url type"), False, 0.0),
    ],
)
def test_a_refusal_says_whether_asking_again_may_help(monkeypatch, error, is_final, wait_s):
    opened(monkeypatch, error)
    with pytest.raises(RequestFailed) as failed:
        fetch("http://venue/path", 5.0)
    assert (failed.value.is_final, failed.value.wait_s) == (is_final, wait_s)
    assert failed.value.cause


def test_a_body_without_end_is_given_up(monkeypatch):
    opened(monkeypatch, Answer(b"x" * (BODY_BYTES_MAX + 1)))
    with pytest.raises(RequestFailed, match="more than"):
        fetch("http://venue/path", 5.0)


def test_a_body_that_drips_is_given_up(monkeypatch):
    now = iter(range(0, 1000 * E9, 2 * E9))
    monkeypatch.setattr(binance_rest, "monotonic_ns", lambda: next(now))
    answer = Answer(b"x" * 100)
    answer.read1 = lambda size: answer.read(1)
    opened(monkeypatch, answer)
    with pytest.raises(RequestFailed, match="too long"):
        fetch("http://venue/path", 5.0)


def test_a_request_runs_beside_the_loop_and_its_failure_comes_back(monkeypatch):
    async def run(answer):
        def work(url, timeout_s):
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(binance_rest, "fetch", work)
        return await fetch_aside("http://venue/path", 5.0)

    assert asyncio.run(run(b"text")) == b"text"
    with pytest.raises(RequestFailed, match="refused"):
        asyncio.run(run(RequestFailed("refused")))
