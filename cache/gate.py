"""The gate: how far a book may be trusted now, as one value, worst first.

A reader hands over what it read, what it knows of the writer, and the clock; it gets the book back
with a `Trust`. The worst that holds wins. LIVE and QUIET may be quoted on, a short SUSPECT keeps
orders and places none, anything else cancels; cancelling is always allowed.

Age is judged of the *evidence*, not of the last change: a quiet market is not a frozen one. That
the connection delivers is proven by whatever came over it (the link, the siblings); that this book
is still the venue's is proven by its own changes and witnesses alone, for a frozen token stands
among busy siblings on a link that answers. A time in the future proves nothing, so the clock has
to be read after the boards; nor does one that is none (0 and less). Pure: no clock, and no memory
of earlier calls.

`gate` is the C core's (`_gate.c`) or its twin `pure_gate`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from cache.board import Miss, Snapshot
from cache.core import core
from cache.layout import Flag, Proof
from cache.liveness import Liveness
from cache.refusals import shown

MS = 1_000_000


class Trust(IntEnum):
    """How far a book may be trusted, worst first."""

    is_quotable: bool

    def __init__(self, number: int) -> None:
        # A plain attribute, for it is looked up several times for each book of each tick.
        self.is_quotable = number >= 10  # QUIET and LIVE.

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


class Policy(NamedTuple):
    """How old evidence may be, and how late a venue's events may come, for one way of trading.

    `evidence_ns_max`: of the connection, and of a book that is LIVE. `quiet_ns_max`: of a book that
    does not change; feeds have such books witnessed about once a second.
    """

    name: str
    evidence_ns_max: int
    lag_ns_max: int
    quiet_ns_max: int


LATENCY_ARB = Policy("latency_arb", 500 * MS, 1_000 * MS, 2_500 * MS)
FAST15M = Policy("fast15m", 1_500 * MS, 3_000 * MS, 5_000 * MS)
LONG = Policy("long", 5_000 * MS, 10_000 * MS, 15_000 * MS)
POLICIES = {policy.name: policy for policy in (LATENCY_ARB, FAST15M, LONG)}


class Witness(NamedTuple):
    """What is known beside the book: of its writer, its link and its siblings.

    The link has to be read before the book: proven after it, it does not say that the book stood
    until then, for who read both may have been stopped in between.

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

# Plain integers: an enumeration's own `&` takes twenty times as long.
_RESOLVED = int(Flag.RESOLVED)
_RESYNC = int(Flag.RESYNC)
_WARMUP = int(Flag.WARMUP)
_CROSSED = int(Flag.CROSSED)
_SUSPECT = int(Flag.SUSPECT)
_TIMELESS = (int(Proof.SNAPSHOT), int(Proof.WITNESS))
"""Proofs of what a book is, whenever it changed."""
_STALLED = int(Trust.STALLED)


def pure_gate(
    book: Snapshot | Miss | None, policy: Policy, now_ns: int, witness: Witness
) -> tuple[Snapshot | None, Trust]:
    """Judge a top of book (`Bbo` or `PairBbo`); None stands for an instrument nobody listed.

    Raises TypeError, which says what of it is no question.
    """
    if type(now_ns) is not int:
        raise TypeError(f"now_ns is {shown(now_ns)}: it must be a whole number of nanoseconds")
    try:
        _, evidence_ns_max, lag_ns_max, quiet_ns_max = policy
        total_ns = evidence_ns_max + lag_ns_max + quiet_ns_max + (witness.wall_offset_ns or 0)
        # Nothing is more than NaN: under such a bound every book would be LIVE for ever.
        if type(total_ns) is int:
            return _gated(book, policy, now_ns, witness)
    except (TypeError, ValueError, AttributeError, KeyError):
        pass
    raise TypeError(_fault_of(book, policy, witness))


