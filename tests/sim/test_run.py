"""What the process writes into its segment, and reads of the one before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counter
from sim.client import Tally
from sim.run import counted, from_word


def test_everything_counted_has_a_counter_of_its_own():
    tally = Tally(*range(1, 8))
    named = {counter.name.removeprefix("sim_"): count for counter, count in counted(tally).items()}
    wanted = tally.as_dict()
    del wanted["bytes_sent"]
    assert named == wanted


@given(st.integers(-(2**62), 2**62))
def test_a_clock_ahead_or_behind_comes_back_from_its_word(behind_ns):
    assert from_word(behind_ns % 2**64) == behind_ns


def test_the_word_is_named_in_the_table():
    assert "behind" in Counter.sim_clock_behind_ns.text
    with pytest.raises(AttributeError):
        _ = Counter.sim_bytes_sent
