import asyncio
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counter
from cache.layout import (
    E9,
    SETTLEMENT,
    BoardSpec,
    Flag,
    Outcome,
    Provenance,
    SettlementType,
    tag_of,
)
from cache.segment import ReaderSegment, WriterSegment
from feeds import twap
from feeds.gamma import LookupFailed
from feeds.gamma_wire import EventPrices, MarketInfo
from feeds.proxy import ProxyStrike
from feeds.strike import AHEAD_S
from feeds.twap import SettlementFeed, SettlementSettings, credentials

BOARDS = (BoardSpec("settlement", SETTLEMENT, 4, 8),)
START = 1_791_000_000
LOCAL = "ws://127.0.0.1:1/polybolt"
DOWN = Flag.WARMUP | Flag.RESYNC


def market(offset=0, **changes):
    values = {
        "condition_id": f"0x{offset}", "slug": f"btc-updown-5m-{START + offset}",
        "token_ids": ("1", "2"), "outcomes": ("Up", "Down"), "tick_e9": 10**7,
        "min_qty_e9": 5 * E9, "neg_risk": False, "asset": "btc",
        "window_start_ns": (START + offset) * E9, "window_end_ns": (START + offset + 300) * E9,
        "twap_ns": 60 * E9, "settlement_type": SettlementType.TWAP,
    }  # fmt: skip
    return MarketInfo(**(values | changes))


class FakeSession:
    def __init__(self, url, handler, keepalive, counters, *, name):
        self.sent, self.reasons, self.answers = [], [], []
        self.is_connected = self.is_behind = False

    def send(self, text):
        self.sent.append(json.loads(text))

    def reconnect(self, reason):
        self.reasons.append(reason)

    def answered(self, number):
        self.answers.append(number)


class FakeGamma:
    def __init__(self):
        self.answer, self.asked = None, []

    async def event(self, slug, condition_id):
        self.asked.append(slug)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeProxy:
    def __init__(self, strike_e9=0, *, is_less_basis=False):
        self.made, self.points = ProxyStrike(strike_e9, is_less_basis), []

    def strike(self, symbol, second, length_s):
        return self.made

    def on_point(self, symbol, second, price_e9, length_s):
        self.points.append((symbol, second, price_e9, length_s))


class World:
    def __init__(self, namespace, *, url=LOCAL, proxy=None, environ=None):
        self.now_s = START - 60.0
        self.segment = WriterSegment.create("feed.polymarket.0", BOARDS, namespace=namespace)
        self.reader = ReaderSegment.attach("feed.polymarket.0", namespace=namespace)
        self.gamma = FakeGamma()
        settings = SettlementSettings(url, 10.0, 3.0, 15.0, proxy, environ or {})
        self.feed = SettlementFeed(
            self.segment, self.gamma, settings, wall=lambda: round(self.now_s * E9)
        )

    @property
    def session(self):
        return self.feed._session

    def read(self, offset=0, slot=0):
        return self.reader.board("settlement").read(slot, tag_of("polymarket", f"0x{offset}"))

    def count(self, counter):
        return self.reader.counters[counter]

    def bell(self):
        memory, at = self.reader.bell_word
        return int.from_bytes(memory[at : at + 4], "little")

    def connect(self, *, is_authed=True):
        self.session.is_connected = True
        self.feed.on_connected(self.session.send)
        if is_authed:
            self.send({"op": "authed", "rid": "auth"})

    def send(self, *frames):
        for frame in frames:
            data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
            self.recv_ns = time.monotonic_ns()
            self.feed.on_frame(data, self.recv_ns)
        self.feed.on_burst()

    def point(self, offset, price, **changes):
        """Send the point of a second, which is the present unless the clock is past it."""
        self.now_s = max(self.now_s, float(START + offset))
        self.send_point(offset, price, **changes)

    def send_point(self, offset, price, **changes):
        payload = {
            "symbol": "btcusd", "window_seconds": 60, "source": "chainlink",
            "timestamp": (START + offset) * 1000, "full_accuracy_value": price,
        } | changes  # fmt: skip
        self.send({"v": 1, "channel": "price.crypto.twap", "seq": 1, "ts": 1, "payload": payload})

    def tick(self, offset):
        """Set the clock, and ask Gamma whatever is due."""
        self.now_s = START + offset
        self.feed.tick(self.now_s)
        for place in self.feed._places.values():
            if self.feed._may_ask(place, self.now_s):
                place.is_asking = True
                asyncio.run(self.feed._ask(place))


@pytest.fixture
def namespace(namespace, monkeypatch):
    monkeypatch.setattr(twap, "Session", FakeSession)
    return namespace


@pytest.fixture
def world(namespace):
    made = World(namespace)
    yield made
    made.segment.close()


