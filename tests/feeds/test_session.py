import asyncio
import uuid

import pytest

from cache.counters import Counter
from cache.layout import PAIR_BBO, BoardSpec
from cache.segment import ReaderSegment, WriterSegment
from feeds import session as module
from feeds.dialing import DIAL_COUNT_MAX, Quota
from feeds.session import (
    FLOW_NS,
    STALL_NS,
    Keepalive,
    Session,
)

S = 1_000_000_000


class Protocol:
    """What a session asks of the library's protocol."""

    is_closing = False

    def close_expected(self):
        return self.is_closing


class Connection:
    """Stands in for an open connection."""

    def __init__(self):
        self.protocol = Protocol()
        self.transport = self
        self.is_aborted = False
        self.ping_count = 0

    def send_ping(self):
        self.ping_count += 1

    def abort(self):
        self.is_aborted = True


class Handler:
    """Subscribes if it is told to, and notes what it hears."""

    def __init__(self):
        self.heard = []
        self.subscribes = True
        self.tells = True

    def on_connected(self, send):
        self.heard.append("connected")
        if self.subscribes:
            send("subscribe")
        return self.subscribes

    def on_frame(self, data, recv_ns):
        self.heard.append(bytes(data))
        return self.tells

    def on_rejected(self, recv_ns):
        self.heard.append("rejected")

    def on_burst(self):
        self.heard.append("burst")

    def on_stalled(self):
        self.heard.append("stalled")

    def on_caught_up(self):
        self.heard.append("caught up")

    def on_disconnected(self, reason):
        self.heard.append(reason)


