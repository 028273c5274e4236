"""Both twins of the boards, under one suite; what only the pure one has is in test_pure_board."""

import gc
import mmap
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import board, pure_board
from cache.board import last_run
from cache.core import find
from cache.errors import BoardError
from cache.layout import (
    BBO,
    DEPTH,
    FILL,
    HEADER_AT,
    INSTRUMENT,
    PAIR_BBO,
    RECORDS,
    TRADE,
    BoardSpec,
    place_boards,
    tag_of,
)
from cache.pure_board import RETRY_MAX, Miss

CORE, ABSENCE = find("")
TAG = tag_of("binance", "BTCUSDT")
ORDER_ID = b"\0" + bytes(range(200, 230)) + b"\0"
OTHER = tag_of("binance", "ETHUSDT")


@pytest.fixture(params=["pure", "core"], autouse=True)
def twin(request):
    if request.param == "core" and CORE is None:
        pytest.skip(ABSENCE)
    chosen = CORE if request.param == "core" else pure_board
    board.make_twin(chosen)
    return chosen


def example(record, seed=1):
    """One value for each that publish wants, different ones."""
    values = []
    for number, field in enumerate(record.fields[3:], start=seed):
        if field.name == "reserved":
            continue
        if field.is_text:
            values.append(f"text {number}".encode()[: field.width])
        elif field.is_raw:
            values.append(bytes(range(256 - field.width, 256))[: field.width - 1] + b"\0")
        elif field.kind[0] == "i":
            values += [-(number * 10**8) - index for index in range(field.count)]
        else:
            values += [number + index for index in range(field.count)]
    return tuple(values)


class Ground:
    """One board in memory of its own, with a writer and a reader."""

    def __init__(self, twin, record=BBO, slots=4, cells=8):
        places, total = place_boards((BoardSpec("top", record, slots, cells),))
        self.memory = memoryview(mmap.mmap(-1, total))
        self.place = places[0]
        self.record = record
        self.writer = twin.Writer(self.memory, self.place, 7)
        self.reader = twin.Reader(self.memory, self.place)

    def publish(self, slot=0, seed=1):
        return self.writer.publish(slot, example(self.record, seed))

    def set_version(self, slot, version):
        self.memory.cast("Q")[(self.place.versions_offset >> 3) + slot] = version


@pytest.fixture
def ground(twin):
    made = Ground(twin)
    made.writer.assign(0, TAG, 3)
    return made


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_field_of_every_record_is_read_as_it_was_published(twin, record):
    ground = Ground(twin, record)
    ground.writer.assign(2, TAG, 3)
    values = example(record)
    assert ground.writer.publish(2, values) == 1
    found = ground.reader.read(2, TAG)
    assert (found.tag, found.incarnation, found.generation, found.version) == (TAG, 7, 3, 1)
    expected = {"tag": TAG, "incarnation": 7, "generation": 3}
    left = list(values)
    for field in record.fields[3:]:
        if field.name == "reserved":
            continue
        taken, left = left[: field.count], left[field.count :]
        value = taken[0].decode() if field.is_text else taken[0]
        expected[field.name] = value if field.count == 1 else tuple(taken)
        assert getattr(found, field.name) == expected[field.name], field.name
    shown = {name: value for name, value in expected.items() if not name.startswith("reserved")}
    assert found.as_dict() == shown
    assert repr(found) == (
        f"<{record.name} v1 " + " ".join(f"{k}={v!r}" for k, v in shown.items()) + ">"
    )
    assert isinstance(found, twin.Snapshot)
    assert type(found) is twin.snapshot_types[record.name]
    assert found.record is record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_the_bytes_in_the_cell_are_those_of_the_layout(twin, record):
    ground = Ground(twin, record)
    values = example(record)
    ground.writer.publish_tagged(0, TAG, 9, values)
    tail = (b"",) if record.fields[-1].name == "reserved" else ()
    wanted = record.struct.pack(TAG, 7, 9, *values, *tail)
    at = ground.place.cells_offset + record.size  # version 1 lies in cell 1
    assert bytes(ground.memory[at : at + record.size]) == wanted
    assert ground.reader.read(0, 0).raw == wanted


