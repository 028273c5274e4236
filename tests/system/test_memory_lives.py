"""Processes that stop, leave, compete and vanish around one segment: nobody harms another."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cache.errors import AlreadyRunning, SegmentMissing, SharedMemoryFull
from cache.layout import PAIR_BBO, BoardSpec, State
from cache.liveness import STALE_NS, Liveness
from cache.segment import ReaderSegment, WriterSegment, segment_path
from tests.system.memory_world import ROLE, ROOT, stage, twins, wait_for

BOARDS = (BoardSpec("storm", PAIR_BBO, 2, 8),)


@pytest.fixture
def play():
    with stage() as made:
        yield made


def begin(play, part, **options):
    actor = play.play(part, **options)
    actor.report()
    return actor


def attach(play):
    return ReaderSegment.attach(ROLE, namespace=play.namespace)


def has_moved(board, slot=0, by=100):
    start = board.version(slot)
    return lambda: board.version(slot) >= start + by


def is_stopped(actor):
    with open(f"/proc/{actor.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_a_stopped_writer_is_stalled_keeps_its_role_and_goes_on_without_a_tear(play, kind):
    writer = begin(play, "storm", twin=kind)
    hunter = begin(play, "hunt", twin=kind)
    segment = attach(play)
    board = segment.board("storm")
    for _ in range(5):
        wait_for(has_moved(board))
        writer.signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(writer))
        stopped_at, version = segment.heartbeat_ns, board.version(0)
        late = stopped_at + STALE_NS + 1
        for now in (time.monotonic_ns(), late, late + 3600 * 10**9):
            with pytest.raises(AlreadyRunning, match=rf"living writer \(pid {writer.pid}\)"):
                WriterSegment.create(ROLE, BOARDS, namespace=play.namespace)
            if now >= late:
                assert segment.liveness(now) == Liveness.STALLED
        assert board.version(0) == version
        assert segment.incarnation == 1
        writer.signal(signal.SIGCONT)
    wait_for(has_moved(board))
    found = hunter.end()
    assert found["reads"] > 0
    assert (found["torn"], found["backward"]) == (0, 0)
    assert writer.end()["version"] == board.version(0)


def stop_a_reader(play, kind, seconds):
    """Stop a stream reader beside a writer that never rests; tell what it knew afterwards.

    Then the writer stands still, so that it is known what the newest is, and what was missed.
    """
    cells = 64
    writer = begin(play, "storm", twin=kind, cells=cells)
    reader = begin(play, "hunt", twin=kind, cells=cells, modes="stream,single")
    board = attach(play).board("storm")
    wait_for(has_moved(board, by=20_000))
    reader.signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(reader))
    stopped_at = board.version(0)
    until, moves = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        wait_for(has_moved(board))  # The writer is not affected.
        moves += 1
    missed = board.version(0) - stopped_at - cells
    reader.signal(signal.SIGCONT)
    wait_for(has_moved(board, by=20_000))
    writer.signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(writer))
    found = reader.end()
    assert moves > 0
    assert found["cursor"] == found["newest"] == board.version(0), "it sees the newest"
    assert found["lost"] >= missed > 0
    writer.signal(signal.SIGCONT)
    assert (found["torn"], found["backward"]) == (0, 0)
    assert found["overruns"] > 0
    assert found["taken"] + found["lost"] == found["cursor"] - found["started_at"]
    assert writer.end()["version"] == board.version(0)
    return found


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_a_stopped_reader_harms_nobody_and_knows_how_much_it_missed(play, kind):
    stop_a_reader(play, kind, 0.5)


def test_a_second_writer_process_is_refused_with_a_message(play):
    begin(play, "storm", pause_us=100)
    second = subprocess.run(
        [sys.executable, "-m", "tests.system.memory_actor", "storm", "--namespace", play.namespace],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "AlreadyRunning" in second.stderr
    assert "a role has one writer. Stop that one first" in second.stderr


@pytest.mark.parametrize("how", ["close", "exit", "os._exit", "kill", "exception"])
def test_a_reader_may_leave_in_any_way(play, how):
    writer = begin(play, "storm", pause_us=100)
    board = attach(play).board("storm")
    wait_for(has_moved(board, by=1))
    leaver = play.play("leave", how=how)
    assert leaver.report()["version"] > 0
    status = leaver.wait()
    assert status == {"kill": -signal.SIGKILL, "exception": 1}.get(how, 0)
    path = segment_path(play.namespace, ROLE)
    assert os.path.exists(path)
    assert os.path.exists(path + ".lock")
    wait_for(has_moved(board, by=5))
    assert attach(play).is_current()
    writer.end()


def test_a_write_through_a_reading_map_kills_that_reader_alone(play):
    writer = begin(play, "storm", pause_us=100)
    segment = attach(play)
    bell, offset = segment.bell_word
    before = bell.cast("I")[offset >> 2]
    scribbler = begin(play, "scribble")
    assert scribbler.wait() == -signal.SIGSEGV
    assert bell.cast("I")[offset >> 2] == before
    wait_for(has_moved(segment.board("storm"), by=5))
    writer.end()


def test_a_segment_removed_under_its_users_is_noticed_made_again_and_attached_again(play):
    writer = begin(play, "storm", pause_us=20)
    old = attach(play)
    wait_for(has_moved(old.board("storm")))
    os.unlink(old.path)
    assert writer.wait() == 1  # SegmentRemoved, at its next heartbeat
    assert not old.is_current()
    assert old.board("storm").read(0, 0).version > 0  # what it has mapped stays readable
    with pytest.raises(SegmentMissing):
        attach(play)
    begin(play, "storm", pause_us=20)
    new = attach(play)
    assert (new.incarnation, new.is_current()) == (1, True)
    wait_for(has_moved(new.board("storm")))
    assert not old.is_current()


def test_a_removed_lock_ends_the_writer_at_its_next_heartbeat(play):
    writer = begin(play, "storm", pause_us=20)
    segment = attach(play)
    os.unlink(segment.path + ".lock")
    assert writer.wait() == 1
    begin(play, "storm", pause_us=20)
    assert segment.is_current()
    wait_for(lambda: segment.incarnation == 2)


def test_a_segment_of_other_boards_is_replaced_and_its_readers_attach_again(play):
    writer = begin(play, "storm", pause_us=20, cells=8)
    old = attach(play)
    writer.end()
    begin(play, "storm", pause_us=20, cells=16)
    assert not old.is_current()
    assert old.liveness(time.monotonic_ns()) == Liveness.RETIRED
    assert attach(play).board("storm").cell_count == 16


SMALL = """
import sys
from cache import segment_file
from cache.layout import PAIR_BBO, BoardSpec, place_boards
from cache.segment import WriterSegment
boards = (BoardSpec("storm", PAIR_BBO, 512, 8),)
print(place_boards(boards)[1], flush=True)
if "--race" in sys.argv:  # another process takes the room after it was looked at
    segment_file._check_room = lambda path, total: None
