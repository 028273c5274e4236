"""Boards: the one primitive of the shared memory (shm_layout.md §6).

A board holds N slots of one record type; a slot is one `version` word and a ring of K cells, and
record v lives in cell v & (K-1). The writer fills the next cell, then stores the version. A reader
loads the version, copies the cell, loads the version again: the copy of record u is whole if
0 <= v2 - u <= K - 2. A dead writer therefore leaves the last whole record readable, and a reader
beside a writer that never rests seldom has to read twice.

The classes here are the pure-Python twin of the C core and correct on x86-64 alone. A board object
belongs to one thread. It does not judge age, liveness or flags: that is the gate's work.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import BoardError
from cache.layout import STAMP_COUNT, BoardPlace, Field, Record

RETRY_MAX = 64
"""A read that was overtaken this often gives up with BUSY."""


class Miss(IntEnum):
    """Why a read has no record to give."""

    NEVER = 1
    BUSY = 2
    OTHER_TAG = 3


class Snapshot:
    """One whole record: `raw` bytes, `version`, and each field by name, decoded when asked for."""

    __slots__ = ("raw", "version")
    record: Record

    def __init__(self, raw: bytes, version: int) -> None:
        self.raw = raw
        self.version = version

    def __repr__(self) -> str:
        shown = " ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"<{self.record.name} v{self.version} {shown}>"

    def as_dict(self) -> dict[str, Any]:
        """Every field but the reserved ones."""
        return {
            field.name: getattr(self, field.name)
            for field in self.record.fields
            if not field.name.startswith("reserved")
        }

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _getter(field: Field, offset: int) -> Callable[[Snapshot], Any]:
    unpack = struct.Struct("<" + field.code).unpack_from
    if field.is_text:
        return lambda snap: unpack(snap.raw, offset)[0].rstrip(b"\0").decode()
    if field.count > 1:
        return lambda snap: unpack(snap.raw, offset)
    return lambda snap: unpack(snap.raw, offset)[0]


@cache
def snapshot_type(record: Record) -> type[Snapshot]:
    """The snapshot class of a record type: one property for each field."""
    body: dict[str, Any] = {"__slots__": (), "record": record}
    for field in record.fields:
        body[field.name] = property(_getter(field, record.offsets[field.name]), doc=field.text)
    return type(f"{record.name.title().replace('_', '')}Snapshot", (Snapshot,), body)


class _Geometry:
    """Where a board's versions and cells lie; shared by writer and reader."""

    def __init__(self, memory: memoryview, place: BoardPlace) -> None:
        spec = place.spec
        self.name = spec.name
        self.record = spec.record
        self.slot_count = spec.slot_count
        self.cell_count = spec.cell_count
        self._memory = memory
        self._words = memory.cast("Q")
        end = place.versions_offset + 8 * spec.slot_count
        self._versions = memory[place.versions_offset : end].cast("Q")
        self._cells_offset = place.cells_offset
        self._mask = spec.cell_count - 1
        self._shift = spec.cell_count.bit_length() - 1
        self._size = spec.record.size

    def _cell_at(self, slot: int, version: int) -> int:
        return self._cells_offset + ((slot << self._shift) + (version & self._mask)) * self._size

    def version(self, slot: int) -> int:
        """How often the slot was published; 0 never. One load: this is `poll`."""
        value: int = self._versions[slot]
        return value


class BoardWriter(_Geometry):
    """The one writer of a board."""

    def __init__(self, memory: memoryview, place: BoardPlace, incarnation: int) -> None:
        super().__init__(memory, place)
        self._incarnation = incarnation
        self._tags = [0] * self.slot_count
        self._generations = [0] * self.slot_count
        self._pack_into = self.record.struct.pack_into
        last = self.record.fields[-1]
        self._tail = (b"",) if last.name == "reserved" else ()

    def assign(self, slot: int, tag: int, generation: int) -> None:
        """Say whose data the slot holds from now on; `publish` stamps it on every record."""
        self._tags[slot] = tag
        self._generations[slot] = generation

    def publish(self, slot: int, values: Sequence[int | bytes]) -> int:
        """Publish the fields after the three stamps, arrays flat; return the version.

        A value out of its field's range raises struct.error and nothing is published.
        """
        if not self._tags[slot]:
            raise BoardError(f"board {self.name}: slot {slot} is published before assign()")
        return self.publish_tagged(slot, self._tags[slot], self._generations[slot], values)

    def publish_tagged(
        self, slot: int, tag: int, generation: int, values: Sequence[int | bytes]
    ) -> int:
        """Publish a record that carries its own tag: what streams of many instruments need."""
        version = self.version(slot) + 1
        at = self._cell_at(slot, version)
        self._pack_into(self._memory, at, tag, self._incarnation, generation, *values, *self._tail)
        self._versions[slot] = version  # W3: one aligned 8-byte store, after the cell
        return version

    def last(self, slot: int) -> Snapshot | Miss:
        """What the slot holds now, whoever published it: what a restarted writer goes on from."""
        version = self.version(slot)
        if version == 0:
            return Miss.NEVER
        at = self._cell_at(slot, version)
        return snapshot_type(self.record)(bytes(self._memory[at : at + self._size]), version)


