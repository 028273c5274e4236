import asyncio
from types import SimpleNamespace

import pytest

from cache.counters import Counter
from feeds import backfill
from feeds.backfill import (
    AHEAD_S_MAX,
    BEHIND_S_MAX,
    RETRY_S,
    RULES_NS,
    RULES_RETRY_NS,
    Backfill,
    closes,
)
from feeds.binance_rest_wire import Candle, Rules

SECOND = 1_791_000_000
RULES = {"BTCUSDT": Rules(10_000_000, 10_000, 10_000), "OTHER": Rules(1, 1, 1)}


def candles(first, last, trade_count=3):
    return tuple(Candle(second, second, trade_count) for second in range(first, last + 1))


def test_a_close_stands_for_the_second_at_which_its_candle_ends():
    assert closes(candles(SECOND - 3, SECOND), SECOND) == {
        SECOND - 2: SECOND - 3, SECOND - 1: SECOND - 2, SECOND: SECOND - 1,
    }  # fmt: skip


def test_the_candle_of_the_running_second_and_those_without_a_trade_are_left_out():
    found = (*candles(SECOND - 3, SECOND - 2), *candles(SECOND - 1, SECOND - 1, 0))
    found += candles(SECOND, SECOND)
    assert list(closes(found, SECOND)) == [SECOND - 2, SECOND - 1]
    assert closes(candles(SECOND, SECOND), SECOND) == {}
    assert closes((), SECOND) == {}


@pytest.mark.parametrize("away", [AHEAD_S_MAX + 1, -BEHIND_S_MAX - 1, 3600, -3600])
def test_candles_of_another_clock_are_of_no_use(away):
    assert closes(candles(SECOND - 9, SECOND), SECOND - away) == {}


@pytest.mark.parametrize("away", [AHEAD_S_MAX, -BEHIND_S_MAX])
def test_candles_that_come_late_or_a_little_early_are_taken(away):
    assert closes(candles(SECOND - 9, SECOND), SECOND - away)


class Slot:
    def __init__(self, symbol):
        self.symbol = symbol
        self.lacks_past = True
        self.ticker_ns = 1
        self.rules = Rules(0, 0, 0)
        self.live_count = 1
        self.filled = []
        self.takes = 5

    def fill(self, found, second, now_ns):
        self.filled.append((found, second, now_ns))
        return self.takes


class Counters(dict):
    def add(self, counter, count=1):
        self[counter] = self.get(counter, 0) + count


class Group:
    def __init__(self):
        self.tasks = []

    def create_task(self, coroutine):
        self.tasks.append(coroutine)

    def run(self):
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            asyncio.run(task)


