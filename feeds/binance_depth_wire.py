"""Turns frames of Binance's diff depth stream, and its REST snapshots, into typed values; pure.

`parse_depth` gives the one event of a frame and never raises: a `DepthUpdate`, or what
`feeds/binance_wire.py` makes of anything else. Levels are totals, 0 removes one; numbers are exact
integers in units of 1e-9. A snapshot is read whole or refused whole, as `AnswerError`.

Whether updates follow each other is judged by `cache/ladder.py`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import msgspec

from cache.counters import Counter
from cache.ladder import Delta, Level, Whole
from feeds import binance_wire
from feeds.binance_rest_wire import AnswerError
from feeds.frame_wire import TEXT_MAX, Rejected
from venue.decimals import DecimalError, parse_e9

LEVELS_MAX: Final = 20_000
"""Levels of one diff or snapshot; the venue's largest seen had 2,259."""

_SUFFIX: Final = "@depth@100ms"
_KINDS: Final = ("depthUpdate", _SUFFIX)
_MARK: Final = b'@depth@100ms"'
_HEAD: Final = 96
_ID_MAX: Final = 2**63 - 1
_TIME_MAX_MS: Final = _ID_MAX // 1_000_000


class DepthUpdate(msgspec.Struct, frozen=True, gc=False):
    """The levels of one symbol that changed within 100 ms."""

    symbol: str
    delta: Delta
    event_ns: int


DepthEvent = DepthUpdate | binance_wire.Event

_Pair = tuple[str, str]


class _Diff(msgspec.Struct, gc=False):
    E: int
    s: str
    U: int
    u: int
    b: list[_Pair]
    a: list[_Pair]


class _Frame(msgspec.Struct, gc=False):
    stream: str
    data: _Diff


class _Snapshot(msgspec.Struct, gc=False):
    lastUpdateId: int
    bids: list[_Pair]
    asks: list[_Pair]


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_snapshot = msgspec.json.Decoder(_Snapshot).decode


def depth_stream(symbol: str) -> str:
    """The stream that is subscribed for a symbol."""
    return symbol.lower() + _SUFFIX


def depth_path(symbol: str, limit: int) -> str:
    """Ask for a snapshot of the best `limit` levels a side."""
    return "/api/v3/depth?" + urlencode({"symbol": symbol, "limit": limit})


def parse_depth(frame: bytes | bytearray) -> DepthEvent:
    """Give the one event of a frame; never raises."""
    if frame.find(_MARK, 0, _HEAD) < 0:
        return binance_wire.parse(frame)
    try:
        found = _decode_frame(frame)
        return _update(found)
    except DecimalError as error:
        return Rejected(Counter.feeds_frames_out_of_range, str(error)[:TEXT_MAX])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        other = binance_wire.parse(frame)  # The list of streams names this one too.
        if isinstance(other, binance_wire.Unknown) and other.kind.endswith(_KINDS):
            return Rejected(Counter.feeds_frames_mistyped, str(error)[:TEXT_MAX])
        return other


def _update(found: _Frame) -> DepthUpdate:
    data = found.data
    if found.stream != depth_stream(data.s):
        raise ValueError(f"{data.s[:40]} on the stream {found.stream[:80]}")
    if not 0 < data.U <= data.u <= _ID_MAX or not 0 < data.E <= _TIME_MAX_MS:
        raise DecimalError(f"{data.U} to {data.u} at {data.E}", "no update ids and time")
    delta = Delta(data.U, data.u, _levels(data.b), _levels(data.a))
    return DepthUpdate(data.s, delta, data.E * 1_000_000)


def parse_snapshot(body: bytes) -> Whole:
    """Read a snapshot. Raises AnswerError."""
    try:
        found = _decode_snapshot(body)
        if not 0 < found.lastUpdateId <= _ID_MAX:
            raise AnswerError("a snapshot without an update id")
        return Whole(found.lastUpdateId, _levels(found.bids), _levels(found.asks))
    except (msgspec.MsgspecError, UnicodeError, DecimalError, RecursionError) as error:
        raise AnswerError(f"no snapshot of a book: {error}"[:TEXT_MAX]) from None


def _levels(pairs: list[_Pair]) -> list[Level]:
    if len(pairs) > LEVELS_MAX:
        raise DecimalError(f"{len(pairs)} levels", "too many")
    return [(parse_e9(px), parse_e9(qty)) for px, qty in pairs]
