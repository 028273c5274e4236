"""An executor's start that kills itself before its n-th store; started as a process by tests."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from cache.segment import WriterSegment
from executor.boards import specs
from executor.params import executor_params
from executor.runner import Executor
from host.config import load


class Deadly:
    """A board whose stores are counted together with those of the others."""

    left = 0

    def __init__(self, board: Any) -> None:
        self._board = board

    def __getattr__(self, name: str) -> Any:
        return getattr(self._board, name)

    def publish(self, *arguments: Any) -> int:
        self.strike()
        made: int = self._board.publish(*arguments)
        return made

    def publish_tagged(self, *arguments: Any) -> int:
        self.strike()
        made: int = self._board.publish_tagged(*arguments)
        return made

    @classmethod
    def strike(cls) -> None:
        cls.left -= 1
        if cls.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(step: int) -> None:
    """Start as the executor does, up to RUN, unless the step is met."""
    params = executor_params(load())
    segment = WriterSegment.create(
        params.role, specs(params.market_slots, params.order_slots), namespace=params.namespace
    )
    role = Executor(segment, params)
    Deadly.left = step
    for name in ("_positions", "_orders", "_fills"):
        setattr(role._boards, name, Deadly(getattr(role._boards, name)))
    role.on_start(time.monotonic_ns())


if __name__ == "__main__":
    main(int(sys.argv[1]))
