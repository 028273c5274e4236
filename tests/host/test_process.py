"""The parts of the frame that need no process; the rest is tests/system/test_process.py."""

import faulthandler
import signal
from pathlib import Path

import pytest

from cache.errors import AlreadyRunning, LayoutMismatch, SegmentMissing, SharedMemoryFull
from cache.layout import State
from cache.segment import ReaderSegment, WriterSegment, segment_path
from host import family, idle, process
from host.arguments import UsageError
from host.clock import monotonic_ns
from host.config import ConfigError, load
from host.idle import IdleStrategy, make_idle
from host.process import Frame, claim, guarded, run_role


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No watchdog and no tie to a parent while tests run."""
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *a, **k: None)
    monkeypatch.setattr(family, "tie", lambda: None)
    monkeypatch.setattr(process.gc, "freeze", lambda: None)


@pytest.fixture
def config(namespace):
    return load(environ={"PENSTOCK_HOST_NAMESPACE": namespace, "PENSTOCK_HOST_IDLE": "yield"})


@pytest.fixture
def segment(config):
    made = claim(config, "feed.x", ())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(["one"]), 2), (AlreadyRunning("x"), 3), (LayoutMismatch("x"), 4),
        (SharedMemoryFull("x"), 5), (SegmentMissing("x"), 1), (ZeroDivisionError("x"), 1),
        (KeyboardInterrupt(), 0),
    ],
)  # fmt: skip
def test_exceptions_become_exit_codes(error, code, capsys):
    def main():
        raise error

    assert guarded(main) == code
    if code:
        assert capsys.readouterr().err.strip()


def test_what_main_returns_is_the_exit_code():
    assert guarded(lambda: 0) == 0
    assert guarded(lambda: 4) == 4


def test_usage_is_an_exit_code_and_a_program_is_told_in_its_own_way(capsys):
    told = []

    def main():
        raise UsageError("so")

    assert guarded(main, lambda code, error: told.append((code, str(error)))) == 2
    assert told == [(2, "so")]
    assert capsys.readouterr() == ("", "")


def test_the_role_may_stand_in_the_configuration_and_is_what_the_logs_say(namespace, monkeypatch):
    monkeypatch.setattr(faulthandler, "enable", lambda: None)
    monkeypatch.setattr(process.log.SINK, "role", "")
    monkeypatch.setattr(process.log.SINK, "level", process.log.ERROR)
    monkeypatch.setenv("PENSTOCK_HOST_NAMESPACE", namespace)
    monkeypatch.setenv("PENSTOCK_HOST_LOG_LEVEL", "error")
    process.begin(lambda config: config.strategy.role)
    assert process.log.SINK.role == "strategy.maker"
    process.begin("sim")
    assert process.log.SINK.role == "sim"


class Scripted:
    """A role that notes what the frame does with it."""

    name = "feed.x"

    def __init__(self, polls):
        self.polls = polls
        self.story = []
        self.suspended_ns = 0

    def on_start(self, now_ns):
        self.story.append("start")

    def poll(self, now_ns):
        self.story.append("poll")
        self.polls -= 1
        if self.polls == 0:
            signal.raise_signal(signal.SIGTERM)
        return self.polls % 2

    def on_halt(self, now_ns):
        self.story.append("halt")

    def on_suspend(self, gap_ns):
        self.suspended_ns = gap_ns


def test_a_role_is_started_polled_and_halted(segment, config, namespace):
    role = Scripted(3)
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    assert run_role(segment, role, config) == 0
    assert role.story == ["start", "poll", "poll", "poll", "halt"]
    assert (reader.state, reader.loop_count) == (State.HALT, 3)
    assert reader.counters.all()["host_polls_idle"] == 2


PARKED_NS = 5 * 10**9
"""So long a wake would have to be lost, to be seen by it."""


class Waiting(IdleStrategy):
    """Notes in the story of a role when it is called."""

    def __init__(self, story):
        super().__init__([])
        self.story = story

    def arm(self):
        self.story.append("arm")

    def idle(self, work_count, until_ns=0):
        self.story.append(f"idle {work_count}")


def test_every_turn_arms_before_it_polls_and_idles_after(segment, config):
    role = Scripted(3)
    run_role(segment, role, config, idle=Waiting(role.story))
    turn = ["arm", "poll", "idle 0"]
    assert role.story == ["start", *turn, "arm", "poll", "idle 1", *turn, "halt"]


def test_a_bell_that_rings_between_the_look_at_the_input_and_the_wait_ends_the_wait(
    segment, config, namespace, monkeypatch
):
    """The loop and the real bells: what the poll missed is met by the next one, and at once."""
    writer = WriterSegment.create("feed.bell", (), namespace=namespace)
    bells = [ReaderSegment.attach("feed.bell", namespace=namespace)]
    monkeypatch.setattr(idle, "PARK_MAX_NS", PARKED_NS)
    role = Scripted(4)
    looked, polled_ns = role.poll, []

    def poll(now_ns):
        polled_ns.append(now_ns)
        looked(now_ns)
        writer.ring()  # by somebody else, after the input was looked at
        return 0

    role.poll = poll
    role.due_ns = lambda: monotonic_ns() + PARKED_NS
    monkeypatch.setattr(Frame, "housekeep", lambda frame, now_ns: setattr(frame, "due_ns", 1 << 62))
    parked = make_idle("park", bells)
    try:
        run_role(segment, role, config, bells=bells, idle=parked)
    finally:
        writer.close(remove=True)
    assert parked._waiter is not None, "it parks on the bell"
    assert polled_ns[-1] - polled_ns[0] < PARKED_NS, "no wake was lost"


def test_the_signals_are_given_back(segment, config):
    before = signal.getsignal(signal.SIGTERM)
    run_role(segment, Scripted(1), config)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_role_ends_by_itself_at_its_time(segment, config):
    role = Scripted(-1)
    assert run_role(segment, role, config, until_ns=1) == 0
    assert role.story == ["start", "poll", "halt"]


def test_a_segment_is_removed_at_the_end_where_that_is_asked_for(segment, config, namespace):
    run_role(segment, Scripted(1), config, remove=True)
    with pytest.raises(SegmentMissing):
        ReaderSegment.attach("feed.x", namespace=namespace)


def test_a_fault_in_a_role_is_fail_and_1(segment, config, namespace, capsys):
    role = Scripted(1)
    role.poll = lambda now_ns: 1 / 0
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    assert run_role(segment, role, config) == 1
    assert reader.state == State.FAIL
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert "halt" not in role.story


def test_heartbeats_are_jittered_between_once_and_twice_the_interval(segment, config):
    frame = Frame(segment, config)
    gaps = []
    for now_ns in range(0, 100 * 10**9, 10**9):
        frame.housekeep(now_ns)
        gaps.append(frame.due_ns - now_ns)
    assert all(100_000_000 <= gap <= 200_000_000 for gap in gaps)
    assert len(set(gaps)) > 50


def test_the_collector_is_left_alone_until_a_process_has_settled(segment, config, monkeypatch):
    frame, frozen = Frame(segment, config), []
    monkeypatch.setattr(process.gc, "freeze", lambda: frozen.append(1))
    born_ns = frame._born_ns
    for now_ns in (born_ns, born_ns + process.SETTLE_NS):
        frame.housekeep(now_ns)
    assert not frozen
    for later_ns in (1, 2):
        frame.housekeep(born_ns + process.SETTLE_NS + later_ns)
    assert frozen == [1]


def test_a_late_heartbeat_is_counted(segment, config, namespace):
    frame = Frame(segment, config)
    counters = ReaderSegment.attach("feed.x", namespace=namespace).counters
    frame.housekeep(frame._beat_ns + 400_000_000)
    assert "host_heartbeats_late" not in counters.all()
    frame.housekeep(frame._beat_ns + 600_000_000)
    assert counters.all()["host_heartbeats_late"] == 1


def test_a_host_that_slept_is_counted_and_told(segment, config, namespace, monkeypatch):
    frame = Frame(segment, config)
    role = Scripted(1)
    frame.on_suspend = role.on_suspend
    monkeypatch.setattr(frame._suspends, "poll", lambda: 7 * 10**9)
    frame.housekeep(frame._beat_ns)
    assert role.suspended_ns == 7 * 10**9
    counters = ReaderSegment.attach("feed.x", namespace=namespace).counters
    assert counters.all()["host_suspends_seen"] == 1


def test_an_orphan_stops_and_sweeps(segment, config, namespace, monkeypatch):
    monkeypatch.setattr(family, "is_orphan", lambda: True)
    monkeypatch.setattr(family, "wait_orphaned", lambda: True)
    swept = []
    monkeypatch.setattr(family, "sweep", swept.append)
    role = Scripted(-1)
    assert run_role(segment, role, config) == 0
    assert role.story[-1] == "halt"
    assert swept == [config]
    with pytest.raises(SegmentMissing):
        ReaderSegment.attach("feed.x", namespace=namespace)


def test_the_hang_exit_is_armed_where_configured_and_never_under_the_supervisor(
    segment, namespace, monkeypatch
):
    armed = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda s, exit: armed.append(s))
    config = load(environ={"PENSTOCK_HOST_NAMESPACE": namespace, "PENSTOCK_HOST_HANG_EXIT_S": "10"})
    Frame(segment, config).housekeep(0)
    assert armed == [10.0]
    monkeypatch.setattr(family, "is_supervised", lambda: True)
    Frame(segment, config).housekeep(0)
    assert armed == [10.0]


def test_a_second_claim_is_refused(segment, config):
    with pytest.raises(AlreadyRunning):
        claim(config, "feed.x", ())
    assert isinstance(segment, WriterSegment)


@pytest.mark.parametrize("place", ["{}", "{}.lock"])
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_stands_under_the_name_of_a_segment_is_a_matter_of_usage(config, place, kind):
    path = Path(place.format(segment_path(config.host.namespace, "feed.y")))
    path.mkdir() if kind == "folder" else path.symlink_to("/nowhere")
    try:
        with pytest.raises(UsageError, match=f"{path} is not a segment"):
            claim(config, "feed.y", ())
        assert path.is_dir() or path.is_symlink(), "it is not ours to remove"
        assert [*path.parent.glob(f"{config.host.namespace}.*")] == [path], "and no lock is left"
    finally:
        path.rmdir() if kind == "folder" else path.unlink()
