from host.clock import NS_PER_S, SuspendWatch, monotonic_ns, slept_ns, wall_ns


def test_a_suspend_is_seen_once_and_jitter_is_not_one():
    readings = iter([0, 3_000, 90_000_000, 5 * NS_PER_S, 5 * NS_PER_S + 1_000])
    watch = SuspendWatch(lambda: next(readings))
    assert [watch.poll() for _ in range(4)] == [0, 0, 5 * NS_PER_S - 90_000_000, 0]


def test_the_clocks_are_those_of_the_kernel():
    assert monotonic_ns() <= monotonic_ns()
    assert wall_ns() > 1_600_000_000 * NS_PER_S
    assert slept_ns() > -NS_PER_S
    assert SuspendWatch().poll() == 0
