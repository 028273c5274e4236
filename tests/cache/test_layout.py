import math
import struct

import numpy as np
import pytest

from cache import layout
from cache.layout import (
    BBO,
    ENUMS,
    HEADER,
    PAIR_BBO,
    RECORDS,
    BoardSpec,
    Outcome,
    Side,
    next_generation,
    place_boards,
    tag_of,
    word_of,
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_struct_numpy_and_offsets_describe_the_same_bytes(record):
    raw = bytes(range(256)) * (record.size // 256 + 1)
    raw = raw[: record.size]
    row = np.frombuffer(raw, record.dtype)[0]
    values = iter(record.struct.unpack(raw))
    for field in record.fields:
        assert record.dtype.fields[field.name][1] == record.offsets[field.name]
        if field.is_text:
            assert bytes(row[field.name]) == next(values).rstrip(b"\0")
            continue
        if field.is_raw:
            assert row[field.name].tobytes() == next(values)
            continue
        found = row[field.name] if field.count > 1 else [row[field.name]]
        assert [int(one) for one in found] == [next(values) for _ in range(field.count)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_record_begins_with_the_prefix_and_is_a_multiple_of_64(record):
    assert record.fields[: len(layout.PREFIX)] == layout.PREFIX
    assert record.size % 64 == 0
    assert record.offsets["flags"] == 56


def test_the_sizes_other_languages_rely_on_are_these():
    assert (BBO.size, PAIR_BBO.size, HEADER.size) == (128, 192, 320)


def test_record_ids_and_names_are_unique():
    assert len({record.id for record in RECORDS}) == len(RECORDS)
    assert len({record.name for record in RECORDS}) == len(RECORDS)


@pytest.mark.parametrize("cells", [0, 2, 3, 6, 12])
def test_a_ring_that_is_no_power_of_two_of_at_least_4_is_refused(cells):
    with pytest.raises(ValueError, match="power of two"):
        BoardSpec("x", BBO, 1, cells)


@pytest.mark.parametrize("count", [None, "5", 1.5, math.nan, True, 10.0])
def test_a_number_of_slots_or_cells_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match=r"board x: N is .*: it must be a whole number"):
        BoardSpec("x", BBO, count, 4)
    with pytest.raises(ValueError, match=r"board x: K is .*: it must be a whole number"):
        BoardSpec("x", BBO, 1, count)


def test_boards_do_not_overlap_and_fill_the_file():
    specs = (BoardSpec("a", BBO, 3, 4), BoardSpec("b", PAIR_BBO, 100, 8))
    places, total = place_boards(specs)
    end = layout.BOARDS_OFFSET
    for place in places:
        assert place.versions_offset == end
        assert place.versions_offset % 64 == place.cells_offset % 64 == 0
        assert place.cells_offset >= place.versions_offset + 8 * place.spec.slot_count
        size = place.spec.record.size * place.spec.cell_count * place.spec.slot_count
        end = place.cells_offset + size
    assert end <= total < end + 4096


def test_a_tag_is_the_hash_of_venue_and_id():
    # Value by `printf binance:BTCUSDT | b2sum -l 64`, read as little-endian.
    assert struct.pack("<Q", tag_of("binance", "BTCUSDT")).hex() == "38611cde3db65f50"
    assert tag_of("binance", "BTCUSDT") != tag_of("polymarket", "BTCUSDT")


def test_a_number_stands_for_a_word_or_for_none():
    assert word_of(Side, 2) is Side.SELL
    assert word_of(Outcome, 0) is Outcome.UNKNOWN
    assert word_of(Side, 3) is None
    assert word_of(Side, (1 << 32) - 1) is None


def test_a_generation_grows_and_begins_anew_where_its_field_ends():
    assert next_generation(0) == 1
    assert next_generation((1 << 32) - 1) == 0


def test_a_word_more_is_another_layout(monkeypatch):
    assert "Reason QUOTING 0" in layout._describe()
    monkeypatch.setattr(layout, "ENUMS", ENUMS[:-1])
    assert "ProcessPhase" not in layout._describe()
