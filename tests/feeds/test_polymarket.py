from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from cache.board import Miss
from cache.counters import Counter
from cache.layout import E9, Flag, tag_of
from cache.segment import remove
from feeds.polymarket import ROLE, SILENT_BESIDE_NS
from tests.feeds.lane_world import SETTINGS, S, World, ringing_world, tokens_of
from tests.system.damage import damages, spoil


@pytest.fixture
def world(monkeypatch):
    with ringing_world(monkeypatch) as made:
        yield made


def test_a_listed_market_is_in_the_directory_with_both_tokens(world, make):
    world.feed.on_listed(make.market_info(asset="btc"))
    world.directory.refresh()
    (pair,) = world.directory.pairs.values()
    assert (pair.tag, pair.pair_slot) == (tag_of("polymarket", make.MARKET), 0)
    assert (pair.yes.id, pair.no.id) == (make.YES, make.NO)
    assert (pair.yes.outcome, pair.no.outcome) == ("Up", "Down")
    assert world.top().flags == Flag.WARMUP | Flag.RESYNC
    assert world.settlement.told == [("listed", "btc-updown-5m-0", 0, 0)]
    assert world.counted(Counter.feeds_markets_listed) == 1
    assert world.reader.epoch == 1
    assert world.rings


def test_a_market_listed_twice_is_one(world, make):
    world.feed.on_listed(make.market_info())
    world.feed.on_listed(make.market_info())
    assert world.counted(Counter.feeds_markets_listed) == 1


def test_a_market_without_a_free_slot_is_refused(world, make):
    for number in range(3):
        world.feed.on_listed(make.market_info(number))
    assert world.counted(Counter.feeds_markets_refused) == 1
    assert len(world.lane.channel.pairs) == 2
    world.feed.on_released(make.market_info(2).condition_id)
    assert world.counted(Counter.feeds_markets_released) == 0