def test_a_market_is_on_the_board_as_soon_as_it_is_listed(world):
    bell = world.bell()
    world.feed.listed(market(), 2, 5)
    found = world.read(slot=2)
    assert (found.generation, found.flags, found.strike_provenance) == (5, DOWN, 0)
    assert (found.window_start_ns, found.window_end_ns) == (START * E9, (START + 300) * E9)
    assert (found.strike_e9, found.final_e9, found.outcome) == (0, 0, Outcome.UNKNOWN)
    assert world.bell() == bell + 1


def test_a_market_without_a_window_is_not_followed(world):
    world.feed.listed(market(window_start_ns=0), 2, 5)
    assert world.reader.board("settlement").version(2) == 0
    world.feed.released("0x0")


def test_the_client_authenticates_and_then_subscribes_what_is_listed(world):
    world.feed.listed(market(), 0, 0)
    world.connect(is_authed=False)
    assert [message["op"] for message in world.session.sent] == ["auth"]
    world.send({"op": "authed", "rid": "auth"})
    world.feed.listed(market(300), 1, 0)
    world.feed.listed(market(900, twap_ns=30 * E9), 2, 0)
    asked = [
        [entry["filter"]["window_seconds"] for entry in message["subscriptions"]]
        for message in world.session.sent[1:]
    ]
    assert asked == [[60], [30]]


def test_a_series_is_given_up_with_its_last_market(world):
    world.feed.listed(market(), 0, 0)
    world.feed.listed(market(300), 1, 0)
    world.connect()
    world.feed.released("0x0")
    assert world.session.sent[-1]["op"] == "subscribe"
    world.feed.released("0x300")
    assert world.session.sent[-1]["op"] == "unsubscribe"


def test_the_point_of_the_start_is_the_strike_and_that_of_the_end_decides(world):
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(-1, "78788.7")
    found = world.read()
    assert (found.flags, found.twap_e9, found.strike_e9) == (0, 78_788_700_000_000, 0)
    assert (found.twap_ts_ns, found.recv_ns) == ((START - 1) * E9, world.recv_ns)
    world.point(0, "78788.786579938813673472")
    found = world.read()
    assert (found.strike_e9, found.strike_provenance) == (78_788_786_579_938, Provenance.STREAM)
    world.point(300, "78788.786579938813673472")
    found = world.read()
    assert (found.outcome, found.flags) == (Outcome.YES, Flag.RESOLVED)
    assert world.count(Counter.feeds_twap_received) == 3
    assert world.count(Counter.feeds_twap_lost) == 299


def test_one_point_serves_the_window_that_ends_and_the_one_that_starts(world):
    world.feed.listed(market(), 0, 0)
    world.feed.listed(market(300), 1, 0)
    world.connect()
    world.point(0, "100.5")
    bell = world.bell()
    world.point(300, "99.5")
    assert world.bell() == bell + 1
    assert (world.read().outcome, world.read().final_e9) == (Outcome.NO, 99_500_000_000)
    found = world.read(300, slot=1)
    assert (found.strike_e9, found.strike_provenance) == (99_500_000_000, Provenance.STREAM)


def test_points_of_a_foreign_source_are_not_used(world):
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(0, "100.5", source="pyth")
    assert world.read().strike_provenance == Provenance.UNKNOWN
    assert world.count(Counter.feeds_events_unlisted) == 1


def test_a_point_from_the_future_or_of_an_absurd_price_is_refused_and_counted(world):
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(0, "100.5")
    world.send_point(AHEAD_S + 1, "100.5")
    world.send_point(1, "0.000000001")
    world.send_point(1, "100.5", timestamp=9_000_000_000_000)  # in the year 2255
    found = world.read()
    assert (found.strike_e9, found.twap_e9, found.twap_ts_ns) == (100_500_000_000,) * 2 + (
        START * E9,
    )
    assert world.count(Counter.feeds_twap_refused) == 3
    assert world.count(Counter.feeds_twap_received) == 4
    world.send_point(AHEAD_S, "100.6")
    assert world.read().twap_ts_ns == (START + AHEAD_S) * E9


def test_the_board_says_when_the_stream_is_down_behind_or_back(world):
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(0, "100.5")
    assert world.read().flags == 0
    world.session.is_behind = True
    world.feed.on_stalled()
    assert world.read().flags == Flag.RESYNC
    world.session.is_behind = False
    world.feed.on_caught_up()
    assert world.read().flags == 0
    world.feed.on_disconnected("cut")
    assert (world.read().flags, world.read().strike_e9) == (Flag.RESYNC, 100_500_000_000)


