import pytest
from msgspec.structs import replace

from feeds.market_channel import DEPTHS_A_TURN
from tests.feeds.lane_world import SETTINGS, World

COUNT = 2 * DEPTHS_A_TURN + 6


@pytest.fixture
def many(monkeypatch, make):
    """A feed whose markets are on three connections, each with its whole books, none shown yet."""
    tokens = 2 * (COUNT // 3)
    settings = replace(SETTINGS, market_slots=COUNT, connection_tokens_max=tokens)
    world = World(monkeypatch, settings=settings)
    for number in range(COUNT):
        world.feed.on_listed(make.market_info(number))
    assert len(world.feed.lanes) == 4
    for lane in world.feed.lanes:
        session = world.stub(lane) if lane is not world.lane else world.session
        session.is_connected = True
        lane.on_connected(session.send)
    yield world
    world.close()


def read_all(world, make):
    for lane in world.feed.lanes:
        world.books(lane, make)


def shown(world):
    """How often each market's depth was published."""
    board = world.reader.board("depth")
    return [board.version(2 * slot) for slot in range(COUNT)]


def test_of_many_markets_that_are_due_on_whatever_connections_a_few_are_shown_in_each_turn(
    many, make
):
    read_all(many, make)
    assert [delay for delay, _ in many.timers] == [10]
    sums, delays = [], []
    while many.timers:
        many.fire()
        sums.append(sum(shown(many)))
        delays += [delay for delay, _ in many.timers]
    assert sums == [DEPTHS_A_TURN, 2 * DEPTHS_A_TURN, COUNT]
    assert delays == [0, 0], "frames are read in between, and nothing else is waited for"
    assert set(shown(many)) == {1}


def test_what_changes_in_the_middle_of_a_round_is_left_to_the_next(many, make):
    read_all(many, make)
    many.fire()
    first = many.lane.channel.pairs[make.market_info(0).condition_id]
    read_all(many, make)
    assert shown(many)[first.slot] == 1
    assert [delay for delay, _ in many.timers] == [0], "no second timer beside the round's"
    many.fire()
    many.fire()
    assert max(shown(many)) == 1
    assert [delay for delay, _ in many.timers] == [10]
    while many.timers:
        many.fire()
    assert shown(many)[first.slot] == 2
    assert all(pair.is_unsent is False for pair in many.lane.channel.pairs.values())


def test_a_connection_that_ends_in_the_middle_of_a_round_takes_no_turn_from_the_others(many, make):
    read_all(many, make)
    many.fire()
    many.disconnect()
    before = shown(many)
    while many.timers:
        many.fire()
    gone = {pair.slot for pair in many.lane.channel.pairs.values()}
    after = shown(many)
    assert [after[slot] for slot in gone] == [before[slot] for slot in gone]
    assert {after[slot] for slot in range(COUNT) if slot not in gone} == {1}


def test_the_bell_rings_once_a_turn_after_publishing(many, make, monkeypatch):
    rings = []
    read_all(many, make)
    monkeypatch.setattr(many.segment, "ring", lambda: rings.append(sum(shown(many))))
    while many.timers:
        many.fire()
    assert rings == [DEPTHS_A_TURN, 2 * DEPTHS_A_TURN, COUNT]


def test_after_the_feed_has_ended_nothing_is_published(many, make):
    class Handle:
        is_cancelled = False

        def cancel(self):
            self.is_cancelled = True

    handle = Handle()
    many.feed.depths._later = lambda delay_ms, call: handle
    read_all(many, make)
    many.feed.depths.cancel()
    assert handle.is_cancelled
