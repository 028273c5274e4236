"""The latest snapshot of a slot, published by one process and read by any number.

`SnapshotStoreWriter.publish` makes a snapshot visible as a whole and returns its number;
`SnapshotStore.read_latest` gives the newest whole one with that number, decoded once for each
publication; `get_seq` tells by one load whether there is a newer one. Writer and reader are
different classes, and a reader's memory cannot be written to.

Invariants: no call waits; a snapshot is never a mixture of two, and comes with its own number; the
numbers of a slot only grow, whichever writer published. A read that was overtaken too often gives
the last whole snapshot again. It judges no age and knows no market.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cache.board import BoardReader, BoardWriter, Miss, Snapshot
from cache.layout import HEADER_AT

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
