import json
import uuid
from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.board import Miss
from cache.counters import Counter
from cache.gate import LATENCY_ARB
from cache.instruments import Directory
from cache.layout import Flag, tag_of
from cache.segment import ReaderSegment, WriterSegment, remove
from feeds import polymarket
from feeds.polymarket import ROLE, PolymarketFeed, boards
from host.settings import BookStore
from host.settings import PolymarketFeed as Settings
from tests.system.damage import damages, spoil

SETTINGS = Settings(
    market_slots=2, families=("btc-updown-5m",), tokens=(), hold_ms=5, depth_interval_ms=10,
    lead_s=120.0, linger_s=90.0, lookup_timeout_s=5.0, official_interval_s=15.0,
    twap_silence_s=10.0, twap_wait_s=3.0, strike_proxy="none",
)  # fmt: skip
BOOK_STORE = BookStore(
    enabled=True, default_max_stale_ms=1_500, hard_stale_ms=5_000, max_depth=20,
    warmup_timeout_ms=10_000, warmup_min_ready_fraction=0.8,
)  # fmt: skip
S = 1_000_000_000


class Session:
    """Stands in for the connection."""

    def __init__(self):
        self.is_connected = False
        self.is_behind = False
        self.is_armed = False
        self.read_ns = 0
        self.sent = []
        self.reconnects = []

    def send(self, text):
        assert self.is_connected
        self.sent.append(json.loads(text))

    def arm_keepalive(self):
        self.is_armed = True

    def reconnect(self, reason):
        self.reconnects.append(reason)

    def take(self):
        sent, self.sent = self.sent, []
        return sent


class Settlement:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def listed(self, market, slot, generation):
        self.told.append(("listed", market.slug, slot, generation))

    def released(self, condition_id):
        self.told.append(("released", condition_id))


class World:
    """A feed without a socket, its timers, and readers of its boards."""

    def __init__(self, monkeypatch, namespace=None, **more):
        self.namespace = namespace or f"t{uuid.uuid4().hex[:12]}"
        self.now_ns = 1_000 * S
        monkeypatch.setattr(polymarket, "monotonic_ns", lambda: self.now_ns)
        self.segment = WriterSegment.create(ROLE, boards(SETTINGS), namespace=self.namespace)
        self.reader = ReaderSegment.attach(ROLE, namespace=self.namespace)
        self.settlement = Settlement()
        self.feed = PolymarketFeed(
            self.segment, "ws://127.0.0.1:1/", SETTINGS, settlement=self.settlement,
            **({"book_store": BOOK_STORE} | more),
        )  # fmt: skip
        self.session = self.feed.session = Session()
        self.timers = []
        self.feed._later = lambda delay_ms, call: (
            self.timers.append((delay_ms, call)) or len(self.timers)
        )
        self.directory = Directory(self.reader)

    def connect(self):
        self.session.is_connected = True
        return self.feed.on_connected(self.session.send)

    def disconnect(self):
        self.session.is_connected = False
        self.feed.on_disconnected("cut")

    def read(self, *events):
        """Read frames in one go of the socket."""
        self.now_ns += 1_000
        self.session.read_ns = self.now_ns
        for event in events:
            self.feed.on_frame(json.dumps(event).encode(), self.now_ns)
        self.feed.on_burst()

    def fire(self):
        """Let every timer that was set go off."""
        timers, self.timers = self.timers, []
        for _, call in timers:
            call()

    def top(self, slot=0):
        found = self.reader.board("pair_bbo").read(slot, 0)
        return found if not isinstance(found, Miss) else None

    def counted(self, counter):
        return self.reader.counters[counter]

    def close(self, *, remove=True):
        self.reader.close()
        self.segment.close(remove=remove)


@pytest.fixture
def world(monkeypatch):
    made = World(monkeypatch)
    rings = []
    monkeypatch.setattr(made.segment, "ring", lambda: rings.append(1))
    made.rings = rings
    yield made
    made.close()


def tokens_of(make, *numbers):
    return [token for n in numbers for token in make.market_info(n).token_ids]


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


def test_a_market_listed_twice_is_one(world, make):
    world.feed.on_listed(make.market_info())
    world.feed.on_listed(make.market_info())
    assert world.counted(Counter.feeds_markets_listed) == 1


def test_a_market_without_a_free_slot_is_refused(world, make):
    for number in range(3):
        world.feed.on_listed(make.market_info(number))
    assert world.counted(Counter.feeds_markets_refused) == 1
    assert len(world.feed.channel.pairs) == 2
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
    world.feed.tick(1, 0)
    assert world.reader.link_ns == world.now_ns + 5
    world.session.read_ns += S
    world.session.is_behind = True
    world.feed.tick(2, 0)
    assert world.reader.link_ns == world.now_ns + 5
    world.session.is_behind, world.session.read_ns = False, 0
    world.feed.tick(3, 0)
    assert world.reader.link_ns == world.now_ns + 5, "a connection that was not read proves nothing"


