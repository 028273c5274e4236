"""The parts of the frame that need no process; the rest is tests/system/test_process.py."""

import faulthandler
import signal

import pytest

from cache.errors import AlreadyRunning, LayoutMismatch, SegmentMissing
from cache.layout import State
from cache.segment import ReaderSegment, WriterSegment
from host import family, process
from host.arguments import UsageError
from host.config import ConfigError, load
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
        (SegmentMissing("x"), 1), (ZeroDivisionError("x"), 1), (KeyboardInterrupt(), 0),
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
