"""What boards and gate cost: read, publish, poll, changed, gated; between processes: seen, awake.

Each figure is the least of many rounds, an empty loop taken off: other work on the machine only
ever adds. Both twins are measured in this process, on shared memory of the kind segments have.
Between processes `bench/latency.py` measures; peers stand beside ours, in the same run.
"""

from __future__ import annotations

import gc
import mmap
import time
import uuid
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from bench import latency
from bench.row import Row
from cache import board, gate, pure_board
from cache.bn_cache import BNCache, BNCacheWriter, bn_boards
from cache.core import find
from cache.layout import BBO, FEATURES, PAIR_BBO, BoardSpec, Known, Record, place_boards, tag_of
from cache.liveness import Liveness
from cache.pm_cache import PMCache, PMCacheWriter, pm_boards
from cache.segment import WriterSegment

LOOPS, ROUNDS = 5_000, 160
TAG = tag_of("bench", "market")
FIELDS = {
    "pair_bbo": ("yes_bid_px_e9", "yes_ask_px_e9", "flags", "recv_ns"),
    "bbo": ("bid_px_e9", "ask_px_e9", "flags", "recv_ns"),
}
# Of the C core; in brackets of the pure-Python twin.
TARGETS = {
    "read": ("<= 50", "<= 450"),
    "read and 4 fields": ("<= 140", ""),
    "gated read": ("<= 100", ""),
    "gated read and 4 fields": ("<= 140", ""),
    "publish": ("<= 200", "<= 650"),
    "poll": ("<= 30", ""),
}
SCANS = {8_192: "<= 8", 10_000: "<= 10"}
CHANGED, SPREAD = 100, 79
"""So many slots changed since the last look, so many apart."""


def timed(statement: str, names: dict[str, Any]) -> float:
    """Nanoseconds of one statement, of thread CPU time: the least round, less an empty loop's."""
    runs = _loop(statement, names), _loop("pass", names)
    best = [float("inf")] * 2
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for which, run in enumerate(runs):  # In turns: the machine's moods change.
                begun = time.thread_time_ns()
                run(**names)
                best[which] = min(best[which], (time.thread_time_ns() - begun) / LOOPS)
    finally:
        gc.enable()
    return max(0.0, best[0] - best[1])


def _loop(statement: str, names: dict[str, Any]) -> Callable[..., None]:
    """A loop around the statement, its names being local."""
    source = f"def run({', '.join(names)}):\n    for _ in range({LOOPS}):\n        {statement}\n"
    made: dict[str, Callable[..., None]] = {}
    exec(source, made)
    return made["run"]


def example(record: Record) -> tuple[int, ...]:
    """Values of the size they have in life."""
    now = time.monotonic_ns()
    return tuple(
        0 if field.kind == "u32" else now if field.name.endswith("_ns") else 510_000_000
        for field in record.fields[3:]
        if field.name != "reserved"
    )


def board_rows(module: ModuleType, record: Record, *, is_core: bool) -> list[Row]:
    """The figures of one twin on one record type."""
    board.make_twin(module)
    places, total = place_boards((BoardSpec("top", record, 64, 8),))
    memory = memoryview(mmap.mmap(-1, total))
    writer = module.Writer(memory, places[0], 1)
    reader = module.Reader(memory, places[0])
    writer.assign(3, TAG, 1)
    values = example(record)
    writer.publish(3, values)
    names = {"reader": reader, "writer": writer, "tag": TAG, "values": values} | question()
    names["gate"] = gate.gate if is_core else gate.pure_gate
    gated = "top, trust = gate(reader.read(3, tag), policy, now, witness)"
    if gate.gate(reader.read(3, TAG), names["policy"], names["now"], names["witness"])[1] < 10:
        raise RuntimeError("the gate is timed on a book that may be quoted on")
    fields = "; ".join(f"top.{name}" for name in FIELDS[record.name])
    statements = {
        "read": "reader.read(3, tag)",
        "read and 4 fields": f"top = reader.read(3, tag); {fields}",
        "gated read": gated,
        "gated read and 4 fields": f"{gated}; {fields}",
        "publish": "writer.publish(3, values)",
        "poll": "reader.version(3)",
    }
    twin = "C core" if is_core else "pure Python"
    return [
        Row(f"{what}, {record.name}, {twin}", timed(code, names), "ns", TARGETS[what][not is_core])
        for what, code in statements.items()
    ]


