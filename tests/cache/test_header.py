from cache import header
from cache.core import find
from cache.layout import LAYOUT_HASH, RECORDS


def test_the_committed_header_is_the_one_that_follows_from_the_layout():
    assert header.HEADER_PATH.read_text() == header.render(), "run python -m cache.header"


def test_every_field_of_every_record_stands_in_the_header_with_its_place():
    text = header.render()
    for record in RECORDS:
        table = text[text.index(f"{record.name.upper()}_FIELDS[]") :]
        for field in record.fields:
            kind = {"s": "TEXT", "b": "RAW"}.get(field.kind[0], field.kind.upper())
            place = f"{record.offsets[field.name]}, {field.width}, {field.count},"
            assert f'{{"{field.name}", KIND_{kind}, {place}' in table


def test_the_core_was_built_from_it():
    core, _ = find("")
    assert core is None or core.LAYOUT_HASH == LAYOUT_HASH


def test_the_values_a_publisher_gives_are_those_the_layout_names():
    for record in RECORDS:
        names = record.value_names
        assert [field.name for field in record.fields[3:] if field.name != "reserved"] == list(
            names
        )
        assert header.value_count(record) >= len(names)
