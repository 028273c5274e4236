"""Publishes the depth of a feed's markets, a few of them at a time.

Depth follows the tops of book on a timer: what changed since the last round is published in the
next one, `depth_interval_ms` later. Thousands of markets may be due together, on any number of
connections. So a round is cut into turns of the event loop, and frames are read between two of
them: the invariant is that no frame waits for more than `DEPTHS_A_TURN` markets of depth, however
many are due. It knows no socket and builds no record: `feeds/market_channel.py` does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from cache.segment import WriterSegment
from feeds.market_channel import DEPTHS_A_TURN, MarketChannel


class DepthTurns:
    """The rounds of one feed; belongs to its event loop."""

    def __init__(self, segment: WriterSegment, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._segment = segment
        self._due: dict[MarketChannel, None] = {}
        """Channels with depth for the next round, in the order in which they told."""
        self._round: deque[tuple[MarketChannel, int]] = deque()
        """What is left of this round: how many markets of which channel."""
        self._handle: asyncio.Handle | None = None

    def want(self, channel: MarketChannel) -> None:
        """Say that a channel has depth to be published."""
        self._due[channel] = None
        if self._handle is None:
            self._handle = self._later(self._interval_ms, self._begin)

    def cancel(self) -> None:
        """Publish nothing any more."""
        if self._handle is not None:
            self._handle.cancel()

    def _later(self, delay_ms: int, call: Callable[[], None]) -> asyncio.Handle:
        loop = asyncio.get_running_loop()
        return loop.call_later(delay_ms / 1e3, call) if delay_ms else loop.call_soon(call)

    def _begin(self) -> None:
        # What changes while the round goes on is left to the next one, or it might never end.
        self._round.extend((channel, len(channel.unsent_depth)) for channel in self._due)
        self._due.clear()
        self._turn()

    def _turn(self) -> None:
        left = DEPTHS_A_TURN
        is_published = False
        while self._round and left:
            channel, count = self._round.popleft()
            now = min(count, left)
            is_published |= channel.flush_depth(now)
            left -= now
            if now < count:
                self._round.appendleft((channel, count - now))
        if is_published:
            self._segment.ring()
        self._handle = None
        if self._round:
            self._handle = self._later(0, self._turn)
        elif self._due:
            self._handle = self._later(self._interval_ms, self._begin)
