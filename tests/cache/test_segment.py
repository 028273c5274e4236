import os
import time

import pytest

from cache.errors import (
    AlreadyRunning,
    BoardError,
    SegmentError,
    SegmentMissing,
    SegmentRemoved,
)
from cache.layout import BBO, HEADER_AT, TRADE, BoardSpec, State, tag_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment, WriterSegment, roles

BOARDS = (BoardSpec("bbo", BBO, 4, 8), BoardSpec("trades", TRADE, 1, 64))
TAG = tag_of("binance", "BTCUSDT")
VALUES = tuple(range(1, 1 + len(BBO.value_names)))


@pytest.fixture
def writer(namespace):
    made = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    yield made
    made.close()


def test_what_is_published_is_read_by_name(writer, namespace):
    board = writer.board("bbo")
    board.assign(2, TAG, 5)
    board.publish(2, VALUES)
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    found = reader.board("bbo").read(2, TAG)
    assert (found.tag, found.generation, found.incarnation, found.version) == (TAG, 5, 1, 1)
    names = BBO.value_names
    assert tuple(getattr(found, name) for name in names) == VALUES


def test_a_segment_says_who_made_it_and_what_it_holds(writer, namespace):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    assert (reader.role, reader.pid, reader.incarnation) == ("feed.x", os.getpid(), 1)
    assert reader.state == State.BOOT
    assert [place.spec for place in reader.places().values()] == list(BOARDS)
    assert os.stat(reader.path).st_mode & 0o777 == 0o600


def test_a_board_that_is_not_there_is_an_error_that_names_those_that_are(writer, namespace):
    with pytest.raises(BoardError, match="bbo, trades"):
        ReaderSegment.attach("feed.x", namespace=namespace).board("depth")


def test_there_is_no_segment_before_its_writer_made_it(namespace):
    with pytest.raises(SegmentMissing, match="is its writer running"):
        ReaderSegment.attach("feed.x", namespace=namespace)


def test_a_second_writer_is_refused_and_told_the_first_ones_pid(writer, namespace):
    with pytest.raises(AlreadyRunning, match=rf"living writer \(pid {os.getpid()}\)"):
        WriterSegment.create("feed.x", BOARDS, namespace=namespace)


def test_a_restarted_writer_adopts_the_segment_and_goes_on_counting(writer, namespace):
    board = writer.board("bbo")
    board.assign(0, TAG, 3)
    board.publish(0, VALUES)
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer.close()
    again = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    assert (again.incarnation, reader.incarnation) == (2, 2)
    assert reader.is_current()
    last = again.board("bbo").last(0)
    assert (last.tag, last.generation, last.version, last.incarnation) == (TAG, 3, 1, 1)
    again.board("bbo").assign(0, TAG, 3)
    assert again.board("bbo").publish(0, VALUES) == 2
    again.close()


class Watched(WriterSegment):
    """A writer whose every store into the header is followed by a look of a reader."""

    def __init__(self, path, memory, descriptor, lock):
        super().__init__(path, memory, descriptor, lock)
        self._words = self
        self._stored = memoryview(memory).cast("Q")
        self.seen = []

    def __getitem__(self, index):
        return self._stored[index]

    def __setitem__(self, index, value):
        self._stored[index] = value
        names = ("incarnation", "state", "pid", "started_ns", "link_ns")
        self.seen.append(tuple(self._stored[HEADER_AT[name] >> 3] for name in names))


def test_an_adopted_segment_shows_its_new_incarnation_before_anything_else(writer, namespace):
    writer.set_state(State.RUN)
    writer.set_link(77)
    started_ns = writer._words[HEADER_AT["started_ns"] >> 3]
    writer.close()
    again = Watched.create("feed.x", BOARDS, namespace=namespace)
    # Else records of the dead writer would be as good as its successor's for a moment.
    assert again.seen[0] == (2, State.RUN, os.getpid(), started_ns, 77)
    assert again.seen[1][:2] == (2, State.BOOT)
    assert {seen[0] for seen in again.seen} == {2}
    assert again.seen[-1][-1] == 0, "the link is not proven in this incarnation"
    again.close()


def test_a_board_that_holds_another_record_than_its_name_says_is_an_error(namespace):
    foreign = WriterSegment.create("feed.y", (BoardSpec("depth", BBO, 2, 4),), namespace=namespace)
    reader = ReaderSegment.attach("feed.y", namespace=namespace)
    for segment in (foreign, reader):
        with pytest.raises(BoardError, match="board 'depth' holds bbo, must hold depth"):
            segment.board("depth")
    foreign.close()


def test_words_of_a_header_that_say_nothing_stop_no_reader(writer, namespace):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer._words[HEADER_AT["state"] >> 3] = 99
    writer._view[HEADER_AT["role"] : HEADER_AT["role"] + 2] = b"\xff\xfe"
    assert reader.state is None
    assert reader.role.startswith("\ufffd")


def test_other_boards_get_a_new_file_and_the_old_one_is_retired(writer, namespace):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer.close()
    other = WriterSegment.create("feed.x", BOARDS[:1], namespace=namespace)
    assert not reader.is_current()
    assert reader.liveness(time.monotonic_ns()) == Liveness.RETIRED
    assert list(ReaderSegment.attach("feed.x", namespace=namespace).places()) == ["bbo"]
    other.close()


