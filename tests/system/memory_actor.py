"""The parts that processes play in the memory suites: `python -m tests.system.memory_actor PART`.

A part reports in lines of JSON: one when it is ready, one at its end, SIGTERM asking for the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import tests.system.memory_world as world


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Asked:
    """Whether this process was asked to end."""

    def __init__(self) -> None:
        self.to_end = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.to_end = True


# --- writers ----------------------------------------------------------------------------------


def boards_of(options: argparse.Namespace) -> Any:
    from cache.layout import DEPTH, RECORD_BY_NAME, BoardSpec

    record = RECORD_BY_NAME[options.record]
    return (
        BoardSpec("storm", record, 2, options.cells),
        BoardSpec("depth", DEPTH, 2, options.cells),
    )


def create(options: argparse.Namespace) -> Any:
    from cache.layout import State
    from cache.segment import WriterSegment

    segment = WriterSegment.create(world.ROLE, boards_of(options), namespace=options.namespace)
    segment.set_state(State.RUN)
    return segment


def storm(options: argparse.Namespace, twin: Any) -> None:
    """Publish without rest, and beat now and then, until asked to end."""
    from cache.layout import RECORD_BY_NAME

    asked = Asked()
    break_rules(options, twin, options.linger)
    segment = create(options)
    board = segment.board("storm")
    mutate_writer(options, board)
    payload = world.Payload(RECORD_BY_NAME[options.record])
    version = start = board.version(0)
    say(ready=True, incarnation=segment.incarnation, version=version)
    pause_s = options.pause_us / 1e6
    while not asked.to_end:
        segment.heartbeat(time.monotonic_ns())
        for _ in range(1024):
            version += 1
            board.publish_tagged(0, world.TAG, version & 0xFFFFFFFF, payload.of(version))
            if pause_s:
                time.sleep(pause_s)
                if asked.to_end:
                    break
    segment.close()
    say(published=version - start, version=version)


def pairs(options: argparse.Namespace, twin: Any) -> None:
    """Publish two depths and a top as one batch, without rest."""
    from cache.layout import DEPTH, RECORD_BY_NAME

    asked = Asked()
    segment = create(options)
    top, depth = segment.board("storm"), segment.board("depth")
    tops, depths = world.Payload(RECORD_BY_NAME[options.record]), world.Payload(DEPTH)
    batch = top.version(0)
    say(ready=True)
    while not asked.to_end:
        segment.heartbeat(time.monotonic_ns())
        for _ in range(256):
            batch += 1
            stamp = batch & 0xFFFFFFFF
            depth.publish_tagged(0, world.TAG, stamp, (batch, *depths.of(batch)[1:]))
            depth.publish_tagged(1, world.TAG, stamp, (batch, *depths.of(batch + 1)[1:]))
            top.publish_tagged(0, world.TAG, stamp, (batch, *tops.of(batch)[1:]))
    say(published=batch)


def reuse(options: argparse.Namespace, twin: Any) -> None:
    """Give one slot to three markets in turn; what is published is its owner's alone."""
    asked = Asked()
    segment = create(options)
    board = segment.board("storm")
    generation = 0
    say(ready=True)
    while not asked.to_end:
        segment.heartbeat(time.monotonic_ns())
        for owner in (1, 2, 3):
            generation += 1
            board.assign(0, world.TAG + owner, generation)
            values = (owner,) * (len(board.record.value_names))
            for _ in range(5):
                board.publish(0, values)
    say(generations=generation)


def break_rules(options: argparse.Namespace, twin: Any, linger: int) -> None:
    """Let the core break a rule: every board made from now on is a mutant."""
    if options.twin == "steps":
        twin.linger(linger)
        twin.mutate({"": 0, "read": 1, "history": 2, "version": 3}[options.mutant])


def mutate_writer(options: argparse.Namespace, board: Any) -> None:
    if options.twin != "pure" or options.mutant != "version":
        return
    pack_into = board._pack_into

    def version_first(*args: Any) -> None:
        board._versions[0] += 1
        pack_into(*args)

    board._pack_into = version_first


# --- readers ----------------------------------------------------------------------------------


class Slow:
    """A reader's memory, copied in two halves; in between the writer publishes some records."""

    def __init__(self, board: Any, turns_max: int) -> None:
        self.source, self.versions, self.turns_max = board._source, board._versions, turns_max
        self.most = board.cell_count + 2
        self.roll = 1

    def __getitem__(self, where: slice) -> bytes:
        middle = (where.start + where.stop) // 2
        head = self.source[where.start : middle]
        self.roll = (self.roll * 75 + 74) % 65537
        until = self.versions[0] + self.roll % self.most
        for _ in range(self.turns_max):
            if self.versions[0] >= until:
                break
        return bytes(head + self.source[middle : where.stop])


