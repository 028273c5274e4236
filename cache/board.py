"""Boards: the one primitive of the shared memory (shm_layout.md §6).

A board holds N slots of one record type; a slot is one `version` word and a ring of K cells, and
record v lives in cell v & (K-1). The writer fills the next cell, then stores the version. A reader
loads the version, copies the cell, loads the version again: the copy of record u is whole if
0 <= v2 - u <= K - 2. A dead writer therefore leaves the last whole record readable, and a reader
beside a writer that never rests seldom has to read twice.

Publish and read are done by one of two twins under the same tests: the C core (`_board.c`), or
`pure_board.py` where it was not built. `BoardWriter` and `BoardReader` are whichever is there.
A board object belongs to one thread. It does not judge age, liveness or flags: the gate does.

numpy is imported by the calls that give arrays: a feed needs none, and starts 0.1 s sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache import pure_board
from cache.core import core
from cache.errors import BoardError
from cache.layout import HEADER, HEADER_AT, RECORD_BY_NAME, Record
from cache.pure_board import RETRY_MAX as RETRY_MAX
from cache.pure_board import Miss as Miss

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from cache.pure_board import Snapshot as Snapshot

    class BoardWriter(pure_board.Writer):
        """The one writer of a board."""

    class BoardReader(pure_board.Reader):
        """One reader of a board; any number of them read at once."""

        def history(self, slot: int, count: int, tag: int, /) -> NDArray[np.void] | Miss: ...
        def changed(self) -> ChangeScan: ...
        def stream(self, slot: int = 0) -> StreamReader: ...


def _own_run(records: NDArray[np.void], tag: int) -> NDArray[np.void]:
    """The last records in a row that carry `tag`: what came before belonged to another market."""
    if not tag:
        return records
    import numpy as np

    foreign = np.flatnonzero(records["tag"] != tag)
    return records[foreign[-1] + 1 :] if foreign.size else records


def _writer_incarnation(board: BoardReader) -> int:
    """The writer's restart number now; 0 where the memory has no segment header."""
    at = HEADER_AT["incarnation"]
    has_header = board.place.versions_offset >= HEADER.size
    return int.from_bytes(board.memory[at : at + 8], "little") if has_header else 0


class ChangeScan:
    """Tells which slots of a board were published since it last looked."""

    def __init__(self, scan: Any) -> None:
        import numpy as np

        self._scan, self._as_array, self._kind = scan, np.frombuffer, np.intp

    def poll(self) -> NDArray[np.intp]:
        """Numbers of the slots published since the last poll; at first, of all ever published."""
        return self._as_array(self._scan.poll(), self._kind)

    def slots(self) -> list[int]:
        """`poll` as a list, made without numpy."""
        return memoryview(self._scan.poll()).cast("l").tolist()


class StreamReader:
    """Takes each next record; when the writer lapped it, it knows (`overrun_count`).

    After an overrun, or a new incarnation of the writer (which counts as one), whoever keeps
    state from the stream must resynchronise.
    """

    def __init__(self, board: BoardReader, slot: int) -> None:
        self._board = board
        self._slot = slot
        self._incarnation = _writer_incarnation(board)  # Before the cursor: a restart is seen.
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


def _history(board: BoardReader, slot: int, count: int, tag: int, /) -> NDArray[np.void] | Miss:
    """The last `count` <= K-2 records in a row that are `tag`'s (0: anybody's), oldest first.

    One copy, as a structured array; shorter when there are fewer, empty when there are none.
    """
    found = board.copy_last(slot, count)
    if isinstance(found, Miss):
        return found
    import numpy as np

    return _own_run(np.frombuffer(found, board.record.dtype), tag)


def last_run(board: BoardReader, slot: int, tag: int) -> list[Snapshot]:
    """The same run as `history(slot, K - 2, tag)`, one by one: for few, and without numpy."""
    run: list[Snapshot] = []
    newest = board.version(slot)
    for version in range(newest, max(0, newest - board.cell_count + 2), -1):
        found = board.read_version(slot, version)
        if isinstance(found, Miss) or found.tag != tag:
            break
        run.append(found)
    return run[::-1]


def _stream(board: BoardReader, slot: int = 0) -> StreamReader:
    """A reader with a cursor of its own, starting behind the newest record."""
    return StreamReader(board, slot)


def make_twin(module: Any) -> None:
    """Make a twin's classes the boards everybody uses: `pure_board`, or a build of the core.

    What is not a matter of nanoseconds is the same code for both, and joins the twin's own reader:
    calls into a subclass of a C type would cost more than the reads.
    """

    def _changed(board: BoardReader) -> ChangeScan:
        """A scan that tells which slots were published since it last looked."""
        place = board.place
        return ChangeScan(module.Scan(board.memory, place.versions_offset, place.spec.slot_count))

    module.Reader.history = _history
    module.Reader.stream = _stream
    module.Reader.changed = _changed
    if module is not pure_board:
        module.configure(Miss.NEVER, Miss.BUSY, Miss.OTHER_TAG, BoardError)
        for name, kind in module.snapshot_types.items():
            kind.record = RECORD_BY_NAME[name]


_twin: Any = core or pure_board
make_twin(_twin)
if not TYPE_CHECKING:
    BoardWriter, BoardReader, Snapshot = _twin.Writer, _twin.Reader, _twin.Snapshot


def snapshot_type(record: Record) -> type[Snapshot]:
    """The snapshot class of a record type; calling it with (raw, version) makes one."""
    found: type[Snapshot] = _twin.snapshot_types[record.name]
    return found


def picker(record: Record, *names: str) -> Callable[[Snapshot], tuple[int, ...]]:
    """A function that takes some numbers out of a snapshot of that record, in its order, at once.

    Raises ValueError where the record has no such number, or has it before the one named last.
    """
    found: Callable[[Snapshot], tuple[int, ...]] = _twin.picker(record.name, names)
    return found
