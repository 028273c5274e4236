import os
import time

import pytest

from cache import segment
from cache.layout import BBO, BoardSpec
from cache.segment import WriterSegment, segment_path
from feeds.binance_lane import SILENCE_GROWTH_MAX, Lane, Silence, probe, stream_url

MS = 1_000_000


class Owner:
    """Writes down what a lane tells it."""

    def __init__(self, made):
        self.segment, self.heard = made, []

    def on_lane_up(self, lane):
        self.heard.append("up")

    def on_lane_down(self, lane, reason):
        self.heard.append(("down", reason, set(lane.seen), lane.is_behind))

    def on_frame(self, lane, data, recv_ns):
        self.heard.append((data, recv_ns))
        return True

    def on_burst(self, lane, recv_ns):
        self.heard.append(("burst", recv_ns))

    def on_lost(self):
        self.heard.append("lost")

    def on_doubt(self):
        self.heard.append("doubt")


@pytest.fixture
def lane():
    name = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    made = WriterSegment.create("feed.x", (BoardSpec("bbo", BBO, 1, 8),), namespace=name)
    yield Lane(Owner(made), "ws://venue/stream?streams=a", 3)
    made.close(remove=True)
    assert segment.roles(name) == []
    assert not os.path.exists(segment_path(name, "feed.x"))


def heard(lane):
    return lane._owner.heard


def test_a_lane_is_current_for_what_it_has_seen_while_it_is_connected_and_not_behind(lane):
    lane.seen.add("BTCUSDT")
    assert not lane.is_current("BTCUSDT")
    lane.on_connected(lambda text: None)
    assert not lane.is_current("BTCUSDT"), "a new connection has to see it again"
    lane.seen.add("BTCUSDT")
    assert lane.is_current("BTCUSDT")
    assert not lane.is_current("ETHUSDT")
    lane.on_stalled()
    assert not lane.is_current("BTCUSDT")
    lane.on_caught_up()
    assert lane.is_current("BTCUSDT")
    lane.on_disconnected("cut")
    assert not lane.is_current("BTCUSDT")


def test_a_lane_that_goes_down_still_says_what_it_knew(lane):
    lane.on_connected(lambda text: None)
    lane.seen.add("BTCUSDT")
    lane.on_stalled()
    lane.on_disconnected("cut")
    assert heard(lane)[-1] == ("down", "cut", {"BTCUSDT"}, True)
    assert (lane.seen, lane.is_behind, lane.connected_ns) == (set(), False, 0)


def test_a_burst_is_told_with_the_time_of_its_frames(lane):
    assert lane.on_connected(lambda text: None), "the URL has subscribed: the keepalive may begin"
    lane.on_frame(b"x", 77)
    lane.on_burst()
    lane.on_rejected(78)
    assert heard(lane) == ["up", (b"x", 77), ("burst", 77), "lost"]


def test_a_new_connection_has_no_reason_to_leave(lane):
    lane.leave_reason = "server shutdown"
    lane.on_connected(lambda text: None)
    assert lane.leave_reason == ""


def test_the_url_subscribes_both_streams_of_every_symbol():
    assert stream_url("wss://venue/stream", ("BTCUSDT", "ETHUSDT")) == (
        "wss://venue/stream?streams=btcusdt@bookTicker/btcusdt@trade/ethusdt@bookTicker/ethusdt@trade"
    )
    assert stream_url("wss://venue/stream?timeUnit=MICROSECOND", ("X1",)) == (
        "wss://venue/stream?timeUnit=MICROSECOND&streams=x1@bookTicker/x1@trade"
    )


def test_the_probe_is_numbered():
    assert probe(7) == '{"method":"LIST_SUBSCRIPTIONS","id":7}'


def test_silence_is_measured_from_the_last_frame_or_the_connection():
    silence = Silence(100)
    assert not silence.judge(100 * MS, 0, 0)
    assert silence.judge(101 * MS, 0, 0)
    assert not Silence(100).judge(101 * MS, 50 * MS, 0)
    assert not Silence(100).judge(101 * MS, 0, 50 * MS)


def test_silence_is_given_longer_each_time_in_vain_and_starts_over_with_a_frame():
    silence, limits, connected = Silence(100), [], 0
    for now in range(0, 40_000):
        if silence.judge(now * MS, 0, connected):
            limits.append(now - connected // MS)
            connected = now * MS
    assert limits[:4] == [101, 201, 401, 801]
    assert max(limits) <= 100 * SILENCE_GROWTH_MAX + 1
    assert not silence.judge(50_100 * MS, 50_000 * MS, connected)
    assert silence.judge(50_101 * MS, 50_000 * MS, connected)
