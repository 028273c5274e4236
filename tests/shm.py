"""Namespaces for tests: each its own, and nothing of it left in shared memory afterwards.

A name holds the pid of the run that made it, so that what a killed run left behind can be told from
what a run beside this one uses.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from cache.liveness import is_locked

PREFIX = "penstock-test-"
_numbers = itertools.count()


def sweep_dead() -> None:
    """Unlink what killed runs left, as far as no living process writes it."""
    for path in Path("/dev/shm").glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        lock = f"{str(path).removesuffix('.lock')}.lock"
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and not is_locked(lock):
            _drop(path)


def sweep(namespace: str) -> None:
    """Unlink whatever lies in shared memory under a namespace, whole or not."""
    for path in Path("/dev/shm").glob(f"{namespace}.*"):
        _drop(path)


def _drop(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def own_namespace() -> Iterator[str]:
    """Give a name that nobody else on this host has, and sweep it in the end."""
    name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
    try:
        yield name
    finally:
        sweep(name)
