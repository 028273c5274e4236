from host import clock
from host.clock import NS_PER_S, SuspendWatch, latest_ns, monotonic_ns, slept_ns, wall_ns


def test_a_suspend_is_seen_once_and_jitter_is_not_one():
    readings = iter([0, 3_000, 90_000_000, 5 * NS_PER_S, 5 * NS_PER_S + 1_000])
    watch = SuspendWatch(lambda: next(readings))
    assert [watch.poll() for _ in range(4)] == [0, 0, 5 * NS_PER_S - 90_000_000, 0]


def test_no_event_is_later_than_now_but_of_a_replay_which_may_outrun_the_clock(monkeypatch):
    assert latest_ns() - wall_ns() < NS_PER_S
    monkeypatch.setattr(clock, "_behind_ns", NS_PER_S)
    assert latest_ns() > wall_ns() + 10**9 * NS_PER_S


def test_the_clocks_are_those_of_the_kernel():
    assert monotonic_ns() <= monotonic_ns()
    assert wall_ns() > 1_600_000_000 * NS_PER_S
    assert slept_ns() > -NS_PER_S
    assert SuspendWatch().poll() == 0