def test_a_point_that_does_not_come_is_fetched_by_a_reconnect_but_not_too_often(world):
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(-1, "100.5")
    world.tick(2)
    assert world.session.reasons == []
    world.tick(3)
    assert len(world.session.reasons) == 1
    world.tick(12)
    assert len(world.session.reasons) == 1
    world.tick(13)
    assert len(world.session.reasons) == 2
    world.point(0, "100.5")
    world.tick(24)
    assert len(world.session.reasons) == 2


def test_a_stream_without_points_is_connected_anew(world, monkeypatch):
    world.feed.listed(market(), 0, 0)
    now_ns = time.monotonic_ns()
    world.connect()
    world.tick(-50)
    assert world.session.reasons == []
    monkeypatch.setattr(twap.time, "monotonic_ns", lambda: now_ns + 11 * E9)
    world.tick(-49)
    world.tick(-48)
    assert world.session.reasons == ["no points"]
    assert world.count(Counter.feeds_session_silent) == 1


def test_the_official_strike_is_asked_for_from_the_start_on(world):
    world.feed.listed(market(), 0, 0)
    world.tick(-1)
    assert world.gamma.asked == []
    world.tick(0)
    world.tick(14)
    assert len(world.gamma.asked) == 1
    world.gamma.answer = EventPrices(100 * E9)
    world.tick(15)
    assert (world.read().strike_e9, world.read().strike_provenance) == (100 * E9, 3)
    world.tick(200)
    assert len(world.gamma.asked) == 2
    world.gamma.answer = EventPrices(100 * E9, 99 * E9, Outcome.NO)
    world.tick(300)
    assert (world.read().final_e9, world.read().outcome) == (99 * E9, Outcome.NO)
    world.tick(400)
    assert len(world.gamma.asked) == 3


def test_an_official_strike_that_differs_from_the_stream_is_counted(world):
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(0, "100")
    world.gamma.answer = EventPrices(100 * E9)
    world.tick(5)
    assert world.count(Counter.feeds_strikes_revised) == 0
    world.feed.listed(market(300), 1, 0)
    world.point(300, "100")
    world.gamma.answer = EventPrices(101 * E9)
    world.tick(305)
    assert world.count(Counter.feeds_strikes_revised) == 1
    assert world.read(300, slot=1).strike_e9 == 101 * E9


def test_a_failed_look_up_is_counted_and_made_again(world):
    world.feed.listed(market(), 0, 0)
    world.gamma.answer = LookupFailed("refused")
    world.tick(0)
    assert world.count(Counter.feeds_lookup_failed) == 1
    world.gamma.answer = EventPrices(100 * E9)
    world.tick(15)
    assert world.read().strike_provenance == Provenance.OFFICIAL


def test_a_proxy_is_taken_when_nothing_better_came_and_only_while_the_window_runs(namespace):
    world = World(namespace, url="", proxy=FakeProxy(90 * E9))
    assert world.session is None
    world.feed.listed(market(), 0, 0)
    world.feed.listed(market(300), 1, 0)
    world.tick(4)
    assert world.read().strike_provenance == Provenance.UNKNOWN
    world.tick(5)
    assert (world.read().strike_e9, world.read().strike_provenance) == (90 * E9, Provenance.PROXY)
    assert world.read(300, slot=1).strike_provenance == Provenance.UNKNOWN
    world.gamma.answer = EventPrices(100 * E9)
    world.tick(20)
    assert world.read().strike_provenance == Provenance.OFFICIAL
    world.feed.listed(market(-300), 2, 0)
    world.tick(21)
    assert world.read(-300, slot=2).strike_provenance == Provenance.OFFICIAL
    world.segment.close()


@pytest.mark.parametrize("is_less_basis", [False, True])
def test_a_proxy_strike_says_in_whose_terms_it_is_also_after_a_death(namespace, is_less_basis):
    proxy = FakeProxy(90 * E9, is_less_basis=is_less_basis)
    first = World(namespace, url="", proxy=proxy)
    first.feed.listed(market(), 0, 0)
    assert not first.read().flags & Flag.LESS_BASIS
    first.tick(5)
    assert bool(first.read().flags & Flag.LESS_BASIS) is is_less_basis
    first.segment.close()
    second = World(namespace, url="", proxy=FakeProxy(91 * E9, is_less_basis=not is_less_basis))
    second.feed.listed(market(), 1, 1)
    second.tick(5)
    found = second.read(slot=1)
    assert (found.strike_e9, found.strike_provenance) == (90 * E9, Provenance.PROXY)
    assert bool(found.flags & Flag.LESS_BASIS) is is_less_basis
    second.gamma.answer = EventPrices(100 * E9)
    second.tick(20)
    assert second.read(slot=1).strike_provenance == Provenance.OFFICIAL
    assert not second.read(slot=1).flags & Flag.LESS_BASIS
    second.segment.close()


