import os

from cache import segment
from cache.segment import WriterSegment
from host import down as module
from host.down import down, stop_supervisor


def test_leftovers_are_removed(namespace):
    for role in ("feed.a", "supervisor"):
        WriterSegment.create(role, (), namespace=namespace).close()
    assert down(namespace, 1.0) == (["feed.a", "supervisor"], [])
    assert segment.roles(namespace) == []


def test_nothing_is_nothing(namespace):
    assert down(namespace, 1.0) == ([], [])


def test_what_still_lives_is_named_and_left(namespace):
    living = WriterSegment.create("feed.a", (), namespace=namespace)
    removed, (trouble,) = down(namespace, 1.0)
    assert removed == []
    assert f"(pid {os.getpid()})" in trouble
    assert segment.roles(namespace) == ["feed.a"]
    living.close()


def test_the_holder_of_the_lock_gets_the_signal_and_is_waited_for(namespace, monkeypatch):
    living = WriterSegment.create("supervisor", (), namespace=namespace)
    sent = []

    def kill(pid, number):
        sent.append((pid, number))
        living.close()

    monkeypatch.setattr(module.os, "kill", kill)
    assert stop_supervisor(namespace, 5.0)
    assert sent[0] == (os.getpid(), module.signal.SIGTERM)


def test_a_pid_that_does_not_hold_the_lock_gets_no_signal(namespace, monkeypatch):
    living = WriterSegment.create("supervisor", (), namespace=namespace)
    monkeypatch.setattr(module.os, "kill", lambda pid, number: 1 / 0)
    monkeypatch.setattr(module.os, "readlink", lambda link: "/somewhere/else")
    monkeypatch.setattr(module, "STEP_S", 0.0)
    assert not stop_supervisor(namespace, 0.0)
    living.close()
