"""Polymarket's market channel: frames to typed messages and back to what we send. Pure.

`parse` takes one frame as it came and gives a `Message`, a list of them, PONG, or a `Rejection`
that names its cause; it never raises. One wide struct holds every event type of the channel: its
decoder is the fastest found (a tagged union has to look for the tag first, which stands last).

What this file guarantees is shape: fields of the right types, sides that are BUY or SELL. Prices,
sizes and times are still the venue's text and are judged where they are turned into numbers
(`feeds/book.py`). Facts of the protocol: sizes are new totals, best levels come last, frames may
be arrays, PONG is no JSON.

A key that stands twice in an object counts as its last value says: RFC 8259 leaves it open, the
usual readers do so, and to notice it would take a second pass over every frame. The venue writes
none, and what such a frame leads to is judged like any other: by its best prices and its hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, Literal

import msgspec

from cache.counters import Counter

ARRAY_MAX = 4096
"""More events than this in one frame are refused: the venue sends one book a subscribed token."""


class Cause(Enum):
    """Why a frame was thrown away; the value is the counter that tells."""

    MALFORMED = Counter.feeds_frames_malformed
    MISTYPED = Counter.feeds_frames_mistyped
    OUT_OF_RANGE = Counter.feeds_frames_out_of_range
    CROSSED = Counter.feeds_books_crossed
    BINARY = Counter.feeds_frames_binary
    REFUSED = Counter.feeds_requests_refused


class Level(msgspec.Struct, gc=False):
    """One level of a book."""

    price: str
    size: str


class Change(msgspec.Struct, gc=False):
    """One level of one token after the batch; best prices are those of the batch's end."""

    asset_id: str
    price: str
    size: str
    side: Literal["BUY", "SELL"]
    best_bid: str = ""
    best_ask: str = ""
    hash: Any = ""


class Message(msgspec.Struct, gc=False):
    """One event. What its type does not have is empty; a hash may be anything."""

    event_type: str = ""
    market: str = ""
    asset_id: str = ""
    timestamp: str = ""
    price_changes: list[Change] | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    tick_size: str = ""
    version: str = ""
    best_bid: str = ""
    best_ask: str = ""
    price: str = ""
    size: str = ""
    side: Literal["BUY", "SELL", ""] = ""
    last_trade_price: str = ""
    new_tick_size: str = ""
    winning_asset_id: str = ""
    hash: Any = ""


class Rejection(msgspec.Struct, frozen=True):
    """A frame that was thrown away. `market` and `tokens` say whose state may be lost with it.

    Both are empty where it cannot be told; `is_harmless` where no book of ours can be meant.
    """

    cause: Cause
    detail: str
    market: str = ""
    tokens: frozenset[str] = frozenset()
    is_harmless: bool = False


class Pong(Enum):
    """The answer to PING, which is text and not JSON."""

    PONG = "PONG"


PONG: Final = Pong.PONG

BOOK_EVENTS = frozenset({"book", "price_change", "best_bid_ask", "tick_size_change"})
"""Event types that carry or qualify the state of a book."""
KNOWN_EVENTS = BOOK_EVENTS | {"last_trade_price", "market_resolved", "new_market"}

_REQUIRED = {
    "book": ("market", "asset_id", "timestamp", "bids", "asks"),
    "price_change": ("market", "timestamp", "price_changes"),
    "best_bid_ask": ("asset_id", "timestamp", "best_bid", "best_ask"),
    "last_trade_price": ("asset_id", "timestamp", "price", "size", "side"),
    "tick_size_change": ("asset_id", "new_tick_size"),
    "market_resolved": ("market",),
}


decode_message = msgspec.json.Decoder(Message).decode
DECODE_FAULTS = (msgspec.DecodeError, UnicodeError, RecursionError)
"""`parse` in two halves for the hot path: what decodes most frames, and how it says it cannot."""

_decode_many = msgspec.json.Decoder(list[Message]).decode
_decode_any = msgspec.json.Decoder().decode

Parsed = Message | list[Message] | Pong | Rejection


def parse(data: bytes | bytearray | str) -> Parsed:
    """Turn one frame into its message or messages, PONG, or a Rejection."""
    try:
        if not (data.isascii() or isinstance(data, str)):
            data.decode()  # The decoder does not look into fields that it skips.
        return decode_message(data)
    except DECODE_FAULTS:
        return _parse_rare(data)


