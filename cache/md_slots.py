"""Which symbols the cache for REST snapshots knows: a bounded table, the least recently used first.

A slot keeps one symbol's snapshot, its *generation* and how its last tries went. Generations are
never given twice, not even to a symbol that was evicted and came back, so whatever remembers one
can tell whether its symbol was invalidated or evicted since. A slot that is waited for stays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from cache.md_entry import MDCacheEntry


@dataclass(slots=True)
class Slot:
    """What is known of one symbol."""

    generation: int
    entry: MDCacheEntry | None = None
    waiter_count: int = 0
    failed_count: int = 0
    """Tries that failed since one succeeded."""
    hold_until_ns: int = 0
    """The venue is not asked before."""


class Slots:
    """At most `symbols_max` slots."""

    def __init__(self, symbols_max: int) -> None:
        self._symbols_max = symbols_max
        self._slots: OrderedDict[str, Slot] = OrderedDict()
        self._generations = count(1)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def find(self, symbol: str) -> Slot | None:
        """Look a symbol up, which does not count as use."""
        return self._slots.get(symbol)

    def use(self, symbol: str) -> tuple[Slot | None, str | None]:
        """Find or make a symbol's slot: (slot, symbol that was evicted for it).

        There is no slot where every other one is being waited for.
        """
        slot = self._slots.get(symbol)
        if slot is not None:
            self._slots.move_to_end(symbol)
            return slot, None
        gone = None
        if len(self._slots) >= self._symbols_max:
            gone = next((name for name, old in self._slots.items() if not old.waiter_count), None)
            if gone is None:
                return None, None
            del self._slots[gone]
        slot = self._slots[symbol] = Slot(next(self._generations))
        return slot, gone

    def renew(self, slot: Slot) -> None:
        """Throw the snapshot away; whatever was asked for until now is outdated."""
        slot.entry = None
        slot.generation = next(self._generations)

    def clear(self) -> None:
        """Forget every symbol."""
        self._slots.clear()
