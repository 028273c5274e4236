import pytest

from host import idle
from host.idle import PARK_MAX_NS, SLEEP_STEP_NS, Park, Spin, Yield, make_idle, until_next


class Waits:
    """Stands for the bells: notes what is asked of it."""

    def __init__(self, bells):
        self.bells = bells
        self.calls = []

    def load(self):
        self.calls.append("load")

    def wait(self, timeout_ns):
        self.calls.append(timeout_ns)
        return True


@pytest.fixture
def slept(monkeypatch):
    found = []
    monkeypatch.setattr(idle.time, "sleep", found.append)
    monkeypatch.setattr(idle.time, "monotonic_ns", lambda: 1_000)
    return found


@pytest.mark.parametrize(("kind", "made"), [("spin", Spin), ("yield", Yield), ("park", Park)])
def test_the_configuration_names_the_strategy(kind, made):
    assert type(make_idle(kind, [])) is made


def test_nothing_waits_while_there_is_work(slept):
    for kind in ("spin", "yield", "park"):
        strategy = make_idle(kind, [])
        strategy.arm()
        strategy.idle(1)
    assert slept == []


def test_spin_never_sleeps_and_yield_only_gives_way(slept):
    Spin([]).idle(0)
    assert slept == []
    Yield([]).idle(0)
    assert slept == [0]


def test_park_without_bells_sleeps_in_short_steps(slept, monkeypatch):
    monkeypatch.setattr(idle, "_find_waiter", lambda: None)
    parked = Park(["bell"])
    parked.arm()
    parked.idle(0)
    parked.idle(0, until_ns=1_000 + 500)
    parked.idle(0, until_ns=1_000)
    assert slept == [SLEEP_STEP_NS / 1e9, 500 / 1e9]


def test_park_loads_the_bells_before_the_poll_and_waits_after(slept, monkeypatch):
    made = []
    monkeypatch.setattr(idle, "_find_waiter", lambda: lambda b: made.append(Waits(b)) or made[-1])
    bells = ["a"]
    parked = Park(bells)
    parked.arm()
    parked.idle(0)
    parked.arm()
    parked.idle(0, until_ns=1_700)
    assert made[0].calls == ["load", PARK_MAX_NS, "load", 700]
    bells.append("b")
    parked.arm()
    assert made[1].bells == ["a", "b"]
    assert slept == []


def test_the_list_of_bells_may_become_empty_and_the_process_still_looks(slept, monkeypatch):
    monkeypatch.setattr(idle, "_find_waiter", lambda: Waits)
    parked = Park([])
    parked.arm()
    parked.idle(0)
    assert slept == [SLEEP_STEP_NS / 1e9]


def test_timers_on_the_same_grid_fire_together():
    """Seen on a loop whose clock is a number: nothing waits."""
    fired = []

    async def sleep(delay_s):
        fired.append(round((clock[0] + delay_s) * 1e3))

    class Loop:
        def time(self):
            return clock[0]

    clock = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle.asyncio, "sleep", sleep)
        patch.setattr(idle.asyncio, "get_running_loop", Loop)
        for clock[0] in (12.301, 12.399, 12.4, 7_200.1):
            drive(until_next(100))
    assert fired == [12_400, 12_400, 12_500, 7_200_200]


def drive(coroutine):
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        coroutine.send(None)
