"""The model as a source: what `sim/model.py` makes, in the words the servers ask with.

The model's state follows from seed and clock, so a start costs no more than one window, and a long
pause is jumped over: what would have been sent in it is nobody's any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.binance_rules import symbol_rules
from sim.frames import SimFrame
from sim.model import Model
from sim.params import ModelParams
from sim.source import Json

JUMP_NS = 10_000_000_000
"""A pause longer than this is not played back."""


class ModelSource:
    """A venue that lives by itself, from `start_ns` on."""

    def __init__(self, seed: int, start_ns: int, params: ModelParams | None = None) -> None:
        self._model = Model(seed, start_ns, params)

    def start(self, wall_ns: int) -> None:
        self._model.fast_forward(wall_ns)

    def due(self, wall_ns: int) -> Sequence[SimFrame]:
        if wall_ns - self._model.now_ns > JUMP_NS:
            self._model.fast_forward(wall_ns)
        # A wall clock that was set back gives nothing until it has come this far again.
        return self._model.advance(wall_ns)

    def venue_ns(self, wall_ns: int) -> int:
        return wall_ns

    def book(self, token: str) -> bytes | None:
        return self._model.book(token)

    def market_by_slug(self, slug: str) -> Json | None:
        return self._model.gamma_market(slug)

    def market_by_id(self, identity: str) -> Json | None:
        return self._model.gamma_market_of(identity)

    def event_by_slug(self, slug: str) -> Json | None:
        return self._model.gamma_event(slug)

    def twap_points(self, symbol: str, window_seconds: int, count: int) -> Sequence[Json]:
        params = self._model.params
        if symbol != params.bolt_symbol or window_seconds != params.twap_length_s:
            return ()
        return self._model.twap_points(count)

    def book_ticker(self, symbol: str) -> bytes | None:
        return self._model.book_ticker(symbol)

    def depth(self, symbol: str, limit: int) -> Json | None:
        return self._model.depth(symbol, limit)

    def candles(
        self, symbol: str, limit: int, *, start_s: int | None = None, end_s: int | None = None
    ) -> list[list[object]] | None:
        return self._model.candles(symbol, limit, start_s=start_s, end_s=end_s)

    def rules(self, symbol: str) -> Json | None:
        return symbol_rules(symbol) if symbol in self.symbols() else None

    def symbols(self) -> tuple[str, ...]:
        return (self._model.params.symbol,)

    def describe(self, wall_ns: int) -> Json:
        slugs = list(self._model.slugs)
        return {"mode": "model", "seed": self._model.seed, "clock_behind_ns": 0, "slugs": slugs}