def _fault_of(book: object, policy: object, witness: object) -> str:
    """Say what of a question is none."""
    if not isinstance(policy, Policy) or not all(isinstance(b, int) for b in policy[1:]):
        return f"policy is {shown(policy, 200)}: it must be a Policy of whole numbers"
    words = witness[1:] if isinstance(witness, Witness) else ("none",)
    is_known = isinstance(witness, Witness) and witness.liveness in _OF_WRITER
    if not is_known or not all(word is None or isinstance(word, int) for word in words):
        said = f"witness is {shown(witness, 200)}"
        return f"{said}: it must be a Witness of whole numbers, its liveness one of Liveness"
    return f"book is {shown(book)}: it must be a record of a top of book, a Miss or None"


def _gated(
    book: Snapshot | Miss | None, policy: Policy, now_ns: int, witness: Witness
) -> tuple[Snapshot | None, Trust]:
    if book is None:
        return None, Trust.NOT_SUBSCRIBED
    writer = _OF_WRITER[witness.liveness]
    if isinstance(book, Miss):
        # A read that stayed BUSY says nothing of the book; what is known of the writer still holds.
        return None, min(_OF_MISS.get(book, Trust.SUSPECT), writer)
    if writer <= _STALLED:
        return book, writer
    judged = _judge(book, policy, now_ns, witness)
    return book, judged if judged < writer else writer


def _judge(book: Snapshot, policy: Policy, now_ns: int, witness: Witness) -> Trust:
    """Judge the record itself, its writer being alive."""
    flags: int = book.flags
    if flags & _RESOLVED:
        return Trust.RESOLVED
    if flags & _RESYNC:
        return Trust.GAP
    if flags & _WARMUP or book.incarnation != witness.incarnation:
        return Trust.WARMUP
    recv_ns: int = book.recv_ns
    age_ns = now_ns - recv_ns
    is_quiet = age_ns > policy.evidence_ns_max  # If not, the book is its own evidence.
    if recv_ns <= 0 or age_ns < 0 or (is_quiet and not _is_proven(book, policy, now_ns, witness)):
        return Trust.STALE
    if _is_late(book, policy, witness):
        return Trust.STALE
    if flags & _CROSSED:
        return Trust.CROSSED
    if flags & _SUSPECT:
        return Trust.SUSPECT
    return Trust.QUIET if is_quiet else Trust.LIVE


def _is_proven(book: Snapshot, policy: Policy, now_ns: int, witness: Witness) -> bool:
    """Whether a book that does not change is proven, and so is the connection."""
    own_ns = _newest(now_ns, (book.recv_ns, getattr(book, "proven_ns", 0)))
    link_ns = _newest(now_ns, (own_ns, witness.link_ns, witness.sibling_ns))
    return now_ns - own_ns <= policy.quiet_ns_max and now_ns - link_ns <= policy.evidence_ns_max


def _newest(now_ns: int, proofs: tuple[int, ...]) -> int:
    """The newest of some times; one in the future is none, and 0 stands for none."""
    newest_ns = 0
    for proof_ns in proofs:
        if newest_ns < proof_ns <= now_ns:
            newest_ns = proof_ns
    return newest_ns


def _is_late(book: Snapshot, policy: Policy, witness: Witness) -> bool:
    """Whether the book's event came too long after it happened: a backlog that looks fresh.

    A snapshot carries the time of the book's last change, which may be an hour ago; so does what a
    witness has proven since, however late its last change came.
    """
    if witness.wall_offset_ns is None or not book.venue_ts_ns or book.proof in _TIMELESS:
        return False
    lag_ns: int = book.recv_ns + witness.wall_offset_ns - book.venue_ts_ns
    return lag_ns > policy.lag_ns_max


_gate: Any = pure_gate
if core is not None:
    core.configure_gate(
        pure_gate, tuple(Trust), tuple(int(_OF_WRITER[liveness]) for liveness in Liveness)
    )
    _gate = core.gate
if TYPE_CHECKING:

    def gate(
        book: Snapshot | Miss | None, policy: Policy, now_ns: int, witness: Witness
    ) -> tuple[Snapshot | None, Trust]:
        """Judge a top of book (`Bbo` or `PairBbo`); None is an instrument nobody listed."""

else:
    gate = _gate
