"""Stops a running supervisor and removes the segments: `penstock down`.

A segment is removed only while its lock is held, so never under a living writer. Signals are sent
only to the process that is seen to hold the supervisor's lock file open, and to what outlived the
supervisor that started it: asked to halt, killed if it does not. What was started by hand and still
lives is named, not killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from cache import segment as segments
from cache.errors import SegmentError
from cache.liveness import is_locked
from cache.segment import ReaderSegment
from host.family import is_left_behind, signal_writer
from host.roles import SUPERVISOR_ROLE

STEP_S = 0.05
KILL_STEPS = 40
"""Steps in which a killed process must have gone."""


def down(namespace: str, timeout_s: float) -> tuple[list[str], list[str]]:
    """Stop and remove; give the roles that were removed, and what stands in the way of others."""
    before = segments.roles(namespace)
    troubles = []
    if not stop_supervisor(namespace, timeout_s):
        troubles.append(f"{SUPERVISOR_ROLE}: still stopping after {timeout_s:g} s; try again")
    stop_orphans(namespace, timeout_s)
    for role in segments.roles(namespace):
        try:
            segments.remove(role, namespace=namespace)
        except SegmentError as error:
            troubles.append(str(error))
    left = segments.roles(namespace)
    return [role for role in before if role not in left], troubles


def stop_supervisor(namespace: str, timeout_s: float) -> bool:
    """Ask the supervisor to stop, and wait until it has; True when none runs any more."""
    lock = f"{segments.segment_path(namespace, SUPERVISOR_ROLE)}.lock"
    if not is_locked(lock):
        return True
    pid = _holder(namespace, lock)
    if pid:
        for number in (signal.SIGTERM, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    limit = time.monotonic() + timeout_s
    while is_locked(lock):
        if time.monotonic() > limit:
            return False
        time.sleep(STEP_S)
    return True


def stop_orphans(namespace: str, timeout_s: float) -> None:
    """Have what a dead supervisor left behind halt in order, and kill what has not in time.

    Under a living supervisor there is nothing left behind.
    """
    limit = time.monotonic() + timeout_s
    kills = 0
    while kills < KILL_STEPS:
        late = time.monotonic() > limit
        kills += late
        numbers = (signal.SIGKILL,) if late else (signal.SIGTERM, signal.SIGCONT)
        left = [
            role
            for role in segments.roles(namespace)
            for number in numbers
            if is_locked(f"{segments.segment_path(namespace, role)}.lock")
            and signal_writer(role, namespace, number, is_left_behind)
        ]
        if not left:
            return
        time.sleep(STEP_S)


def _holder(namespace: str, lock: str) -> int:
    """The pid of the supervisor, if that process has the lock file open; else 0."""
    try:
        pid = ReaderSegment.attach(SUPERVISOR_ROLE, namespace=namespace).pid
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except (SegmentError, OSError):
        return 0
    for link in links:
        with contextlib.suppress(OSError):  # Some are closed by now.
            if os.readlink(link) == lock:
                return pid
    return 0
