"""The crash suite's controller: writers are killed by the hundred while readers go on.

One process imports everything once and forks each writer from itself (it owns no segment and never
writes one). A writer is killed either at a chosen step of publishing or at a random instant of its
life, creation and adoption included. After each death the controller reads what memory shows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
from typing import Any

import tests.system.memory_world as world
from tests.system.memory_actor import Asked, create, say

BURST_MAX = 12
STEPS_BEHIND_VERSION = 1


class SteppedVersions:
    """A version word that counts a step after each store."""

    def __init__(self, versions: memoryview, steps: Steps) -> None:
        self.versions, self.steps = versions, steps

    def __getitem__(self, slot: int) -> int:
        return self.versions[slot]

    def __setitem__(self, slot: int, version: int) -> None:
        self.steps.one()
        self.versions[slot] = version
        self.steps.one()


class Steps:
    """Kills this process at the n-th step from when it was armed."""

    def __init__(self) -> None:
        self.left = 0

    def one(self) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

    def pack_into(self, record: Any) -> Any:
        """`struct.pack_into` as it is: it clears the cell, then fills field after field."""
        pack = record.struct.pack
        tail = (b"",) if record.fields[-1].name == "reserved" else ()

        def stepped(memory: memoryview, at: int, *values: Any) -> None:
            whole = pack(*values, *tail)
            self.one()
            memory[at : at + record.size] = bytes(record.size)
            for field in record.fields:
                self.one()
                place = record.offsets[field.name]
                memory[at + place : at + place + field.size] = whole[place : place + field.size]

        return stepped


def arm(twin: Any, board: Any, step: int) -> None:
    """Die at the given step of the next publish."""
    if hasattr(twin, "kill_at"):
        twin.kill_at(step)
        return
    steps = Steps()
    board._pack_into = steps.pack_into(board.record)
    board._versions = SteppedVersions(board._versions, steps)
    steps.left = step


def step_count(twin: Any, record: Any) -> int:
    """Steps of one publish, the last of them behind the version."""
    if hasattr(twin, "kill_at"):
        return record.size // 8 + 2
    return 1 + len(record.fields) + 2


def write_and_die(options: argparse.Namespace, twin: Any, burst: int, step: int) -> None:
    """The writer's whole life: adopt, publish `burst` records, then die at `step` of the next."""
    segment = create(options)
    board = segment.board("storm")
    version = board.version(0)
    stop = version + burst if step else 1 << 60
    while version < stop:
        version += 1
        board.publish_tagged(0, world.TAG, version & 0xFFFFFFFF, PAYLOAD.of(version))
        if not version & 1023:
            segment.heartbeat(time.monotonic_ns())
    arm(twin, board, step)
    version += 1
    board.publish_tagged(0, world.TAG, version & 0xFFFFFFFF, PAYLOAD.of(version))


PAYLOAD: world.Payload


def write_and_leave(options: argparse.Namespace, burst: int) -> None:
    """A writer's life that ends well."""
    segment = create(options)
    board = segment.board("storm")
    for version in range(board.version(0) + 1, board.version(0) + 1 + burst):
        board.publish_tagged(0, world.TAG, version & 0xFFFFFFFF, PAYLOAD.of(version))
    segment.close()
    os._exit(0)


def fork(play: Any, *args: Any) -> int:
    """Play a part in a child that never comes back."""
    pid = os.fork()
    if pid:
        return pid
    try:
        world.die_with_parent()
        play(*args)
    finally:
        os._exit(99)


def watch(options: argparse.Namespace, twin: Any, pipe: int) -> None:
    """A reader that reads all the time, whatever happens to the writer."""
    from cache.segment import ReaderSegment

    asked = Asked()
    segment = ReaderSegment.attach(world.ROLE, namespace=options.namespace)
    board = twin.Reader(segment.bell_word[0], segment.places()["storm"])
    facts = dict.fromkeys(("reads", "torn", "backward", "misses"), 0)
    newest = incarnation = 0
    while not asked.to_end:
        time.sleep(0.0002)  # Leaves the processors to those who die.
        for _ in range(256):
            found = board.read(0, world.TAG)
            if isinstance(found, int):
                facts["misses"] += 1
                continue
            facts["reads"] += 1
            facts["torn"] += not PAYLOAD.is_whole(found.raw, found.version)
            facts["backward"] += found.version < newest or found.incarnation < incarnation
            newest, incarnation = found.version, found.incarnation
    facts |= {"retries": board.retry_count, "busy": board.busy_count, "newest": newest}
    os.write(pipe, json.dumps(facts).encode())
    os._exit(0)


