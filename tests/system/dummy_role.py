"""A process that does nothing but what a test tells it to, inside the real frame.

It writes a line to its journal when it starts and when it halts. Told to, it crashes at the next
poll, hangs (deaf: where no signal reaches it), halts slowly, or refuses its configuration;
`--once FILE` makes that happen only if FILE is not there yet.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from cache.layout import BBO, BoardSpec, State
from cache.segment import WriterSegment
from host.config import ConfigError
from host.process import begin, claim, guarded, run_async, run_role

BOARDS = (BoardSpec("bbo", BBO, 4, 4),)


class Dummy:
    def __init__(self, options: argparse.Namespace) -> None:
        self.name = options.role
        self._do = options.do
        self._journal = Path(options.journal)
        self._delay_s = options.start_s

    def note(self, what: str) -> None:
        with self._journal.open("a") as file:
            file.write(f"{what} {self.name} {os.getpid()}\n")

    def on_start(self, now_ns: int) -> None:
        time.sleep(self._delay_s)
        self.note("start")

    def poll(self, now_ns: int) -> int:
        if self._do == "crash":
            raise AssertionError("told to crash")
        if self._do == "die":
            os._exit(7)
        if self._do == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self._do in ("hang", "deaf"):
            time.sleep(0.1)
        return 0

    def on_halt(self, now_ns: int) -> None:
        while self._do == "never_halt":
            time.sleep(0.1)
        self.note("halt")

    async def live(self, segment: WriterSegment) -> None:
        self.on_start(0)
        segment.set_state(State.RUN)
        try:
            while True:
                self.poll(0)
                await asyncio.sleep(0.02)
        finally:
            self.on_halt(0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("--config")
    parser.add_argument("--journal", default="/dev/null")
    parser.add_argument("--do", default="run")
    parser.add_argument("--once")
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--asyncio", action="store_true")
    options = parser.parse_args()
    if options.once:
        if Path(options.once).exists():
            options.do = "run"
        else:
            Path(options.once).touch()
    if options.do == "refuse":
        raise ConfigError(["told to refuse"])
    config = begin(options.role, options.config)
    segment = claim(config, options.role, BOARDS)
    dummy = Dummy(options)
    if options.asyncio:
        return run_async(segment, dummy.live(segment), config, self_ready=True)
    return run_role(segment, dummy, config)


if __name__ == "__main__":
    sys.exit(guarded(main))
