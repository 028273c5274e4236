"""A venue with the markets of two coins, as a process: two models on one port.

    python -m tests.system.two_coins PORT

`penstock.toml` cannot ask the simulated venue for that: it serves the one family of its model.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

from sim.frames import SimFrame
from sim.model_source import ModelSource
from sim.params import ModelParams
from sim.server import ServerOptions, SimServer

OTHER = ModelParams(
    symbol="ETHUSDT", family="eth-updown-5m", bolt_symbol="ethusd",
    price_usd=30_000, volatility_usd=3.0, basis_usd=8.0,
)  # fmt: skip


class TwoCoins:
    """Each question goes to the one who knows an answer. A `sim.source.Source`."""

    def __init__(self, wall_ns: int) -> None:
        self._coins = [ModelSource(1, wall_ns), ModelSource(2, wall_ns, OTHER)]

    def start(self, wall_ns: int) -> None:
        for coin in self._coins:
            coin.start(wall_ns)

    def due(self, wall_ns: int) -> Sequence[SimFrame]:
        found = [frame for coin in self._coins for frame in coin.due(wall_ns)]
        return sorted(found, key=lambda frame: frame.t_ns)

    def venue_ns(self, wall_ns: int) -> int:
        return wall_ns

    def symbols(self) -> tuple[str, ...]:
        return tuple(symbol for coin in self._coins for symbol in coin.symbols())

    def describe(self, wall_ns: int) -> dict[str, Any]:
        return self._coins[0].describe(wall_ns)

    def __getattr__(self, name: str) -> Any:
        def ask(*words: Any, **more: Any) -> Any:
            answers = (getattr(coin, name)(*words, **more) for coin in self._coins)
            return next((answer for answer in answers if answer), None)

        return ask


async def serve(port: int) -> None:
    server = SimServer(TwoCoins(time.time_ns()), ServerOptions(port=port))
    await server.start()
    print("ready", flush=True)
    await server.run()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
