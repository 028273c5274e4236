import os

import pytest

from cache import segment
from cache.segment import WriterSegment
from host import family
from host.config import load


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Each test its own family; no test ties this process to anybody."""
    monkeypatch.setattr(family._Family, "supervisor_pid", 0)
    monkeypatch.setattr(family.ctypes, "CDLL", lambda name: pytest.fail("asked the kernel"))
    monkeypatch.delenv(family.VARIABLE, raising=False)


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


def test_a_child_whose_parent_is_gone_before_it_asked_does_not_start(monkeypatch):
    monkeypatch.setattr(family.ctypes, "CDLL", lambda name: Kernel())
    monkeypatch.setenv(family.VARIABLE, str(2**22 + 1))
    with pytest.raises(SystemExit, match="has gone"):
        family.tie()


def test_the_parent_is_asked_for_again_after_the_death_signal(monkeypatch):
    monkeypatch.setattr(family._Family, "supervisor_pid", 77)
    parents = iter([77, 77, 77, 1, 1, 1])
    monkeypatch.setattr(family.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(family.time, "sleep", lambda s: None)
    assert family.wait_orphaned()


def test_a_sweep_removes_the_dead_and_leaves_the_living(namespace, monkeypatch):
    monkeypatch.setattr(family.time, "sleep", lambda s: None)
    config = load(environ={"PENSTOCK_HOST_NAMESPACE": namespace})
    for role in ("sim", "supervisor"):
        WriterSegment.create(role, (), namespace=namespace).close()
    WriterSegment.create("feed.by.hand", (), namespace=namespace).close()
    living = WriterSegment.create("feed.binance.0", (), namespace=namespace)
    assert family.sweep(config) == ["feed.binance.0"]
    assert segment.roles(namespace) == ["feed.binance.0", "feed.by.hand"]
    living.close()
    assert family.sweep(config) == []
