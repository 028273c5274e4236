"""Polymarket's taker fee and maker rebate, in exact integers.

fee = shares x rate x (p (1 - p)) ^ exponent, in collateral, to five decimal places. Makers pay
nothing; a share of the takers' fees comes back to them as a daily rebate. The schedule (rate,
exponent, rebate share) belongs to the market and is passed in: there is no default, and the
`fee_rate_bps` and base fee that also stand in venue messages are not it.
"""

from __future__ import annotations

from venue.decimals import E9

FEE_STEP_E9 = 10_000
"""Fees are multiples of 0.00001."""

EXPONENT_MAX = 8


def taker_fee_e9(qty_e9: int, px_e9: int, *, rate_e9: int, exponent: int) -> int:
    """Compute the fee of taking `qty_e9` shares at `px_e9`; half a step is rounded up.

    The venue does not say how it rounds. Up is the side on which we are not surprised.
    """
    if not 0 <= px_e9 <= E9:
        raise ValueError(f"price {px_e9} is outside 0 to {E9} (units of 1e-9)")
    if qty_e9 < 0 or rate_e9 < 0:
        raise ValueError(f"size {qty_e9} or fee rate {rate_e9} is negative")
    if not 0 <= exponent <= EXPONENT_MAX:
        raise ValueError(f"fee exponent {exponent} is outside 0 to {EXPONENT_MAX}")
    numerator: int = qty_e9 * rate_e9 * (px_e9 * (E9 - px_e9)) ** exponent
    step: int = FEE_STEP_E9 * E9 * (E9 * E9) ** exponent
    return (2 * numerator + step) // (2 * step) * FEE_STEP_E9


def maker_rebate_e9(fee_e9: int, *, rebate_rate_e9: int) -> int:
    """Compute the maker's share of one taker fee, cut to the fee step: never counted too high."""
    if fee_e9 < 0 or not 0 <= rebate_rate_e9 <= E9:
        raise ValueError(f"fee {fee_e9} is negative or rebate share {rebate_rate_e9} not in 0 to 1")
    return fee_e9 * rebate_rate_e9 // E9 // FEE_STEP_E9 * FEE_STEP_E9
