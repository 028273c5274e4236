"""Names, settlement and payout of up/down windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venue.decimals import E9
from venue.settlement import (
    Family,
    Window,
    complement_e9,
    is_up,
    mean_e9,
    parse_family,
    parse_slug,
    payout_e9,
    twap_seconds,
    window_at,
)

BTC_5M = Family("btc-updown-5m", "btc", 300)


def test_slugs_of_the_recorded_markets_are_understood() -> None:
    assert parse_slug("btc-updown-5m-1776323400") == Window(BTC_5M, 1_776_323_400)
    assert parse_slug("eth-updown-15m-1776323700") == Window(
        Family("eth-updown-15m", "eth", 900), 1_776_323_700
    )
    assert parse_family("btc-updown-4h") == Family("btc-updown-4h", "btc", 14_400)


@pytest.mark.parametrize(
    "slug",
    [
        "", "btc-updown-5m", "btc-updown-5m-", "btc-updown-5m-1776323401", "btc-updown-5m--300",
        "btc-updown-5m-01776323400", "btc-updown-0m-0", "btc-updown-5s-1776323400",
        "bitcoin-up-or-down-july-24-3pm-et", "BTC-updown-5m-1776323400",
        "btc-updown-5m-17763234000", "btc-updown-5m-١٧٧٦٣٢٣٤٠٠", "btc-updown-5m-1776323400\n",
    ],
)  # fmt: skip
def test_other_slugs_are_no_window(slug: str) -> None:
    assert parse_slug(slug) is None


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_every_second_lies_in_one_window_whose_slug_names_it(at_s: int) -> None:
    window = window_at(BTC_5M, at_s)
    assert window.start_s <= at_s < window.end_s
    assert parse_slug(window.slug) == window


def test_a_tie_is_up() -> None:
    assert is_up(61_000 * E9, 61_000 * E9)
    assert is_up(61_000 * E9 + 1, 61_000 * E9)
    assert not is_up(61_000 * E9 - 1, 61_000 * E9)


@pytest.mark.parametrize(("final", "strike"), [(0, 1), (1, 0), (-1, 1), (0, 0)])
def test_an_unknown_price_settles_nothing(final: int, strike: int) -> None:
    with pytest.raises(ValueError, match="not known"):
        is_up(final, strike)


def test_the_settlement_price_averages_the_seconds_up_to_its_stamp() -> None:
    assert list(twap_seconds(100, length_s=3)) == [98, 99, 100]
    assert list(twap_seconds(100, length_s=3, lag_s=3)) == [95, 96, 97]


def test_means_are_exact_integers() -> None:
    assert mean_e9([1, 2]) == 1
    assert mean_e9([10**18 - 1] * 60) == 10**18 - 1
    with pytest.raises(ValueError, match="no prices"):
        mean_e9([])


def test_winning_shares_pay_one_and_losing_shares_nothing() -> None:
    assert payout_e9(7 * E9, 3 * E9, up_won=True) == 7 * E9
    assert payout_e9(7 * E9, 3 * E9, up_won=False) == 3 * E9
    with pytest.raises(ValueError, match="cannot be negative"):
        payout_e9(-1, 0, up_won=True)


@given(st.integers(0, E9), st.integers(0, 10**15), st.booleans())
def test_a_pair_pays_one_whoever_wins(px: int, qty: int, up_won: bool) -> None:
    assert payout_e9(qty, qty, up_won=up_won) == qty
    assert px + complement_e9(px) == E9
