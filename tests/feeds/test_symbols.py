import asyncio

import pytest

from cache.layout import BOARD_RECORDS, E9
from feeds import symbols
from feeds.symbols import boards, next_due, on_time
from tests.feeds.poll_world import SETTINGS


def test_every_board_holds_the_record_its_name_stands_for():
    for spec in boards(SETTINGS):
        assert BOARD_RECORDS[spec.name] is spec.record
        assert spec.slot_count in (SETTINGS.symbol_slots, 1)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (0, 1_234, 1_300),
        (1_300, 1_299, 1_400),
        (1_300, 1_300, 1_400),
        (1_300, 1_301, 1_400),
        (1_300, 1_405, 1_500),
        (1_300, 9_999, 10_000),
        (1_300, 700, 800),
    ],
)
def test_an_instant_is_served_once_whether_the_timer_is_early_late_or_the_clock_jumps(
    last, now, due
):
    assert next_due(last, now, 100) == due


def test_the_timer_calls_on_whole_fractions_of_the_second_and_says_how_late_it_is(monkeypatch):
    clock, calls = {"ns": 5 * E9 + 30_000_000}, []

    async def sleep(seconds):
        clock["ns"] += round(seconds * E9) + 7

    def tick(now_ns, due_ns, late_ns):
        calls.append((now_ns, due_ns, late_ns))
        if len(calls) == 3:
            raise StopIteration

    monkeypatch.setattr(symbols, "monotonic_ns", lambda: clock["ns"] + 11)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    timer = on_time(100, lambda: clock["ns"], tick)
    with pytest.raises(RuntimeError, match="StopIteration"):
        timer.send(None)
    assert [due_ns for _, due_ns, _ in calls] == [5 * E9 + n * 10**8 for n in (1, 2, 3)]
    assert {late_ns for _, _, late_ns in calls} == {7}