def mutate_reader(options: argparse.Namespace, board: Any) -> Any:
    if options.twin == "pure" and options.linger:
        board._source = Slow(board, options.linger)
    if options.twin == "pure" and options.mutant == "read":
        board._reach += 1
    if options.twin == "pure" and options.mutant == "blind":
        board._reach = 1 << 62  # It takes any copy for whole.
    if options.twin == "pure" and options.mutant == "history":
        board._span += 1
    return board


class Hunter:
    """Reads in every way there is and counts what it sees; evidence of the first tear is kept."""

    def __init__(self, options: argparse.Namespace, twin: Any) -> None:
        from cache.segment import ReaderSegment

        break_rules(options, twin, options.linger)
        self.segment = ReaderSegment.attach(world.ROLE, namespace=options.namespace)
        self.board = mutate_reader(options, self.segment.board("storm"))
        self.payload = world.Payload(self.board.record)
        self.size = self.board.record.size
        self.reads = self.torn = self.backward = self.misses = 0
        self.newest = self.incarnation = 0
        self.tail = self.board.stream()
        self.started_at = self.tail.cursor
        self.taken = 0
        self.evidence = ""
        longest = self.board.cell_count - 2 + (options.mutant == "history")
        self.lengths = sorted({1, 2, longest // 2 or 1, longest - 1 or 1, longest})

    def _judge(self, raw: bytes, version: int) -> None:
        self.reads += 1
        if not self.payload.is_whole(raw, version):
            self.torn += 1
            self.evidence = self.evidence or f"version {version}: {raw.hex()}"

    def _advance(self, version: int) -> None:
        self.backward += version < self.newest
        self.newest = version

    def single(self) -> None:
        read, tag = self.board.read, world.TAG
        for _ in range(256):
            found = read(0, tag)
            if isinstance(found, int):
                self.misses += 1
                continue
            self._judge(found.raw, found.version)
            self._advance(found.version)
            self.backward += found.incarnation < self.incarnation
            self.incarnation = found.incarnation

    def bulk(self) -> None:
        for count in self.lengths:
            for _ in range(16):
                found = self.board.copy_last(0, count)
                if isinstance(found, int):
                    self.misses += 1
                    continue
                self._judge_run(found)

    def _judge_run(self, found: bytes) -> None:
        """Records in a row: each whole, each the successor of the one before."""
        stamps = [
            int.from_bytes(found[at + 12 : at + 16], "little")
            for at in range(0, len(found), self.size)
        ]
        for index, at in enumerate(range(0, len(found), self.size)):
            self._judge(found[at : at + self.size], stamps[0] + index)
        if stamps:
            self._advance(stamps[-1])

    def stream(self) -> None:
        stream = self.tail
        for _ in range(8):
            before, lost = stream.cursor, stream.lost_count
            taken = stream.take(256)
            self.taken += len(taken)
            for snap in taken:
                self._judge(snap.raw, snap.version)
            versions = [snap.version for snap in taken]
            gaps = stream.cursor - before - len(taken)
            # Every record is either given or counted as lost, and none twice.
            self.backward += versions != sorted(set(versions)) or gaps != stream.lost_count - lost

    def report(self) -> None:
        board, stream = self.board, self.tail
        say(
            reads=self.reads,
            torn=self.torn,
            backward=self.backward,
            misses=self.misses,
            retries=board.retry_count,
            busy=board.busy_count,
            overruns=stream.overrun_count,
            lost=stream.lost_count,
            taken=self.taken,
            started_at=self.started_at,
            cursor=stream.cursor,
            newest=self.newest,
            evidence=self.evidence[:2000],
        )


def hunt(options: argparse.Namespace, twin: Any) -> None:
    """Read in all modes in turn, for a time or until a tear convicts the boards."""
    asked = Asked()
    hunter = Hunter(options, twin)
    modes: list[Callable[[], None]] = [getattr(hunter, name) for name in options.modes.split(",")]
    say(ready=True)
    until = time.monotonic() + options.seconds
    while not asked.to_end and time.monotonic() < until:
        for mode in modes:
            mode()
        if options.mutant and (hunter.torn or hunter.backward):
            break
    for mode in modes:
        mode()  # Behind whatever was published before it was asked to end.
    hunter.report()


def combine(options: argparse.Namespace, twin: Any) -> None:
    """Combine depth and top where their batch is equal; then they must be of one batch."""
    from cache.layout import DEPTH
    from cache.segment import ReaderSegment

    asked = Asked()
    segment = ReaderSegment.attach(world.ROLE, namespace=options.namespace)
    top, depth = segment.board("storm"), segment.board("depth")
    tops, depths = world.Payload(top.record), world.Payload(DEPTH)
    combined = apart = torn = 0
    say(ready=True)
    until = time.monotonic() + options.seconds
    while not asked.to_end and time.monotonic() < until:
        found = [depth.read(0, world.TAG), depth.read(1, world.TAG), top.read(0, world.TAG)]
        if any(isinstance(snap, int) for snap in found):
            continue
        if len({(snap.batch, snap.incarnation) for snap in found}) > 1:
            apart += 1
            continue
        combined += 1
        batch = found[0].batch
        wanted = (depths.bodies[batch % 4096], depths.bodies[(batch + 1) % 4096])
        wanted = (*wanted, tops.bodies[batch % 4096])
        torn += any(snap.raw[24:] != body[8:] for snap, body in zip(found, wanted, strict=True))
    say(combined=combined, apart=apart, torn=torn)


def tenant(options: argparse.Namespace, twin: Any) -> None:
    """Read a slot under one market's name only, singly and in histories."""
    from cache.segment import ReaderSegment

    asked = Asked()
    board = ReaderSegment.attach(world.ROLE, namespace=options.namespace).board("storm")
    owner, tag = options.owner, world.TAG + options.owner
    own = other = foreign = rows = 0
    board.history(0, 1, tag)  # The first one imports numpy, which takes longer than some races.
    say(ready=True)
    until = time.monotonic() + options.seconds
    while not asked.to_end and time.monotonic() < until:
        found = board.read(0, tag)
        if isinstance(found, int):
            other += 1
        else:
            own += 1
            foreign += found.tag != tag or found.batch != owner or found.proof != owner
        history = board.history(0, options.cells - 2, tag)
        if not isinstance(history, int):
            rows += len(history)
            foreign += int((history["tag"] != tag).sum() + (history["batch"] != owner).sum())
    say(own=own, other=other, rows=rows, foreign=foreign)


def leave(options: argparse.Namespace, twin: Any) -> None:
    """Attach, read, and leave in the way asked for."""
    from cache.segment import ReaderSegment

    segment = ReaderSegment.attach(world.ROLE, namespace=options.namespace)
    found = segment.board("storm").read(0, world.TAG)
    say(version=found.version)
    if options.how == "exception":
        raise RuntimeError("as asked")
    if options.how == "close":
        segment.close()
    if options.how == "os._exit":
        os._exit(0)
    if options.how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def scribble(options: argparse.Namespace, twin: Any) -> None:
    """Write through the read-only mapping, past all that Python forbids."""
    import ctypes

    import numpy as np

    from cache.segment import ReaderSegment

    view, offset = ReaderSegment.attach(world.ROLE, namespace=options.namespace).bell_word
    address = np.frombuffer(view, np.uint8).ctypes.data
    say(ready=True)
    ctypes.memset(address + offset, 0xFF, 4)
    say(survived=True)


PARTS = (storm, pairs, reuse, hunt, combine, tenant, leave, scribble)


def main() -> None:
    world.die_with_parent()
    from tests.system import memory_bells, memory_caches, memory_crash, memory_gate

    others = [*memory_bells.PARTS, *memory_caches.PARTS, *memory_crash.PARTS, *memory_gate.PARTS]
    parts = {part.__name__: part for part in (*PARTS, *others)}
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=parts)
    parser.add_argument("--twin", choices=("pure", "core", "steps"), default="pure")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--record", default="pair_bbo")
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--pause-us", type=float, default=0)
    parser.add_argument("--modes", default="single,bulk,stream")
    parser.add_argument("--mutant", default="")
    parser.add_argument("--linger", type=int, default=0)
    parser.add_argument("--owner", type=int, default=1)
    parser.add_argument("--how", default="")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="pure")
    parser.add_argument("--watchers", type=int, default=1, help="of each implementation")
    options = parser.parse_args()
    parts[options.part](options, world.use_twin(options.twin))


if __name__ == "__main__":
    sys.exit(main())
