"""By how much the reference lies above what a market settles on, by the best price that tells it.

Best is the settlement source's own stream: a point a second (`BasisTracker`). Where there is none,
or it fell silent, the prices at which windows began and ended tell it, as soon as they are known:
one a window, minutes late. What such a price told is worth less with every second, until it is
worth no more than the `sd_unknown_bps` that are reckoned with where nothing ever told it and the
strike is compared with the reference as it is. A PROXY strike that says it is not less a basis is
made of the reference itself: nothing lies between the two.

A basis beyond all belief (`max_bps`) is none: a symbol was mixed up, or a decimal point.

The invariant: an official strike is never worth less than the PROXY before it, and a basis that
will be known in a moment, because the stream does come, is waited for. Kept by source; rebuilt
after a restart from what the feeds keep. Pure.
"""

from __future__ import annotations

from typing import Final

from cache.board import Miss, Snapshot
from cache.layout import Flag, Provenance
from strategy.pricing import NS, Window
from strategy.reference import NO_SAMPLES, BasisParams, BasisTracker, Estimate, Samples
from strategy.tick import Basis, ReferenceView, StrikeView
from venue.settlement import twap_seconds

_REACH_S: Final = 130
"""The reference's history reaches less far back: older averages cannot be made any more."""


class MarketBasis:
    """The basis of one market: its source's tracker, and what the reference averaged to.

    The averages over the seconds in which its window began and ended are kept: the prices they are
    compared with come late.
    """

    def __init__(self, window: Window, tracker: BasisTracker, params: BasisParams) -> None:
        self.window = window
        self.means_e9: dict[int, int] = {}
        """By the second of the edge; what is not in it is not known."""
        self._tracker = tracker
        self._params = params
        self._samples: Samples = NO_SAMPLES

    def of(
        self,
        settlement: Snapshot | Miss,
        strike: StrikeView | None,
        samples: Samples,
        reference: ReferenceView | None,
        *,
        wall_ns: int,
    ) -> Basis | None:
        """Take the newest point, if it is new, and return the basis as it stands; None unknown."""
        tracker, wall_s = self._tracker, wall_ns / NS
        if isinstance(settlement, Miss):
            return None if tracker.is_absurd else tracker.basis(wall_s)
        point_e9 = settlement.twap_e9
        if point_e9:
            _take_point(tracker, settlement, self.window, samples, reference)
        if samples is not self._samples:
            self._average_edges(samples)
        is_followed = tracker.is_followed(wall_s)
        if not is_followed:
            self._take_edges(settlement, strike)
            is_followed = tracker.is_followed(wall_s)
        if tracker.is_absurd:
            return None
        if strike is None or strike.provenance not in _WITHOUT_STREAM:
            return tracker.basis(wall_s)
        mid_e9 = reference.mid_px_e9 if reference is not None else 0
        if strike.provenance is Provenance.PROXY and not settlement.flags & _LESS_BASIS:
            return _own_terms(mid_e9, self._params.sd_floor_bps)
        if is_followed:
            return tracker.basis(wall_s)
        return tracker.aged(wall_s) or _own_terms(mid_e9, self._params.sd_unknown_bps)

    def _average_edges(self, samples: Samples) -> None:
        """Average what can be averaged by now."""
        self._samples = samples
        newest_s = samples.newest_second
        for at_ns in (self.window.start_ns, self.window.end_ns):
            edge_s = at_ns // NS
            if edge_s in self.means_e9 or not edge_s <= newest_s <= edge_s + _REACH_S:
                continue
            mean_e9 = samples.mean_e9(_seconds(self.window, edge_s))
            if mean_e9 is not None:
                self.means_e9[edge_s] = mean_e9

    def _take_edges(self, settlement: Snapshot, strike: StrikeView | None) -> None:
        """Take strike and final price for the points of the source that they are."""
        prices = [(self.window.end_ns // NS, settlement.final_e9)]
        if strike is not None and strike.provenance > Provenance.PROXY:
            prices.insert(0, (self.window.start_ns // NS, strike.strike_e9))
        for edge_s, price_e9 in prices:
            mean_e9 = self.means_e9.get(edge_s)
            if mean_e9 is not None:
                self._tracker.add(edge_s, price_e9, Estimate(mean_e9, 0.0))


class Bases:
    """The trackers of all settlement sources. Belongs to one thread."""

    def __init__(self, params: BasisParams) -> None:
        self._params = params
        self._trackers: dict[tuple[int, int], BasisTracker] = {}

    def of_market(self, window: Window, reference_tag: int) -> MarketBasis:
        """Begin to follow a market; markets of the same source share what is known of it."""
        source = reference_tag, window.twap_ns
        tracker = self._trackers.get(source)
        if tracker is None:
            tracker = self._trackers[source] = BasisTracker(self._params)
        return MarketBasis(window, tracker, self._params)


_LESS_BASIS: Final = int(Flag.LESS_BASIS)
_WITHOUT_STREAM: Final = (Provenance.PROXY, Provenance.OFFICIAL)
"""Strikes that come to be known without the source's stream."""


def _seconds(window: Window, edge_s: int) -> range:
    return twap_seconds(edge_s, length_s=window.twap_ns // NS, lag_s=window.lag_ns // NS)


def _take_point(
    tracker: BasisTracker,
    point: Snapshot,
    window: Window,
    samples: Samples,
    reference: ReferenceView | None,
) -> None:
    point_s = point.twap_ts_ns // NS
    if point_s <= tracker.newest_s:
        return
    sigma = reference.sigma_e9 / NS if reference is not None else 0.0
    mean = samples.estimate(_seconds(window, point_s), sigma=sigma)
    if mean is not None and (sigma or not mean.variance):
        tracker.add(point_s, point.twap_e9, mean)


def _own_terms(mid_e9: int, sd_bps: float) -> Basis | None:
    """Take the reference for the source itself; None where that is not wanted (0) or possible."""
    sd = sd_bps * 1e-4 * mid_e9 / NS
    return Basis(0.0, sd * sd) if sd > 0.0 else None
