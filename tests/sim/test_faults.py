"""What becomes of a frame under each fault, with the clock in the test's hand."""

from __future__ import annotations

from sim.faults import HELD_COUNT_MAX, Faults, Verdict

MS = 1_000_000


def verdicts(faults, count):
    return [faults.judge(["client"], b"%d" % number) for number in range(count)]


def test_a_quiet_channel_is_not_active_and_sends():
    faults = Faults()
    assert not faults.is_active
    assert faults.judge(["client"], b"x") is Verdict.SEND


def test_a_frozen_channel_loses_every_frame_until_it_thaws():
    faults = Faults()
    faults.freeze()
    assert faults.is_active
    assert verdicts(faults, 3) == [Verdict.LOSE] * 3
    faults.freeze(False)
    assert not faults.is_active


def test_lost_and_doubled_frames_are_as_many_as_told_and_then_it_is_quiet():
    faults = Faults()
    faults.lose(2)
    assert verdicts(faults, 3) == [Verdict.LOSE, Verdict.LOSE, Verdict.SEND]
    faults.duplicate(1)
    assert verdicts(faults, 2) == [Verdict.TWICE, Verdict.SEND]
    assert not faults.is_active


def test_held_frames_come_once_and_in_order_when_their_time_is_over():
    faults = Faults()
    faults.hold(10 * MS, 0)
    assert verdicts(faults, 3) == [Verdict.HOLD] * 3
    assert faults.due(9 * MS) == ([], 0)
    held, lost = faults.due(10 * MS)
    assert [frame for _, frame in held] == [b"0", b"1", b"2"]
    assert lost == 0
    assert not faults.is_active
    assert faults.judge(["client"], b"x") is Verdict.SEND


def test_a_hold_that_lasts_makes_burst_after_burst():
    faults = Faults()
    faults.hold(10 * MS, 0, lasting_ns=25 * MS)
    bursts = []
    for now_ms in range(1, 60):
        faults.judge(["client"], b"%d" % now_ms)
        held, _ = faults.due(now_ms * MS)
        if held:
            bursts.append(now_ms)
    assert bursts == [10, 20, 30]


def test_what_is_held_is_bounded_and_the_oldest_are_lost_and_counted():
    faults = Faults()
    faults.hold(10 * MS, 0)
    for number in range(HELD_COUNT_MAX + 5):
        faults.judge([], b"%d" % number)
    assert faults.due(1)[1] == 5
    held, lost = faults.due(10 * MS)
    assert (len(held), lost, held[0][1]) == (HELD_COUNT_MAX, 0, b"5")


def test_newcomers_are_refused_only_while_told():
    faults = Faults()
    assert faults.refusal(0) is None
    faults.refuse(503, 0, 10)
    assert faults.refusal(9) == 503
    assert faults.refusal(10) is None
    faults.refuse(0, 0, 10)
    assert faults.refusal(5) == 0


def test_a_reset_ends_all_and_lets_go_what_was_held():
    faults = Faults()
    faults.freeze()
    faults.refuse(503, 0, 10)
    faults.clear()
    faults.hold(10 * MS, 0)
    faults.judge([], b"x")
    faults.clear()
    assert faults.refusal(1) is None
    assert [frame for _, frame in faults.due(0)[0]] == [b"x"]
    assert not faults.is_active


def test_topics_freeze_one_by_one_and_a_reset_thaws_them():
    faults = Faults()
    faults.freeze_topics(["a", "b"])
    faults.freeze_topics(["c"])
    faults.freeze_topics(["b"], False)
    assert faults.frozen_topics == {"a", "c"}
    assert not faults.is_active, "it is the channel that cuts them out"
    faults.clear()
    assert faults.frozen_topics == frozenset()
