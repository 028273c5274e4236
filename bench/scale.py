"""What size costs: ten thousand tokens, thirty readers, readers that spin and readers that park.

Slot counts are compared in interleaved rounds, in random slot order, by thread CPU time, the least
round of each. Publishing alone is one row, a frame through the feed's books another: what a board
adds and what the books add are different things. Readers are processes of their own
(`python -m bench.scale PART`), stopped and continued by signals, so that the publishing beside them
and the publishing without them take turns too; there the medians of wall time are compared.
"""

from __future__ import annotations

import argparse
import array
import gc
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Self

from msgspec import structs

from bench import frames
from bench.cache import TAG, question
from bench.latency import pin
from bench.peers import environment
from bench.row import Row
from bench.stack import rss_mib
from cache import gate
from cache.bells import make_waiter, method
from cache.layout import BBO, DEPTH, PAIR_BBO, BoardSpec, Record, place_boards
from cache.segment import ReaderSegment, WriterSegment
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import MarketChannel
from feeds.pair import Boards, Pair
from feeds.polymarket import boards
from host import config
from venue.decimals import E9

COUNTS = (10, 100, 1_000, 10_000)
BATCH, ROUNDS = 20_000, 20
FRAME_BATCH, FRAME_ROUNDS = 10_000, 6
ROLE = "feed.bench"
CROWD, RATE_HZ = 30, 20
BURST = 100
PHASES, PHASE_S, SETTLE_S = 20, 0.12, 0.03
RINGS, RING_GAP_S = 400, 0.002
Loop = Callable[[], int | None]
"""A loop that is timed, or one that times itself and gives nanoseconds."""


