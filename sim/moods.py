"""How busy a market is: the rates at which makers and takers act, from its listing to its end.

Before the strike forms there is little to do, while the window runs there is most, in waves and
with quiet spells in which only quotes that must move do so; after the end what is left is picked
off within seconds. Rates are per second.
"""

from __future__ import annotations

import math
from random import Random

from sim.params import EPOCH_S, ModelParams
from sim.series import Contract

_NS = 1_000_000_000
_STEP_S = 5
_QUIET_ENTER = 0.035
_QUIET_LEAVE = 0.3
_AFTER_S = 12.0

Rates = dict[str, float]

_BUSY: Rates = {"fidget": 15.0, "quote": 6.0, "inform": 5.0, "take": 2.4}
_QUIET: Rates = {"fidget": 0.0, "quote": 1.5, "inform": 1.0, "take": 0.0}


class Moods:
    """The rates of one market over its life."""

    def __init__(self, rng: Random, contract: Contract, params: ModelParams) -> None:
        self._start_s = contract.start_s
        self._strike_s = float(params.twap_length_s + params.twap_lag_s)
        self._flow = params.flow
        # One factor for each five seconds of the window; 0 is a quiet spell.
        self._waves: list[float] = []
        level, is_quiet = rng.gauss(0.0, 0.6), False
        for _ in range(EPOCH_S // _STEP_S):
            level = 0.8 * level + rng.gauss(0.0, 0.36)
            is_quiet = rng.random() < (1.0 - _QUIET_LEAVE if is_quiet else _QUIET_ENTER)
            self._waves.append(0.0 if is_quiet else math.exp(level - 0.18))

    def rates(self, now_ns: int) -> Rates:
        """Return the rate of each act."""
        at_s = now_ns / _NS - self._start_s
        if at_s < -self._strike_s:
            return self._scaled(0.06, quote=0.6)
        if at_s < 0.0:
            return self._scaled(0.3, quote=3.0)
        if at_s >= EPOCH_S:
            gone = (at_s - EPOCH_S) / _AFTER_S
            return self._scaled(0.7 * (1.0 - gone), quote=3.0) if gone < 1.0 else {}
        wave = self._waves[int(at_s) // _STEP_S]
        if wave == 0.0:
            return _QUIET
        return self._scaled(wave * (1.3 if at_s > EPOCH_S - 40 else 1.0), quote=_BUSY["quote"])

    def _scaled(self, share: float, *, quote: float) -> Rates:
        share *= self._flow
        rates = {act: rate * share for act, rate in _BUSY.items()}
        rates["quote"] = quote
        return rates
