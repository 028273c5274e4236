"""From the configuration to what an executor process is told: text to exact integers, ms to ns.

The only place that knows both the keys of penstock.toml and what the executor calls them. Ranges
are the configuration's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.book_access import policy_named
from cache.gate import Policy
from executor.paper import Latency, PaperParams
from executor.risk import Limits
from host.clock import NS_PER_MS, NS_PER_S
from host.settings import Config
from venue.decimals import parse_e9

HALT_SHARE = 0.6
"""How much of the time that a process may take to stop is spent on waiting for cancels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorParams:
    """Everything an executor process is told."""

    role: str
    namespace: str
    strategies: tuple[str, ...]
    market_slots: int
    order_slots: int
    policy: Policy
    suspect_ns: int
    halt_ns: int
    limits: Limits
    paper: PaperParams


def executor_params(config: Config) -> ExecutorParams:
    """Read the parameters out of a configuration."""
    told = config.executor
    return ExecutorParams(
        role=f"executor.{told.account}",
        namespace=config.host.namespace,
        strategies=told.strategies,
        market_slots=told.market_slots,
        order_slots=told.order_slots,
        policy=policy_named(told.policy, config.book_store.default_max_stale_ms),
        suspect_ns=told.suspect_ms * NS_PER_MS,
        halt_ns=int(config.supervisor.stop_timeout_s * HALT_SHARE * NS_PER_S),
        limits=_limits(config),
        paper=_paper(config),
    )


def _limits(config: Config) -> Limits:
    money, rates = config.paper, config.executor
    return Limits(
        px_min_e9=parse_e9(money.px_min),
        px_max_e9=parse_e9(money.px_max),
        order_qty_max_e9=parse_e9(money.order_qty_max),
        market_qty_max_e9=parse_e9(money.market_qty_max),
        market_loss_max_e9=parse_e9(money.market_loss_max),
        total_loss_max_e9=parse_e9(money.total_loss_max),
        orders_open_max=money.orders_open_max,
        orders_per_s=rates.orders_per_s,
        orders_burst=rates.orders_burst,
        cancels_per_s=rates.cancels_per_s,
        cancels_burst=rates.cancels_burst,
    )


def _paper(config: Config) -> PaperParams:
    told = config.paper
    return PaperParams(
        seed=told.fill_seed,
        place=Latency(told.place_latency_ms_p50 * NS_PER_MS, told.place_latency_ms_p99 * NS_PER_MS),
        cancel=Latency(
            told.cancel_latency_ms_p50 * NS_PER_MS, told.cancel_latency_ms_p99 * NS_PER_MS
        ),
        evidence_delay_ns=told.evidence_delay_ms * NS_PER_MS,
        persist_ns=told.persist_ms * NS_PER_MS,
    )