def is_complete(message: Message) -> bool:
    """Tell whether the message has every field its event type needs."""
    for name in _REQUIRED.get(message.event_type, ()):
        value = getattr(message, name)
        if value is None or value == "":
            return False
    return True


def tokens_of(message: Message) -> frozenset[str]:
    """The tokens an event names."""
    found = {change.asset_id for change in message.price_changes or ()}
    return frozenset((found | {message.asset_id, message.winning_asset_id}) - {""})


def _parse_rare(data: bytes | bytearray | str) -> Parsed:
    """Parse what is not one object of the expected shape: PONG, arrays, unknown events, garbage."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    head = raw[:16].strip()
    if head == b"PONG":
        return PONG
    if head.startswith(b"INVALID"):  # such as INVALID OPERATION, which is text and not JSON
        return Rejection(Cause.REFUSED, "a message of ours", is_harmless=True)
    try:
        if head[:1] == b"[" and (raw.isascii() or raw.decode()):
            many = _decode_many(raw)
            if len(many) > ARRAY_MAX:
                return Rejection(Cause.OUT_OF_RANGE, f"an array of {len(many)} events")
            return many
    except DECODE_FAULTS:
        pass  # the causes are found below
    return _explain(raw)


def _explain(raw: bytes) -> Parsed:
    """Find out why the frame did not decode, and whose state may be lost with it."""
    try:
        raw.decode()
    except UnicodeDecodeError as fault:
        return Rejection(Cause.BINARY, str(fault.reason))
    try:
        value = _decode_any(raw)
    except (msgspec.DecodeError, RecursionError) as fault:
        return Rejection(Cause.MALFORMED, str(fault)[:120])
    if isinstance(value, list):
        # Told apart one by one: an event of a type we do not know must not cost its neighbours.
        return _explain_many(value)
    if not isinstance(value, dict):
        return Rejection(Cause.MISTYPED, f"{type(value).__name__} instead of an object")
    return _explain_one(value)


def _explain_one(value: dict[str, object]) -> Message | Rejection:
    event_type = _text(value, "event_type")
    if event_type and event_type not in KNOWN_EVENTS:
        return Message(event_type=event_type)
    try:
        return msgspec.convert(value, Message)
    except msgspec.ValidationError as fault:
        return Rejection(
            Cause.MISTYPED,
            str(fault)[:120],
            market=_text(value, "market"),
            tokens=_tokens_of(value),
            is_harmless=event_type != "" and event_type not in BOOK_EVENTS,
        )


def _explain_many(values: list[object]) -> list[Message] | Rejection:
    if len(values) > ARRAY_MAX:
        return Rejection(Cause.OUT_OF_RANGE, f"an array of {len(values)} events")
    messages: list[Message] = []
    for value in values:
        if not isinstance(value, dict):
            return Rejection(Cause.MISTYPED, f"{type(value).__name__} in an array of events")
        found = _explain_one(value)
        if isinstance(found, Rejection):
            return Rejection(found.cause, found.detail)
        messages.append(found)
    return messages


def _tokens_of(value: dict[str, object]) -> frozenset[str]:
    changes = value.get("price_changes")
    events = [value, *(changes if isinstance(changes, list) else ())]
    found = {_text(one, "asset_id") for one in events if isinstance(one, dict)}
    return frozenset(found - {""})


def _text(value: dict[str, object], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def subscribe_first(tokens: Iterable[str]) -> str:
    """Write the first message of a connection: nothing may be sent before it, not even PING."""
    return json.dumps(
        {"assets_ids": list(tokens), "type": "market", "custom_feature_enabled": True}
    )


def subscribe_more(tokens: Iterable[str]) -> str:
    """Write the message that adds tokens to a connection."""
    return _operation("subscribe", tokens)


def unsubscribe(tokens: Iterable[str]) -> str:
    """Write the message that takes tokens off a connection."""
    return _operation("unsubscribe", tokens)


def _operation(operation: str, tokens: Iterable[str]) -> str:
    return json.dumps(
        {"operation": operation, "assets_ids": list(tokens), "custom_feature_enabled": True}
    )
