"""The gate: every cause of distrust, and that the worst that holds wins."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.board import Miss, Snapshot, snapshot_type
from cache.gate import (
    FAST15M,
    LATENCY_ARB,
    LONG,
    MS,
    POLICIES,
    Policy,
    Trust,
    Witness,
    evidence_age_ns,
    gate,
)
from cache.layout import BBO, PAIR_BBO, Flag, Proof, Record
from cache.liveness import Liveness

NOW = 1_000_000 * MS
ALIVE = Witness(Liveness.LIVE, incarnation=3, link_ns=NOW - 10 * MS)


def book(record: Record = PAIR_BBO, **fields: Any) -> Snapshot:
    values: dict[str, Any] = {field.name: 0 for field in record.fields if not field.is_text}
    values |= {"incarnation": 3, "recv_ns": NOW - 20 * MS, "tag": 7} | fields
    made = [values.get(field.name, b"") for field in record.fields]
    return snapshot_type(record)(record.struct.pack(*made), 1)


def judge(read: Snapshot | Miss | None, policy: Policy = FAST15M, **witness: Any) -> Trust:
    return gate(read, policy, NOW, witness=ALIVE._replace(**witness))[1]


@pytest.mark.parametrize("record", [PAIR_BBO, BBO])
def test_a_fresh_whole_book_of_a_living_writer_is_live(record: Record) -> None:
    read = book(record)
    assert gate(read, FAST15M, NOW, witness=ALIVE) == (read, Trust.LIVE)


@pytest.mark.parametrize(
    ("flag", "trust"),
    [
        (Flag.WARMUP, Trust.WARMUP),
        (Flag.SUSPECT, Trust.SUSPECT),
        (Flag.CROSSED, Trust.CROSSED),
        (Flag.RESYNC, Trust.GAP),
        (Flag.RESOLVED, Trust.RESOLVED),
        (Flag.NO_BID, Trust.LIVE),
        (Flag.NO_ASK, Trust.LIVE),
    ],
)
def test_each_flag_has_its_trust(flag: Flag, trust: Trust) -> None:
    assert judge(book(flags=flag)) is trust


@pytest.mark.parametrize(
    ("liveness", "trust"),
    [
        (Liveness.WRITER_DEAD, Trust.WRITER_DEAD),
        (Liveness.FAILED, Trust.WRITER_DEAD),
        (Liveness.HALTED, Trust.WRITER_DEAD),
        (Liveness.RETIRED, Trust.WRITER_DEAD),
        (Liveness.STALLED, Trust.STALLED),
        (Liveness.BOOT, Trust.WARMUP),
    ],
)
def test_a_writer_that_does_not_run_is_told_apart(liveness: Liveness, trust: Trust) -> None:
    assert judge(book(), liveness=liveness) is trust


def test_what_was_never_read_says_why() -> None:
    assert judge(None) is Trust.NOT_SUBSCRIBED
    assert judge(Miss.OTHER_TAG) is Trust.NOT_SUBSCRIBED
    assert judge(Miss.NEVER) is Trust.NEVER_SEEN
    assert judge(Miss.BUSY) is Trust.SUSPECT
    assert judge(Miss.BUSY, liveness=Liveness.STALLED) is Trust.STALLED
    assert judge(Miss.NEVER, liveness=Liveness.WRITER_DEAD) is Trust.NEVER_SEEN
    assert gate(Miss.BUSY, FAST15M, NOW, witness=ALIVE)[0] is None


def test_a_record_of_another_incarnation_is_warming_up() -> None:
    assert judge(book(), incarnation=4) is Trust.WARMUP
    assert judge(book(incarnation=4)) is Trust.WARMUP


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=lambda policy: policy.name)
def test_a_quiet_book_lives_on_any_fresh_evidence_and_dies_without(policy: Policy) -> None:
    old = NOW - 60_000 * MS
    fresh, stale = NOW - policy.evidence_ns_max, NOW - policy.evidence_ns_max - 1
    assert judge(book(recv_ns=old), policy, link_ns=fresh) is Trust.QUIET
    assert judge(book(recv_ns=old, proven_ns=fresh), policy, link_ns=0) is Trust.QUIET
    assert judge(book(recv_ns=old), policy, link_ns=0, sibling_ns=fresh) is Trust.QUIET
    assert judge(book(recv_ns=fresh), policy, link_ns=0) is Trust.LIVE
    assert judge(book(recv_ns=stale, proven_ns=stale), policy, link_ns=stale) is Trust.STALE


def test_policies_differ_in_patience() -> None:
    bounds = [policy.evidence_ns_max for policy in (LATENCY_ARB, FAST15M, LONG)]
    assert bounds == [500 * MS, 1_500 * MS, 5_000 * MS]


def test_a_time_in_the_future_is_never_fresh() -> None:
    assert judge(book(recv_ns=NOW + 1)) is Trust.STALE
    old = NOW - 60_000 * MS
    later = book(recv_ns=old, proven_ns=NOW + 1)
    assert judge(later, link_ns=NOW + 1, sibling_ns=NOW + 1) is Trust.STALE


def test_without_any_evidence_the_age_is_beyond_every_policy() -> None:
    assert evidence_age_ns(book(recv_ns=0), NOW, ALIVE._replace(link_ns=0)) == NOW


def test_a_backlog_that_was_just_read_is_stale() -> None:
    offset = 1_700_000_000_000 * MS
    happened = NOW - 20 * MS + offset - FAST15M.lag_ns_max
    assert judge(book(venue_ts_ns=happened), wall_offset_ns=offset) is Trust.LIVE
    assert judge(book(venue_ts_ns=happened - 1), wall_offset_ns=offset) is Trust.STALE
    assert judge(book(venue_ts_ns=happened - 1)) is Trust.LIVE  # not judged without the offset
    assert judge(book(venue_ts_ns=0), wall_offset_ns=offset) is Trust.LIVE
    snapshot = book(venue_ts_ns=happened - 1, proof=Proof.SNAPSHOT)
    assert judge(snapshot, wall_offset_ns=offset) is Trust.LIVE


CAUSES: list[tuple[Trust, dict[str, Any], dict[str, Any]]] = [
    (Trust.WRITER_DEAD, {}, {"liveness": Liveness.WRITER_DEAD}),
    (Trust.STALLED, {}, {"liveness": Liveness.STALLED}),
    (Trust.RESOLVED, {"flags": Flag.RESOLVED}, {}),
    (Trust.GAP, {"flags": Flag.RESYNC}, {}),
    (Trust.WARMUP, {}, {"incarnation": 9}),
    (Trust.STALE, {"recv_ns": 1}, {"link_ns": 0}),
    (Trust.CROSSED, {"flags": Flag.CROSSED}, {}),
    (Trust.SUSPECT, {"flags": Flag.SUSPECT}, {}),
]


@pytest.mark.parametrize("pair", list(itertools.combinations(CAUSES, 2)), ids=str)
def test_of_two_causes_the_worse_wins(pair: tuple[Any, Any]) -> None:
    fields: dict[str, Any] = {"flags": 0}
    witness: dict[str, Any] = {}
    for _, of_book, of_witness in pair:
        fields |= {k: v for k, v in of_book.items() if k != "flags"}
        fields["flags"] |= of_book.get("flags", 0)
        witness = of_witness | witness
    assert judge(book(**fields), **witness) is min(trust for trust, _, _ in pair)


def test_only_quiet_and_live_may_be_quoted_on() -> None:
    assert [trust for trust in Trust if trust.is_quotable] == [Trust.QUIET, Trust.LIVE]


@given(
    flags=st.integers(0, 127),
    recv_ns=st.integers(0, 2 * NOW),
    liveness=st.sampled_from(Liveness),
    link_ns=st.integers(0, 2 * NOW),
    incarnation=st.integers(2, 4),
)
def test_whatever_is_quotable_has_a_living_writer_clean_flags_and_fresh_evidence(
    flags: int, recv_ns: int, liveness: Liveness, link_ns: int, incarnation: int
) -> None:
    trust = judge(
        book(flags=flags, recv_ns=recv_ns),
        liveness=liveness, link_ns=link_ns, incarnation=incarnation,
    )  # fmt: skip
    if trust.is_quotable:
        assert liveness is Liveness.LIVE
        assert incarnation == 3
        assert not flags & ~(Flag.NO_BID | Flag.NO_ASK)
        assert any(0 <= NOW - at <= FAST15M.evidence_ns_max for at in (recv_ns, link_ns))
