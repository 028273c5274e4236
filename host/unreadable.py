"""Records that cannot be what they say: told and counted once each, and left out.

Whoever reads memory that another process wrote checks each number before it lives by it: an order
side that is none, a slot that no board has. Such a record is damage, or another program's writing;
it must stop nobody, and somebody must learn of it. This remembers what was told already, one
version a slot, so that a record that just lies there is told once.
"""

from __future__ import annotations

from cache.counters import Counter, CounterWriter
from host.log import Log


class Unreadable:
    """What one process met; belongs to one thread."""

    def __init__(self, counters: CounterWriter, log: Log) -> None:
        self._counters = counters
        self._log = log
        self._told: dict[tuple[str, int], int] = {}

    def note(self, place: str, slot: int, version: int) -> None:
        """Tell of one record of a board, `place` being `role board`."""
        if self._told.get((place, slot)) == version:
            return
        self._told[place, slot] = version
        self._counters.add(Counter.cache_record_unreadable)
        self._log.warning("record_unreadable", board=place, slot=slot, version=version)
