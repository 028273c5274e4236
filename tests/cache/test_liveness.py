import os

import pytest

from cache.layout import State
from cache.liveness import STALE_NS, Liveness, is_locked, judge, lock_whole

NOW = 10_000_000_000
NOWHERE = "/dev/shm/penstock-test-no-such.lock"


@pytest.fixture
def locked(tmp_path):
    path = tmp_path / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    assert lock_whole(descriptor)
    yield str(path)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.BOOT, Liveness.BOOT),
        (State.RUN, Liveness.LIVE),
        (State.HALT, Liveness.HALTED),
        (State.FAIL, Liveness.FAILED),
        (State.RETIRED, Liveness.RETIRED),
        (99, Liveness.WRITER_DEAD),
    ],
)
def test_a_fresh_heartbeat_lets_the_state_speak(state, expected):
    assert judge(state, NOW - STALE_NS, NOW, NOWHERE) == expected


@pytest.mark.parametrize("heartbeat", [NOW - STALE_NS - 1, NOW + 1, 0])
def test_a_stale_heartbeat_and_no_lock_means_dead_and_with_the_lock_stalled(heartbeat, locked):
    assert judge(State.RUN, heartbeat, NOW, NOWHERE) == Liveness.WRITER_DEAD
    assert judge(State.RUN, heartbeat, NOW, locked) == Liveness.STALLED


def test_a_writer_that_said_goodbye_is_not_called_dead():
    assert judge(State.HALT, 1, NOW, NOWHERE) == Liveness.HALTED
    assert judge(State.FAIL, 1, NOW, NOWHERE) == Liveness.FAILED


def test_a_second_descriptor_of_the_same_process_is_refused_the_lock(locked):
    second = os.open(locked, os.O_RDWR)
    try:
        assert not lock_whole(second)
        assert is_locked(locked)
    finally:
        os.close(second)


def test_the_lock_goes_with_its_descriptor(tmp_path):
    path = tmp_path / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    lock_whole(descriptor)
    os.close(descriptor)
    assert not is_locked(str(path))


def test_a_state_nobody_knows_is_dead_whatever_the_heartbeat_and_the_lock_say(locked):
    assert judge(99, NOW, NOW, locked) == judge(99, 0, NOW, locked) == Liveness.WRITER_DEAD
