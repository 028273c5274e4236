"""The optional C core, found once: `core` is the module `cache._board`, or None.

`PENSTOCK_CORE=0` leaves it out (the pure-Python twin runs instead), `PENSTOCK_CORE=1` demands it.
A core that was built for another byte layout is not used. Where there is none, `absence` says why.
"""

from __future__ import annotations

import importlib
import os
import platform
from types import ModuleType

from cache.errors import UnsupportedMachine
from cache.layout import LAYOUT_HASH


def find(wish: str) -> tuple[ModuleType | None, str]:
    """The core, or None and why it is left out. `wish` is "0", "1" or "" (if it is there).

    Raises ImportError when it is demanded and missing.
    """
    if wish == "0":
        return None, "PENSTOCK_CORE=0"
    try:
        found = importlib.import_module("cache._board")
        if found.LAYOUT_HASH != LAYOUT_HASH:
            raise ImportError(
                f"the C core was built for layout {found.LAYOUT_HASH:#x}, not {LAYOUT_HASH:#x}; "
                "build it again: python setup.py build_ext --inplace"
            )
    except ImportError as fault:
        if wish == "1":
            raise
        return None, str(fault)
    return found, ""


core, absence = find(os.environ.get("PENSTOCK_CORE", ""))


def require_ordered_stores() -> None:
    """Refuse the pure-Python boards where plain stores may be seen out of order.

    Raises UnsupportedMachine on any CPU but x86-64 (shm_layout.md §7).
    """
    if core is None and platform.machine() not in ("x86_64", "AMD64"):
        raise UnsupportedMachine(
            f"the CPU is {platform.machine()}; without the C core only x86-64 is supported "
            f"({absence}). Install a C compiler and Python headers, then run make again."
        )