class BoardReader(_Geometry):
    """One reader of a board; any number of them read at once."""

    def __init__(self, memory: memoryview, place: BoardPlace) -> None:
        super().__init__(memory, place)
        self.retry_count = 0
        self.busy_count = 0
        self._place = place
        self._snapshot = snapshot_type(self.record)
        self._reach = self.cell_count - 2

    def read(self, slot: int, tag: int) -> Snapshot | Miss:
        """The newest whole record of the slot, if it is `tag`'s (0: anybody's)."""
        versions = self._versions
        for _ in range(RETRY_MAX):
            version = versions[slot]
            if version == 0:
                return Miss.NEVER
            at = self._cell_at(slot, version)
            found = self._words[at >> 3]
            raw = bytes(self._memory[at : at + self._size])
            if versions[slot] - version <= self._reach:
                if tag and found != tag:
                    return Miss.OTHER_TAG
                return self._snapshot(raw, version)
            self.retry_count += 1
        self.busy_count += 1
        return Miss.BUSY

    def read_version(self, slot: int, version: int) -> Snapshot | Miss:
        """Record `version` of the slot, or BUSY when it is not, or no longer, to be had whole."""
        at = self._cell_at(slot, version)
        first = self._versions[slot]
        raw = bytes(self._memory[at : at + self._size])
        if version <= first and self._versions[slot] - version <= self._reach:
            return self._snapshot(raw, version)
        return Miss.BUSY

    def history(self, slot: int, count: int, tag: int) -> NDArray[np.void] | Miss:
        """The last `count` <= K-2 records in a row that are `tag`'s (0: anybody's), oldest first.

        One copy, as a structured array; shorter when there are fewer, empty when there are none.
        """
        if not 1 <= count <= self._reach:
            raise BoardError(f"board {self.name}: history of {count}, must be 1 to {self._reach}")
        ring = self._ring(slot)
        for _ in range(RETRY_MAX):
            version = self._versions[slot]
            have = min(count, version)
            first, end = (version - have + 1) & self._mask, (version & self._mask) + 1
            if have and first >= end:
                found = np.concatenate((ring[first:], ring[:end]))
            else:
                found = ring[first : first + have].copy()
            if self._versions[slot] - version <= self.cell_count - 1 - max(have, 1):
                return _own_run(found, tag)
            self.retry_count += 1
        self.busy_count += 1
        return Miss.BUSY

    def _ring(self, slot: int) -> NDArray[np.void]:
        return np.frombuffer(
            self._memory,
            dtype=self.record.dtype,
            count=self.cell_count,
            offset=self._cell_at(slot, 0),
        )

    def changed(self) -> ChangeScan:
        """A scan that tells which slots were published since it last looked."""
        return ChangeScan(self._memory, self._place)

    def stream(self, slot: int = 0) -> StreamReader:
        """A reader with a cursor of its own, starting behind the newest record."""
        return StreamReader(self, slot)


def _own_run(records: NDArray[np.void], tag: int) -> NDArray[np.void]:
    """The last records in a row that carry `tag`: what came before belonged to another market."""
    if not tag:
        return records
    foreign = np.flatnonzero(records["tag"] != tag)
    return records[foreign[-1] + 1 :] if foreign.size else records


class ChangeScan:
    """Which slots changed: copy the version words once, compare with the last copy, keep it.

    (Comparing the live words, and copying afterwards, would lose what changes in between.)
    """

    def __init__(self, memory: memoryview, place: BoardPlace) -> None:
        count = place.spec.slot_count
        self._live = np.frombuffer(memory, np.uint64, count, place.versions_offset)
        self._last = np.zeros(count, np.uint64)
        self._next = np.empty(count, np.uint64)
        self._mask = np.empty(count, np.bool_)

    def poll(self) -> NDArray[np.intp]:
        """Numbers of the slots published since the last poll; at first, of all ever published."""
        now, last = self._next, self._last
        np.copyto(now, self._live)
        np.not_equal(now, last, out=self._mask)
        self._last, self._next = now, last
        return self._mask.nonzero()[0]


class StreamReader:
    """Takes each next record; when the writer lapped it, it knows (`overrun_count`).

    After an overrun, or a new incarnation of the writer (which counts as one), whoever keeps
    state from the stream must resynchronise.
    """

    def __init__(self, board: BoardReader, slot: int) -> None:
        self._board = board
        self._slot = slot
        self.cursor = board.version(slot)
        self.overrun_count = 0
        self.lost_count = 0
        self._incarnation = 0

    def take(self, count_max: int = 256) -> list[Snapshot]:
        """The next records, oldest first, at most `count_max`; [] when there is nothing new."""
        board, slot = self._board, self._slot
        taken: list[Snapshot] = []
        newest = board.version(slot)
        while self.cursor < newest and len(taken) < count_max:
            found = board.read_version(slot, self.cursor + 1)
            if isinstance(found, Miss):
                newest = board.version(slot)
                self._skip(newest)
                continue
            self.cursor += 1
            if found.incarnation != self._incarnation:
                self.overrun_count += self._incarnation != 0
                self._incarnation = found.incarnation
            taken.append(found)
        return taken

    def _skip(self, newest: int) -> None:
        """Go on half a ring behind the newest, so that the writer does not lap again at once."""
        resume = max(self.cursor, newest - self._board.cell_count // 2)
        self.lost_count += resume - self.cursor
        self.overrun_count += 1
        self.cursor = resume


assert STAMP_COUNT == 3  # publish_tagged names them one by one
