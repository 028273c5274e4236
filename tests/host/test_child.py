import signal
from typing import ClassVar

import pytest

from cache.layout import ProcessPhase, State
from cache.segment import WriterSegment
from host import child as module
from host import family
from host.child import Child, cause_of, child_environ
from host.config import DEFAULT_PATH, load
from host.process import ExitCode
from host.roles import Part

NS_PER_S = 10**9
PART = Part("feed.x", ("program", "word"), 0, 0)


class FakeProcess:
    """Stands for a process: it ends when the test says so."""

    made: ClassVar[list] = []

    def __init__(self, command, **options):
        self.command, self.options = command, options
        self.pid, self.code, self.signals = 4242, None, []
        self.made.append(self)

    def poll(self):
        return self.code

    def send_signal(self, number):
        self.signals.append(number)


@pytest.fixture
def child(namespace, monkeypatch):
    monkeypatch.setattr(module.subprocess, "Popen", FakeProcess)
    FakeProcess.made = []
    return Child(PART, load(environ={"PENSTOCK_HOST_NAMESPACE": namespace}))


@pytest.fixture
def written(child, namespace):
    """The segment as the child's process would write it."""
    made = WriterSegment.create("feed.x", (), namespace=namespace)
    made._set("pid", 4242)
    yield made
    made.close()


def test_a_child_is_started_with_its_command_line_and_knows_its_parent(child):
    child.start(1000)
    (process,) = FakeProcess.made
    assert process.command == ("program", "word")
    assert process.options["env"][family.VARIABLE] == str(module.os.getpid())
    assert process.options["process_group"] == 0, "Ctrl-C must reach the supervisor alone"
    assert child.row() == (4242, 1000, 0, 0, ProcessPhase.STARTING)


def test_a_child_is_ready_when_its_own_segment_says_run(child, written):
    child.start(0)
    child.watch(1)
    assert child.phase == ProcessPhase.STARTING, "spawned is not ready"
    written.set_state(State.RUN)
    child.watch(2)
    assert child.phase == ProcessPhase.RUNNING


def test_a_segment_of_the_predecessor_does_not_make_a_child_ready(child, written):
    written._set("pid", 1)
    written.set_state(State.RUN)
    child.start(0)
    child.watch(1)
    assert child.phase == ProcessPhase.STARTING


def test_a_child_that_is_not_ready_in_time_is_killed(child):
    child.start(0)
    child.watch(20 * NS_PER_S)
    assert FakeProcess.made[0].signals == []
    child.watch(20 * NS_PER_S + 1)
    assert FakeProcess.made[0].signals == [signal.SIGKILL]


def test_a_child_without_heartbeat_is_killed(child, written):
    written.set_state(State.RUN)
    written.heartbeat(10 * NS_PER_S)
    child.start(9 * NS_PER_S)
    child.watch(10 * NS_PER_S)
    child.watch(15 * NS_PER_S)
    assert child.hung_count == 0
    child.watch(15 * NS_PER_S + 1)
    assert (child.hung_count, FakeProcess.made[0].signals) == (1, [signal.SIGKILL])


def test_a_child_that_died_is_started_at_once_and_then_with_a_delay(child):
    child.start(0)
    FakeProcess.made[0].code = -9
    child.watch(100)
    assert (child.phase, child.pid, child.exit_code) == (ProcessPhase.BACKOFF, 0, -9)
    assert child.restart_if_due(100)
    FakeProcess.made[1].code = 1
    child.watch(200)
    assert not child.restart_if_due(200 + 250_000_000 - 1)
    assert child.restart_if_due(200 + 250_000_000)
    assert (child.restart_count, len(FakeProcess.made)) == (2, 3)


def test_a_crash_loop_ends_in_failed(child):
    now_ns = 0
    for _ in range(6):
        child.start(now_ns)
        FakeProcess.made[-1].code = 1
        child.watch(now_ns)
        now_ns += NS_PER_S
    assert child.phase == ProcessPhase.FAILED
    assert not child.restart_if_due(now_ns * 100)


@pytest.mark.parametrize("code", [ExitCode.USAGE, ExitCode.NO_ROOM])
def test_what_no_restart_can_heal_is_not_tried_again(child, code):
    child.start(0)
    FakeProcess.made[0].code = int(code)
    child.watch(1)
    assert child.phase == ProcessPhase.FAILED
    assert child.has_no_room == (code == ExitCode.NO_ROOM)


def test_a_child_that_has_run_and_finds_no_room_later_does_not_end_the_others(child, written):
    written.set_state(State.RUN)
    child.start(0)
    child.watch(1)
    FakeProcess.made[0].code = int(ExitCode.NO_ROOM)
    child.watch(2)
    assert child.phase == ProcessPhase.FAILED
    assert not child.has_no_room


def test_the_last_words_of_a_child_are_the_last_line_of_its_log(child, tmp_path):
    assert child.last_words() == "feed.x", "what it wrote is before everybody's eyes"
    logged = Child(PART, load(environ={}), log_dir=tmp_path)
    assert logged.last_words() == "feed.x"
    log = tmp_path / "feed.x.log"
    log.write_text("")
    assert logged.last_words() == "feed.x"
    log.write_text("x" * 2 * module.WORDS_BYTES + "\nbefore\nneeds 3 bytes\n")
    assert logged.last_words() == "feed.x: needs 3 bytes"


def test_what_was_asked_to_stop_stays_stopped(child):
    child.start(0)
    child.stop()
    assert FakeProcess.made[0].signals == [signal.SIGTERM, signal.SIGCONT]
    assert not child.is_gone
    FakeProcess.made[0].code = 0
    child.watch(1)
    assert child.is_gone
    assert child.phase == ProcessPhase.STOPPED
    assert not child.restart_if_due(NS_PER_S)


def test_a_log_file_is_begun_anew_at_its_limit(tmp_path, namespace):
    made = Child(PART, load(environ={}), log_dir=tmp_path)
    log = tmp_path / "feed.x.log"
    made.trim_log(10)
    log.write_text("0123456789")
    made.trim_log(10)
    assert log.read_text() == "0123456789"
    log.write_text("0123456789a")
    made.trim_log(10)
    assert log.read_text() == ""
    assert (tmp_path / "feed.x.log.1").read_text() == "0123456789a"


@pytest.mark.parametrize(
    ("code", "word"), [(-9, "SIGKILL"), (3, "already_running"), (77, "unknown"), (-99, "unknown")]
)
def test_an_exit_is_named(code, word):
    assert cause_of(code) == word


def test_the_modules_of_a_child_are_compiled_once_and_its_settings_are_our_own():
    own = {"PENSTOCK_HOST_NAMESPACE": "mine", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/lib"}
    environ = child_environ(own)
    assert "PYTHONDONTWRITEBYTECODE" not in environ
    assert environ["PENSTOCK_HOST_NAMESPACE"] == "mine"
    assert environ["PYTHONPATH"].split(":") == [str(DEFAULT_PATH.parent), "/lib"]


@pytest.mark.parametrize(("own", "count"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_a_child_has_no_threads_for_algebra_but_those_it_is_given(own, count):
    assert child_environ(own)["OPENBLAS_NUM_THREADS"] == count
