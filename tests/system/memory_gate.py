"""The parts of the read-path suites: a feed that beats, readers that judge, and ten thousand slots.

`beat` publishes one market as a feed does: records, mids, proofs, link and heartbeat, with true
times. `judge` reads it all the ways there are and checks every verdict against the clock by rules
of its own. `strict` does the same reads where the kernel ends whoever makes a system call.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import tests.system.memory_world as world
from tests.system.memory_actor import Asked, say

MARKET, YES, NO = "0x" + "ab" * 32, "1" * 77, "2" * 77
SIZE_OF = 1_000_000
JUMP_NS = 200_000_000
"""A loop that took longer was stopped, or kept waiting by the machine."""
SLOTS = 10_000


def beat(options: argparse.Namespace, twin: Any) -> None:
    """Publish the market about a thousand times a second; each size is the record's own number."""
    from cache.layout import State
    from cache.pm_cache import PMCacheWriter, pm_boards
    from cache.segment import WriterSegment

    asked = Asked()
    segment = WriterSegment.create(world.ROLE, pm_boards(), namespace=options.namespace)
    segment.set_state(State.RUN)
    writer = PMCacheWriter(segment, mids_interval_ms=5)
    number = segment.board("pair_bbo").version(0)
    said = False
    while not asked.to_end:
        number += 1
        price = 1_000_000 * (number % 400 + 1)
        size = SIZE_OF * number
        yes = (price, size, price + 10_000_000, size)
        no = (1_000_000_000 - price - 10_000_000, size, 1_000_000_000 - price, size)
        writer.update_from_ws(yes, no, MARKET, YES, NO)
        segment.heartbeat(time.monotonic_ns())
        if not said:
            said = True
            say(ready=True, incarnation=segment.incarnation)
        time.sleep(0.001)
    segment.close()
    say(published=number)


