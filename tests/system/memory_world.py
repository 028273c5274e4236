"""What the memory suites share: records that convict themselves, and actors in real processes.

Every word of a record follows from its version, with all eight bytes changing from one version to
the next: a copy that mixes two records, at whatever byte, is not what its version says.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cache.layout import Record, tag_of
from tests.shm import own_namespace

ROOT = Path(__file__).resolve().parents[2]
ROLE = "feed.storm"
TAG = tag_of("test", "storm")
TAG_BYTES = TAG.to_bytes(8, "little")
PATIENCE_S = 120.0
"""How long anything may take before a test gives up: no measure of speed."""

_ODD = 0x9E37_79B9_7F4A_7C15
_COUNT = 4096
_MASK32 = 0xFFFFFFFF


def word_of(version: int) -> int:
    """The word all of a version's payload is made of."""
    return (version * _ODD) & 0x7FFF_FFFF_FFFF_FFFF


class Payload:
    """Values to publish, and the bytes they must be read as, for each version of a record type."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.values = [self._values(version) for version in range(_COUNT)]
        self.bodies = [self._body(version) for version in range(_COUNT)]

    def _values(self, version: int) -> tuple[int, ...]:
        word = word_of(version).to_bytes(8, "little")
        found = []
        for field in self.record.fields[3:]:
            if field.name == "reserved":
                continue
            at = self.record.offsets[field.name] % 8
            found += [int.from_bytes(word[at : at + field.width], "little")] * field.count
        return tuple(found)

    def _body(self, version: int) -> bytes:
        tail = (b"",) if self.record.fields[-1].name == "reserved" else ()
        return self.record.struct.pack(0, 0, 0, *self._values(version), *tail)[16:]

    def of(self, version: int) -> tuple[int, ...]:
        """What to publish as this version; its generation is `version & 0xFFFFFFFF`."""
        return self.values[version % _COUNT]

    def is_whole(self, raw: bytes, version: int) -> bool:
        """Whether these bytes are the record of this version and nothing else."""
        return (
            raw[16:] == self.bodies[version % _COUNT]
            and raw[12:16] == (version & _MASK32).to_bytes(4, "little")
            and raw[:8] == TAG_BYTES
        )


def use_twin(kind: str) -> Any:
    """Choose this process's boards before anything imports them: pure, core or steps."""
    os.environ["PENSTOCK_CORE"] = "0" if kind == "pure" else "1"
    if kind == "steps":
        spec = importlib.util.spec_from_file_location("_board_steps", os.environ["STEPS_BUILD"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["cache._board"] = module
    from cache import board, core, pure_board

    board.make_twin(core.core or pure_board)
    return core.core or pure_board


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, in whatever way."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@functools.cache
def steps_folder() -> tempfile.TemporaryDirectory[str]:
    """Build the core with step hooks, once; the folder goes when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="penstock-steps-")
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    command += ["--build-lib", folder.name, "--build-temp", f"{folder.name}/objects"]
    environment = os.environ | {"PENSTOCK_BUILD_STEPS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return folder


def twins(*kinds: str) -> list[str]:
    """Those of the twins that this machine has: without the core, the pure one alone."""
    from cache.core import find  # Not before use_twin() has chosen.

    return [kind for kind in kinds if kind == "pure" or find("")[0] is not None]


def environment_of(twin: str) -> dict[str, str]:
    if twin != "steps":
        return dict(os.environ)
    build = next(Path(steps_folder().name).rglob("_board_steps*.so"))
    return os.environ | {"STEPS_BUILD": str(build)}


class Actor:
    """A process that plays a part of `memory_actor.py` and reports in lines of JSON."""

    patience_s = PATIENCE_S

    def __init__(self, part: str, *words: object, twin: str = "pure", **options: object) -> None:
        command = [sys.executable, "-m", "tests.system.memory_actor", part, "--twin", twin]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self.part = part
        self._process = subprocess.Popen(
            [*command, *map(str, words)],
            cwd=ROOT,
            env=environment_of(twin),
            stdout=subprocess.PIPE,
        )
        self._said = b""
        self.pid = self._process.pid

    def report(self) -> Any:
        """The next line it says; fails when it ends, or takes far too long, without a word."""
        assert self._process.stdout is not None
        limit = time.monotonic() + self.patience_s
        while b"\n" not in self._said:
            left = max(0.0, limit - time.monotonic())
            ready = select.select([self._process.stdout], [], [], left)[0]
            assert ready, f"{self.part} said nothing for {self.patience_s} s"
            more = os.read(self._process.stdout.fileno(), 65536)
            assert more, f"{self.part} ended with {self.wait()} and no report"
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(PATIENCE_S)

    def end(self) -> Any:
        """Ask it to stop and take its last report."""
        self._process.terminate()
        found = self.report()
        assert self.wait() == 0
        return found

    def kill(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Stage:
    """A namespace of its own with the actors of one test; leaves no process behind."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.actors: list[Actor] = []

    def play(self, part: str, *words: object, twin: str = "pure", **options: object) -> Actor:
        made = Actor(part, *words, twin=twin, namespace=self.namespace, **options)
        self.actors.append(made)
        return made

    def clear(self) -> None:
        for actor in self.actors:
            actor.kill()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    with own_namespace() as name:
        made = Stage(name)
        try:
            yield made
        finally:
            made.clear()


def wait_for(what: Callable[[], object]) -> None:
    """Wait until something is true, as long as it takes."""
    limit = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.002)
