"""The snapshot caches between real processes, as their four promises.

Whole snapshots with their own numbers under a writer that never rests; numbers that grow whatever
happens to the writer; reads that go on while it is stopped or dead; ages that are right across a
stopped writer, a stopped reader and a wall clock that jumps.
"""

import random
import signal
import time

import pytest

from tests.system.memory_caches import attach, is_of
from tests.system.memory_world import stage, twins, wait_for

SECONDS = 0.6
KILLS = 8
CONVICT_SECONDS = 60.0
LINGER = {"pure": 6_000, "steps": 60_000}
"""Turns of a loop in the middle of a copy, at most: some publications of the writer's time."""
WRITER_LINGER = 50
CACHES = ("pair_bbo", "bbo")
PAIRS = [(record, kind, kind) for record in CACHES for kind in twins("pure", "core")]
PAIRS += [("bbo", *twins("pure", "core"))] if len(twins("pure", "core")) == 2 else []


class Options:
    """What `attach` wants, in this process."""

    def __init__(self, play, record):
        self.namespace, self.record = play.namespace, record


def now_ms():
    return time.monotonic_ns() // 10**6


def is_clean(found):
    assert found["reads"] > 0
    assert found["distinct"] > 1
    assert (found["torn"], found["backward"], found["nothing"]) == (0, 0, 0), found["evidence"]
    assert found["odd_ages"] == 0


@pytest.mark.parametrize(("record", "writer", "reader"), PAIRS)
def test_every_snapshot_is_whole_and_comes_with_its_own_number(record, writer, reader):
    with stage() as play:
        writing = play.play("cache_writer", twin=writer, record=record)
        writing.report()
        readers = [
            play.play("cache_reader", twin=reader, record=record, seconds=SECONDS) for _ in "12"
        ]
        for one in readers:
            one.report()
        found = [one.report() for one in readers]
        published = writing.end()["published"]
    for facts in found:
        print(f"\n{record} {writer}>{reader}: {published=} {facts}")
        is_clean(facts)
        assert facts["bare"] < facts["reads"] // 2, "features hardly ever joined their top"


def lingering(record, kind, seconds, **options):
    """Let a reader linger in the middle of every copy; give what it saw."""
    common = {"twin": kind, "record": record, **options}
    with stage() as play:
        writing = play.play("cache_writer", linger=WRITER_LINGER, **common)
        writing.report()
        reading = play.play("cache_reader", linger=LINGER[kind], seconds=seconds, **common)
        reading.report()
        found = reading.report()
        writing.end()
    print(f"\n{record} {kind} lingering: {found}")
    return found


@pytest.mark.parametrize("kind", twins("pure", "steps"))
@pytest.mark.parametrize("record", CACHES)
def test_also_under_twins_that_linger_in_the_middle_of_every_copy(record, kind):
    found = lingering(record, kind, SECONDS)
    is_clean(found)
    assert found["retries"] > 0, "no copy was ever overtaken"


@pytest.mark.parametrize("record", CACHES)
def test_a_reader_that_takes_every_copy_for_whole_is_convicted(record):
    assert lingering(record, "pure", CONVICT_SECONDS, mutant="blind")["torn"] > 0


@pytest.mark.parametrize("kind", twins("pure", "core"))
@pytest.mark.parametrize("record", CACHES)
def test_numbers_grow_however_often_the_writer_is_killed_and_started_again(record, kind):
    seed = time.time_ns() % 1_000_000
    dice = random.Random(seed)
    with stage() as play:
        writing = play.play("cache_writer", twin=kind, record=record)
        begun = [writing.report()["seq"]]
        reading = play.play("cache_reader", twin=kind, record=record)
        reading.report()
        for _ in range(KILLS):
            time.sleep(0.02 + 0.05 * dice.random())
            writing.signal(signal.SIGKILL)
            writing.wait()
            writing = play.play("cache_writer", twin=kind, record=record)
            begun.append(writing.report()["seq"])
        last = writing.end()["seq"]
        cache = attach(Options(play, record))
        snapshot, seq = cache.get_latest()
        found = reading.end()
    print(f"\n{record} {kind} seed {seed}: {begun} {found}")
    assert begun == sorted(set(begun)), "a start that did not go on from the last number"
    is_clean(found)
    assert (seq, is_of(snapshot, seq)) == (last, True)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("record", CACHES)
