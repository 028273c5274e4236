"""What the operator sees while `penstock up` runs: a live page on a terminal, else status lines.

The view reads memory like any other tool and changes nothing. On a terminal the processes' own
lines go to files under [supervisor] log_dir, and the supervisor's newest stand on the page.
"""

from __future__ import annotations

import io
import sys
from collections import deque
from pathlib import Path
from typing import TextIO

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from host import log
from host.clock import NS_PER_S, wall_ns
from host.page import WindowPage
from host.roles import SUPERVISOR_ROLE
from host.settings import Config
from host.show import status_line
from host.survey import Survey
from host.trust import Judge

PAGE_NS = NS_PER_S
LINES_SHOWN = 6


class PlainView:
    """A status line every few seconds on stdout, with the new fills; or JSON for programs."""

    log_dir: Path | None = None

    def __init__(self, config: Config, *, json: bool = False) -> None:
        self._survey = Survey(config.host.namespace, Judge.of(config))
        self._json = json
        self._interval_ns = int(config.supervisor.status_interval_s * NS_PER_S)
        self._due_ns = 0
        self._fills_seen = 0

    def show(self, now_ns: int) -> None:
        """Write a line if one is due."""
        if now_ns < self._due_ns:
            return
        first, self._due_ns = self._due_ns == 0, now_ns + self._interval_ns
        if first:
            return
        now_wall_ns = wall_ns()
        picture = self._survey.take(now_ns, now_wall_ns)
        if self._json:
            print(msgspec.json.encode(picture).decode(), flush=True)
            return
        print(f"{log.stamp(now_wall_ns)} status  {status_line(picture)}", flush=True)
        for fill in picture.fills:
            if fill.fill_id > self._fills_seen:
                self._fills_seen = fill.fill_id
                print(
                    f"{log.stamp(now_wall_ns)} fill    {fill.side} {fill.outcome} {fill.market} "
                    f"{fill.qty_e9 / 1e9:g} at {fill.px_e9 / 1e9:g} "
                    f"{'maker' if fill.is_maker else 'taker'}",
                    flush=True,
                )

    def close(self) -> None:
        """Nothing to give back."""


class _Tail(io.TextIOBase):
    """Takes the supervisor's own log lines: into its file, and the last few for the page."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self.lines: deque[str] = deque(maxlen=LINES_SHOWN)

    def write(self, text: str) -> int:
        self.lines.append(text.rstrip())
        return self._file.write(text)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class LiveView:
    """A page that is drawn anew once a second."""

    def __init__(self, config: Config) -> None:
        self.log_dir = Path(config.supervisor.log_dir)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._tail = _Tail(self.log_dir / f"{SUPERVISOR_ROLE}.log")
        self._previous: TextIO | None = log.SINK.stream
        log.SINK.stream = self._tail  # type: ignore[assignment]
        self._survey = Survey(config.host.namespace, Judge.of(config))
        self._due_ns = 0
        self._live = Live(Text("starting"), console=Console(), auto_refresh=False)
        self._live.start()

    def show(self, now_ns: int) -> None:
        """Draw the page if it is due."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + PAGE_NS
        picture = self._survey.take(now_ns, wall_ns())
        hint = f"Ctrl-C stops everything in order; logs are in {self.log_dir}/"
        self._live.update(WindowPage(picture, hint, logs=self._tail.lines), refresh=True)

    def close(self) -> None:
        """Leave the last page standing and give the terminal back."""
        self._live.stop()
        log.SINK.stream = self._previous
        for line in self._tail.lines:
            print(line, file=sys.stderr)
        self._tail.close()


def open_view(config: Config, look: str) -> PlainView | LiveView:
    """Choose the view: "live", "plain" or "json"."""
    return LiveView(config) if look == "live" else PlainView(config, json=look == "json")
