"""The model as a source: what `sim/model.py` makes, in the words the servers ask with.

The model's past is made when it is asked for, so `start` costs what one window costs. The frames
given follow from seed and clock alone; a pause is caught up with the next `due`.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from sim.frames import SimFrame
from sim.model import Model
from sim.params import EPOCH_S, ModelParams
from sim.source import Json

_NS = 1_000_000_000


class ModelSource:
    """A venue that lives by itself, from `start_ns` on."""

    def __init__(self, seed: int, start_ns: int, params: ModelParams | None = None) -> None:
        self._seed = seed
        self._params = params or ModelParams()
        self._now_ns = start_ns
        self._model = Model(seed, start_ns, self._params)

    def start(self, wall_ns: int) -> None:
        self.due(wall_ns)

    def due(self, wall_ns: int) -> Sequence[SimFrame]:
        # A wall clock that was set back gives nothing until it has come this far again.
        self._now_ns = max(self._now_ns, wall_ns)
        return self._model.advance(self._now_ns)

    def venue_ns(self, wall_ns: int) -> int:
        return wall_ns

    def book(self, token: str) -> bytes | None:
        return self._model.book(token)

    def market_by_slug(self, slug: str) -> Json | None:
        return self._model.gamma_market(slug)

    def market_by_id(self, identity: str) -> Json | None:
        # Only the windows about now exist: few enough to look through.
        now_s, params = self._now_ns // _NS, self._params
        first = (now_s - params.market_keep_s) // EPOCH_S - 1
        last = (now_s + params.market_lead_s) // EPOCH_S
        for index in range(first, last + 1):
            market = self._model.gamma_market(f"{params.family}-{index * EPOCH_S}")
            if market is None:
                continue
            tokens = orjson.loads(market["clobTokenIds"])
            if identity == market["conditionId"] or identity in tokens:
                return market
        return None

    def event_by_slug(self, slug: str) -> Json | None:
        return self._model.gamma_event(slug)

    def twap_points(self, symbol: str, window_seconds: int, count: int) -> Sequence[Json]:
        params = self._params
        if symbol != params.bolt_symbol or window_seconds != params.twap_length_s:
            return ()
        return self._model.twap_points(count)

    def book_ticker(self, symbol: str) -> bytes | None:
        return self._model.book_ticker(symbol) if symbol == self._params.symbol else None

    def describe(self, wall_ns: int) -> Json:
        return {"mode": "model", "seed": self._seed, "clock_behind_ns": 0}
