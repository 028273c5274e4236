"""The gate: every cause of distrust, and that the worst that holds wins."""

from __future__ import annotations

import itertools
import math
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
    gate,
    pure_gate,
)
from cache.layout import BBO, DEPTH, PAIR_BBO, Flag, Proof, Record
from cache.liveness import Liveness

NOW = 1_000_000 * MS
ALIVE = Witness(Liveness.LIVE, incarnation=3, link_ns=NOW - 10 * MS)


def book(record: Record = PAIR_BBO, **fields: Any) -> Snapshot:
    values: dict[str, Any] = {field.name: 0 for field in record.fields if field.is_number}
    values |= {"incarnation": 3, "recv_ns": NOW - 20 * MS, "tag": 7} | fields
    made: list[Any] = []
    for field in record.fields:
        made += [0] * field.count if field.count > 1 else [values.get(field.name, b"")]
    return snapshot_type(record)(record.struct.pack(*made), 1)


def judge(read: Snapshot | Miss | None, policy: Policy = FAST15M, **witness: Any) -> Trust:
    """What both twins say, which is the same."""
    told = ALIVE._replace(**witness)
    judged = gate(read, policy, NOW, witness=told)
    assert judged == pure_gate(read, policy, NOW, told)
    return judged[1]


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
def test_a_quiet_book_needs_a_proof_of_its_own_and_a_connection_that_delivers(
    policy: Policy,
) -> None:
    old = NOW - 600_000 * MS
    own, link = NOW - policy.quiet_ns_max, NOW - policy.evidence_ns_max
    assert judge(book(recv_ns=old, proven_ns=own), policy, link_ns=link) is Trust.QUIET
    assert judge(book(recv_ns=own), policy, link_ns=link) is Trust.QUIET
    assert judge(book(recv_ns=own), policy, link_ns=0, sibling_ns=link) is Trust.QUIET
    assert judge(book(recv_ns=old, proven_ns=link), policy, link_ns=0) is Trust.QUIET
    assert judge(book(recv_ns=link), policy, link_ns=0) is Trust.LIVE
    assert judge(book(recv_ns=old, proven_ns=own), policy, link_ns=link - 1) is Trust.STALE
    assert judge(book(recv_ns=old, proven_ns=own - 1), policy, link_ns=NOW) is Trust.STALE


def test_a_frozen_token_is_stale_among_busy_siblings_on_a_link_that_answers() -> None:
    frozen = book(recv_ns=NOW - FAST15M.quiet_ns_max - 1)
    assert judge(frozen, link_ns=NOW, sibling_ns=NOW) is Trust.STALE
    assert judge(book(), link_ns=NOW, sibling_ns=NOW) is Trust.LIVE