def test_reads_go_on_with_the_last_whole_snapshot_while_the_writer_does_nothing(record, how):
    with stage() as play:
        for _ in range(8):  # Wherever it stands: some of these are in the middle of a publication.
            writing = play.play("cache_writer", record=record)
            writing.report()
            cache = attach(Options(play, record))
            time.sleep(0.01 * random.random())
            writing.signal(how)
            if how == signal.SIGKILL:
                writing.wait()
            time.sleep(0.01)
            snapshot, seq = cache.get_latest()
            assert is_of(snapshot, seq)
            for _ in range(2_000):
                assert cache.get_latest() == (snapshot, seq)
            assert cache.get_seq() == seq
            writing.kill()


@pytest.mark.parametrize("record", CACHES)
def test_the_age_is_the_time_since_it_was_received_whatever_is_stopped(record):
    threshold_ms = {"pair_bbo": 500, "bbo": 1_000}[record]
    with stage() as play:
        writing = play.play("cache_writer", record=record, how="once")
        told = writing.report()
        cache = attach(Options(play, record))

        def check():
            now = now_ms()
            age = cache.get_age_ms(now)
            longest = now - told["before_ns"] // 10**6
            assert now - told["after_ns"] // 10**6 <= age <= longest
            assert cache.is_stale(now) is (age > threshold_ms)
            return age

        check()
        writing.signal(signal.SIGSTOP)
        wait_for(lambda: check() > threshold_ms // 2)
        assert cache.is_stale(now_ms()) is (check() > threshold_ms)
        wait_for(lambda: check() > threshold_ms)
        assert cache.is_stale(now_ms())
        writing.signal(signal.SIGCONT)
        time.sleep(0.05)
        check()
        assert cache.is_stale(now_ms()), "a writer that turns again has said nothing new"
        writing.kill()
        check()


def test_a_reader_that_was_stopped_finds_the_age_of_now_and_not_of_then():
    with stage() as play:
        writing = play.play("cache_writer", record="pair_bbo", pause_us=1_000)
        writing.report()
        reading = play.play("cache_watcher", record="pair_bbo")
        reading.report()
        time.sleep(0.1)
        reading.signal(signal.SIGSTOP)
        writing.signal(signal.SIGSTOP)
        stopped_ms = now_ms()
        time.sleep(0.7)
        reading.signal(signal.SIGCONT)
        found = reading.report()
        assert found["gap_ms"] >= 600
        assert found["age_ms"] >= found["now_ms"] - stopped_ms - 1
        assert found["is_stale"]
        writing.signal(signal.SIGCONT)
        cache = attach(Options(play, "pair_bbo"))
        wait_for(lambda: not cache.is_stale(now_ms()))
        reading.end()
        writing.end()


@pytest.mark.parametrize("record", CACHES)
def test_a_wall_clock_that_jumps_by_hours_changes_no_age(record):
    with stage() as play:
        writing = play.play("cache_writer", record=record, how="jump", pause_us=500)
        writing.report()
        cache = attach(Options(play, record))
        walls, until = set(), time.monotonic() + 0.5
        while time.monotonic() < until:
            snapshot, seq = cache.get_latest()
            age = snapshot.meta.age_ms(now_ms())
            assert 0 <= age < 400, (age, seq)
            walls.add(round((snapshot.meta.wall_ts_ns - time.time_ns()) / 3.6e12))
        assert walls == {-1, 0, 1}, "the jumps were not seen"
        writing.end()
