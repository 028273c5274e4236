"""What a timer derives from the mids of a reference symbol: volatility, returns, shock; pure.

Volatility is an EWMA of squared relative returns sampled on a clock, one sample a whole second:
sampled per tick it would be less than half the truth. A return beyond `jump_z` standard deviations
feeds the slow average only up to that bound; what lies above enters a jump part that rises at once
and fades with a half-life of its own. The slow part has a floor.

The invariant: an estimate never joins what a hole separates. Samples more than `JOIN_S_MAX` apart,
or a hole of `HOLE_NS_MAX` that the caller knows of, restart it; `sample_count` says how much
stands behind it. It publishes nothing and trusts its caller to give trusted mids only, or closes
that stand for them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from cache.layout import E9, Known

HOLE_NS_MAX = 2 * E9
"""A hole in the evidence this long restarts the estimate; a shorter one keeps the history."""

JOIN_S_MAX = 3
"""A hole shorter than 2 s swallows at most two whole seconds, so samples 3 s apart still join."""

CLEAN_COUNT_MIN = 20
"""Before so many samples there is no standard deviation to tell a jump by."""

_RETURN_S = (1, 5, 60)
_RETURN_BITS = (int(Known.RETURN_1S), int(Known.RETURN_5S), int(Known.RETURN_60S))
_SHOCK_Z = int(Known.SHOCK_Z)
_RETURN_MAX = 1.0
_Z_MAX = 1_000_000.0
_SIGMA_MAX_E9 = 2**62
_KEPT_NS = 61 * E9
_REACH_NS = 1_500_000_000
"""A mid up to this much older than wanted still serves for a return."""


@dataclass(frozen=True, slots=True)
class VolatilityParams:
    """Half-lives in seconds; the floor in basis points of the price per square root of a second."""

    half_life_s: float
    floor_bps: float
    jump_z: float
    jump_half_life_s: float


class Volatility:
    """EWMA volatility of one symbol, fed with one mid for each whole second."""

    def __init__(self, params: VolatilityParams) -> None:
        self._keep = 0.5 ** (1.0 / params.half_life_s)
        self._jump_keep = 0.5 ** (1.0 / params.jump_half_life_s)
        self._floor = (params.floor_bps * 1e-4) ** 2
        self._clip = params.jump_z**2
        self.restart()

    def restart(self) -> None:
        """Forget everything: the history is not continuous."""
        self.count = 0
        self.sigma = 0.0
        """Relative volatility per square root of a second, floor and jump part in it; 0 unknown."""
        self.sigma_before = 0.0
        """The same before the last sample: what that sample's own return is measured by."""
        self._second = 0
        self._mid_e9 = 0
        self._sum = 0.0
        self._weight = 0.0
        self._jump = 0.0

    def add(self, second: int, mid_e9: int) -> None:
        """Take the mid of a whole second; seconds that are not later are ignored."""
        gap = second - self._second
        if self._mid_e9 and (gap > JOIN_S_MAX or gap < -JOIN_S_MAX):
            self.restart()  # A hole, or the wall clock was set.
        elif self._mid_e9 and gap <= 0:
            return
        last_e9, self._mid_e9, self._second = self._mid_e9, mid_e9, second
        if last_e9:
            change = (mid_e9 - last_e9) / last_e9
            self._feed(max(-_RETURN_MAX, min(_RETURN_MAX, change)), gap)

    def _feed(self, change: float, gap: int) -> None:
        """Weigh in one return over `gap` seconds: its variance per second, `gap` times."""
        variance = change * change / gap
        clean = variance
        if self.count >= CLEAN_COUNT_MIN:
            clean = min(variance, self._clip * max(self._sum / self._weight, self._floor))
        keep, jump_keep = self._keep**gap, self._jump_keep**gap
        self._sum = keep * self._sum + (1.0 - keep) * clean
        self._weight = keep * self._weight + (1.0 - keep)
        self._jump = jump_keep * self._jump + (1.0 - jump_keep) * (variance - clean)
        self.count += 1
        self.sigma_before = self.sigma
        self.sigma = (max(self._sum / self._weight, self._floor) + self._jump) ** 0.5


@dataclass(frozen=True, slots=True)
class FeatureValues:
    """Fields of the features record, in its order; what has no bit in `known` is 0."""

    mid_px_e9: int
    return_1s_e9: int
    return_5s_e9: int
    return_60s_e9: int
    sigma_e9: int
    shock_z_e9: int
    sample_count: int
    known: int


class SymbolFeatures:
    """Everything derived of one symbol: `sample` on the whole second, `look` at each timer tick."""

    def __init__(self, params: VolatilityParams) -> None:
        self.volatility = Volatility(params)
        self._times: list[int] = []
        self._mids: list[int] = []

    def restart(self) -> None:
        """Restart the estimate: a hole of `HOLE_NS_MAX` or more lies before what comes next.

        The mids of before stay: a return between two instants needs nothing in between.
        """
        self.volatility.restart()

    def sample(self, second: int, mid_e9: int) -> None:
        """Take the mid of a whole second of the wall clock."""
        self.volatility.add(second, mid_e9)

    def recall(self, second: int, mid_e9: int, taken_ns: int) -> None:
        """Take a sample that an earlier incarnation took: for volatility and for returns."""
        self.volatility.add(second, mid_e9)
        self._note(taken_ns, mid_e9)

    def look(self, now_ns: int, mid_e9: int) -> FeatureValues:
        """Give the features of this instant; `now_ns` is CLOCK_MONOTONIC and never goes back."""
        self._note(now_ns, mid_e9)
        changes = [self._return(now_ns, mid_e9, seconds) for seconds in _RETURN_S]
        known = sum(
            bit for bit, found in zip(_RETURN_BITS, changes, strict=True) if found is not None
        )
        before, change = self.volatility.sigma_before, changes[0]
        z = 0.0
        if before and change is not None:
            z = max(-_Z_MAX, min(_Z_MAX, change / before))
            known |= _SHOCK_Z
        return_1s, return_5s, return_60s = (round((found or 0.0) * E9) for found in changes)
        return FeatureValues(
            mid_px_e9=mid_e9,
            return_1s_e9=return_1s,
            return_5s_e9=return_5s,
            return_60s_e9=return_60s,
            sigma_e9=min(round(self.volatility.sigma * mid_e9), _SIGMA_MAX_E9),
            shock_z_e9=round(z * E9),
            sample_count=self.volatility.count,
            known=known,
        )

    def _note(self, now_ns: int, mid_e9: int) -> None:
        if self._times and now_ns <= self._times[-1]:
            return
        self._times.append(now_ns)
        self._mids.append(mid_e9)
        if now_ns - self._times[0] > 2 * _KEPT_NS:  # Trimmed by halves: constant cost a tick.
            first = bisect_right(self._times, now_ns - _KEPT_NS - _REACH_NS)
            del self._times[:first], self._mids[:first]

    def _return(self, now_ns: int, mid_e9: int, seconds: int) -> float | None:
        """Relative return over `seconds`; None where no mid of then is known."""
        wanted_ns = now_ns - seconds * E9
        index = bisect_right(self._times, wanted_ns) - 1
        if index < 0 or wanted_ns - self._times[index] > _REACH_NS:
            return None
        then_e9 = self._mids[index]
        return max(-_RETURN_MAX, min(_RETURN_MAX, (mid_e9 - then_e9) / then_e9))
