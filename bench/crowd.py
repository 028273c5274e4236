"""What readers cost the writer: thirty of them, one that spins, thirty that are parked.

They are processes of their own (`python -m bench.crowd PART`), stopped and continued by signals, so
that the publishing beside them and the publishing without them take turns; the medians of wall time
are compared. Beside the one that spins only those bursts count in which it really read: it leaves
how often it has in a file that both map, as a machine of two cores has not always one to spare.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import Self

from bench.cache import TAG, question
from bench.latency import pin
from bench.peers import environment
from bench.row import Row
from bench.stage import ROLE, segment_of, values_of
from cache import gate
from cache.bells import make_waiter, method
from cache.layout import PAIR_BBO, BoardSpec
from cache.segment import ReaderSegment, WriterSegment

CROWD, RATE_HZ = 30, 20
BURST = 100
PHASES, PHASE_S, SETTLE_S = 20, 0.12, 0.03
READ_STEP, READS_MIN = 10, 20
RINGS, RING_GAP_S = 400, 0.002


def at_rate(segment: ReaderSegment, _: memoryview) -> None:
    """Read every slot through the gate, twenty times a second."""
    board, asked = segment.board("top"), question()
    while True:
        time.sleep(1 / RATE_HZ)
        now_ns = time.monotonic_ns()
        for slot in range(board.slot_count):
            found = board.read(slot, TAG)
            gate.gate(found, asked["policy"], now_ns, witness=asked["witness"])


def spinning(segment: ReaderSegment, progress: memoryview) -> None:
    """Read one slot without rest, and leave how often."""
    pin(1)
    board, count = segment.board("top"), 0
    while True:
        for _ in range(READ_STEP):
            board.read(0, TAG)
        count += READ_STEP
        progress[0] = count


def parked(segment: ReaderSegment, _: memoryview) -> None:
    """Wait for the bell, and look."""
    board, waiter = segment.board("top"), make_waiter([segment])
    while True:
        waiter.load()
        board.version(0)
        waiter.wait(10_000_000_000)


PARTS = {part.__name__: part for part in (at_rate, spinning, parked)}


class Readers:
    """So many reading processes, started as one; a context manager."""

    def __init__(self, segment: WriterSegment, part: str, count: int) -> None:
        namespace = segment.path.rpartition("/")[2].removesuffix(f".{ROLE}")
        command = [sys.executable, "-m", "bench.crowd", part, "--namespace", namespace]
        descriptor, self._path = tempfile.mkstemp()
        os.truncate(descriptor, mmap.PAGESIZE)
        os.close(descriptor)
        self.progress = _progress(self._path)
        self._command = [*command, "--count", str(count), "--progress", self._path]
        self._count = count

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=environment.ROOT, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        for _ in range(self._count):
            if not self._process.stdout.readline():
                raise RuntimeError(f"the readers ended with {self._process.wait()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGKILL)
        self._process.wait()
        os.unlink(self._path)

    def send(self, number: int) -> None:
        """Send all of them a signal."""
        os.killpg(self._process.pid, number)


def _progress(path: str) -> memoryview:
    """Words that writer and readers share beside the segment."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")


def crowd_row() -> Row:
    """The median publish beside thirty readers, and while they are stopped."""
    with_them, without = _in_turns("at_rate", CROWD, slot_count=64)
    beside, alone = (median(ns for ns, _ in bursts) for bursts in (with_them, without))
    text = f"{beside:.0f} ns beside, {alone:.0f} ns without"
    name = f"publish beside {CROWD} readers at {RATE_HZ} Hz / without"
    return Row(name, beside / alone, "x", "<= 1.15", text)


def spin_row() -> Row:
    """The median publish of a slot that is read without rest, and while it is not."""
    with_it, without = _in_turns("spinning", 1, slot_count=1)
    live = [(ns, reads) for ns, reads in with_it if reads >= READS_MIN]
    name = "publish beside one spinning reader of the same slot / without"
    if not live:
        return Row(name, None, "x", "<= 2", "it never ran beside: no second core was free")
    beside, alone = median(ns for ns, _ in live), median(ns for ns, _ in without)
    rate = median(reads / (ns * BURST) for ns, reads in live) * 1e3
    text = (
        f"{beside:.0f} ns beside, {alone:.0f} ns without; it ran beside {len(live)} of "
        f"{len(with_it)} bursts, {rate:.1f} reads a us"
    )
    return Row(name, beside / alone, "x", "<= 2", text)


Bursts = list[tuple[float, int]]
"""Of each burst: nanoseconds of a publish, and how much the readers' progress grew."""


def _in_turns(part: str, count: int, *, slot_count: int) -> tuple[Bursts, Bursts]:
    """Bursts of publishing beside readers, and while they are stopped."""
    took: dict[bool, Bursts] = {True: [], False: []}
    values = values_of(PAIR_BBO)
    slots = random.Random(2).choices(range(slot_count), k=BURST)
    with segment_of(BoardSpec("top", PAIR_BBO, slot_count, 8)) as segment:
        board = segment.board("top")
        for slot in range(slot_count):
            board.assign(slot, TAG, 1)
            board.publish(slot, values)
        allowed = os.sched_getaffinity(0)
        with Readers(segment, part, count) as readers:
            if part == "spinning":
                pin(0)  # Only now: the readers would be pinned with it.
            for phase in range(2 * PHASES):
                are_there = phase % 2 == 0
                readers.send(signal.SIGCONT if are_there else signal.SIGSTOP)
                time.sleep(SETTLE_S)
                took[are_there] += _bursts(board.publish, slots, values, readers.progress)
        os.sched_setaffinity(0, allowed)
    return took[True], took[False]


def _bursts(
    publish: Callable[..., int], slots: list[int], values: tuple[int, ...], progress: memoryview
) -> Bursts:
    """The bursts of one phase."""
    found, clock = [], time.perf_counter_ns
    until = time.monotonic() + PHASE_S
    while time.monotonic() < until:
        before, begun = progress[0], clock()
        for slot in slots:
            publish(slot, values)
        took = clock() - begun
        found.append((took / BURST, progress[0] - before))
    return found


def ring_row() -> Row:
    """What each parked reader costs the writer that wakes it."""
    found: dict[int, float] = {}
    for count in (0, 1, CROWD):
        with segment_of(BoardSpec("top", PAIR_BBO, 1, 8)) as segment:
            if not count:
                found[count] = _ring(segment)
                continue
            with Readers(segment, "parked", count):
                found[count] = _ring(segment)
    beside = ", ".join(f"{count} parked: {ns / 1e3:.1f} us" for count, ns in found.items())
    each = (found[CROWD] - found[0]) / CROWD / 1e3
    name = "ring, per parked reader, CPU time of the writer"
    return Row(name, each, "us", "about 4", f"{method()}; a ring: {beside}")


def _ring(segment: WriterSegment) -> float:
    took, clock = [], time.thread_time_ns
    for _ in range(RINGS):
        time.sleep(RING_GAP_S)  # All have parked again by then.
        begun = clock()
        segment.ring()
        took.append(clock() - begun)
    return median(took)


def rows() -> list[Row]:
    """Measure everything of this module."""
    return [crowd_row(), spin_row(), ring_row()]


def main() -> int:
    """Be the readers, each a process of its own, until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowd")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--progress", required=True)
    given = parser.parse_args()
    for _ in range(given.count - 1):
        if os.fork() == 0:
            break
    segment = ReaderSegment.attach(ROLE, namespace=given.namespace)
    os.write(1, b"ready\n")
    PARTS[given.part](segment, _progress(given.progress))
    return 0


if __name__ == "__main__":
    sys.exit(main())
