"""What a command says on stdout: lines, JSON, and, where JSON was asked for, errors as JSON.

A reader of stdout that has gone (`| head`) is no error: the rest is said to nobody, and the exit
code stays that of the command. Logs are `host/log.py`'s, on stderr.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec

from cache.errors import PenstockError


def say(text: str) -> None:
    """Print to whoever still listens."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        hush()


def hush() -> None:
    """Say nothing more on stdout, whose reader has gone; nor when the interpreter flushes it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say_json(value: object) -> None:
    """Print one line of JSON."""
    say(msgspec.json.encode(value).decode())


def tell_json(code: IntEnum, error: Exception) -> None:
    """Say an error as `{"error": {"code", "name", "message", "faults"}}`.

    One that is not ours is told with its traceback besides, on stderr.
    """
    ours = isinstance(error, PenstockError)
    if not ours:
        traceback.print_exception(error)
    told = {
        "code": int(code),
        "name": code.name,
        "message": str(error) if ours else f"{type(error).__name__}: {error}",
        "faults": getattr(error, "faults", []),
    }
    try:
        say_json({"error": told})
    except OSError:  # It is stdout that fails.
        print(told["message"], file=sys.stderr)


def teller(words: Sequence[str]) -> Callable[[IntEnum, Exception], None] | None:
    """How these words want an error told: None for plain text on stderr."""
    return tell_json if "--json" in words else None
