"""Boards: the one primitive of the shared memory (shm_layout.md §6).

A board holds N slots of one record type; a slot is one `version` word and a ring of K cells, and
record v lives in cell v & (K-1). The writer fills the next cell, then stores the version. A reader
loads the version, copies the cell, loads the version again: the copy of record u is whole if
0 <= v2 - u <= K - 2. A dead writer therefore leaves the last whole record readable, and a reader
beside a writer that never rests seldom has to read twice.

Publish and read are done by one of two twins under the same tests: the C core (`_board.c`), or
`pure_board.py` where it was not built. `BoardWriter` and `BoardReader` are whichever is there.
A board object belongs to one thread. It does not judge age, liveness or flags: the gate does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache import pure_board
from cache.core import core
from cache.errors import BoardError
from cache.layout import HEADER, HEADER_AT, RECORD_BY_NAME, BoardPlace, Record
from cache.pure_board import RETRY_MAX as RETRY_MAX
from cache.pure_board import Miss as Miss

if TYPE_CHECKING:
    from cache.pure_board import Reader as _Reader
    from cache.pure_board import Snapshot as Snapshot
else:
    _Reader = object  # Either twin's reader is mixed in by make_twin().


class _Bulk(_Reader):
    """What a reader does on top of `read_version` and `copy_last`."""

    record: Record
    _memory: memoryview
    _place: BoardPlace

    def history(self, slot: int, count: int, tag: int, /) -> NDArray[np.void] | Miss:
        """The last `count` <= K-2 records in a row that are `tag`'s (0: anybody's), oldest first.

        One copy, as a structured array; shorter when there are fewer, empty when there are none.
        """
        found = self.copy_last(slot, count)
        if isinstance(found, Miss):
            return found
        return _own_run(np.frombuffer(found, self.record.dtype), tag)

    def changed(self) -> ChangeScan:
        """A scan that tells which slots were published since it last looked."""
        return ChangeScan(self._memory, self._place)

    def stream(self, slot: int = 0) -> StreamReader:
        """A reader with a cursor of its own, starting behind the newest record."""
        return StreamReader(self, slot)

    def writer_incarnation(self) -> int:
        """The writer's restart number now; 0 where the memory has no segment header."""
        if self._place.versions_offset < HEADER.size:
            return 0
        at = HEADER_AT["incarnation"]
        return int.from_bytes(self._memory[at : at + 8], "little")


def _own_run(records: NDArray[np.void], tag: int) -> NDArray[np.void]:
    """The last records in a row that carry `tag`: what came before belonged to another market."""
    if not tag:
        return records
    foreign = np.flatnonzero(records["tag"] != tag)
    return records[foreign[-1] + 1 :] if foreign.size else records


class ChangeScan:
    """Tells which slots of a board were published since it last looked."""

    def __init__(self, memory: memoryview, place: BoardPlace) -> None:
        self._scan = _twin.scan(memory, place.versions_offset, place.spec.slot_count)

    def poll(self) -> NDArray[np.intp]:
        """Numbers of the slots published since the last poll; at first, of all ever published."""
        return np.frombuffer(self._scan.poll(), np.intp)


class StreamReader:
    """Takes each next record; when the writer lapped it, it knows (`overrun_count`).

    After an overrun, or a new incarnation of the writer (which counts as one), whoever keeps
    state from the stream must resynchronise.
    """

    def __init__(self, board: _Bulk, slot: int) -> None:
        self._board = board
        self._slot = slot
        self._incarnation = board.writer_incarnation()  # Before the cursor: a restart is seen.
        self.cursor = board.version(slot)
        self.overrun_count = 0
        self.lost_count = 0

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


class Twin(NamedTuple):
    """The boards on one of the two implementations."""

    writer: Any
    reader: Any
    snapshot: Any
    snapshot_types: dict[str, Any]
    scan: Any


def _arguments(memory: memoryview, place: BoardPlace) -> tuple[Any, ...]:
    spec = place.spec
    sizes = (spec.slot_count, spec.cell_count)
    return spec.name, memory, spec.record.id, place.versions_offset, place.cells_offset, *sizes


def make_twin(module: Any) -> Twin:
    """Build the boards on `pure_board`, or on a module that does the same."""

    class BoardWriter(module.Writer):  # type: ignore[misc]
        """The one writer of a board."""

        def __init__(self, memory: memoryview, place: BoardPlace, incarnation: int) -> None:
            super().__init__(*_arguments(memory, place), incarnation)
            self.record = place.spec.record

    class BoardReader(_Bulk, module.Reader):  # type: ignore[misc]
        """One reader of a board; any number of them read at once."""

        def __init__(self, memory: memoryview, place: BoardPlace) -> None:
            super().__init__(*_arguments(memory, place))
            self.record = place.spec.record
            self._memory = memory
            self._place = place

    if module is not pure_board:
        module.configure(Miss.NEVER, Miss.BUSY, Miss.OTHER_TAG, BoardError)
        for name, kind in module.snapshot_types.items():
            kind.record = RECORD_BY_NAME[name]
    return Twin(BoardWriter, BoardReader, module.Snapshot, module.snapshot_types, module.Scan)


_twin = make_twin(core or pure_board)

if TYPE_CHECKING:

    class BoardWriter(pure_board.Writer):
        """The one writer of a board."""

        record: Record

        def __init__(self, memory: memoryview, place: BoardPlace, incarnation: int) -> None: ...

    class BoardReader(_Bulk):
        """One reader of a board; any number of them read at once."""

        def __init__(self, memory: memoryview, place: BoardPlace) -> None: ...

else:
    BoardWriter, BoardReader, Snapshot = _twin[:3]


def snapshot_type(record: Record) -> type[Snapshot]:
    """The snapshot class of a record type; calling it with (raw, version) makes one."""
    found: type[Snapshot] = _twin.snapshot_types[record.name]
    return found
