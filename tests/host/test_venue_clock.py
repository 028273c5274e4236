import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counter
from cache.segment import WriterSegment
from host import clock
from host.config import load
from host.venue_clock import behind_ns, follow, from_word, is_replayed, to_word

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def namespace(namespace, monkeypatch):
    monkeypatch.setenv("PENSTOCK_HOST_NAMESPACE", namespace)
    yield namespace
    clock.set_behind_ns(0)


def say_behind(namespace, shift_ns):
    made = WriterSegment.create("sim", (), namespace=namespace)
    made.counters.set(Counter.sim_clock_behind_ns, to_word(shift_ns))
    made.close()


@given(st.integers(-(2**62), 2**62))
def test_a_clock_ahead_or_behind_comes_back_from_its_word(shift_ns):
    assert from_word(to_word(shift_ns)) == shift_ns


def test_without_a_simulated_venue_nothing_is_behind(namespace):
    assert behind_ns(namespace) == 0


@pytest.mark.parametrize("shift_ns", [5 * HOUR_NS, -5 * HOUR_NS])
def test_a_replay_is_followed_and_a_model_is_not(namespace, monkeypatch, shift_ns):
    say_behind(namespace, shift_ns)
    assert behind_ns(namespace) == shift_ns
    follow(load(None))
    assert abs(clock.wall_ns() - time.time_ns()) < HOUR_NS
    monkeypatch.setenv("PENSTOCK_SIM_MODE", "replay")
    monkeypatch.setenv("PENSTOCK_SIM_RECORDINGS", '["some.jsonl.gz"]')
    follow(load(None))
    assert abs(clock.wall_ns() - (time.time_ns() - shift_ns)) < HOUR_NS


@pytest.mark.parametrize(
    ("embedded", "mode", "expected"),
    [("true", "replay", True), ("true", "model", False), ("false", "replay", False)],
)
def test_only_the_embedded_venue_is_ever_a_recording(monkeypatch, embedded, mode, expected):
    monkeypatch.setenv("PENSTOCK_SIM_EMBEDDED", embedded)
    monkeypatch.setenv("PENSTOCK_SIM_MODE", mode)
    monkeypatch.setenv("PENSTOCK_SIM_RECORDINGS", '["some.jsonl.gz"]')
    assert is_replayed(load(None)) == expected
