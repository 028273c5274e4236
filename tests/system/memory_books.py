"""Parts of the book store's suite, each a process of its own: who writes a book, who reads it.

`write` builds the book of one token from snapshots and deltas and breaks it all the time: gaps,
crossed books, duplicates, numbers that cannot be, lost links. Every size of a book is its update
number, so that a book of two moments convicts itself. `read` asks for it as a decision does. `tell`
moves a book on once for each line of its input.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time

from cache.board import BoardWriter
from cache.book_access import BookAccess
from cache.book_store import BookStore, BookStoreWriter, Stamp, asks_of, bids_of
from cache.counters import Counter
from cache.errors import SegmentMissing
from cache.gate import LATENCY_ARB
from cache.ladder import Delta, Outcome, Whole
from cache.layout import BBO, DEPTH, INSTRUMENT, BoardSpec, State, tag_of
from cache.segment import WriterSegment

ROLE, TOKEN, DEEP = "feed.books.0", "T", 20
BOARDS = (
    BoardSpec("instruments", INSTRUMENT, 1, 4),
    BoardSpec("bbo", BBO, 1, 8),
    BoardSpec("depth", DEPTH, 1, 8),
)


class End:
    """Whether this process was asked to end."""

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.is_asked = True


def levels(number: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The one book of an update number: every size is the number."""
    bids = [(1_000 - at, number) for at in range(DEEP)]
    return bids, [(2_000 + at, number) for at in range(DEEP)]


def opened(namespace: str) -> tuple[WriterSegment, BookStoreWriter, BoardWriter]:
    """The segment of a feed with one token listed, which has no book yet; and its tops."""
    segment = WriterSegment.create(ROLE, BOARDS, namespace=namespace)
    tag = tag_of("books", TOKEN)
    board, top = segment.board("instruments"), segment.board("bbo")
    board.assign(0, tag, 0)
    names = {field.name: field for field in INSTRUMENT.fields}
    listed = {name: b"" if names[name].is_text else 0 for name in INSTRUMENT.value_names}
    board.publish(0, tuple((listed | {"id": TOKEN.encode()}).values()))
    writer = BookStoreWriter(segment.board("depth"), segment.counters)
    writer.open(0, tag, 0)
    top.assign(0, tag, 0)
    segment.bump_epoch()
    segment.set_state(State.RUN)
    return segment, writer, top


def write(namespace: str) -> None:
    end = End()
    segment, writer, top = opened(namespace)
    rng = random.Random(segment.incarnation)
    print(json.dumps({"ready": segment.incarnation}), flush=True)
    number = time.monotonic_ns() // 100  # So that a successor's numbers are greater.
    while not end.is_asked:
        now_ns = time.monotonic_ns()
        segment.heartbeat(now_ns)
        segment.set_link(now_ns)
        stamp = Stamp(now_ns, now_ns)
        head = (number, 0, now_ns, now_ns, 0, 0, 0)
        top.publish(0, (*head, 1_000, 1, 2_000, 1, 0, 0, 1, now_ns))
        number = max(number, writer.ladder(0).last_waiting) + 1
        if not writer.ladder(0).is_ready:
            writer.apply_snapshot(0, Whole(number, *levels(number)), stamp)
        number += 1
        step(writer, rng.randrange(40), number, stamp)
        segment.ring()
    counts = {counter.name: segment.counters[counter] for counter in Counter}
    print(json.dumps({"counts": counts}), flush=True)


def tell(namespace: str) -> None:
    """Publish one update for each line that is read, and ring."""
    segment, writer, _ = opened(namespace)
    writer.apply_snapshot(0, Whole(1, *levels(1)), Stamp(1, 1))
    print(json.dumps({"ready": True}), flush=True)
    for number, _line in enumerate(sys.stdin, 2):
        writer.apply_delta(0, Delta(number, number, *levels(number)), Stamp(number, number))
        segment.ring()


def step(writer: BookStoreWriter, how: int, number: int, stamp: Stamp) -> None:
    """Bring the book to `number`, or break it."""
    held = writer.ladder(0).sequence
    follows = Delta(held + 1, number, *levels(number))
    if how == 0:
        writer.apply_delta(0, Delta(number + 5, number + 6, *levels(number + 6)), stamp)
    elif how == 1:
        writer.apply_delta(0, follows._replace(bids=[(2_000, number)]), stamp)
    elif how == 2:
        writer.apply_delta(0, follows._replace(asks=[(0, number)]), stamp)
    elif how == 3:
        writer.apply_snapshot(0, Whole(number, [(5, 1)], [(5, 1)]), stamp)
    elif how == 4:
        writer.mark_not_ready(0, stamp)
    elif how == 5:
        writer.mark_behind(0, stamp, is_behind=True)
        writer.mark_behind(0, stamp, is_behind=False)
    else:
        assert writer.apply_delta(0, follows, stamp) is Outcome.APPLIED
        assert writer.apply_delta(0, follows, stamp) is Outcome.OUTDATED


class Reader:
    """What one process found, held against rules of its own."""

    def __init__(self, namespace: str) -> None:
        while True:
            try:
                store = BookStore.attach(ROLE, namespace=namespace)
                break
            except SegmentMissing:
                time.sleep(0.01)
        self.access, self.store = BookAccess(store), store
        self.faults: list[str] = []
        self.trusts: dict[str, int] = {}
        self.sequence = self.updates = self.incarnation = self.served = 0
        self.incarnations: set[int] = set()

    def hold(self, what: str, is_so: bool) -> None:
        if not is_so and len(self.faults) < 10:
            self.faults.append(what)

    def look(self) -> None:
        updates = self.store.update_count(TOKEN)
        self.hold("an update count went back", updates in (0, max(updates, self.updates)))
        self.updates = updates or self.updates  # 0 while a successor has not listed the token.
        book, trust = self.access.get_book(TOKEN, LATENCY_ARB, time.monotonic_ns())
        now_ns = time.monotonic_ns()
        self.trusts[trust.name] = self.trusts.get(trust.name, 0) + 1
        self.hold("a book without trust, or trust without one", (book is None) != trust.is_quotable)
        if book is None:
            return
        self.served += 1
        self.incarnations.add(book.incarnation)
        sizes = {qty for side in (bids_of(book), asks_of(book)) for _, qty in side}
        self.hold("a book of two moments", sizes == {book.venue_seq})
        self.hold("a book that is not whole", book.bid_count == book.ask_count == DEEP)
        self.hold("a sequence went back", book.venue_seq >= self.sequence)
        self.sequence = book.venue_seq
        self.hold("a book of the future", book.recv_ns <= now_ns)

    def report(self) -> dict[str, object]:
        found = self.access.metrics.summary()
        return {
            "faults": self.faults, "trusts": self.trusts, "served": self.served,
            "incarnations": sorted(self.incarnations), "hits": found.cache_hits,
            "misses": found.cache_misses, "not_ready": found.cache_misses_not_ready,
        }  # fmt: skip


def read(namespace: str) -> None:
    end = End()
    reader = Reader(namespace)
    print(json.dumps({"ready": True}), flush=True)
    while not end.is_asked:
        for _ in range(64):
            reader.look()
    print(json.dumps(reader.report()), flush=True)


if __name__ == "__main__":
    {"write": write, "read": read, "tell": tell}[sys.argv[1]](sys.argv[2])
