"""Boards in pure Python: the twin of the C core (`_board.c`), same names and same behaviour.

`cache/board.py` builds the boards everybody uses on either. The order of stores and loads is the
protocol (shm_layout.md §6, §7): W2 before W3, R1 before R2 before R3. CPython does not reorder
them and x86-64 keeps their order; other CPUs need the C core. `struct.pack_into` clears a field
before it fills it, so it may fill a cell, which nobody validates yet, but never a version word.
A board object belongs to one thread.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, final

from cache.errors import BoardError
from cache.layout import RECORDS, STAMP_COUNT, BoardPlace, Field, Record

RETRY_MAX = 64
"""A read that was overtaken this often gives up with BUSY."""


@final
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
        if len(raw) != self.record.size:
            raise ValueError(f"{self.record.name} has {self.record.size} bytes, not {len(raw)}")
        self.raw = bytes(raw)
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
        return lambda snap: unpack(snap.raw, offset)[0].rstrip(b"\0").decode(errors="replace")
    if field.count > 1:
        return lambda snap: unpack(snap.raw, offset)
    # A number, or raw bytes: as they are.
    return lambda snap: unpack(snap.raw, offset)[0]


def _snapshot_type(record: Record) -> type[Snapshot]:
    """The snapshot class of a record type: one property for each field."""
    body: dict[str, Any] = {"__slots__": (), "record": record}
    for field in record.fields:
        body[field.name] = property(_getter(field, record.offsets[field.name]), doc=field.text)
    return type(f"{record.name.title().replace('_', '')}Snapshot", (Snapshot,), body)


snapshot_types = {record.name: _snapshot_type(record) for record in RECORDS}


def picker(record: str, names: tuple[str, ...], /) -> Callable[[Snapshot], tuple[int, ...]]:
    """Make a function that takes the named numbers, in the record's order, out of a snapshot."""
    kind, wanted, code = snapshot_types[record], list(names), "<"
    for field in kind.record.fields:
        is_wanted = wanted[:1] == [field.name] and field.is_number and field.count == 1
        code += field.code if is_wanted else f"{field.size}x"
        del wanted[:is_wanted]
    if wanted:
        raise ValueError(f"{record} has no number {wanted[0]!r} there")
    unpack = struct.Struct(code).unpack

    def pick(snapshot: Snapshot) -> tuple[int, ...]:
        if type(snapshot) is not kind:
            raise TypeError(f"a {record} is picked from, not a {type(snapshot).__name__}")
        return unpack(snapshot.raw)

    return pick


class _Bytes:
    """Slices of any memory as bytes: what a `mmap` gives by itself, and at once."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory

    def __getitem__(self, where: slice) -> bytes:
        return bytes(self._memory[where])


class _Board:
    """Where a board's versions and cells lie; shared by writer and reader."""

    def __init__(self, memory: memoryview, place: BoardPlace) -> None:
        spec = place.spec
        self.name = spec.name
        self.record = spec.record
        self.slot_count = spec.slot_count
        self.cell_count = spec.cell_count
        self.place = place
        self.memory = memory
        ring = spec.cell_count * spec.record.size
        versions_end = place.versions_offset + 8 * spec.slot_count
        if max(versions_end, place.cells_offset + spec.slot_count * ring) > memory.nbytes:
            raise BoardError(f"board {self.name} does not lie in its {memory.nbytes} bytes")
        self._versions = memory[place.versions_offset : versions_end].cast("Q")
        self._mask = spec.cell_count - 1
        self._size = spec.record.size
        self._bases = [place.cells_offset + slot * ring for slot in range(spec.slot_count)]
        is_whole = isinstance(memory.obj, mmap.mmap) and len(memory.obj) == memory.nbytes
        self._source: Any = memory.obj if is_whole else _Bytes(memory)
        self._snapshot = snapshot_types[self.record.name]

    def version(self, slot: int, /) -> int:
        """How often the slot was published; 0 never. One load: this is `poll`."""
        if slot < 0:
            raise self._no_slot(slot)
        value: int = self._versions[slot]
        return value

    def _no_slot(self, slot: int) -> IndexError:
        return IndexError(f"board {self.name} has slots 0 to {self.slot_count - 1}, not {slot}")


