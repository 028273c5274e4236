import os
from pathlib import Path

import pytest

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


def test_what_outlived_its_supervisor_is_asked_to_halt_and_then_killed(namespace, monkeypatch):
    living = WriterSegment.create("feed.a", (), namespace=namespace)
    sent = []

    def send(role, where, number, chosen):
        sent.append(number)
        assert (role, where, chosen) == ("feed.a", namespace, module.is_left_behind)
        if number == module.signal.SIGKILL:
            living.close()
        return True

    monkeypatch.setattr(module, "signal_writer", send)
    monkeypatch.setattr(module, "STEP_S", 0.0)
    assert down(namespace, 0.0) == (["feed.a"], [])
    assert sent[-1] == module.signal.SIGKILL


def test_a_killed_process_that_does_not_go_is_not_waited_for_without_end(namespace, monkeypatch):
    living = WriterSegment.create("feed.a", (), namespace=namespace)
    monkeypatch.setattr(module, "signal_writer", lambda *words: True)
    monkeypatch.setattr(module, "STEP_S", 0.0)
    removed, (trouble,) = down(namespace, 0.0)
    assert removed == []
    assert "living writer" in trouble
    living.close()


@pytest.mark.parametrize("name", ["feed.a", "feed.a.lock"])
@pytest.mark.parametrize("kind", ["folder", "link", "foreign"])
def test_what_is_not_ours_is_named_and_not_harmed(namespace, monkeypatch, tmp_path, name, kind):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    path = Path(f"/dev/shm/{namespace}.{name}")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(target)
    else:
        path.write_bytes(b"precious")
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    removed, (trouble,) = down(namespace, 0.0)
    assert removed == []
    assert trouble.startswith(f"{path} ")
    assert list(path.parent.glob(f"{namespace}.*")) == [path], "it is there, and no lock besides"
    assert target.read_bytes() == b"precious"
    path.rmdir() if kind == "folder" else path.unlink()


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
