"""A process that decides on books: it looks at them whenever a bell rings, and says what it saw.

Run it with a namespace and, optionally, `sneak`, which makes it open a socket now
and then, so that a test can see that its watch works. It ends when its input is closed. Every event
of the interpreter that has to do with a network is counted, from before the first import of ours.
"""

from __future__ import annotations

import sys

NETWORK = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "ssl.")
network: list[str] = []


def watch(event: str, _: object) -> None:
    if event.startswith(NETWORK):
        network.append(event)


sys.addaudithook(watch)

import json  # noqa: E402
import select  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402

from cache.bells import make_waiter  # noqa: E402
from cache.book_access import BookAccess  # noqa: E402
from cache.book_metrics import BookMetrics  # noqa: E402
from cache.book_store import BookStore  # noqa: E402
from cache.errors import SegmentMissing  # noqa: E402
from cache.gate import FAST15M  # noqa: E402

ROLES = ("feed.binance.0", "feed.polymarket.0")


class Reader:
    """The stores of both feeds, re-attached when their writer is replaced, and what was seen."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.access: dict[str, BookAccess] = {}
        self.metrics = BookMetrics()
        self.seen: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
        self.now: dict[str, dict[str, str]] = {role: {} for role in ROLES}
        self.changes = self.crossed = self.backward = 0
        self.sequences: dict[tuple[str, str, int], int] = {}

    def attach(self) -> None:
        for role in ROLES:
            held = self.access.get(role)
            if held is None or not held.store.segment.is_current():
                try:
                    store = BookStore.attach(role, namespace=self.namespace)
                except SegmentMissing:
                    continue
                self.access[role] = BookAccess(store, self.metrics)

    def turn(self) -> None:
        for role, access in self.access.items():
            self.changes += len(access.store.changed())
            for token in access.store.tokens():
                book, trust = access.get_book(token, FAST15M, time.monotonic_ns())
                self.seen[role][trust.name] += 1
                self.now[role][token] = trust.name
                if book is None:
                    continue
                if book.bid_count and book.ask_count and book.bids[0] >= book.asks[0]:
                    self.crossed += 1
                key = role, token, book.incarnation
                number = book.venue_seq or book.batch
                self.backward += number < self.sequences.get(key, 0)
                self.sequences[key] = number

    def report(self) -> dict[str, object]:
        summary = self.metrics.summary()
        return {
            "seen": {role: dict(seen) for role, seen in self.seen.items()},
            "now": self.now,
            "ready": {
                role: sum(access.store.is_ready(token) for token in access.store.tokens())
                for role, access in self.access.items()
            },
            "changes": self.changes,
            "crossed": self.crossed,
            "backward": self.backward,
            "hits": summary.cache_hits,
            "misses": summary.cache_misses,
            "hit_rate": summary.hit_rate,
            "mean_age_ms": summary.mean_age_ms,
            "age_histogram": list(summary.age_histogram),
            "network": network,
        }


def main() -> None:
    reader, is_sneaky = Reader(sys.argv[1]), "sneak" in sys.argv[2:]
    said_ns = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        reader.attach()
        waiter = make_waiter([access.store.segment for access in reader.access.values()])
        for _ in range(20):
            waiter.load()
            reader.turn()
            waiter.wait(20_000_000)
        if is_sneaky:
            socket.socket().close()
        now_ns = time.monotonic_ns()
        if now_ns - said_ns > 50_000_000:
            said_ns = now_ns
            print(json.dumps(reader.report()), flush=True)
    print(json.dumps(reader.report() | {"is_last": True}), flush=True)


if __name__ == "__main__":
    main()
