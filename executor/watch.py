"""Watches the books of the markets that are traded: what each allows, and what it proves.

Every newly published top of an active desk is judged by the gate. The decisions see the newest, the
paper venue sees all, in order, with the doubts in between. The invariant: a desk's mode is QUOTE
only while its newest book is quotable now. It sends no order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from cache.board import Snapshot
from cache.gate import Trust
from executor.account import Desk
from executor.diff import Mode
from executor.inputs import FeedInput
from executor.market import Book


@dataclass(slots=True, eq=False)
class _Sight:
    """What was last read of one market's book."""

    top: Snapshot | None = None
    version: int = 0
    was_trusted: bool = False
    suspect_ns: int = 0
    """Since when it has been in doubt; 0 it is not."""


class BookWatch:
    """The sights of all desks. Belongs to one thread."""

    def __init__(self, feed: FeedInput, show: Callable[[Book], None], *, suspect_ns: int) -> None:
        self._feed = feed
        self._show = show
        self._suspect_ns = suspect_ns
        self._sights: dict[int, _Sight] = {}

    def forget(self, tag: int) -> None:
        """Start anew with a market: its slot moved, or its desk is gone."""
        self._sights.pop(tag, None)

    def forget_all(self) -> None:
        """Start anew with all of them: the segment was replaced."""
        self._sights.clear()

    def look(self, desk: Desk, now_ns: int) -> int:
        """Read a desk's newest books, judge them, set its mode; return how many were new.

        `now_ns` must have been read after the boards were published, so read it late.
        """
        sight = self._sights.setdefault(desk.market.tag, _Sight())
        tops: list[Snapshot] = []
        has_gap = False
        if self._feed.segment is not None and desk.is_listed:
            tops, has_gap = self._feed.newer(desk.market, sight.version)
        for top in tops[:-1]:
            is_trusted = self._feed.trust(top, top.publish_ns, desk.market.slot).is_quotable
            self._show(self._feed.book(desk.market, top, is_trusted=is_trusted, has_gap=has_gap))
            has_gap = False
        if tops:
            sight.top, sight.version = tops[-1], tops[-1].version
        newest = sight.top if desk.is_listed else None
        trust = self._feed.trust(newest, now_ns, desk.market.slot)
        self._show_newest(desk, sight, trust, now_ns if not tops else 0, has_gap=has_gap)
        sight.was_trusted = trust.is_quotable
        mode = self._mode(sight, trust, now_ns)
        desk.is_stirred = desk.is_stirred or bool(tops) or mode is not desk.mode
        desk.mode = mode
        return len(tops)

    def _show_newest(
        self, desk: Desk, sight: _Sight, trust: Trust, since_ns: int, *, has_gap: bool
    ) -> None:
        """Hand on the newest top when it is new, or (`since_ns`) is judged in a new way."""
        if sight.top is None:
            if desk.book is not None and desk.book.is_trusted:  # Its segment was replaced.
                desk.book = replace(desk.book, is_trusted=False, at_ns=since_ns)
                self._show(desk.book)
            return
        if since_ns and trust.is_quotable is sight.was_trusted:
            return
        book = self._feed.book(
            desk.market,
            sight.top,
            is_trusted=trust.is_quotable,
            has_gap=has_gap or not sight.was_trusted,
        )
        desk.book = replace(book, at_ns=since_ns) if since_ns else book
        self._show(desk.book)

    def _mode(self, sight: _Sight, trust: Trust, now_ns: int) -> Mode:
        """Say what a book's trust allows: a short doubt keeps orders, anything worse cancels."""
        if trust is not Trust.SUSPECT:
            sight.suspect_ns = 0
            return Mode.QUOTE if trust.is_quotable else Mode.CANCEL
        sight.suspect_ns = sight.suspect_ns or now_ns
        return Mode.KEEP if now_ns - sight.suspect_ns < self._suspect_ns else Mode.CANCEL
