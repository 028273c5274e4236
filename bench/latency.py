"""Publish in one process, seen or awake in another: ours, and the peers in the same run.

The time travels in the record: the sender reads CLOCK_MONOTONIC just before it publishes, the
receiver just after it has the whole record in hand. `python -m bench.latency PART` is the part of
one process; peers run in `bench/peers/latency_worker.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import uuid
from statistics import median

from bench.peers import environment
from bench.row import Row
from cache.bells import make_waiter, method
from cache.board import Miss
from cache.layout import PAIR_BBO, BoardSpec
from cache.segment import ReaderSegment, WriterSegment, remove

BOARDS = (BoardSpec("top", PAIR_BBO, 4, 8),)
ROLE = "feed.bench"
TAG = 1
SPIN_COUNT, SPIN_GAP_NS = 20_000, 30_000
PARK_COUNT, PARK_GAP_S = 3_000, 0.0007
IDLE_S = 3.0
SETTLE_S = 1.0
"""Imports are over then, and numpy's threads have stopped looking for work."""
PARKED = (
    ("park", "where the kernel puts it", "<= 10"),
    ("together", "on the sender's core", ""),
    ("apart", "on another core, idle", ""),
)
PEERS = {"pipe": "pipe", "zeromq": "ZeroMQ", "iceoryx2": "iceoryx2 (Python)"}
AT = PAIR_BBO.value_names.index("publish_ns")


def pin(cpu: int) -> None:
    """Sender and receiver on processors of their own, where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})


# --- the other process ------------------------------------------------------------------------


def apart(namespace: str) -> list[int]:
    """`park`, on a processor of its own: it has to be woken from its idle state first."""
    pin(1)
    return park(namespace)


def together(namespace: str) -> list[int]:
    """`park`, on the sender's processor."""
    pin(0)
    return park(namespace)


def park(namespace: str) -> list[int]:
    """Take the age of each record when it is in hand, parked on the bell in between."""
    segment = ReaderSegment.attach(ROLE, namespace=namespace)
    board, waiter = segment.board("top"), make_waiter([segment])
    print("ready", flush=True)
    ages: list[int] = []
    seen = 0
    while seen < PARK_COUNT:
        waiter.load()
        if board.version(0) == seen:
            waiter.wait(1_000_000_000)
            continue
        found = board.read(0, TAG)
        now = time.monotonic_ns()
        if not isinstance(found, Miss):
            ages.append(now - found.publish_ns)
            seen = found.version
    return ages


def spin(namespace: str) -> list[int]:
    """Take the age of each record when it is in hand, looking all the time."""
    pin(1)
    board = ReaderSegment.attach(ROLE, namespace=namespace).board("top")
    print("ready", flush=True)
    ages: list[int] = []
    seen = 0
    version, read, clock = board.version, board.read, time.monotonic_ns
    while seen < SPIN_COUNT:
        while version(0) == seen:
            pass
        found = read(0, TAG)
        now = clock()
        if not isinstance(found, Miss):
            ages.append(now - found.publish_ns)
            seen = found.version
    return ages


def idle(namespace: str) -> list[int]:
    """Park on a bell nobody rings; give the processor time used, in us a second."""
    waiter = make_waiter([ReaderSegment.attach(ROLE, namespace=namespace)])
    print("ready", flush=True)
    time.sleep(SETTLE_S)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    while time.monotonic() - begun < IDLE_S:
        waiter.load()
        waiter.wait(100_000_000)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [round(used / IDLE_S * 1e6)]


# --- this one ---------------------------------------------------------------------------------


def measure(part: str) -> list[int]:
    """Play the sender while another process plays `part`; give what that one measured."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    segment = WriterSegment.create(ROLE, BOARDS, namespace=namespace)
    allowed = os.sched_getaffinity(0)
    command = [sys.executable, "-m", "bench.latency", part, "--namespace", namespace]
    process = subprocess.Popen(command, cwd=environment.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), f"the receiver ended with {process.wait()}"
        time.sleep(SETTLE_S)
        if part in ("spin", "apart", "together"):
            pin(0)
        if part != "idle":
            _send(segment, part)
        found: list[int] = json.loads(process.stdout.readline())
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.sched_setaffinity(0, allowed)
        segment.close()
        remove(ROLE, namespace=namespace)
    return found


def _send(segment: WriterSegment, part: str) -> None:
    board, clock = segment.board("top"), time.monotonic_ns
    head, tail = (0,) * AT, (0,) * (len(PAIR_BBO.value_names) - AT - 1)
    for _ in range(SPIN_COUNT if part == "spin" else PARK_COUNT):
        if part == "spin":
            until = clock() + SPIN_GAP_NS
            while clock() < until:
                pass
        else:
            time.sleep(PARK_GAP_S)
        board.publish_tagged(0, TAG, 0, (*head, clock(), *tail))
        if part != "spin":
            segment.ring()


def percentiles(ages: list[int]) -> tuple[float, str]:
    """The median in us, and the tail as text."""
    ages = sorted(ages)
    tail = {name: ages[int(len(ages) * point)] for name, point in (("p99", 0.99), ("p99.9", 0.999))}
    text = ", ".join(f"{name} {value / 1e3:.1f}" for name, value in tail.items())
    return median(ages) / 1e3, f"{text} us of {len(ages):,}"


def peer_row(kind: str) -> Row:
    """One peer, sender and receiver in an interpreter of the peers' environment."""
    name = f"sent -> received in another process, {PEERS[kind]}"
    python = environment.PYTHON if environment.is_installed() else sys.executable
    if kind != "pipe" and not environment.is_installed():
        return Row(name, None, "us", "peer", environment.HINT)
    script = environment.ROOT / "bench" / "peers" / "latency_worker.py"
    command = [python, script, kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as fault:
        return Row(name, None, "us", "peer", f"not measured: {fault}")
    value, text = percentiles(json.loads(done.stdout))
    return Row(name, value, "us", "peer", text)


def ring_row() -> Row:
    """A bell rung with nobody waiting."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    segment = WriterSegment.create(ROLE, BOARDS, namespace=namespace)
    best = float("inf")
    for _ in range(100):
        begun = time.perf_counter_ns()
        for _ in range(1_000):
            segment.ring()
        best = min(best, (time.perf_counter_ns() - begun) / 1_000)
    segment.close()
    remove(ROLE, namespace=namespace)
    return Row("ring, nobody waiting", best, "ns", "")


def rows() -> list[Row]:
    """Measure ours, spinning and parked, and each peer."""
    found = [ring_row()]
    value, text = percentiles(measure("spin"))
    found.append(Row("published -> seen in another process, spinning", value, "us", "<= 1", text))
    found += [peer_row(kind) for kind in PEERS]
    for part, where, target in PARKED:
        value, text = percentiles(measure(part))
        name = f"published -> awake in a parked process, {where}"
        found.append(Row(name, value, "us", target, f"{method()}; {text}"))
    used = measure("idle")[0] / 1e4
    found.append(Row("processor time of a parked process", used, "%", "<= 0.5", method()))
    return found


def main() -> int:
    """Play one part and report what was measured."""
    parts = {"spin": spin, "park": park, "apart": apart, "together": together, "idle": idle}
    parser = argparse.ArgumentParser(prog="python -m bench.latency")
    parser.add_argument("part", choices=parts)
    parser.add_argument("--namespace", required=True)
    given = parser.parse_args()
    print(json.dumps(parts[given.part](given.namespace)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