class Rig:
    """A session without a socket, its clock, and what it sends."""

    def __init__(self, monkeypatch, **policy):
        self.now_ns = 100 * S
        self.sent = []
        monkeypatch.setattr(module.time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(module, "broadcast", lambda _, text: self.sent.append(text))
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        boards = (BoardSpec("pair_bbo", PAIR_BBO, 1, 4),)
        self.segment = WriterSegment.create("feed", boards, namespace=self.namespace)
        self.reader = ReaderSegment.attach("feed", namespace=self.namespace)
        self.handler = Handler()
        keepalive = Keepalive(lambda number: f"PING {number}", **policy)
        self.session = Session(
            "ws://127.0.0.1:1/", self.handler, keepalive, self.segment.counters, name="rig"
        )
        self.slept_ns = 0
        monkeypatch.setattr(self.session._suspends, "poll", lambda: self.slept_ns)
        self.session._turn_ns = self.now_ns
        self.connection = Connection()

    def open(self):
        self.session.on_read()
        self.session.on_opened(self.connection)
        return self

    def tick(self, seconds):
        """Turn the loop for so many seconds."""
        for _ in range(round(seconds / 0.05)):
            self.now_ns += S // 20
            self.session._tick(self.now_ns)

    def read(self, *texts):
        """Read frames in one go."""
        self.session.on_read()
        for text in texts:
            if text == "PONG":
                self.session.answered()
            self.session.on_text(text.encode())
        self.session.on_read_end(sum(map(len, texts)))

    def take(self):
        sent, self.sent = self.sent, []
        return sent

    def counted(self, counter):
        return self.reader.counters[counter]


@pytest.fixture
def rig(monkeypatch):
    rigs = []

    def build(**policy):
        rigs.append(Rig(monkeypatch, **policy))
        return rigs[-1]

    yield build
    for made in rigs:
        made.reader.close()
        made.segment.close(remove=True)


def test_a_handler_hears_connection_frames_and_bursts_in_order(rig):
    made = rig().open()
    made.read("a", "b")
    made.read("c")
    assert made.handler.heard == ["connected", b"a", b"b", "burst", b"c", "burst"]
    assert made.take() == ["subscribe"]
    assert made.counted(Counter.feeds_frames_received) == 3
    assert made.counted(Counter.feeds_bytes_received) == 3
    assert made.counted(Counter.feeds_session_connected) == 1


def test_a_read_without_a_whole_frame_is_no_burst(rig):
    made = rig().open()
    made.read()
    assert made.handler.heard == ["connected"]


def test_nothing_is_sent_before_the_first_subscription(rig):
    made = rig()
    made.handler.subscribes = False
    made.open().tick(60)
    assert made.take() == []
    assert not made.connection.is_aborted
    made.session.arm_keepalive()
    made.tick(9.9)
    assert made.take() == []
    made.tick(0.2)
    assert made.take() == ["PING 1"]


def test_the_keepalive_message_goes_out_every_interval(rig):
    made = rig().open()
    made.take()
    for number in range(1, 5):
        made.tick(10)
        assert made.take() == [f"PING {number}"]
        made.read("PONG")
    assert not made.connection.is_aborted


def test_a_quiet_connection_is_pinged_so_that_there_is_something_to_read(rig):
    made = rig(ping_s=0.5).open()
    made.tick(0.45)
    assert made.connection.ping_count == 0
    made.tick(0.1)
    assert made.connection.ping_count == 1
    made.tick(0.4)
    assert made.connection.ping_count == 1, "one that is not answered is not repeated at once"
    made.read()  # The pong, however late: the next one is due half a second behind the ping.
    made.tick(0.1)
    assert made.connection.ping_count == 2
    made.read("data")
    made.tick(0.45)
    assert made.connection.ping_count == 2
    made.tick(0.1)
    assert made.connection.ping_count == 3
    unasked = rig().open()
    unasked.tick(9)
    assert unasked.connection.ping_count == 0


def test_a_connection_that_does_not_answer_is_made_anew(rig):
    made = rig().open()
    made.tick(39.9)
    assert not made.connection.is_aborted
    made.read("data")  # which proves nothing of what was asked
    made.tick(0.2)
    assert made.connection.is_aborted
    assert made.counted(Counter.feeds_session_silent) == 1


def test_a_connection_without_any_frame_is_made_anew_where_silence_is_a_fault(rig):
    made = rig(silence_s=5.0).open()
    made.tick(4.9)
    made.read("data")
    made.tick(4.9)
    assert not made.connection.is_aborted
    made.tick(0.2)
    assert made.connection.is_aborted


def test_the_round_trip_is_measured(rig):
    made = rig().open()
    made.tick(10)
    made.now_ns += 165_000_000
    made.session._turn_ns = made.now_ns
    made.read("PONG")
    assert made.session.rtt_ns == 165_000_000


def test_an_answer_nobody_asked_for_is_ignored(rig):
    made = rig().open()
    made.read("PONG")
    assert made.session.rtt_ns == 0


@pytest.mark.parametrize("first", ["read", "tick"])
def test_after_a_stall_all_is_doubted_until_the_answer_behind_the_backlog(rig, first):
    made = rig().open()
    made.tick(1)
    made.take()
    made.now_ns += STALL_NS + 1
    if first == "tick":
        made.session._tick(made.now_ns)
    made.read("old")
    heard = made.handler.heard
    assert heard[heard.index("stalled") + 1 :] == [b"old", "burst"]
    assert made.take() == ["PING 1"]
    assert made.session.is_behind
    made.read("old", "PONG", "new")
    assert heard[-4:] == ["caught up", b"PONG", b"new", "burst"]
    assert not made.session.is_behind
    assert made.counted(Counter.feeds_loop_stalled) == 1


def test_the_answer_to_an_older_question_does_not_end_the_doubt(rig):
    made = rig().open()
    made.tick(10)  # PING 1 is under way when the process stands still
    made.now_ns += 3 * S
    made.read("old", "PONG", "old")
    assert made.session.is_behind
    made.read("PONG")
    assert not made.session.is_behind


def test_answers_may_be_numbered(rig):
    made = rig().open()
    made.tick(10)
    made.now_ns += 3 * S
    made.session.on_read()
    made.session.answered(1)
    assert made.session.is_behind
    made.session.answered(2)
    assert not made.session.is_behind


def test_a_second_stall_asks_again(rig):
    made = rig().open()
    for _ in range(2):
        made.now_ns += S
        made.read("old")
    made.read("PONG")
    assert made.session.is_behind
    made.read("PONG")
    assert not made.session.is_behind


def test_a_turn_that_is_a_little_late_is_no_stall(rig):
    made = rig().open()
    made.now_ns += STALL_NS
    made.session._tick(made.now_ns)
    assert "stalled" not in made.handler.heard


def test_a_host_that_slept_is_a_stall(rig):
    made = rig().open()
    made.slept_ns = S
    made.session._tick(made.now_ns + 1)
    assert "stalled" in made.handler.heard


def test_a_stall_without_a_subscription_doubts_nothing(rig):
    made = rig()
    made.handler.subscribes = False
    made.open()
    made.now_ns += S
    made.read("hello")
    assert "stalled" not in made.handler.heard


def test_a_lost_connection_ends_the_doubt_of_a_stall(rig):
    made = rig().open()
    made.now_ns += S
    made.read("old")
    made.session._closed("gone")
    assert made.handler.heard[-1] == "gone"
    assert not made.session.is_behind
    assert not made.session.is_connected
    made.session._closed("gone")
    assert made.counted(Counter.feeds_session_disconnected) == 1


def test_a_peer_that_does_not_close_is_cut_off(rig):
    made = rig().open()
    made.connection.protocol.is_closing = True
    made.tick(0.9)
    assert not made.connection.is_aborted
    made.tick(0.3)
    assert made.connection.is_aborted


def test_a_binary_frame_is_counted_and_told(rig):
    made = rig().open()
    made.session.on_binary()
    assert made.handler.heard[-1] == "rejected"
    assert made.counted(Counter.feeds_frames_binary) == 1
    assert made.counted(Counter.feeds_frames_rejected) == 1


def test_without_a_connection_a_message_is_dropped(rig):
    made = rig()
    made.session.send("lost")
    made.session.reconnect("nothing to drop")
    assert made.sent == []


class Redialled:
    """Runs a session whose connections live as told, on the clock of the rig; notes the delays."""

    def __init__(self, made, monkeypatch, *, fraction=1.0, is_local=False):
        self.made, self.delays, self.dials_ns, self.stop_at = made, [], [], 0
        made.session._is_local = is_local
        made.session._quota = Quota()
        monkeypatch.setattr(made.session, "_jitter", lambda: fraction)
        monkeypatch.setattr(made.session, "_run_once", self.run_once)
        monkeypatch.setattr(made.session, "_wait", self.wait)

    async def wait(self, delay_s):
        self.delays.append(delay_s)
        if len(self.delays) == self.stop_at:
            self.made.session.stop()
        self.made.now_ns += round(delay_s * S)

    async def run_once(self):
        self.dials_ns.append(self.made.now_ns)
        self.made.session._reset()
        live = next(self.lives, None)
        if live is None:
            self.made.session.stop()
        else:
            live()

    def run(self, *lives):
        self.lives = iter(lives)
        asyncio.run(self.made.session.run())
        return self.delays


def alive(made, seconds, *texts):
    """A connection that reads these frames, and is cut so much later."""

    def live():
        made.open()
        made.read(*texts)
        made.now_ns += round(seconds * S)
        made.session._closed("cut")

    return live


def test_the_delay_grows_until_data_has_flowed_for_some_seconds(rig, monkeypatch):
    made = rig()
    flow_s = FLOW_NS / S
    lives = [alive(made, s, "data") for s in (0.0, flow_s - 0.1, flow_s, 0.0)]
    assert Redialled(made, monkeypatch).run(*lives)[:4] == [0.5, 1.0, 0.25, 0.5]


def test_what_is_no_data_of_ours_resets_no_delay_however_long_it_flows(rig, monkeypatch):
    made = rig()
    made.handler.tells = False
    lives = [alive(made, 60.0), alive(made, 60.0, "PONG"), alive(made, 60.0, "garbage")]
    assert Redialled(made, monkeypatch).run(*lives)[:3] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(("fraction", "delays"), [(0.0, [0.25, 0.5]), (1.0, [0.5, 1.0])])
def test_the_delay_is_the_sessions_own_with_its_own_jitter(rig, monkeypatch, fraction, delays):
    made = rig()
    lives = [alive(made, 0.0), alive(made, 0.0)]
    assert Redialled(made, monkeypatch, fraction=fraction).run(*lives)[:2] == delays


def test_sessions_do_not_draw_the_same_jitter(rig):
    drawn = {rig().session._jitter() for _ in range(8)}
    assert len(drawn) == 8
    assert all(0.0 <= one <= 1.0 for one in drawn)


@pytest.mark.parametrize("seconds", [0.0, 6.0])
def test_a_venue_that_cuts_every_connection_is_not_dialled_beyond_its_limit(
    rig, monkeypatch, seconds
):
    made = rig()
    played = Redialled(made, monkeypatch, fraction=0.0)
    played.run(*[alive(made, seconds, "data")] * 400)
    dials = played.dials_ns
    busiest = max(sum(at <= other < at + 300 * S for other in dials) for at in dials)
    assert busiest <= (25 if seconds == 0.0 else DIAL_COUNT_MAX)


def test_a_dial_beyond_the_quota_of_the_host_waits_for_its_turn_and_is_counted(rig, monkeypatch):
    made = rig()
    played = Redialled(made, monkeypatch)
    for _ in range(DIAL_COUNT_MAX):  # by other sessions with this host
        made.session._quota.take(made.now_ns - 100 * S)
    assert played.run()[0] == 200.0
    assert made.counted(Counter.feeds_session_delayed) == 1


def test_a_session_stopped_while_it_waits_for_its_turn_does_not_dial(rig, monkeypatch):
    made = rig()
    played = Redialled(made, monkeypatch)
    played.stop_at = 1
    for _ in range(DIAL_COUNT_MAX):
        made.session._quota.take(made.now_ns)
    assert played.run() == [300.0]
    assert played.dials_ns == []


def test_a_venue_on_this_host_is_dialled_soon_and_without_a_quota(rig, monkeypatch):
    made = rig()
    lives = [alive(made, 0.0)] * (DIAL_COUNT_MAX + 5)
    delays = Redialled(made, monkeypatch, is_local=True).run(*lives)
    assert set(delays) == {0.5}
    assert made.counted(Counter.feeds_session_delayed) == 0


def test_what_a_handler_raises_ends_the_run(rig, monkeypatch):
    made = rig()

    async def run_once():
        made.session.on_fault(KeyError("ours"))

    monkeypatch.setattr(made.session, "_run_once", run_once)
    with pytest.raises(KeyError):
        asyncio.run(made.session.run())
