"""A link to another process's segment: attached when it is there, again when it is replaced.

Feeds and the executor come, go and are made anew while a strategy runs. A link looks a few times a
second whether the name still leads to what it has mapped. The invariant: what is held is either the
current segment or the last one there was, whose writer's liveness then says so; a link never waits
and never raises for the state the other side is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from cache.counters import Counter, CounterWriter
from cache.errors import PenstockError, SegmentMissing
from cache.liveness import Liveness
from cache.segment import ReaderSegment
from host.clock import monotonic_ns
from host.log import get_log

LOOK_NS = 100_000_000
"""How often a link looks whether its segment is still the current one."""

log = get_log("strategy")

Boards = TypeVar("Boards")


class Place(NamedTuple):
    """Where the segments are, and who counts what happens to the links."""

    namespace: str
    counters: CounterWriter


class Link(Generic[Boards]):
    """One segment and whatever `open_boards` makes of it; both None until it is there."""

    def __init__(
        self,
        role: str,
        open_boards: Callable[[ReaderSegment], Boards],
        place: Place,
    ) -> None:
        self.role = role
        self.segment: ReaderSegment | None = None
        self.boards: Boards | None = None
        self._open_boards = open_boards
        self._place = place
        self.due_ns = 0

    def refresh(self, now_ns: int) -> bool:
        """Attach where that is due and possible; True when another segment is held than before."""
        if now_ns < self.due_ns:
            return False
        self.due_ns = now_ns + LOOK_NS
        if self.segment is not None and self.segment.is_current():
            return False
        try:
            segment = ReaderSegment.attach(self.role, namespace=self._place.namespace)
            boards = self._open_boards(segment)
        except SegmentMissing:
            return False
        except PenstockError as fault:
            log.warning("segment_refused", role=self.role, error=fault)
            return False
        if self.segment is not None:
            self._place.counters.add(Counter.cache_segment_reattached)
        self.segment, self.boards = segment, boards
        log.info("attached", role=self.role, incarnation=segment.incarnation)
        return True

    def liveness(self, now_ns: int) -> Liveness:
        """What is known of the writer; WRITER_DEAD while there never was one."""
        if self.segment is None:
            return Liveness.WRITER_DEAD
        found = self.segment.liveness(now_ns)
        if found is Liveness.STALLED:
            # A beat since `now_ns` was read lies in its future, which counts as stale: look again.
            found = self.segment.liveness(monotonic_ns())
        return found

    @property
    def incarnation(self) -> int:
        """Incarnation of the writer; 0 while there never was one."""
        return self.segment.incarnation if self.segment is not None else 0

    @property
    def link_ns(self) -> int:
        """When the writer last proved its venue link; 0 while there never was one."""
        return self.segment.link_ns if self.segment is not None else 0