class Controller:
    """Runs the trials and holds what each must leave behind."""

    def __init__(self, options: argparse.Namespace, twin: Any) -> None:
        from cache.segment import ReaderSegment

        self.options, self.twin = options, twin
        self.random = random.Random(options.seed)
        self._first()
        self.segment = ReaderSegment.attach(world.ROLE, namespace=options.namespace)
        self.board = self.segment.board("storm")
        self.steps = step_count(twin, self.board.record)
        self.faults: list[str] = []
        self.restarts = 0

    def _first(self) -> None:
        """Have the segment made, with one record in it."""
        assert self._bury(fork(write_and_die, self.options, self.twin, 1, 1)) == -signal.SIGKILL

    @staticmethod
    def _bury(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def at_step(self, step: int) -> None:
        """Kill at a step; what is readable then is known to the record."""
        before, incarnation = self.board.version(0), self.segment.incarnation
        burst = self.random.randrange(BURST_MAX)
        pid = fork(write_and_die, self.options, self.twin, burst, step)
        status = self._bury(pid)
        stored = step > self.steps - STEPS_BEHIND_VERSION
        self._expect(status == -signal.SIGKILL, f"step {step}: exit {status}")
        self._expect(self.segment.incarnation == incarnation + 1, f"step {step}: not adopted")
        self._judge(f"step {step}", before + burst + stored)

    def at_leisure(self) -> None:
        """Let a writer end by itself."""
        before, incarnation = self.board.version(0), self.segment.incarnation
        burst = self.random.randrange(BURST_MAX)
        self._expect(self._bury(fork(write_and_leave, self.options, burst)) == 0, "no clean end")
        self._expect(self.segment.incarnation == incarnation + 1, "not adopted")
        self._judge("clean end", before + burst)

    def at_random(self) -> None:
        """Kill at a random instant, sometimes while the segment is being adopted."""
        before = self.board.version(0)
        pid = fork(write_and_die, self.options, self.twin, 0, 0)
        if self.random.random() < 0.7:  # Let this one get as far as publishing.
            world.wait_for(lambda: self.board.version(0) > before)
        time.sleep(self.random.expovariate(1 / 0.002))
        os.kill(pid, signal.SIGKILL)
        self._bury(pid)
        self._expect(self.board.version(0) >= before, "the version went back")
        self._judge("random", self.board.version(0))

    def _judge(self, when: str, version: int) -> None:
        """The last whole record is readable, and the writer is known to be dead."""
        from cache.liveness import STALE_NS, Liveness

        self.restarts += 1
        found = self.board.read(0, world.TAG)
        if isinstance(found, int):
            self._expect(False, f"{when}: {found!r}")
            return
        self._expect(found.version == version, f"{when}: v{found.version}, wanted v{version}")
        self._expect(PAYLOAD.is_whole(found.raw, found.version), f"{when}: {found.raw.hex()}")
        self._expect(self.segment.is_current(), f"{when}: not current")
        late = self.segment.heartbeat_ns + STALE_NS + 1
        said = self.segment.liveness(late)
        self._expect(said == Liveness.WRITER_DEAD, f"{when}: {said!r} when stale")

    def _expect(self, holds: bool, fault: str) -> None:
        if not holds and len(self.faults) < 20:
            self.faults.append(fault)


def crash(options: argparse.Namespace, twin: Any) -> None:
    """Kill `trials` writers, half at each step in turn and half at random instants."""
    global PAYLOAD  # One for the controller and all it forks.
    from cache import board, pure_board
    from cache.core import find
    from cache.layout import RECORD_BY_NAME

    PAYLOAD = world.Payload(RECORD_BY_NAME[options.record])
    controller = Controller(options, twin)
    watchers = []
    modules = [module for module in (pure_board, find("")[0]) if module is not None]
    for module in modules * options.watchers:
        read_end, write_end = os.pipe()
        board.make_twin(module)
        watchers.append((fork(watch, options, module, write_end), read_end))
    for trial in range(options.trials):
        if trial % 2:
            controller.at_leisure() if options.how == "leisure" else controller.at_random()
        else:
            controller.at_step(trial // 2 % controller.steps + 1)
    reports = []
    for pid, read_end in watchers:
        os.kill(pid, signal.SIGTERM)
        reports.append(json.loads(os.read(read_end, 65536)))
        controller._bury(pid)
    say(
        restarts=controller.restarts,
        incarnation=controller.segment.incarnation,
        version=controller.board.version(0),
        faults=controller.faults,
        readers=reports,
        steps=controller.steps,
    )


PARTS = (crash,)
