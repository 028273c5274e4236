"""Turns text frames of Binance's combined stream into typed events; pure.

`parse` takes the bytes of one frame and returns exactly one event. Whatever the frame holds, it
never raises: what is not understood is `Unknown`, what is wrong is `Rejected` with the counter of
its cause. Prices and sizes are exact integers in units of 1e-9, times nanoseconds.

bookTicker, which is most of the traffic, has a fast lane that knows its usual shape; anything
unusual about a frame takes the general lane, and a test holds the two to the same answers. The
spot bookTicker carries no time and no event name: outside a wrapper only its shape tells it.

Ordering, duplicates and what is published are `feeds/binance.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from cache.counters import Counter
from cache.layout import Side
from feeds.frame_wire import TEXT_MAX, Fault, load_object, mistyped
from feeds.frame_wire import Rejected as Rejected
from venue.decimals import DecimalError, parse_e9

UPDATE_ID_MAX: Final = 2**63 - 1
TIME_MAX_NS: Final = 2**63 - 1
_SYMBOL_LENGTH_MAX: Final = 40
_HEAD: Final = 96
"""The stream's name lies within this many bytes of a frame's begin."""


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """Best bid and offer of a symbol; an empty side has price and size 0."""

    symbol: str
    update_id: int
    bid_px_e9: int
    bid_qty_e9: int
    ask_px_e9: int
    ask_qty_e9: int


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One print; `side` is the taker's."""

    symbol: str
    trade_id: int
    px_e9: int
    qty_e9: int
    side: Side
    event_ns: int
    trade_ns: int


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to a control message; `streams` is None where the answer is no list of them."""

    id: int | str | None
    streams: tuple[str, ...] | None


class VenueError(msgspec.Struct, frozen=True, gc=False):
    """The venue refused a control message of ours."""

    code: int
    text: str
    id: int | str | None


class Shutdown(msgspec.Struct, frozen=True, gc=False):
    """The venue is about to close this connection; no lead time is promised."""

    event_ns: int


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A whole event of a kind that is not read here."""

    kind: str


Event = BookTicker | Trade | Reply | VenueError | Shutdown | Unknown | Rejected


class _Ticker(msgspec.Struct, gc=False):
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class _TickerFrame(msgspec.Struct, gc=False):
    stream: str
    data: _Ticker


_decode_ticker = msgspec.json.Decoder(_TickerFrame).decode
_OUT_OF_RANGE: Final = Counter.feeds_frames_out_of_range


def parse(frame: bytes | bytearray) -> Event:
    """Give the one event of a frame; never raises."""
    if frame.find(b'@bookTicker"', 0, _HEAD) > 0:
        try:
            found = _decode_ticker(frame)
            data = found.data
            symbol = data.s
            if _symbol_of(found.stream) == symbol and 0 < data.u <= UPDATE_ID_MAX:
                return BookTicker(
                    symbol,
                    data.u,
                    parse_e9(data.b),
                    parse_e9(data.B),
                    parse_e9(data.a),
                    parse_e9(data.A),
                )
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # The general lane says what is wrong with it.
    return _parse_any(frame)


@lru_cache(maxsize=4096)
def _symbol_of(stream: str) -> str:
    """The symbol a stream is about: "BTCUSDT" of "btcusdt@bookTicker"."""
    return stream.partition("@")[0].upper()


def stream_names(symbol: str) -> tuple[str, str]:
    """The two streams that are subscribed for a symbol: bookTicker and trade."""
    lower = symbol.lower()
    return f"{lower}@bookTicker", f"{lower}@trade"


def _parse_any(frame: bytes | bytearray) -> Event:
    try:
        return _event(load_object(frame))
    except Fault as fault:
        return fault.rejected


def _event(found: dict[str, Any]) -> Event:
    """Tell the kinds apart; the wrapper of the combined stream may be there or not."""
    stream = found.get("stream")
    if stream is None:
        return _raw(found, None)
    data = found.get("data")
    if not isinstance(stream, str) or not isinstance(data, dict):
        raise mistyped("a wrapper without a stream's name or without an object")
    return _raw(data, stream)