def test_policies_differ_in_patience() -> None:
    bounds = [tuple(bound // MS for bound in policy[1:]) for policy in (LATENCY_ARB, FAST15M, LONG)]
    # Of evidence, of events that come late, of a book that does not change.
    assert bounds == [(500, 1_000, 2_500), (1_500, 3_000, 5_000), (5_000, 10_000, 15_000)]


def test_a_time_in_the_future_is_never_fresh() -> None:
    assert judge(book(recv_ns=NOW + 1)) is Trust.STALE
    old = NOW - 60_000 * MS
    later = book(recv_ns=old, proven_ns=NOW + 1)
    assert judge(later, link_ns=NOW + 1, sibling_ns=NOW + 1) is Trust.STALE


@pytest.mark.parametrize("recv_ns", [0, -1, -(2**63)])
def test_a_time_that_is_none_is_never_fresh_whatever_was_proven_since(recv_ns: int) -> None:
    assert judge(book(recv_ns=recv_ns, proven_ns=NOW - 1)) is Trust.STALE


@pytest.mark.parametrize("word", [2**63, 2**64 - 1])
def test_a_word_of_a_writer_may_be_any_number(word: int) -> None:
    old = book(recv_ns=NOW - FAST15M.quiet_ns_max)
    assert judge(old, link_ns=word) is judge(old, link_ns=0) is Trust.STALE
    assert judge(old, link_ns=0, sibling_ns=word) is Trust.STALE
    assert judge(old, link_ns=word, sibling_ns=NOW) is Trust.QUIET
    assert judge(book(), incarnation=word) is Trust.WARMUP


@pytest.mark.parametrize("venue_ts_ns", [-(2**63), 2**63 - 1])
def test_an_event_time_may_be_any_number(venue_ts_ns: int) -> None:
    late = judge(book(venue_ts_ns=venue_ts_ns), wall_offset_ns=10**18)
    assert late is (Trust.STALE if venue_ts_ns < 0 else Trust.LIVE)


def test_depth_which_carries_no_proof_of_its_own_is_judged_by_its_age() -> None:
    assert judge(book(DEPTH)) is Trust.LIVE
    assert judge(book(DEPTH, recv_ns=NOW - FAST15M.quiet_ns_max)) is Trust.QUIET
    assert judge(book(DEPTH, recv_ns=NOW - FAST15M.quiet_ns_max - 1)) is Trust.STALE


def test_a_backlog_that_was_just_read_is_stale() -> None:
    offset = 1_700_000_000_000 * MS
    happened = NOW - 20 * MS + offset - FAST15M.lag_ns_max
    assert judge(book(venue_ts_ns=happened), wall_offset_ns=offset) is Trust.LIVE
    assert judge(book(venue_ts_ns=happened - 1), wall_offset_ns=offset) is Trust.STALE
    assert judge(book(venue_ts_ns=happened - 1)) is Trust.LIVE  # not judged without the offset
    assert judge(book(venue_ts_ns=0), wall_offset_ns=offset) is Trust.LIVE
    for proof in Proof:
        is_timeless = proof in (Proof.SNAPSHOT, Proof.WITNESS)
        found = judge(book(venue_ts_ns=happened - 1, proof=proof), wall_offset_ns=offset)
        assert found is (Trust.LIVE if is_timeless else Trust.STALE), proof


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


TIMES = st.one_of(
    st.sampled_from(
        [0, 1, NOW - 1, NOW, NOW + 1]
        + [
            NOW - bound + by
            for policy in POLICIES.values()
            for bound in (policy.evidence_ns_max, policy.quiet_ns_max, policy.lag_ns_max)
            for by in (-1, 0, 1)
        ]
    ),
    st.integers(-(2**63), 2**63 - 1).filter(lambda at: abs(at) < 2**62),
)


@given(
    fields=st.fixed_dictionaries(
        {
            "flags": st.one_of(st.sampled_from([0, 0, 4, 8]), st.integers(0, 2**32 - 1)),
            "recv_ns": TIMES,
            "proven_ns": TIMES,
            "venue_ts_ns": TIMES,
            "proof": st.integers(0, 9),
        }
    ),
    record=st.sampled_from([BBO, PAIR_BBO, DEPTH]),
    policy=st.sampled_from(list(POLICIES.values())),
    witness=st.builds(
        Witness,
        st.sampled_from([Liveness.LIVE, *Liveness]),
        st.integers(2, 4),
        TIMES,
        TIMES,
        st.one_of(st.none(), TIMES),
    ),
)
def test_whatever_is_quotable_has_a_living_writer_clean_flags_and_fresh_evidence(
    fields: dict[str, int], record: Record, policy: Policy, witness: Witness
) -> None:
    if record is DEPTH:
        del fields["proven_ns"]
    read = book(record, **fields)
    found, trust = gate(read, policy, NOW, witness)
    assert found is read
    assert (found, trust) == pure_gate(read, policy, NOW, witness)
    if trust.is_quotable:
        assert witness.liveness is Liveness.LIVE
        assert witness.incarnation == 3
        assert not fields["flags"] & int(sum(set(Flag) - {Flag.NO_BID, Flag.NO_ASK}))
        own = fields["recv_ns"], fields.get("proven_ns", 0)
        link = *own, witness.link_ns, witness.sibling_ns
        assert any(0 <= NOW - at <= policy.quiet_ns_max for at in own)
        assert any(0 <= NOW - at <= policy.evidence_ns_max for at in link)
        assert fields["recv_ns"] <= NOW


def test_the_gate_refuses_what_is_no_question() -> None:
    for arguments in ((), (book(),), (book(), FAST15M, NOW), (book(), FAST15M, NOW, ALIVE, 1)):
        with pytest.raises(TypeError):
            gate(*arguments)
    with pytest.raises(TypeError):
        gate(book(), FAST15M, NOW, wrong=ALIVE)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"now_ns": "now"}, "now_ns is 'now': it must be a whole number"),
        ({"now_ns": None}, "now_ns is None"),
        ({"now_ns": float(NOW)}, "now_ns is 1"),
        ({"now_ns": True}, "now_ns is True"),
        ({"policy": "fast15m"}, "policy is 'fast15m': it must be a Policy"),
        ({"policy": FAST15M._replace(evidence_ns_max="1")}, "policy is Policy"),
        ({"policy": FAST15M._replace(evidence_ns_max=math.nan)}, "policy is Policy"),
        ({"policy": FAST15M._replace(quiet_ns_max=1e30)}, "it must be a Policy of whole numbers"),
        ({"policy": FAST15M._replace(lag_ns_max=math.nan)}, "policy is Policy"),
        ({"policy": 10**400}, "policy is a number of many digits: it must be a Policy"),
        ({"policy": "fast15m", "book": None}, "policy is 'fast15m': it must be a Policy"),
        ({"witness": (1, 2)}, "witness is .1, 2.: it must be a Witness"),
        ({"witness": ALIVE._replace(link_ns="x")}, "witness is Witness"),
        ({"witness": ALIVE._replace(wall_offset_ns="x")}, "witness is Witness"),
        ({"witness": ALIVE._replace(wall_offset_ns=math.nan)}, "it must be a Witness of whole"),
        ({"witness": ALIVE._replace(liveness=99)}, "its liveness one of Liveness"),
        ({"book": 5}, "book is 5: it must be a record"),
    ],
    ids=str,
)
def test_the_gate_says_which_of_its_questions_parts_is_none(
    changed: dict[str, Any], said: str
) -> None:
    asked: dict[str, Any] = {
        "book": book(recv_ns=NOW - FAST15M.quiet_ns_max, venue_ts_ns=1), "policy": FAST15M,
        "now_ns": NOW, "witness": ALIVE._replace(wall_offset_ns=0),
    }  # fmt: skip
    with pytest.raises(TypeError, match=said):
        gate(*(asked | changed).values())