WriterSegment.create("feed.small", boards, namespace="penstock-test-small")
"""


def on_a_small_shm(script, *words):
    """Run a script where /dev/shm is a tmpfs of 512 KB, seen by that process alone."""
    shell = 'mount -t tmpfs -o size=512k tmpfs /dev/shm && exec "$@"; exit 77'
    command = ["unshare", "-m", "sh", "-c", shell, "sh", sys.executable, "-c", script, *words]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if os.geteuid() != 0 or found.returncode == 77 or "unshare" in found.stderr:
        pytest.skip(f"cannot mount a small /dev/shm here: {found.stderr.strip()[-200:]}")
    return found


@pytest.mark.parametrize("words", [(), ("--race",)])
def test_too_small_a_shm_is_refused_at_start_with_the_needed_size(words):
    found = on_a_small_shm(SMALL, *words)
    assert found.returncode == 1, "not by SIGBUS"
    assert SharedMemoryFull.__name__ in found.stderr
    needed = found.stdout.strip()
    assert f"needs {needed} bytes, /dev/shm has" in found.stderr
    assert "free of 524288" in found.stderr
    assert "lower the slot counts" in found.stderr


FULL = (
    SMALL.replace("512, 8", "8, 8")
    + """
import os
WriterSegment.create("feed.fits", boards, namespace="penstock-test-small")
with open("/dev/shm/filler", "wb") as file:
    try:
        file.write(bytes(1 << 20))
    except OSError:
        pass
try:
    WriterSegment.create("feed.more", boards, namespace="penstock-test-small")
finally:
    print(sorted(os.listdir("/dev/shm")))
"""
)


def test_a_full_shm_is_refused_too_and_leaves_nothing_half_made():
    found = on_a_small_shm(FULL)
    assert SharedMemoryFull.__name__ in found.stderr
    assert "'penstock-test-small.feed.fits'" in found.stdout
    assert ".tmp." not in found.stdout
    assert "'penstock-test-small.feed.more'" not in found.stdout


def test_a_writer_that_failed_says_so_to_its_readers(play):
    segment = WriterSegment.create(ROLE, BOARDS, namespace=play.namespace)
    segment.set_state(State.FAIL)
    reader = attach(play)
    assert reader.liveness(time.monotonic_ns()) == Liveness.FAILED
    segment.close()
    assert reader.liveness(reader.heartbeat_ns + STALE_NS + 1) == Liveness.FAILED
