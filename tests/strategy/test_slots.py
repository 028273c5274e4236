"""Slots of the quotes board: who has which, and what is worth publishing."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace as changed

from cache.counters import Counter, CounterReader
from cache.layout import TARGET_QUOTES, Reason
from cache.segment import ReaderSegment, WriterSegment
from strategy.quoting import TwoSided
from strategy.runner import strategy_boards
from strategy.slots import RENEW_NS_MAX, QuoteSlots
from strategy.tick import TargetQuotes

VALID_NS = 1_000
QUOTES = TwoSided(1, 2, 3, 4)
QUOTING = TargetQuotes(Reason.QUOTING, QUOTES, 5_000)
NOTHING = TargetQuotes(Reason.NO_BOOK, TwoSided(), 0)


@pytest.fixture
def segment(empty_world: Any) -> WriterSegment:
    made = WriterSegment.create("strategy.s", strategy_boards(2), namespace=empty_world.namespace)
    empty_world.segments["strategy.s"] = made
    return made


def make(segment: WriterSegment) -> QuoteSlots:
    return QuoteSlots(segment.board("quotes"), segment.counters, valid_ns=VALID_NS)


def put(slots: QuoteSlots, tag: int, target: TargetQuotes, now_ns: int, net_e9: int = 0) -> int:
    named = dict.fromkeys(TARGET_QUOTES.value_names, 0)
    named |= {"publish_ns": now_ns, "bid_px_e9": target.quotes.bid_px_e9}
    return slots.publish(tag, target, tuple(named.values()), net_e9=net_e9)


def is_due(slots: QuoteSlots, target: TargetQuotes, net_e9: int, now_ns: int) -> bool:
    return slots.is_news(7, target) or slots.must_renew(7, target, net_e9, now_ns)


def test_a_market_keeps_its_slot(segment: WriterSegment) -> None:
    slots = make(segment)
    live = frozenset({7, 8})
    for now_ns in range(3):
        assert slots.claim(7, now_ns, live=live)
        assert slots.claim(8, now_ns, live=live)
        assert put(slots, 7, QUOTING, now_ns) == put(slots, 8, QUOTING, now_ns) == now_ns + 1
    assert slots.tags == live


def test_a_slot_goes_to_the_market_that_needs_it_from_the_one_gone_longest(
    empty_world: Any, segment: WriterSegment
) -> None:
    slots = make(segment)
    slots.claim(7, 1, live=frozenset({7, 8}))
    slots.claim(8, 2, live=frozenset({7, 8}))
    slots.claim(7, 3, live=frozenset({7}))
    assert slots.claim(9, 4, live=frozenset({9}))
    assert slots.tags == {7, 9}
    put(slots, 9, QUOTING, 4)
    board = ReaderSegment.attach("strategy.s", namespace=empty_world.namespace).board("quotes")
    found = [board.read(slot, 9) for slot in (0, 1)]
    assert [getattr(held, "generation", None) for held in found] == [None, 1]


def test_without_a_free_slot_a_market_is_refused_and_counted(segment: WriterSegment) -> None:
    slots = make(segment)
    live = frozenset({7, 8, 9})
    assert [slots.claim(tag, 1, live=live) for tag in (7, 8, 9)] == [True, True, False]
    assert CounterReader(segment._words)[Counter.strategy_markets_refused] == 1


def test_after_a_restart_the_slots_are_as_they_were(segment: WriterSegment) -> None:
    slots = make(segment)
    for tag in (7, 8):
        slots.claim(tag, 1, live=frozenset({7, 8}))
        put(slots, tag, QUOTING, 1)
    again = make(segment)
    assert again.tags == {7, 8}
    assert again.standing(7) == TwoSided()  # what the last incarnation wanted does not stand
    assert again.claim(8, 2, live=frozenset({8}))
    assert put(again, 8, QUOTING, 2) == 2


def test_what_stands_is_what_was_published_last(segment: WriterSegment) -> None:
    slots = make(segment)
    slots.claim(7, 1, live=frozenset({7}))
    put(slots, 7, QUOTING, 1)
    assert slots.standing(7) == QUOTES
    assert slots.standing(8) == TwoSided()
    put(slots, 7, NOTHING, 2)
    assert slots.standing(7) == TwoSided()


@pytest.mark.parametrize(
    ("target", "net_e9", "age_ns", "wanted"),
    [
        (QUOTING, 0, 0, False),
        (changed(QUOTING, valid_until_ns=5_200), 0, VALID_NS // 4 - 1, False),
        (changed(QUOTING, valid_until_ns=5_250), 0, VALID_NS // 4, True),
        (changed(QUOTING, valid_until_ns=4_999), 0, 1, True),
        (changed(QUOTING, fair_px_e9=77), 0, 1, False),
        (changed(QUOTING, quotes=TwoSided(1, 2, 3, 5)), 0, 1, True),
        (changed(QUOTING, keep=True), 0, 1, True),
        (QUOTING, 1, 1, True),
        (NOTHING, 0, 1, True),
    ],
)
def test_a_decision_is_published_when_it_says_something_new(
    segment: WriterSegment, target: TargetQuotes, net_e9: int, age_ns: int, wanted: bool
) -> None:
    slots = make(segment)
    slots.claim(7, 1, live=frozenset({7}))
    assert slots.is_news(7, QUOTING)
    put(slots, 7, QUOTING, 1_000)
    assert is_due(slots, target, net_e9, 1_000 + age_ns) is wanted


def test_where_nothing_is_wanted_the_record_is_renewed_slowly(segment: WriterSegment) -> None:
    slots = make(segment)
    slots.claim(7, 1, live=frozenset({7}))
    put(slots, 7, NOTHING, 1_000)
    assert not is_due(slots, NOTHING, 0, 1_000 + RENEW_NS_MAX - 1)
    assert is_due(slots, NOTHING, 0, 1_000 + RENEW_NS_MAX)


def test_news_is_what_is_decided_and_not_its_expiry_its_price_or_our_position(
    segment: WriterSegment,
) -> None:
    slots = make(segment)
    slots.claim(7, 1, live=frozenset({7}))
    put(slots, 7, QUOTING, 1_000)
    for same in ({"valid_until_ns": 1}, {"fair_px_e9": 77}):
        assert not slots.is_news(7, changed(QUOTING, **same))
    assert slots.must_renew(7, QUOTING, 1, 1_001)
    for other in ({"keep": True}, {"quotes": TwoSided(1, 2, 3, 5)}, {"reason": Reason.LIMIT}):
        assert slots.is_news(7, changed(QUOTING, **other))
