import os
from types import SimpleNamespace

import pytest

from cache.board import Miss
from cache.layout import ProcessPhase
from cache.segment import ReaderSegment, WriterSegment, roles
from host import supervisor as module
from host.arguments import UsageError
from host.config import load
from host.roles import Part
from host.supervisor import BOARDS, SignalWait, Supervisor, check, main, supervise
from host.view import PlainView

PARTS = (
    Part("sim", ("a",), 0, 3),
    Part("feed.a", ("b",), 1, 2),
    Part("feed.b", ("c",), 1, 2),
    Part("executor.paper", ("d",), 3, 1),
)
NS_PER_S = 10**9


class FakeChild:
    """A child that is whatever the test makes it."""

    def __init__(self, part, config, *, log_dir=None):
        self.part, self.phase = part, ProcessPhase.STOPPED
        self.hung_count = self.restart_count = 0
        self.due = self.has_no_room = False
        self.retry_ns = 0
        self.story = []

    def last_words(self):
        return self.part.role

    def row(self):
        return (11, 22, self.restart_count, 0, int(self.phase))

    def start(self, now_ns):
        self.phase = ProcessPhase.STARTING

    def watch(self, now_ns):
        pass

    def restart_if_due(self, now_ns):
        due, self.due = self.due, False
        return due

    def trim_log(self, bytes_max):
        pass


@pytest.fixture
def made(namespace, monkeypatch):
    monkeypatch.setattr(module, "Child", FakeChild)
    config = load(environ={"PENSTOCK_HOST_NAMESPACE": namespace})
    segment = WriterSegment.create("supervisor", BOARDS, namespace=namespace)
    role = Supervisor(segment, config, PARTS, view=PlainView(config))
    role.on_start(0)
    yield role
    segment.close()


def phases(role):
    return [int(child.phase) for child in role._children]


def test_a_stage_starts_when_the_one_before_is_ready(made):
    stopped, starting, running = 0, 1, 2
    made.poll(0)
    assert phases(made) == [starting, stopped, stopped, stopped]
    made._children[0].phase = ProcessPhase.RUNNING
    made.poll(1)
    made.poll(2)
    assert phases(made) == [running, starting, starting, stopped]
    made._children[1].phase = ProcessPhase.RUNNING
    made.poll(3)
    made.poll(4)
    assert phases(made)[3] == stopped, "one feed is not ready"
    made._children[2].phase = ProcessPhase.FAILED
    made.poll(5)
    made.poll(6)
    assert phases(made)[3] == starting, "what was given up holds up nobody"
    assert made.failed == ["feed.b"]


def test_a_child_without_room_ends_the_run_once_and_nothing_more_is_started(made, monkeypatch):
    raised = []
    monkeypatch.setattr(module.signal, "raise_signal", raised.append)
    made.poll(0)
    for child in made._children[:3]:
        child.phase = ProcessPhase.RUNNING
    made._children[2].phase, made._children[2].has_no_room = ProcessPhase.FAILED, True
    made._stage = 3
    made.poll(1)
    assert raised == [module.signal.SIGTERM]
    assert made._children[3].phase == ProcessPhase.STOPPED
    assert made.without_room == "feed.b"
    made.poll(2)
    assert len(raised) == 1


def test_the_table_of_processes_is_published_when_it_changes_and_once_a_second(made, namespace):
    board = ReaderSegment.attach("supervisor", namespace=namespace).board("processes")
    made.poll(0)
    first = board.version(0)
    row = board.read(0, 0)
    assert (row.name, row.pid, row.phase) == ("sim", 11, ProcessPhase.STARTING)
    made.poll(NS_PER_S // 2)
    assert board.version(0) == first
    made._children[3].restart_count = 1
    made.poll(NS_PER_S // 2 + 1)
    assert board.version(0) == first + 1
    made.poll(2 * NS_PER_S)
    assert board.version(0) == first + 2
    assert isinstance(board.read(4, 0), Miss)


def test_hangs_restarts_and_failures_are_counted(made, namespace):
    counters = ReaderSegment.attach("supervisor", namespace=namespace).counters
    made.poll(0)
    child = made._children[0]
    child.watch = lambda now_ns: setattr(child, "hung_count", child.hung_count + 1)
    child.due = True
    made.poll(1)
    child.watch = lambda now_ns: setattr(child, "phase", ProcessPhase.FAILED)
    made.poll(2)
    made.poll(3)
    found = counters.all()
    assert found["supervisor_processes_hung"] == 1
    assert found["supervisor_processes_restarted"] == 1
    assert found["supervisor_processes_failed"] == 1


def test_the_next_look_is_soon_while_a_process_starts_and_at_the_time_of_a_restart(made):
    assert made.due_ns() == 0, "nothing is due but the housekeeping"
    made.poll(0)
    began_ns = module.monotonic_ns()
    assert 0 < made.due_ns() - began_ns < NS_PER_S
    made._children[0].phase = ProcessPhase.BACKOFF
    made._children[0].retry_ns = 77
    assert made.due_ns() == 77


def test_a_log_directory_that_cannot_be_used_is_refused_and_nothing_is_left(namespace, tmp_path):
    (tmp_path / "file").write_text("")
    environ = {"PENSTOCK_SUPERVISOR_LOG_DIR": str(tmp_path / "file" / "run")}
    config = load(environ=environ | {"PENSTOCK_HOST_NAMESPACE": namespace})
    with pytest.raises(UsageError, match=r"log_dir, .*/run, cannot be used \(Not a directory\)"):
        supervise(config, PARTS, look="live")
    assert roles(namespace) == []
    assert module.signal.set_wakeup_fd(-1) == -1


def test_what_could_not_run_is_refused_with_its_own_words(monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command)
        return SimpleNamespace(returncode=2, stderr="no such file\n")

    monkeypatch.setattr(module.subprocess, "run", run)
    check(PARTS)
    assert asked == []
    with pytest.raises(UsageError, match="sim cannot run: no such file"):
        check((Part("sim", ("a",), 0, 3, ("a", "--check")),))
    assert asked == [("a", "--check")]


def test_a_signal_ends_the_wait():
    waiting = SignalWait()
    os.kill(os.getpid(), module.signal.SIGCHLD)
    waiting.idle(0)
    waiting.idle(0, until_ns=1)
    waiting.close()
    assert module.signal.set_wakeup_fd(-1) == -1


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "example: python -m host.supervisor" in capsys.readouterr().out
