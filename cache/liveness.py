"""Liveness of a writer, judged from outside: a property at read time, never stored.

The heartbeat only informs. What tells a stopped writer from a dead one is the lock that the kernel
holds for the living (shm_layout.md §8).
"""

from __future__ import annotations

import fcntl
import os
import struct
from enum import IntEnum

from cache.layout import State

STALE_NS = 500_000_000
"""A heartbeat older than this is stale; writers beat every 100 to 200 ms."""

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of x86-64 and AArch64: l_type, l_whence, l_start, l_len, l_pid."""


class Liveness(IntEnum):
    """What a reader knows of a writer, worst first."""

    WRITER_DEAD = 0
    STALLED = 1
    FAILED = 2
    RETIRED = 3
    HALTED = 4
    BOOT = 5
    LIVE = 6


def lock_whole(descriptor: int) -> bool:
    """Take the file's open-file-description write lock; False when somebody else has it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_locked(path: str) -> bool:
    """Whether a living process holds the lock file `path`; a read-only descriptor is enough."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe has no end
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # Not ours to ask: stopped is the milder word, and nothing quotes on either.
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
        kind: int = _FLOCK.unpack(answer)[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(descriptor)


_SAID: dict[int, Liveness] = {
    State.BOOT: Liveness.BOOT,
    State.RUN: Liveness.LIVE,
    State.HALT: Liveness.HALTED,
    State.FAIL: Liveness.FAILED,
    State.RETIRED: Liveness.RETIRED,
}


def judge(state: int, heartbeat_ns: int, now_ns: int, lock_path: str) -> Liveness:
    """Liveness from the header's words; asks the kernel only when the heartbeat is stale.

    A heartbeat in the future is stale too: a negative age is never fresh.
    """
    said = _SAID.get(state)
    if said is None:
        return Liveness.WRITER_DEAD
    if said == Liveness.RETIRED or 0 <= now_ns - heartbeat_ns <= STALE_NS:
        return said
    if is_locked(lock_path):
        return Liveness.STALLED
    return said if said in (Liveness.HALTED, Liveness.FAILED) else Liveness.WRITER_DEAD