class Writer(_Board):
    """The one writer of a board."""

    def __init__(self, memory: memoryview, place: BoardPlace, incarnation: int) -> None:
        if memory.readonly:
            raise BufferError(f"board {place.spec.name}: the memory is read-only")
        super().__init__(memory, place)
        self._incarnation = incarnation
        self._tags = [0] * self.slot_count
        self._generations = [0] * self.slot_count
        codes = (
            f"{field.size}x" if field.name == "reserved" else field.code
            for field in self.record.fields
        )
        self._pack_into = struct.Struct("<" + "".join(codes)).pack_into

    def assign(self, slot: int, tag: int, generation: int, /) -> None:
        """Say whose data the slot holds from now on; `publish` stamps it on every record."""
        if slot < 0:
            raise self._no_slot(slot)
        if not (0 <= tag < 1 << 64 and 0 <= generation < 1 << 32):
            raise OverflowError(f"tag {tag} or generation {generation} does not fit its field")
        self._tags[slot] = tag
        self._generations[slot] = generation

    def publish(self, slot: int, values: Sequence[int | bytes], /) -> int:
        """Publish the fields after the three stamps, arrays flat; return the version.

        A value that does not fit its field raises struct.error and nothing is published. Text
        longer than its field is cut.
        """
        tag = self._tags[slot]
        if not tag:
            raise BoardError(f"board {self.name}: slot {slot} is published before assign()")
        return self.publish_tagged(slot, tag, self._generations[slot], values)

    def publish_tagged(
        self, slot: int, tag: int, generation: int, values: Sequence[int | bytes], /
    ) -> int:
        """Publish a record that carries its own tag: what streams of many instruments need."""
        if slot < 0:
            raise self._no_slot(slot)
        version: int = self._versions[slot] + 1
        self._pack_into(  # W2: the cell
            self.memory,
            self._bases[slot] + (version & self._mask) * self._size,
            tag,
            self._incarnation,
            generation,
            *values,
        )
        self._versions[slot] = version  # W3: one aligned 8-byte store, after the cell
        return version

    def last(self, slot: int, /) -> Snapshot | Miss:
        """What the slot holds now, whoever published it: what a restarted writer goes on from."""
        version = self.version(slot)
        if version == 0:
            return Miss.NEVER
        at = self._bases[slot] + (version & self._mask) * self._size
        return self._snapshot(self._source[at : at + self._size], version)


class Reader(_Board):
    """One reader of a board; any number of them read at once."""

    def __init__(self, memory: memoryview, place: BoardPlace) -> None:
        super().__init__(memory, place)
        self.retry_count = 0
        self.busy_count = 0
        self._reach = self.cell_count - 2
        self._span = self.cell_count - 1  # A copy of n records may be overtaken by this, less n.

    def read(self, slot: int, tag: int, /) -> Snapshot | Miss:
        """The newest whole record of the slot, if it is `tag`'s (0: anybody's)."""
        if slot < 0:
            raise self._no_slot(slot)
        versions = self._versions
        version = versions[slot]  # R1
        at = self._bases[slot] + (version & self._mask) * self._size
        raw = self._source[at : at + self._size]  # R2
        if versions[slot] - version > self._reach:  # R3
            return self._read_again(slot, tag)
        if version == 0:
            return Miss.NEVER
        if tag and _first_word(raw)[0] != tag:
            return Miss.OTHER_TAG
        found = _new(self._snapshot)
        found.raw = raw
        found.version = version
        return found

    def _read_again(self, slot: int, tag: int) -> Snapshot | Miss:
        for _ in range(RETRY_MAX - 1):
            self.retry_count += 1
            found = self.read_version(slot, self._versions[slot])
            if isinstance(found, Snapshot):
                is_other = tag and _first_word(found.raw)[0] != tag
                return Miss.OTHER_TAG if is_other else found
        self.retry_count += 1
        self.busy_count += 1
        return Miss.BUSY

    def read_version(self, slot: int, version: int, /) -> Snapshot | Miss:
        """Record `version` of the slot, or BUSY when it is not, or no longer, to be had whole."""
        first = self.version(slot)
        at = self._bases[slot] + (version & self._mask) * self._size
        raw = self._source[at : at + self._size]
        if 0 < version <= first and self._versions[slot] - version <= self._reach:
            return self._snapshot(raw, version)
        return Miss.BUSY

    def copy_last(self, slot: int, count: int, /) -> bytes | Miss:
        """Bytes of the last `count` <= K-2 records of the slot, oldest first; fewer at first."""
        limit = self._span - 1
        if not 1 <= count <= limit:
            raise BoardError(f"board {self.name}: history of {count}, must be 1 to {limit}")
        for _ in range(RETRY_MAX):
            version = self.version(slot)
            have = min(count, version)
            found = self._copy_ring(self._bases[slot], version - have + 1, have)
            if self._versions[slot] - version <= self._span - max(have, 1):
                return found
            self.retry_count += 1
        self.busy_count += 1
        return Miss.BUSY

    def _copy_ring(self, base: int, first: int, count: int) -> bytes:
        """`count` records from the cell of `first` on, around the end of the ring if need be."""
        at = base + (first & self._mask) * self._size
        ring_end = base + (self._mask + 1) * self._size
        end = at + count * self._size
        found: bytes = self._source[at : min(end, ring_end)]
        return found if end <= ring_end else found + self._source[base : base + end - ring_end]


class Scan:
    """Which slots changed: copy the version words once, compare with the last copy, keep it.

    (Comparing the live words, and copying afterwards, would lose what changes in between.)
    """

    def __init__(self, memory: memoryview, versions_at: int, slot_count: int) -> None:
        import numpy as np

        self._np = np
        self._live = np.frombuffer(memory, np.uint64, slot_count, versions_at)
        self._last = np.zeros(slot_count, np.uint64)
        self._next = np.empty(slot_count, np.uint64)
        self._moved = np.empty(slot_count, np.bool_)

    def poll(self) -> bytes:
        """Numbers of the slots published since the last poll; at first, of all ever published."""
        np, now, last = self._np, self._next, self._last
        np.copyto(now, self._live)
        np.not_equal(now, last, out=self._moved)
        self._last, self._next = now, last
        return self._moved.nonzero()[0].tobytes()


_first_word = struct.Struct("<Q").unpack_from
_new: Callable[[type[Snapshot]], Snapshot] = object.__new__

assert STAMP_COUNT == 3  # publish_tagged names them one by one
