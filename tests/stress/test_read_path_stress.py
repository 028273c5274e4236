"""The long runs of the read path (`make stress`): the same actors, many more stops and kills."""

import random
import signal
import time

import pytest

from cache.gate import Trust
from tests.system.memory_world import Actor, stage, twins, wait_for
from tests.system.test_read_path import (
    Eye,
    begin,
    is_stopped,
    scan_them_all,
    stop,
    stops_in_the_middle,
)

pytestmark = pytest.mark.stress

STOPS = 2_000
SCAN_SECONDS = 30.0
TURNS = 100_000
MISHAPS = 60


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(Actor, "patience_s", 3600.0)


@pytest.fixture
def play():
    with stage() as made:
        yield made


@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_two_thousand_stops_in_the_middle_of_records_disturb_no_read(play, kind):
    print(f"\n{kind}: {stops_in_the_middle(play, kind, STOPS)} in the middle")


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_no_change_is_lost_among_ten_thousand_slots_for_half_a_minute(play, kind):
    assert scan_them_all(play, kind, SCAN_SECONDS) > 500_000


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_no_read_of_a_hundred_thousand_makes_a_system_call(play, kind):
    begin(play, "beat", twin=kind)
    reader = begin(play, "strict", twin=kind, trials=TURNS)
    found = reader.report()
    if "skip" in found:
        pytest.skip(f"the kernel forbids nothing here: {found['skip']}")
    assert found == {"reads": 2 * TURNS, "faults": []}


def test_nothing_is_quotable_without_evidence_while_everybody_is_stopped_and_killed(play):
    """Readers hold every verdict against the clock; whatever happens, none is at fault."""
    seed = time.time_ns() % 1_000_000
    rng, kind = random.Random(seed), twins("pure", "core")[-1]
    writer = begin(play, "beat", twin=kind)
    judges = [begin(play, "judge", twin=one, pause_us=200) for one in twins("pure", "core")]
    eye = Eye(play.namespace)
    for _ in range(MISHAPS):
        time.sleep(rng.uniform(0.0, 0.3))
        whom = rng.choice([*judges, writer, None])
        if whom is None:
            writer.signal(signal.SIGKILL)
            writer.wait()
            time.sleep(rng.uniform(0.0, 1.0))
            writer = begin(play, "beat", twin=kind)
            continue
        stop(whom)
        time.sleep(rng.uniform(0.0, 1.2))
        whom.signal(signal.SIGCONT)
        wait_for(lambda one=whom: not is_stopped(one))
    wait_for(lambda: eye.look()[1] == Trust.LIVE)
    found = [judge.end() for judge in judges]
    print(f"\nseed {seed}: {found}")
    for facts in found:
        assert facts["faults"] == []
        assert facts["quotable"] > 0
        assert facts["trusts"].keys() - {"LIVE", "QUIET"}, "it saw what must not be quoted on"
