"""Messages a second from socket to board: a real feed process against the simulated venue.

The venue (`python -m sim`, a process of its own) replays recordings as fast as they are read; the
feed (`python -m feeds`) is as shipped: discovery, session, books, boards. The venue has time to
read ahead, so that it sends from memory; what is timed is the middle of what it had read. What the
feed took is read from its counters. Where the venue is the slower of the two, frames for each
second of the feed's own CPU say what the feed could have taken; both are given.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import frames
from bench.row import Row
from bench.stack import ROOT, free_port
from cache.counters import Counter, CounterReader
from cache.errors import SegmentError
from cache.segment import ReaderSegment, remove, roles

BINANCE_FILES = ("binance/spot_btcusdt_20240809.gz",)
POLYMARKET_GLOB = "polymarket/derived/btc-updown-5m-17763[23]*.price_change.jsonl.gz"
READ_AHEAD_S = 4.0
READ_AHEAD_COUNT = 16_000
REPEAT = 5
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Flow:
    """What a feed took: frames and published records a second, and its share of a core."""

    frames: float
    published: float
    cpu_ratio: float


def _spawn(stack: ExitStack, environ: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ | environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _attach(role: str, namespace: str) -> ReaderSegment:
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        try:
            return ReaderSegment.attach(role, namespace=namespace)
        except SegmentError:
            time.sleep(0.02)
    raise TimeoutError(f"{role} did not come up in {PATIENCE_S} s")


def _clean(namespace: str) -> None:
    for role in roles(namespace):
        remove(role, namespace=namespace)


def measure(venue: str, paths: list[Path], **settings: str) -> Flow:
    """Let one feed read one venue's recordings as fast as it can, and look at the middle of it."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    environ = {"PENSTOCK_HOST_NAMESPACE": namespace, "PENSTOCK_SIM_PORT": str(free_port())}
    environ |= {"PENSTOCK_HOST_LOG_LEVEL": "error"} | settings
    with ExitStack() as stack:
        stack.callback(_clean, namespace)
        files = [str(path) for path in paths]
        _spawn(stack, environ, "sim", "--replay", *files, "--speed", "max")
        _attach("sim", namespace)
        time.sleep(READ_AHEAD_S)
        feed = _spawn(stack, environ, "feeds", venue)
        counters = _attach(f"feed.{venue}.0", namespace).counters
        samples = _watch(feed.pid, counters)
    first = next(s for s in samples if s[1] > READ_AHEAD_COUNT * 0.1)
    last = next(s for s in samples if s[1] > READ_AHEAD_COUNT * 0.9)
    took, got, published, busy = (b - a for a, b in zip(first, last, strict=True))
    return Flow(got / took * 1e9, published / took * 1e9, busy / took)


def _watch(pid: int, counters: CounterReader) -> list[tuple[int, int, int, int]]:
    """Sample (clock, frames, published, CPU ns) until enough frames came."""
    samples: list[tuple[int, int, int, int]] = []
    limit = time.monotonic() + PATIENCE_S
    while not samples or samples[-1][1] < READ_AHEAD_COUNT:
        if time.monotonic() > limit:
            raise TimeoutError(f"too few frames came: {counters.all()}")
        counts = counters[Counter.feeds_frames_received], counters[Counter.feeds_bbo_published]
        busy_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        samples.append((time.monotonic_ns(), *counts, busy_ns))
        time.sleep(0.002)
    return samples


def rows() -> list[Row]:
    """Measure both venues, each several times; the median of each."""
    folder = frames.recordings()
    names = {"polymarket": "Polymarket socket -> board", "binance": "Binance socket -> board"}
    if folder is None:
        hint = "not measured: PENSTOCK_RECORDINGS names no folder of recordings"
        return [Row(name, None, "frames/s", "", hint) for name in names.values()]
    markets = sorted(folder.glob(POLYMARKET_GLOB))
    tokens = [frames.recorded(path, "").tokens[0] for path in markets]
    listed = "[" + ", ".join(f'"{token}"' for token in tokens) + "]"
    own = {
        "PENSTOCK_FEEDS_POLYMARKET_FAMILIES": "[]",
        "PENSTOCK_FEEDS_POLYMARKET_TOKENS": listed,
    }
    sources = {
        "polymarket": (markets, own),
        "binance": ([folder / name for name in BINANCE_FILES], {}),
    }
    found = []
    for venue, (paths, settings) in sources.items():
        flows = [measure(venue, paths, **settings) for _ in range(REPEAT)]
        rate = median(flow.frames for flow in flows)
        busy = median(flow.cpu_ratio for flow in flows)
        able = median(flow.frames / flow.cpu_ratio for flow in flows)
        published = median(flow.published for flow in flows)
        beside = f"published {published:,.0f}/s; feed busy {busy:.0%} of a core"
        found.append(Row(names[venue], rate, "frames/s", "", beside))
        found.append(Row(f"{names[venue]}, per CPU second of the feed", able, "frames", ""))
    return found
