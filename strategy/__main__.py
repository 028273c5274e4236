"""Runs the strategy: `python -m strategy [--config FILE]`."""

from __future__ import annotations

import argparse
import sys

from host.process import begin, claim, guarded, run_role
from strategy.inputs import Inputs
from strategy.params import strategy_params
from strategy.runner import SleepUntilDue, StrategyRunner, strategy_boards, strategy_role


def main() -> int:
    """Read the configuration, claim the role, and quote until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy",
        description="Quotes up/down markets on what the feeds put into shared memory.",
        epilog="Example: python -m strategy --config penstock.toml",
    )
    parser.add_argument("--config", help="configuration file over the shipped one")
    arguments = parser.parse_args()
    config = begin(lambda read: read.strategy.role, arguments.config)
    params = strategy_params(config)
    segment = claim(
        config,
        strategy_role(params.strategy_id),
        strategy_boards(config.feeds.polymarket.market_slots),
    )
    inputs = Inputs(
        account=config.executor.account,
        families=params.families,
        namespace=config.host.namespace,
        counters=segment.counters,
        has_depth=params.micro_levels > 0,
    )
    runner = StrategyRunner(segment, params, inputs)
    if params.bell_interval_ns is None and config.host.idle == "park":
        return run_role(segment, runner, config, idle=SleepUntilDue([]))
    return run_role(segment, runner, config, bells=runner.bells)


if __name__ == "__main__":
    sys.exit(guarded(main))
