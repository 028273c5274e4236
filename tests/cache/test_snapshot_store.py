import struct

import msgspec
import pytest

from cache import board, pure_board
from cache.board import Miss
from cache.core import find
from cache.errors import BoardError
from cache.layout import SAMPLE, BoardSpec, tag_of
from cache.segment import ReaderSegment, WriterSegment
from cache.snapshot_store import RollingMids, SnapshotStore, SnapshotStoreWriter

ROLE, TAG, OTHER = "feed.store", tag_of("test", "store"), tag_of("test", "other")


class Mid(msgspec.Struct, frozen=True):
    mid_e9: int
    is_old: bool = False


def encode(mid):
    return (0, 0, 0, 0, 0, 0, 0, mid.mid_e9, 0)


class World:
    def __init__(self, namespace):
        self.namespace = namespace
        self.decoded = 0
        self.begin()
        self.reader_segment = ReaderSegment.attach(ROLE, namespace=namespace)
        self.board = self.reader_segment.board("mids_test")
        self.store = SnapshotStore(self.board, 1, TAG, decode=self.decode)

    def begin(self):
        specs = (BoardSpec("mids_test", SAMPLE, 2, 4),)
        self.segment = WriterSegment.create(ROLE, specs, namespace=self.namespace)
        self.writer = SnapshotStoreWriter(self.segment.board("mids_test"), 1, encode)
        self.writer.assign(TAG, 0)

    def decode(self, record, is_old):
        self.decoded += 1
        return Mid(record.mid_px_e9, is_old)

    def restart(self):
        self.segment.close()
        self.begin()


@pytest.fixture(params=["pure", "core"])
def world(request, namespace):
    core, absence = find("")
    if request.param == "core" and core is None:
        pytest.skip(absence)
    with pytest.MonkeyPatch.context() as patch:
        twin = core if request.param == "core" else pure_board
        for module in ("cache.segment", "cache.board"):
            patch.setattr(f"{module}.BoardWriter", twin.Writer)
            patch.setattr(f"{module}.BoardReader", twin.Reader)
        board.make_twin(twin)
        made = World(namespace)
        yield made
        made.segment.close()
        board.make_twin(core or pure_board)


def test_before_anything_was_published_there_is_nothing_and_number_0(world):
    assert world.store.read_latest() == (None, 0)
    assert (world.store.get_seq(), world.writer.get_seq()) == (0, 0)


def test_publish_returns_the_number_that_the_reader_finds_with_the_snapshot(world):
    for number in range(1, 12):
        assert world.writer.publish(Mid(number * 7)) == number
        assert world.store.get_seq() == number
        assert world.store.read_latest() == (Mid(number * 7), number)
    assert world.writer.get_seq() == 11


def test_a_snapshot_is_decoded_once_for_each_publication_and_stays_as_it_was(world):
    world.writer.publish(Mid(1))
    first, _ = world.store.read_latest()
    assert world.store.read_latest()[0] is first
    assert world.decoded == 1
    for _ in range(9):
        world.writer.publish(Mid(2))
    assert world.store.read_latest() == (Mid(2), 10)
    assert first == Mid(1)
    assert world.decoded == 2


def test_get_seq_decodes_nothing(world):
    world.writer.publish(Mid(1))
    assert world.store.get_seq() == 1
    assert world.decoded == 0


def test_numbers_grow_across_restarts_of_the_writer(world):
    seen = [world.writer.publish(Mid(1))]
    for _ in range(3):
        world.restart()
        seen.append(world.store.get_seq())
        seen.append(world.writer.publish(Mid(2)))
    assert seen == sorted(seen)
    assert seen[-1] == 4


def test_what_a_predecessor_published_is_told_from_what_this_writer_did(world):
    world.writer.publish(Mid(1))
    assert world.store.read_latest() == (Mid(1, is_old=False), 1)
    world.restart()
    assert world.store.read_latest() == (Mid(1, is_old=True), 1)
    world.writer.publish(Mid(1))
    assert world.store.read_latest() == (Mid(1, is_old=False), 2)


