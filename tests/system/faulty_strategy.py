"""A strategy whose signal worker raises while a file is there; started as a process by tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from host.process import guarded
from strategy import market_maker
from strategy.__main__ import main

FILE = Path(os.environ["FAULT_FILE"])
price = market_maker._signal


def price_or_raise(*arguments: Any) -> Any:
    """Price a market, or fail as a bug would."""
    if FILE.exists():
        raise ZeroDivisionError("a worker raised")
    return price(*arguments)


if __name__ == "__main__":
    market_maker._signal = price_or_raise
    sys.exit(guarded(main))
