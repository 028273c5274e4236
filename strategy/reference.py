"""The reference price in the terms of the settlement source: sampled history, averages, basis.

A feed samples the reference once a whole second; from those come the part of a running average
that is known already, and the basis: by how much the reference lies above the source a market
settles on, measured over the very seconds that a settlement point averages. The invariant: nothing
is averaged across a hole of two seconds or more, whichever writer's incarnation took the samples.

Pure; what it is told are whole seconds of the wall clock and prices in units of 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.layout import E9, Flag
from strategy.tick import Basis

JOIN_S_MAX = 3
"""A hole shorter than 2 s swallows at most two whole seconds, so samples 3 s apart still join."""

_DISTRUSTED = int(Flag.SUSPECT | Flag.CROSSED | Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK)


class Estimate(NamedTuple):
    """A mean price in units of 1e-9, and the variance, in price, of what was not sampled of it."""

    mean_e9: int
    variance: float


class Samples:
    """Mids of the reference by whole second, ascending; never changed after it was made."""

    def __init__(self, seconds: NDArray[np.int64], mids_e9: NDArray[np.int64]) -> None:
        self._seconds = seconds
        self._mids_e9 = mids_e9

    @classmethod
    def of_records(cls, records: NDArray[np.void]) -> Samples:
        """Take the history of a samples board; records that were not to be trusted are left out."""
        trusted = records[(records["flags"] & _DISTRUSTED) == 0]
        seconds = trusted["wall_ns"] // E9
        mids = trusted["mid_px_e9"]
        # Where the wall clock was set back, only what came after is in order.
        steps = np.flatnonzero(np.diff(seconds) <= 0)
        first = int(steps[-1]) + 1 if steps.size else 0
        return cls(seconds[first:].astype(np.int64), mids[first:].astype(np.int64))

    def mean_e9(self, seconds: range) -> int | None:
        """Average over whole seconds; None for no seconds, or where a hole lies among them.

        Seconds that a short hole swallowed are interpolated.
        """
        if not seconds:
            return None
        first, last = seconds[0], seconds[-1]
        low = int(np.searchsorted(self._seconds, first - JOIN_S_MAX + 1, side="left"))
        high = int(np.searchsorted(self._seconds, last + JOIN_S_MAX - 1, side="right"))
        known = self._seconds[low:high]  # Within reach of the ends, where they may join.
        if not known.size:
            return None
        gaps = np.diff(known)
        if (gaps.size and int(gaps.max()) > JOIN_S_MAX) or known[0] - first >= JOIN_S_MAX:
            return None
        if last - known[-1] >= JOIN_S_MAX:
            return None
        mids = np.interp(np.arange(first, last + 1), known, self._mids_e9[low:high])
        return round(float(mids.mean()))

    def estimate(self, seconds: range, *, sigma: float) -> Estimate | None:
        """Average over whole seconds of which the first ones may be missing.

        Before the first sample, or the last hole, the price is taken to have been what it was then:
        the mean of a walk over L seconds is off by a variance of sigma^2 L / 3. None where the last
        second is missing too.
        """
        whole = self.mean_e9(seconds)
        if whole is not None:
            return Estimate(whole, 0.0)
        if not seconds or not self._seconds.size:
            return None
        breaks = np.flatnonzero(np.diff(self._seconds) > JOIN_S_MAX)
        tail = breaks[breaks < np.searchsorted(self._seconds, seconds[-1], side="right") - 1]
        begin = int(self._seconds[int(tail[-1]) + 1 if tail.size else 0])
        known = self.mean_e9(range(begin, seconds[-1] + 1)) if begin > seconds[0] else None
        first = self.mean_e9(range(begin, begin + 1))
        if known is None or first is None:
            return None
        missing, count = begin - seconds[0], len(seconds)
        mean_e9 = ((count - missing) * known + missing * first) // count
        return Estimate(mean_e9, (missing / count) ** 2 * sigma * sigma * missing / 3)

    @property
    def newest_second(self) -> int:
        """The last second there is a sample of; 0 when there is none."""
        return int(self._seconds[-1]) if self._seconds.size else 0


NO_SAMPLES = Samples(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class BasisParams:
    """How the basis is tracked; standard deviations in basis points of the price.

    `half_life_s`: memory of the average. `sd_floor_bps`: the least that is reckoned with.
    `sd_max_bps`: the most at which it still is a basis. `max_bps`: the most that it may be itself,
    up or down. `age_s_max`: how old the newest settlement point may be. `sd_unknown_bps`: what is
    reckoned with where nothing tells it, 0 for never; `fade_s`: how long it takes for what an older
    price told to be worth no more than that.
    """

    half_life_s: float
    sd_floor_bps: float
    sd_max_bps: float
    max_bps: float
    age_s_max: float
    sd_unknown_bps: float
    fade_s: float


class BasisTracker:
    """EWMA of (reference - settlement source) at one price a second, with its variance.

    Until the reference was sampled for as long as a point averages, the newest estimate stands by
    itself, with the variance of what is missing.
    """

    def __init__(self, params: BasisParams) -> None:
        self._params = params
        self._value = 0.0
        self._spread = 0.0
        self._guessed = 0.0
        self._price = 0.0
        self._basis: Basis | None = None
        """The estimate as of the newest point; None where it is too rough."""
        self.newest_s = 0
        """Second of the last settlement point taken; 0 before any."""

    def add(self, point_s: int, point_e9: int, reference: Estimate) -> None:
        """Take a settlement point and the reference's mean over the same seconds.

        Points that are not newer than the last are ignored, and so is an incomplete mean while a
        basis made of complete ones is young enough.
        """
        if point_s <= self.newest_s or point_e9 <= 0:
            return
        is_young = bool(self.newest_s) and point_s - self.newest_s <= self._params.age_s_max
        if reference.variance and is_young and not self._guessed:
            return
        now = (reference.mean_e9 - point_e9) / E9
        self._price = point_e9 / E9
        if reference.variance or self._guessed or not is_young:
            self._value, self._spread, self._guessed = now, 0.0, reference.variance
        else:
            keep = 0.5 ** ((point_s - self.newest_s) / self._params.half_life_s)
            away = now - self._value
            self._value += (1.0 - keep) * away
            self._spread = keep * (self._spread + (1.0 - keep) * away * away)
        self.newest_s = point_s
        variance = self._variance()
        most = self._params.sd_max_bps * 1e-4 * self._price
        self._basis = Basis(self._value, variance) if variance <= most * most else None

    @property
    def is_absurd(self) -> bool:
        """Whether reference and source are too far apart to be prices of one thing."""
        return abs(self._value) > self._params.max_bps * 1e-4 * self._price

    def is_followed(self, wall_s: float) -> bool:
        """Whether there are points, and the newest is young."""
        return bool(self.newest_s) and wall_s - self.newest_s <= self._params.age_s_max

    def basis(self, wall_s: float) -> Basis | None:
        """Return the estimate; None before any, when it is too old, or where it is too rough."""
        return self._basis if self.is_followed(wall_s) else None

    def aged(self, wall_s: float) -> Basis | None:
        """Return the last estimate however old, less sure with every second; None before any.

        Its variance grows evenly, by that of an unknown basis in `fade_s`, and not beyond it.
        """
        unknown = self._params.sd_unknown_bps * 1e-4 * self._price
        if not self.newest_s or not unknown:
            return None
        share = max(wall_s - self.newest_s, 0.0) / self._params.fade_s
        variance = self._variance() + share * unknown * unknown
        return Basis(self._value, min(variance, unknown * unknown))

    def _variance(self) -> float:
        floor = self._params.sd_floor_bps * 1e-4 * self._price
        return self._spread + self._guessed + floor * floor
