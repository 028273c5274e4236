import asyncio
import json
from itertools import pairwise

import pytest

from cache import layout
from cache.counters import Counter, CounterReader, CounterWriter
from cache.ladder import LEVELS_MAX, Whole
from cache.layout import E9
from feeds import binance_rest
from feeds.binance_rest import BinanceRest
from feeds.binance_rest_wire import AnswerError
from feeds.fetch import FetchFailed
from feeds.first_books import RETRY_MS, TRIES, FirstBooks, read_book
from tests.cache.md_world import JumpLoop

BTC, ETH = "BTCUSDT", "ETHUSDT"


def body(sequence, bids=((100, 1),), asks=((101, 1),)):
    told = {"lastUpdateId": sequence}
    for name, side in (("bids", bids), ("asks", asks)):
        told[name] = [[str(px), str(qty)] for px, qty in side]
    return json.dumps(told).encode()


class World:
    """A venue's REST side with answers by symbol, each after a while, on a clock that jumps."""

    def __init__(self, monkeypatch):
        self.loop = JumpLoop()
        monkeypatch.setattr(binance_rest, "monotonic_ns", lambda: self.loop.now_ns)
        self.answers, self.asked = [], []
        self.latency_s = 0.01
        words = memoryview(bytearray(layout.BOARDS_OFFSET)).cast("Q")
        self.counters, writer = CounterReader(words), CounterWriter(words)
        rest = BinanceRest("http://venue", writer, timeout_s=5.0, get=self.get)
        self.books = FirstBooks(
            rest, (BTC, ETH), writer, timeout_s=5.0, now_ns=lambda: self.loop.now_ns
        )

    async def get(self, url, timeout_s):
        self.asked.append((url, self.loop.now_ns))
        answer = self.answers.pop(0)
        if answer is None:
            await self.loop.create_future()
        await asyncio.sleep(self.latency_s)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, *answers, symbol=BTC):
        self.answers += answers
        return self.loop.run_until_complete(self.books.ask(symbol))

    def close(self):
        self.loop.run_until_complete(self.books.close())
        self.loop.close()


@pytest.fixture
def world(monkeypatch):
    made = World(monkeypatch)
    yield made
    made.close()


def test_a_first_book_is_asked_for_whole_each_time_and_never_kept(world):
    bids = [(100, 1), (99, 2)]
    assert world.ask(body(7, bids)) == Whole(
        7, ((100 * E9, E9), (99 * E9, 2 * E9)), ((101 * E9, E9),)
    )
    assert world.ask(body(7)).sequence == world.ask(body(9)).sequence - 2
    assert [url for url, _ in world.asked] == [
        f"http://venue/api/v3/depth?symbol={BTC}&limit={LEVELS_MAX}"
    ] * 3
    assert world.books.cache.get_cache_age_ms(BTC) is None
    assert world.books.cache.get_hit_ratio(BTC) == 0.0
    assert world.books.cache.get_refresh_latency_p95(BTC) == pytest.approx(10.0)
    assert world.counters[Counter.cache_md_misses] == 3


def test_a_thousand_levels_a_side_come_through(world):
    bids = [(5_000 - at, 1) for at in range(LEVELS_MAX)]
    assert len(world.ask(body(7, bids, [(6_000, 1)])).bids) == LEVELS_MAX


def test_a_question_that_fails_is_asked_again_later_and_later_and_then_given_up(world):
    assert world.ask(*[FetchFailed("refused")] * TRIES) is None
    times = [at for _, at in world.asked]
    delays = [(b - a) / 1e6 - 10 for a, b in pairwise(times)]
    assert len(delays) == TRIES - 1
    for at, delay in enumerate(delays):
        assert RETRY_MS * 2**at / 2 <= delay <= RETRY_MS * 2**at + 1
    assert world.counters[Counter.cache_md_refreshes_failed] == TRIES
    assert world.counters[Counter.feeds_requests_failed] == TRIES


def test_a_question_that_fails_once_is_answered_by_the_next_one(world):
    assert world.ask(FetchFailed("refused"), body(7)).sequence == 7


def test_a_question_that_hangs_is_ended_and_asked_again(world):
    assert world.ask(None, body(7)).sequence == 7
    (_, first), (_, second) = world.asked
    assert 10 * E9 <= second - first <= 11 * E9


def test_an_answer_that_cannot_be_a_book_is_a_failure(world):
    assert world.ask(body(7, [(101, 1)]), body(8)).sequence == 8
    assert world.counters[Counter.feeds_requests_failed] == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (body(7, [(102, 1)]), "the best bid"),
        (body(7, [(100, 1), (100, 2)]), "stands twice"),
        (body(7, [(100, 0)]), "a size is 0"),
        (b"{}", "no snapshot of a book"),
    ],
)
def test_what_is_no_book_is_refused_whole(wrong, said):
    with pytest.raises(AnswerError, match=said):
        read_book(wrong)


def test_who_asks_beside_another_is_given_a_book_of_its_own(world):
    async def both():
        return await asyncio.gather(world.books.ask(BTC), world.books.ask(BTC))

    world.answers = [body(7), body(8)]
    found = world.loop.run_until_complete(both())
    assert sorted(one.sequence for one in found) == [7, 8]
    assert world.asked[1][1] > world.asked[0][1], "one at a time"


def test_symbols_are_asked_for_beside_each_other(world):
    async def both():
        return await asyncio.gather(world.books.ask(BTC), world.books.ask(ETH))

    world.answers = [body(7), body(8)]
    assert [one.sequence for one in world.loop.run_until_complete(both())] == [7, 8]
    assert world.asked[0][1] == world.asked[1][1]


def test_closing_ends_a_question_that_hangs_and_nothing_is_counted_afterwards(world):
    async def work():
        waiting = asyncio.create_task(world.books.ask(BTC))
        await asyncio.sleep(0.01)
        await world.books.close()
        assert await waiting is None
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await world.books.ask(BTC) is None

    world.answers = [None]
    world.loop.run_until_complete(work())
    assert len(world.asked) == 1
    assert world.counters[Counter.cache_md_refreshes_failed] == 0


def test_a_book_that_nobody_waited_for_any_more_is_not_given_to_who_asks_later(world):
    async def leave():
        leaving = asyncio.create_task(world.books.ask(BTC))
        await asyncio.sleep(0.001)
        leaving.cancel()
        await asyncio.sleep(0.02)

    world.answers = [body(7)]
    world.loop.run_until_complete(leave())
    assert world.books.cache.get_cache_age_ms(BTC) is not None, "it came"
    assert world.ask(body(8)).sequence == 8
