"""From a fair value to two quotes: skew, spread, ticks, limits, hysteresis; exact integers.

Everything is in terms of the first token (Up), prices and sizes in units of 1e-9; the net position
is what is held of the first token less what is held of the second. An ask needs no
inventory: what is not held becomes a purchase of the other token at 1 - p, so both sides are sized
by how far they may take the net position. The invariants: no quote lies beyond what the fair value
allows by more than the hysteresis; both are on the tick grid, inside the price limits, the right
way round, and never meet the other side of the book.

When to quote at all is `market_maker`'s decision, and what to send is the executor's.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

E9 = 1_000_000_000


class Terms(Struct, frozen=True):
    """The market's grids: tick size now, lot, smallest order."""

    tick_e9: int
    lot_e9: int
    min_qty_e9: int


class Top(Struct, frozen=True):
    """Best prices of the first token's book; 0 where a side is empty."""

    bid_px_e9: int
    ask_px_e9: int


class TwoSided(Struct, frozen=True):
    """A bid and an ask; a size of 0 means none, and its price is then 0 too."""

    bid_px_e9: int = 0
    bid_qty_e9: int = 0
    ask_px_e9: int = 0
    ask_qty_e9: int = 0

    @property
    def is_empty(self) -> bool:
        return not self.bid_qty_e9 and not self.ask_qty_e9


@dataclass(frozen=True, slots=True)
class QuoteParams:
    """What decides money: every value comes from the configuration, none has a default.

    `half_spread_e9`: least distance of a quote from the fair value. `widen_e9`: share (1e-9) of the
    doubt in the fair value that is added to it. `skew_e9`: by how much a full position moves both
    quotes. `hysteresis_e9`: share of a tick by which a quote may be overtaken before it moves.
    Prices outside `px_min_e9` to `px_max_e9` are not quoted.
    """

    qty_e9: int
    position_qty_max_e9: int
    half_spread_e9: int
    widen_e9: int
    skew_e9: int
    hysteresis_e9: int
    px_min_e9: int
    px_max_e9: int


class Wish(Struct, frozen=True):
    """The unrounded bid and ask a fair value leads to."""

    bid_e9: int
    ask_e9: int


def wish(fair_e9: int, params: QuoteParams, *, doubt_e9: int, net_e9: int) -> Wish:
    """Place bid and ask around the fair value, shifted against the net position."""
    most = params.position_qty_max_e9
    net = max(-most, min(most, net_e9))
    shift = params.skew_e9 * net // most if most else 0
    half = params.half_spread_e9 + params.widen_e9 * abs(doubt_e9) // E9
    return Wish(fair_e9 - shift - half, fair_e9 - shift + half)


def floor_tick(px_e9: int, tick_e9: int) -> int:
    """Round down to the tick grid: what a bid does."""
    return px_e9 - px_e9 % tick_e9


def ceil_tick(px_e9: int, tick_e9: int) -> int:
    """Round up to the tick grid: what an ask does."""
    return px_e9 + -px_e9 % tick_e9


def _bid(wanted: int, top: Top, tick: int, params: QuoteParams) -> int:
    """Round a bid down, below the best ask and inside the limits; 0 when there is no such price."""
    px = floor_tick(min(wanted, params.px_max_e9, E9 - tick), tick)
    if top.ask_px_e9:
        px = min(px, floor_tick(top.ask_px_e9 - 1, tick))
    return px if px >= max(params.px_min_e9, tick) else 0


def _ask(wanted: int, top: Top, tick: int, params: QuoteParams) -> int:
    """Round an ask up, above the best bid and inside the limits; 0 when there is no such price."""
    px = ceil_tick(max(wanted, params.px_min_e9, tick), tick)
    if top.bid_px_e9:
        px = max(px, ceil_tick(top.bid_px_e9 + 1, tick))
    return px if px <= min(params.px_max_e9, E9 - tick) else 0


def _sizes(terms: Terms, params: QuoteParams, net_e9: int) -> tuple[int, int]:
    """Size both sides by the room the position limit leaves.

    A wanted size is all that may rest on its side, orders in flight included: they are not taken
    off here a second time, or each order sent would shrink the wish that sent it.
    """
    room, qty = params.position_qty_max_e9, params.qty_e9
    return _cut(min(qty, room - net_e9), terms), _cut(min(qty, room + net_e9), terms)


def _cut(size: int, terms: Terms) -> int:
    """Round a size down to the lot; 0 where that is less than an order may be."""
    lot = terms.lot_e9
    if lot > 0:
        size -= size % lot
    return size if size > 0 and size >= terms.min_qty_e9 else 0


def _keeps_bid(previous: int, wanted: Wish, fresh: int, *, band: int, tick: int) -> bool:
    """Whether the bid may stay: on the grid, overtaken by less than the band, not far behind."""
    if not previous or not fresh or previous % tick:
        return False
    return wanted.bid_e9 - tick - band < previous <= wanted.bid_e9 + band


def _keeps_ask(previous: int, wanted: Wish, fresh: int, *, band: int, tick: int) -> bool:
    """Whether the ask may stay: the mirror of `_keeps_bid`."""
    if not previous or not fresh or previous % tick:
        return False
    return wanted.ask_e9 - band <= previous < wanted.ask_e9 + tick + band


def quote(
    wanted: Wish,
    terms: Terms,
    params: QuoteParams,
    *,
    top: Top,
    net_e9: int,
    previous: TwoSided,
) -> TwoSided:
    """Make the two quotes. `previous` are those that stand; empty ones take no part.

    A standing price is kept while the wish has moved past its tick by less than the hysteresis, and
    it still is a price that could be chosen afresh with that much tolerance.
    """
    tick = terms.tick_e9
    fresh = _bid(wanted.bid_e9, top, tick, params), _ask(wanted.ask_e9, top, tick, params)
    bid, ask = fresh
    band = params.hysteresis_e9 * tick // E9
    if _keeps_bid(previous.bid_px_e9, wanted, bid, band=band, tick=tick):
        bid = _bid(previous.bid_px_e9, top, tick, params) or bid
    if _keeps_ask(previous.ask_px_e9, wanted, ask, band=band, tick=tick):
        ask = _ask(previous.ask_px_e9, top, tick, params) or ask
    if bid and ask and bid >= ask:
        bid, ask = fresh  # Two kept quotes can meet where the spread is narrower than the band.
    if bid and ask and bid >= ask:
        return TwoSided()
    bid_qty, ask_qty = _sizes(terms, params, net_e9)
    return TwoSided(
        bid if bid_qty else 0, bid_qty if bid else 0, ask if ask_qty else 0, ask_qty if ask else 0
    )
