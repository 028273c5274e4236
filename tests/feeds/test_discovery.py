import asyncio
from dataclasses import replace

import pytest

from cache.counters import Counter
from cache.layout import E9
from feeds.discovery import (
    PLAIN_AFTER_COUNT,
    RETRY_MAX_S,
    TOKEN_QUESTIONS_MAX,
    TOKENS_MAX,
    DiscoverySettings,
    Resolver,
    retry_s,
)
from feeds.gamma import LookupFailed
from feeds.gamma_wire import GammaError, MarketInfo

START = 1_791_000_000
FAMILY = "btc-updown-5m"


def market(slug, *tokens, **changes):
    return MarketInfo(
        condition_id=f"0x{slug}", slug=slug, token_ids=tokens or (f"{slug}1", f"{slug}2"),
        outcomes=("Up", "Down"), tick_e9=10**7, min_qty_e9=5 * E9, neg_risk=False, **changes,
    )  # fmt: skip


class Venue:
    """Answers from what it was told: a value, or an exception to raise."""

    def __init__(self):
        self.markets, self.tokens, self.books, self.asked = {}, {}, {}, []

    def _answer(self, table, name, default):
        self.asked.append(name)
        found = table.get(name, default)
        if isinstance(found, Exception):
            raise found
        return found

    async def market(self, slug):
        return self._answer(self.markets, slug, None)

    async def markets_of(self, tokens):
        return [market for token in tokens for market in self._answer(self.tokens, token, [])]

    async def listing(self, token):
        return self._answer(self.books, token, None)


class World:
    """A resolver, its venue, its listener and its clock."""

    def __init__(self, families=(FAMILY,), tokens=(), known=()):
        self.now_s, self.log, self.counts = START + 10.0, [], {}
        self.venue = Venue()
        settings = DiscoverySettings(families, tokens, 120.0, 60.0, jitter=lambda: 1.0)
        self.resolver = Resolver(
            self.venue,
            self,
            self,
            settings,
            known={one.slug: one for one in known},
            wall=lambda: int(self.now_s * E9),
        )

    def add(self, counter, count=1):
        self.counts[counter] = self.counts.get(counter, 0) + count

    def on_listed(self, found):
        self.log.append(("listed", found.slug))

    def on_released(self, condition_id):
        self.log.append(("released", condition_id.removeprefix("0x")))

    def at(self, seconds):
        """Set the clock, ask what is due, and give what was heard since."""
        self.now_s = START + seconds
        self.log.clear()

        async def answer():
            for question in self.resolver.step(self.now_s):
                await question

        asyncio.run(answer())
        return list(self.log)


def slug(offset):
    return f"{FAMILY}-{START + offset}"


@pytest.fixture
def world():
    made = World()
    for offset in range(0, 1500, 300):
        made.venue.markets[slug(offset)] = market(slug(offset))
    return made


def test_the_running_window_is_listed_at_once(world):
    assert world.at(10) == [("listed", slug(0))]
    assert world.at(11) == []
    assert world.venue.asked == [slug(0)]


def test_the_next_window_is_listed_before_it_opens(world):
    world.at(10)
    assert world.at(179.9) == []
    assert world.at(180) == [("listed", slug(300))]


def test_a_window_is_released_once_when_it_has_lingered(world):
    world.at(10)
    world.at(180)
    assert world.at(359.9) == []
    assert world.at(360) == [("released", slug(0))]
    assert world.at(361) == []


def test_a_window_that_is_not_there_yet_is_asked_for_again_with_growing_delay(world):
    found = world.venue.markets.pop(slug(0))
    world.at(10)
    world.at(10.4)
    assert len(world.venue.asked) == 1
    world.at(10.5)
    world.at(11.4)
    assert len(world.venue.asked) == 2
    assert world.counts == {Counter.feeds_lookup_empty: 2}
    world.venue.markets[slug(0)] = found
    assert world.at(11.5) == [("listed", slug(0))]


@pytest.mark.parametrize("fault", [LookupFailed("refused"), GammaError("orderMinSize", "is x")])
def test_a_failed_look_up_is_counted_and_made_again(world, fault):
    world.venue.markets[slug(0)] = fault
    assert world.at(10) == []
    assert world.counts == {Counter.feeds_lookup_failed: 1}
    world.venue.markets[slug(0)] = market(slug(0))
    assert world.at(11) == [("listed", slug(0))]


def test_a_window_that_was_never_found_is_given_up_at_its_end(world):
    del world.venue.markets[slug(0)]
    world.at(10)
    world.venue.asked.clear()
    world.at(301)
    assert slug(0) not in world.venue.asked
    assert world.at(400) == []
    assert list(world.resolver._wanted) == [slug(300)]


def test_a_closed_market_is_not_listed(world):
    world.venue.markets[slug(0)] = market(slug(0), is_closed=True)
    assert world.at(10) == []


@pytest.mark.parametrize("answer", [None, LookupFailed("down"), GammaError("slug", "is x")])
def test_a_window_known_from_before_is_listed_whatever_the_venue_does_not_say(answer):
    world = World(known=[market(slug(0)), market(slug(900))])
    world.venue.markets[slug(0)] = answer
    assert world.at(10) == [("listed", slug(0))]
    assert world.at(10.5) == []
    assert world.venue.asked == [slug(0), slug(0)], "it is asked for all the same"
    assert world.at(360) == [("released", slug(0))]


