"""Runs the executor: `python -m executor [--config FILE]`."""

from __future__ import annotations

import argparse
import sys

from executor.boards import specs
from executor.params import executor_params
from executor.runner import Executor
from host.process import begin, claim, guarded, run_role


def main() -> int:
    """Read the configuration, claim the account, and trade until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m executor",
        description="Turns the target quotes of strategies into orders, fills and positions.",
        epilog="Example: python -m executor --config penstock.toml",
    )
    parser.add_argument("--config", help="configuration file over the shipped one")
    config = begin(lambda read: read.executor.role, parser.parse_args().config)
    params = executor_params(config)
    segment = claim(config, params.role, specs(params.market_slots, params.order_slots))
    role = Executor(segment, params)
    return run_role(segment, role, config, bells=role.bells)


if __name__ == "__main__":
    sys.exit(guarded(main))
