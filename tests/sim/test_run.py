"""What the process writes into its segment, and reads of the one before it."""

from __future__ import annotations

import pytest

from cache.counters import Counter
from sim.client import Tally
from sim.run import counted


def test_everything_counted_has_a_counter_of_its_own():
    tally = Tally(*range(1, 8))
    named = {counter.name.removeprefix("sim_"): count for counter, count in counted(tally).items()}
    wanted = tally.as_dict()
    del wanted["bytes_sent"]
    assert named == wanted


def test_the_word_is_named_in_the_table():
    assert "behind" in Counter.sim_clock_behind_ns.text
    with pytest.raises(AttributeError):
        _ = Counter.sim_bytes_sent
