"""One connection of the Binance feed, and what it has shown.

A `Lane` is a `Session` on the combined stream, subscribed by its URL; its owner
(`feeds/binance.py`) has one as a rule, and two while one takes over from the other. The invariant:
a lane is current for a symbol only if it is connected, not behind, and has read the symbol's
newest ticker, or was on beside a lane that had.
"""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import urlsplit

from cache.segment import WriterSegment
from feeds.binance_wire import stream_names
from feeds.session import Keepalive, Send, Session
from host.clock import monotonic_ns

SILENCE_GROWTH_MAX: Final = 64
"""A stream that stays silent is given up to so many times longer before the next lane."""


def stream_url(base: str, symbols: tuple[str, ...]) -> str:
    """The URL that subscribes all streams of the symbols."""
    names = "/".join(name for symbol in symbols for name in stream_names(symbol))
    joint = "&" if urlsplit(base).query else "?"
    return f"{base}{joint}streams={names}"


def probe(number: int) -> str:
    """The control message whose answer proves that what came before it was read."""
    return f'{{"method":"LIST_SUBSCRIPTIONS","id":{number}}}'


KEEPALIVE: Final = Keepalive(probe, interval_s=10.0, stale_s=15.0)


class LaneOwner(Protocol):
    """Who opened the lane: hears everything it does."""

    segment: WriterSegment

    def on_lane_up(self, lane: Lane) -> None:
        """It was connected."""

    def on_lane_down(self, lane: Lane, reason: str) -> None:
        """It is not any more; `seen` and `is_behind` still say how it was."""

    def on_frame(self, lane: Lane, data: bytes | bytearray, recv_ns: int) -> bool:
        """It read a frame; True when that was data."""

    def on_burst(self, lane: Lane, recv_ns: int) -> None:
        """One read of its socket is over."""

    def on_lost(self) -> None:
        """It threw a frame away."""

    def on_doubt(self) -> None:
        """It fell behind, or caught up."""


class Lane:
    """One connection, and what it has shown."""

    def __init__(self, owner: LaneOwner, url: str, number: int) -> None:
        self.number = number
        self.connected_ns = 0
        """When it was connected; 0 while it is not."""
        self.is_behind = False
        self.leave_reason = ""
        """Why another lane must take over; empty while none must."""
        self.seen: set[str] = set()
        """Symbols whose newest ticker this lane knows."""
        self._owner = owner
        self._recv_ns = 0
        name = f"binance.{number}"
        self.session = Session(url, self, KEEPALIVE, owner.segment.counters, name=name)

    def is_current(self, symbol: str) -> bool:
        """Whether the lane's word on the symbol is the venue's newest."""
        return self.connected_ns > 0 and not self.is_behind and symbol in self.seen

    # --- session.Handler ------------------------------------------------------------------------

    def on_connected(self, send: Send) -> bool:
        self.connected_ns = monotonic_ns()
        self.is_behind = False
        self.leave_reason = ""
        self.seen.clear()
        self._owner.on_lane_up(self)
        return True

    def on_frame(self, data: bytes | bytearray, recv_ns: int) -> bool:
        self._recv_ns = recv_ns
        return self._owner.on_frame(self, data, recv_ns)

    def on_rejected(self, recv_ns: int) -> None:
        self._owner.on_lost()

    def on_burst(self) -> None:
        self._owner.on_burst(self, self._recv_ns)

    def on_stalled(self) -> None:
        self.is_behind = True
        self._owner.on_doubt()

    def on_caught_up(self) -> None:
        self.is_behind = False
        self._owner.on_doubt()

    def on_disconnected(self, reason: str) -> None:
        self.connected_ns = 0
        self._owner.on_lane_down(self, reason)  # which still asks what this lane knew
        self.is_behind = False
        self.seen.clear()


class Silence:
    """How long a stream may say nothing; longer each time a new lane was opened in vain."""

    def __init__(self, limit_ms: int) -> None:
        self._base_ns = self._limit_ns = limit_ms * 1_000_000
        self._frame_ns = 0

    def judge(self, now_ns: int, frame_ns: int, connected_ns: int) -> bool:
        """Whether the silence has just become too long."""
        if frame_ns != self._frame_ns:
            self._frame_ns = frame_ns
            self._limit_ns = self._base_ns
        if now_ns - max(frame_ns, connected_ns) <= self._limit_ns:
            return False
        self._limit_ns = min(2 * self._limit_ns, SILENCE_GROWTH_MAX * self._base_ns)
        return True
