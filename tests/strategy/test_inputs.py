"""Every input is read once, under its own name, or is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from cache.board import Miss
from cache.counters import Counter, CounterReader
from cache.layout import E9, SettlementType, tag_of
from cache.segment import WriterSegment
from strategy.inputs import AccountFeed, Inputs, Look
from strategy.link import LOOK_NS
from strategy.runner import strategy_boards

FAMILIES = frozenset({"btc-updown-5m"})


@pytest.fixture
def inputs(world: Any) -> Inputs:
    return make_inputs(world)


def make_inputs(
    world: Any, families: frozenset[str] = FAMILIES, *, has_depth: bool = True
) -> Inputs:
    segment = WriterSegment.create("counts", strategy_boards(1), namespace=world.namespace)
    world.segments["counts"] = segment
    made = Inputs(
        account="paper", families=families, namespace=world.namespace,
        counters=segment.counters, has_depth=has_depth,
    )  # fmt: skip
    made.refresh(0)
    return made


def account(inputs: Inputs) -> AccountFeed:
    found = inputs.account.boards
    assert found is not None
    found.refresh()
    return found


def test_a_look_holds_everything_of_the_market_and_its_reference(
    world: Any, inputs: Inputs
) -> None:
    look = inputs.look()
    sight = look.markets[world.market_tag]
    assert not isinstance(sight.book, Miss)
    assert not isinstance(sight.settlement, Miss)
    assert sight.book.tag == sight.settlement.tag == sight.pair.tag == world.market_tag
    reference = look.references[sight.reference_tag]
    assert not isinstance(reference.bbo, Miss)
    assert not isinstance(reference.features, Miss)
    assert reference.samples.newest_second >= time.time_ns() // E9 - 2
    assert 0 < look.market_link_ns <= time.monotonic_ns()


def test_what_is_known_of_a_link_is_older_than_the_books_read_beside_it(
    world: Any, inputs: Inputs
) -> None:
    """Else a run that is stopped in between would take an old book for a quiet one."""
    markets, references = inputs.market_feed.boards, inputs.reference_feed.boards
    assert markets is not None
    assert references is not None
    inputs.look()

    class Late:
        """A board that is read a while after all that was read before it."""

        def __init__(self, board: Any, role: str) -> None:
            self.version, self._board, self._segment = board.version, board, world.segments[role]

        def read(self, slot: int, tag: int) -> Any:
            self._segment.set_link(time.monotonic_ns())
            return self._board.read(slot, tag)

    proven_ns = inputs.market_feed.link_ns, inputs.reference_feed.link_ns
    markets.pair_bbo = Late(markets.pair_bbo, "feed.polymarket.0")  # type: ignore[assignment]
    references.bbo = Late(references.bbo, "feed.binance.0")  # type: ignore[assignment]
    look = inputs.look()
    assert (look.market_link_ns, look.reference_link_ns) == proven_ns
    assert inputs.market_feed.link_ns > proven_ns[0]
    assert inputs.reference_feed.link_ns > proven_ns[1]


def test_with_nothing_there_a_look_is_empty(empty_world: Any) -> None:
    assert make_inputs(empty_world).look() == Look()


def test_without_the_reference_feed_markets_are_seen_all_the_same(empty_world: Any) -> None:
    empty_world.start("feed.polymarket.0", empty_world.PM_BOARDS)
    tag = empty_world.list_market(time.time_ns() // E9)
    look = make_inputs(empty_world).look()
    assert look.markets[tag].book is Miss.NEVER
    assert look.references == {}


def test_a_slot_given_to_another_market_is_never_read_as_the_old_one(
    world: Any, inputs: Inputs
) -> None:
    old = world.market_tag
    inputs.look()
    new = world.list_market(world.start_ns // E9 + 300, generation=1)
    look = inputs.look()
    assert set(look.markets) == {new}
    for read in (look.markets[new].book, look.markets[new].settlement):
        assert read in (Miss.OTHER_TAG, Miss.NEVER)
    assert old != new


def test_families_that_are_not_wanted_are_left_alone_and_plain_tokens_are_not(world: Any) -> None:
    assert make_inputs(world, frozenset({"eth-updown-5m"})).look().markets == {}
    world.segments.pop("counts").close(remove=True)
    plain = world.list_market(
        1, slot=1, slug=b"will-it-rain", settlement_type=SettlementType.NONE, reference_tag=0
    )
    assert set(make_inputs(world, frozenset()).look().markets) == {plain}


def test_samples_are_copied_only_when_there_are_new_ones(world: Any, inputs: Inputs) -> None:
    first = inputs.look().references[tag_of("binance", "BTCUSDT")].samples
    assert inputs.look().references[tag_of("binance", "BTCUSDT")].samples is first
    world.sample(time.time_ns() // E9 + 1)
    assert inputs.look().references[tag_of("binance", "BTCUSDT")].samples is not first


def world_depth(world: Any) -> Callable[[], None]:
    return lambda: world.depth((1, 2), batch=1)


def test_the_depth_of_the_first_token_is_read_where_it_is_wanted(world: Any) -> None:
    world.depth((1, 2), (3, 4), batch=7)
    found = make_inputs(world).look().markets[world.market_tag].depth
    assert not isinstance(found, Miss)
    assert (found.batch, found.bid_count, found.asks[1], found.asks[3]) == (7, 2, 2 * E9, 4 * E9)
    world.segments["counts"].close(remove=True)
    blind = make_inputs(world, has_depth=False)
    assert blind.look().markets[world.market_tag].depth is Miss.NEVER
    world.depth((1, 2), batch=8)
    assert not blind.has_news()


def test_there_is_news_until_it_was_looked_at(world: Any, inputs: Inputs) -> None:
    assert inputs.has_news()
    inputs.look()
    assert not inputs.has_news()
    changes = (world.book, world.reference, world.settlement, world.fill, world_depth(world))
    for change in changes:
        change()
        assert inputs.has_news()
        inputs.look()
        assert not inputs.has_news()
    world.sample(time.time_ns() // E9 + 1)
    assert not inputs.has_news()  # a sample decides nothing by itself


def test_a_strike_of_no_known_kind_is_counted_once(world: Any, inputs: Inputs) -> None:
    world.settlement(provenance=77)
    for _ in range(3):
        inputs.look()
        inputs.market_feed.due_ns = 0
        inputs._due_ns = 0
        inputs.refresh(time.monotonic_ns())
    counters = CounterReader(world.segments["counts"]._words)
    assert counters[Counter.cache_record_unreadable] == 1


def test_read_retries_are_counted_in_our_own_segment(world: Any, inputs: Inputs) -> None:
    assert inputs.market_feed.boards is not None
    board = inputs.market_feed.boards.pair_bbo
    board.retry_count, board.busy_count = 3, 1
    inputs.refresh(2 * LOOK_NS)
    counted = CounterReader(world.segments["counts"]._words).all()
    assert counted["cache_read_retried"] == 3
    assert counted["cache_read_busy"] == 1
    inputs.refresh(4 * LOOK_NS)
    assert CounterReader(world.segments["counts"]._words).all() == counted


# --- positions --------------------------------------------------------------------------------


def test_a_market_that_was_never_filled_is_flat(world: Any, inputs: Inputs) -> None:
    assert account(inputs).net_e9(world.market_tag, 0) == 0
    world.fill(tag=999)
    assert account(inputs).net_e9(world.market_tag, 0) == 0


def test_a_position_is_what_is_held_of_the_first_token_less_the_second(
    world: Any, inputs: Inputs
) -> None:
    world.position(yes=30, no=12)
    assert account(inputs).net_e9(world.market_tag, 0) == 18 * E9
    world.position(yes=0, no=12)
    assert account(inputs).net_e9(world.market_tag, 0) == -12 * E9
    assert account(inputs).net_e9(world.market_tag + 1, 0) == 0


def test_a_fill_without_its_position_is_unknown(world: Any, inputs: Inputs) -> None:
    world.fill()
    assert account(inputs).net_e9(world.market_tag, 0) is None
    world.position(yes=1)
    assert account(inputs).net_e9(world.market_tag, 0) == E9


def test_a_stream_that_does_not_reach_back_far_enough_proves_nothing(
    world: Any, inputs: Inputs
) -> None:
    before_ns = time.monotonic_ns()
    for _ in range(62):  # as many as the stream of 64 can give back at once
        world.fill(tag=999)
    assert account(inputs).net_e9(world.market_tag, before_ns) == 0
    world.fill(tag=999)
    assert account(inputs).net_e9(world.market_tag, before_ns) is None
    assert account(inputs).net_e9(world.market_tag, time.monotonic_ns()) == 0


def test_positions_of_an_older_incarnation_are_not_confirmed(world: Any, inputs: Inputs) -> None:
    world.fill()
    world.position(yes=5)
    assert account(inputs).net_e9(world.market_tag, 0) == 5 * E9
    world.restart("executor.paper", world.EXECUTOR_BOARDS)
    assert account(inputs).net_e9(world.market_tag, 0) is None
    world.position(yes=5, slot=1)
    assert account(inputs).net_e9(world.market_tag, 0) == 5 * E9
