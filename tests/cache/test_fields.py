import pytest

from cache.fields import STAMP_COUNT, Field, Record

STAMPS = (
    Field("tag", "u64", "."),
    Field("incarnation", "u32", "."),
    Field("generation", "u32", "."),
)


def record(*fields):
    return Record(99, "probe", "A probe", STAMPS + fields)


def test_offsets_follow_from_the_sizes_before():
    made = record(Field("px", "i64", "."), Field("levels", "i64", ".", 2), Field("id", "s24", "."))
    assert made.offsets == {
        "tag": 0,
        "incarnation": 8,
        "generation": 12,
        "px": 16,
        "levels": 24,
        "id": 40,
    }
    assert made.size == made.struct.size == made.dtype.itemsize == 64


def test_a_field_off_its_natural_alignment_is_refused():
    with pytest.raises(AssertionError, match=r"probe\.px is not aligned"):
        _ = record(
            Field("half", "u32", "."), Field("px", "i64", "."), Field("pad", "s36", ".")
        ).size


def test_a_record_that_is_no_multiple_of_64_is_refused():
    with pytest.raises(AssertionError, match="probe is 24 bytes"):
        _ = record(Field("px", "i64", ".")).size


def test_the_values_of_a_publisher_leave_out_the_stamps_and_what_is_reserved():
    made = record(Field("px", "i64", "."), Field("reserved", "s40", "."))
    assert made.value_names == ("px",)
    assert [field.name for field in made.fields[:STAMP_COUNT]] == [
        "tag",
        "incarnation",
        "generation",
    ]


@pytest.mark.parametrize(
    ("field", "size", "code"),
    [
        (Field("a", "u32", "."), 4, "I"),
        (Field("a", "i32", "."), 4, "i"),
        (Field("a", "i64", ".", 3), 24, "qqq"),
        (Field("a", "s80", "."), 80, "80s"),
        (Field("a", "b32", "."), 32, "32s"),
    ],
)
def test_a_kind_says_width_and_struct_code(field, size, code):
    assert (field.size, field.code) == (size, code)
