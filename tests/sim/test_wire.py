"""The frames that a server puts on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from sim.wire import BINARY, PING, TEXT, encode


def decoded(frame: bytes) -> Frame:
    reader = StreamReader()
    reader.feed_data(frame)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    return done.value.value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_every_length_form_is_read_by_another_implementation(size):
    frame = decoded(encode(b"x" * size))
    assert (frame.opcode, frame.fin, len(frame.data)) == (Opcode.TEXT, True, size)


@given(st.binary(max_size=70_000), st.sampled_from([TEXT, BINARY, PING]))
def test_payload_and_opcode_come_through(payload, opcode):
    frame = decoded(encode(payload, opcode))
    assert (int(frame.opcode), bytes(frame.data)) == (opcode, payload)
