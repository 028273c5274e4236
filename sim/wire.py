"""The bytes of a WebSocket frame as a server sends it.

Pure. What a server sends is not masked, so one encoded frame serves every client it concerns.
"""

from __future__ import annotations

TEXT = 1
BINARY = 2
PING = 9
PONG = 10


def encode(payload: bytes, opcode: int = TEXT) -> bytes:
    """Make the frame: one fragment, unmasked."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload
