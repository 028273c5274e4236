"""What a child of the supervisor knows of it: whether it has one, whether that one has died.

The supervisor starts each child with its own pid in PENSTOCK_SUPERVISOR. The child's frame asks the
kernel for SIGHUP when that parent dies (`tie`), and looks again with every heartbeat. An orphan
halts, and removes the segments of the family as far as their writers are gone, so that the last
one out leaves nothing in shared memory. Taking a segment's lock is what proves its writer gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from cache import segment
from cache.errors import SegmentError
from host.roles import SUPERVISOR_ROLE, plan
from host.settings import Config

VARIABLE = "PENSTOCK_SUPERVISOR"

DEATH_SIGNAL = signal.SIGHUP
"""What the kernel sends when the supervisor dies; a session of its own gets no other SIGHUP."""

SWEEP_TRIES = 100
SWEEP_STEP_S = 0.01

_PR_SET_PDEATHSIG = 1


class _Family:
    """The one fact: pid of the supervisor that started this process; 0 when none did."""

    supervisor_pid = 0


def tie() -> None:
    """Die with the supervisor: SIGHUP when it goes; exit now if it has gone. Idempotent.

    The variable is taken out of the environment: a process started from here is no child of the
    supervisor.
    """
    parent = os.environ.pop(VARIABLE, "")
    if not parent.isdigit():
        return
    _Family.supervisor_pid = int(parent)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, DEATH_SIGNAL, 0, 0, 0)
    if is_orphan():
        sys.exit(f"the supervisor (pid {parent}) has gone; this process does not start without it")


def is_supervised() -> bool:
    """Whether this process was started by the supervisor."""
    return _Family.supervisor_pid != 0 or VARIABLE in os.environ


def is_orphan() -> bool:
    """Whether the supervisor that started this process has died. One system call."""
    return _Family.supervisor_pid not in (0, os.getppid())


def wait_orphaned() -> bool:
    """After the death signal: whether the supervisor has really gone.

    The signal comes when its main thread dies; until its last thread has, it is still the parent.
    """
    for _ in range(SWEEP_TRIES):
        if is_orphan() or not is_supervised():
            break
        time.sleep(SWEEP_STEP_S)
    return is_orphan()


def sweep(config: Config) -> list[str]:
    """Remove each segment of the family whose writer is gone; give the roles that still live.

    The kernel may tell of a death a little before it frees the locks of the dead: look again for
    a while.
    """
    alive = [*(part.role for part in plan(config)), SUPERVISOR_ROLE]
    for _ in range(SWEEP_TRIES):
        alive = [role for role in alive if not _removed(role, config.host.namespace)]
        if not alive:
            break
        time.sleep(SWEEP_STEP_S)
    return alive


def _removed(role: str, namespace: str) -> bool:
    try:
        segment.remove(role, namespace=namespace)
    except SegmentError:
        return False
    return True
