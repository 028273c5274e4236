import pytest

import executor.inputs
from cache.book_metrics import summarize
from cache.counters import Counter
from cache.gate import POLICIES, Trust
from cache.layout import (
    DEPTH,
    E9,
    PAIR_BBO,
    BoardSpec,
    Flag,
    Outcome,
    Side,
    State,
    tag_of,
)
from cache.liveness import Liveness
from cache.segment import ReaderSegment
from executor.inputs import (
    LOOK_NS,
    SCAN_NS,
    FeedInput,
    StrategyInput,
    StrategyInputs,
    wanted_of,
)
from executor.orders import Provenance


@pytest.fixture(autouse=True)
def still(monkeypatch, clock):
    monkeypatch.setattr(executor.inputs, "monotonic_ns", clock)


@pytest.fixture
def tally(make):
    return make.tally()


@pytest.fixture
def feed(world, clock, tally):
    """A feed input that sees one listed market."""
    world.list_market()
    made = FeedInput(world.namespace, POLICIES["fast15m"], tally)
    assert made.refresh(clock())
    made.watch(clock())
    return made


@pytest.fixture
def market(feed):
    return next(iter(feed.markets().values()))


def test_a_feed_that_is_not_there_is_waited_for(world, clock, tally):
    world.feed.close(remove=True)
    made = FeedInput(world.namespace, POLICIES["fast15m"], tally)
    assert not made.refresh(clock())
    assert made.watch(clock()) is Liveness.WRITER_DEAD
    assert made.trust(None, clock()) is Trust.NOT_SUBSCRIBED
    world.feed = world.start_feed()
    assert not made.refresh(clock() + LOOK_NS - 1)  # not looked for all the time
    assert made.refresh(clock() + LOOK_NS)


def test_a_feed_that_was_replaced_is_attached_again_and_counted(world, clock, feed, tally):
    assert not feed.refresh(clock() + LOOK_NS)
    world.feed.close(remove=True)
    assert not feed.refresh(clock() + 2 * LOOK_NS)
    world.feed = world.start_feed()
    assert feed.refresh(clock() + 3 * LOOK_NS)
    assert tally[Counter.cache_segment_reattached] == 1


def test_every_book_that_is_judged_is_counted(world, clock, feed, market, tally):
    world.show_book(49, 53)
    (top,), _ = feed.newer(market, 0)
    assert feed.trust(top, clock()).is_quotable
    assert not feed.trust(top, clock() + 10_000_000_000).is_quotable
    assert not feed.trust(None, clock()).is_quotable
    summary = summarize(tally)
    assert (summary.cache_hits, sum(summary.age_histogram)) == (1, 1)
    assert (summary.cache_misses_stale, summary.cache_misses_not_subscribed) == (1, 1)


def test_a_market_is_read_out_of_the_directory(make, market):
    assert market == make.market(
        tag=tag_of("polymarket", "a"),
        yes_tag=tag_of("polymarket", "a0"),
        no_tag=tag_of("polymarket", "a1"),
        slug="a",
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"min_qty_e9": 0},
        {"lot_e9": -1},
        {"fee_rate_e9": -1},
        {"fee_rate_e9": E9 + 1},
        {"taker_delay_ns": -1},
        {"fee_exponent": 9},
        {"rebate_rate_e9": E9 + 1},
    ],
)
def test_a_market_without_what_trading_needs_is_none(world, clock, feed, fault):
    world.list_market(**fault)
    assert feed.markets() == {}


def test_all_tops_since_the_last_look_are_read_in_order(world, feed, market):
    for bid in (40, 41, 42):
        world.show_book(bid)
    tops, has_gap = feed.newer(market, 0)
    assert [top.version for top in tops] == [3]  # at first the newest alone
    for bid in (43, 44):
        world.show_book(bid)
    tops, has_gap = feed.newer(market, 3)
    assert ([top.version for top in tops], has_gap) == ([4, 5], False)
    assert feed.newer(market, 5) == ([], False)


def test_tops_that_were_missed_are_a_gap(world, feed, market):
    world.show_book()
    for _ in range(20):
        world.show_book()
    tops, has_gap = feed.newer(market, 1)
    assert has_gap
    assert tops[-1].version == 21
    assert len(tops) <= 6


def test_tops_of_another_market_in_the_same_slot_are_never_ours(world, feed, market):
    world.show_book()
    world.list_market(name="b", generation=1)
    world.show_book()
    tops, has_gap = feed.newer(market, 1)
    assert (tops, has_gap) == ([], True)


