"""The optional C core of the books, found once: `core` is the module `feeds._book`, or None.

It is chosen as that of the boards is (`cache/core.py`): `PENSTOCK_CORE=0` leaves it out and its
pure-Python twin runs, `PENSTOCK_CORE=1` demands it. Where there is none, `absence` says why.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from cache.core import core as boards


def find(wish: str) -> tuple[ModuleType | None, str]:
    """The core, or None and why it is left out. `wish` is "0", "1" or "" (if it is there).

    Raises ImportError when it is demanded and missing.
    """
    if wish == "0":
        return None, "PENSTOCK_CORE=0"
    try:
        found = importlib.import_module("feeds._book")
    except ImportError as fault:
        if wish == "1":
            raise
        return None, str(fault)
    if boards is None and wish != "1":
        return None, "it publishes through the C core of the boards, which is left out"
    return found, ""


core, absence = find(os.environ.get("PENSTOCK_CORE", ""))