class World:
    """A backfill of two symbols with a REST side that answers what a test says."""

    def __init__(self, seconds=60):
        self.slots = {symbol: Slot(symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
        self.counters = Counters()
        self.group = Group()
        self.asked = []
        self.candles = candles(SECOND - 60, SECOND)
        self.rules = RULES
        self.told = []
        self.now_ns = 50
        self.slept = []
        self.backfill = Backfill(
            SimpleNamespace(ask=self.ask), self.slots, self.counters, seconds=seconds,
            on_filled=lambda: self.told.append("filled"),
            on_rules=lambda: self.told.append("rules"),
            clock=lambda: (self.now_ns, SECOND),
        )  # fmt: skip

    async def ask(self, path, read):
        self.asked.append(path)
        return self.candles if "klines" in path else self.rules

    async def sleep(self, seconds):
        self.slept.append(seconds)

    def poll(self):
        self.backfill.poll(self.now_ns, self.group)
        return len(self.group.tasks)


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(backfill.asyncio, "sleep", made.sleep)
    yield made
    for task in made.group.tasks:
        task.close()


def test_each_symbol_that_lacks_its_past_is_asked_for_once(world):
    assert world.poll() == 2
    assert world.poll() == 2, "one question at a time"
    world.group.run()
    assert [path.split("symbol=")[1] for path in world.asked] == [
        "BTCUSDT&interval=1s&limit=61", "ETHUSDT&interval=1s&limit=61",
    ]  # fmt: skip
    (given,) = world.slots["BTCUSDT"].filled
    assert given == (closes(world.candles, SECOND), SECOND, 50)
    assert world.counters == {Counter.feeds_samples_filled: 10}
    assert world.told == ["filled", "filled"]
    assert not world.slots["BTCUSDT"].lacks_past
    world.slots["BTCUSDT"].lacks_past = True
    world.backfill._rules_ns = 10**18
    assert world.poll() == 1, "a later hole is asked for again"


def test_an_answer_that_is_of_no_use_is_counted_and_changes_nothing(world):
    world.slots["BTCUSDT"].takes = 0
    world.slots["ETHUSDT"].lacks_past = False
    world.poll()
    world.group.run()
    assert world.counters == {Counter.feeds_requests_failed: len(RETRY_S) + 1}
    assert world.told == []
    assert world.slept == [0.0, *RETRY_S]
    assert len(world.slots["BTCUSDT"].filled) == len(RETRY_S) + 1


def test_candles_that_did_not_reach_up_to_the_samples_are_asked_for_again(world):
    slot = world.slots["BTCUSDT"]
    world.slots["ETHUSDT"].lacks_past = False
    takes = [0, 0, 9]
    slot.fill = lambda found, second, now_ns: takes.pop(0)
    world.poll()
    world.group.run()
    assert world.counters[Counter.feeds_samples_filled] == 9
    assert world.slept == [0.0, *RETRY_S[:2]]
    assert world.told == ["filled"]


def test_without_an_answer_the_feed_goes_on_as_it_is(world):
    world.candles = None
    world.poll()
    world.group.run()
    assert world.slots["BTCUSDT"].filled == []
    assert world.told == []
    world.poll()
    assert not any("klines" in str(task) for task in world.group.tasks)


def test_the_rules_are_asked_for_behind_the_candles_and_again_after_hours(world):
    world.poll()
    world.group.run()
    assert world.poll() == 1
    assert world.poll() == 1, "one question at a time"
    world.group.run()
    assert "exchangeInfo" in world.asked[-1]
    assert world.slots["BTCUSDT"].rules == RULES["BTCUSDT"]
    assert world.slots["ETHUSDT"].rules == Rules(0, 0, 0), "what is not said stays unknown"
    assert world.told[-1] == "rules"
    assert world.poll() == 0
    world.now_ns += RULES_NS
    assert world.poll() == 1


def test_before_the_first_ticker_nobody_knows_what_is_lacking(world):
    for slot in world.slots.values():
        slot.lacks_past, slot.ticker_ns = False, 0
    assert world.poll() == 0
    world.slots["ETHUSDT"].ticker_ns = 5
    assert world.poll() == 1


def test_rules_that_did_not_come_stay_as_they_were_and_are_asked_for_later(world):
    for slot in world.slots.values():
        slot.lacks_past = False
    world.rules = None
    world.poll()
    world.group.run()
    assert world.told == []
    assert world.slots["BTCUSDT"].rules == Rules(0, 0, 0)
    assert world.poll() == 0
    world.now_ns += RULES_RETRY_NS
    assert world.poll() == 1


def test_no_seconds_means_no_question_about_them():
    world = World(seconds=0)
    assert world.poll() == 1
    world.group.run()
    assert "exchangeInfo" in world.asked[0]


def test_it_says_in_one_line_what_was_filled(world, monkeypatch):
    lines = []
    log = SimpleNamespace(info=lambda event, **values: lines.append((event, values)))
    monkeypatch.setattr(backfill, "log", log)
    world.slots["ETHUSDT"].lacks_past = False
    world.poll()
    world.group.run()
    assert lines == [("samples_filled", {"symbol": "BTCUSDT", "count": 5, "live": 1})]