def test_a_top_is_trusted_as_the_gate_says(world, clock, feed, market):
    world.show_book()
    (top,), _ = feed.newer(market, 0)
    assert feed.trust(top, clock()) is Trust.LIVE
    world.pass_ms(2_000, but=["feed.polymarket.0"])
    assert feed.trust(top, clock()) is Trust.STALE
    feed.watch(clock())
    assert feed.trust(top, clock()) is Trust.STALLED
    world.feed.set_state(State.HALT)
    world.feed.heartbeat(clock())
    feed.watch(clock())
    assert feed.trust(top, clock()) is Trust.WRITER_DEAD


@pytest.mark.parametrize(
    ("flag", "trust"),
    [
        (Flag.RESYNC, Trust.GAP),
        (Flag.WARMUP, Trust.WARMUP),
        (Flag.RESOLVED, Trust.RESOLVED),
        (Flag.CROSSED, Trust.CROSSED),
        (Flag.SUSPECT, Trust.SUSPECT),
    ],
)
def test_a_flag_on_the_record_is_seen(world, clock, feed, market, flag, trust):
    world.show_book(flags=flag)
    (top,), _ = feed.newer(market, 0)
    assert feed.trust(top, clock()) is trust


def test_a_beat_after_the_clock_was_read_is_not_a_stall(world, clock, feed):
    before = clock()
    world.pass_ms(1)
    assert feed.watch(before) is Liveness.LIVE


def test_a_book_has_the_levels_of_its_own_batch_and_no_others(make, world, feed, market):
    def show_depth(batch):
        levels = [49 * make.CENT, 3 * E9] + [0] * 38
        bids = [50 * make.CENT, 100 * E9, *levels][:40]
        world.feed.board("depth").publish(
            0, make.values(DEPTH, batch=batch, bid_count=2, bids=bids, asks=[0] * 40)
        )

    world.show_book()
    show_depth(batch=1)
    (top,), _ = feed.newer(market, 0)
    book = feed.book(market, top, is_trusted=True, has_gap=False)
    assert (book.bid_px_e9, book.ask_px_e9) == (50 * make.CENT, 52 * make.CENT)
    assert (book.tick_e9, book.version) == (make.CENT, 1)
    assert book.displayed(Side.BUY, 49 * make.CENT) == 3 * E9
    assert book.asks == ()
    show_depth(batch=7)
    assert feed.book(market, top, is_trusted=True, has_gap=False).bids is None