def test_a_slot_given_to_another_shows_nothing_of_it(world):
    world.writer.publish(Mid(1))
    assert world.store.read_latest() == (Mid(1), 1)
    world.writer.assign(OTHER, 1)
    world.writer.publish(Mid(2))
    assert world.store.read_latest() == (None, 2)
    assert world.store.read_latest() == (None, 2)
    world.writer.assign(TAG, 2)
    world.writer.publish(Mid(3))
    assert world.store.read_latest() == (Mid(3), 3)


def overtaken(world, results):
    """Let the next reads end as given; a callable is called first."""

    def read(slot, tag):
        found = results.pop(0)
        return found() if callable(found) else found

    world.store._read = read


def test_a_read_that_stayed_busy_gives_the_last_whole_snapshot_with_its_own_number(world):
    world.writer.publish(Mid(1))
    whole = world.store.read_latest()
    world.writer.publish(Mid(2))
    overtaken(world, [Miss.BUSY, Miss.BUSY])
    assert world.store.read_latest() == whole == (Mid(1), 1)
    assert world.store.get_seq() == 2
    assert world.store.read_latest() == whole
    world.store._read = world.board.read
    assert world.store.read_latest() == (Mid(2), 2)


def test_busy_before_any_whole_snapshot_is_none(world):
    world.writer.publish(Mid(1))
    overtaken(world, [Miss.BUSY])
    assert world.store.read_latest() == (None, 0)


def test_what_is_published_while_a_foreign_record_is_read_is_not_missed(world):
    world.writer.assign(OTHER, 1)
    world.writer.publish(Mid(1))

    def read_then_publish():
        world.writer.assign(TAG, 2)
        world.writer.publish(Mid(2))
        return Miss.OTHER_TAG

    overtaken(world, [read_then_publish])
    assert world.store.read_latest() == (None, 1)
    world.store._read = world.board.read
    assert world.store.read_latest() == (Mid(2), 2)


def test_a_reader_has_no_way_to_publish(world):
    assert not hasattr(world.store, "publish")
    assert not hasattr(world.board, "publish")
    assert world.board.memory.readonly


def test_what_does_not_fit_is_not_published(world):
    world.writer.publish(Mid(1))
    with pytest.raises((OverflowError, struct.error)):
        world.writer.publish(Mid(1 << 70))
    assert world.store.read_latest() == (Mid(1), 1)


# --- rolling mids -------------------------------------------------------------------------------


def rolling(world, tag=TAG):
    """Mids at times that are twice their number."""
    return RollingMids(
        world.board, 1, tag, take=lambda found: (2 * found["mid_px_e9"], found["mid_px_e9"])
    )


def lists(run):
    return [array.tolist() for array in run]


def test_mids_are_the_last_ones_oldest_first_as_far_as_the_board_keeps_them(world):
    mids = rolling(world)
    assert lists(mids.last(9)) == [[], []]
    for number in range(1, 6):
        world.writer.publish(Mid(number * 7))
    assert lists(mids.last(9)) == [[56, 70], [28, 35]]
    assert lists(mids.last(1)) == [[70], [35]]
    assert lists(rolling(world, OTHER).last(9)) == [[], []]


def test_mids_that_cannot_be_read_whole_are_those_of_the_last_time(world, monkeypatch):
    mids = rolling(world)
    monkeypatch.setattr(type(world.board), "history", lambda *_: Miss.BUSY)
    assert lists(mids.last(9)) == [[], []]
    monkeypatch.undo()
    for number in (1, 2):
        world.writer.publish(Mid(number))
    assert lists(mids.last(9)) == [[2, 4], [1, 2]]
    monkeypatch.setattr(type(world.board), "history", lambda *_: Miss.BUSY)
    world.writer.publish(Mid(3))
    assert lists(mids.last(9)) == [[2, 4], [1, 2]]
    assert lists(mids.last(1)) == [[4], [2]]


def test_nobody_can_write_to_mids_that_were_handed_out(world):
    world.writer.publish(Mid(1))
    for array in rolling(world).last(9):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("count", ["5", None, 1.5, True, 0, -1, -(10**30)])
def test_a_number_of_mids_that_is_none_is_refused(world, count):
    with pytest.raises(BoardError, match=r"^the number of mids is .*: it must be a whole number"):
        rolling(world).last(count)


def test_without_a_board_there_are_no_mids(world):
    assert lists(RollingMids(None, 1, TAG, take=lambda found: found).last(9)) == [[], []]
