import io

import pytest

from cache.counters import Counter
from host.log import Log, Sink
from host.unreadable import Unreadable


class Tally(dict):
    def add(self, counter, count=1):
        self[counter] = self.get(counter, 0) + count


@pytest.fixture
def met():
    sink = Sink()
    sink.stream = io.StringIO()
    tally = Tally()
    made = Unreadable(tally, Log("executor", sink))
    return made, tally, sink.stream


def test_a_record_that_just_lies_there_is_told_once(met):
    made, tally, lines = met
    for _ in range(3):
        made.note("feed.x trades", 0, 7)
    assert tally == {Counter.cache_record_unreadable: 1}
    text = lines.getvalue()
    assert text.count("\n") == 1
    assert 'executor.record_unreadable board="feed.x trades" slot=0 version=7' in text


def test_the_next_version_and_another_slot_are_told_of_their_own(met):
    made, tally, _ = met
    made.note("feed.x trades", 0, 7)
    made.note("feed.x trades", 0, 8)
    made.note("feed.x trades", 1, 8)
    made.note("feed.y trades", 0, 8)
    assert tally == {Counter.cache_record_unreadable: 4}
