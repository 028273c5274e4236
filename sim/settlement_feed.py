"""The settlement price of the model: spot once a second, and its average as the venue sends it.

Spot is the Binance mid less a slowly moving basis, at each whole second; the point stamped t is
the mean of the whole-second prices of the look-back up to t (`venue/settlement.py`). All of it is
exact: spot in millionths of a dollar, averages with eighteen places, so every strike and every
outcome follow from integers.

A point comes about a second late and some never come live; the snapshot has them all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from sim.frames import BOLT_TWAP, SimFrame
from sim.params import EPOCH_S, ModelParams
from sim.price import Floats, Ints, PricePath
from sim.seeding import fraction
from venue.settlement import twap_seconds

_NS = 1_000_000_000
_E18_PER_MICRO = 10**12
_LATE_NS = 850_000_000
_LATE_SPAN_NS = 350_000_000


def e18_text(value: int) -> str:
    """Write units of 1e-18 with all their places, as `full_accuracy_value` has them."""
    whole, part = divmod(value, 10**18)
    return f"{whole}.{part:018d}"


class SettlementFeed:
    """Spot, averages and points of the settlement source."""

    def __init__(self, seed: int, path: PricePath, params: ModelParams) -> None:
        self._seed = seed
        self._path = path
        self._params = params
        self._key = (params.bolt_symbol, str(params.twap_length_s))
        self._phase = (
            2.0 * np.pi * fraction(seed, "basis", 1),
            2.0 * np.pi * fraction(seed, "basis", 2),
        )
        self._epoch_spots = lru_cache(maxsize=12)(self._make_spots)

    def basis_usd(self, at_s: Floats) -> Floats:
        """Return Binance less the settlement source: two slow waves around the configured one."""
        slow = np.sin(2.0 * np.pi * at_s / 5_437.0 + self._phase[0])
        quick = np.sin(2.0 * np.pi * at_s / 1_373.0 + self._phase[1])
        return np.asarray(self._params.basis_usd + 4.0 * slow + 2.0 * quick)

    def _make_spots(self, index: int) -> Ints:
        epoch = self._path.epoch(index)
        seconds = epoch.start_s + np.arange(EPOCH_S, dtype=np.int64)
        mid_micro = epoch.mid2_at(seconds * _NS) * 5_000
        basis = np.rint(self.basis_usd(seconds.astype(np.float64)) * 1e6).astype(np.int64)
        return mid_micro - basis

    def spots(self, first_s: int, last_s: int) -> Ints:
        """Return the spot of each whole second from first to last, in millionths of a dollar."""
        parts = [
            self._epoch_spots(index) for index in range(first_s // EPOCH_S, last_s // EPOCH_S + 1)
        ]
        start = first_s % EPOCH_S
        return np.concatenate(parts)[start : start + last_s - first_s + 1]

    def twap_e18(self, at_s: int) -> int:
        """Return the average stamped `at_s`, cut to units of 1e-18."""
        p = self._params
        seconds = twap_seconds(at_s, length_s=p.twap_length_s, lag_s=p.twap_lag_s)
        total = int(self.spots(seconds[0], seconds[-1]).sum())
        return total * _E18_PER_MICRO // p.twap_length_s

    def is_up(self, start_s: int, end_s: int) -> bool:
        """Say whether Up wins the window; a tie is Up."""
        return self.twap_e18(end_s) >= self.twap_e18(start_s)

    def official(self, at_s: int) -> float:
        """Return the average as the catalogue shows it: a number, to the digits of a float."""
        return self.twap_e18(at_s) / 10**18

    def point(self, at_s: int) -> dict[str, Any]:
        """Return one point as it stands in a snapshot's `data`."""
        value = self.twap_e18(at_s)
        return {
            "timestamp": at_s * 1000,
            "value": round(value / 1e18, 8),
            "full_accuracy_value": e18_text(value),
        }

    def sent_ns(self, at_s: int) -> int:
        """Return when the point stamped `at_s` is known to the venue, live or not."""
        return at_s * _NS + _LATE_NS + int(fraction(self._seed, "late", at_s) * _LATE_SPAN_NS)

    def is_missing(self, at_s: int) -> bool:
        """Say whether the point is never sent live."""
        return fraction(self._seed, "missing", at_s) < self._params.twap_missing

    def last_point_s(self, at_ns: int) -> int:
        """Return the stamp of the newest point known by then."""
        at_s = at_ns // _NS
        while self.sent_ns(at_s) > at_ns:
            at_s -= 1
        return at_s

    def frames(self, since_ns: int, until_ns: int) -> list[SimFrame]:
        """Return the payloads sent live after `since_ns` and up to `until_ns`."""
        first, last = self.last_point_s(since_ns) + 1, self.last_point_s(until_ns)
        return [
            SimFrame(self.sent_ns(at_s), BOLT_TWAP, self._key, self._payload(at_s))
            for at_s in range(first, last + 1)
            if not self.is_missing(at_s)
        ]

    def _payload(self, at_s: int) -> bytes:
        p, value = self._params, self.twap_e18(at_s)
        return (
            f'{{"symbol":"{p.bolt_symbol}","window_seconds":{p.twap_length_s},'
            f'"source":"chainlink","timestamp":{at_s * 1000},"value":{round(value / 1e18, 8)},'
            f'"full_accuracy_value":"{e18_text(value)}"}}'
        ).encode()