def _raw(data: dict[str, Any], stream: str | None) -> Event:
    kind = data.get("e")
    if kind is None:
        if stream is None and ("result" in data or "error" in data or "code" in data):
            return _control(data)
        if "u" in data and "b" in data and "a" in data and "s" in data:
            return _book_ticker(data, stream)
        if stream is not None and stream.endswith("@bookTicker"):
            raise mistyped("a bookTicker without its fields")
        return Unknown(_cut(stream) if stream is not None else "without a name")
    if not isinstance(kind, str):
        raise mistyped("an event whose name is no text")
    if kind == "trade":
        return _trade(data, stream)
    if kind == "bookTicker":
        return _book_ticker(data, stream)
    if kind == "serverShutdown":
        return Shutdown(_time_ns(data, "E"))
    return Unknown(_cut(kind))


def _book_ticker(data: dict[str, Any], stream: str | None) -> BookTicker:
    symbol = _symbol(data, stream)
    update_id = _whole(data, "u")
    if not 0 < update_id <= UPDATE_ID_MAX:
        raise Fault(_OUT_OF_RANGE, "an update id that cannot be one")
    return BookTicker(
        symbol,
        update_id,
        _amount(data, "b"),
        _amount(data, "B"),
        _amount(data, "a"),
        _amount(data, "A"),
    )


def _trade(data: dict[str, Any], stream: str | None) -> Trade:
    symbol = _symbol(data, stream)
    trade_id = _whole(data, "t")
    px_e9, qty_e9 = _amount(data, "p"), _amount(data, "q")
    if not 0 <= trade_id <= UPDATE_ID_MAX or not px_e9 or not qty_e9:
        raise Fault(_OUT_OF_RANGE, "a trade without id, price or size")
    is_maker_buyer = data.get("m")
    if not isinstance(is_maker_buyer, bool):
        raise mistyped("m is not true or false")
    side = Side.SELL if is_maker_buyer else Side.BUY
    return Trade(symbol, trade_id, px_e9, qty_e9, side, _time_ns(data, "E"), _time_ns(data, "T"))


def _control(data: dict[str, Any]) -> Reply | VenueError:
    number = data.get("id")
    if not (number is None or isinstance(number, str) or type(number) is int):
        raise mistyped("a reply whose id is no number or text")
    refused = data.get("error", data if "code" in data else None)
    if refused is not None:
        if not isinstance(refused, dict) or type(refused.get("code")) is not int:
            raise mistyped("an error without a code")
        return VenueError(refused["code"], _cut(str(refused.get("msg", ""))), number)
    result = data.get("result")
    if result is None:
        return Reply(number, None)
    if isinstance(result, list) and all(isinstance(name, str) for name in result):
        return Reply(number, tuple(result))
    raise mistyped("a result that is no list of streams")


# --- fields -----------------------------------------------------------------------------------


def _symbol(data: dict[str, Any], stream: str | None) -> str:
    symbol = data.get("s")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= _SYMBOL_LENGTH_MAX:
        raise mistyped("s is not a symbol")
    if stream is not None and _symbol_of(stream) != symbol:
        raise mistyped(f"{_cut(symbol)} on the stream {_cut(stream)}")
    return symbol


def _whole(data: dict[str, Any], field: str) -> int:
    value = data.get(field)
    if type(value) is not int:
        raise mistyped(f"{field} is not a whole number")
    return value


def _amount(data: dict[str, Any], field: str) -> int:
    value = data.get(field)
    if not isinstance(value, str):
        raise mistyped(f"{field} is not a decimal in text")
    try:
        return parse_e9(value)
    except DecimalError as error:
        raise Fault(_OUT_OF_RANGE, f"{field}: {error}") from None


def _time_ns(data: dict[str, Any], field: str) -> int:
    """Read an epoch time of milliseconds, or of microseconds where the URL asked for them."""
    value = _whole(data, field)
    time_ns = value * (1_000_000 if value < 10**14 else 1_000)
    if not 0 < time_ns <= TIME_MAX_NS:
        raise Fault(_OUT_OF_RANGE, f"{field} is no time")
    return time_ns


def _cut(text: str) -> str:
    return text[:TEXT_MAX]
