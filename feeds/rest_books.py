"""Asks Polymarket's REST side for books, many tokens with one question.

`RestBooks.refresh` is what the cache for REST snapshots (`cache/md_cache.py`) calls for each symbol
that it lacks. What is wanted within a few milliseconds goes into one `POST /books`, because the
venue counts questions, not tokens. A question goes on a thread (`feeds/fetch.py`); its books are
read a few at a time, so that frames are not held up.

A venue that fails is asked less, not more: after a question that failed (no book of its answer can
be read) the next one begins later, each time twice as late, and not before the venue's Retry-After.
What is wanted meanwhile waits.
(The delays of the cache are each token's own: alone they would make of one question for a hundred
tokens a hundred.)

The invariant: at most `QUESTIONS_MAX` questions are under way, and one begins `GAP_S` after the
other at the soonest, whatever is wanted; and whoever wants a book hears something: the book, that
there is none, or why nobody knows. It does not repeat a question; the cache does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from cache.counters import Counter, CounterWriter
from cache.md_entry import MDBook, MDRefreshError
from feeds.dialing import backoff_s
from feeds.fetch import FetchFailed, fetch_aside
from feeds.rest_books_wire import RestBook, books_question, parse_book, read_book, split_books
from host.log import get_log

GATHER_S: Final = 0.005
"""For so long symbols are gathered into one question."""

QUESTIONS_MAX: Final = 2
"""One that does not answer must not pile up threads."""

GAP_S: Final = 0.04
"""Half of what the venue allows: 500 in ten seconds."""

ASKED_MAX: Final = 100
"""Tokens of one question. The venue takes 500; but an answer has to fit `fetch.BODY_BYTES_MAX`,
and a deep book has 30 KB."""

FAILED_S_MAX: Final = 2.0
"""The longest delay after questions that failed, of one to two seconds as drawn: no more than the
cache's own, so that quiet markets come back soon after the venue did."""

RETRY_AFTER_S_MAX: Final = 300.0
"""A Retry-After beyond it is not believed."""

READ_COUNT: Final = 8
"""So many books are read before the loop is asked for frames: half a millisecond."""

Post = Callable[[str, float, bytes], Awaitable[bytes]]
_Answers = list[asyncio.Future[RestBook | None]]
log = get_log("feeds")


class RestBooks:
    """The questions of one process; belongs to its event loop."""

    def __init__(
        self,
        clob_url: str,
        counters: CounterWriter,
        *,
        timeout_s: float,
        post: Post = fetch_aside,
    ) -> None:
        self._url = f"{clob_url.rstrip('/')}/books"
        self._counters = counters
        self._timeout_s = timeout_s
        self._post = post
        self._wanted: dict[str, _Answers] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = 0.0
        """When the next question may begin, by the loop's clock."""
        self._failed_count = 0
        """Questions that failed since one was answered."""
        self._questions: set[asyncio.Task[None]] = set()

    @property
    def waiting_count(self) -> int:
        """How many tokens wait for a question."""
        return len(self._wanted)

    async def refresh(self, symbol: str, depth: int) -> MDBook | None:
        """Get the book of a token; None where the venue has none. Raises MDRefreshError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[RestBook | None] = loop.create_future()
        self._wanted.setdefault(symbol, []).append(answer)
        self._send_soon()
        told = await answer
        return None if told is None else read_book(told, depth)

    async def close(self) -> None:
        """End every question; who waits is told."""
        if self._timer is not None:
            self._timer.cancel()
        for answers in self._wanted.values():
            _fail(answers, MDRefreshError(f"{self._url}: ended"))
        self._wanted.clear()
        for question in self._questions:
            question.cancel()
        if self._questions:
            await asyncio.wait(self._questions)

    def _send_soon(self) -> None:
        """Have what is wanted sent; what finds no room now is sent when a question ends."""
        if self._timer is None and len(self._questions) < QUESTIONS_MAX:
            loop = asyncio.get_running_loop()
            at_s = max(loop.time() + GATHER_S, self._next_s)
            self._timer = loop.call_at(at_s, self._send)

    def _send(self) -> None:
        """Begin one question."""
        self._timer = None
        taken: dict[str, _Answers] = {}
        while self._wanted and len(taken) < ASKED_MAX:
            symbol = next(iter(self._wanted))
            waiting = [answer for answer in self._wanted.pop(symbol) if not answer.done()]
            if waiting:  # else whoever wanted it has given up
                taken[symbol] = waiting
        if taken:
            self._next_s = asyncio.get_running_loop().time() + GAP_S
            question = asyncio.create_task(self._ask(taken), name="books")
            self._questions.add(question)
            question.add_done_callback(partial(self._ended, taken))
        if self._wanted:
            self._send_soon()

    async def _ask(self, taken: dict[str, _Answers]) -> None:
        self._counters.add(Counter.feeds_witness_asked)
        told = split_books(await self._post(self._url, self._timeout_s, books_question(taken)))
        fault: MDRefreshError | None = None
        has_books = False
        for count, part in enumerate(told, 1):
            try:
                book = parse_book(part)
            except MDRefreshError as wrong:
                fault = wrong
            else:
                has_books = True
                _settle(taken.get(book.asset_id, ()), book)
            if count % READ_COUNT == 0:
                await asyncio.sleep(0)
        if fault is not None and not has_books:
            raise fault
        for answers in taken.values():
            if fault is None:
                _settle(answers, None)
            else:
                _fail(answers, fault)  # What is no book was to be of one of those that are left.
        self._failed_count = 0

    def _ended(self, taken: dict[str, _Answers], question: asyncio.Task[None]) -> None:
        """Tell whoever still waits why nothing came: a fault of ours is theirs to raise."""
        self._questions.discard(question)
        fault = None if question.cancelled() else question.exception()
        if isinstance(fault, FetchFailed | MDRefreshError):
            self._put_off(fault)
        if isinstance(fault, FetchFailed) or question.cancelled():
            fault = MDRefreshError(f"{self._url}: {fault or 'ended'}")
        if fault is not None:
            for answers in taken.values():
                _fail(answers, fault)
        if self._wanted:
            self._send_soon()

    def _put_off(self, fault: FetchFailed | MDRefreshError) -> None:
        """Ask nothing for a while."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._failed_count += 1
        wait_s = backoff_s(self._failed_count - 1, random.random(), longest_s=FAILED_S_MAX)
        text = fault.retry_after if isinstance(fault, FetchFailed) else ""
        if text.isascii() and text.isdigit():
            wait_s = max(wait_s, min(float(text), RETRY_AFTER_S_MAX))
        self._next_s = max(self._next_s, asyncio.get_running_loop().time() + wait_s)
        log.warning("books_failed", url=self._url, cause=fault, wait_ms=round(wait_s * 1e3))


def _settle(answers: Iterable[asyncio.Future[RestBook | None]], told: RestBook | None) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_result(told)


def _fail(answers: _Answers, fault: BaseException) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(fault)