@pytest.mark.parametrize("tick_e9", [10**7, 10**6])
def test_a_known_window_that_the_venue_confirms_is_listed_once_and_asked_for_once(tick_e9):
    told = market(slug(0))
    world = World(known=[replace(told, tick_e9=tick_e9)])
    world.venue.markets[slug(0)] = told
    assert world.at(10) == [("listed", slug(0))]
    assert world.at(20) == []
    assert world.venue.asked == [slug(0)]


def test_a_known_window_gives_way_to_what_the_venue_says_of_it():
    world = World(known=[market(slug(0), "5", "6")])
    world.venue.markets[slug(0)] = market(slug(0))
    assert world.at(10) == [("listed", slug(0)), ("released", slug(0)), ("listed", slug(0))]
    assert world.at(360) == [("released", slug(0))]


def test_a_known_window_that_was_closed_is_released():
    world = World(known=[market(slug(0))])
    world.venue.markets[slug(0)] = market(slug(0), is_closed=True)
    assert world.at(10) == [("listed", slug(0)), ("released", slug(0))]
    assert world.at(360) == []


def test_nothing_is_asked_twice_at_the_same_time(world):
    questions = world.resolver.step(START + 10)
    assert len(questions) == 1
    assert world.resolver.step(START + 100) == []
    asyncio.run(questions[0])
    assert world.log == [("listed", slug(0))]


def test_an_answer_that_comes_after_the_end_lists_nothing(world):
    questions = world.resolver.step(START + 10)
    for later in world.resolver.step(START + 400):
        later.close()
    world.now_s = START + 400
    asyncio.run(questions[0])
    assert world.log == []


def test_both_tokens_of_one_market_list_it_once():
    world = World((), ("1", "2"))
    world.venue.tokens = {token: [market("rain", "1", "2")] for token in ("1", "2")}
    assert world.at(0) == [("listed", "rain")]
    assert world.at(100_000) == []


def test_a_token_without_a_market_is_listed_without_metadata_in_the_end():
    world = World((), ("7",))
    world.venue.books["7"] = market("", "7", "", has_metadata=False)
    heard = []
    for second in range(30):
        heard += world.at(second)
    assert heard == [("listed", "")]
    assert world.counts[Counter.feeds_lookup_empty] == PLAIN_AFTER_COUNT


def test_a_token_that_nobody_knows_is_asked_for_for_ever():
    world = World((), ("7",))
    world.venue.tokens["7"] = [GammaError("slug", "is missing")]
    world.venue.books["7"] = LookupFailed("refused")
    for second in range(100):
        assert world.at(second) == []
    assert world.counts[Counter.feeds_lookup_failed] > 10


def test_the_delay_doubles_up_to_its_bound():
    assert [retry_s(n, 1.0) for n in range(3)] == [0.5, 1.0, 2.0]
    assert retry_s(1_000, 1.0) == RETRY_MAX_S
    assert retry_s(1_000, 0.0) == RETRY_MAX_S / 2


def test_a_listener_that_raises_ends_the_run(world):
    def refuse(_):
        raise RuntimeError("no slot")

    world.on_listed = refuse
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(asyncio.wait_for(world.resolver.run(), 5))
    assert caught.group_contains(RuntimeError, match="no slot")


def test_plain_tokens_are_looked_up_many_at_once_and_few_questions_are_under_way():
    tokens = tuple(str(number) for number in range(1, 2 * TOKENS_MAX * TOKEN_QUESTIONS_MAX))
    world = World(families=(), tokens=tokens)
    world.venue.tokens = {token: [market(f"m{token}", token, f"n{token}")] for token in tokens}
    sizes, markets_of = [], world.venue.markets_of

    async def counted(asked):
        sizes.append(len(asked))
        return await markets_of(asked)

    world.venue.markets_of = counted
    assert len(world.at(0)) == TOKENS_MAX * TOKEN_QUESTIONS_MAX
    assert sizes == [TOKENS_MAX] * TOKEN_QUESTIONS_MAX
    assert len(world.at(0.2)) == len(tokens) - TOKENS_MAX * TOKEN_QUESTIONS_MAX
    assert world.at(0.4) == []


def test_one_market_that_cannot_be_read_does_not_hide_those_beside_it():
    world = World(families=(), tokens=("1", "2", "3"))
    world.venue.tokens = {
        "1": [market("a", "1", "x")], "2": [GammaError("slug", "is 7")],
        "3": [market("c", "3", "z")],
    }  # fmt: skip
    assert world.at(0) == [("listed", "a"), ("listed", "c")]
    assert world.counts == {Counter.feeds_lookup_failed: 1}
    world.venue.tokens["2"] = [market("b", "2", "y")]
    assert world.at(1) == [("listed", "b")]


def test_a_look_up_that_fails_is_made_again_for_all_its_tokens():
    world = World(families=(), tokens=("1", "2"))
    world.venue.tokens = {token: LookupFailed("refused") for token in "12"}
    assert world.at(0) == []
    assert world.counts == {Counter.feeds_lookup_failed: 1}
    world.venue.tokens = {token: [market(token, token, f"n{token}")] for token in "12"}
    assert world.at(1) == [("listed", "1"), ("listed", "2")]
