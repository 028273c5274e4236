"""Which processes make up a running Penstock: roles, command lines, order. Pure.

The supervisor and the command line know processes by this table alone: command lines, not
modules. Start order is by `stage`, ascending: each stage waits until the one before is in RUN.
Stop order is the one that leaves no order resting: strategy, executor, feeds, sim.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from host.settings import Config

SUPERVISOR_ROLE = "supervisor"


@dataclass(frozen=True, slots=True)
class Part:
    """One process: its role (the name of its segment), how it is started, and when."""

    role: str
    command: tuple[str, ...]
    stage: int
    stop_stage: int
    check: tuple[str, ...] = ()
    """Ends with 0 if the process can do what its settings ask; run once before all starts."""


def plan(config: Config, config_path: str | None = None) -> tuple[Part, ...]:
    """List the processes of this configuration in the order they are started."""
    tail = ("--config", config_path) if config_path else ()

    def python(*words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", *words, *tail)

    check = python("sim", "--check") if config.sim.mode == "replay" else ()
    parts = [Part("sim", python("sim"), 0, 3, check)] if config.sim.embedded else []
    return (
        *parts,
        Part("feed.binance.0", python("feeds", "binance"), 1, 2),
        Part("feed.polymarket.0", python("feeds", "polymarket"), 1, 2),
        Part(config.strategy.role, python("strategy"), 2, 0),
        Part(config.executor.role, python("executor"), 3, 1),
    )