def test_a_snapshot_can_be_made_of_bytes_and_keeps_them(twin):
    kind = twin.snapshot_types["bbo"]
    raw = BBO.struct.pack(TAG, 1, 2, *example(BBO))
    made = kind(raw, 5)
    assert (made.raw, made.version, made.bid_px_e9) == (raw, 5, example(BBO)[7])
    with pytest.raises(ValueError, match="bbo has 128 bytes, not 3"):
        kind(b"abc", 1)


def test_a_snapshot_has_no_other_attributes_and_cannot_be_changed_in_its_fields(twin, ground):
    ground.publish()
    found = ground.reader.read(0, TAG)
    with pytest.raises(AttributeError):
        _ = found.nothing
    names = ("bid_px_e9",) if twin is pure_board else ("bid_px_e9", "version", "raw")
    for name in names:
        with pytest.raises(AttributeError):
            setattr(found, name, getattr(found, name))
        with pytest.raises((AttributeError, TypeError)):
            delattr(found, name)


def test_numbers_without_a_sign_are_read_without_one_and_those_with_it_with_it(ground):
    values = list(example(BBO))
    names = list(BBO.value_names)
    values[names.index("batch")] = (1 << 64) - 1
    values[names.index("bid_px_e9")] = -(1 << 63)
    ground.writer.assign(0, (1 << 64) - 1, (1 << 32) - 1)
    ground.writer.publish(0, tuple(values))
    found = ground.reader.read(0, (1 << 64) - 1)
    assert (found.tag, found.generation) == ((1 << 64) - 1, (1 << 32) - 1)
    assert (found.batch, found.bid_px_e9) == ((1 << 64) - 1, -(1 << 63))
    assert found.as_dict()["batch"] == (1 << 64) - 1


def test_snapshots_are_made_and_let_go_without_a_trace(twin, ground):
    """Of each way to make one and to look at it: no object stays, no type is held once more."""
    ground.publish()
    kind, raw = twin.snapshot_types["bbo"], bytearray(ground.reader.read(0, TAG).raw)

    def use():
        for _ in range(200):
            found = ground.reader.read(0, TAG)
            repr(found), found.as_dict(), found.raw, found.recv_ns, found.version
            kind(raw, 5)
            ground.reader.history(0, 1, TAG)

    use()
    gc.collect()
    blocks, held = sys.getallocatedblocks(), sys.getrefcount(kind)
    use()
    gc.collect()
    assert abs(sys.getrefcount(kind) - held) < 10
    assert sys.getallocatedblocks() - blocks < 100
    raw.clear()  # Which nobody may look into any more.


def test_a_name_made_at_run_time_finds_its_field_too(ground):
    ground.publish()
    found = ground.reader.read(0, TAG)
    assert getattr(found, "".join(["bid_", "px_", "e9"])) == found.bid_px_e9


def test_snapshots_outlive_the_cell_they_came_from(ground):
    kept = []
    for seed in range(200):
        ground.publish(seed=seed)
        kept.append(ground.reader.read(0, TAG))
    assert [snap.version for snap in kept] == list(range(1, 201))
    assert [snap.flags for snap in kept] == [example(BBO, seed)[5] for seed in range(200)]


def test_what_was_never_published_is_never(ground):
    assert ground.reader.read(1, TAG) is Miss.NEVER
    assert ground.writer.last(1) is Miss.NEVER
    assert ground.reader.version(1) == 0
    assert ground.reader.read_version(1, 0) is Miss.BUSY
    assert ground.reader.read_version(1, 1) is Miss.BUSY


def test_a_record_under_another_tag_is_not_given(ground):
    ground.publish()
    assert ground.reader.read(0, OTHER) is Miss.OTHER_TAG
    assert ground.reader.read(0, 0).tag == TAG


def test_a_slot_given_away_never_shows_the_new_owners_data_under_the_old_name(ground):
    ground.publish()
    ground.writer.assign(0, OTHER, 4)
    assert ground.reader.read(0, TAG).generation == 3  # nothing of the new owner yet
    ground.publish()
    assert ground.reader.read(0, TAG) is Miss.OTHER_TAG
    assert ground.reader.read(0, OTHER).generation == 4
    assert len(ground.reader.history(0, 6, TAG)) == 0
    assert ground.reader.history(0, 6, OTHER)["generation"].tolist() == [4]


def test_publishing_before_assign_is_refused_by_name(ground):
    with pytest.raises(BoardError, match=r"board top: slot 1 is published before assign\(\)"):
        ground.publish(1)


