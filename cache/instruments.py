"""The instrument directory: which slot holds whose data, read from a feed's `instruments` board.

A reader keeps a `Directory` and calls `refresh` in its housekeeping or when the segment's epoch
moved; look-ups are dictionaries then. A slot that was given to another market has another tag, so
a reader that is late reads OTHER_TAG, never another market's book.

What a record says is checked before anybody lives by it: a listing that cannot be is left out, and
stands in `unreadable`. The invariant: every slot number in `pairs` is one that the boards have.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.board import BoardWriter, Miss, Snapshot
from cache.layout import INSTRUMENT, next_generation
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


def listing(**values: int | bytes) -> tuple[int | bytes, ...]:
    """The values of an instrument record; what is not named is zero or empty."""
    made: dict[str, int | bytes] = {
        field.name: b"" if field.is_text else 0
        for field in INSTRUMENT.fields
        if field.name in INSTRUMENT.value_names
    }
    if unknown := values.keys() - made.keys():
        raise TypeError(f"an instrument has no {', '.join(sorted(unknown))}")
    return tuple((made | values).values())


def generation_for(board: BoardWriter, slot: int, tag: int) -> int:
    """The generation of a slot that is given to `tag`: the next one, unless it had it before."""
    held = board.last(slot)
    if isinstance(held, Miss):
        return 0
    generation: int = held.generation
    return generation if held.tag == tag else next_generation(generation)


class Directory:
    """What one feed lists now. Belongs to one thread; make a new one after a re-attach."""

    def __init__(self, segment: ReaderSegment) -> None:
        self._segment = segment
        self._board = segment.board("instruments")
        self._scan = self._board.changed()
        self._incarnation = 0
        self._by_slot: dict[int, Snapshot] = {}
        self._busy: set[int] = set()
        """Slots whose listing could not be read yet: they changed, and are told as such once."""
        self._pair_slot_count = _pair_slot_count(segment)
        self.unreadable: dict[int, int] = {}
        """Slots whose listing cannot be, and its version."""
        self.by_tag: dict[int, Snapshot] = {}
        self.slot_of: dict[int, int] = {}
        self.pairs: dict[int, Pair] = {}

    def refresh(self) -> bool:
        """Read what changed since the last call; True when anything did.

        A listing of an older incarnation is dropped: its writer has not confirmed it yet.
        """
        changed = self._scan.slots()
        incarnation = self._segment.incarnation
        if not changed and not self._busy and incarnation == self._incarnation:
            return False
        self._incarnation = incarnation
        old = [slot for slot, held in self._by_slot.items() if held.incarnation != incarnation]
        wanted = {*changed, *old, *self._busy}
        if not wanted:
            return False
        self._busy.clear()
        for slot in wanted:
            found = self._board.read(slot, 0)
            if found is Miss.BUSY:
                self._busy.add(slot)
            self._by_slot.pop(slot, None)
            self.unreadable.pop(slot, None)
            if isinstance(found, Miss) or found.incarnation != incarnation or not found.id:
                continue
            if self._is_readable(found):
                self._by_slot[slot] = found
            else:
                self.unreadable[slot] = found.version
        self._index()
        return True

    def _is_readable(self, listed: Snapshot) -> bool:
        if not listed.tag or listed.outcome_index > 1:
            return False
        if not all(text.isprintable() for text in (listed.id, listed.slug, listed.outcome)):
            return False
        is_on_boards: bool = listed.pair_slot < self._pair_slot_count
        return is_on_boards or not listed.pair_tag

    def _index(self) -> None:
        self.by_tag = {held.tag: held for held in self._by_slot.values()}
        self.slot_of = {held.tag: slot for slot, held in self._by_slot.items()}
        self.pairs = {}
        for yes in self._by_slot.values():
            if yes.outcome_index == 0 and yes.pair_tag:
                no = self.by_tag.get(yes.complement_tag)
                if no is not None and _belong_together(yes, no):
                    self.pairs[yes.pair_tag] = Pair(yes.pair_tag, yes.pair_slot, yes, no)


def _belong_together(yes: Snapshot, no: Snapshot) -> bool:
    """Whether the second token's own listing says so too."""
    places = (yes.pair_tag, yes.pair_slot), (no.pair_tag, no.pair_slot)
    found: bool = places[0] == places[1] and no.outcome_index == 1
    return found


def _pair_slot_count(segment: ReaderSegment) -> int:
    """How many slots all boards have that are kept by market."""
    counts = {name: place.spec.slot_count for name, place in segment.places().items()}
    counts["depth"] = counts.get("depth", 1 << 32) // 2  # One slot a token.
    kept = ("pair_bbo", "settlement", "mids", "depth")
    return min(counts[name] for name in kept if name in counts)
