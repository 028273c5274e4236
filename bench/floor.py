"""What memory alone costs: a bare loop in C over as much of it, beside what is measured.

The loop (`_floor.c`) is compiled when it is asked for and runs in turns with what it stands beside,
so both meet the machine in the same mood. Where there is no C compiler there is no floor.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SOURCE = Path(__file__).with_name("_floor.c")
PER_NS = 0.8
"""Multiplications that wait for one another, in a nanosecond of a processor of today."""

DEPTH: Final = (400, ((12, 6144, 8),))
"""Nanoseconds of other work; and lines, stride, cells: a `Depth` into a ring of eight."""
FRAME: Final = (
    1_200,
    (
        (1, 64, 1), (2, 128, 1), (3, 320, 1), (3, 256, 1), (3, 256, 1),  # its names and numbers
        (3, 832, 1), (3, 832, 1), (3, 832, 1), (3, 832, 1),  # the best levels of four sides
        (1, 64, 1), (4, 2048, 8),  # its version and tenant, and the next cell
    ),
)  # fmt: skip
"""The same of a frame of two levels, by the market."""

Work = tuple[int, tuple[tuple[int, int, int], ...]]


class Floor:
    """A loop over the memory of so many markets; `run` gives the nanoseconds of some steps."""

    def __init__(self, markets: int, work: Work, *, steps: int) -> None:
        """Raises OSError where it cannot be compiled."""
        work_ns, places = work
        self._library = _library()
        flat = [number for place in places for number in place]
        self._floor = self._library.floor_new(
            markets, len(places), (ctypes.c_int * len(flat))(*flat)
        )
        if not self._floor:
            raise OSError("there is no memory for the bare loop")
        self._steps, self._work = steps, int(work_ns * PER_NS)

    def run(self) -> int:
        return int(self._library.floor_run(self._floor, self._steps, self._work))

    def close(self) -> None:
        self._library.floor_free(self._floor)


def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "floor.so"
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(path), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"cc failed: {done.stderr.strip()[:200]}")
        library = ctypes.CDLL(str(path))
    library.floor_new.restype = ctypes.c_void_p
    library.floor_free.argtypes = (ctypes.c_void_p,)
    library.floor_run.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    library.floor_run.restype = ctypes.c_int64
    return library