BAD_VALUES = {
    "too few": lambda values: values[:-1],
    "too many": lambda values: (*values, 1),
    "float": lambda values: (1.5, *values[1:]),
    "none": lambda values: (None, *values[1:]),
    "text": lambda values: ("7", *values[1:]),
    "negative in unsigned": lambda values: (-1, *values[1:]),
    "beyond u64": lambda values: (1 << 64, *values[1:]),
    "beyond i64": lambda values: (*values[:-1], 1 << 63),
    "beyond u32": lambda values: (*values[:5], 1 << 32, *values[6:]),
}


@pytest.mark.parametrize("kind", BAD_VALUES)
def test_a_value_that_does_not_fit_is_refused_and_nothing_is_published(ground, kind):
    ground.publish()
    before = ground.reader.read(0, TAG).raw
    with pytest.raises(struct.error):
        ground.writer.publish(0, BAD_VALUES[kind](example(BBO)))
    assert ground.reader.version(0) == 1
    assert ground.reader.read(0, TAG).raw == before


def test_text_must_be_bytes_and_is_cut_at_its_field(twin):
    ground = Ground(twin, INSTRUMENT)
    ground.writer.assign(0, TAG, 0)
    values = list(example(INSTRUMENT))
    values[10] = "Up"
    with pytest.raises(struct.error):
        ground.writer.publish(0, values)
    values[10] = b"x" * 15 + "ä".encode()  # the last letter is cut in half
    ground.writer.publish(0, values)
    assert ground.reader.read(0, TAG).outcome == "x" * 15 + "\ufffd"


def test_integers_of_numpy_are_integers(ground):
    values = tuple(np.int64(value) if value < 0 else np.uint64(value) for value in example(BBO))
    ground.writer.publish(0, list(values))
    assert ground.reader.read(0, TAG).raw[16:] == BBO.struct.pack(0, 0, 0, *example(BBO))[16:]


@pytest.mark.parametrize("slot", [-1, 4, 1 << 40])
def test_a_slot_that_is_not_there_is_an_index_error_everywhere(ground, slot):
    reader, writer = ground.reader, ground.writer
    for call in (
        lambda: reader.version(slot),
        lambda: reader.read(slot, 0),
        lambda: reader.read_version(slot, 1),
        lambda: reader.history(slot, 1, 0),
        lambda: writer.assign(slot, TAG, 1),
        lambda: writer.publish_tagged(slot, TAG, 1, example(BBO)),
        lambda: writer.last(slot),
    ):
        with pytest.raises(IndexError):
            call()
    with pytest.raises((IndexError, BoardError)):
        writer.publish(slot, example(BBO))


def test_stamps_that_do_not_fit_are_refused(ground):
    for tag, generation in ((-1, 0), (1 << 64, 0), (TAG, -1), (TAG, 1 << 32)):
        with pytest.raises(OverflowError):
            ground.writer.assign(0, tag, generation)


def test_a_writer_needs_memory_it_may_write_and_a_reader_does_not(twin, ground):
    closed = ground.memory.toreadonly()
    twin.Reader(closed, ground.place)
    with pytest.raises(BufferError):
        twin.Writer(closed, ground.place, 1)


