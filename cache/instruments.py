"""The instrument directory: which slot holds whose data, read from a feed's `instruments` board.

A reader keeps a `Directory` and calls `refresh` in its housekeeping or when the segment's epoch
moved; look-ups are dictionaries then. A slot that was given to another market has another tag, so
a reader that is late reads OTHER_TAG, never another market's book.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.board import Miss, Snapshot
from cache.segment import ReaderSegment


@dataclass(frozen=True, slots=True)
class Pair:
    """A Polymarket market: both tokens as the directory lists them, and where they lie."""

    tag: int
    pair_slot: int
    yes: Snapshot
    no: Snapshot

    @property
    def window_start_ns(self) -> int:
        start: int = self.yes.window_start_ns
        return start

    @property
    def window_end_ns(self) -> int:
        end: int = self.yes.window_end_ns
        return end


class Directory:
    """What one feed lists now. Belongs to one thread; make a new one after a re-attach."""

    def __init__(self, segment: ReaderSegment) -> None:
        self._segment = segment
        self._board = segment.board("instruments")
        self._scan = self._board.changed()
        self._by_slot: dict[int, Snapshot] = {}
        self.by_tag: dict[int, Snapshot] = {}
        self.slot_of: dict[int, int] = {}
        self.pairs: dict[int, Pair] = {}

    def refresh(self) -> bool:
        """Read what changed since the last call; True when anything did.

        A listing of an older incarnation is dropped: its writer has not confirmed it yet.
        """
        changed = self._scan.poll().tolist()
        incarnation = self._segment.incarnation
        old = [slot for slot, held in self._by_slot.items() if held.incarnation != incarnation]
        if not changed and not old:
            return False
        for slot in {*changed, *old}:
            found = self._board.read(slot, 0)
            if isinstance(found, Miss) or found.incarnation != incarnation or not found.id:
                self._by_slot.pop(slot, None)
            else:
                self._by_slot[slot] = found
        self._index()
        return True

    def _index(self) -> None:
        self.by_tag = {held.tag: held for held in self._by_slot.values()}
        self.slot_of = {held.tag: slot for slot, held in self._by_slot.items()}
        self.pairs = {}
        for yes in self._by_slot.values():
            if yes.outcome_index == 0 and yes.pair_tag:
                no = self.by_tag.get(yes.complement_tag)
                if no is not None:
                    self.pairs[yes.pair_tag] = Pair(yes.pair_tag, yes.pair_slot, yes, no)
