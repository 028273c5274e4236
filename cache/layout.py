"""The byte layout of a segment, and nothing else: offsets, sizes, records, flags.

This file is the one source, with its records in `cache/records.py`, its vocabulary in
`cache/enums.py` and its mechanics in `cache/fields.py`; all of it is imported from here. Struct
formats, numpy dtypes, the C header `_layout.h` and the tables of `shm_layout.md` follow from it,
and tests compare them. Each offset is derived from the one before; sizes, alignment and "no hidden
padding" are asserted when the module is imported.

It does no I/O and imports nothing else of this project. What the words mean is in `shm_layout.md`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cache.enums import *  # noqa: F403 - the words of the layout are imported from here
from cache.enums import ENUMS
from cache.fields import STAMP_COUNT as STAMP_COUNT
from cache.fields import Field as Field
from cache.fields import Record as Record
from cache.records import *  # noqa: F403
from cache.records import RECORDS

LAYOUT_VERSION = 2
MAGIC = 0x314B_5453_4E45_5001  # bytes 01 50 "ENSTK1": a byte-swapped reader cannot match it.

E9 = 1_000_000_000
"""Prices and sizes are integers in units of 1e-9; this is 1.0."""


# --- segment header ---------------------------------------------------------------------------
# The first 64 bytes never change. Every word the writer changes later is one aligned 8-byte word,
# but for the bell, which the futex call wants as 32 bits and which has a cache line of its own.

HEADER_FIELDS = (
    Field("magic", "u64", "MAGIC, stored last when the segment is made"),
    Field("layout_version", "u32", "LAYOUT_VERSION"),
    Field("header_bytes", "u32", "size of this header"),
    Field("layout_hash", "u64", "blake2b-64 of the description of header, tables and records"),
    Field("total_bytes", "u64", "length of the file"),
    Field("boot_id", "b16", "kernel boot id: nothing survives a reboot"),
    Field("created_wall_ns", "i64", "when it was made, wall clock"),
    Field("reserved_head", "s8", "zero"),
    Field("incarnation", "u64", "restart number of the writer; only grows"),
    Field("state", "u64", "State of the writer"),
    Field("heartbeat_ns", "i64", "last heartbeat, CLOCK_MONOTONIC"),
    Field("pid", "u64", "process id of the writer, in its own pid namespace"),
    Field("started_ns", "i64", "start of this incarnation, CLOCK_MONOTONIC"),
    Field("loop_count", "u64", "turns of the main loop"),
    Field("link_ns", "i64", "last proof that the venue link lives, CLOCK_MONOTONIC; 0 none"),
    Field("epoch", "u64", "grows when the writer's directory of instruments changes"),
    Field("bell", "u32", "the futex word: grows by one for each burst of publishing"),
    Field("reserved_bell", "s60", "zero"),
    Field("board_count", "u32", "entries in the table of contents"),
    Field("counter_count", "u32", "words in the counter table"),
    Field("histogram_count", "u32", "histograms"),
    Field("bucket_count", "u32", "buckets of each histogram"),
    Field("counters_offset", "u64", "byte offset of the counters"),
    Field("histograms_offset", "u64", "byte offset of the histograms"),
    Field("role", "s64", "role of the writer: the segment's name without the namespace"),
    Field("reserved_tail", "s32", "zero"),
)
HEADER = Record(0, "header", "Segment header", HEADER_FIELDS)
HEADER_AT = HEADER.offsets

TOC_FIELDS = (
    Field("name", "s32", "name of the board"),
    Field("record_id", "u32", "which record type"),
    Field("record_bytes", "u32", "size of one record"),
    Field("slot_count", "u32", "N"),
    Field("cell_count", "u32", "K, a power of two"),
    Field("versions_offset", "u64", "byte offset of the N version words"),
    Field("cells_offset", "u64", "byte offset of the N x K cells"),
)
TOC_ENTRY = Record(0, "toc_entry", "Table-of-contents entry of one board", TOC_FIELDS)

BOARD_COUNT_MAX = 32
COUNTER_COUNT = 256
HISTOGRAM_COUNT = 16
BUCKET_COUNT = 1024  # log-linear: 16 buckets an octave over 64 octaves of nanoseconds

TOC_OFFSET = HEADER.size
COUNTERS_OFFSET = TOC_OFFSET + BOARD_COUNT_MAX * TOC_ENTRY.size
HISTOGRAMS_OFFSET = COUNTERS_OFFSET + COUNTER_COUNT * 8
BOARDS_OFFSET = -(-(HISTOGRAMS_OFFSET + HISTOGRAM_COUNT * BUCKET_COUNT * 8) // 4096) * 4096


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """What a board is to be: its name, record type, N slots and K cells a slot."""

    name: str
    record: Record
    slot_count: int
    cell_count: int

    def __post_init__(self) -> None:
        k = self.cell_count
        for name, value in (("N", self.slot_count), ("K", k)):
            if type(value) is not int:
                raise ValueError(f"board {self.name}: {name} is {value}: it must be a whole number")
        if k < 4 or k & (k - 1):
            raise ValueError(f"board {self.name}: K is {k}, must be a power of two, at least 4")
        if self.slot_count < 1:
            raise ValueError(f"board {self.name}: N is {self.slot_count}, must be at least 1")
        if len(self.name.encode()) > 31:
            raise ValueError(f"board {self.name}: the name is longer than 31 bytes")


@dataclass(frozen=True, slots=True)
class BoardPlace:
    """Where a board lies in its segment."""

    spec: BoardSpec
    versions_offset: int
    cells_offset: int


def place_boards(specs: tuple[BoardSpec, ...]) -> tuple[tuple[BoardPlace, ...], int]:
    """Give each board its offsets (64-byte aligned, in order) and the length of the file."""
    if len(specs) > BOARD_COUNT_MAX:
        raise ValueError(f"{len(specs)} boards; a segment holds at most {BOARD_COUNT_MAX}")
    places, at = [], BOARDS_OFFSET
    for spec in specs:
        versions = at
        cells = versions + -(-spec.slot_count * 8 // 64) * 64
        at = cells + spec.slot_count * spec.cell_count * spec.record.size
        places.append(BoardPlace(spec, versions, cells))
    return tuple(places), -(-at // 4096) * 4096


def next_generation(generation: int) -> int:
    """The generation of a slot that is given away; it fills its field, then begins anew."""
    return (generation + 1) & 0xFFFF_FFFF


def _describe() -> str:
    """Everything a reader depends on, as text: what `layout_hash` is the hash of."""
    lines = [f"version {LAYOUT_VERSION} toc {TOC_OFFSET} counters {COUNTERS_OFFSET}"]
    lines.append(f"histograms {HISTOGRAMS_OFFSET} {HISTOGRAM_COUNT} {BUCKET_COUNT}")
    for record in (HEADER, TOC_ENTRY, *RECORDS):
        lines.append(f"{record.name} {record.id} {record.size}")
        for field in record.fields:
            lines.append(f"{field.name} {field.kind} {field.count} {record.offsets[field.name]}")
    for kind in ENUMS:
        lines.append(" ".join((kind.__name__, *(f"{one.name} {int(one)}" for one in kind))))
    return "\n".join(lines)


def tag_of(venue: str, identity: str) -> int:
    """The 64-bit name of an instrument or market: blake2b-64 of `venue:id`, never 0."""
    digest = hashlib.blake2b(f"{venue}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


LAYOUT_HASH = int.from_bytes(
    hashlib.blake2b(_describe().encode(), digest_size=8).digest(), "little"
)

assert HEADER_AT["incarnation"] == 64
assert HEADER_AT["bell"] % 64 == 0
assert HEADER.size == 320
assert all(record.size % 64 == 0 for record in RECORDS)
