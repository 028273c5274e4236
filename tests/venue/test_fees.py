"""Taker fees and maker rebates."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venue.decimals import E9
from venue.fees import FEE_STEP_E9, maker_rebate_e9, taker_fee_e9

CRYPTO = {"rate_e9": 70_000_000, "exponent": 1}
PRICES = st.integers(min_value=0, max_value=E9)
SIZES = st.integers(min_value=0, max_value=1_000_000 * E9)


def test_crypto_at_one_half_costs_a_cent_and_three_quarters_a_share() -> None:
    assert taker_fee_e9(E9, E9 // 2, **CRYPTO) == 17_500_000
    assert taker_fee_e9(100 * E9, E9 // 2, **CRYPTO) == 1_750_000_000


def test_fees_are_rounded_to_five_places_half_up() -> None:
    # 1 x 0.07 x 0.01 x 0.99 = 0.000693 exactly: 0.00069.
    assert taker_fee_e9(E9, 10_000_000, **CRYPTO) == 690_000
    # 0.0002 x 0.25 x 0.5 ^ 2 ... = 0.0000125 -> 0.00001; 0.00012 x 0.125 = 0.000015 -> 0.00002.
    assert taker_fee_e9(120_000, E9 // 2, rate_e9=E9 // 2, exponent=1) == 20_000


def test_nothing_is_charged_at_the_ends_or_at_rate_zero() -> None:
    assert taker_fee_e9(100 * E9, 0, **CRYPTO) == 0
    assert taker_fee_e9(100 * E9, E9, **CRYPTO) == 0
    assert taker_fee_e9(100 * E9, E9 // 2, rate_e9=0, exponent=1) == 0


@given(SIZES, PRICES, st.integers(min_value=0, max_value=E9), st.integers(0, 3))
def test_fees_agree_with_exact_fractions(qty: int, px: int, rate: int, exponent: int) -> None:
    p = Fraction(px, E9)
    exact = Fraction(qty, E9) * Fraction(rate, E9) * (p * (1 - p)) ** exponent
    steps = floor(exact * 100_000 + Fraction(1, 2))
    assert taker_fee_e9(qty, px, rate_e9=rate, exponent=exponent) == steps * FEE_STEP_E9


@given(SIZES, PRICES)
def test_both_outcomes_pay_the_same_fee(qty: int, px: int) -> None:
    assert taker_fee_e9(qty, px, **CRYPTO) == taker_fee_e9(qty, E9 - px, **CRYPTO)


@given(st.integers(min_value=0, max_value=10**15), st.integers(min_value=0, max_value=E9))
def test_a_rebate_is_never_more_than_its_share(steps: int, share: int) -> None:
    fee = steps * FEE_STEP_E9
    rebate = maker_rebate_e9(fee, rebate_rate_e9=share)
    assert 0 <= rebate <= fee
    assert rebate * E9 <= fee * share
    assert rebate % FEE_STEP_E9 == 0


@pytest.mark.parametrize(
    ("qty", "px", "rate", "exponent"),
    [(-1, 1, 1, 1), (1, -1, 1, 1), (1, E9 + 1, 1, 1), (1, 1, -1, 1), (1, 1, 1, -1), (1, 1, 1, 9)],
)
def test_impossible_trades_have_no_fee(qty: int, px: int, rate: int, exponent: int) -> None:
    with pytest.raises(ValueError, match=r"outside|negative"):
        taker_fee_e9(qty, px, rate_e9=rate, exponent=exponent)


def test_impossible_rebates_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        maker_rebate_e9(-1, rebate_rate_e9=0)
    with pytest.raises(ValueError, match="not in 0 to 1"):
        maker_rebate_e9(1, rebate_rate_e9=E9 + 1)
