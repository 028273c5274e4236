"""The configuration becomes parameters, exactly and in the right units."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cache.gate import FAST15M, LATENCY_ARB, LONG, POLICIES
from cache.layout import E9, Provenance
from host.config import ConfigError, load
from strategy.params import strategy_params
from strategy.strategy_cache import RunMode


def test_the_shipped_configuration_gives_parameters() -> None:
    config = load(environ={})
    params = strategy_params(config)
    assert params.strategy_id == config.strategy.id
    assert params.families == {"btc-updown-5m"}
    assert params.mode is RunMode.PAPER
    assert params.interval_ns == 50_000_000
    assert params.bell_interval_ns is None
    assert params.maker.strike_min is Provenance.STREAM
    assert params.maker.quote.half_spread_e9 == E9 // 200
    assert params.maker.quote.px_max_e9 == 95 * E9 // 100
    assert params.maker.valid_ns == 1_000_000_000


def test_what_is_set_arrives_in_its_unit() -> None:
    config = load(environ={})
    told = replace(
        config.strategy, trigger="bell", bell_interval_ms_min=3, twap_lag_s=3.0, rate_hz=4.0,
        book_policy="latency_arb", strike_min="proxy", hysteresis_ticks=0.25, valid_ms=2_000,
    )  # fmt: skip
    params = strategy_params(replace(config, strategy=told))
    assert params.bell_interval_ns == 3_000_000
    assert params.lag_ns == 3_000_000_000
    assert params.interval_ns == 250_000_000
    assert params.book_policy is LATENCY_ARB
    assert params.reference_policy is POLICIES[config.strategy.reference_policy]
    assert params.maker.strike_min is Provenance.PROXY
    assert params.maker.quote.hysteresis_e9 == E9 // 4


def test_the_threshold_of_the_book_store_is_that_of_who_names_no_other() -> None:
    changed = {"BOOK_STORE_DEFAULT_MAX_STALE_MS": "600"}
    params = strategy_params(load(environ=changed))
    assert params.book_policy.evidence_ns_max == 600_000_000
    assert params.book_policy.quiet_ns_max == 2_000_000_000
    assert params.reference_policy is FAST15M
    named = changed | {"PENSTOCK_STRATEGY_BOOK_POLICY": "long"}
    assert strategy_params(load(environ=named)).book_policy is LONG
    both = changed | {"PENSTOCK_STRATEGY_REFERENCE_POLICY": "default"}
    assert strategy_params(load(environ=both)).reference_policy == params.book_policy


def test_a_replay_is_told_apart() -> None:
    config = load(environ={})
    replayed = replace(config.sim, embedded=True, mode="replay")
    assert strategy_params(replace(config, sim=replayed)).mode is RunMode.REPLAY
    elsewhere = replace(config.sim, embedded=False, mode="replay")
    assert strategy_params(replace(config, sim=elsewhere)).mode is RunMode.PAPER


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("PENSTOCK_STRATEGY_VALID_MS", "100", "valid_ms"),
        ("PENSTOCK_PAPER_QUOTE_HALF_SPREAD", "0", "quote_half_spread"),
        ("PENSTOCK_PAPER_QUOTE_PX_MIN", "0.99", "quote_px_min"),
        ("PENSTOCK_PAPER_QUOTE_QTY", "-1", "quote_qty"),
        ("PENSTOCK_PAPER_QUOTE_QTY", "1e3", "quote_qty"),
        ("PENSTOCK_STRATEGY_STRIKE_MIN", "unknown", "strike_min"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(key: str, value: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        load(environ={key: value})


def test_without_a_book_store_no_depth_weighs_the_mid() -> None:
    config = load(environ={})
    assert strategy_params(config).micro_levels == config.strategy.micro_levels == 3
    off = replace(config, book_store=replace(config.book_store, enabled=False))
    assert strategy_params(off).micro_levels == 0
