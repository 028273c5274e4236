"""Where the simulated venue's data comes from: the model, or recordings (`sim/replay.py`).

A `Source` is asked by the pump for the frames that are due, and by the servers for what stands
now: books, listings, tickers. Both answer for the same moment, the last one asked for, so a first
book is never ahead of the frames that follow it. Sources do no network I/O and read no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sim.frames import SimFrame

Json = dict[str, Any]


class Source(Protocol):
    """What the servers ask of a venue's data."""

    def start(self, wall_ns: int) -> None:
        """Begin at this moment of the wall clock."""

    def due(self, wall_ns: int) -> Sequence[SimFrame]:
        """Give the frames up to this moment of the wall clock that were not given yet."""

    def venue_ns(self, wall_ns: int) -> int:
        """Give the venue's own time at this moment of the wall clock."""

    def book(self, token: str) -> bytes | None:
        """Give the `book` event of a token; None where the venue does not know it."""

    def market_by_slug(self, slug: str) -> Json | None:
        """Give a Gamma market."""

    def market_by_id(self, identity: str) -> Json | None:
        """Give the Gamma market of a token id or a condition id."""

    def event_by_slug(self, slug: str) -> Json | None:
        """Give a Gamma event with its markets."""

    def twap_points(self, symbol: str, window_seconds: int, count: int) -> Sequence[Json]:
        """Give the newest points of a settlement price, oldest first; none where not served."""

    def book_ticker(self, symbol: str) -> bytes | None:
        """Give the newest bookTicker of a symbol, as the stream has it."""

    def depth(self, symbol: str, limit: int) -> Json | None:
        """Give the best levels of a symbol with their update id; None where they are not known."""

    def candles(
        self, symbol: str, limit: int, *, start_s: int | None = None, end_s: int | None = None
    ) -> list[list[object]] | None:
        """Give the candles of a second, up to the running one; None for another symbol."""

    def rules(self, symbol: str) -> Json | None:
        """Give the trading rules of a symbol; None where they are not known."""

    def symbols(self) -> tuple[str, ...]:
        """Name the symbols whose rules are known."""

    def describe(self, wall_ns: int) -> Json:
        """Tell an operator what is being played."""
