"""One suite for every way to wait; lost wakes and other processes are in tests/system."""

import mmap
import os
import signal
import threading
import time

import pytest

from cache import bells
from cache.bells import SleepingBells, make_bells, make_waiter
from cache.core import find
from cache.layout import BBO, HEADER_AT, BoardSpec
from cache.segment import ReaderSegment, WriterSegment, remove

CORE, ABSENCE = find("")
LONG_NS = 30_000_000_000
MS = 1_000_000


def ring(memory, offset):
    words = memory.cast("I")
    words[offset >> 2] = (words[offset >> 2] + 1) & 0xFFFFFFFF


@pytest.fixture(params=["futex_waitv", "futex", "sleep"])
def kind(request):
    if request.param != "sleep" and CORE is None:
        pytest.skip(ABSENCE)
    if request.param == "futex_waitv" and CORE.BellSet([]).method != "futex_waitv":
        pytest.skip("this kernel or container has no futex_waitv")
    return request.param


def make(kind, pairs):
    if kind == "sleep":
        return SleepingBells(pairs)
    return CORE.BellSet(pairs, waitv=kind == "futex_waitv")


def ring_of(kind):
    return ring if kind == "sleep" else CORE.ring


@pytest.fixture
def memory():
    return memoryview(mmap.mmap(-1, 4096))


def test_a_waiter_says_how_it_waits(kind, memory):
    assert make(kind, [(memory, 0)]).method == kind


def test_a_ring_since_load_ends_the_wait_at_once(kind, memory):
    waiter = make(kind, [(memory, 64), (memory, 128)])
    waiter.load()
    ring_of(kind)(memory, 128)
    assert waiter.wait(LONG_NS)
    assert waiter.wait(LONG_NS)  # until load() is called again
    waiter.load()
    assert not waiter.wait(0)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_ring_while_waiting_ends_the_wait_whichever_bell_it_is(kind, memory, which):
    pairs = [(memory, 64), (memory, 128), (memory, 192)]
    waiter = make(kind, pairs)
    waiter.load()
    for _ in range(3):  # the second is the busiest
        ring_of(kind)(memory, 128)
    waiter.load()
    other = threading.Timer(0.05, ring_of(kind), pairs[which])
    other.start()
    assert waiter.wait(LONG_NS)  # which needs the lock of the interpreter to be free
    other.join()


def test_a_wait_ends_by_itself(kind, memory):
    waiter = make(kind, [(memory, 64)])
    waiter.load()
    before = time.monotonic_ns()
    assert not waiter.wait(20 * MS)
    assert time.monotonic_ns() - before >= 20 * MS


@pytest.mark.parametrize("timeout", [0, -5])
def test_no_time_means_no_wait(kind, memory, timeout):
    waiter = make(kind, [(memory, 64)])
    assert not waiter.wait(timeout)


def test_without_bells_it_is_a_sleep(kind):
    before = time.monotonic_ns()
    waiter = make(kind, [])
    waiter.load()
    assert not waiter.wait(5 * MS)
    assert time.monotonic_ns() - before >= 5 * MS


def test_a_bell_that_wraps_has_rung(kind, memory):
    memory.cast("I")[16] = 0xFFFFFFFF
    waiter = make(kind, [(memory, 64)])
    ring_of(kind)(memory, 64)
    assert memory.cast("I")[16] == 0
    assert waiter.wait(LONG_NS)


def test_a_signal_ends_the_wait_and_its_handler_runs(kind, memory):
    if kind == "sleep":
        pytest.skip("its sleeps are short")
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
    waiter = make(kind, [(memory, 64)])
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        assert not waiter.wait(LONG_NS)
        assert seen
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, old)


@pytest.mark.skipif(CORE is None, reason=ABSENCE)
def test_bells_that_cannot_be_are_refused(memory):
    for bad in ([(memory, 4096)], [(memory, 2)], [(memory, -4)]):
        with pytest.raises(ValueError, match="does not lie in the memory"):
            CORE.BellSet(bad)
    with pytest.raises(TypeError, match="pair"):
        CORE.BellSet([memory])
    with pytest.raises(ValueError, match="129 bells, at most 128"):
        CORE.BellSet([(memory, 0)] * 129)
    with pytest.raises(BufferError):
        CORE.ring(memory.toreadonly(), 0)


def test_a_waiter_on_segments_waits_on_their_bells_through_read_only_maps():
    namespace = f"penstock-test-{os.getpid()}-bells"
    boards = (BoardSpec("bbo", BBO, 1, 4),)
    writers = [WriterSegment.create(role, boards, namespace=namespace) for role in ("a", "b")]
    try:
        readers = [ReaderSegment.attach(role, namespace=namespace) for role in ("a", "b")]
        waiter = make_waiter(readers)
        waiter.load()
        assert not waiter.wait(0)
        writers[1].ring()
        assert waiter.wait(LONG_NS)
        assert readers[1].bell_word[1] == HEADER_AT["bell"]
    finally:
        for writer, role in zip(writers, ("a", "b"), strict=True):
            writer.close()
            remove(role, namespace=namespace)


def test_where_there_is_no_core_it_sleeps(monkeypatch, memory):
    monkeypatch.setattr(bells, "core", None)
    assert isinstance(make_bells([(memory, 0)]), SleepingBells)
    assert bells.method() == "sleep"
