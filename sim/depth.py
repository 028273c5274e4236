"""Binance's depth as the model has it: the diff stream of 100 ms, and the REST snapshot.

Around the top of `sim/price.py` lie deeper levels on a grid, with sizes that follow from the seed
and change now and then. The invariant: the book is a function of the last bookTicker alone, so book
and update id belong together, whoever asks and whenever; a diff names every level that was touched
since the diff before, as the venue's do, so a snapshot of any moment and the diffs behind it give
the venue's book. Pure: it holds no state, and sends nothing where nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import orjson

from sim.frames import BN_DEPTH, SimFrame
from sim.gamma import Json
from sim.params import EPOCH_S, ModelParams
from sim.price import PricePath
from sim.seeding import digest, fraction
from sim.tape import BinanceTape, price_text, size_text

GRID_C = 50
"""Deeper levels stand on whole multiples of so many cents."""
LEVELS = 120
"""Deeper levels a side."""
INTERVAL_NS = 100_000_000

_EPOCH_NS = EPOCH_S * 1_000_000_000
_SPAN_C = GRID_C * LEVELS
_PERIOD_NS = 20_000_000_000
"""Each deeper level takes a new size once in so long."""
_MIX = 0x9E37_79B9_7F4A_7C15
_MASK = (1 << 64) - 1


class State(NamedTuple):
    """The top after one bookTicker; sizes in 0.00001 BTC."""

    at_ns: int
    update_id: int
    bid_c: int
    bid_q: int
    ask_c: int
    ask_q: int


class DepthTape:
    """The depth of one symbol."""

    def __init__(self, seed: int, path: PricePath, params: ModelParams) -> None:
        self._seed = seed
        self._path = path
        self._tape = BinanceTape(path, params)
        self._symbol = params.symbol
        self._key = (params.symbol,)
        self._wire_ns = int(params.binance_wire_ms * 1e6)
        self._missing = params.depth_missing
        self._salt = int.from_bytes(digest(seed, "depth")[:8], "little")

    # --- what is sent -----------------------------------------------------------------------------

    def frames(self, since_ns: int, until_ns: int) -> list[SimFrame]:
        """Return the diffs sent after `since_ns` and up to `until_ns`."""
        first = (since_ns - self._wire_ns) // INTERVAL_NS + 1
        last = (until_ns - self._wire_ns) // INTERVAL_NS
        out = []
        for number in range(first, last + 1):
            end_ns = number * INTERVAL_NS
            payload = self.diff(end_ns - INTERVAL_NS, end_ns)
            if payload is not None and not self._is_lost(number):
                out.append(SimFrame(end_ns + self._wire_ns, BN_DEPTH, self._key, payload))
        return out

    def _is_lost(self, number: int) -> bool:
        return self._missing > 0 and fraction(self._seed, "diff", number) < self._missing

    def diff(self, after_ns: int, until_ns: int) -> bytes | None:
        """Return what changed in (after, until]; None where nothing did."""
        before, states = self._last(after_ns), self._states(after_ns, until_ns)
        if not states:
            return None
        end, seen = states[-1], [before, *states]
        bids = _touched([one.bid_c for one in seen], -1)
        asks = _touched([one.ask_c for one in seen], 1)
        bids.update(self._renewed(_grid_of(end.bid_c, -1), before.at_ns, end.at_ns))
        asks.update(self._renewed(_grid_of(end.ask_c, 1), before.at_ns, end.at_ns))
        body = {
            "e": "depthUpdate",
            "E": until_ns // 1_000_000,
            "s": self._symbol,
            "U": before.update_id + 1,
            "u": end.update_id,
            "b": [_level(px, self._bid(px, end)) for px in sorted(bids, reverse=True)],
            "a": [_level(px, self._ask(px, end)) for px in sorted(asks)],
        }
        return orjson.dumps(body)

    def snapshot(self, at_ns: int, limit: int) -> Json:
        """Return what the REST side answers: the best levels, of the last bookTicker sent."""
        state = self._last(at_ns - self._wire_ns)
        bids = [(state.bid_c, state.bid_q)]
        bids += [(px, self._bid(px, state)) for px in _grid_of(state.bid_c, -1)]
        asks = [(state.ask_c, state.ask_q)]
        asks += [(px, self._ask(px, state)) for px in _grid_of(state.ask_c, 1)]
        return {
            "lastUpdateId": state.update_id,
            "bids": [_level(*level) for level in bids[:limit]],
            "asks": [_level(*level) for level in asks[:limit]],
        }

    # --- what the book is -------------------------------------------------------------------------

    def _bid(self, px: int, state: State) -> int:
        """Return the size of a bid in a state; 0 where there is no such level."""
        if px == state.bid_c:
            return state.bid_q
        is_deep = px % GRID_C == 0 and _edge(state.bid_c, -1) <= px < state.bid_c
        return self._size(px, state.at_ns) if is_deep else 0

    def _ask(self, px: int, state: State) -> int:
        if px == state.ask_c:
            return state.ask_q
        is_deep = px % GRID_C == 0 and state.ask_c < px <= _edge(state.ask_c, 1)
        return self._size(px, state.at_ns) if is_deep else 0

    def _phase(self, px: int, at_ns: int) -> int:
        """Return how often a level's size had been renewed by then."""
        return (at_ns + (px * _MIX & _MASK) % _PERIOD_NS) // _PERIOD_NS

    def _size(self, px: int, at_ns: int) -> int:
        """Return a deeper level's size: 0.01 to 3 BTC."""
        mixed = ((px << 20) ^ self._phase(px, at_ns) ^ self._salt) * _MIX & _MASK
        mixed = (mixed ^ (mixed >> 29)) * _MIX & _MASK
        return 1_000 + (mixed >> 33) % 299_000

    def _renewed(self, prices: Iterable[int], since_ns: int, at_ns: int) -> list[int]:
        return [px for px in prices if self._phase(px, since_ns) != self._phase(px, at_ns)]

    def _last(self, at_ns: int) -> State:
        """Return the state at a moment of the venue."""
        return State(*self._tape.last_state(at_ns + self._wire_ns))

    def _states(self, after_ns: int, until_ns: int) -> list[State]:
        """Return the states in (after, until], oldest first."""
        out: list[State] = []
        for index in range((after_ns + 1) // _EPOCH_NS, until_ns // _EPOCH_NS + 1):
            epoch = self._path.epoch(index)
            ends = (after_ns + 1, until_ns + 1)
            start, end = np.searchsorted(epoch.ticker_ns, ends).tolist()
            columns = (
                epoch.ticker_ns, epoch.ticker_id, epoch.bid_c, epoch.bid_q, epoch.ask_c, epoch.ask_q
            )  # fmt: skip
            rows = zip(*(column[start:end].tolist() for column in columns), strict=True)
            out += [State(*row) for row in rows]
        return out


def _level(px: int, lots: int) -> tuple[str, str]:
    return price_text(px), size_text(lots)


def _edge(best_c: int, side: int) -> int:
    """Return the last price of the grid that belongs to the book; `side` is -1 for bids."""
    on_grid = best_c // GRID_C * GRID_C
    return on_grid - _SPAN_C if side < 0 else on_grid + GRID_C + _SPAN_C


def _grid_of(best_c: int, side: int) -> range:
    """Return the prices of the deeper levels, best first."""
    if side < 0:
        return range((best_c - 1) // GRID_C * GRID_C, _edge(best_c, -1) - 1, -GRID_C)
    return range((best_c // GRID_C + 1) * GRID_C, _edge(best_c, 1) + 1, GRID_C)


def _touched(bests: list[int], side: int) -> set[int]:
    """Return the prices whose level came, went or was the top while the best price moved."""
    low, high = min(bests), max(bests)
    near = range(-(-low // GRID_C) * GRID_C, high + 1, GRID_C)
    far = range(_edge(low, side), _edge(high, side) + 1, GRID_C)
    return {*bests, *near, *far}