def test_a_quiet_link_is_shown_anew_well_within_what_the_strictest_policy_allows():
    # A ping goes out at the first tick that is late enough; its pong is shown at the next one.
    ticks_ms = polymarket.TICK_MS * -(-1000 * polymarket.KEEPALIVE.ping_s // polymarket.TICK_MS)
    shown_ms = ticks_ms + polymarket.TICK_MS
    assert shown_ms * 1e6 <= 0.6 * LATENCY_ARB.evidence_ns_max


def test_hashes_are_checked_for_some_time_after_a_frame_and_not_after_a_pong(world, make):
    checked = []
    world.feed.channel.certify_next = checked.append
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.feed.tick(3, 0)
    assert len(checked) == 1
    world.now_ns += 3 * S
    world.session.read_ns = world.now_ns
    world.feed.tick(6, 0)
    assert len(checked) == 1


def test_the_witness_looks_only_while_a_connection_carries_the_markets(world, make):
    told = []

    class Witness:
        def tick(self, pairs, *, read_ns, wall_ns):
            told.append(([pair.market.condition_id for pair in pairs], read_ns, wall_ns))

        def on_disconnected(self):
            told.append("disconnected")

    world.feed._witness = Witness()
    world.feed.on_listed(make.market_info())
    world.feed.tick(1, 7)
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.session.is_behind = True
    world.feed.tick(2, 7)
    assert told == []
    world.session.is_behind = False
    world.feed.tick(3, 7)
    assert told == [([make.MARKET], world.session.read_ns, 7)]
    world.disconnect()
    world.feed.tick(4, 7)
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
    world.feed.on_stalled()
    assert world.top().flags == Flag.RESYNC
    world.feed.on_caught_up()
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
    world.feed.on_rejected(world.now_ns)
    assert world.top().flags == Flag.SUSPECT


def test_a_doubted_book_is_asked_for_by_leaving_and_joining(world, make):
    world.feed.on_listed(make.market_info())
    world.connect()
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    world.feed.on_rejected(world.now_ns)
    world.session.take()
    world.now_ns += S
    world.feed._ask_for_books(world.now_ns, 0)
    assert [one["operation"] for one in world.session.take()] == ["unsubscribe", "subscribe"]
    assert world.counted(Counter.feeds_books_requested) == 1
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    assert world.top().flags == 0
    world.now_ns += S
    world.feed._ask_for_books(world.now_ns, 0)
    assert world.session.take() == []


@pytest.mark.parametrize("hard_stale_ms", [5_000, 60_000])
def test_a_market_that_says_nothing_is_subscribed_anew_at_the_hard_limit_of_the_book_store(
    monkeypatch, make, hard_stale_ms
):
    wanted = msgspec.structs.replace(BOOK_STORE, hard_stale_ms=hard_stale_ms)
    world = World(monkeypatch, book_store=wanted)
    try:
        world.feed.on_listed(make.market_info())
        world.connect()
        world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
        world.session.take()
        limit_ns = hard_stale_ms * S // 1_000
        for wait_ns, asked in ((limit_ns, []), (1, ["unsubscribe", "subscribe"])):
            world.now_ns += wait_ns
            world.feed._ask_for_books(world.now_ns, 0)
            assert [one["operation"] for one in world.session.take()] == asked
    finally:
        world.close()


def test_no_more_levels_are_published_than_the_book_store_allows(monkeypatch, make):
    world = World(monkeypatch, book_store=msgspec.structs.replace(BOOK_STORE, max_depth=1))
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
        world.feed._ask_for_books(world.now_ns, 0)
    assert world.session.reconnects
    assert set(world.session.reconnects) == {"whole books do not come"}


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
        pair = second.feed.channel.pairs[window.condition_id]
        assert pair.is_whole
        assert second.top(pair.slot).yes_bid_px_e9 == 4 * 10**8
    finally:
        if second is not None:
            second.segment.close()
        remove(ROLE, namespace=first.namespace)


def test_hashes_are_checked_while_the_venue_says_something(world, make, monkeypatch):
    checked = []
    monkeypatch.setattr(world.feed.channel, "certify_next", checked.append)
    world.read(make.both_books([("0.4", "1")], [("0.5", "1")]))
    for count in range(1, 4):
        world.feed.tick(count, 0)
    assert checked == [world.now_ns]
    world.now_ns += 2 * S
    for count in range(1, 31):
        world.feed.tick(count, 0)
    assert len(checked) == 1