@pytest.mark.parametrize(
    "changes",
    [
        {"yes_bid_px_e9": -1},
        {"yes_ask_px_e9": E9},
        {"yes_bid_px_e9": 52 * E9 // 100},  # It meets the ask, and no flag says so.
        {"yes_bid_qty_e9": -1},
        {"yes_ask_qty_e9": 1 << 62},
        {"tick_e9": -1},
        {"tick_e9": E9},
        {"publish_ns": 1 << 62},
    ],
)
def test_a_top_that_no_book_can_have_is_as_bad_as_crossed_and_told_once(
    world, clock, feed, market, tally, changes
):
    world.show_book(50, 52, **changes)
    (top,), _ = feed.newer(market, 0)
    for _ in range(3):
        assert feed.trust(top, clock()) is Trust.CROSSED
    assert tally[Counter.cache_record_unreadable] == 1


def test_a_top_published_since_the_clock_was_read_is_no_damage(world, clock, feed, market, tally):
    world.show_book(50, 52, publish_ns=clock() + 1_000_000)
    (top,), _ = feed.newer(market, 0)
    assert feed.trust(top, clock()) is Trust.LIVE
    assert tally[Counter.cache_record_unreadable] == 0


def test_prints_are_taken_once_and_turned_to_the_first_token(make, world, clock, feed, market):
    world.show_trade(Side.BUY, 30, 4, index=1)
    world.show_trade(Side.BUY, 60, 5)
    trades, has_lost = feed.prints()
    assert not has_lost
    first, second = (feed.print_from(trade, market, clock()) for trade in trades)
    assert (first.side, first.px_e9, first.qty_e9) == (Side.SELL, 70 * make.CENT, 4 * E9)
    assert (second.side, second.px_e9) == (Side.BUY, 60 * make.CENT)
    assert feed.prints() == ([], False)


def test_a_print_without_a_side_says_nothing(world, clock, feed, market):
    world.show_trade(Side.NONE, 30, 4)
    assert feed.print_from(feed.prints()[0][0], market, clock()) is None


def test_lost_prints_are_told_once_and_counted(world, feed, tally):
    for _ in range(200):
        world.show_trade(Side.BUY, 50, 1)
    _, has_lost = feed.prints()
    assert has_lost
    assert tally[Counter.cache_stream_overrun] == 1
    assert tally[Counter.cache_stream_lost] > 100
    assert not feed.prints()[1]


def test_a_restarted_feed_counts_as_lost_prints(world, feed):
    world.show_trade(Side.BUY, 50, 1)
    feed.prints()
    world.feed.close()
    world.feed = world.start_feed()
    world.show_trade(Side.BUY, 50, 1)
    assert feed.prints()[1]


def test_an_outcome_is_unknown_until_it_is_on_the_board(world, feed, market):
    assert feed.outcome(market) is Outcome.UNKNOWN
    world.show_outcome(Outcome.UNKNOWN)
    assert feed.outcome(market) is Outcome.UNKNOWN
    world.show_outcome(Outcome.NO)
    assert feed.outcome(market) is Outcome.NO


def test_quotes_carry_what_they_rest_on(make, world, clock):
    writer = world.start_strategy()
    source = StrategyInput("strategy.maker", attached(world, "strategy.maker"))
    version = world.want(
        writer, 48, 53, book_age_ns=300, reference_age_ns=40, cause_ns=clock() - 500, keep=1
    )
    (quotes,) = source.poll()
    wanted = wanted_of(quotes, source.tag)
    assert (wanted.bid_px_e9, wanted.ask_qty_e9) == (48 * make.CENT, 10 * E9)
    assert wanted.keep
    assert wanted.provenance == Provenance(
        strategy_tag=tag_of("strategy", "maker"),
        quotes_version=version,
        book_version=1,
        reference_version=2,
        book_age_ns=300,
        reference_age_ns=40,
        decided_ns=clock(),
        quoted_ns=clock(),
        cause_ns=clock() - 500,
    )


def attached(world, role):
    return ReaderSegment.attach(role, namespace=world.namespace)


def test_quotes_are_given_once_and_all_of_them_after_a_rescan(world):
    writer = world.start_strategy()
    source = StrategyInput("strategy.maker", attached(world, "strategy.maker"))
    world.want(writer, slot=0, name="a")
    world.want(writer, slot=1, name="b")
    assert [q.tag for q in source.poll()] == [tag_of("polymarket", n) for n in "ab"]
    assert source.poll() == []
    source.rescan()
    assert len(source.poll()) == 2


def test_quotes_of_a_dead_incarnation_are_not_given(world):
    world.want(world.start_strategy())
    world.writers["strategy.maker"].close()
    writer = world.start_strategy()
    source = StrategyInput("strategy.maker", attached(world, "strategy.maker"))
    assert source.poll() == []
    world.want(writer)
    assert len(source.poll()) == 1


def test_strategies_are_found_by_name_as_the_configuration_allows(world, clock, tally):
    for name in ("maker", "maker2", "taker"):
        world.start_strategy(name)
    found = StrategyInputs(world.namespace, ("maker*",), tally)
    assert found.refresh(clock())
    assert set(found.inputs) == {"strategy.maker", "strategy.maker2"}
    assert not found.refresh(clock() + SCAN_NS)


def test_a_strategy_that_was_removed_or_replaced_is_noticed(world, clock, tally):
    world.start_strategy()
    found = StrategyInputs(world.namespace, ("*",), tally)
    found.refresh(clock())
    world.writers["strategy.maker"].close(remove=True)
    assert found.refresh(clock() + SCAN_NS)
    assert found.inputs == {}
    world.start_strategy()
    assert not found.refresh(clock() + SCAN_NS + 1)  # not looked for all the time
    assert found.refresh(clock() + 2 * SCAN_NS)
    assert set(found.inputs) == {"strategy.maker"}


def test_a_segment_that_cannot_be_read_stops_nothing(world, clock, tally):
    world.writer("strategy.odd", (BoardSpec("other", PAIR_BBO, 1, 4),))
    path = f"/dev/shm/{world.namespace}.strategy.junk"
    with open(path, "wb") as file:
        file.write(b"junk" * 100)
    found = StrategyInputs(world.namespace, ("*",), tally)
    found.refresh(clock())
    assert found.inputs == {}
