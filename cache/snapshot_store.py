"""The latest snapshot of a slot, and its rolling mids: one process publishes, any number read.

`SnapshotStoreWriter.publish` makes a snapshot visible as a whole and returns its number;
`SnapshotStore.read_latest` gives the newest whole one with that number, decoded once for each
publication; `get_seq` tells by one load whether there is a newer one. `RollingMids` gives the mids
of a while. Writer and reader are different classes, and a reader's memory cannot be written to.

Invariants: no call waits; a snapshot is never a mixture of two, and comes with its own number; the
numbers of a slot only grow, whichever writer published. A read that was overtaken too often gives
what was whole the last time. It judges no age and knows no market.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from cache.board import BoardReader, BoardWriter, Miss, Snapshot
from cache.errors import BoardError
from cache.layout import HEADER_AT
from cache.refusals import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Run: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
    """Times and mids, oldest first."""

T = TypeVar("T")

_INCARNATION = HEADER_AT["incarnation"] >> 3


class SnapshotStoreWriter(Generic[T]):
    """The one writer of a slot; belongs to its segment's thread."""

    def __init__(
        self,
        board: BoardWriter,
        slot: int,
        encode: Callable[[T], Sequence[int | bytes]],
    ) -> None:
        """`encode` gives the values of a record; say whose the slot is with `assign`."""
        self._board = board
        self._slot = slot
        self._encode = encode

    def assign(self, tag: int, generation: int) -> None:
        """Say whose data the slot holds from now on."""
        self._board.assign(self._slot, tag, generation)

    def publish(self, snapshot: T) -> int:
        """Make a snapshot the latest; return its number."""
        return self._board.publish(self._slot, self._encode(snapshot))

    def get_seq(self) -> int:
        """The number of the latest snapshot; 0 before any."""
        return self._board.version(self._slot)


class SnapshotStore(Generic[T]):
    """A reader of one slot; belongs to one thread."""

    def __init__(
        self,
        board: BoardReader,
        slot: int,
        tag: int,
        *,
        decode: Callable[[Snapshot, bool], T],
    ) -> None:
        """`decode` makes the snapshot of a record; it is told whether a predecessor wrote it."""
        self._version = board.version
        self._read = board.read
        self._slot = slot
        self._tag = tag
        self._decode = decode
        self._words = board.memory.cast("Q")
        self._held: tuple[T | None, int] = (None, 0)
        self._incarnation = 0
        """The writer's restart number when `_held` was decoded."""

    def get_seq(self) -> int:
        """How often the slot was published; 0 never. One load, nothing is copied."""
        return self._version(self._slot)

    def read_latest(self) -> tuple[T | None, int]:
        """The newest whole snapshot and its number; None while the slot holds none of its owner."""
        incarnation = self._words[_INCARNATION]
        version = self._version(self._slot)  # Before the read: what comes after is news.
        held = self._held
        if version == held[1] and incarnation == self._incarnation:
            return held
        found = self._read(self._slot, self._tag)
        if type(found) is Miss:  # An isinstance of an enum costs as much as two reads.
            if found is Miss.BUSY:
                return held  # The last whole one, with its own number.
            held = (None, version)
        else:
            held = (self._decode(found, found.incarnation != incarnation), found.version)
        self._incarnation = incarnation
        self._held = held
        return held


class RollingMids:
    """The mids that a board keeps of a slot, as arrays; belongs to one thread."""

    def __init__(
        self,
        board: BoardReader | None,
        slot: int,
        tag: int,
        *,
        take: Callable[[NDArray[np.void]], Run],
    ) -> None:
        """`take` makes times and mids of records; without a board there are none."""
        self._board = board
        self._slot = slot
        self._tag = tag
        self._take = take
        self._held: Run | None = None

    def last(self, count: int) -> Run:
        """Times and mids of the last `count` records; where they stay BUSY those of the last time.

        Memory is copied once, and nobody can write to what is handed out.
        """
        import numpy as np

        board = self._board
        if type(count) is not int or count < 1:
            said = f"the number of mids is {shown(count)}"
            raise BoardError(f"{said}: it must be a whole number, at least 1")
        if board is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        found = board.history(self._slot, min(count, board.cell_count - 2), self._tag)
        if not isinstance(found, Miss):
            self._held = self._take(found)
            for array in self._held:
                array.flags.writeable = False
        elif self._held is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        times, mids = self._held
        return times[-count:], mids[-count:]