def test_a_board_that_does_not_lie_in_its_memory_is_refused(twin, ground):
    with pytest.raises(BoardError, match=r"board top does not lie in its \d+ bytes"):
        twin.Reader(ground.memory[: len(ground.memory) // 8 * 4], ground.place)


def test_a_board_knows_what_it_is(ground):
    for made in (ground.reader, ground.writer):
        assert (made.name, made.slot_count, made.cell_count) == ("top", 4, 8)
        assert made.record is BBO
        assert made.place is ground.place


# --- the rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [4, 8, 64])
def test_a_record_is_given_while_it_is_at_most_k_minus_2_behind_and_never_later(twin, cells):
    ground = Ground(twin, cells=cells)
    ground.writer.assign(0, TAG, 0)
    for seed in range(1, 2 * cells):
        ground.publish(seed=seed)
    newest = 2 * cells - 1
    for version in range(newest + 2):
        found = ground.reader.read_version(0, version)
        if 0 <= newest - version <= cells - 2 and version:
            assert (found.version, found.flags) == (version, example(BBO, version)[5])
        else:
            assert found is Miss.BUSY


def test_history_is_whole_in_order_and_at_most_k_minus_2_long(twin):
    ground = Ground(twin, cells=8)
    ground.writer.assign(0, TAG, 0)
    assert len(ground.reader.history(0, 3, TAG)) == 0
    for seed in range(1, 30):
        ground.publish(seed=seed)
        for count in range(1, 7):
            found = ground.reader.history(0, count, TAG)
            first = max(1, seed - count + 1)
            assert found["flags"].tolist() == [example(BBO, u)[5] for u in range(first, seed + 1)]
    for count in (0, -1, 7):
        with pytest.raises(BoardError, match=f"history of {count}, must be 1 to 6"):
            ground.reader.history(0, count, TAG)


@pytest.mark.parametrize("version", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_version_that_no_writer_reaches_leads_nowhere_else(twin, version):
    ground = Ground(twin, cells=8)
    ground.writer.assign(0, TAG, 0)
    for seed in range(1, 9):
        ground.publish(seed=seed)
    ground.set_version(0, version)
    assert len(ground.reader.history(0, 6, TAG)) == 6
    assert ground.reader.version(0) == version
    assert ground.reader.read(0, TAG).version == version
    assert ground.reader.read_version(0, version).tag == TAG


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7, 30])
def test_the_last_run_is_the_longest_history_of_a_tag(twin, count):
    ground = Ground(twin, cells=8)
    for tag in (OTHER, TAG):
        ground.writer.assign(0, tag, 0)
        for seed in range(1, count + 1):
            ground.publish(seed=seed)
    found = last_run(ground.reader, 0, TAG)
    assert [one.flags for one in found] == ground.reader.history(0, 6, TAG)["flags"].tolist()
    assert {one.tag for one in found} <= {TAG}
    assert len(last_run(ground.reader, 0, OTHER)) == 0


def test_changes_are_told_once_and_none_is_lost(ground):
    scan = ground.reader.changed()
    assert scan.poll().tolist() == []
    for slot in range(4):
        ground.writer.assign(slot, TAG, 0)
    ground.publish(2)
    ground.publish(0)
    ground.publish(2)
    assert scan.poll().tolist() == [0, 2]
    assert scan.poll().tolist() == []
    ground.publish(3)
    assert scan.poll().tolist() == [3]
    assert ground.reader.changed().poll().tolist() == [0, 2, 3]


@given(st.lists(st.one_of(st.integers(0, 3), st.just(-1)), max_size=60))
@settings(max_examples=60)
def test_a_scan_tells_exactly_the_slots_published_between_two_polls(operations):
    for twin in filter(None, (pure_board, CORE)):
        board.make_twin(twin)
        ground = Ground(twin)
        scan, expected = ground.reader.changed(), set()
        for operation in operations:
            if operation < 0:
                assert scan.poll().tolist() == sorted(expected)
                expected.clear()
            else:
                ground.writer.publish_tagged(operation, TAG, 0, example(BBO))
                expected.add(operation)


# --- streams ----------------------------------------------------------------------------------


@pytest.fixture
def stream(twin):
    made = Ground(twin, TRADE, 1, 16)
    made.writer.assign(0, TAG, 0)
    return made


def test_a_stream_gives_each_record_once_and_in_order(stream):
    stream.publish()
    reader = stream.reader.stream()
    assert reader.take() == []
    for seed in range(1, 8):
        stream.publish(seed=seed)
    assert [snap.version for snap in reader.take(3)] == [2, 3, 4]
    assert [snap.version for snap in reader.take()] == [5, 6, 7, 8]
    assert reader.take() == []
    assert (reader.overrun_count, reader.lost_count) == (0, 0)


def test_a_lapped_stream_reader_knows_how_much_it_lost_and_goes_on(stream):
    reader = stream.reader.stream()
    for seed in range(100):
        stream.publish(seed=seed)
    taken = reader.take()
    assert [snap.version for snap in taken] == list(range(93, 101))
    assert (reader.overrun_count, reader.lost_count) == (1, 92)
    stream.publish()
    assert [snap.version for snap in reader.take()] == [101]


def test_a_new_incarnation_is_an_overrun_once(twin, stream):
    reader = stream.reader.stream()
    stream.publish()
    stream.memory.cast("Q")[HEADER_AT["incarnation"] >> 3] = 7
    late = stream.reader.stream()
    again = twin.Writer(stream.memory, stream.place, 8)
    again.publish_tagged(0, TAG, 0, example(TRADE))
    again.publish_tagged(0, TAG, 0, example(TRADE))
    assert [snap.incarnation for snap in reader.take()] == [7, 8, 8]
    assert (reader.overrun_count, reader.lost_count) == (1, 0)
    # One that had read nothing of the old incarnation, but attached to it, has to know as well.
    assert [snap.incarnation for snap in late.take()] == [8, 8]
    assert late.overrun_count == 1


# --- restart ----------------------------------------------------------------------------------


def test_a_restarted_writer_goes_on_behind_the_last_whole_record(twin, ground):
    for seed in range(1, 6):
        ground.publish(seed=seed)
    at = ground.place.cells_offset + 6 * BBO.size
    ground.memory[at : at + 64] = b"\xff" * 64  # half of version 6, whose writer died
    assert ground.reader.read(0, TAG).version == 5
    again = twin.Writer(ground.memory, ground.place, 8)
    assert again.last(0).version == 5
    assert again.last(0).flags == example(BBO, 5)[5]
    again.assign(0, TAG, 3)
    assert again.publish(0, example(BBO, 6)) == 6
    found = ground.reader.read(0, TAG)
    assert (found.version, found.incarnation, found.flags) == (6, 8, example(BBO, 6)[5])


def test_versions_beyond_32_bits_are_versions(ground):
    ground.set_version(0, (1 << 40) - 1)
    assert ground.publish() == 1 << 40
    assert ground.reader.version(0) == 1 << 40
    assert ground.reader.read(0, TAG).version == 1 << 40
    assert ground.reader.read_version(0, 1 << 40).version == 1 << 40


def test_fills_carry_raw_bytes_and_depths_arrays(twin):
    ground = Ground(twin, DEPTH)
    ground.writer.publish_tagged(0, TAG, 0, example(DEPTH))
    found = ground.reader.read(0, TAG)
    assert len(found.bids) == len(found.asks) == 40
    assert found.bids == tuple(ground.reader.history(0, 1, 0)["bids"][0].tolist())
    ground = Ground(twin, FILL)
    ground.writer.publish_tagged(0, TAG, 0, (*example(FILL)[:7], ORDER_ID, *example(FILL)[8:]))
    assert ground.reader.read(0, 0).order_id == ORDER_ID
    assert ground.reader.history(0, 1, 0)["order_id"][0].tobytes() == ORDER_ID
    ground.writer.publish_tagged(0, TAG, 0, (*example(FILL)[:7], b"7", *example(FILL)[8:]))
    assert ground.reader.read(0, 0).order_id == b"7" + bytes(31)


def test_the_retry_limit_is_the_one_that_is_documented():
    assert RETRY_MAX == 64


def test_a_pair_is_one_record_so_its_tops_cannot_be_mixed(twin):
    ground = Ground(twin, PAIR_BBO)
    ground.writer.assign(0, TAG, 0)
    ground.publish()
    found = ground.reader.read(0, TAG)
    assert found.yes_bid_px_e9 != found.no_bid_px_e9


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_picker_takes_the_named_numbers_of_a_record_and_nothing_else(record):
    values = {
        field.name: -number if field.kind == "i64" else number
        for number, field in enumerate(record.fields, start=1)
        if field.is_number and field.count == 1
    }
    given_ = [b"" if not field.is_number else values.get(field.name, 0)
              for field in record.fields for _ in range(field.count)]  # fmt: skip
    snapshot = board.snapshot_type(record)(record.struct.pack(*given_), 9)
    for some in (list(values), list(values)[1::3], []):
        found = board.picker(record, *some)(snapshot)
        assert found == tuple(values[name] for name in some)


@pytest.mark.parametrize(
    "names",
    [("bid_px_e",), ("id",), ("version",), ("bids",), ("flags", "batch"), ("batch", "batch"), (7,)],
)
def test_a_picker_of_what_is_no_number_or_not_in_order_is_refused_by_name(names):
    for record in (INSTRUMENT, DEPTH):
        with pytest.raises(ValueError, match=f"^{record.name} has no number"):
            board.picker(record, *names)


def test_a_picker_refuses_another_record_and_what_is_none():
    pick = board.picker(BBO, "batch")
    for other in (board.snapshot_type(TRADE)(bytes(TRADE.size), 1), bytes(BBO.size), None):
        with pytest.raises(TypeError, match="a bbo is picked from, not a "):
            pick(other)
