"""Structured logs: event name first, then key=value, one line each on stderr.

INFO tells an operator's story (started, connected, warmed up, stale, halted); what happens per
message is DEBUG, and off. A warning or error that repeats is collapsed: the first is written at
once, the others are counted and written as one line with count, first and last time. It never
raises: a full disk or a closed pipe must not stop a process that has orders out.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TextIO

from host.clock import NS_PER_S

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_NAMES = {number: name.upper() for name, number in LEVELS.items()}

COLLAPSE_NS = 10 * NS_PER_S
"""A fault that comes again within this time of its last line is counted, not written."""

REPEATS_MAX = 256
"""Different faults remembered at once; the oldest is written and forgotten."""


class _Repeat:
    """What has been held back of one fault."""

    __slots__ = ("count", "first_ns", "last_ns", "level", "line_ns", "text")

    def __init__(self, now_ns: int) -> None:
        self.line_ns = now_ns
        self.count = 0
        self.first_ns = self.last_ns = now_ns
        self.level, self.text = WARNING, ""


class Sink:
    """Where the lines of this process go; all its loggers share one."""

    def __init__(self) -> None:
        self.level = INFO
        self.role = ""
        self.stream: TextIO | None = None
        self.clock: Callable[[], int] = time.time_ns
        self._repeats: dict[tuple[str, str], _Repeat] = {}

    def write(self, level: int, now_ns: int, text: str) -> None:
        """Write one line, at once; a line that cannot be written is lost."""
        line = f"{stamp(now_ns)} {_NAMES[level]:<7} {self.role} {text}\n"
        with contextlib.suppress(OSError, ValueError):
            stream = self.stream or sys.stderr
            stream.write(line)
            stream.flush()

    def fault(self, level: int, key: tuple[str, str], text: str) -> None:
        """Write a warning or error, or count it when it has just been written."""
        now_ns = self.clock()
        held = self._repeats.get(key)
        if held is None or (held.count == 0 and now_ns - held.line_ns >= COLLAPSE_NS):
            self._repeats.pop(key, None)
            while len(self._repeats) >= REPEATS_MAX:
                oldest = next(iter(self._repeats))
                self._release(oldest, self._repeats.pop(oldest), now_ns)
            self._repeats[key] = _Repeat(now_ns)
            self.write(level, now_ns, text)
            return
        if held.count == 0:
            held.first_ns = now_ns
        held.count += 1
        held.last_ns, held.level, held.text = now_ns, level, text
        if now_ns - held.line_ns >= COLLAPSE_NS:
            self._release(key, held, now_ns)

    def flush(self, *, everything: bool = False) -> None:
        """Write what has been held back long enough; the frame calls it from its housekeeping."""
        now_ns = self.clock()
        for key, held in list(self._repeats.items()):
            if everything or now_ns - held.line_ns >= COLLAPSE_NS:
                if held.count:
                    self._release(key, held, now_ns)
                else:
                    del self._repeats[key]

    def _release(self, key: tuple[str, str], held: _Repeat, now_ns: int) -> None:
        if held.count:
            span = f"first={stamp(held.first_ns)} last={stamp(held.last_ns)}"
            self.write(held.level, now_ns, f"{held.text} repeated={held.count} {span}")
        held.count, held.line_ns = 0, now_ns


SINK = Sink()


class Log:
    """A logger with a name, that of the package that speaks."""

    def __init__(self, name: str, sink: Sink) -> None:
        self.name = name
        self._sink = sink

    def debug(self, event: str, **values: object) -> None:
        if self._sink.level <= DEBUG:
            self._sink.write(DEBUG, self._sink.clock(), self._text(event, values))

    def info(self, event: str, **values: object) -> None:
        if self._sink.level <= INFO:
            self._sink.write(INFO, self._sink.clock(), self._text(event, values))

    def warning(self, event: str, **values: object) -> None:
        if self._sink.level <= WARNING:
            self._sink.fault(WARNING, (self.name, event), self._text(event, values))

    def error(self, event: str, **values: object) -> None:
        if self._sink.level <= ERROR:
            self._sink.fault(ERROR, (self.name, event), self._text(event, values))

    def _text(self, event: str, values: dict[str, object]) -> str:
        return " ".join((f"{self.name}.{event}", *(f"{k}={show(v)}" for k, v in values.items())))


def get_log(name: str) -> Log:
    """Give the logger of a package: `log = get_log("feeds")`."""
    return Log(name, SINK)


def set_up(role: str, level: str) -> None:
    """Say who speaks in this process, and from which level on."""
    SINK.role = role
    SINK.level = LEVELS[level]


def show(value: object) -> str:
    """Give a value as one word: quoted where it has spaces, quotes or line ends."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if text and text.isprintable() and not any(c in text for c in ' "='):
        return text
    return '"' + "".join(_escape(c) for c in text) + '"'


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def stamp(wall_ns: int) -> str:
    """Give a wall-clock time as UTC with milliseconds."""
    seconds, rest = divmod(wall_ns, NS_PER_S)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"
