"""Two quotes from a fair value: grids, limits, skew, hysteresis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from strategy.quoting import (
    E9,
    QuoteParams,
    Terms,
    Top,
    TwoSided,
    ceil_tick,
    floor_tick,
    quote,
    wish,
)

CENT = E9 // 100
PARAMS = QuoteParams(
    qty_e9=20 * E9,
    position_qty_max_e9=100 * E9,
    half_spread_e9=CENT,
    widen_e9=E9 // 2,
    skew_e9=2 * CENT,
    hysteresis_e9=E9 // 2,
    px_min_e9=5 * CENT,
    px_max_e9=95 * CENT,
)
TERMS = Terms(tick_e9=CENT, lot_e9=CENT, min_qty_e9=5 * E9)
EMPTY = Top(0, 0)
NONE = TwoSided()


def ask_for(
    fair_e9: int,
    *,
    params: QuoteParams = PARAMS,
    terms: Terms = TERMS,
    top: Top = EMPTY,
    held: int = 0,
    previous: TwoSided = NONE,
    doubt_e9: int = 0,
) -> TwoSided:
    wanted = wish(fair_e9, params, doubt_e9=doubt_e9, net_e9=held)
    return quote(wanted, terms, params, top=top, net_e9=held, previous=previous)


def cents(quotes: TwoSided) -> tuple[float, float]:
    return quotes.bid_px_e9 / CENT, quotes.ask_px_e9 / CENT


def test_a_bid_is_rounded_down_and_an_ask_up() -> None:
    assert ask_for(503 * E9 // 1000) == TwoSided(49 * CENT, 20 * E9, 52 * CENT, 20 * E9)
    assert cents(ask_for(50 * CENT)) == (49, 51)


@pytest.mark.parametrize("tick", [E9 // 10, CENT, E9 // 200, E9 // 400, E9 // 1000, E9 // 10_000])
def test_every_tick_of_the_venue_is_kept_to(tick: int) -> None:
    terms = changed(TERMS, tick_e9=tick)
    got = ask_for(437_654_321, terms=terms)
    assert got.bid_px_e9 == (437_654_321 - CENT) // tick * tick
    assert got.ask_px_e9 == -(-(437_654_321 + CENT) // tick) * tick


def test_nothing_crosses_the_book() -> None:
    assert cents(ask_for(60 * CENT, top=Top(50 * CENT, 55 * CENT))) == (54, 61)
    assert cents(ask_for(40 * CENT, top=Top(50 * CENT, 55 * CENT))) == (39, 51)
    # A best price between our ticks is not met either.
    assert cents(ask_for(60 * CENT, top=Top(0, 555 * E9 // 1000))) == (55, 61)


def test_inventory_moves_both_quotes_against_itself() -> None:
    long, short = 100 * E9, -50 * E9
    assert cents(ask_for(50 * CENT, held=long)) == (0, 49)
    assert cents(ask_for(50 * CENT, held=short)) == (50, 52)


def test_sizes_stop_at_the_position_limit() -> None:
    got = ask_for(50 * CENT, held=92 * E9 + 5_000_001)
    assert got.bid_qty_e9 == 7_990_000_000  # cut to the lot
    assert got.ask_qty_e9 == 20 * E9
    assert ask_for(50 * CENT, held=96 * E9).bid_qty_e9 == 0  # below the minimum
    assert ask_for(50 * CENT, held=-100 * E9).ask_qty_e9 == 0


def test_doubt_widens() -> None:
    assert cents(ask_for(50 * CENT, doubt_e9=4 * CENT)) == (47, 53)
    assert cents(ask_for(50 * CENT, doubt_e9=-4 * CENT)) == (47, 53)


def test_prices_stay_inside_the_limits() -> None:
    assert cents(ask_for(4 * CENT)) == (0, 5)
    assert cents(ask_for(97 * CENT)) == (95, 0)
    wide = replace(PARAMS, px_min_e9=0, px_max_e9=E9)
    assert cents(ask_for(1 * CENT, params=wide)) == (0, 2)
    assert cents(ask_for(E9 - 1, params=wide)) == (98, 0)


def test_a_quote_stands_until_the_wish_has_moved_beyond_the_band() -> None:
    stands = ask_for(500 * E9 // 1000)
    assert cents(stands) == (49, 51)
    for fair, expected in ((504, (49, 51)), (496, (49, 51)), (506, (49, 52)), (494, (48, 51))):
        assert cents(ask_for(fair * E9 // 1000, previous=stands)) == expected
    assert cents(ask_for(516 * E9 // 1000, previous=stands)) == (50, 53)


def test_a_standing_quote_yields_to_the_book_the_grid_and_the_limits() -> None:
    stands = TwoSided(49 * CENT, 20 * E9, 51 * CENT, 20 * E9)
    assert cents(ask_for(50 * CENT, previous=stands, top=Top(0, 49 * CENT))) == (48, 51)
    finer = TwoSided(490_500_000, 20 * E9, 51 * CENT, 20 * E9)
    assert cents(ask_for(501 * E9 // 1000, previous=finer)) == (49, 51)
    narrow = replace(PARAMS, px_max_e9=48 * CENT)
    assert cents(ask_for(50 * CENT, previous=stands, params=narrow)) == (48, 0)


def test_a_standing_price_off_a_coarser_grid_is_not_kept() -> None:
    finer = TwoSided(480_500_000, 20 * E9, 519_500_000, 20 * E9)
    assert cents(ask_for(501 * E9 // 1000, previous=finer)) == (49, 52)
    assert cents(ask_for(499 * E9 // 1000, previous=finer)) == (48, 51)


def test_standing_quotes_that_would_meet_are_both_chosen_afresh() -> None:
    loose = replace(PARAMS, half_spread_e9=CENT // 10, hysteresis_e9=2 * E9)
    met = TwoSided(51 * CENT, 20 * E9, 49 * CENT, 20 * E9)
    assert cents(ask_for(505 * E9 // 1000, params=loose, previous=met)) == (50, 51)


def test_rounding_keeps_what_is_on_the_grid() -> None:
    assert floor_tick(49 * CENT, CENT) == ceil_tick(49 * CENT, CENT) == 49 * CENT
    assert (floor_tick(-1, CENT), ceil_tick(-1, CENT)) == (-CENT, 0)


PRICES = st.integers(min_value=0, max_value=E9)
TICKS = st.sampled_from([E9 // 10, CENT, E9 // 200, E9 // 400, E9 // 1000, E9 // 10_000])


@st.composite
def quote_params(draw: st.DrawFn) -> QuoteParams:
    low = draw(PRICES)
    return QuoteParams(
        qty_e9=draw(st.integers(0, 100 * E9)),
        position_qty_max_e9=draw(st.integers(0, 200 * E9)),
        half_spread_e9=draw(st.integers(0, 10 * CENT)),
        widen_e9=draw(st.integers(0, 2 * E9)),
        skew_e9=draw(st.integers(0, 10 * CENT)),
        hysteresis_e9=draw(st.integers(0, 3 * E9)),
        px_min_e9=low,
        px_max_e9=draw(st.integers(low, E9)),
    )


@given(
    fair=PRICES,
    params=quote_params(),
    tick=TICKS,
    top=st.builds(Top, PRICES, PRICES),
    held=st.integers(-300 * E9, 300 * E9),
    stood=st.tuples(PRICES, PRICES),
    doubt=st.integers(-E9, E9),
)
def test_whatever_is_asked_no_quote_breaks_a_rule(
    fair: int,
    params: QuoteParams,
    tick: int,
    top: Top,
    held: int,
    stood: tuple[int, int],
    doubt: int,
) -> None:
    wanted = wish(fair, params, doubt_e9=doubt, net_e9=held)
    previous = TwoSided(stood[0], E9, stood[1], E9)
    terms = changed(TERMS, tick_e9=tick)
    got = quote(wanted, terms, params, top=top, net_e9=held, previous=previous)
    band = params.hysteresis_e9 * tick // E9
    low, high = max(params.px_min_e9, tick), min(params.px_max_e9, E9 - tick)
    if got.bid_qty_e9:
        assert got.bid_px_e9 % tick == 0
        assert low <= got.bid_px_e9 <= high
        assert got.bid_px_e9 <= wanted.bid_e9 + band
        assert not top.ask_px_e9 or got.bid_px_e9 < top.ask_px_e9
        assert held + got.bid_qty_e9 <= params.position_qty_max_e9
    if got.ask_qty_e9:
        assert got.ask_px_e9 % tick == 0
        assert low <= got.ask_px_e9 <= high
        assert got.ask_px_e9 >= wanted.ask_e9 - band
        assert not top.bid_px_e9 or got.ask_px_e9 > top.bid_px_e9
        assert held - got.ask_qty_e9 >= -params.position_qty_max_e9
    if got.bid_qty_e9 and got.ask_qty_e9:
        assert got.bid_px_e9 < got.ask_px_e9
    for qty in (got.bid_qty_e9, got.ask_qty_e9):
        assert qty == 0 or (TERMS.min_qty_e9 <= qty <= params.qty_e9 and qty % TERMS.lot_e9 == 0)
    assert bool(got.bid_px_e9) == bool(got.bid_qty_e9)
    assert bool(got.ask_px_e9) == bool(got.ask_qty_e9)


@given(fair=st.integers(10 * CENT, 90 * CENT), moves=st.lists(st.integers(-CENT, CENT)))
def test_a_fair_value_that_trembles_within_the_band_changes_nothing(
    fair: int, moves: list[int]
) -> None:
    stands = ask_for(fair)
    for move in moves:
        again = ask_for(fair + move // 2, previous=stands)
        for px, new in zip(cents(stands), cents(again), strict=True):
            assert abs(px - new) <= 1
    assert ask_for(fair, previous=stands) == stands