def test_numbers_beyond_any_word_are_judged_and_not_refused() -> None:
    for now_ns in (2**63 - 1, 2**63, 2**70, -(2**63) - 1, -(2**70), -1):
        assert gate(book(), FAST15M, now_ns, ALIVE)[1] is Trust.STALE
    for offset_ns in (2**62, 2**63 - 1, 2**63, 2**70):
        assert judge(book(venue_ts_ns=1), wall_offset_ns=offset_ns) is Trust.STALE
    for offset_ns in (-(2**63), -(2**70)):
        assert judge(book(venue_ts_ns=1), wall_offset_ns=offset_ns) is Trust.LIVE
    assert gate(book(), FAST15M._replace(evidence_ns_max=2**70), NOW, ALIVE)[1] is Trust.LIVE


def test_what_the_gate_holds_of_the_last_question_does_not_answer_the_next() -> None:
    quiet = book(recv_ns=NOW - FAST15M.quiet_ns_max)
    for _ in range(3):
        assert judge(quiet, FAST15M) is Trust.QUIET
        assert judge(quiet, LATENCY_ARB) is Trust.STALE
        assert judge(quiet, FAST15M, liveness=Liveness.STALLED) is Trust.STALLED
        assert gate(quiet, FAST15M, NOW, ALIVE)[1] is Trust.QUIET
        assert gate(quiet, LATENCY_ARB, NOW, ALIVE)[1] is Trust.STALE
        assert gate(quiet, FAST15M, NOW + 1, ALIVE)[1] is Trust.STALE
