"""The gate: how far a book may be trusted now, as one value, worst first.

A reader hands over what it read, what it knows of the writer, and the clock; it gets the book back
with a `Trust`. The worst that holds wins. LIVE and QUIET may be quoted on, a short SUSPECT keeps
orders and places none, anything else cancels; cancelling is always allowed.

Age is judged of the *evidence* (the link, the book's own proof, its siblings), not of the last
change: a quiet market is not a frozen one. A time in the future proves nothing, so the clock has to
be read after the boards. Pure: no clock, no memory, no memory of earlier calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from cache.board import Miss, Snapshot
from cache.layout import Flag, Proof
from cache.liveness import Liveness

MS = 1_000_000


class Trust(IntEnum):
    """How far a book may be trusted, worst first."""

    NOT_SUBSCRIBED = 0
    NEVER_SEEN = 1
    WRITER_DEAD = 2
    STALLED = 3
    RESOLVED = 4
    GAP = 5
    WARMUP = 6
    STALE = 7
    CROSSED = 8
    SUSPECT = 9
    QUIET = 10
    LIVE = 11

    @property
    def is_quotable(self) -> bool:
        return self >= Trust.QUIET


@dataclass(frozen=True, slots=True)
class Policy:
    """How old evidence may be, and how late a venue's events may come, for one way of trading."""

    name: str
    evidence_ns_max: int
    lag_ns_max: int


LATENCY_ARB = Policy("latency_arb", 500 * MS, 1_000 * MS)
FAST15M = Policy("fast15m", 1_500 * MS, 3_000 * MS)
LONG = Policy("long", 5_000 * MS, 10_000 * MS)
POLICIES = {policy.name: policy for policy in (LATENCY_ARB, FAST15M, LONG)}


class Witness(NamedTuple):
    """What is known beside the book: of its writer, its link and its siblings.

    `wall_offset_ns` is wall clock minus CLOCK_MONOTONIC; None where the venue's times are not to be
    judged (a replay).
    """

    liveness: Liveness
    incarnation: int
    link_ns: int
    sibling_ns: int = 0
    wall_offset_ns: int | None = None


_OF_WRITER = {
    Liveness.WRITER_DEAD: Trust.WRITER_DEAD,
    Liveness.FAILED: Trust.WRITER_DEAD,
    Liveness.RETIRED: Trust.WRITER_DEAD,
    Liveness.HALTED: Trust.WRITER_DEAD,
    Liveness.STALLED: Trust.STALLED,
    Liveness.BOOT: Trust.WARMUP,
    Liveness.LIVE: Trust.LIVE,
}

_OF_MISS = {Miss.NEVER: Trust.NEVER_SEEN, Miss.OTHER_TAG: Trust.NOT_SUBSCRIBED}


def gate(
    book: Snapshot | Miss | None, policy: Policy, now_ns: int, *, witness: Witness
) -> tuple[Snapshot | None, Trust]:
    """Judge a top of book (`Bbo` or `PairBbo`); None stands for an instrument nobody listed."""
    if book is None:
        return None, Trust.NOT_SUBSCRIBED
    writer = _OF_WRITER[witness.liveness]
    if isinstance(book, Miss):
        # A read that stayed BUSY says nothing of the book; what is known of the writer still holds.
        return None, min(_OF_MISS.get(book, Trust.SUSPECT), writer)
    if writer <= Trust.STALLED:
        return book, writer
    return book, min(writer, _judge(book, policy, now_ns, witness))


def _judge(book: Snapshot, policy: Policy, now_ns: int, witness: Witness) -> Trust:
    """Judge the record itself, its writer being alive."""
    flags: int = book.flags
    if flags & Flag.RESOLVED:
        return Trust.RESOLVED
    if flags & Flag.RESYNC:
        return Trust.GAP
    if flags & Flag.WARMUP or book.incarnation != witness.incarnation:
        return Trust.WARMUP
    recv_ns: int = book.recv_ns
    age_ns = now_ns - recv_ns
    if age_ns < 0 or evidence_age_ns(book, now_ns, witness) > policy.evidence_ns_max:
        return Trust.STALE
    if _is_late(book, policy, witness):
        return Trust.STALE
    if flags & Flag.CROSSED:
        return Trust.CROSSED
    if flags & Flag.SUSPECT:
        return Trust.SUSPECT
    return Trust.LIVE if age_ns <= policy.evidence_ns_max else Trust.QUIET


def evidence_age_ns(book: Snapshot, now_ns: int, witness: Witness) -> int:
    """Return the age of the newest proof that the book is still what the venue has."""
    proofs = (book.recv_ns, book.proven_ns, witness.link_ns, witness.sibling_ns)
    return now_ns - max((proof for proof in proofs if 0 < proof <= now_ns), default=0)


def _is_late(book: Snapshot, policy: Policy, witness: Witness) -> bool:
    """Whether the book's event came too long after it happened: a backlog that looks fresh.

    A snapshot carries the time of the book's last change, which may be an hour ago.
    """
    if witness.wall_offset_ns is None or not book.venue_ts_ns or book.proof == Proof.SNAPSHOT:
        return False
    lag_ns: int = book.recv_ns + witness.wall_offset_ns - book.venue_ts_ns
    return lag_ns > policy.lag_ns_max
