"""Recorded market data as a stream of frames: every file format of the recordings, line by line.

A line is read, cut and passed on; the venue's bytes are never parsed and written again, so what a
client is sent is what the recorder saw. The invariant: frames come in the order of the file with
times that never go back. Files may be gzipped and may be large: they are streamed.

What a recording does not hold (requests, answers, headers) is left out. It keeps no state; the
playing is `sim/replay.py`.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

import orjson

from cache.errors import PenstockError
from sim.frames import PM_MARKET, SimFrame

POLYMARKET = "polymarket"
BINANCE = "binance"

_NS = 1_000_000_000
_UNREADABLE = (OSError, EOFError, zlib.error)
_ASSET = re.compile(rb'"asset_id" ?: ?"(\d+)"')
_BINANCE_LINE = re.compile(rb"(\d+)(?:\.(\d+))?:? ")
_BINANCE_STREAM = re.compile(rb'\{"stream":"([^"@]+)@([^"]+)","data":')


class RecordingError(PenstockError):
    """A file that cannot be replayed; the message says why."""


def open_lines(path: Path) -> IO[bytes]:
    """Open a recording, gzipped or not, for reading its lines. Raises RecordingError."""
    try:
        if path.exists() and not path.is_file():
            raise RecordingError(f"{path}: is no file; name a recording")
        with path.open("rb") as probe:
            is_gzip = probe.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rb") if is_gzip else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}; name a recording that exists") from None


def venue_of(path: Path) -> str:
    """Say whose frames the file holds, from its first line. Raises RecordingError."""
    try:
        with open_lines(path) as lines:
            first = lines.readline(1 << 20).lstrip()
    except _UNREADABLE as error:
        raise RecordingError(f"{path}: {error}") from None
    if first.startswith(b"{"):
        return POLYMARKET
    if first[:1].isdigit() or first.startswith(b"wss://stream.binance"):
        return BINANCE
    raise RecordingError(f"{path}: neither a Polymarket nor a Binance recording")


def frames(path: Path) -> Iterator[SimFrame]:
    """Yield the frames of a recording with the recorder's times. Raises RecordingError."""
    read = _polymarket_frames if venue_of(path) == POLYMARKET else _binance_frames
    last_ns = 0
    try:
        with open_lines(path) as lines:
            for frame in read(path, lines):
                last_ns = max(last_ns, frame.t_ns)
                yield frame._replace(t_ns=last_ns)
    except _UNREADABLE as error:
        raise RecordingError(f"{path}: {error}") from None


def slug_of(path: Path) -> str:
    """Name the market after the file, without its endings."""
    return path.name.split(".")[0]


# --- Polymarket -------------------------------------------------------------------------------


def _polymarket_frames(path: Path, lines: IO[bytes]) -> Iterator[SimFrame]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _polymarket_line(line)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise RecordingError(f"{path}, line {number}: {error!r}") from None
        if found is not None:
            t_ns, payload = found
            tokens = dict.fromkeys(token.decode() for token in _ASSET.findall(payload))
            yield SimFrame(t_ns, PM_MARKET, tuple(tokens), payload)


def _polymarket_line(line: bytes) -> tuple[int, bytes] | None:
    """Cut one line into time and frame; None where it holds no frame of market data."""
    if line.startswith(b'{"recv_s":'):
        comma = line.index(b",")
        start = line.index(b":", comma) + 1
        return _seconds_ns(line[10:comma].decode()), line.rstrip()[start:-1]
    entry = orjson.loads(line)
    if "raw" in entry and "received_ms" in entry:
        return int(entry["received_ms"]) * 1_000_000, entry["raw"].encode()
    if "payloadUtf8" in entry:
        return _text_payload(entry["receivedAt"], entry["payloadUtf8"])
    if "dir" in entry:
        return _text_payload(entry["t"], entry["data"]) if entry["dir"] == "recv" else None
    return int(entry["timestamp"]) * 1_000_000, line.rstrip()


def _text_payload(when: str, text: str) -> tuple[int, bytes] | None:
    """Keep what is JSON: a recorded PONG answers somebody else's PING."""
    if text[:1] not in ("{", "["):
        return None
    at = datetime.fromisoformat(when)
    return int(at.timestamp() * 1000) * 1_000_000, text.encode()


def _seconds_ns(text: str) -> int:
    """Convert seconds with a point to nanoseconds, exactly."""
    whole, _, part = text.partition(".")
    return int(whole) * _NS + int(part[:9].ljust(9, "0") or 0)


# --- Binance ----------------------------------------------------------------------------------

_UNIT_NS = {10: _NS, 13: 1_000_000, 16: 1_000, 19: 1}
"""Nanoseconds of a receiver's time unit, by how many digits a time of our days has in it."""


def _binance_frames(path: Path, lines: IO[bytes]) -> Iterator[SimFrame]:
    for number, line in enumerate(lines, 1):
        head = _BINANCE_LINE.match(line)
        stream = _BINANCE_STREAM.match(line, head.end()) if head else None
        if head is None or stream is None:
            continue  # The recorder's own lines: the URL, a REST answer.
        unit_ns = _UNIT_NS.get(len(head[1]))
        if unit_ns is None:
            raise RecordingError(f"{path}, line {number}: {head[1].decode()} is no time")
        part = (head[2] or b"").decode()[:9].ljust(9, "0")
        t_ns = int(head[1]) * unit_ns + (int(part) if unit_ns == _NS else 0)
        payload = line.rstrip()[stream.end() : -1]
        yield SimFrame(t_ns, f"bn.{stream[2].decode()}", (stream[1].decode().upper(),), payload)
