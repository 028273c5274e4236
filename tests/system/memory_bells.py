"""The parts of the bell suites: two that wake each other, and many that park."""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from typing import Any

import tests.system.memory_world as world
from tests.system.memory_actor import Asked, say

LOST_NS = 20_000_000_000
"""A wait that ends by itself after this long, with something to see, lost its wake."""


SOON_NS = 500_000_000


def make_bells(method: str, pairs: list[tuple[memoryview, int]]) -> Any:
    from cache.bells import SleepingBells
    from cache.core import core

    if method == "sleep":
        return SleepingBells(pairs)
    assert core is not None
    return core.BellSet(pairs, waitv=method == "futex_waitv")


def make_segment(options: argparse.Namespace, role: str) -> Any:
    from cache.layout import SAMPLE, BoardSpec
    from cache.segment import WriterSegment

    boards = (BoardSpec("samples", SAMPLE, 1, 8),)
    return WriterSegment.create(role, boards, namespace=options.namespace)


def attach(options: argparse.Namespace, role: str) -> Any:
    from cache.errors import SegmentMissing
    from cache.segment import ReaderSegment

    while True:
        try:
            return ReaderSegment.attach(role, namespace=options.namespace)
        except SegmentMissing:
            time.sleep(0.005)


def pingpong(options: argparse.Namespace, twin: Any) -> None:
    """Answer each record of the other side by one of one's own, parked in between.

    A third segment that never rings is waited on as well. `how` is "METHOD:SIDE". The mutant looks
    at the versions first and loads the bells afterwards; it ends with the first wake it loses.
    """
    method, side = options.how.split(":")
    mine, other = ("left", "right") if side == "left" else ("right", "left")
    segment = make_segment(options, f"bell.{mine}")
    board = segment.board("samples")
    inputs = [attach(options, f"bell.{other}"), attach(options, "bell.silent")]
    waiter = make_bells(method, [reader.bell_word for reader in inputs])
    theirs = inputs[0].board("samples")
    rolls = random.Random(options.seed)
    seen = lost = waits = 0
    say(ready=True)
    if side == "left":
        board.publish_tagged(0, 1, 0, (0,) * 9)
        segment.ring()
    limit_ns = SOON_NS if options.mutant else LOST_NS
    while seen < options.trials:
        if not options.mutant:
            waiter.load()
        version = theirs.version(0)
        if version == seen:
            waits += 1
            if options.mutant:
                for _ in range(rolls.randrange(400)):
                    pass
                waiter.load()
            if not waiter.wait(limit_ns):
                lost += theirs.version(0) != seen
                if options.mutant:
                    break  # Either side's loss stops both.
            continue
        seen = version
        for _ in range(rolls.randrange(40)):  # Move the moment of the ring about.
            pass
        board.publish_tagged(0, 1, 0, (0,) * 9)
        segment.ring()
    say(seen=seen, lost=lost, waits=waits, method=waiter.method)


def silent(options: argparse.Namespace, twin: Any) -> None:
    """A segment whose bell nobody rings."""
    asked = Asked()
    segment = make_segment(options, "bell.silent")
    say(ready=True)
    while not asked.to_end:
        time.sleep(0.01)
    segment.close()
    say(ended=True)


def park(options: argparse.Namespace, twin: Any) -> None:
    """Fork `trials` readers that park on one bell; each reports when it saw the last version."""
    segment = attach(options, "bell.left")
    board = segment.board("samples")
    children = []
    for _ in range(options.trials):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if not pid:
            _park_one(options, segment, board, write_end)
        os.close(write_end)
        children.append((pid, read_end))
    say(ready=True)
    reports = []
    for pid, read_end in children:
        reports.append([int(word) for word in os.read(read_end, 4096).split()])
        os.waitpid(pid, 0)
    say(
        lost=sum(report[0] for report in reports),
        wakes=sum(report[1] for report in reports),
        saw_last=sum(report[2] for report in reports),
    )


def _park_one(options: argparse.Namespace, segment: Any, board: Any, pipe: int) -> None:
    lost = wakes = version = 0
    try:
        world.die_with_parent()
        waiter = make_bells(options.how, [segment.bell_word])
        while version < options.cells:
            waiter.load()
            now = board.version(0)
            if now == version:
                wakes += 1
                lost += not waiter.wait(LOST_NS) and board.version(0) != version
            version = now
        os.write(pipe, f"{lost} {wakes} 1".encode())
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def toll(options: argparse.Namespace, twin: Any) -> None:
    """Publish and ring `cells` times, with pauses, once somebody says to begin."""
    segment = make_segment(options, "bell.left")
    board = segment.board("samples")
    asked = Asked()
    say(ready=True)
    while not asked.to_end:
        time.sleep(0.002)
    for _ in range(options.cells):
        board.publish_tagged(0, 1, 0, (0,) * 9)
        segment.ring()
        time.sleep(options.pause_us / 1e6)
    say(rung=options.cells)


def refused(options: argparse.Namespace, twin: Any) -> None:
    """Find out how to wait where a container's profile answers futex_waitv with error `trials`."""
    import ctypes
    import importlib.util
    import mmap
    import struct

    deny = (0x00050000 | options.trials, 0x7FFF0000)  # SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
    lines = ((0x20, 0, 0, 0), (0x15, 0, 1, 449), (0x06, 0, 0, deny[0]), (0x06, 0, 0, deny[1]))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("<H6xQ", len(lines), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    no_new_privileges, set_seccomp = 38, 22
    if prctl(no_new_privileges, 1, 0, 0, 0) or prctl(set_seccomp, 2, program, 0, 0):
        say(skip=f"seccomp: {os.strerror(ctypes.get_errno())}")
        return
    spec = importlib.util.spec_from_file_location("_board", twin.__file__)  # It probes once.
    assert spec is not None
    assert spec.loader is not None
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    memory = memoryview(mmap.mmap(-1, 4096))
    waiter = core.BellSet([(memory, 0), (memory, 64)])
    waiter.load()
    timed_out = not waiter.wait(5_000_000)
    core.ring(memory, 64)
    say(method=waiter.method, timed_out=timed_out, rang=waiter.wait(LOST_NS))


PARTS = (pingpong, silent, park, toll, refused)
