"""Finds strike, final price and outcome of windowed markets; pure.

An up/down market pays by two points of the venue's TWAP: the one stamped with the second its
window starts (the strike) and the one stamped with its end. Neither comes with the market. The
strike is UNKNOWN until the start, then PROXY where nothing better is served, STREAM once the point
of that very second has come, OFFICIAL once Gamma says it. The invariant: provenance only improves,
and a price that is not known is 0 and never guessed.

Up wins a tie. No outcome is drawn from a PROXY strike: it is not what the market pays by. A point
that the venue only carried forward is the price of another second and is not used. Nor is one from
the future, or one that is half or double the price before it, until a second one says the like: the
first price of all, which nothing can judge, is outvoted the same way. This file neither fetches nor
publishes; `feeds/twap.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from cache.layout import E9, Outcome, Provenance
from feeds.gamma_wire import EventPrices
from feeds.polybolt_wire import Point, Points, Series

KEPT_COUNT = 256
"""Points remembered of a series: a market listed late finds the second it needs among them."""

AHEAD_S = 5
"""A point is stamped about a second before it comes; the clocks differ by less than this."""


@dataclass(slots=True)
class Settlement:
    """What is known of the settlement of one market."""

    condition_id: str
    slug: str
    series: Series | None
    """Where its prices come from; None where it is not settled by a TWAP."""
    start_s: int
    end_s: int
    reference: str = ""
    """The symbol a PROXY strike is made of; "" none."""
    strike_e9: int = 0
    provenance: Provenance = Provenance.UNKNOWN
    is_less_basis: bool = False
    """Of a PROXY strike: whether it is in the terms of the source, not of the reference."""
    final_e9: int = 0
    is_final_official: bool = False
    outcome: Outcome = Outcome.UNKNOWN

    def take_strike(self, price_e9: int, provenance: Provenance) -> bool:
        """Take a strike that is better known than the one held; True when something changed."""
        if provenance < self.provenance or price_e9 <= 0:
            return False
        if (price_e9, provenance) == (self.strike_e9, self.provenance):
            return False
        if provenance == self.provenance == Provenance.STREAM:
            return False  # The first point of the second stands.
        self.strike_e9, self.provenance = price_e9, provenance
        self._decide()
        return True

    def take_final(self, price_e9: int, *, is_official: bool) -> bool:
        """Take the price at the end; True when something changed."""
        if price_e9 <= 0 or (self.final_e9 and self.is_final_official >= is_official):
            return False
        self.final_e9, self.is_final_official = price_e9, is_official
        self._decide()
        return True

    def take_winner(self, winner: Outcome) -> bool:
        """Take the winner the venue names; True when something changed."""
        if winner in (Outcome.UNKNOWN, self.outcome):
            return False
        self.outcome = winner
        return True

    def _decide(self) -> None:
        if self.final_e9 and self.provenance >= Provenance.STREAM:
            self.outcome = Outcome.YES if self.final_e9 >= self.strike_e9 else Outcome.NO

    def is_open(self, now_s: float) -> bool:
        """Whether the window has started: from then on it needs a strike."""
        return now_s >= self.start_s > 0

    def wants_official(self, now_s: float) -> bool:
        """Whether the venue may have, or come to have, something to say that is not known yet."""
        if not self.is_open(now_s):
            return False
        if self.provenance != Provenance.OFFICIAL:
            return True
        return now_s >= self.end_s and self.outcome == Outcome.UNKNOWN


@dataclass(slots=True)
class _Line:
    """One series: its newest point and the last ones by second."""

    newest: Point | None = None
    recv_ns: int = 0
    seq: int = 0
    prices: dict[int, int] = field(default_factory=dict)
    believed_e9: int = 0
    doubted_e9: int = 0
    """The price that was refused last, if none has been believed since."""

    def refuses(self, point: Point, now_s: float) -> bool:
        """Whether a point cannot be of this series: by its time, or by its price alone."""
        if point.time_s > now_s + AHEAD_S:
            return True
        price_e9, before_e9 = point.price_e9, self.believed_e9
        if before_e9 and not _is_like(price_e9, before_e9) | _is_like(price_e9, self.doubted_e9):
            self.doubted_e9 = price_e9
            return True
        self.believed_e9, self.doubted_e9 = price_e9, 0
        return False

    def take(self, point: Point) -> bool:
        """Remember a point; True when its second was not known yet."""
        if point.time_s in self.prices:
            return False
        self.prices[point.time_s] = point.price_e9
        while len(self.prices) > KEPT_COUNT:
            del self.prices[min(self.prices)]
        if self.newest is None or point.time_s > self.newest.time_s:
            self.newest = point
        return True


def _is_like(price_e9: int, other_e9: int) -> bool:
    """Whether two prices are less than half and double apart."""
    return price_e9 < 2 * other_e9 and other_e9 < 2 * price_e9


class Strikes:
    """The settlements of all listed markets and the series they rest on."""

    def __init__(self) -> None:
        self.markets: dict[str, Settlement] = {}
        self._lines: dict[Series, _Line] = {}

    def add(self, market: Settlement) -> None:
        """List a market; points that have come already serve it too."""
        self.markets[market.condition_id] = market
        if market.series is not None:
            line = self._lines.setdefault(market.series, _Line())
            self._apply(market, line.prices)

    def remove(self, condition_id: str) -> Settlement | None:
        """Release a market, and its series when no other market rests on it."""
        market = self.markets.pop(condition_id, None)
        if market is not None and market.series is not None and market.series not in self.series():
            del self._lines[market.series]
        return market

    def series(self) -> set[Series]:
        """What must be subscribed."""
        return {m.series for m in self.markets.values() if m.series is not None}

    def newest(self, series: Series | None) -> tuple[Point, int, int] | None:
        """The newest point of a series, when it was received, and its number."""
        line = self._lines.get(series) if series is not None else None
        if line is None or line.newest is None:
            return None
        return line.newest, line.recv_ns, line.seq

    def believed(self, frame: Points, now_s: float) -> Points:
        """Leave out of an envelope the points that cannot be of its series."""
        line = self._lines.get(frame.series)
        if line is None:
            return frame
        points = tuple(point for point in frame.points if not line.refuses(point, now_s))
        return msgspec.structs.replace(frame, points=points)

    def on_points(self, frame: Points, recv_ns: int) -> tuple[int, int]:
        """Take an envelope; give how many points were new, and how many seconds were missed."""
        line = self._lines.get(frame.series)
        if line is None:
            return 0, 0
        before = line.newest.time_s if line.newest is not None else 0
        fresh = {
            point.time_s: point.price_e9
            for point in frame.points
            if not point.is_carried and line.take(point)
        }
        if not fresh:
            return 0, 0
        line.recv_ns, line.seq = recv_ns, frame.seq
        for market in self.markets.values():
            if market.series == frame.series:
                self._apply(market, fresh)
        newest = max(fresh)
        missed = newest - before - len(fresh) if before and newest > before else 0
        return len(fresh), max(0, missed)

    @staticmethod
    def _apply(market: Settlement, prices: dict[int, int]) -> None:
        strike_e9 = prices.get(market.start_s, 0)
        market.take_strike(strike_e9, Provenance.STREAM)
        market.take_final(prices.get(market.end_s, 0), is_official=False)

    def on_official(self, condition_id: str, prices: EventPrices) -> bool:
        """Take what Gamma says; True when something changed."""
        market = self.markets.get(condition_id)
        if market is None:
            return False
        changed = market.take_strike(prices.strike_e9 or 0, Provenance.OFFICIAL)
        changed |= market.take_final(prices.final_e9 or 0, is_official=True)
        return changed | market.take_winner(prices.winner)

    def on_proxy(self, condition_id: str, strike_e9: int, *, is_less_basis: bool) -> bool:
        """Take a strike made of a reference price; True when something changed."""
        market = self.markets.get(condition_id)
        if market is None or market.provenance != Provenance.UNKNOWN:
            return False
        market.is_less_basis = is_less_basis
        return market.take_strike(strike_e9, Provenance.PROXY)

    def overdue(self, now_s: float, wait_s: float) -> Iterator[Settlement]:
        """Markets whose point of the start or end should have come and has not.

        A reconnect replays the last minute, so only seconds within it can still be had that way.
        """
        for market in self.markets.values():
            if market.series is None:
                continue
            is_due = market.provenance < Provenance.STREAM and _recent(
                now_s, market.start_s, wait_s
            )
            if is_due or (not market.final_e9 and _recent(now_s, market.end_s, wait_s)):
                yield market


def _recent(now_s: float, second: int, wait_s: float) -> bool:
    return second > 0 and second + wait_s <= now_s < second + 55


def settlement_values(
    market: Settlement, line: tuple[Point, int, int] | None, *, flags: int, now_ns: int
) -> tuple[int, ...]:
    """Fields of the settlement record after the stamps, in layout order."""
    point, recv_ns, seq = line if line is not None else (None, 0, 0)
    twap_ns = point.time_s * E9 if point is not None else 0
    return (
        0,  # batch
        seq,
        recv_ns,
        now_ns,
        twap_ns,
        flags,
        0,  # proof
        market.start_s * E9,
        market.end_s * E9,
        market.strike_e9,
        point.price_e9 if point is not None else 0,
        twap_ns,
        market.final_e9,
        market.provenance,
        market.outcome,
    )
