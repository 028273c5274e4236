"""Parameters that would make no world are refused."""

from __future__ import annotations

import pytest

from sim.params import ModelParams


@pytest.mark.parametrize(
    "wrong",
    [
        {"ticker_rate": 0.0},
        {"trade_rate": 10_000.0},
        {"volatility_usd": 0.0},
        {"price_usd": 10},
        {"twap_length_s": 0},
        {"twap_length_s": 200},
        {"twap_lag_s": -1},
        {"market_lead_s": 300},
        {"market_keep_s": 10},
        {"flow": 0.0},
    ],
)
def test_a_number_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ModelParams(**wrong)


def test_the_defaults_stand():
    assert ModelParams() == ModelParams()
