"""What the traders of the model believe a window to be worth, over its whole life.

The value of Up is that of an average against an average: before the strike's look-back a half,
then by the part of the strike that is known, then by distance over remaining deviation, and in the
last look-back by the part of the final average that is known. It is computed for every 100 ms at
once; `makers` has their opinion on top, a slow error in log-odds, `informed` has not.

Nobody in the model looks at a value later than its own time, less a latency.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sim.params import EPOCH_S, ModelParams
from sim.price import Floats, PricePath
from sim.seeding import array_generator
from sim.settlement_feed import SettlementFeed

STEP_NS = 100_000_000
_STEPS_PER_S = 10
_BASIS_VARIANCE = 4.0
"""What traders do not know of the basis, in dollars squared."""
_OPINION = 0.035
_OPINION_MEMORY_S = 20.0
_EDGE = 0.0004
"""No trader is surer than this."""


def _cdf(x: Floats) -> Floats:
    root = math.sqrt(0.5)
    return np.array([0.5 + 0.5 * math.erf(v * root) for v in x.tolist()])


class Fair(Protocol):
    """What a trader can ask."""

    def maker(self, at_ns: int) -> float:
        """Return what makers believe at a time."""

    def best(self, at_ns: int) -> float:
        """Return what the informed believe at a time."""


@dataclass(frozen=True, slots=True)
class FairPath:
    """Probability of Up on a grid of 100 ms from `first_ns` on; the ends hold beyond it."""

    first_ns: int
    makers: list[float]
    informed: list[float]

    def _at(self, values: list[float], at_ns: int) -> float:
        return values[min(max((at_ns - self.first_ns) // STEP_NS, 0), len(values) - 1)]

    def maker(self, at_ns: int) -> float:
        return self._at(self.makers, at_ns)

    def best(self, at_ns: int) -> float:
        return self._at(self.informed, at_ns)


class WindowFair:
    """A window's whole life; what needs its price is made when it is first asked for.

    Markets exist long before their strike forms: a venue that starts need not know the price of
    all of them.
    """

    def __init__(self, lead: FairPath, make_rest: Callable[[], FairPath]) -> None:
        self._lead = lead
        self._make_rest = make_rest
        self._rest_ns = lead.first_ns + len(lead.makers) * STEP_NS
        self._rest: FairPath | None = None

    def _part(self, at_ns: int) -> FairPath:
        if at_ns < self._rest_ns:
            return self._lead
        if self._rest is None:
            self._rest = self._make_rest()
        return self._rest

    def maker(self, at_ns: int) -> float:
        return self._part(at_ns).maker(at_ns)

    def best(self, at_ns: int) -> float:
        return self._part(at_ns).best(at_ns)


def remaining_variance(before_start_s: Floats, before_end_s: Floats, *, length_s: int) -> Floats:
    """Return the variance of (final average - strike) still to come, for unit sigma.

    The first argument is the time to the start (negative after it), the second to the end.
    """
    w = float(length_s)
    r, tau = np.clip(before_start_s, 0.0, w), np.maximum(before_end_s, 0.0)
    window_s = before_end_s - before_start_s
    strike_open = window_s - 2.0 * w / 3.0 + r - r * r / w + r**3 / (3.0 * w * w)
    running = tau - 2.0 * w / 3.0
    closing = tau**3 / (3.0 * w * w)
    return np.where(before_start_s > 0.0, strike_open, np.where(tau > w, running, closing))


def make_fair(
    seed: int, start_s: int, *, path: PricePath, feed: SettlementFeed, params: ModelParams
) -> WindowFair:
    """Return the beliefs about the window that starts at `start_s`."""
    # The look-backs end `lag` before the window's own times: to the traders those are its times.
    first_s = start_s - params.twap_lag_s - params.twap_length_s
    lead_s = params.market_lead_s - (start_s - first_s)
    lead_count = lead_s * _STEPS_PER_S
    rest_count = (EPOCH_S + params.twap_length_s) * _STEPS_PER_S + 1
    error = _opinion(seed, start_s, lead_count + rest_count)
    lead = np.full(lead_count, 0.5)

    def make_rest() -> FairPath:
        value = _running(start_s, first_s, path=path, feed=feed, params=params)
        makers = _shifted(value, error[lead_count:])
        return FairPath(first_s * 1_000_000_000, makers.tolist(), value.tolist())

    first_ns = (first_s - lead_s) * 1_000_000_000
    makers = _shifted(lead, error[:lead_count])
    return WindowFair(FairPath(first_ns, makers.tolist(), lead.tolist()), make_rest)


def _running(
    start_s: int, first_s: int, *, path: PricePath, feed: SettlementFeed, params: ModelParams
) -> Floats:
    """Compute the value from the strike's look-back on; the last element is the outcome."""
    w = params.twap_length_s
    end_s = first_s + w + EPOCH_S
    count = (EPOCH_S + w) * _STEPS_PER_S
    times = first_s + np.arange(count) / _STEPS_PER_S
    price = _mids(path, first_s, count) - feed.basis_usd(times)
    spots = feed.spots(first_s + 1, end_s) / 1e6
    known = np.concatenate(([0.0], np.cumsum(spots)))
    strike = known[w] / w
    seconds = np.arange(count) // _STEPS_PER_S
    of_strike = np.minimum(seconds, w)
    early = (of_strike * price - known[of_strike]) / w
    of_end = np.clip(seconds - EPOCH_S, 0, w)
    late = (known[EPOCH_S + of_end] - known[EPOCH_S] + (w - of_end) * price) / w - strike
    to_start, to_end = first_s + w - times, end_s - times
    mean = np.where(to_start > 0.0, early, late)
    sigma = 0.5 * (path.epoch(start_s // EPOCH_S).sigma_usd + params.volatility_usd)
    variance = sigma**2 * remaining_variance(to_start, to_end, length_s=w)
    variance += _BASIS_VARIANCE * np.minimum(to_end / w, 1.0)
    won = 1.0 if feed.is_up(start_s, start_s + EPOCH_S) else 0.0
    value = np.concatenate((_cdf(mean / np.sqrt(variance)), [won]))
    return np.clip(value, _EDGE, 1.0 - _EDGE)


def _mids(path: PricePath, first_s: int, count: int) -> Floats:
    """Return Binance's mid on the grid."""
    epoch_ns = EPOCH_S * 1_000_000_000
    times_ns = first_s * 1_000_000_000 + np.arange(count, dtype=np.int64) * STEP_NS
    index = times_ns // epoch_ns
    parts = [
        path.epoch(i).mid2_at(times_ns[index == i])
        for i in range(int(index[0]), int(index[-1]) + 1)
    ]
    mids: Floats = np.concatenate(parts) / 200.0
    return mids


def _opinion(seed: int, start_s: int, count: int) -> Floats:
    """Return the makers' common error on the grid: slow, in log-odds."""
    rng = array_generator(seed, "opinion", start_s)
    keep = math.exp(-1.0 / _OPINION_MEMORY_S)
    noise = (rng.standard_normal(count // _STEPS_PER_S + 2) * math.sqrt(1 - keep**2)).tolist()
    for i in range(1, len(noise)):
        noise[i] += keep * noise[i - 1]
    grid: Floats = np.interp(np.arange(count) / _STEPS_PER_S, np.arange(len(noise)), noise)
    return _OPINION * grid


def _shifted(value: Floats, error: Floats) -> Floats:
    """Shift probabilities in log-odds, so that the error vanishes near certainty."""
    odds = np.log(value / (1.0 - value)) + error
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))