def question() -> dict[str, Any]:
    """What the gate is asked beside the book: policy, clock, and what is known of the writer."""
    now = time.monotonic_ns()
    witness = gate.Witness(Liveness.LIVE, 1, now, 0, 0)  # Venue times of `example` are monotonic.
    return {"policy": gate.LATENCY_ARB, "now": now, "witness": witness}


def snapshot_rows() -> list[Row]:
    """Fully decoded snapshots: new each time, and the same one asked for again."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    pm_segment = WriterSegment.create("feed.polymarket.0", pm_boards(), namespace=namespace)
    bn_segment = WriterSegment.create("feed.binance.0", bn_boards(), namespace=namespace)
    try:
        bbo = (510_000_000,) * 2 + (520_000_000,) * 2
        PMCacheWriter(pm_segment).update_from_ws(bbo, bbo, "0x" + "ab" * 32, "1" * 77, "2" * 77)
        BNCacheWriter(bn_segment, "BTCUSDT")
        derived = (*example(FEATURES)[:-2], 300, sum(Known))
        bn_cache = BNCache.attach("BTCUSDT", namespace=namespace)
        names: dict[str, Any] = {
            "pm": PMCache.attach("0x" + "ab" * 32, namespace=namespace).get_latest,
            "bn": bn_cache.get_latest,
            "pair": partial(pm_segment.board("pair_bbo").publish, 0, example(PAIR_BBO)),
            "top": partial(bn_segment.board("bbo").publish, 0, example(BBO)),
            "derived": partial(bn_segment.board("features").publish, 0, derived),
        }
        names["derived"]()
        rows = []
        for what, publish, read in (
            ("PMBookSnapshot, new", "pair()", "pm()"),
            ("BNSnapshot with features, of a new top", "top()", "bn()"),
            ("BNSnapshot, of a new top and new features", "derived(); top()", "bn()"),
            ("PMBookSnapshot, nothing new since", "pass", "pm()"),
            ("BNSnapshot, nothing new since", "pass", "bn()"),
        ):
            value = timed(f"{publish}; {read}", names) - timed(publish, names)
            rows.append(Row(f"fully decoded {what}", value, "ns", "<= 1000"))
        snapshot, _ = bn_cache.get_latest()
        if snapshot is None or snapshot.return_1s_e9 is None:
            raise RuntimeError("the BNSnapshot is timed without features")
    finally:
        pm_segment.close(remove=True)
        bn_segment.close(remove=True)
    return rows


def scan_rows(module: ModuleType, *, is_core: bool) -> list[Row]:
    """Which of many slots changed: none since the last look, and a hundred of them."""
    board.make_twin(module)
    found = []
    for slot_count, target in SCANS.items():
        places, total = place_boards((BoardSpec("top", BBO, slot_count, 4),))
        memory = memoryview(mmap.mmap(-1, total))
        writer = module.Writer(memory, places[0], 1)
        values = example(BBO)
        for slot in range(slot_count):
            writer.assign(slot, TAG, 1)
        scan = module.Reader(memory, places[0]).changed()
        scan.poll()
        for changed_count in (0, CHANGED):
            best = float("inf")
            for _ in range(2_000):
                for slot in range(0, changed_count * SPREAD, SPREAD):
                    writer.publish(slot, values)
                begun = time.perf_counter_ns()
                changed = scan.poll()
                best = min(best, time.perf_counter_ns() - begun)
                if len(changed) != changed_count:
                    raise RuntimeError("the scan that is timed missed a change")
            twin = "C core" if is_core else "pure Python"
            name = f"which of {slot_count:,} slots changed, {changed_count} did, {twin}"
            found.append(Row(name, best / 1e3, "us", target))
    return found


def numpy_row() -> Row:
    """The same four fields as a numpy structured scalar, not even validated."""
    memory = np.zeros(64, PAIR_BBO.dtype)
    fields = "; ".join(f"int(top['{name}'])" for name in FIELDS["pair_bbo"])
    value = timed(f"top = memory[3].copy(); {fields}", {"memory": memory})
    return Row("4 fields of a numpy structured record, unvalidated", value, "ns", "peer")


def rows() -> list[Row]:
    """Measure everything of this module."""
    core, absence = find("")
    found = [numpy_row()]
    if core is None:
        found += [Row(f"{what}, C core", None, "ns", TARGETS[what][0], absence) for what in TARGETS]
    twins = [(pure_board, False)] if core is None else [(core, True), (pure_board, False)]
    for module, is_core in twins:
        for record in (PAIR_BBO, BBO):
            found += board_rows(module, record, is_core=is_core)
        found += scan_rows(module, is_core=is_core)
    board.make_twin(core or pure_board)
    found += snapshot_rows()
    return found + latency.rows()
