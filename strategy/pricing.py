"""Fair value of an up/down market: the probability that it settles Up, a TWAP against a TWAP.

A window [S, T] pays Up when the mean of the price over the w seconds before T is not below its mean
over the w seconds before S, the strike K. X is the reference price in the terms of the settlement
source, sigma its volatility in price per square root of a second, tau = T - t, no drift.
The answer is Phi(m / sqrt(v + basis variance)), where m and v are mean and variance of what
decides, and depend on where in the window t lies:

    FAR       t < S - w         m = 0: a coin's toss
    STRIKING  S - w <= t < S    the strike is being averaged: a = w - r of its w seconds are known
    OPEN      S <= t <= T - w   strike known, none of the final average
    CLOSING   T - w < t < T     strike known and w - tau seconds of the final average
    OVER      T <= t            all is known but the basis

The invariant is exactness in these terms (tests compare them with Monte Carlo). Where the inputs
come from, how sure they are and what is quoted on the answer is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import erf, exp, log, pi, sqrt

from msgspec import Struct

NS = 1_000_000_000
P_MIN = 1e-6
P_MAX = 1.0 - P_MIN
"""Probabilities are kept this far from 0 and 1, where log-odds end."""


class Phase(IntEnum):
    """Where in its life a window stands."""

    FAR = 0
    STRIKING = 1
    OPEN = 2
    CLOSING = 3
    OVER = 4


FAR, STRIKING, OPEN, CLOSING, OVER = Phase
"""The same as plain names: looking a member up costs more than comparing with it."""


@dataclass(frozen=True, slots=True)
class Window:
    """When a market is decided, in wall-clock nanoseconds.

    `twap_ns` is w: 0 for a market that settles on the price itself. `lag_ns` is by how much the
    published average stays behind its stamp, as if the whole window were that much earlier.
    """

    start_ns: int
    end_ns: int
    twap_ns: int
    lag_ns: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.twap_ns <= self.end_ns - self.start_ns:
            raise ValueError(
                f"a window of {self.end_ns - self.start_ns} ns cannot end on an average of "
                f"{self.twap_ns} ns"
            )

    def phase(self, wall_ns: int) -> Phase:
        """Say where the window stands at a time."""
        at = wall_ns + self.lag_ns
        if at >= self.end_ns:
            return OVER
        if at > self.end_ns - self.twap_ns:
            return CLOSING
        if at >= self.start_ns:
            return OPEN
        return STRIKING if at >= self.start_ns - self.twap_ns else FAR

    def averaging(self, wall_ns: int) -> tuple[int, int] | None:
        """Return from and to when prices already belong to the average that is being formed.

        None while no average is being formed, or none of it is known.
        """
        phase = self.phase(wall_ns)
        if phase not in (STRIKING, CLOSING, OVER) or not self.twap_ns:
            return None
        edge = self.start_ns if phase is STRIKING else self.end_ns
        since = edge - self.twap_ns - self.lag_ns
        until = min(wall_ns, edge - self.lag_ns)
        return (since, until) if until > since else None


class Outlook(Struct, frozen=True):
    """Mean and variance of what decides a window: it pays Up when that is not negative."""

    mean: float
    variance: float


def outlook(
    window: Window,
    wall_ns: int,
    *,
    reference: float,
    sigma: float,
    strike: float | None,
    average: float | None,
) -> Outlook | None:
    """Compute mean and variance of the deciding difference, seen from `wall_ns`.

    `average` is the mean price over `window.averaging(wall_ns)`. None when a strike or an average
    that this phase needs is missing: then nothing is known, and that is not one half.
    """
    phase = window.phase(wall_ns)
    w = window.twap_ns / NS
    tau = (window.end_ns - wall_ns - window.lag_ns) / NS
    if phase is FAR or phase is STRIKING:
        length = (window.end_ns - window.start_ns) / NS
        # r: how much of the strike's average is still to come; all of it while FAR.
        r = min(tau - length, w)
        mean = 0.0
        if w and r < w:
            if average is None:
                return None
            mean = (w - r) / w * (reference - average)
        known = r * r / w - r**3 / (3 * w * w) if w else r
        return Outlook(mean, sigma * sigma * (length - 2 * w / 3 + r - known))
    if strike is None:
        return None
    if phase is OPEN:
        return Outlook(reference - strike, sigma * sigma * (tau - 2 * w / 3))
    if average is None or not w:
        return None
    left = max(tau, 0.0)
    mean = ((w - left) * average + left * reference) / w - strike
    return Outlook(mean, sigma * sigma * left**3 / (3 * w * w))


def normal_cdf(x: float) -> float:
    """Compute the standard normal distribution function."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


def probability_up(view: Outlook, *, basis_variance: float) -> float:
    """Compute P(Up); `basis_variance` is that of the reference against the settlement source.

    Without any variance the sign decides, and a tie is Up.
    """
    variance = view.variance + basis_variance
    if variance <= 0.0:
        return 1.0 if view.mean >= 0.0 else 0.0
    return normal_cdf(view.mean / sqrt(variance))


def doubt(view: Outlook, *, basis_variance: float) -> float:
    """Compute how far off P(Up) is where the basis is off by one standard deviation."""
    variance = view.variance + basis_variance
    if variance <= 0.0 or basis_variance <= 0.0:
        return 0.0
    density = exp(-view.mean * view.mean / (2.0 * variance)) / sqrt(2.0 * pi * variance)
    return density * sqrt(basis_variance)


def clamp_probability(p: float) -> float:
    """Keep a probability where its log-odds are finite."""
    if p < P_MIN:
        return P_MIN
    return p if p < P_MAX else P_MAX


def log_odds(p: float) -> float:
    """Compute the log-odds of a probability, clamped."""
    p = clamp_probability(p)
    return log(p / (1.0 - p))


def micro_price(bid_px_e9: int, ask_px_e9: int, *, bid_qty_e9: int, ask_qty_e9: int) -> int:
    """Compute the mid weighted by the sizes on both sides: I ask + (1 - I) bid, I = Qb / (Qb + Qa).

    The side with more behind it is the one that holds (S. Stoikov, "The micro-price", Quantitative
    Finance 18, 2018: the weighted mid-price); here with the sizes of several levels. The sizes must
    not both be 0.
    """
    spread = ask_px_e9 - bid_px_e9
    return bid_px_e9 + spread * bid_qty_e9 // (bid_qty_e9 + ask_qty_e9)


def blend(model: float, market: float | None, *, market_weight: float) -> float:
    """Mix two probabilities in log-odds; without a market's opinion the model's stands alone."""
    if market is None:
        return clamp_probability(model)
    mixed = (1.0 - market_weight) * log_odds(model) + market_weight * log_odds(market)
    return clamp_probability(1.0 / (1.0 + exp(-mixed)))