@pytest.mark.parametrize("field", ["strike_provenance", "outcome"])
def test_a_remembered_word_that_is_none_is_as_if_nothing_was_known_and_is_counted(namespace, field):
    first = World(namespace)
    first.feed.listed(market(), 0, 0)
    first.connect()
    first.point(0, "100.5")
    first.segment.close()
    spoilt = WriterSegment.create("feed.polymarket.0", BOARDS, namespace=namespace)
    board = spoilt.board("settlement")
    held = board.last(0)
    told = {name: getattr(held, name) for name in SETTLEMENT.value_names} | {field: 77}
    board.assign(0, held.tag, held.generation)
    board.publish(0, tuple(told.values()))
    spoilt.close()
    second = World(namespace)
    second.feed.listed(market(), 0, 0)
    assert second.count(Counter.cache_record_unreadable) == 1
    found = second.read()
    assert (found.outcome, found.strike_provenance in tuple(Provenance)) == (0, True)
    second.segment.close()


def test_the_basis_of_the_proxy_follows_the_stream(namespace):
    proxy = FakeProxy()
    world = World(namespace, proxy=proxy)
    world.feed.listed(market(), 0, 0)
    world.connect()
    world.point(0, "100.5")
    assert proxy.points == [("BTCUSDT", START, 100_500_000_000, 60)]
    world.segment.close()


def test_a_strike_survives_the_death_of_its_feed_whatever_the_slot(namespace):
    first = World(namespace)
    first.feed.listed(market(), 0, 0)
    first.connect()
    first.point(0, "100.5")
    first.point(300, "99.5")
    first.segment.close()
    second = World(namespace)
    second.feed.listed(market(), 3, 1)
    found = second.read(slot=3)
    assert (found.strike_e9, found.strike_provenance) == (100_500_000_000, Provenance.STREAM)
    assert (found.final_e9, found.outcome) == (99_500_000_000, Outcome.NO)
    assert (found.incarnation, found.flags) == (2, DOWN | Flag.RESOLVED)
    second.segment.close()


def test_what_is_remembered_of_another_window_is_not_taken_over(namespace):
    first = World(namespace)
    first.feed.listed(market(), 0, 0)
    first.connect()
    first.point(0, "100.5")
    first.segment.close()
    second = World(namespace)
    second.feed.listed(market(window_start_ns=(START + 300) * E9), 0, 0)
    assert second.read().strike_provenance == Provenance.UNKNOWN
    second.segment.close()


def test_the_answer_to_a_ping_is_passed_to_the_session(world):
    world.connect()
    world.send({"op": "pong", "rid": "p3"}, {"op": "pong"})
    assert world.session.answers == [3, None]


@pytest.mark.parametrize(
    ("url", "environ", "found"),
    [
        (LOCAL, {}, ("paper", "paper", "paper")),
        ("wss://ws-live-v2.polymarket.com/ws", {}, None),
        ("wss://venue/ws", {"POLYMARKET_API_KEY": "k", "POLYMARKET_API_SECRET": "s"}, None),
        (
            "wss://venue/ws",
            {
                "POLYMARKET_API_KEY": "k", "POLYMARKET_API_SECRET": "s",
                "POLYMARKET_API_PASSPHRASE": "p",
            },
            ("k", "s", "p"),
        ),
    ],
)  # fmt: skip
def test_credentials_come_from_the_environment_and_a_local_venue_needs_none(url, environ, found):
    assert credentials(url, environ) == found


def test_without_credentials_the_stream_is_left_out(namespace):
    world = World(namespace, url="wss://venue/ws")
    assert world.session is None
    world.feed.listed(market(), 0, 0)
    world.tick(100)
    assert world.read().flags == DOWN
    world.feed.released("0x0")
    world.segment.close()


def test_refusals_and_garbage_are_counted(world):
    world.connect()
    world.send(b"{", b'{"op":"error","code":"auth_invalid"}', b'{"op":"challenge"}')
    world.feed.on_rejected(1)
    assert world.count(Counter.feeds_frames_rejected) == 1
    assert world.count(Counter.feeds_frames_malformed) == 1
    assert world.count(Counter.feeds_requests_refused) == 1
    assert world.count(Counter.feeds_events_unknown) == 1


@given(st.lists(st.binary(max_size=40) | st.integers(-(2**70), 2**70), max_size=20))
def test_no_frame_can_raise_out_of_the_handler(frames):
    name = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twap, "Session", FakeSession)
        world = World(name)
        try:
            world.feed.listed(market(), 0, 0)
            world.connect()
            for frame in frames:
                if isinstance(frame, bytes):
                    world.send(frame)
                else:
                    world.point(0, "1.5", timestamp=frame)
                    world.point(0, str(abs(frame)), timestamp=START + abs(frame) % 999)
        finally:
            world.segment.close(remove=True)
