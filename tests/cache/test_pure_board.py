"""What can be told of the pure twin alone: its order of stores and loads, step by step.

What both twins have in common is in test_board. The rule itself is tried by exhaustion here: every
interleaving of a writer and a reader on a small model of a slot.
"""

import mmap

import pytest

from cache import board, pure_board
from cache.layout import BBO, BoardSpec, place_boards
from cache.pure_board import RETRY_MAX, Miss

TAG = 77
VALUES = tuple(range(1, 1 + len(BBO.value_names)))


@pytest.fixture
def ground():
    board.make_twin(pure_board)
    places, total = place_boards((BoardSpec("top", BBO, 2, 4),))
    memory = memoryview(mmap.mmap(-1, total))
    writer = pure_board.Writer(memory, places[0], 1)
    writer.assign(0, TAG, 0)
    return writer, pure_board.Reader(memory, places[0])


class Overtaking:
    """A reader's memory in which the writer publishes `laps` records during every copy."""

    def __init__(self, source, writer, laps):
        self.source, self.writer, self.laps = source, writer, laps

    def __getitem__(self, where):
        for _ in range(next(self.laps, 0)):
            self.writer.publish(0, VALUES)
        return self.source[where]


def test_the_cell_is_stored_before_the_version(ground, monkeypatch):
    writer, reader = ground
    writer.publish(0, VALUES)
    seen = []
    pack_into = writer._pack_into

    def pack(*args):
        seen.append(reader.version(0))
        pack_into(*args)
        seen.append(reader.version(0))

    writer._pack_into = pack
    writer.publish(0, VALUES)
    assert seen == [1, 1]
    assert reader.version(0) == 2


@pytest.mark.parametrize(("laps", "retries"), [(0, 0), (2, 0), (3, 1), (4, 1)])
def test_a_copy_is_thrown_away_once_the_writer_is_k_minus_1_further(ground, laps, retries):
    writer, reader = ground
    writer.publish(0, VALUES)
    reader._source = Overtaking(reader._source, writer, iter([laps]))
    found = reader.read(0, TAG)
    assert (reader.retry_count, reader.busy_count) == (retries, 0)
    assert found.version == (1 + laps if retries else 1)


@pytest.mark.parametrize(("laps", "retries"), [(1, 0), (2, 1)])
def test_a_history_of_n_is_thrown_away_n_minus_1_earlier(ground, laps, retries):
    writer, reader = ground
    for _ in range(3):
        writer.publish(0, VALUES)
    reader._source = Overtaking(reader._source, writer, iter([0, 0, laps]))
    assert len(reader.copy_last(0, 2)) == 2 * BBO.size
    reader._source.laps = iter([laps])
    assert len(reader.copy_last(0, 2)) == 2 * BBO.size
    assert reader.retry_count == retries


def test_a_reader_that_is_always_overtaken_gives_up_with_busy_and_counts_it(ground):
    writer, reader = ground
    writer.publish(0, VALUES)
    reader._source = Overtaking(reader._source, writer, iter([9] * 1000))
    assert reader.read(0, TAG) is Miss.BUSY
    assert (reader.retry_count, reader.busy_count) == (RETRY_MAX, 1)
    assert reader.copy_last(0, 1) is Miss.BUSY
    assert (reader.retry_count, reader.busy_count) == (2 * RETRY_MAX, 2)
    assert reader.read_version(0, writer.version(0)) is Miss.BUSY


# --- the rule, by exhaustion ------------------------------------------------------------------

WORDS = 2


def writer_states(cell_count, records, crash_at):
    """Every state of a slot while `records` are published, one store a step.

    At step `crash_at` the writer dies, and a new one goes on from what the memory says.
    """
    version, cells = 0, [[0] * WORDS for _ in range(cell_count)]
    step = 0
    yield version, [list(cell) for cell in cells]
    while version < records:
        following = version + 1
        for word in range(WORDS):
            if step == crash_at:
                step += 1
                break  # dead between two stores: the next writer begins the record again
            cells[following % cell_count][word] = following
            step += 1
            yield version, [list(cell) for cell in cells]
        else:
            version = version if step == crash_at else following  # dead before W3: again
            step += 1
            yield version, [list(cell) for cell in cells]


def torn_copies(cell_count, reach, *, crash_at=-1):
    """How many accepted copies are not whole, over every placing of a reader's four loads."""
    states = list(writer_states(cell_count, 2 * cell_count + 2, crash_at))
    torn = 0
    for first in range(len(states)):
        version = states[first][0]
        if not version:
            continue
        cell = version % cell_count
        # Both words read at any two later instants, the version again at any instant after them.
        for early in range(first, len(states)):
            for late in range(early, len(states)):
                copies = (
                    (states[early][1][cell][0], states[late][1][cell][1]),
                    (states[late][1][cell][0], states[early][1][cell][1]),  # copied from the end
                )
                accepted = states[late][0] - version <= reach  # the soonest check accepts most
                torn += accepted and any(copy != (version,) * WORDS for copy in copies)
    return torn


@pytest.mark.parametrize("cell_count", [4, 8])
def test_no_interleaving_tears_a_copy_the_rule_accepts(cell_count):
    assert torn_copies(cell_count, cell_count - 2) == 0


@pytest.mark.parametrize("crash_at", range(0, 24))
def test_nor_does_one_with_a_writer_that_dies_and_is_replaced(crash_at):
    assert torn_copies(4, 2, crash_at=crash_at) == 0


def test_the_rule_off_by_one_tears():
    assert torn_copies(4, 3) > 0
