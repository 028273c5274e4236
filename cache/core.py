"""The optional C core, found once: `core` is the module `cache._board`, or None.

`PENSTOCK_CORE=0` leaves it out (the pure-Python twin runs instead), `PENSTOCK_CORE=1` demands it.
"""

from __future__ import annotations

import importlib
import os
import platform
from types import ModuleType

from cache.errors import UnsupportedMachine


def _find() -> ModuleType | None:
    wish = os.environ.get("PENSTOCK_CORE", "")
    if wish == "0":
        return None
    try:
        return importlib.import_module("cache._board")
    except ImportError:
        if wish == "1":
            raise
        return None


core = _find()


def require_ordered_stores() -> None:
    """Refuse the pure-Python boards where plain stores may be seen out of order.

    Raises UnsupportedMachine on any CPU but x86-64 (shm_layout.md §7).
    """
    if core is None and platform.machine() not in ("x86_64", "AMD64"):
        raise UnsupportedMachine(
            f"the CPU is {platform.machine()}; without the C core only x86-64 is supported. "
            "Install a C compiler and Python headers, then run make again."
        )
