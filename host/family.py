"""What a child of the supervisor knows of it: whether it has one, whether that one has died.

The supervisor starts each child with its own pid in PENSTOCK_SUPERVISOR. The child's frame asks the
kernel for SIGHUP when that parent dies (`tie`), and looks again with every heartbeat. An orphan
halts, and removes the segments of the family as far as their writers are gone, so that the last
one out leaves nothing in shared memory. Taking a segment's lock is what proves its writer gone. A
sibling that has not halted in time, because it is stopped or hangs where no signal is handled, is
killed: the segment names its pid, and its environment, read while that pid cannot change hands,
proves that the same supervisor started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from cache import segment
from cache.errors import SegmentError
from cache.segment import ReaderSegment
from host.roles import SUPERVISOR_ROLE, plan
from host.settings import Config

VARIABLE = "PENSTOCK_SUPERVISOR"

DEATH_SIGNAL = signal.SIGHUP
"""What the kernel sends when the supervisor dies; a group of its own gets no other SIGHUP."""

SETTLE_S = 1.0
"""The kernel may tell of a death this long before it frees the locks of the dead, and its pid."""
STEP_S = 0.01

_PR_SET_PDEATHSIG = 1


class _Family:
    """The one fact: pid of the supervisor that started this process; 0 when none did."""

    supervisor_pid = 0


def tie() -> None:
    """Ask for SIGHUP when the supervisor goes. Idempotent.

    The variable is taken out of the environment: a process started from here is no child of the
    supervisor. The signal ends nothing by itself: whoever gets it has things to remove.
    """
    parent = os.environ.pop(VARIABLE, "")
    if not parent.isdigit():
        return
    _Family.supervisor_pid = int(parent)
    signal.signal(DEATH_SIGNAL, _note)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, DEATH_SIGNAL, 0, 0, 0)


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the next housekeeping sees that this is an orphan."""


def refuse_orphan(config: Config) -> None:
    """Do not start without the supervisor that started this process; leave nothing behind either.

    It may be the last of its family: then what the others left is its to remove.
    """
    if is_orphan():
        sweep(config)
        parent = _Family.supervisor_pid
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
    limit_s = time.monotonic() + SETTLE_S
    while is_supervised() and not is_orphan() and time.monotonic() < limit_s:
        time.sleep(STEP_S)
    return is_orphan()


def sweep(config: Config) -> list[str]:
    """Remove each segment of the family whose writer is gone; give the roles that still live.

    Siblings are waited for as long as a halt may take, then killed; others are left alone.
    """
    namespace = config.host.namespace
    alive = [*(part.role for part in plan(config)), SUPERVISOR_ROLE]
    settled_s = time.monotonic() + SETTLE_S
    late_s = settled_s + config.supervisor.stop_timeout_s
    while True:
        alive = [role for role in alive if not _removed(role, namespace)]
        number = signal.SIGCONT if time.monotonic() < late_s else signal.SIGKILL
        waits = [role for role in alive if signal_writer(role, namespace, number, _is_sibling)]
        if not alive or time.monotonic() > (late_s + SETTLE_S if waits else settled_s):
            return alive
        time.sleep(STEP_S)


def signal_writer(role: str, namespace: str, number: int, chosen: Callable[[int], bool]) -> bool:
    """Signal the process that a segment names, if it is one of the `chosen`; say whether it was."""
    try:
        pid = ReaderSegment.attach(role, namespace=namespace).pid
        handle = os.pidfd_open(pid)
    except (SegmentError, OSError):
        return False
    try:  # The handle stays with this process, whoever gets its number afterwards.
        if pid == os.getpid() or not chosen(pid):
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def supervisor_of(pid: int) -> int:
    """The supervisor that started a process, dead or alive; 0 when none did. Raises OSError."""
    for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = word.partition(b"=")
        if name == VARIABLE.encode() and value.isdigit():
            return int(value)
    return 0


def is_left_behind(pid: int) -> bool:
    """Whether a process outlived the supervisor that started it. Raises OSError."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return supervisor_of(pid) not in (0, parent)


def _is_sibling(pid: int) -> bool:
    return supervisor_of(pid) == _Family.supervisor_pid != 0


def _removed(role: str, namespace: str) -> bool:
    try:
        segment.remove(role, namespace=namespace)
    except SegmentError:
        return False
    return True
