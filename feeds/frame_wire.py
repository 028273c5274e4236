"""What the readers of JSON frames share: a frame becomes an object, or the reason why not; pure.

A reader raises `Fault` wherever a frame is wrong and turns it into `Rejected` at its door, so that
its `parse` never raises. What the objects mean is each venue's `_wire.py`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from cache.counters import Counter

TEXT_MAX: Final = 200
"""The most that is kept of a text of the venue, which may be megabytes."""


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A frame thrown away: `cause` is the counter of why."""

    cause: Counter
    text: str


class Fault(Exception):
    """Why a frame is thrown away; leaves its reader as `Rejected` only."""

    def __init__(self, cause: Counter, text: str) -> None:
        super().__init__(text)
        self.rejected = Rejected(cause, text[:TEXT_MAX])


def mistyped(text: str) -> Fault:
    """Make the fault of a shape or type that was not expected."""
    return Fault(Counter.feeds_frames_mistyped, text)


def load_object(frame: bytes | bytearray) -> dict[str, Any]:
    """Read the one JSON object of a frame. Raises Fault."""
    try:
        found = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        text = str(error)
        is_binary = "UTF-8" in text
        cause = Counter.feeds_frames_binary if is_binary else Counter.feeds_frames_malformed
        raise Fault(cause, text) from None
    if not isinstance(found, dict):
        raise mistyped(f"a {type(found).__name__} instead of an object")
    return found
