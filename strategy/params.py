"""From the configuration to the parameters of the maker: text to exact integers, units to ns.

The only place that knows both the keys of penstock.toml and what the strategy calls them. Ranges
are the configuration's business; a value that came this far is in its range.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.book_access import policy_named
from cache.gate import Policy
from cache.layout import Provenance
from host.settings import Config
from strategy.market_maker import MakerParams
from strategy.quoting import QuoteParams
from strategy.reference import BasisParams
from strategy.strategy_cache import RunMode
from venue.decimals import E9, parse_e9

_NS = 1_000_000_000
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class StrategyParams:
    """Everything a strategy process is told."""

    strategy_id: str
    families: frozenset[str]
    mode: RunMode
    maker: MakerParams
    basis: BasisParams
    book_policy: Policy
    reference_policy: Policy
    lag_ns: int
    features_age_ns_max: int
    micro_levels: int
    """Levels a side whose sizes weigh the market's mid; 0 where no depth is read."""
    interval_ns: int
    bell_interval_ns: int | None
    """Least time between two runs on a bell; None where bells do not matter."""
    has_warmup: bool
    warmup_timeout_ns: int
    warmup_fraction: float


def strategy_params(config: Config) -> StrategyParams:
    """Read the parameters out of a configuration."""
    told = config.strategy
    replayed = config.sim.embedded and config.sim.mode == "replay"
    return StrategyParams(
        strategy_id=told.id,
        families=frozenset(told.families),
        mode=RunMode.REPLAY if replayed else RunMode.PAPER,
        maker=_maker(config),
        basis=BasisParams(
            half_life_s=told.basis_half_life_s,
            sd_floor_bps=told.basis_sd_floor_bps,
            sd_max_bps=told.basis_sd_max_bps,
            max_bps=told.basis_max_bps,
            age_s_max=told.basis_age_s_max,
            sd_unknown_bps=told.basis_sd_unknown_bps,
            fade_s=told.basis_fade_s,
        ),
        book_policy=policy_named(told.book_policy, config.book_store.default_max_stale_ms),
        reference_policy=policy_named(
            told.reference_policy, config.book_store.default_max_stale_ms
        ),
        lag_ns=round(told.twap_lag_s * _NS),
        features_age_ns_max=told.features_age_ms_max * _MS,
        micro_levels=told.micro_levels if config.book_store.enabled else 0,
        interval_ns=round(_NS / told.rate_hz),
        bell_interval_ns=told.bell_interval_ms_min * _MS if told.trigger == "bell" else None,
        has_warmup=config.book_store.enabled,
        warmup_timeout_ns=config.book_store.warmup_timeout_ms * _MS,
        warmup_fraction=config.book_store.warmup_min_ready_fraction,
    )


def _maker(config: Config) -> MakerParams:
    told = config.strategy
    return MakerParams(
        quote=_quote(config),
        market_weight=told.market_weight,
        market_spread_max_e9=parse_e9(told.market_spread_max),
        disagreement_max_e9=parse_e9(told.disagreement_max),
        open_before_ns=round(told.open_before_s * _NS),
        out_before_ns=round(told.out_before_s * _NS),
        valid_ns=told.valid_ms * _MS,
        keep_ns_max=told.keep_ms_max * _MS,
        strike_min=Provenance[told.strike_min.upper()],
        sigma_sample_count_min=told.sigma_sample_count_min,
        shock_z=told.shock_z,
    )


def _quote(config: Config) -> QuoteParams:
    """Take what decides money, which only the [paper] section has."""
    money = config.paper
    return QuoteParams(
        qty_e9=parse_e9(money.quote_qty),
        position_qty_max_e9=parse_e9(money.quote_position_qty_max),
        half_spread_e9=parse_e9(money.quote_half_spread),
        widen_e9=round(money.quote_widen_ratio * E9),
        skew_e9=parse_e9(money.quote_skew),
        hysteresis_e9=round(config.strategy.hysteresis_ticks * E9),
        px_min_e9=parse_e9(money.quote_px_min),
        px_max_e9=parse_e9(money.quote_px_max),
    )