class Judge:
    """Reads the market through gate and cache; holds every answer against rules of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        from cache import gate
        from cache.layout import tag_of
        from cache.liveness import STALE_NS, Liveness
        from cache.pm_cache import PMCache

        self.gate, self.policy = gate, gate.LATENCY_ARB
        self.stale_ns, self.alive = STALE_NS, Liveness.LIVE
        self.cache = PMCache.attach(MARKET, role=world.ROLE, namespace=options.namespace)
        self.segment = self.cache.segment
        self.board = self.segment.board("pair_bbo")
        self.scan = self.board.changed()
        self.tag = tag_of("polymarket", MARKET)
        self.trusts: dict[str, int] = {}
        self.faults: list[str] = []
        self.newest = self.reads = self.quotable = self.jumps = self.fresh_after = 0
        self.age_ms_max = self.last_ns = 0

    def hold(self, what: str, is_so: bool) -> None:
        if not is_so and len(self.faults) < 10:
            self.faults.append(f"{what}, at read {self.reads}, version {self.newest}")

    def look(self) -> None:
        """One read as a strategy makes it: link first, then boards, then the clock, then the gate.

        A link that was proven after the book was read does not say that the book stood until then:
        the reader may have been stopped in between.
        """
        segment = self.segment
        link_ns = segment.link_ns
        has_moved = self.board.version(0) != self.newest
        found = self.board.read(0, self.tag)
        incarnation = segment.incarnation
        now_ns = time.monotonic_ns()
        alive = segment.liveness(now_ns)
        witness = self.gate.Witness(alive, incarnation, link_ns)
        book, trust = self.gate.gate(found, self.policy, now_ns, witness)
        self.reads += 1
        self.trusts[trust.name] = self.trusts.get(trust.name, 0) + 1
        was_jump = self.last_ns and now_ns - self.last_ns > JUMP_NS
        self.jumps += bool(was_jump)
        self.last_ns = now_ns
        self.hold("a read gave no book", book is not None)
        if book is None:
            return
        self.hold("a version went back", book.version >= self.newest)
        self.hold("a poll told of nothing new", has_moved or book.version >= self.newest)
        self.newest = book.version
        sizes = {book.yes_bid_qty_e9, book.yes_ask_qty_e9, book.no_bid_qty_e9, book.no_ask_qty_e9}
        self.hold("a partial read", sizes == {SIZE_OF * book.version})
        self.hold("prices of two records", book.yes_bid_px_e9 + book.no_ask_px_e9 == 10**9)
        age_ns = now_ns - book.recv_ns
        if trust.is_quotable:
            self.quotable += 1
            self.hold("quotable at a negative age", age_ns >= 0)
            self.hold("quotable without evidence", age_ns <= self.policy.evidence_ns_max)
            self.hold("quotable behind a stale heartbeat", alive == self.alive)
            self.hold("quotable of a writer that is gone", book.incarnation == incarnation)
            self.fresh_after += bool(was_jump)

    def snapshot(self) -> None:
        """The same through the cache of the market."""
        before = self.cache.get_seq()
        held, number = self.cache.get_latest()
        now_ns = time.monotonic_ns()
        self.hold("the cache gave nothing", held is not None)
        if held is None:
            return
        self.hold("a sequence went back", number >= before)
        self.hold("a snapshot under another's number", held.meta.feed_seq == number)
        sizes = {held.yes_top.bid_qty_e9, held.no_top.ask_qty_e9}
        self.hold("a partial snapshot", sizes == {SIZE_OF * number})
        age = held.meta.age_ms(now_ns // 1_000_000)
        self.age_ms_max = max(self.age_ms_max, age)
        exact = now_ns // 1_000_000 - held.meta.monotonic_ts_ns // 1_000_000
        self.hold("an age that is not now less receipt", age == exact)

    def others(self) -> None:
        """Whatever else a reader does between two decisions."""
        now_ms = self.segment.heartbeat_ns // 1_000_000
        self.cache.get_age_ms(now_ms)
        self.cache.is_stale(now_ms)
        self.cache.mids(16)
        self.board.copy_last(0, 6)
        self.scan.slots()
        self.segment.counters.all()

    def report(self) -> None:
        say(
            reads=self.reads,
            quotable=self.quotable,
            trusts=self.trusts,
            jumps=self.jumps,
            fresh_after=self.fresh_after,
            age_ms_max=self.age_ms_max,
            retries=self.board.retry_count,
            busy=self.board.busy_count,
            newest=self.newest,
            faults=self.faults,
        )


def judge(options: argparse.Namespace, twin: Any) -> None:
    """Read and judge, for a time or until asked to end."""
    asked, reader = Asked(), Judge(options)
    reader.others()
    say(ready=True)
    until = time.monotonic() + options.seconds
    while not asked.to_end and time.monotonic() < until:
        for _ in range(64):
            reader.look()
        reader.snapshot()
        reader.others()
        if options.pause_us:
            time.sleep(options.pause_us / 1e6)
    reader.report()


# write and exit_group, by CPU.
_CALLS = {"x86_64": (1, 231), "aarch64": (64, 94)}


def forbid_calls() -> str:
    """Have the kernel end this process at any call but `write` and its end; "", or why not."""
    allowed = _CALLS[platform.machine()]
    program = [(0x20, 0, 0, 0)]  # The call's number.
    for left, number in zip((2, 1), allowed, strict=True):
        program.append((0x15, left, 0, number))
    program += [(0x06, 0, 0, 0x8000_0000), (0x06, 0, 0, 0x7FFF_0000)]  # Kill the process; allow.
    code = b"".join(struct.pack("<HBBI", *one) for one in program)
    kept = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(
        struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(kept))
    )
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, header, 0, 0):  # No new privileges; a filter.
        return os.strerror(ctypes.get_errno())
    return ""


def strict(options: argparse.Namespace, twin: Any) -> None:
    """Read where the kernel allows no call but `write`.

    `how` names what else to do in there: nothing, or something that a read must never do.
    """
    reader = Judge(options)
    extra: dict[str, Callable[[], object]] = {
        "": lambda: None,
        "sleep": lambda: time.sleep(0),
        "stat": reader.segment.is_current,
    }
    between = extra[options.how]
    for _ in range(options.trials):  # All memory it will ever need, and all imports.
        _strict_turn(reader)
    say(ready=True)
    fault = forbid_calls()
    for _ in range(options.trials):
        _strict_turn(reader)
        between()
    found = {"skip": fault} if fault else {"reads": 2 * options.trials, "faults": reader.faults}
    os.write(1, json.dumps(found).encode() + b"\n")
    os._exit(0)


def _strict_turn(reader: Judge) -> None:
    segment = reader.segment
    link_ns = segment.link_ns
    found = reader.board.read(0, reader.tag)
    alive = segment.liveness(segment.heartbeat_ns)
    witness = reader.gate.Witness(alive, segment.incarnation, link_ns)
    reader.gate.gate(found, reader.policy, time.monotonic_ns(), witness)
    reader.snapshot()
    reader.others()


def many(options: argparse.Namespace, twin: Any) -> None:
    """Publish in ten thousand slots at random; each record tells its slot and its version.

    It rests between bursts, and its turns are even then: what a reader has not seen by the end of a
    rest it has lost.
    """
    from cache.layout import BBO, BoardSpec, State
    from cache.segment import WriterSegment

    asked, rng = Asked(), random.Random(options.seed)
    specs = (BoardSpec("storm", BBO, SLOTS, 4),)
    segment = WriterSegment.create(world.ROLE, specs, namespace=options.namespace)
    segment.set_state(State.RUN)
    board, zeros = segment.board("storm"), (0,) * (len(BBO.value_names) - 2)
    say(ready=True)
    published = 0
    while not asked.to_end:
        segment.heartbeat(time.monotonic_ns())
        slots = rng.choices(range(SLOTS), k=4096)
        segment.turn()
        for slot in slots:
            board.publish_tagged(slot, world.TAG, 1, (board.version(slot) + 1, slot, *zeros))
        segment.turn()
        published += 4096
        time.sleep(0.005)
    segment.close()
    say(published=published)


PARTS = (beat, judge, strict, many)
