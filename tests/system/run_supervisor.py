"""The real supervisor over dummies: `run_supervisor.py PARTS_FILE [options of the supervisor]`.

PARTS_FILE is JSON: a list of [role, stage, stop stage, [words for the dummy ...]]. Where DIE_AT
names a function, such as `host.child:Child.start`, it is killed in that function's place.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from functools import reduce
from pathlib import Path

from host import family, supervisor
from host.process import begin, guarded
from host.roles import SUPERVISOR_ROLE, Part

DUMMY = str(Path(__file__).with_name("dummy_role.py"))


def die_at(place: str) -> None:
    """Put death in the place of a function."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def main() -> int:
    if place := os.environ.get("DIE_AT"):
        die_at(place)
    parts = tuple(
        Part(role, (sys.executable, DUMMY, role, *words), stage, stop_stage)
        for role, stage, stop_stage, words in json.loads(Path(sys.argv[1]).read_text())
    )
    duration_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    assert not family.is_supervised()
    return supervisor.supervise(begin(SUPERVISOR_ROLE), parts, duration_s=duration_s)


if __name__ == "__main__":
    sys.exit(guarded(main))