@pytest.mark.parametrize("suffix", ["", ".lock"])
def test_a_removed_segment_or_lock_is_noticed_at_the_next_heartbeat(writer, namespace, suffix):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer.heartbeat(1)
    os.unlink(writer.path + suffix)
    with pytest.raises(SegmentRemoved, match="RemoveIPC"):
        writer.heartbeat(2)
    assert reader.is_current() == (suffix == ".lock")


def test_a_reader_cannot_write_through_its_own_mapping(writer, namespace):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    with pytest.raises(TypeError, match=r"read-only|readonly"):
        reader.bell_word[0][0] = 1


def test_the_bell_grows_by_one_a_ring_and_wraps(writer, namespace):
    view, offset = ReaderSegment.attach("feed.x", namespace=namespace).bell_word
    before = view.cast("I")[offset >> 2]
    writer.ring()
    writer.ring()
    assert view.cast("I")[offset >> 2] == before + 2


def test_header_words_are_seen_by_readers_as_they_are_set(writer, namespace):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer.set_state(State.RUN)
    writer.turn(3)
    writer.set_link(44)
    writer.bump_epoch()
    now = time.monotonic_ns()
    writer.heartbeat(now)
    assert (reader.state, reader.loop_count, reader.link_ns, reader.epoch) == (State.RUN, 3, 44, 1)
    assert reader.liveness(now) == Liveness.LIVE
    assert reader.liveness(now + 10**9) == Liveness.STALLED
    writer.close()
    assert reader.liveness(now + 10**9) == Liveness.WRITER_DEAD


def test_a_heartbeat_after_the_caller_read_the_clock_is_not_from_the_future(writer, namespace):
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer.set_state(State.RUN)
    before = time.monotonic_ns()
    writer.heartbeat(time.monotonic_ns())
    assert reader.liveness(before) == Liveness.LIVE
    writer.heartbeat(time.monotonic_ns() + 10**12)
    assert reader.liveness(before) == Liveness.STALLED


def test_a_retired_segment_is_as_good_as_none(writer, namespace):
    writer.close(retire=True)
    with pytest.raises(SegmentMissing, match="removed or replaced"):
        ReaderSegment.attach("feed.x", namespace=namespace)


def test_whoever_may_read_the_segment_may_ask_who_holds_it(namespace):
    made = WriterSegment.create("feed.y", BOARDS, namespace=namespace, mode=0o640)
    modes = {os.stat(made.path + suffix).st_mode & 0o777 for suffix in ("", ".lock")}
    assert modes == {0o640}
    made.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"role": None}, "role is None: it must be 1 to 63 letters, digits"),
        ({"role": ""}, "role is ''"),
        ({"role": "feed mine"}, "role is 'feed mine'"),
        ({"role": "../feed"}, "role is '../feed'"),
        ({"role": "feed.x.lock"}, "role is 'feed.x.lock'"),
        ({"role": "x" * 64}, "role is 'x"),
        ({"role": 10**400}, "role is a number of many digits"),
        ({"namespace": None}, "namespace is None"),
        ({"namespace": "a.b"}, "namespace is 'a.b'"),
        ({"namespace": "/tmp/x"}, "namespace is '/tmp/x'"),
        ({"boards": None}, "boards is None: it must be BoardSpecs"),
        ({"boards": (None,)}, "boards is .None,.: it must be BoardSpecs"),
        ({"mode": "0600"}, "mode is '0600': it must be 0o600, 0o640 or 0o644"),
        ({"mode": 600}, "mode is 600"),
        ({"mode": 0o666}, "mode is 438"),
        ({"mode": 0o400}, "mode is 256"),
    ],
    ids=str,
)
def test_what_no_segment_can_be_made_of_is_named_and_leaves_nothing(namespace, changed, said):
    given = {"role": "feed.x", "boards": BOARDS, "namespace": namespace} | changed
    with pytest.raises(SegmentError, match=f"^{said}"):
        WriterSegment.create(**given)
    assert roles(namespace) == []
    WriterSegment.create("feed.x", BOARDS, namespace=namespace).close(remove=True)


@pytest.mark.parametrize("name", ["role", "namespace"])
@pytest.mark.parametrize("value", [None, 5, b"feed.x", 10**400])
def test_a_segment_is_found_by_text_alone(name, value):
    with pytest.raises(TypeError, match=f"^{name} is .*: it must be text"):
        ReaderSegment.attach(**{"role": "feed.x", name: value})


@pytest.mark.parametrize("value", [None, "5", 1.5, -1, 2**64, 10**400])
def test_a_time_that_no_header_can_hold_is_named_and_changes_nothing(writer, value):
    writer.heartbeat(7)
    writer.set_link(8)
    with pytest.raises(TypeError, match=r"^heartbeat_ns is .*: it must be a whole number"):
        writer.heartbeat(value)
    with pytest.raises(TypeError, match=r"^link_ns is .*: it must be a whole number"):
        writer.set_link(value)
    with pytest.raises(TypeError, match=r"^state is .*: it must be a whole number"):
        writer.set_state(value)
    assert (writer.heartbeat_ns, writer._word("link_ns"), writer.state) == (7, 8, State.BOOT)
