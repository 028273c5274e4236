import pytest
from msgspec.structs import replace

from cache.counters import Counter
from cache.gate import LATENCY_ARB
from cache.layout import Flag
from feeds.market_lane import KEEPALIVE
from feeds.polymarket import TICK_MS
from tests.feeds.lane_world import BOOK_STORE, S, World, ringing_world, tokens_of


@pytest.fixture
def world(monkeypatch):
    with ringing_world(monkeypatch) as made:
        yield made


def test_what_is_listed_before_the_connection_is_the_first_message_of_it(world, make):
    world.feed.on_listed(make.market_info())
    world.feed.on_listed(make.market_info(1))
    assert world.connect()
    assert world.session.take() == [
        {"assets_ids": tokens_of(make, 0, 1), "type": "market", "custom_feature_enabled": True}
    ]
    assert world.session.is_armed


def test_without_a_market_nothing_is_sent_and_the_keepalive_waits(world, make):
    assert not world.connect()
    assert world.session.take() == []
    assert not world.session.is_armed
    world.feed.on_listed(make.market_info())
    (first,) = world.session.take()
    assert first["type"] == "market"
    assert world.session.is_armed


def test_a_market_that_comes_later_is_added_to_the_connection(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.session.take()
    world.feed.on_listed(make.market_info(1))
    assert world.session.take() == [
        {"operation": "subscribe", "assets_ids": tokens_of(make, 1),
         "custom_feature_enabled": True}
    ]  # fmt: skip


def test_books_are_published_and_the_bell_rings_once_a_burst(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.rings.clear()
    world.read(
        make.both_books([("0.4", "1")], [("0.5", "1")]),
        make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=1),
        make.both_changes("BUY", "0.46", "7", ("0.46", "0.5"), ms=2),
    )
    assert len(world.rings) == 1
    assert world.top().yes_bid_px_e9 == 460_000_000
    assert world.top().flags == 0


def test_a_read_that_publishes_nothing_rings_nothing(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.rings.clear()
    world.read({"event_type": "new_market", "market": "0x9"})
    assert world.rings == []


def test_the_link_is_proven_by_what_is_read_but_not_by_a_backlog(world, make):
    world.connect()
    world.read({"event_type": "new_market", "market": "0x9"})
    proven_ns = world.reader.link_ns
    assert proven_ns == world.session.read_ns
    world.session.is_behind = True
    world.read({"event_type": "new_market", "market": "0x9"})
    assert world.reader.link_ns == proven_ns


def test_a_pong_proves_the_link_where_no_frame_comes(world):
    world.connect()
    world.session.read_ns = world.now_ns + 5
    world.lane.tick(1, 0)
    assert world.reader.link_ns == world.now_ns + 5
    world.session.read_ns += S
    world.session.is_behind = True
    world.lane.tick(2, 0)
    assert world.reader.link_ns == world.now_ns + 5
    world.session.is_behind, world.session.read_ns = False, 0
    world.lane.tick(3, 0)
    assert world.reader.link_ns == world.now_ns + 5, "a connection that was not read proves nothing"


def test_a_quiet_link_is_shown_anew_well_within_what_the_strictest_policy_allows():
    # A ping goes out at the first tick that is late enough; its pong is shown at the next one.
    ticks_ms = TICK_MS * -(-1000 * KEEPALIVE.ping_s // TICK_MS)
    shown_ms = ticks_ms + TICK_MS
    assert shown_ms * 1e6 <= 0.6 * LATENCY_ARB.evidence_ns_max


def test_hashes_are_checked_for_some_time_after_a_frame_and_not_after_a_pong(world, make):
    checked = []
    world.lane.channel.certify_next = checked.append
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.lane.tick(3, 0)
    assert len(checked) == 1
    world.now_ns += 3 * S
    world.session.read_ns = world.now_ns
    world.lane.tick(6, 0)
    assert len(checked) == 1


def test_the_witness_looks_only_while_a_connection_carries_the_markets(world, make):
    told = []

    class Witness:
        def tick(self, pairs, *, read_ns, wall_ns):
            told.append(([pair.market.condition_id for pair in pairs], read_ns, wall_ns))

        def on_disconnected(self):
            told.append("disconnected")

    world.lane.witness = Witness()
    world.feed.on_listed(make.market_info())
    world.lane.tick(1, 7)
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.session.is_behind = True
    world.lane.tick(2, 7)
    assert told == []
    world.session.is_behind = False
    world.lane.tick(3, 7)
    assert told == [([make.MARKET], world.session.read_ns, 7)]
    world.disconnect()
    world.lane.tick(4, 7)
    assert told[1:] == ["disconnected"]


def test_depth_follows_on_a_timer_set_once(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.read(make.both_changes("BUY", "0.45", "7", ("0.45", "0.5"), ms=1))
    assert [delay for delay, _ in world.timers] == [10]
    world.rings.clear()
    world.fire()
    assert world.reader.board("depth").version(0) == 1
    assert world.reader.board("depth").read(0, 0).batch == world.top().batch
    assert len(world.rings) == 1


def test_a_held_batch_expires_on_its_timer(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.fire()
    world.read(make.both_changes("SELL", "0.38", "9", ("0.3", "0.38"), ms=1))
    assert [delay for delay, _ in world.timers] == [5]
    world.now_ns += 4_000_000
    world.fire()  # the loop's clock may be a little early
    assert world.top().flags == 0
    assert [delay for delay, _ in world.timers] == [1]
    world.now_ns += 1_000_000
    world.fire()
    assert world.top().flags & Flag.SUSPECT


def test_a_stall_and_a_lost_connection_are_resync(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.lane.on_stalled()
    assert world.top().flags == Flag.RESYNC
    world.lane.on_caught_up()
    assert world.top().flags == 0
    world.disconnect()
    assert world.top().flags == Flag.RESYNC
    world.session.take()
    world.connect()
    (first,) = world.session.take()
    assert first["assets_ids"] == tokens_of(make, 0)
    assert world.top().flags == Flag.RESYNC
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    assert world.top().flags == 0


def test_a_binary_frame_puts_the_books_in_doubt(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.lane.on_rejected(world.now_ns)
    assert world.top().flags == Flag.SUSPECT


def test_a_doubted_book_is_asked_for_by_leaving_and_joining(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.lane.on_rejected(world.now_ns)
    world.session.take()
    world.now_ns += S
    world.lane._ask_for_books(world.now_ns, 0)
    assert [one["operation"] for one in world.session.take()] == ["unsubscribe", "subscribe"]
    assert world.counted(Counter.feeds_books_requested) == 1
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    assert world.top().flags == 0
    world.now_ns += S
    world.lane._ask_for_books(world.now_ns, 0)
    assert world.session.take() == []


def test_a_stall_marks_tops_at_once_and_depth_soon(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.fire()
    depth = world.reader.board("depth")
    for told, flags in ((world.lane.on_stalled, Flag.RESYNC), (world.lane.on_caught_up, 0)):
        before = depth.version(0)
        told()
        assert world.top().flags == flags
        assert depth.version(0) == before, "thousands of books would be one more stall"
        world.fire()
        assert depth.read(0, 0).flags == flags
        assert depth.read(0, 0).batch == world.top().batch


@pytest.mark.parametrize("hard_stale_ms", [5_000, 60_000])
def test_a_market_that_says_nothing_is_subscribed_anew_at_the_hard_limit_of_the_book_store(
    monkeypatch, make, hard_stale_ms
):
    world = World(monkeypatch, book_store=replace(BOOK_STORE, hard_stale_ms=hard_stale_ms))
    try:
        world.feed.on_listed(make.market_info())
        world.connect()
        world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
        world.session.take()
        for wait_ns, asked in ((hard_stale_ms * S // 1_000, []), (1, ["unsubscribe", "subscribe"])):
            world.now_ns += wait_ns
            world.lane._ask_for_books(world.now_ns, 0)
            assert [one["operation"] for one in world.session.take()] == asked
    finally:
        world.close()


def test_no_more_levels_are_published_than_the_book_store_allows(monkeypatch, make):
    world = World(monkeypatch, book_store=replace(BOOK_STORE, max_depth=1))
    try:
        world.feed.on_listed(make.market_info())
        world.connect()
        world.read(make.both_books([("0.4", "1"), ("0.3", "1")], [("0.5", "1"), ("0.6", "1")]))
        world.fire()
        shown = world.reader.board("depth").read(0, 0)
        assert (shown.bid_count, shown.ask_count) == (1, 1)
    finally:
        world.close()


def test_books_that_never_come_make_the_connection_anew(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    for _ in range(60):
        world.now_ns += 2 * S
        world.lane._ask_for_books(world.now_ns, 0)
    assert world.session.reconnects
    assert set(world.session.reconnects) == {"whole books do not come"}


def test_hashes_are_checked_while_the_venue_says_something(world, make, monkeypatch):
    checked = []
    monkeypatch.setattr(world.lane.channel, "certify_next", checked.append)
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    for count in range(1, 4):
        world.lane.tick(count, 0)
    assert checked == [world.now_ns]
    world.now_ns += 2 * S
    for count in range(1, 31):
        world.lane.tick(count, 0)
    assert len(checked) == 1
