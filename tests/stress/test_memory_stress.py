"""The long runs of the memory suites (`make stress`): the same actors, many more trials."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.memory_world import Actor, stage, twins
from tests.system.test_memory_bells import METHODS, pingpong
from tests.system.test_memory_crash import crash
from tests.system.test_memory_lives import stop_a_reader
from tests.system.test_memory_races import LINGER, hunt, is_clean

pytestmark = pytest.mark.stress

KILLS = 10_000
RESTARTS = 1_000
HUNT_SECONDS = 20.0
STOP_SECONDS = 60.0
WAKES = {"sleep": 30_000, "futex": 1_000_000, "futex_waitv": 1_000_000}
SLEEPING_PAIRS = 8
"""A sleep ends by itself after a millisecond, so there is no wake that it could lose: what is tried
is that the look after it finds everything. 8 pairs in half a minute, a quarter of a million looks.
"""


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(Actor, "patience_s", 3600.0)


@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_ten_thousand_killed_writers_leave_the_last_whole_record(kind):
    crash(kind, KILLS, time.time_ns() % 1_000_000)


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_a_writer_that_restarts_a_thousand_times_goes_on_each_time(kind):
    with stage() as play:
        options = {"trials": 2 * RESTARTS, "seed": 1, "how": "leisure"}
        controller = play.play("crash", twin="steps" if kind == "core" else kind, **options)
        found = controller.report()
    print(f"\n{kind}: {found}")
    assert found["faults"] == []
    assert found["incarnation"] == 2 * RESTARTS + 1
    for reader in found["readers"]:
        assert (reader["torn"], reader["backward"], reader["misses"]) == (0, 0, 0)


@pytest.mark.parametrize("record", ["pair_bbo", "depth"])
@pytest.mark.parametrize("cells", [4, 8, 64])
@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_the_torn_read_hunt_finds_nothing(kind, cells, record):
    is_clean(hunt(kind, kind, cells, seconds=HUNT_SECONDS, record=record))


@pytest.mark.parametrize("cells", [4, 8, 64])
@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_nor_where_readers_linger_in_the_middle_of_every_copy(kind, cells):
    options = {"seconds": HUNT_SECONDS, "linger": LINGER[kind]}
    is_clean(hunt(kind, kind, cells, **options))


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_a_reader_stopped_for_a_minute_harms_nobody(kind):
    with stage() as play:
        print(stop_a_reader(play, kind, STOP_SECONDS))


@pytest.mark.parametrize("method", METHODS)
def test_no_wake_is_lost_in_a_million(method):
    seed = time.time_ns() % 1_000_000
    pairs = SLEEPING_PAIRS if method == "sleep" else 1
    with ThreadPoolExecutor(pairs) as players:
        games = [players.submit(pingpong, method, WAKES[method], seed + n) for n in range(pairs)]
    for game in games:
        game.result()
