import os
import signal

import pytest

from cache import segment
from cache.segment import WriterSegment, roles
from host import family
from host.config import load


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Each test its own family; no test ties this process to anybody."""
    monkeypatch.setattr(family._Family, "supervisor_pid", 0)
    monkeypatch.setattr(family.ctypes, "CDLL", lambda name: pytest.fail("asked the kernel"))
    monkeypatch.delenv(family.VARIABLE, raising=False)
    before = signal.getsignal(family.DEATH_SIGNAL)
    yield
    signal.signal(family.DEATH_SIGNAL, before)


class Kernel:
    def __init__(self):
        self.calls = []

    def prctl(self, *words):
        self.calls.append(words)


def test_a_process_without_a_supervisor_is_neither_supervised_nor_an_orphan():
    family.tie()
    assert not family.is_supervised()
    assert not family.is_orphan()
    assert not family.wait_orphaned()


def test_a_child_asks_for_the_death_signal_and_takes_the_variable_out(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(family.ctypes, "CDLL", lambda name: kernel)
    monkeypatch.setenv(family.VARIABLE, str(os.getppid()))
    family.tie()
    family.tie()
    assert kernel.calls == [(1, family.DEATH_SIGNAL, 0, 0, 0)]
    assert family.is_supervised()
    assert not family.is_orphan()
    assert family.VARIABLE not in os.environ


def test_the_death_signal_ends_no_process_that_has_not_yet_its_handlers(monkeypatch):
    monkeypatch.setattr(family.ctypes, "CDLL", lambda name: Kernel())
    monkeypatch.setenv(family.VARIABLE, str(os.getppid()))
    family.tie()
    signal.raise_signal(family.DEATH_SIGNAL)


def test_a_child_whose_parent_is_gone_before_it_asked_sweeps_and_does_not_start(
    namespace, monkeypatch
):
    monkeypatch.setattr(family, "SETTLE_S", 0.0)
    config = load(environ={"PENSTOCK_HOST_NAMESPACE": namespace})
    WriterSegment.create("supervisor", (), namespace=namespace).close()
    family.refuse_orphan(config)
    assert roles(namespace) == ["supervisor"], "a process without a supervisor is no orphan"
    monkeypatch.setattr(family._Family, "supervisor_pid", 2**22 + 1)
    with pytest.raises(SystemExit, match="has gone"):
        family.refuse_orphan(config)
    assert roles(namespace) == []


def test_the_parent_is_asked_for_again_after_the_death_signal(monkeypatch):
    monkeypatch.setattr(family._Family, "supervisor_pid", 77)
    parents = iter([77, 77, 77, 1, 1, 1])
    monkeypatch.setattr(family.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(family.time, "sleep", lambda s: None)
    assert family.wait_orphaned()


def test_a_sweep_removes_the_dead_and_leaves_the_living(namespace, monkeypatch):
    monkeypatch.setattr(family, "SETTLE_S", 0.0)
    config = load(environ={"PENSTOCK_HOST_NAMESPACE": namespace})
    for role in ("sim", "supervisor"):
        WriterSegment.create(role, (), namespace=namespace).close()
    WriterSegment.create("feed.by.hand", (), namespace=namespace).close()
    living = WriterSegment.create("feed.binance.0", (), namespace=namespace)
    assert family.sweep(config) == ["feed.binance.0"]
    assert segment.roles(namespace) == ["feed.binance.0", "feed.by.hand"]
    living.close()
    assert family.sweep(config) == []


@pytest.fixture
def sent(monkeypatch):
    """Signals that would have been sent, instead of sending them."""
    found = []
    monkeypatch.setattr(
        family.signal, "pidfd_send_signal", lambda handle, number: found.append(number)
    )
    return found


@pytest.fixture
def living(namespace):
    """A segment whose header names a process that is not this one, but lives."""
    made = WriterSegment.create("sim", (), namespace=namespace)
    made._set("pid", os.getppid())
    yield made
    made.close()


def test_a_sibling_is_woken_and_then_killed_and_a_stranger_is_left_alone(
    namespace, monkeypatch, sent, living
):
    environ = {"PENSTOCK_HOST_NAMESPACE": namespace, "PENSTOCK_SUPERVISOR_STOP_TIMEOUT_S": "0.001"}
    config = load(environ=environ)
    monkeypatch.setattr(family, "SETTLE_S", 0.02)
    monkeypatch.setattr(family._Family, "supervisor_pid", 77)
    monkeypatch.setattr(family, "supervisor_of", lambda pid: 78)
    assert family.sweep(config) == ["sim"]
    assert sent == []
    monkeypatch.setattr(family, "supervisor_of", lambda pid: 77)
    assert family.sweep(config) == ["sim"]
    assert sent[0] == family.signal.SIGCONT
    assert sent[-1] == family.signal.SIGKILL


def test_only_the_chosen_are_signalled_and_never_this_process(namespace, sent, living):
    chosen = []
    signal_it = family.signal_writer
    assert signal_it("sim", namespace, 9, lambda pid: not chosen.append(pid))
    assert (chosen, sent) == ([os.getppid()], [9])
    assert not signal_it("sim", namespace, 9, lambda pid: False)
    assert not signal_it("sim", namespace, 9, lambda pid: os.stat("/proc/0/environ"))
    living._set("pid", os.getpid())
    assert not signal_it("sim", namespace, 9, lambda pid: True)
    living._set("pid", 2**22 + 1)
    assert not signal_it("sim", namespace, 9, lambda pid: True), "nobody has that number"
    assert not signal_it("feed.absent", namespace, 9, lambda pid: True)
    assert sent == [9]


def test_who_started_a_process_stands_in_its_environment(monkeypatch, tmp_path):
    assert family.supervisor_of(os.getpid()) == 0
    assert not family.is_left_behind(os.getpid())
    proc = {
        "/proc/5/environ": b"A=1\0PENSTOCK_SUPERVISOR=77\0B=2\0",
        "/proc/5/stat": b"5 (a ) b) S 77 5 5",
        "/proc/6/environ": b"PENSTOCK_SUPERVISOR=77\0",
        "/proc/6/stat": b"6 (c) T 1 6 6",
        "/proc/7/environ": b"PENSTOCK_SUPERVISOR=x\0",
        "/proc/7/stat": b"7 (d) S 1 7 7",
    }
    monkeypatch.setattr(family.Path, "read_bytes", lambda path: proc[str(path)])
    monkeypatch.setattr(family.Path, "read_text", lambda path: proc[str(path)].decode())
    assert [family.supervisor_of(pid) for pid in (5, 6, 7)] == [77, 77, 0]
    assert [family.is_left_behind(pid) for pid in (5, 6, 7)] == [False, True, False]