@contextmanager
def segment_of(*specs: BoardSpec) -> Iterator[WriterSegment]:
    """A segment in a namespace of its own, gone afterwards."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    made = WriterSegment.create(ROLE, specs, namespace=namespace)
    try:
        yield made
    finally:
        made.close(remove=True)


def feed_boards(token_count: int) -> tuple[BoardSpec, ...]:
    """The boards of the shipped feed with room for so many tokens."""
    settings = config.load(environ={}).feeds.polymarket
    return boards(structs.replace(settings, market_slots=token_count // 2))


def values_of(record: Record) -> tuple[int, ...]:
    """Values for a publish, arrays flat."""
    fields = [field for field in record.fields[3:] if field.name != "reserved"]
    return tuple(510_000_000 for field in fields for _ in range(field.count))


def least(loops: dict[int, Loop], count: int, *, rounds: int) -> dict[int, float]:
    """Nanoseconds of one of `count` steps of each loop: the least of rounds taken in turns."""
    best = dict.fromkeys(loops, float("inf"))
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(rounds + 1):
            for size, loop in loops.items():
                begun = time.thread_time_ns()
                took = loop()
                took = time.thread_time_ns() - begun if took is None else took
                best[size] = min(best[size], took / count)
    finally:
        gc.enable()
        gc.unfreeze()
    return best


def _flatness(name: str, found: dict[int, float], unit: str) -> Row:
    first, *_, last = found
    scale = 1e3 if unit == "us" else 1
    beside = ", ".join(f"{size:,}: {ns / scale:.4g} {unit}" for size, ns in found.items())
    return Row(f"{name}, {last:,} / {first:,}", found[last] / found[first], "x", "<= 1.1", beside)


# --- ten thousand tokens ----------------------------------------------------------------------


def publish_row(record: Record) -> Row:
    """Publishing by the number of slots, each time to another one at random."""
    publish_all: dict[int, Loop] = {}
    values, rng = values_of(record), random.Random(1)
    specs = [BoardSpec(f"top_{size}", record, size, 8) for size in COUNTS]
    with segment_of(*specs) as segment:
        for size, spec in zip(COUNTS, specs, strict=True):
            board = segment.board(spec.name)
            for slot in range(size):
                board.assign(slot, TAG, 1)
            slots = array.array("q", (rng.randrange(size) for _ in range(BATCH)))
            publish_all[size] = _publisher(board.publish, slots, values)
        found = least(publish_all | {0: _publisher(None, slots, values)}, BATCH, rounds=ROUNDS)
        del publish_all, board  # Their memory is the segment's.
    empty = found.pop(0)
    found = {size: ns - empty for size, ns in found.items()}
    return _flatness(f"publish {record.name} by slots", found, "ns")


def _publisher(
    publish: Callable[..., int] | None, slots: array.array[int], values: tuple[int, ...]
) -> Loop:
    def run() -> None:
        for slot in slots:
            publish(slot, values)  # type: ignore[misc]

    def nothing() -> None:
        for _ in slots:
            pass

    return run if publish is not None else nothing


class Feed:
    """A channel with so many markets, their books filled, and frames of them in random order."""

    def __init__(self, segment: WriterSegment, token_count: int, case: frames.Case) -> None:
        markets = range(token_count // 2)
        self.channel = MarketChannel(segment.counters, lambda: None)
        names = ("pair_bbo", "mids", "depth", "trades")
        pair_bbo, mids, depth, trades = (segment.board(name) for name in names)
        boards = Boards(pair_bbo, mids, depth, trades, segment.counters)
        for market in markets:
            pair = Pair(_listing(market), market, 0, boards)
            self.channel.add(pair)
            pair.on_subscribed()
            self.channel.on_frame(_of_market(case.first, market), time.monotonic_ns())
            self.channel.end_burst()
        self._frames, self._at = case.frames, [0] * len(markets)
        self._rng = random.Random(1)

    def run(self) -> int:
        """Take frames, each as of a read of its own; give the nanoseconds of taking them.

        They are made a few at a time, as a socket gives them: thousands that lie ready would be
        more memory than the books.
        """
        took = 0
        for _ in range(FRAME_BATCH // BURST):
            block = [self._next() for _ in range(BURST)]
            on_frame, end_burst, now_ns = self.channel.on_frame, self.channel.end_burst, 1
            begun = time.thread_time_ns()
            for frame in block:
                on_frame(frame, now_ns)
                end_burst()
            took += time.thread_time_ns() - begun
        return took

    def _next(self) -> bytes:
        """The next frame of a market at random."""
        market = self._rng.randrange(len(self._at))
        frame = self._frames[self._at[market] % len(self._frames)]
        self._at[market] += 1
        return _of_market(frame, market)


def _listing(market: int) -> MarketInfo:
    return MarketInfo(
        condition_id=_of_market(frames.MARKET.encode(), market).decode(),
        slug=f"bench-{market}",
        token_ids=(_token(0, market), _token(1, market)),
        outcomes=("Up", "Down"),
        tick_e9=E9 // 100,
        min_qty_e9=5 * E9,
        neg_risk=False,
    )


def _token(index: int, market: int) -> str:
    return f"{frames.TOKENS[index][:-6]}{market:06}"


def _of_market(frame: bytes, market: int) -> bytes:
    names = (*frames.TOKENS, frames.MARKET)
    others = (_token(0, market), _token(1, market), f"{frames.MARKET[:-6]}{market:06}")
    for name, other in zip(names, others, strict=True):
        frame = frame.replace(name.encode(), other.encode())
    return frame


def update_rows() -> list[Row]:
    """A frame of two levels, from bytes to both boards, by the number of tokens; and the memory."""
    case, most = frames.small_changes(), COUNTS[-1]
    with segment_of(*feed_boards(most)) as segment:
        before = rss_mib(os.getpid())[1]
        feeds = {most: Feed(segment, most, case)}
        own_kib = (rss_mib(os.getpid())[1] - before) * 1024 / most
        with segment_of(*feed_boards(COUNTS[0])) as small:
            feeds[COUNTS[0]] = Feed(small, COUNTS[0], case)
            loops: dict[int, Loop] = {size: feeds[size].run for size in sorted(feeds)}
            found = least(loops, FRAME_BATCH, rounds=FRAME_ROUNDS)
        del feeds, loops
    return [
        _flatness("frame of 2 levels, bytes -> boards, by tokens", found, "us"),
        Row("process memory of the feed, per token", own_kib, "KiB", "", "books of 98 levels"),
    ]


def memory_rows() -> list[Row]:
    """Shared memory per token, as the shipped feed lays its boards out; fixed at creation."""
    found = []
    for tokens in COUNTS:
        total = place_boards(feed_boards(tokens))[1]
        beside = f"{total / 2**20:,.1f} MiB in all, reserved at start, never more"
        name = f"shared memory of the feed per token, {tokens:,} tokens"
        found.append(Row(name, total / tokens / 1024, "KiB", "", beside))
    return found


# --- readers ----------------------------------------------------------------------------------


def at_rate(segment: ReaderSegment) -> None:
    """Read every slot through the gate, twenty times a second."""
    board, asked = segment.board("top"), question()
    while True:
        time.sleep(1 / RATE_HZ)
        now_ns = time.monotonic_ns()
        for slot in range(board.slot_count):
            found = board.read(slot, TAG)
            gate.gate(found, asked["policy"], now_ns, witness=asked["witness"])


def spinning(segment: ReaderSegment) -> None:
    """Read every slot without rest."""
    pin(1)
    board = segment.board("top")
    while True:
        for slot in range(board.slot_count):
            board.read(slot, TAG)


def parked(segment: ReaderSegment) -> None:
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
        command = [sys.executable, "-m", "bench.scale", part, "--namespace", namespace]
        self._command, self._count = [*command, "--count", str(count)], count

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=environment.ROOT, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        for _ in range(self._count):
            if not self._process.stdout.readline():
                raise RuntimeError(f"the readers ended with {self._process.wait()}")
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        self._clocks = [Path(f"/proc/{pid}/schedstat") for pid in (first, *children)]
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGKILL)
        self._process.wait()

    def send(self, number: int) -> None:
        """Send all of them a signal."""
        os.killpg(self._process.pid, number)

    def cpu_s(self) -> float:
        """The processor time all of them have used."""
        return sum(int(clock.read_text().split()[0]) for clock in self._clocks) / 1e9


def crowd_row(part: str, *, count: int, slot_count: int, name: str, target: str) -> Row:
    """The median publish beside readers and while they are stopped, in turns."""
    took: dict[bool, list[float]] = {True: [], False: []}
    values, allowed = values_of(PAIR_BBO), os.sched_getaffinity(0)
    slots = random.Random(2).choices(range(slot_count), k=BURST)
    with segment_of(BoardSpec("top", PAIR_BBO, slot_count, 8)) as segment:
        board = segment.board("top")
        for slot in range(slot_count):
            board.assign(slot, TAG, 1)
            board.publish(slot, values)
        with Readers(segment, part, count) as readers:
            if part == "spinning":
                pin(0)
            before = readers.cpu_s()
            for phase in range(2 * PHASES):
                are_there = phase % 2 == 0
                readers.send(signal.SIGCONT if are_there else signal.SIGSTOP)
                time.sleep(SETTLE_S)
                took[are_there] += _bursts(board.publish, slots, values)
            ran = (readers.cpu_s() - before) / (PHASES * (SETTLE_S + PHASE_S))
        os.sched_setaffinity(0, allowed)
    beside, alone = median(took[True]), median(took[False])
    if part == "spinning":  # The median of the bursts beside which it ran: the slower ones.
        beside = sorted(took[True])[int(len(took[True]) * (1 - min(1.0, ran) / 2))]
    text = f"{beside:.0f} ns beside, {alone:.0f} ns without; readers ran {ran:.0%} of a core then"
    return Row(name, beside / alone, "x", target, text)


def _bursts(publish: Callable[..., int], slots: list[int], values: tuple[int, ...]) -> list[float]:
    """Nanoseconds of a publish in each burst of one phase."""
    found, clock = [], time.perf_counter_ns
    until = time.monotonic() + PHASE_S
    while time.monotonic() < until:
        begun = clock()
        for slot in slots:
            publish(slot, values)
        found.append((clock() - begun) / BURST)
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
    found = [publish_row(record) for record in (PAIR_BBO, BBO, DEPTH)]
    found += update_rows() + memory_rows()
    crowd = f"publish beside {CROWD} readers at {RATE_HZ} Hz / without"
    found.append(crowd_row("at_rate", count=CROWD, slot_count=64, name=crowd, target="<= 1.15"))
    one = "publish beside one spinning reader of the same slot / without"
    found.append(crowd_row("spinning", count=1, slot_count=1, name=one, target="<= 2"))
    return [*found, ring_row()]


def main() -> int:
    """Be the readers, each a process of its own, until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args()
    for _ in range(given.count - 1):
        if os.fork() == 0:
            break
    segment = ReaderSegment.attach(ROLE, namespace=given.namespace)
    os.write(1, b"ready\n")
    PARTS[given.part](segment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
