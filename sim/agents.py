"""Who acts in the model's markets: makers around the fair value, takers by chance, takers who know.

Each is asked at its own random times and answers with what it wants: makers with levels to set,
takers with one order. They see the fair value with a latency: makers a third of a second late and
with an opinion, the informed sooner; a stale quote that is worth an edge is taken. Nobody sees the
orders of those who use this venue, so the flow does not depend on them.

Prices are thousandths, sizes hundredths of a share, all in terms of Up (`sim/mirror_book.py`).
"""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple

from sim.fair import Fair
from sim.mirror_book import NO_ASK, NO_BID, Change, MirrorBook

COARSE = 10
FINE = 1
LEVELS_MAX = 45
"""Levels a side that makers keep; beyond it they give up the deepest."""

_MAKER_LAG_NS = 280_000_000
_INFORMED_LAG_NS = 130_000_000
_HYSTERESIS = 0.25
"""How far, in ticks, the fair value may leave the quoted spread before makers move."""
_EDGE = 11.0
_THIN_QTY = 2_500


class Order(NamedTuple):
    """A taker's order for Up (or, sold, for Down); what it does not get at once lapses."""

    is_buy: bool
    qty: int
    limit: int


class Makers:
    """All makers of one market as one ladder that follows their common fair value."""

    def __init__(self, rng: Random, fair: Fair) -> None:
        self._rng = rng
        self._fair = fair
        self._width = 0.05
        self._bid = NO_BID
        self._ask = NO_ASK
        self._tick = 0

    def fair_at(self, at_ns: int) -> float:
        """Return their fair value in thousandths, as late as they see it."""
        return 1000.0 * self._fair.maker(at_ns - _MAKER_LAG_NS)

    def quote(self, at_ns: int, book: MirrorBook, tick: int) -> list[Change]:
        """Move the ladder where the fair value is, and fill what was taken."""
        self._aim(self.fair_at(at_ns), tick)
        wanted: dict[tuple[bool, int], int] = {}
        for px in book.bids:
            if px > self._bid:
                wanted[True, px] = 0
        for px in book.asks:
            if px < self._ask:
                wanted[False, px] = 0
        self._fill(book.bids, wanted, is_bid=True, tick=tick)
        self._fill(book.asks, wanted, is_bid=False, tick=tick)
        return self._shuffled(wanted)

    def _aim(self, fair: float, tick: int) -> None:
        rng, is_new = self._rng, tick != self._tick
        if rng.random() < 0.03:
            self._width, is_new = self._draw_width(), True
        self._tick = tick
        slack = _HYSTERESIS * tick
        if not is_new and self._bid - slack <= fair <= self._ask + slack:
            return
        pad = self._width * tick
        bid = math.floor((fair - pad) / tick) * tick
        ask = math.ceil((fair + pad) / tick) * tick
        self._bid = min(max(bid, NO_BID), NO_ASK - tick)
        self._ask = max(min(ask, NO_ASK), self._bid + tick)

    def _draw_width(self) -> float:
        """Draw the half-spread in ticks: mostly as tight as the tick allows, at times wide."""
        mood = self._rng.random()
        if mood < 0.86:
            return self._rng.uniform(0.0, 0.04)
        return self._rng.uniform(0.15, 0.5) if mood < 0.95 else self._rng.uniform(0.6, 1.3)

    def _fill(
        self, side: dict[int, int], wanted: dict[tuple[bool, int], int], *, is_bid: bool, tick: int
    ) -> None:
        rng = self._rng
        touch, step = (self._bid, -tick) if is_bid else (self._ask, tick)
        for rung in range(8):
            px = touch + rung * step
            if not NO_BID < px < NO_ASK:
                break
            there = side.get(px, 0)
            if there == 0 and (rung < 2 or rng.random() < 0.6):
                wanted[is_bid, px] = self.draw_qty(px, rung, tick)
            elif there and there < _THIN_QTY and rung == 0 and rng.random() < 0.6:
                wanted[is_bid, px] = there + self.draw_qty(px, rung, tick)
        for px in sorted(side, reverse=is_bid)[LEVELS_MAX:]:
            wanted[is_bid, px] = 0

    def draw_qty(self, px: int, rung: int, tick: int) -> int:
        """Draw the size of a level, in hundredths: some two hundred shares, thousands far out."""
        rng = self._rng
        shares = math.exp(rng.gauss(5.2 if rung == 0 else 5.6, 0.85))
        if tick == COARSE and rung > 0:
            far = min(px, 1000 - px)
            shares *= 1.0 + (12.0 if far <= 60 else 3.0 if far <= 150 else 0.0)
        shares = min(max(shares, 5.0), 20_000.0)
        return round(shares) * 100 if rng.random() < 0.65 else round(shares * 100)

    def open(self, at_ns: int, tick: int) -> list[Change]:
        """Set the first book: a dense middle, a sparse ladder, much at the ends."""
        rng, fair = self._rng, self.fair_at(at_ns)
        self._aim(fair, tick)
        wanted: dict[tuple[bool, int], int] = {}
        for px in range(tick, NO_ASK, tick):
            far = min(abs(px - fair) / tick, px / tick, (NO_ASK - px) / tick)
            if rng.random() < (1.0 if far < 6 else 0.75):
                if px <= self._bid:
                    wanted[True, px] = self.draw_qty(px, (self._bid - px) // tick, tick)
                elif px >= self._ask:
                    wanted[False, px] = self.draw_qty(px, (px - self._ask) // tick, tick)
        return self._shuffled(wanted)

    def fidget(self, book: MirrorBook, tick: int) -> list[Change]:
        """Change a level or a few for no reason the market could know."""
        rng = self._rng
        wanted: dict[tuple[bool, int], int] = {}
        for _ in range(1 if rng.random() < 0.8 else rng.randint(2, 7)):
            is_bid = rng.random() < 0.5
            best, step = (book.best_bid(), -tick) if is_bid else (book.best_ask(), tick)
            spread = book.best_ask() - book.best_bid()
            if best in (NO_BID, NO_ASK):
                continue
            if spread >= 2 * tick and rng.random() < 0.15 and not wanted:
                # Joins inside the spread, small; only alone in its batch, so that it cannot cross.
                return [Change(is_bid, best - step, rng.randint(5, 80) * 100)]
            rung = int(rng.expovariate(1 / 7))
            px = best + rung * step
            if NO_BID < px < NO_ASK:
                self._fidget_level(book, wanted, Change(is_bid, px, rung), tick)
        return self._shuffled(wanted)

    def _fidget_level(
        self,
        book: MirrorBook,
        wanted: dict[tuple[bool, int], int],
        at: Change,
        tick: int,
    ) -> None:
        """Resize, remove or add one level; `at.qty` is how many ticks behind the best it is."""
        rng, side = self._rng, book.bids if at.is_bid else book.asks
        there = side.get(at.px, 0)
        chance = rng.random()
        if not there:
            wanted[at.is_bid, at.px] = max(self.draw_qty(at.px, at.qty, tick) // 2, 500)
        elif chance < 0.1 and len(side) > 12:
            wanted[at.is_bid, at.px] = 0
        else:
            part = rng.choice((500, 1_000, 2_500, 5_000, 10_000, rng.randint(500, 40_000)))
            is_less = chance < 0.55 and there >= part + 500
            wanted[at.is_bid, at.px] = there - part if is_less else min(there + part, 2_500_000)

    def _shuffled(self, wanted: dict[tuple[bool, int], int]) -> list[Change]:
        changes = [Change(is_bid, px, qty) for (is_bid, px), qty in wanted.items()]
        self._rng.shuffle(changes)
        return changes


class Takers:
    """Those who take: by chance, and because they saw Binance move."""

    def __init__(self, rng: Random, fair: Fair) -> None:
        self._rng = rng
        self._fair = fair

    def by_chance(self, book: MirrorBook, tick: int) -> Order:
        """Draw an order on either side: mostly small, within two ticks of the best."""
        rng = self._rng
        is_buy = rng.random() < 0.5
        reach = tick * (0 if rng.random() < 0.7 else rng.randint(1, 2))
        limit = book.best_ask() + reach if is_buy else book.best_bid() - reach
        return Order(is_buy, self._qty(3.3, 1.1), limit)

    def informed(self, at_ns: int, book: MirrorBook, tick: int) -> Order | None:
        """Take what stands on the wrong side of the fair value by more than an edge."""
        fair = 1000.0 * self._fair.best(at_ns - _INFORMED_LAG_NS)
        # Near certainty half a cent is enough: fees shrink there, and so does the doubt.
        edge = max(_EDGE * 4.0 * (fair / 1000.0) * (1.0 - fair / 1000.0), 0.6 * tick)
        qty = self._qty(4.6, 0.9)
        if book.best_ask() < fair - edge:
            return Order(True, qty, int(fair - edge))
        if book.best_bid() > fair + edge:
            return Order(False, qty, math.ceil(fair + edge))
        return None

    def _qty(self, middle: float, spread: float) -> int:
        shares = min(max(math.exp(self._rng.gauss(middle, spread)), 5.0), 3_000.0)
        return round(shares) * 100 if self._rng.random() < 0.5 else round(shares * 100)