def test_a_released_market_leaves_wire_and_directory_and_its_slot_is_reused(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.session.take()
    world.feed.on_released(make.MARKET)
    assert world.session.take() == [
        {"operation": "unsubscribe", "assets_ids": tokens_of(make, 0),
         "custom_feature_enabled": True}
    ]  # fmt: skip
    world.directory.refresh()
    assert world.directory.pairs == {}
    assert world.top().flags == Flag.RESYNC
    assert world.settlement.told[-1] == ("released", make.MARKET)
    for number in (1, 2):
        world.feed.on_listed(make.market_info(number))
    board = world.reader.board("pair_bbo")
    assert board.read(0, tag_of("polymarket", make.MARKET)) is Miss.OTHER_TAG
    assert (world.top(0).generation, world.top(1).generation) == (1, 0)
    assert world.top(0).tag == tag_of("polymarket", make.market_info(2).condition_id)


def test_a_restarted_feed_keeps_slots_and_generations(monkeypatch, make):
    first = World(monkeypatch)
    first.feed.on_listed(make.market_info())
    first.feed.on_listed(make.market_info(1))
    first.feed.on_released(make.MARKET)
    first.feed.on_listed(make.market_info(2))
    was = [(first.top(n).tag, first.top(n).generation) for n in (0, 1)]
    first.close(remove=False)
    second = World(monkeypatch, first.namespace)
    try:
        second.feed.on_listed(make.market_info(1))
        second.feed.on_listed(make.market_info(2))
        assert [(second.top(n).tag, second.top(n).generation) for n in (0, 1)] == was
        assert second.top().incarnation == 2
        second.feed.on_released(make.market_info(1).condition_id)
        second.feed.on_listed(make.market_info())
        assert second.top(1).generation == was[1][1] + 1
    finally:
        second.close()


def test_a_restarted_feed_recalls_the_windows_it_listed_with_their_newest_tick(
    request, monkeypatch, make
):
    window = make.market_info(
        slug="btc-updown-5m-1791000000", asset="btc", window_end_ns=1_791_000_300 * S
    )
    first = World(monkeypatch)
    request.addfinalizer(lambda: remove(ROLE, namespace=first.namespace))
    assert first.feed.recalled == {}
    for market in (window, make.market_info(1, slug="will-it-rain")):
        first.feed.on_listed(market)
    first.connect()
    first.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    first.read(
        {
            "event_type": "tick_size_change", "market": make.MARKET, "asset_id": make.YES,
            "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": str(make.T0),
        }
    )  # fmt: skip
    first.close(remove=False)
    second = World(monkeypatch, first.namespace)
    assert second.feed.recalled == {window.slug: replace(window, tick_e9=10**6)}
    second.feed.on_listed(window)
    second.feed.on_released(window.condition_id)
    second.close(remove=False)
    third = World(monkeypatch, first.namespace)
    assert third.feed.recalled == {}
    third.close(remove=False)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_its_predecessor_left_a_feed_starts_and_publishes(monkeypatch, make, data):
    window = make.market_info(
        slug="btc-updown-5m-1791000000", asset="btc", window_end_ns=1_791_000_300 * S
    )
    books = make.both_books([("0.4", "1")], [("0.5", "1")])
    first, second = World(monkeypatch), None
    try:
        first.feed.on_listed(window)
        first.connect()
        first.read(books)
        for board in data.draw(st.lists(st.sampled_from(["instruments", "pair_bbo"]), min_size=1)):
            slot = data.draw(st.integers(0, 1)) if board == "instruments" else 0
            keep = data.draw(st.sampled_from(((), ("tag", "incarnation"))))
            spoil(first.segment, board, slot, data.draw(damages(board, keep=keep)))
        first.close(remove=False)
        second = World(monkeypatch, first.namespace)
        for market in (*second.feed.recalled.values(), window):
            second.feed.on_listed(market)
        second.connect()
        second.read(books)
        pair = second.lane.channel.pairs[window.condition_id]
        assert pair.is_whole
        assert second.top(pair.slot).yes_bid_px_e9 == 4 * 10**8
    finally:
        if second is not None:
            second.segment.close()
        remove(ROLE, namespace=first.namespace)


# --- several connections ------------------------------------------------------------------------


@pytest.fixture
def wide(monkeypatch):
    """A feed whose connections carry one market each, with room for three markets."""
    narrow = structs.replace(SETTINGS, market_slots=3, connection_tokens_max=2)
    made = World(monkeypatch, settings=narrow)
    yield made
    made.close()


def lanes_of(wide, make, *numbers):
    """List markets and connect their lanes."""
    for number in numbers:
        wide.feed.on_listed(make.market_info(number))
    for lane in wide.feed.lanes[1:]:
        wide.stub(lane)
    for lane in wide.feed.lanes:
        lane.session.is_connected = True
        lane.on_connected(lane.session.send)
        wide.books(lane, make)
    return wide.feed.lanes


def test_markets_beyond_the_bound_of_a_connection_go_on_another_one_and_are_never_split(wide, make):
    lanes = lanes_of(wide, make, 0, 1, 2)
    assert [list(lane.channel.pairs) for lane in lanes] == [
        [make.market_info(number).condition_id] for number in (0, 1, 2)
    ]
    assert [lane.session.take()[0]["assets_ids"] for lane in lanes] == [
        tokens_of(make, number) for number in (0, 1, 2)
    ]
    assert [wide.top(slot).flags for slot in (0, 1, 2)] == [0, 0, 0]


def test_a_released_market_makes_room_on_its_own_connection(wide, make):
    lanes = lanes_of(wide, make, 0, 1)
    wide.feed.on_released(make.market_info(0).condition_id)
    wide.feed.on_listed(make.market_info(2))
    assert len(lanes) == 2
    assert [one["operation"] for one in lanes[0].session.take()[1:]] == ["unsubscribe", "subscribe"]
    assert len(lanes[1].session.take()) == 1


def test_what_befalls_a_connection_befalls_its_own_markets_alone(wide, make):
    lanes = lanes_of(wide, make, 0, 1, 2)
    lanes[1].session.is_connected = False
    lanes[1].on_disconnected("cut")
    assert [wide.top(slot).flags for slot in (0, 1, 2)] == [0, Flag.RESYNC, 0]
    lanes[2].on_stalled()
    assert [wide.top(slot).flags for slot in (0, 1, 2)] == [0, Flag.RESYNC, Flag.RESYNC]
    lanes[0].on_rejected(wide.now_ns)
    assert wide.top(0).flags == Flag.SUSPECT
    lanes[2].on_caught_up()
    assert wide.top(2).flags == 0
    lanes[1].session.is_connected = True
    lanes[1].on_connected(lanes[1].session.send)
    wide.books(lanes[1], make)
    assert [wide.top(slot).flags for slot in (0, 1, 2)] == [Flag.SUSPECT, 0, 0]


def test_the_link_is_as_old_as_that_of_the_connection_read_longest_ago(wide, make):
    lanes = lanes_of(wide, make, 0, 1, 2)

    def read(lane, at):
        lane.session.read_ns = at
        lane.on_burst()
        return wide.reader.link_ns

    first = [lane.session.read_ns for lane in lanes]
    assert read(lanes[2], 10 * E9) == min(first)
    assert read(lanes[1], 11 * E9) == first[0], "the first one was not read since"
    assert read(lanes[0], 12 * E9) == 10 * E9
    assert read(lanes[0], 13 * E9) == 10 * E9
    lanes[2].session.is_behind = True
    assert read(lanes[2], 14 * E9) == 10 * E9, "a backlog proves nothing"
    assert read(lanes[0], 15 * E9) == 11 * E9, "its markets are RESYNC: it holds nobody up"
    lanes[1].on_disconnected("cut")
    assert read(lanes[0], 16 * E9) == 16 * E9


def test_a_connection_that_is_silent_beside_others_is_made_anew(wide, make):
    lanes = lanes_of(wide, make, 0, 1, 2)
    for lane, read_ns in zip(
        lanes, (10 * E9, 10 * E9 + SILENT_BESIDE_NS, 10 * E9 + 1), strict=True
    ):
        lane.session.read_ns = read_ns
    wide.feed._cut_silent()
    assert [lane.session.reconnects for lane in lanes] == [[], [], []]
    lanes[1].session.read_ns += 1
    wide.feed._cut_silent()
    assert [len(lane.session.reconnects) for lane in lanes] == [1, 0, 0]
    assert wide.counted(Counter.feeds_session_silent) == 1


def test_a_connection_that_is_down_or_carries_nothing_is_not_called_silent(wide, make):
    lanes = lanes_of(wide, make, 0, 1, 2)
    wide.feed.on_released(make.market_info(0).condition_id)
    lanes[1].on_disconnected("cut")
    lanes[2].session.read_ns = 100 * E9
    wide.feed._cut_silent()
    assert [lane.session.reconnects for lane in lanes] == [[], [], []]
