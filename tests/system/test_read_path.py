"""The read path between real processes: whole, never waiting, and never quotable without evidence.

A reader under `strict` may make no system call at all, or the kernel ends it. Writers are stopped
in the middle of a record and killed; readers and writers are stopped and continued; clocks stand
hours apart. Every verdict of the gate is held against the clock by the reader that got it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cache.gate import LATENCY_ARB, Trust, Witness, gate
from cache.layout import PAIR_BBO, place_boards, tag_of
from cache.liveness import STALE_NS, Liveness
from cache.pm_cache import PMCache, pm_boards
from cache.segment import ReaderSegment
from tests.system.memory_gate import MARKET, SLOTS
from tests.system.memory_world import ROLE, ROOT, Payload, stage, twins, wait_for

MS = 1_000_000
HOUR_NS = 3_600_000 * MS
TAG = tag_of("polymarket", MARKET)
KINDS = twins("pure", "core")
TURNS = 3_000
STOPS = 25
SCAN_SECONDS = 1.0


@pytest.fixture
def play():
    with stage() as made:
        yield made


def begin(play, part, **options):
    """Play a part; when this returns, it is ready."""
    actor = play.play(part, **options)
    actor.report()
    return actor


def is_stopped(actor):
    with open(f"/proc/{actor.pid}/stat") as status:
        return status.read().rpartition(") ")[2].startswith("T")


def stop(actor):
    actor.signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(actor))


class Eye:
    """What a strategy has of the market, in this process."""

    def __init__(self, namespace):
        self.cache = PMCache.attach(MARKET, role=ROLE, namespace=namespace)
        self.segment = self.cache.segment
        self.board = self.segment.board("pair_bbo")

    def look(self, **changes):
        """Book, trust and the moment they are of."""
        segment = self.segment
        link_ns = segment.link_ns
        found = self.board.read(0, TAG)
        incarnation = segment.incarnation
        now_ns = time.monotonic_ns()
        witness = Witness(segment.liveness(now_ns), incarnation, link_ns)._replace(**changes)
        book, trust = gate(found, LATENCY_ARB, now_ns, witness)
        return book, trust, now_ns


# --- no partial reads, numbers that grow --------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_passes_the_gate_is_whole_new_enough_and_of_a_number_that_grows(play, kind):
    begin(play, "beat", twin=kind)
    reader = begin(play, "judge", twin=kind, seconds=1)
    found = reader.report()
    print(f"\n{kind}: {found}")
    assert found["faults"] == []
    assert found["quotable"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_restarted_writer_goes_on_counting_and_is_not_trusted_before_its_first_record(play, kind):
    writer = begin(play, "beat", twin=kind)
    reader = begin(play, "judge", twin=kind)
    eye = Eye(play.namespace)
    for incarnation in range(2, 6):
        writer.signal(signal.SIGKILL)
        writer.wait()
        book, _, _ = eye.look()
        last = book.version
        if incarnation % 2:  # Else its last record is still young when the next writer starts.
            wait_for(lambda: eye.look()[1] == Trust.WRITER_DEAD)
        writer = begin(play, "beat", twin=kind)
        wait_for(lambda: eye.look()[1].is_quotable)
        book, _, _ = eye.look()
        assert book.version > last
        assert book.incarnation == eye.segment.incarnation == incarnation
    found = reader.end()
    assert found["faults"] == []
    assert found["trusts"]["WRITER_DEAD"] > 0


# --- no blocking in the read path ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_read_makes_a_system_call(play, kind):
    """Board, gate, cache, age, mids, history, scan, counters, liveness of a writer that beats."""
    begin(play, "beat", twin=kind)
    reader = begin(play, "strict", twin=kind, trials=TURNS)
    found = reader.report()
    if "skip" in found:
        pytest.skip(f"the kernel forbids nothing here: {found['skip']}")
    assert found == {"reads": 2 * TURNS, "faults": []}
    assert reader.wait() == 0


@pytest.mark.parametrize("how", ["sleep", "stat"])
def test_a_read_that_made_one_would_not_come_back(play, how):
    begin(play, "beat")
    reader = begin(play, "strict", trials=100, how=how)
    status = reader.wait()
    if not status:
        pytest.skip(f"the kernel forbids nothing here: {reader.report()}")
    assert status == -signal.SIGSYS


def cell_of(board, memory, version):
    at = board.place.cells_offset + (version & (board.cell_count - 1)) * board.record.size
    return bytes(memory[at : at + board.record.size])


@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_no_read_waits_for_a_writer_that_is_stopped_in_the_middle_of_a_record(play, kind):
    stops_in_the_middle(play, kind, STOPS)


def stops_in_the_middle(play, kind, stops):
    """Stop a writer again and again; what it is in the middle of disturbs no read.

    One that publishes about all the time is in the middle of a record in a good part of the stops:
    then the cell behind the newest is neither the next record nor the one it replaces.
    """
    linger = {"linger": 20_000} if kind == "steps" else {}
    writer = begin(play, "storm", twin=kind, cells=8, **linger)
    board = ReaderSegment.attach(ROLE, namespace=play.namespace).board("storm")
    payload, halves, newest = Payload(PAIR_BBO), 0, 0
    wait_for(lambda: board.version(0) > 100)
    for number in range(stops):
        time.sleep(0.0003 * (number % 7))
        stop(writer)
        version, before = board.version(0), (board.retry_count, board.busy_count)
        for _ in range(200):
            found = board.read(0, 0)
            assert found.version == version
            assert payload.is_whole(found.raw, version)
        assert len(board.copy_last(0, 6)) == 6 * PAIR_BBO.size
        assert (board.retry_count, board.busy_count) == before, "not one copy was taken twice"
        assert version >= newest
        newest = version
        behind = cell_of(board, board.memory, version + 1)
        halves += not any(payload.is_whole(behind, one) for one in (version + 1, version - 7))
        writer.signal(signal.SIGCONT)
        wait_for(lambda at=newest: board.version(0) > at)
    assert halves > 0, "no stop fell into the middle of a record"
    writer.end()
    return halves


# --- ages across stops and clocks ---------------------------------------------------------------


def test_a_stopped_writer_is_quotable_for_no_longer_than_its_evidence_lasts(play):
    writer = begin(play, "beat", twin=KINDS[-1])
    eye = Eye(play.namespace)
    wait_for(lambda: eye.look()[1] == Trust.LIVE)
    stop(writer)
    beat_ns, version = eye.segment.heartbeat_ns, eye.board.version(0)
    seen = set()
    while True:
        book, trust, now_ns = eye.look()
        seen.add(trust)
        age_ms = eye.cache.get_age_ms(now_ns // MS)
        assert book.version == version
        assert age_ms == now_ns // MS - book.recv_ns // MS
        assert eye.cache.is_stale(now_ns // MS) == (age_ms > 500)
        if trust.is_quotable:
            assert now_ns - book.recv_ns <= LATENCY_ARB.evidence_ns_max
            assert now_ns - beat_ns <= STALE_NS
        if now_ns - beat_ns > STALE_NS + 300 * MS:
            break
    assert seen >= {Trust.LIVE, Trust.STALLED}
    assert trust == Trust.STALLED
    writer.signal(signal.SIGCONT)
    wait_for(lambda: eye.look()[1] == Trust.LIVE)
    book, _, now_ns = eye.look()
    assert book.version > version
    assert writer.end()["published"] == eye.board.version(0)


def test_a_stopped_reader_comes_back_to_the_newest_record_and_to_its_age_of_now(play):
    begin(play, "beat", twin=KINDS[-1])
    reader = begin(play, "judge", twin=KINDS[-1], pause_us=500)
    eye = Eye(play.namespace)
    for _ in range(3):
        time.sleep(0.1)
        stop(reader)
        version = eye.board.version(0)
        time.sleep(0.7)
        assert eye.board.version(0) > version, "the writer does not care"
        reader.signal(signal.SIGCONT)
    time.sleep(0.1)
    found = reader.end()
    assert found["faults"] == []
    assert found["jumps"] >= 3
    assert found["newest"] > version
    assert found["quotable"] > 0


def test_a_reader_stopped_between_link_and_book_or_behind_both_trusts_no_old_book(play):
    """What is known of the link has to be older than the book, as `strategy` and `executor` do."""
    begin(play, "beat", twin=KINDS[-1])
    eye = Eye(play.namespace)
    segment, board = eye.segment, eye.board

    def judge(book, link_ns):
        now_ns = time.monotonic_ns()
        witness = Witness(segment.liveness(now_ns), segment.incarnation, link_ns)
        return gate(book, LATENCY_ARB, now_ns, witness)[1]

    link_ns, book = segment.link_ns, board.read(0, TAG)
    time.sleep(0.6)  # As long as this process is stopped, the feed goes on.
    assert judge(book, link_ns) is Trust.STALE
    assert judge(board.read(0, TAG), link_ns) is Trust.LIVE, "it is its own evidence"
    assert judge(book, segment.link_ns) is Trust.QUIET, "so nobody may read it behind the book"


@pytest.mark.parametrize("jump_ns", [HOUR_NS, -HOUR_NS])
def test_a_wall_clock_that_jumps_moves_no_age_and_makes_nothing_fresh(play, jump_ns):
    """It only judges how late a venue's event came: forward that is late, back it is not."""
    writer = begin(play, "beat", twin=KINDS[-1])
    eye = Eye(play.namespace)
    wait_for(lambda: eye.look()[1] == Trust.LIVE)
    offset_ns = time.time_ns() - time.monotonic_ns() + jump_ns
    expected = Trust.STALE if jump_ns > 0 else Trust.LIVE
    wait_for(lambda: eye.look(wall_offset_ns=offset_ns)[1] == expected)
    book, _, now_ns = eye.look(wall_offset_ns=offset_ns)
    assert eye.cache.get_age_ms(now_ns // MS) <= now_ns // MS - book.recv_ns // MS
    stop(writer)
    beat_ns = eye.segment.heartbeat_ns
    wait_for(lambda: time.monotonic_ns() - beat_ns > STALE_NS)
    assert not eye.look(wall_offset_ns=offset_ns)[1].is_quotable
    trust = eye.look(wall_offset_ns=offset_ns, liveness=Liveness.LIVE)[1]
    assert trust == Trust.STALE


@pytest.mark.parametrize("ahead_s", [3600, -600])
def test_a_reader_whose_monotonic_clock_is_another_trusts_nothing(play, ahead_s):
    """A time namespace is the one thing that can set CLOCK_MONOTONIC apart between processes."""
    begin(play, "beat", twin=KINDS[-1])
    apart = ["unshare", "-T", "--monotonic", str(ahead_s), "--boottime", str(ahead_s), "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no time namespaces here")
    words = ["judge", "--namespace", play.namespace, "--seconds", "0.5", "--twin", KINDS[-1]]
    command = [*apart, sys.executable, "-m", "tests.system.memory_actor", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert found["quotable"] == 0
    assert set(found["trusts"]) == {"STALLED"}, (
        "the lock says that it lives, its beat that it hangs"
    )
    assert found["reads"] > 0


# --- ten thousand slots -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_change_is_lost_among_ten_thousand_slots(play, kind):
    scan_them_all(play, kind, SCAN_SECONDS)


def scan_them_all(play, kind, seconds):
    """Read what the scan names, and nothing else; whenever the writer rests, that is everything."""
    writer = begin(play, "many", twin=kind, seed=os.getpid())
    segment = ReaderSegment.attach(ROLE, namespace=play.namespace)
    board = segment.board("storm")
    scan, held = board.changed(), np.zeros(SLOTS, np.uint64)
    live = np.frombuffer(board.memory, np.uint64, SLOTS, board.place.versions_offset)
    rests = named = 0
    until = time.monotonic() + seconds
    published = None
    while published is None or not rests:
        if published is None and time.monotonic() > until:
            published = writer.end()["published"]
        turn = segment.loop_count
        slots = scan.slots()
        for slot in slots:
            found = board.read(slot, 0)
            assert (found.batch, found.venue_seq) == (found.version, slot), "a partial read"
            assert found.version >= held[slot], "a version went back"
            held[slot] = found.version
        named += len(slots)
        is_same = (held == live).all()
        if turn % 2 == 0 and segment.loop_count == turn:
            rests += 1
            assert is_same, "a change was lost"
    print(f"\n{kind}: {published} published, {named} named, {rests} looks at a writer at rest")
    assert (held == live).all()
    assert held.sum() == published
    return published


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_is_as_large_at_its_start_as_after_everything(play, kind):
    writer = begin(play, "beat", twin=kind)
    path = ReaderSegment.attach(ROLE, namespace=play.namespace).path
    before = os.stat(path)
    assert before.st_size == place_boards(pm_boards())[1]
    assert 512 * before.st_blocks >= before.st_size, "reserved at the start"
    time.sleep(0.3)
    writer.end()
    after = os.stat(path)
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
