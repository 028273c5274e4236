"""Makers quote around what they believe; takers take by chance or because they know."""

from __future__ import annotations

from random import Random

import pytest

from sim.agents import COARSE, FINE, LEVELS_MAX, Makers, Takers
from sim.fair import FairPath
from sim.mirror_book import NO_ASK, NO_BID, Change, MirrorBook


def sure(value):
    return FairPath(0, [value], [value])


def quoted(value, tick=COARSE, number=1):
    makers, book = Makers(Random(number), sure(value)), MirrorBook()
    for change in makers.open(0, tick):
        book.apply(change)
    return makers, book


@pytest.mark.parametrize("value", [0.03, 0.2, 0.513, 0.78, 0.97])
@pytest.mark.parametrize("tick", [COARSE, FINE])
def test_the_first_book_is_around_the_fair_value(value, tick):
    for number in range(20):
        _, book = quoted(value, tick, number)
        assert book.best_bid() <= 1000 * value <= book.best_ask()
        assert tick <= book.best_ask() - book.best_bid() <= 4 * tick
        assert all(px % tick == 0 and qty > 0 for px, qty in (book.bids | book.asks).items())


def test_a_book_has_tens_of_levels_of_realistic_size():
    _, book = quoted(0.5)
    assert 10 <= len(book.bids) <= 50
    assert 10 <= len(book.asks) <= 50
    sizes = sorted((book.bids | book.asks).values())
    assert sizes[0] >= 500
    assert 10_000 < sizes[len(sizes) // 2] < 100_000
    assert sizes[-1] > 200_000


def test_makers_follow_the_fair_value_and_never_leave_a_crossed_book():
    path = [0.5 + 0.4 * ((i * 37) % 100 - 50) / 50 for i in range(300)]
    makers, book = Makers(Random(4), FairPath(0, path, path)), MirrorBook()
    for i in range(300):
        at_ns = i * 100_000_000 + 300_000_000
        for change in makers.quote(at_ns, book, COARSE):
            book.apply(change)
        assert book.best_bid() < book.best_ask()
        assert book.best_bid() <= makers.fair_at(at_ns) + 10
        assert book.best_ask() >= makers.fair_at(at_ns) - 10
        assert max(len(book.bids), len(book.asks)) <= LEVELS_MAX + 8
        for change in makers.fidget(book, COARSE):
            book.apply(change)
        assert book.best_bid() < book.best_ask()


def test_the_deepest_levels_are_given_up_first():
    makers, book = quoted(0.5, FINE)
    for px in range(1, 400):
        book.apply(Change(True, px, 1000))
    for change in makers.quote(0, book, FINE):
        book.apply(change)
    assert min(book.bids) > 300
    assert book.best_bid() >= 495


def test_near_certainty_a_side_is_empty():
    makers, book = quoted(0.9999)
    for change in makers.quote(0, book, COARSE):
        book.apply(change)
    assert book.best_ask() == NO_ASK
    makers, book = quoted(0.0001)
    for change in makers.quote(0, book, COARSE):
        book.apply(change)
    assert book.best_bid() == NO_BID


def book_at(bid, ask):
    book = MirrorBook()
    book.apply(Change(True, bid, 10_000))
    book.apply(Change(False, ask, 10_000))
    return book


def test_the_informed_take_what_is_stale_and_nothing_else():
    takers = Takers(Random(1), sure(0.60))
    assert takers.informed(0, book_at(590, 610), COARSE) is None
    buy = takers.informed(0, book_at(500, 510), COARSE)
    assert buy is not None
    assert buy.is_buy
    assert 510 <= buy.limit < 600
    sell = takers.informed(0, book_at(700, 710), COARSE)
    assert sell is not None
    assert not sell.is_buy
    assert 600 < sell.limit <= 700


def test_nobody_knows_of_a_step_at_once_and_the_informed_know_first():
    ms, path = 1_000_000, [0.5] * 10 + [0.9] * 10  # It steps at 1000 ms.
    fair = FairPath(0, path, path)
    makers, takers = Makers(Random(3), fair), Takers(Random(3), fair)
    told = {
        who: next(at_ms for at_ms in range(0, 2000, 5) if knows(at_ms * ms))
        for who, knows in {
            "informed": lambda at_ns: takers.informed(at_ns, book_at(490, 510), COARSE),
            "makers": lambda at_ns: makers.fair_at(at_ns) > 800,
        }.items()
    }
    assert 1100 <= told["informed"] < told["makers"] <= 1400


def test_chance_takes_both_sides_near_the_touch():
    takers, book = Takers(Random(2), sure(0.5)), book_at(500, 510)
    orders = [takers.by_chance(book, COARSE) for _ in range(400)]
    assert 150 < sum(order.is_buy for order in orders) < 250
    assert all(500 <= order.qty <= 300_000 for order in orders)
    assert all(
        510 <= order.limit <= 530 if order.is_buy else 480 <= order.limit <= 500 for order in orders
    )
