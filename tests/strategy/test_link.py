"""Links to segments that come, go and are made anew."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cache.board import BoardReader
from cache.counters import Counter
from cache.errors import BoardError, LayoutMismatch
from cache.layout import E9, State
from cache.liveness import Liveness
from cache.segment import ReaderSegment, WriterSegment
from strategy.link import LOOK_NS, Link, Place

ROLE = "feed.binance.0"


class Tally:
    """Counts what a link tells."""

    def __init__(self) -> None:
        self.counts: dict[Counter, int] = {}

    def add(self, counter: Counter, count: int = 1) -> None:
        self.counts[counter] = self.counts.get(counter, 0) + count


def open_bbo(segment: ReaderSegment) -> BoardReader:
    return segment.board("bbo")


def link_to(world: Any, tally: Tally | None = None) -> Link[BoardReader]:
    return Link(ROLE, open_bbo, Place(world.namespace, tally or Tally()))  # type: ignore[arg-type]


def test_before_there_is_a_segment_a_link_holds_nothing(empty_world: Any) -> None:
    link = link_to(empty_world)
    assert not link.refresh(0)
    assert (link.segment, link.boards) == (None, None)
    assert link.liveness(time.monotonic_ns()) is Liveness.WRITER_DEAD
    assert (link.incarnation, link.link_ns) == (0, 0)


def test_it_attaches_as_soon_as_it_looks_again(empty_world: Any) -> None:
    link = link_to(empty_world)
    link.refresh(0)
    empty_world.start(ROLE, empty_world.BN_BOARDS)
    assert not link.refresh(LOOK_NS - 1)
    assert link.refresh(LOOK_NS)
    assert link.boards is not None
    assert link.boards.slot_count == 2
    assert link.incarnation == 1
    assert link.liveness(time.monotonic_ns()) is Liveness.LIVE


def test_a_restart_keeps_the_link_and_a_new_file_renews_it(world: Any) -> None:
    tally = Tally()
    link = link_to(world, tally)
    assert link.refresh(0)
    held = link.segment
    world.restart(ROLE, world.BN_BOARDS)
    assert not link.refresh(LOOK_NS)
    assert link.segment is held
    assert link.incarnation == 2
    world.replace(ROLE, world.BN_BOARDS)
    assert link.refresh(2 * LOOK_NS)
    assert link.segment is not held
    assert link.incarnation == 1
    assert tally.counts == {Counter.cache_segment_reattached: 1}


def test_when_a_segment_is_gone_the_last_one_is_held_and_said_to_be_dead(world: Any) -> None:
    link = link_to(world)
    link.refresh(0)
    segment: WriterSegment = world.segments.pop(ROLE)
    segment.heartbeat(time.monotonic_ns() - E9)
    segment.close(remove=True)
    assert not link.refresh(LOOK_NS)
    assert link.boards is not None
    assert link.liveness(time.monotonic_ns()) in (Liveness.RETIRED, Liveness.WRITER_DEAD)


@pytest.mark.parametrize("fault", [LayoutMismatch("another layout"), BoardError("no such board")])
def test_a_segment_that_cannot_be_used_is_refused_and_tried_again(
    world: Any, fault: Exception
) -> None:
    is_fixed = False

    def open_boards(segment: ReaderSegment) -> BoardReader:
        if not is_fixed:
            raise fault
        return segment.board("bbo")

    link = Link(ROLE, open_boards, Place(world.namespace, Tally()))  # type: ignore[arg-type]
    assert not link.refresh(0)
    assert link.segment is None
    is_fixed = True
    assert link.refresh(LOOK_NS)


def test_a_beat_that_came_after_the_clock_was_read_is_no_stall(world: Any) -> None:
    link = link_to(world)
    link.refresh(0)
    before_ns = time.monotonic_ns()
    world.segments[ROLE].heartbeat(time.monotonic_ns())
    assert link.liveness(before_ns - 1) is Liveness.LIVE
    world.segments[ROLE].heartbeat(time.monotonic_ns() - E9)
    assert link.liveness(time.monotonic_ns()) is Liveness.STALLED
    world.segments[ROLE].set_state(State.HALT)
    world.beat()
    assert link.liveness(time.monotonic_ns()) is Liveness.HALTED
