"""Names and ids of the windows."""

from __future__ import annotations

import pytest

from sim.params import ModelParams
from sim.series import Series

START_S = 1_790_000_100


def test_ids_follow_from_seed_and_start_and_have_the_venues_form():
    series = Series(1, ModelParams())
    contract = series.contract(START_S)
    assert contract == Series(1, ModelParams()).contract(START_S)
    assert contract.slug == f"btc-updown-5m-{START_S}"
    assert contract.condition_id.startswith("0x")
    assert len(contract.condition_id) == 66
    for token in contract.tokens:
        assert token.isdigit()
        assert len(token) == 77
    assert contract.end_s == START_S + 300
    assert 10 < contract.resolved_ns / 1e9 - contract.end_s < 25


def test_no_two_windows_and_no_two_seeds_share_an_id():
    names = set()
    for seed in (1, 2):
        series = Series(seed, ModelParams())
        for number in range(50):
            contract = series.contract(START_S + 300 * number)
            names |= {contract.up, contract.down, contract.condition_id, contract.question_id}
    assert len(names) == 2 * 50 * 4


def test_a_slug_of_another_series_is_unknown():
    series = Series(1, ModelParams())
    found = series.by_slug(f"btc-updown-5m-{START_S}")
    assert found is not None
    assert found.start_s == START_S
    for slug in ("eth-updown-5m-1790000100", "btc-updown-5m-1790000101", "x", ""):
        assert series.by_slug(slug) is None


@pytest.mark.parametrize("family", ["btc-updown-15m", "bitcoin"])
def test_a_family_of_other_windows_is_refused(family):
    with pytest.raises(ValueError, match=family):
        Series(1, ModelParams(family=family))
