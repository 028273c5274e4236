"""Frames that no venue should send: each kind made from a real frame of the channel.

Pure: bytes in, bytes out. A feed has to survive every one of them, count it by its cause, and
distrust the book it may have lost state of; so those that parse keep the token or symbol of the
real frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from sim.wire import BINARY, TEXT

HUGE_BYTES = 5 << 20
OVERSIZE_BYTES = 17 << 20
"""More than the 16 MiB a feed takes: costs it the connection."""


class Garbage(NamedTuple):
    """One frame to inject; `is_data`: a channel puts it where its data goes, else it goes bare."""

    payload: bytes
    opcode: int
    is_data: bool


def _leaves(value: object, change: Callable[[str, object], object], name: str = "") -> object:
    """Rebuild a JSON value with each leaf changed; `name` is the key it stands under."""
    if isinstance(value, dict):
        return {key: _leaves(item, change, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_leaves(item, change, name) for item in value]
    return change(name, value)


_NUMBER_NAMES = "price size best_bid best_ask b B a A p q value full_accuracy_value"
_NUMBERS = frozenset(_NUMBER_NAMES.split())


def _numbers(sample: bytes, text: str) -> bytes:
    """Put `text` in the place of every price and size."""
    changed = _leaves(json.loads(sample), lambda name, value: text if name in _NUMBERS else value)
    return _dump(changed)


_PRICES = frozenset(
    ["price", "best_bid", "best_ask", "b", "a", "p", "value", "full_accuracy_value"]
)
_TIMES = frozenset(["timestamp", "ts", "E", "T", "u"])
_NAMES = frozenset(["market", "s", "symbol"])
_SWAPPED = {"bids": "asks", "best_bid": "best_ask", "b": "a"}
_SWAPPED |= {ask: bid for bid, ask in _SWAPPED.items()}
AHEAD = 3_600_000
"""An hour in milliseconds; and more ids than a venue gives in one."""


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _off_grid(sample: bytes) -> bytes:
    """Put a price that no tick of a venue has in the place of every price."""
    loaded = json.loads(sample)
    return _dump(_leaves(loaded, lambda name, value: "0.4567891" if name in _PRICES else value))


def _crossed(value: object) -> object:
    """Give bids the name of asks, and asks that of bids."""
    if isinstance(value, dict):
        return {_SWAPPED.get(key, key): _crossed(item) for key, item in value.items()}
    return [_crossed(item) for item in value] if isinstance(value, list) else value


def _nameless(value: object) -> object:
    """Leave out whose data it is, but for the tokens."""
    if isinstance(value, dict):
        return {key: _nameless(item) for key, item in value.items() if key not in _NAMES}
    return value


def _ahead(sample: bytes) -> bytes:
    """Stamp it an hour later."""

    def change(name: str, value: object) -> object:
        if name not in _TIMES or isinstance(value, bool):
            return value
        if isinstance(value, str) and value.isdigit():
            return str(int(value) + AHEAD)
        return value + AHEAD if isinstance(value, int) else value

    return _dump(_leaves(json.loads(sample), change))


def _twice(sample: bytes) -> bytes:
    """Let every key stand twice, first with a wrong number."""
    return _numbers(sample, "0.5")[:-1] + b"," + sample[1:]


_KEPT = frozenset(("asset_id", "market", "event_type", "s", "e", "symbol"))


def _wrong_types(sample: bytes) -> bytes:
    """Give every value but the names the shape of something else."""

    def change(name: str, value: object) -> object:
        if name in _KEPT:
            return value
        return {"value": value} if isinstance(value, str) else [value]

    return _dump(_leaves(json.loads(sample), change))


def _padded(sample: bytes, size: int) -> bytes:
    """Make the frame `size` bytes long with a key nobody knows; else it says the same again."""
    head = sample.rstrip().removesuffix(b"}") + (b"," if len(sample) > 2 else b"")
    return head + b'"pad":"' + b"x" * (size - len(head) - 9) + b'"}'


_MAKERS: dict[str, Callable[[bytes], Garbage]] = {
    "malformed": lambda s: Garbage(s[:-1] + b",,]", TEXT, False),
    "truncated": lambda s: Garbage(s[: len(s) // 2], TEXT, False),
    "empty": lambda _: Garbage(b"", TEXT, False),
    "binary": lambda s: Garbage(bytes(range(256)) + s, BINARY, False),
    "bad_utf8": lambda s: Garbage(b"\xff\xfe\xc3(" + s, TEXT, False),
    "deep": lambda _: Garbage(b"[" * 100_000 + b"]" * 100_000, TEXT, False),
    "junk_array": lambda _: Garbage(b'[1,null,"x",[],{},{"event_type":null}]', TEXT, False),
    "huge": lambda s: Garbage(_padded(s, HUGE_BYTES), TEXT, True),
    "wrong_types": lambda s: Garbage(_wrong_types(s), TEXT, True),
    "nan": lambda s: Garbage(_numbers(s, "NaN"), TEXT, True),
    "bare_nan": lambda s: Garbage(_numbers(s, "\0").replace(b'"\\u0000"', b"NaN"), TEXT, True),
    "negative": lambda s: Garbage(_numbers(s, "-0.5"), TEXT, True),
    "absurd": lambda s: Garbage(_numbers(s, "9" * 40), TEXT, True),
    "exponent": lambda s: Garbage(_numbers(s, "1e308"), TEXT, True),
    "off_grid": lambda s: Garbage(_off_grid(s), TEXT, True),
    "crossed": lambda s: Garbage(_dump(_crossed(json.loads(s))), TEXT, True),
    "nameless": lambda s: Garbage(_dump(_nameless(json.loads(s))), TEXT, True),
    "ahead": lambda s: Garbage(_ahead(s), TEXT, True),
    "twice": lambda s: Garbage(_twice(s), TEXT, True),
    "unknown_type": lambda _: Garbage(b'{"event_type":"quantum_leap","e":"leap"}', TEXT, True),
    # Last: when all kinds are sent, this one ends the connection.
    "oversize": lambda s: Garbage(_padded(s, OVERSIZE_BYTES), TEXT, False),
}

KINDS = tuple(_MAKERS)


def make(kind: str, sample: bytes) -> Garbage:
    """Make one frame of garbage from a JSON object of the venue. Raises KeyError: no such kind."""
    return _MAKERS[kind](sample)
