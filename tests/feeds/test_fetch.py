import asyncio
import http.client
import io
import ssl
import threading
from email.message import Message
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler

import pytest

from feeds import fetch
from feeds.fetch import LEFT_MAX, FetchFailed, fetch_aside

URL = "https://venue/x"


class Answer(io.BytesIO):
    def __init__(self, body, status=200, *, missing=0):
        super().__init__(body)
        self.status = status
        self.length = missing


@pytest.fixture
def venue(monkeypatch):
    """Answers every request with what was put into it, or raises it."""

    class Venue:
        answer = Answer(b"")
        handlers = ()
        asked = ()
        question = None

        def open(self, request, timeout):
            self.asked = (request.full_url, request.headers, timeout)
            self.question = request.data
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    made = Venue()

    def build_opener(*handlers):
        made.handlers = handlers
        return made

    monkeypatch.setattr(fetch, "build_opener", build_opener)
    return made


def refused(code, **headers):
    said = Message()
    for name, value in headers.items():
        said[name.replace("_", "-")] = value
    return HTTPError(URL, code, "no", said, io.BytesIO(b"sorry"))


def test_a_body_is_given_whole_and_the_venue_is_told_who_asks(venue):
    venue.answer = Answer(b"x" * 200_000)
    assert fetch.fetch(URL, 2.0) == b"x" * 200_000
    url, headers, timeout_s = venue.asked
    assert (url, timeout_s) == (URL, 2.0)
    assert headers["User-agent"].startswith("penstock")


def test_a_refusal_says_its_status_and_when_to_come_again(venue):
    venue.answer = refused(429, Retry_After="7")
    with pytest.raises(FetchFailed, match="status 429") as caught:
        fetch.fetch(URL, 1.0)
    assert (caught.value.status, caught.value.retry_after) == (429, "7")


def test_an_answer_without_content_is_no_answer(venue):
    venue.answer = Answer(b"", status=204)
    with pytest.raises(FetchFailed, match="status 204"):
        fetch.fetch(URL, 1.0)


@pytest.mark.parametrize(
    "fault",
    [URLError("refused"), TimeoutError(), http.client.IncompleteRead(b""), ValueError("no URL")],
)
def test_a_venue_that_cannot_be_asked_has_no_status(venue, fault):
    venue.answer = fault
    with pytest.raises(FetchFailed) as caught:
        fetch.fetch(URL, 1.0)
    assert caught.value.status == 0


def test_a_body_that_ends_before_its_length_is_no_answer(venue):
    venue.answer = Answer(b"[]", missing=98)
    with pytest.raises(FetchFailed, match="cut off: 98 bytes"):
        fetch.fetch(URL, 1.0)


def test_a_body_without_end_is_cut_off(venue, monkeypatch):
    monkeypatch.setattr(fetch, "BODY_BYTES_MAX", 1000)
    venue.answer = Answer(b"x" * 5000)
    with pytest.raises(FetchFailed, match="1000 bytes"):
        fetch.fetch(URL, 1.0)


def test_a_body_that_drips_is_cut_off(venue, monkeypatch):
    now_ns = iter(range(0, 10**10, 10**9))
    monkeypatch.setattr(fetch, "monotonic_ns", lambda: next(now_ns))
    venue.answer = Answer(b"x" * 500_000)
    with pytest.raises(FetchFailed, match="too long"):
        fetch.fetch(URL, 2.5)


@pytest.mark.parametrize(
    ("url", "is_direct"),
    [("http://127.0.0.1:1/x", True), ("http://[::1]:1/x", True), ("http://localhost/x", True),
     (URL, False)],
)  # fmt: skip
def test_a_venue_on_this_host_is_asked_without_a_proxy(venue, url, is_direct):
    fetch.fetch(url, 1.0)
    assert any(isinstance(handler, ProxyHandler) for handler in venue.handlers) == is_direct


def test_a_question_is_posted_as_json_and_without_one_nothing_is(venue):
    fetch.fetch(URL, 1.0, b"[]")
    assert venue.question == b"[]"
    assert venue.asked[1]["Content-type"] == "application/json"
    venue.answer = Answer(b"")
    fetch.fetch(URL, 1.0)
    assert venue.question is None
    assert "Content-type" not in venue.asked[1]


def test_the_hosts_certificates_are_read_once(venue, monkeypatch):
    read = []
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(1))
    fetch._certificates.cache_clear()
    for url in (URL, URL, "http://127.0.0.1:1/x"):
        venue.answer = Answer(b"")
        fetch.fetch(url, 1.0)
    assert read == [1]
    fetch._certificates.cache_clear()


def test_aside_gives_what_the_thread_found(venue):
    venue.answer = Answer(b"body")
    assert asyncio.run(fetch_aside(URL, 1.0)) == b"body"
    venue.answer = refused(404)
    with pytest.raises(FetchFailed) as caught:
        asyncio.run(fetch_aside(URL, 1.0))
    assert caught.value.status == 404


@pytest.fixture
def gate(monkeypatch):
    """What every thread waits for; in the end none is left."""
    made = threading.Event()
    monkeypatch.setattr(fetch, "fetch", lambda *asked: b"late" if made.wait(30) else b"")
    yield made
    made.set()
    for thread in list(fetch._left):
        thread.join(10)
    fetch._left.clear()


def test_a_thread_that_hangs_is_not_waited_for(gate):
    with pytest.raises(FetchFailed, match="too long"):
        asyncio.run(fetch_aside(URL, -0.999))


def test_threads_left_behind_are_bounded_and_asking_goes_on_when_they_end(gate):
    before = set(threading.enumerate())  # Of other tests: one may end meanwhile.
    for _ in range(LEFT_MAX):
        with pytest.raises(FetchFailed, match="too long"):
            asyncio.run(fetch_aside(URL, -0.999))
    for _ in range(3):
        with pytest.raises(FetchFailed, match="too many unanswered questions"):
            asyncio.run(fetch_aside(URL, -0.999))
    assert len(set(threading.enumerate()) - before) == LEFT_MAX
    assert all(thread.daemon for thread in fetch._left)
    gate.set()
    for thread in list(fetch._left):
        thread.join(10)
    assert asyncio.run(fetch_aside(URL, 5.0)) == b"late"
    assert not fetch._left


def test_a_question_whose_asker_was_ended_counts_until_it_is_answered(gate):
    async def ask_and_leave():
        asker = asyncio.create_task(fetch_aside(URL, 5.0))
        await asyncio.sleep(0)
        asker.cancel()
        await asyncio.wait([asker])

    asyncio.run(ask_and_leave())
    assert len(fetch._left) == 1


def test_many_questions_that_are_answered_may_be_under_way_at_once(gate):
    async def ask_all():
        asked = [asyncio.create_task(fetch_aside(URL, 5.0)) for _ in range(2 * LEFT_MAX)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask_all()) == [b"late"] * 2 * LEFT_MAX
    assert not fetch._left
