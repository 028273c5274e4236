"""Writes `_layout.h`, the C core's copy of the byte layout: `python -m cache.header`.

The header is generated from `cache/layout.py`, committed, and compared with it by a test; the core
carries the layout's hash, so that one built before a change is not used. Run it after every change
of a record, then build the core again. Nothing imports this at run time.
"""

from __future__ import annotations

from pathlib import Path

from cache.layout import HEADER_AT, LAYOUT_HASH, LAYOUT_VERSION, RECORDS, Field, Record

HEADER_PATH = Path(__file__).with_name("_layout.h")

_TOP = f"""\
/* The byte layout for the C core. Generated from layout.py by `python -m cache.header`. */

#ifndef PENSTOCK_LAYOUT_H
#define PENSTOCK_LAYOUT_H

#include <stdint.h>

#define LAYOUT_VERSION {LAYOUT_VERSION}
#define LAYOUT_HASH UINT64_C({LAYOUT_HASH:#018x})
#define HEADER_INCARNATION {HEADER_AT["incarnation"]}
#define HEADER_BELL {HEADER_AT["bell"]}
#define RECORD_COUNT {len(RECORDS)}
#define RECORD_BYTES_MAX {max(record.size for record in RECORDS)}

typedef enum {{ KIND_U64, KIND_I64, KIND_U32, KIND_I32, KIND_TEXT, KIND_RAW }} FieldKind;

typedef struct {{
    const char *name;
    FieldKind kind;
    uint16_t offset;
    uint16_t width; /* bytes of one element */
    uint16_t count; /* elements */
    const char *text;
}} LayoutField;

typedef struct {{
    uint32_t id;
    const char *name;
    const char *snapshot_name;
    uint16_t bytes;
    uint16_t field_count;
    uint16_t value_count; /* what a publisher gives: arrays flat, no stamps, nothing reserved */
    const LayoutField *fields;
}} LayoutRecord;
"""


def camel(record: Record) -> str:
    """The record's name as part of a class name."""
    return record.name.title().replace("_", "")


_KINDS = {"s": "KIND_TEXT", "b": "KIND_RAW"}


def _field(record: Record, field: Field) -> str:
    kind = f"KIND_{field.kind.upper()}" if field.is_number else _KINDS[field.kind[0]]
    place = f"{record.offsets[field.name]}, {field.width}, {field.count}"
    text = field.text.replace('"', '\\"')
    return f'    {{"{field.name}", {kind}, {place},\n     "{text}"}},'


def _table(record: Record) -> str:
    rows = "\n".join(_field(record, field) for field in record.fields)
    return f"static const LayoutField {record.name.upper()}_FIELDS[] = {{\n{rows}\n}};\n"


def value_count(record: Record) -> int:
    """How many values `publish` takes for a record."""
    return sum(field.count for field in record.fields if field.name in record.value_names)


def _row(record: Record) -> str:
    names = f'"{record.name}", "cache._board.{camel(record)}Snapshot"'
    counts = f"{record.size}, {len(record.fields)}, {value_count(record)}"
    return f"    {{{record.id}, {names},\n     {counts}, {record.name.upper()}_FIELDS}},"


def render() -> str:
    """The whole header."""
    tables = "\n".join(_table(record) for record in RECORDS)
    rows = "\n".join(_row(record) for record in RECORDS)
    index = f"static const LayoutRecord LAYOUT_RECORDS[RECORD_COUNT] = {{\n{rows}\n}};\n"
    return f"{_TOP}\n{tables}\n{index}\n#endif\n"


if __name__ == "__main__":
    HEADER_PATH.write_text(render())
    print(f"wrote {HEADER_PATH}")
