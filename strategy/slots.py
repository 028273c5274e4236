"""The strategy's own board: which slot holds whose quotes, and when they are worth publishing.

A market keeps its slot for as long as it is quoted, across restarts too: the board is taken over as
it lies, so that two slots never carry the same market. Whoever reads finds a market by its tag. A
record is published when the decision changed, or when its validity has to be renewed; the
invariant: what the newest record wants is what was decided last, or the same with an older expiry.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.board import BoardWriter, Miss
from cache.counters import Counter, CounterWriter
from cache.layout import next_generation
from strategy.quoting import TwoSided
from strategy.tick import TargetQuotes

_NONE = TwoSided()

RENEW_NS_MAX = 1_000_000_000
"""However long quotes hold, and even where there are none, the record is this fresh."""


@dataclass(slots=True)
class _Slot:
    """What lies in a slot; `tag` 0 is nothing."""

    index: int
    tag: int = 0
    generation: int = 0
    used_ns: int = 0
    target: TargetQuotes | None = None
    net_e9: int | None = None
    published_ns: int = 0


class QuoteSlots:
    """The slots of the `quotes` board. Belongs to one thread."""

    def __init__(self, board: BoardWriter, counters: CounterWriter, *, valid_ns: int) -> None:
        self._board = board
        self._counters = counters
        self._renew_ns = min(valid_ns // 4, RENEW_NS_MAX)
        self._slots = [_Slot(index) for index in range(board.slot_count)]
        self._by_tag: dict[int, _Slot] = {}
        self._adopt()

    def _adopt(self) -> None:
        """Go on with the slots as the last incarnation left them."""
        for slot in self._slots:
            held = self._board.last(slot.index)
            if isinstance(held, Miss) or held.tag in self._by_tag:
                continue
            slot.generation = held.generation
            if not held.tag:
                continue  # It names nobody: damage. The slot is free.
            slot.tag = held.tag
            self._by_tag[slot.tag] = slot
            self._board.assign(slot.index, slot.tag, slot.generation)

    @property
    def tags(self) -> frozenset[int]:
        """Markets that have a slot."""
        return frozenset(self._by_tag)

    def standing(self, tag: int) -> TwoSided:
        """The quotes that rest in a market, as far as this process decided them."""
        slot = self._by_tag.get(tag)
        return slot.target.quotes if slot is not None and slot.target is not None else _NONE

    def claim(self, tag: int, now_ns: int, *, live: frozenset[int]) -> bool:
        """Give a market a slot if it has none; False, and counted, when all are `live` markets'."""
        slot = self._by_tag.get(tag)
        if slot is None:
            free = [slot for slot in self._slots if slot.tag not in live]
            if not free:
                self._counters.add(Counter.strategy_markets_refused)
                return False
            # Never used before, else the one whose market has been gone for longest.
            slot = min(free, key=lambda slot: (slot.tag != 0, slot.used_ns, slot.index))
            self._give(slot, tag)
        slot.used_ns = now_ns
        return True

    def _give(self, slot: _Slot, tag: int) -> None:
        if slot.tag:
            del self._by_tag[slot.tag]
            slot.generation = next_generation(slot.generation)
        slot.tag, slot.target, slot.net_e9 = tag, None, None
        self._by_tag[tag] = slot
        self._board.assign(slot.index, tag, slot.generation)

    def is_news(self, tag: int, target: TargetQuotes) -> bool:
        """Whether a decision is another one than what was published last."""
        last = self._by_tag[tag].target
        return (
            last is None
            or last.reason is not target.reason
            or last.quotes != target.quotes
            or last.keep is not target.keep
        )

    def must_renew(self, tag: int, target: TargetQuotes, net_e9: int | None, now_ns: int) -> bool:
        """Whether the same decision has to be published again.

        After a fill the executor waits for quotes that were decided with that fill in view: so a
        changed position has to be told of even where the quotes are the same.
        """
        slot = self._by_tag[tag]
        last = slot.target
        if last is None or slot.net_e9 != net_e9 or target.valid_until_ns < last.valid_until_ns:
            return True
        age_ns = now_ns - slot.published_ns
        return age_ns >= (RENEW_NS_MAX if target.quotes.is_empty else self._renew_ns)

    def publish(
        self, tag: int, target: TargetQuotes, values: tuple[int, ...], *, net_e9: int | None
    ) -> int:
        """Publish a decision in its market's slot; return the record's version."""
        slot = self._by_tag[tag]
        version = self._board.publish(slot.index, values)
        slot.target, slot.net_e9 = target, net_e9
        slot.published_ns = values[_PUBLISH_NS]
        self._counters.add(Counter.strategy_quotes_published)
        return version


_PUBLISH_NS = 3
"""Place of `publish_ns` among the values of a record."""
