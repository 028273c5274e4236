"""The whole pipeline on the simulated venue: recovery after kills, wire to wire, memory, CPU.

Everything is read from the segments of a real `penstock up` (`bench/stack.py`). Recovery is the
time from SIGKILL to the first quote that *rests on data of the new process* (its book or reference
has a later version than the last one of the dead process), not to any quote that happens to stand.

Wire to order is, of each decision that sent something, the time from the bytes of the newest input
that came since the run before (`cause_ns` of the target quotes) to the order or cancel that the
executor sends first on those quotes. Quotes that are renewed, or changed by time or by our own
position alone, have no cause and are left out; so is an order that had to wait at the venue for the
cancel of another one: it would tell of the venue. The executor measures it (`wire_to_order_ns`).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from bench.row import Row
from bench.stack import BOUND_S, PATIENT, Stack, cpu_s, rss_mib
from cache.board import Miss
from cache.counters import Histogram, bucket_floor
from cache.layout import OrderState, Reason

STRATEGY, EXECUTOR = "strategy.maker", "executor.paper"
FEEDS = {
    "feed.polymarket.0": ("pair_bbo", "book_version"),
    "feed.binance.0": ("bbo", "reference_version"),
}
BELL = {"PENSTOCK_STRATEGY_TRIGGER": "bell"}
QUOTING = int(Reason.QUOTING)
QUIET_S = 2.0
LOOK_S = 0.02
HISTOGRAMS = (
    ("feed.polymarket.0", Histogram.wire_to_slot_ns),
    ("feed.binance.0", Histogram.wire_to_slot_ns),
    (STRATEGY, Histogram.loop_turn_ns),
    (STRATEGY, Histogram.slot_to_quote_ns),
    (EXECUTOR, Histogram.quote_to_order_ns),
    (EXECUTOR, Histogram.wire_to_order_ns),
)


# --- recovery ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recovery:
    """Milliseconds from a kill to each step back.

    `up`: the new process has claimed its segment, interpreter and imports are behind it. `live`:
    its first record without a flag (a feed), its first quote or order. `quoting`: a quote rests on
    that record; of the executor, an order rests at the venue (with the paper venue's latency).
    """

    up: float
    live: float
    quoting: float


@dataclass(frozen=True, slots=True)
class Killed:
    """What is known of a process that was killed."""

    role: str
    incarnation: int
    at_ns: int
    versions: dict[int, int]
    """Of a feed, the last version of each record, by tag."""


def kill(stack: Stack, role: str) -> Recovery:
    """Kill one process of a pipeline that quotes, and wait until it quotes again."""
    stack.wait_quoting()
    time.sleep(QUIET_S + random.random())
    stack.wait_quoting()
    segment = stack.segment(role)
    assert segment is not None
    old, pid = segment.incarnation, segment.pid
    at_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.002)  # until it no longer runs on another core
    versions = {}
    if role in FEEDS:
        versions = {r.tag: r.version for r in stack.board(role, FEEDS[role][0])}
    killed = Killed(role, old, at_ns, versions)
    seen: dict[str, int] = {}

    def look() -> bool:
        now_ns = time.monotonic_ns()
        current = stack.segment(role)
        if current is not None and current.incarnation > old:
            for step in ("up", *_steps(stack, killed)):
                seen.setdefault(step, now_ns)
        return "quoting" in seen

    stack.wait(look, timeout_s=30, every_s=0.001)
    up, live, quoting = ((seen[step] - at_ns) / 1e6 for step in ("up", "live", "quoting"))
    return Recovery(up, live, quoting)


def _steps(stack: Stack, killed: Killed) -> list[str]:
    """Which steps the new process has made by now."""
    if killed.role == STRATEGY:
        is_back = any(wish.incarnation > killed.incarnation for wish in stack.quotes())
        return ["live", "quoting"] if is_back else []
    if killed.role == EXECUTOR:
        states = [
            order.state
            for order in stack.board(EXECUTOR, "orders")
            if order.incarnation > killed.incarnation and order.created_ns > killed.at_ns
        ]
        return ["live", "quoting"][: 2 if OrderState.WORKING in states else min(len(states), 1)]
    name, field = FEEDS[killed.role]
    last = killed.versions
    records = stack.board(killed.role, name)
    steps = ["live"] if any(r.version > last.get(r.tag, 0) and not r.flags for r in records) else []
    for wish in stack.quotes():
        version = last.get(wish.tag, 0) if name == "pair_bbo" else max(last.values(), default=0)
        if getattr(wish, field) > version:
            return ["live", "quoting"]
    return steps


def recoveries(*, repeat: int) -> list[Row]:
    """Kill each process in turn, `repeat` rounds of all."""
    found: dict[str, list[Recovery]] = {role: [] for role in (*FEEDS, STRATEGY, EXECUTOR)}
    with Stack("--plain", **PATIENT) as stack:
        for _ in range(repeat):
            for role, results in found.items():
                results.append(kill(stack, role))
    rows = []
    for role, results in found.items():
        quoting = [one.quoting for one in results]
        up, live = (median(getattr(one, step) for one in results) for step in ("up", "live"))
        beside = f"p50 up {up:.0f}, live {live:.0f}; n={len(results)}"
        name = f"kill -9 {role} -> quoting again"
        rows.append(Row(f"{name}, p50", median(quoting), "ms", "<= 1000", beside))
        rows.append(Row(f"{name}, max", max(quoting), "ms", "<= 1000"))
    return rows


# --- wire to wire -----------------------------------------------------------------------------


class QuoteWatch:
    """Follows the quotes through memory and gives the way from the wire of each with a cause."""

    def __init__(self, stack: Stack) -> None:
        self.ways_ns: list[int] = []
        self._stack = stack
        self._seen: dict[int, int] = {}

    def look(self) -> None:
        """Take what came since the last look; a ring of 8 holds several looks."""
        segment = self._stack.segment(STRATEGY)
        if segment is None:
            return
        board = segment.board("quotes")
        for slot in range(board.slot_count):
            newest = board.version(slot)
            oldest = max(self._seen.get(slot, newest), newest - board.cell_count + 3)
            for version in range(oldest + 1, newest + 1):
                quote: Any = board.read_version(slot, version)
                if not isinstance(quote, Miss) and quote.cause_ns and quote.reason == QUOTING:
                    self.ways_ns.append(quote.publish_ns - quote.cause_ns)
            self._seen[slot] = newest


def _buckets(stack: Stack) -> list[Any]:
    held = [(stack.segment(role), histogram) for role, histogram in HISTOGRAMS]
    return [segment.counters.buckets(histogram) for segment, histogram in held if segment]


def _percentile(buckets: Any, point: float) -> float | None:
    """The upper edge of the bucket it lies in, in us: at most that long."""
    totals = np.cumsum(buckets)
    if not totals[-1]:
        return None
    return bucket_floor(int(np.searchsorted(totals, max(1, point * int(totals[-1])))) + 1) / 1e3


def wire_to_wire(*, seconds: float = 150.0, trigger: str = "bell") -> list[Row]:
    """Run the live model without hysteresis, and take the way from wire to order, and its stages.

    Without hysteresis quotes move more often, so there is more to measure.
    """
    settings = {"PENSTOCK_STRATEGY_TRIGGER": trigger, "PENSTOCK_STRATEGY_HYSTERESIS_TICKS": "0"}
    with Stack("--plain", **settings) as stack:
        stack.wait_quoting(room_s=15)
        time.sleep(QUIET_S)
        watch, before, end = QuoteWatch(stack), _buckets(stack), time.monotonic() + seconds
        while time.monotonic() < end:
            watch.look()
            time.sleep(LOOK_S)
        stages = [new - old for new, old in zip(_buckets(stack), before, strict=True)]
    way = stages[HISTOGRAMS.index((EXECUTOR, Histogram.wire_to_order_ns))]
    orders = stages[HISTOGRAMS.index((EXECUTOR, Histogram.quote_to_order_ns))]
    rows = []
    for point, limit in ((50, 500), (99, 3000)):
        target = f"<= {limit}" if trigger == "bell" else ""
        quote, order = _way(watch.ways_ns, point), _percentile(orders, point / 100)
        total = f"{quote + order:,.0f}" if quote is not None and order is not None else "none"
        beside = f"n={int(way.sum())}; the two stages' percentiles added: {total}"
        name = f"wire -> order, each decision that sent, trigger={trigger}, p{point}"
        rows.append(Row(name, _percentile(way, point / 100), "us", target, beside))
    p50, p99 = _way(watch.ways_ns, 50), _way(watch.ways_ns, 99)
    beside = f"p99 {p99 or 0:,.0f}; n={len(watch.ways_ns)}"
    rows.append(Row(f"wire -> quote with a cause, trigger={trigger}, p50", p50, "us", "", beside))
    for (role, histogram), buckets in zip(HISTOGRAMS, stages, strict=True):
        p50, p99 = _percentile(buckets, 0.5), _percentile(buckets, 0.99)
        beside = f"p99 {p99:,.0f}; n={int(buckets.sum())}" if p99 is not None else "none recorded"
        name = f"{role} {histogram.name}, trigger={trigger}, p50"
        rows.append(Row(name, p50, "us", "", beside))
    return rows


def _way(ways_ns: list[int], point: int) -> float | None:
    return float(np.percentile(ways_ns, point)) / 1e3 if ways_ns else None


# --- memory and CPU ---------------------------------------------------------------------------


def footprint(*, minutes: float) -> list[Row]:
    """Let the live model run, and say what each process then holds and used."""
    with Stack("--plain", "--duration", str(minutes * 60 + BOUND_S)) as stack:
        stack.wait(stack.quotes, every_s=0.1)
        time.sleep(QUIET_S)
        pids = stack.pids() | {"supervisor": _pid(stack, "supervisor")}
        first = {role: rss_mib(pid)[1] for role, pid in pids.items()}
        used = _cpu_ratios(pids, minutes * 60)
        rows = []
        for role, pid in pids.items():
            total, own = rss_mib(pid)
            beside = f"own pages {own:.1f}, {own - first[role]:+.1f} since quoting began"
            rows.append(Row(f"{role} RSS after {minutes:g} min", total, "MiB", "flat", beside))
    for role, ratio in used.items():
        rows.append(Row(f"{role} CPU, live model", ratio, "% of a core", "", "trigger=rate, 20 Hz"))
    return rows


def _pid(stack: Stack, role: str) -> int:
    segment = stack.segment(role)
    assert segment is not None
    return segment.pid


def _cpu_ratios(pids: dict[str, int], seconds: float) -> dict[str, float]:
    began, before = time.monotonic(), {role: cpu_s(pid) for role, pid in pids.items()}
    time.sleep(seconds)
    took = time.monotonic() - began
    return {role: 100 * (cpu_s(pid) - before[role]) / took for role, pid in pids.items()}


def parked(*, seconds: float = 60.0) -> list[Row]:
    """Stop the venue's voice (SIGSTOP of the sim) and say what each parked process still uses."""
    with Stack("--plain", **BELL, PENSTOCK_SUPERVISOR_HANG_KILL_S="600") as stack:
        stack.wait(stack.quotes, every_s=0.1)
        sim = _pid(stack, "sim")
        os.kill(sim, signal.SIGSTOP)
        try:
            time.sleep(QUIET_S)
            pids = {role: pid for role, pid in stack.pids().items() if role != "sim"}
            used = _cpu_ratios(pids | {"supervisor": _pid(stack, "supervisor")}, seconds)
        finally:
            os.kill(sim, signal.SIGCONT)
    return [
        Row(f"{role} CPU, parked, silent venue", ratio, "% of a core", "<= 0.5")
        for role, ratio in used.items()
    ]


def rows(*, minutes: float = 3.0, repeat: int, only: Iterable[str] = ()) -> list[Row]:
    """Measure everything here; `only` names parts: kill, wire, parked, footprint; or rate.

    Parked processes hardly disturb anybody: they are measured beside the footprint.
    """
    wanted = set(only) or {"kill", "wire", "parked", "footprint"}
    found: list[Row] = []
    if "kill" in wanted:
        found += recoveries(repeat=repeat)
    if "wire" in wanted:
        found += wire_to_wire()
    if "rate" in wanted:
        found += wire_to_wire(trigger="rate")
    with ThreadPoolExecutor() as beside:
        silent = beside.submit(parked) if "parked" in wanted else None
        if "footprint" in wanted:
            found += footprint(minutes=minutes)
        if silent is not None:
            found += silent.result()
    return found
