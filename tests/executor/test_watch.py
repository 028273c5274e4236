import pytest

import executor.inputs
from cache.gate import POLICIES
from cache.layout import Flag
from executor.account import Desk
from executor.diff import Mode
from executor.inputs import LOOK_NS, FeedInput
from executor.watch import BookWatch


@pytest.fixture
def bench(monkeypatch, make, world, clock):
    """A watch over one desk, and the books it handed on."""

    class Bench:
        def __init__(self):
            world.list_market()
            self.feed = FeedInput(world.namespace, POLICIES["fast15m"], make.tally())
            self.feed.refresh(clock())
            self.desk = Desk(next(iter(self.feed.markets().values())))
            self.shown = []
            self.watch = BookWatch(self.feed, self.shown.append, suspect_ns=250 * make.MS)

        def look(self):
            self.feed.watch(clock())
            self.shown.clear()
            count = self.watch.look(self.desk, clock())
            return count, self.desk.mode, [(b.version, b.is_trusted) for b in self.shown]

    monkeypatch.setattr(executor.inputs, "monotonic_ns", clock)
    return Bench()


def test_without_a_book_nothing_may_rest(bench):
    assert bench.look() == (0, Mode.CANCEL, [])
    assert bench.desk.book is None


def test_a_live_book_is_quoted_on_and_shown_once(world, bench, clock):
    world.show_book()
    assert bench.look() == (1, Mode.QUOTE, [(1, True)])
    assert bench.desk.book.at_ns == clock()
    assert bench.look() == (0, Mode.QUOTE, [])


def test_every_book_is_shown_in_order_with_its_own_doubt(world, bench):
    world.show_book()
    bench.look()
    world.show_book()
    world.show_book(flags=Flag.SUSPECT)
    world.show_book()
    assert bench.look() == (3, Mode.QUOTE, [(2, True), (3, False), (4, True)])


def test_a_short_doubt_keeps_and_a_long_one_cancels(world, bench):
    world.show_book()
    bench.look()
    world.show_book(flags=Flag.SUSPECT)
    assert bench.look()[1] is Mode.KEEP
    world.pass_ms(249)
    assert bench.look()[1] is Mode.KEEP
    world.pass_ms(1)
    assert bench.look()[1] is Mode.CANCEL
    world.show_book()
    assert bench.look()[1] is Mode.QUOTE
    world.show_book(flags=Flag.SUSPECT)
    assert bench.look()[1] is Mode.KEEP  # a new doubt has its own time


@pytest.mark.parametrize("flag", [Flag.RESYNC, Flag.WARMUP, Flag.RESOLVED, Flag.CROSSED])
def test_what_is_worse_than_a_doubt_cancels_at_once(world, bench, flag):
    world.show_book()
    bench.look()
    world.show_book(flags=flag)
    assert bench.look() == (1, Mode.CANCEL, [(2, False)])


def test_a_feed_that_stops_ends_the_trust_in_a_book_that_did_not_change(world, bench, clock):
    world.show_book()
    bench.look()
    world.pass_ms(2_000, but=["feed.polymarket.0"])
    assert bench.look() == (0, Mode.CANCEL, [(1, False)])
    assert bench.desk.book.at_ns == clock()
    assert bench.look() == (0, Mode.CANCEL, [])
    world.pass_ms(1)
    assert bench.look() == (0, Mode.QUOTE, [(1, True)])
    assert bench.desk.book.has_gap  # what happened meanwhile is not known


def test_a_quiet_market_stays_quotable_while_its_book_is_proven(world, bench):
    world.show_book()
    bench.look()
    since_ns = world.clock()
    for _ in range(600):
        world.pass_ms(1_000)
        world.show_book(recv_ns=since_ns)
        assert bench.look()[1] is Mode.QUOTE


def test_a_market_that_nothing_proves_is_cancelled_although_the_link_lives(world, bench):
    world.show_book()
    bench.look()
    world.pass_ms(5_000)
    assert bench.look()[1] is Mode.QUOTE
    world.pass_ms(1)
    assert bench.look()[1] is Mode.CANCEL


def test_a_market_that_is_listed_no_more_is_cancelled(world, bench):
    world.show_book()
    bench.look()
    bench.desk.is_listed = False
    assert bench.look() == (0, Mode.CANCEL, [(1, False)])


def test_a_restarted_feed_is_not_trusted_until_it_published_anew(world, bench):
    world.show_book()
    bench.look()
    world.feed.close()
    world.feed = world.start_feed()
    assert bench.look()[1] is Mode.CANCEL
    world.list_market()
    world.show_book()
    assert bench.look()[1] is Mode.QUOTE


def test_a_replaced_segment_is_read_from_its_beginning(world, bench, clock):
    world.show_book()
    world.show_book()
    bench.look()
    world.feed.close(remove=True)
    world.feed = world.start_feed()
    world.list_market()
    clock.now_ns += LOOK_NS
    world.pass_ms(0)
    assert bench.feed.refresh(clock())
    bench.watch.forget_all()
    assert bench.look() == (0, Mode.CANCEL, [(2, False)])
    world.show_book()
    assert bench.look() == (1, Mode.QUOTE, [(1, True)])
    bench.watch.forget(bench.desk.market.tag)
    assert bench.look()[1] is Mode.QUOTE
