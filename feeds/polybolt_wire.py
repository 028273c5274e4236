"""Reads and writes the messages of PolyBolt, the venue's price feed; pure.

`parse` takes one frame and gives one event; it never raises: what is wrong is `Rejected` with the
counter of its cause, what is not read here is `Unknown`. A price is an exact integer in units of
1e-9, cut from the decimal text of full accuracy; times of points are whole seconds.

`seq` counts per connection and channel, all symbols together, and starts again on reconnect;
`dropped` tells what the server left out. Which strike follows from a point is `feeds/strike.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import orjson

from cache.counters import Counter
from feeds.frame_wire import TEXT_MAX, Fault, load_object, mistyped
from feeds.frame_wire import Rejected as Rejected
from venue.decimals import DecimalError, parse_long_e9

TWAP_CHANNEL: Final = "price.crypto.twap"
CODE_AUTH: Final = 4001
POINTS_MAX: Final = 4096
SEQ_MAX: Final = 2**63 - 1
_TIME_MAX_S: Final = 9_000_000_000
_RID_MAX: Final = 40
_PING_RID: Final = re.compile(r"p([0-9]{1,12})")

Series = tuple[str, int]
"""What one series of points is about: the coin's symbol and the averaging time in seconds."""


class Point(msgspec.Struct, frozen=True, gc=False):
    """The settlement price at one whole second; `is_carried` where the venue only repeated it."""

    time_s: int
    price_e9: int
    is_carried: bool


class Points(msgspec.Struct, frozen=True):
    """One envelope of a series; a snapshot replays the past, else there is one new point."""

    series: Series
    seq: int
    dropped: int
    is_snapshot: bool
    source: str
    points: tuple[Point, ...]


class Ack(msgspec.Struct, frozen=True):
    """The server did what was asked: `op` is authed, subscribed or unsubscribed."""

    op: str
    rid: str


class Pong(msgspec.Struct, frozen=True):
    """The answer to ping `number`; 0 where it does not say which."""

    number: int


class Refused(msgspec.Struct, frozen=True):
    """The server would not do what was asked."""

    code: str
    rid: str


class Unknown(msgspec.Struct, frozen=True):
    """A whole message of a kind that is not read here."""

    kind: str


Event = Points | Ack | Pong | Refused | Unknown | Rejected


# --- what we send -----------------------------------------------------------------------------


def auth_message(key: str, secret: str, passphrase: str) -> str:
    """The first message of a connection; it holds secrets and is never logged."""
    auth = {"apiKey": key, "secret": secret, "passphrase": passphrase}
    return orjson.dumps({"op": "auth", "rid": "auth", "auth": auth}).decode()


def subscribe_message(series: Iterable[Series]) -> str:
    """Ask for series of the TWAP channel; each is answered with a snapshot."""
    return orjson.dumps(_request("subscribe", series)).decode()


def unsubscribe_message(series: Iterable[Series]) -> str:
    """Give series up."""
    return orjson.dumps(_request("unsubscribe", series)).decode()


def ping_message(number: int) -> str:
    """The application's ping; the answer repeats `number`."""
    return orjson.dumps({"op": "ping", "rid": f"p{number}"}).decode()


def _request(op: str, series: Iterable[Series]) -> dict[str, object]:
    wanted = [
        {"channel": TWAP_CHANNEL, "filter": {"symbol": symbol, "window_seconds": seconds}}
        for symbol, seconds in series
    ]
    return {"op": op, "rid": op, "subscriptions": wanted}


# --- what we read -----------------------------------------------------------------------------


def parse(frame: bytes | bytearray) -> Event:
    """Give the one event of a frame; never raises."""
    try:
        return _event(load_object(frame))
    except Fault as fault:
        return fault.rejected


def _event(found: dict[str, Any]) -> Event:
    op = found.get("op")
    if op is None:
        return _envelope(found)
    if not isinstance(op, str):
        raise mistyped("op is no text")
    rid = found.get("rid")
    rid = rid[:_RID_MAX] if isinstance(rid, str) else ""
    if op == "pong":
        number = _PING_RID.fullmatch(rid)
        return Pong(int(number[1]) if number else 0)
    if op == "error":
        return Refused(str(found.get("code"))[:TEXT_MAX], rid)
    if op in ("authed", "subscribed", "unsubscribed"):
        return Ack(op, rid)
    return Unknown(op[:TEXT_MAX])


def _envelope(found: dict[str, Any]) -> Points | Unknown:
    channel = found.get("channel")
    if not isinstance(channel, str):
        raise mistyped("neither op nor channel")
    if channel != TWAP_CHANNEL:
        return Unknown(channel[:TEXT_MAX])
    payload = found.get("payload")
    if not isinstance(payload, dict):
        raise mistyped("payload is no object")
    is_snapshot = found.get("snapshot") is True
    rows = payload.get("data") if is_snapshot else [payload]
    if not isinstance(rows, list):
        raise mistyped("the data of a snapshot is no list")
    if len(rows) > POINTS_MAX:
        raise Fault(Counter.feeds_frames_out_of_range, f"{len(rows)} points in one frame")
    return Points(
        series=_series(payload),
        seq=_whole(found, "seq"),
        dropped=_dropped(found),
        is_snapshot=is_snapshot,
        source=str(payload.get("source") or "")[:TEXT_MAX],
        points=tuple(_point(row) for row in rows),
    )


def _series(payload: dict[str, Any]) -> Series:
    symbol = payload.get("symbol")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= _RID_MAX:
        raise mistyped("symbol is no text")
    return symbol.lower(), _whole(payload, "window_seconds")


def _dropped(found: dict[str, Any]) -> int:
    """How many were left out; a bare true is at least one."""
    value = found.get("dropped")
    if value is None:
        return 0
    return int(value) if isinstance(value, bool) else _whole(found, "dropped")


def _point(row: object) -> Point:
    if not isinstance(row, dict):
        raise mistyped("a point is no object")
    text = row.get("full_accuracy_value")
    if text is None:
        # A snapshot may give the full decimal under the short name; a float there is not exact.
        text = row.get("value")
    if not isinstance(text, str):
        raise mistyped("a point without full_accuracy_value as text")
    try:
        price_e9 = parse_long_e9(text)
    except DecimalError as error:
        raise Fault(Counter.feeds_frames_out_of_range, f"value: {error}") from None
    if not price_e9:
        raise Fault(Counter.feeds_frames_out_of_range, "a price of zero")
    time_s = _whole(row, "timestamp")
    rest = 0
    if time_s >= 10**11:
        time_s, rest = divmod(time_s, 1000)  # Milliseconds, which is what the venue writes.
    if not 0 < time_s <= _TIME_MAX_S or rest:
        raise Fault(Counter.feeds_frames_out_of_range, "timestamp is no whole second")
    return Point(time_s, price_e9, row.get("is_carried_forward") is True)


def _whole(row: dict[str, Any], field: str) -> int:
    value = row.get(field)
    if type(value) is not int:
        raise mistyped(f"{field} is not a whole number")
    if not 0 <= value <= SEQ_MAX:
        raise Fault(Counter.feeds_frames_out_of_range, f"{field} is out of range")
    return value
