"""Writers are killed at every step and at any instant; readers go on with the last whole record."""

import signal
import time

import pytest

from cache.layout import BBO, State
from cache.liveness import STALE_NS, Liveness
from cache.segment import ReaderSegment
from tests.system.memory_world import ROLE, stage, twins, wait_for

TRIALS = 500
READERS = 20


def crash(kind, trials, seed, record="pair_bbo", cells=8, *, watchers=1):
    """Kill `trials` writers of one twin under readers of both, and hold what must hold."""
    with stage() as play:
        controller = play.play(
            "crash", twin=kind, trials=trials, seed=seed, record=record, cells=cells,
            watchers=watchers,
        )  # fmt: skip
        found = controller.report()
        assert controller.wait() == 0
    print(f"\n{kind} {record} K={cells}, seed {seed}: {found}")
    assert found["faults"] == []
    assert found["restarts"] == trials
    assert found["incarnation"] > trials / 2  # those killed at a step had adopted, at the least
    for reader in found["readers"]:
        assert reader["reads"] > 0
        assert (reader["torn"], reader["backward"]) == (0, 0)
        assert (reader["misses"], reader["busy"]) == (0, 0)
        assert reader["newest"] == found["version"]
    return found


@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_a_writer_killed_at_any_step_or_instant_leaves_the_last_whole_record(kind):
    seed = time.time_ns() % 1_000_000
    found = crash(kind, TRIALS // 2, seed)
    assert 2 * found["steps"] <= TRIALS // 4  # each step was met, and more than once
    crash(kind, TRIALS // 2, seed, "bbo", 4)


@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_a_writer_restarts_while_twenty_readers_are_in_the_middle_of_their_reads(kind):
    watchers = READERS // len(twins("pure", "steps"))
    found = crash(kind, TRIALS // 10, time.time_ns() % 1_000_000, "bbo", 4, watchers=watchers)
    assert len(found["readers"]) == READERS


def test_the_bound_on_steps_is_that_of_the_record():
    assert BBO.size // 8 + 2 == 18


def test_a_dead_writer_is_called_dead_once_its_heartbeat_is_stale_and_not_before():
    with stage() as play:
        writer = play.play("storm", pause_us=200)
        writer.report()
        reader = ReaderSegment.attach(ROLE, namespace=play.namespace)
        wait_for(lambda: reader.state == State.RUN)
        writer.signal(signal.SIGKILL)
        writer.wait()
        last = reader.heartbeat_ns
        while True:
            now = time.monotonic_ns()
            said = reader.liveness(now)
            if now - last > STALE_NS:
                break
            assert said == Liveness.LIVE
            time.sleep(0.001)
        assert said == Liveness.WRITER_DEAD
        assert reader.is_current()


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_a_restarted_writer_goes_on_where_the_dead_one_stopped(kind):
    with stage() as play:
        versions = []
        for incarnation in (1, 2, 3):
            writer = play.play("storm", twin=kind)
            begun = writer.report()
            assert begun["incarnation"] == incarnation
            assert begun["version"] == (versions[-1] if versions else 0)
            reader = ReaderSegment.attach(ROLE, namespace=play.namespace)
            board = reader.board("storm")
            wait_for(lambda board=board, start=begun["version"]: board.version(0) > start + 100)
            writer.signal(signal.SIGKILL)
            writer.wait()
            versions.append(board.version(0))
        assert versions == sorted(versions)
