"""Reads one segment down to its records: what `penstock shm dump` prints.

It shows what lies in memory, whoever wrote it and whether that process lives: header, table of
contents, and of each board the newest record of each slot, or the last ones with `history`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from cache.board import BoardReader, Miss
from cache.layout import HEADER, Field, Record, State, word_of
from cache.segment import ReaderSegment

Value = int | str | list[int]


def segment_rows(segment: ReaderSegment, raw: bytes) -> dict[str, object]:
    """Header and table of contents. `raw` is the header's bytes."""
    boards = {
        name: {
            "record": place.spec.record.name,
            "slot_count": place.spec.slot_count,
            "cell_count": place.spec.cell_count,
            "versions_offset": place.versions_offset,
            "cells_offset": place.cells_offset,
            "slots_used": sum(
                segment.board(name).version(slot) > 0 for slot in range(place.spec.slot_count)
            ),
        }
        for name, place in segment.places().items()
    }
    header = record_values(HEADER, raw)
    header["state"] = state_name(int(str(header["state"])))
    return {"path": segment.path, "header": header, "boards": boards}


def state_name(number: int) -> str:
    """Name a state word, whatever it holds."""
    found = word_of(State, number)
    return found.name if found is not None else f"state {number}"


def board_rows(
    board: BoardReader, *, slot: int | None = None, history: int = 1
) -> Iterator[dict[str, object]]:
    """The newest record of each used slot, or of one; with `history`, its last ones.

    A slot that cannot be read whole is a row that says so.
    """
    for number in range(board.slot_count) if slot is None else (slot,):
        newest = board.version(number)
        if not newest:
            continue
        if history > 1:
            yield from _history(board, number, history)
            continue
        found = board.read(number, 0)
        if isinstance(found, Miss):
            yield {"slot": number, "version": newest, "miss": found.name}
        else:
            yield {
                "slot": number,
                "version": found.version,
                **record_values(board.record, found.raw),
            }


def _history(board: BoardReader, slot: int, count: int) -> Iterator[dict[str, object]]:
    newest = board.version(slot)
    records = board.history(slot, min(count, board.cell_count - 2), 0)
    if isinstance(records, Miss):
        yield {"slot": slot, "version": newest, "miss": records.name}
        return
    for index in range(len(records)):
        raw = np.asarray(records[index : index + 1]).tobytes()
        yield {"slot": slot, "back": len(records) - 1 - index, **record_values(board.record, raw)}


def record_values(record: Record, raw: bytes) -> dict[str, Value]:
    """Every field but the reserved ones, by name; text that is not text as hexadecimal digits."""
    values = iter(record.struct.unpack(raw))
    made: dict[str, Value] = {}
    for field in record.fields:
        if field.is_text:
            value: Value = _text(next(values))
        elif field.is_raw:
            value = _hex(next(values))
        elif field.count > 1:
            value = [next(values) for _ in range(field.count)]
        else:
            value = next(values)
        if not field.name.startswith("reserved"):
            made[field.name] = _shown(field, value)
    return made


def _shown(field: Field, value: Value) -> Value:
    """Tags are names, not amounts: sixteen hexadecimal digits."""
    if (field.name.endswith("tag") or field.name in ("magic", "layout_hash")) and value:
        return f"{value:016x}"
    return value


def _hex(raw: bytes) -> str:
    """All digits, zeros too; nothing where nothing was written."""
    return raw.hex() if any(raw) else ""


def _text(raw: bytes) -> str:
    stripped = raw.rstrip(b"\0")
    try:
        text = stripped.decode()
    except UnicodeDecodeError:
        return stripped.hex()
    return text if text.isprintable() else stripped.hex()


def render(rows: Iterable[dict[str, object]]) -> Iterator[str]:
    """One line a record, fields as name=value; zeros are left out, but never version or flags."""
    for row in rows:
        kept = {k: v for k, v in row.items() if v or k in ("slot", "version", "flags", "back")}
        yield "  " + " ".join(f"{key}={_one(value)}" for key, value in kept.items())


def _one(value: object) -> str:
    if isinstance(value, list):
        last = max((i for i, part in enumerate(value) if part), default=-1)
        return "[" + ",".join(str(part) for part in value[: last + 1]) + "]"
    text = str(value)
    return f'"{text}"' if " " in text else text
