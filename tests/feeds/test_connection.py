import asyncio
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.uri import parse_uri
from websockets.utils import accept_key

from feeds.connection import FRAME_BYTES_MAX, bind

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Transport:
    """Takes what is written."""

    def __init__(self):
        self.written = b""
        self.is_aborted = False

    def write(self, data):
        self.written += data

    def set_write_buffer_limits(self, high, low):
        pass

    def pause_reading(self):
        raise AssertionError("frames are not queued")

    resume_reading = pause_reading

    def can_write_eof(self):
        return True

    def write_eof(self):
        pass

    def abort(self):
        self.is_aborted = True


class Taker:
    """Notes what it is given, in order."""

    def __init__(self):
        self.taken = []
        self.is_reading = False
        self.byte_count = 0

    def on_opened(self, connection):
        self.taken.append("opened")

    def on_text(self, data):
        assert self.is_reading
        self.taken.append(bytes(data))

    def on_binary(self):
        self.taken.append("binary")

    def on_read(self):
        self.is_reading = True

    def on_read_end(self, byte_count):
        self.is_reading = False
        self.byte_count += byte_count

    def on_fault(self, fault):
        self.taken.append(fault)


def frame(opcode, payload=b"", *, fin=True):
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + struct.pack("!BH", 126, len(payload)) + payload
    return head + struct.pack("!BQ", 127, len(payload)) + payload


def read(chunks, *, status=b"101 Switching Protocols", taker=None):
    """Let a connection read these chunks behind its handshake; give it, and what was taken."""
    taker = taker or Taker()

    async def run():
        protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=FRAME_BYTES_MAX)
        connection = bind(taker)(protocol, ping_interval=None, close_timeout=1, max_queue=None)
        transport = Transport()
        connection.connection_made(transport)
        request = protocol.connect()
        protocol.send_request(request)
        accept = accept_key(request.headers["Sec-WebSocket-Key"]).encode()
        head = (
            b"HTTP/1.1 " + status + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        first, *rest = chunks or [b""]
        for chunk in (head + first, *rest):
            connection.data_received(chunk)
        connection.written = transport.written
        return connection

    return asyncio.run(run()), taker.taken


def test_frames_that_come_with_the_handshake_are_not_lost():
    assert read([frame(TEXT, b"one") + frame(TEXT, b"two")])[1] == ["opened", b"one", b"two"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
def test_a_text_frame_of_any_size_is_given_whole(size):
    payload = bytes(range(256)) * (size // 256 + 1)
    assert read([frame(TEXT, payload[:size])])[1] == ["opened", payload[:size]]


def test_bad_utf_8_is_the_takers_affair_and_the_socket_lives():
    connection, taken = read([frame(TEXT, b"\xff\xfe"), frame(TEXT, b"on")])
    assert taken == ["opened", b"\xff\xfe", b"on"]
    assert connection.protocol.state is State.OPEN


def test_a_binary_frame_is_told_and_thrown_away():
    assert read([frame(BINARY, b"\x00\x01"), frame(TEXT, b"on")])[1] == ["opened", "binary", b"on"]


def test_fragments_are_put_together():
    chunks = [
        frame(TEXT, b"a", fin=False), frame(PING, b"p"), frame(CONT, b"b", fin=False),
        frame(CONT, b"c"), frame(TEXT, b"d"),
    ]  # fmt: skip
    connection, taken = read(chunks)
    assert taken == ["opened", b"abc", b"d"]
    assert connection.protocol.state is State.OPEN
    binary = [frame(BINARY, b"a", fin=False), frame(CONT, b"b")]
    assert read(binary)[1] == ["opened", "binary"]


def test_a_ping_of_the_protocol_is_answered():
    before = len(read([])[0].written)
    assert len(read([frame(PING, b"hello")])[0].written) == before + 2 + 4 + 5


def test_a_ping_of_ours_is_one_frame_and_its_pong_a_read_that_brings_nothing():
    connection, taken = read([])
    before = len(connection.transport.written)
    connection.send_ping()
    assert connection.transport.written[before:][:2] == b"\x89\x80"
    byte_count = connection.taker.byte_count
    connection.data_received(frame(PONG))
    assert connection.taker.byte_count == byte_count + 2
    assert taken == ["opened"]


def test_a_whole_text_within_a_fragmented_one_ends_the_connection():
    connection, taken = read([frame(TEXT, b"a", fin=False), frame(TEXT, b"b"), frame(TEXT, b"c")])
    assert taken == ["opened"]
    assert connection.protocol.close_sent.code == CloseCode.PROTOCOL_ERROR


def test_a_frame_over_the_limit_ends_the_connection_before_it_is_read():
    head = b"\x81" + struct.pack("!BQ", 127, FRAME_BYTES_MAX + 1)
    connection, taken = read([head, b"x" * 1000])
    assert taken == ["opened"]
    assert connection.protocol.close_sent.code == CloseCode.MESSAGE_TOO_BIG


def test_fragments_that_grow_over_the_limit_end_the_connection():
    part = b"x" * (FRAME_BYTES_MAX // 2 + 1)
    connection, taken = read([frame(TEXT, part, fin=False), frame(CONT, part)])
    assert taken == ["opened"]
    assert connection.protocol.close_sent.code == CloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("head", [b"\x81\x85abcd", b"\xf1\x01a", b"\x83\x01a", b"\x89\x7e\x00\x80"])
def test_what_no_server_may_send_ends_the_connection(head):
    connection, taken = read([head + b"x" * 128, frame(TEXT, b"on")])
    assert taken == ["opened"]
    assert connection.protocol.close_sent.code == CloseCode.PROTOCOL_ERROR


def test_nothing_is_taken_behind_a_close():
    closing = frame(CLOSE, struct.pack("!H", 1008) + b"invalid subscription payload")
    connection, taken = read([frame(TEXT, b"a") + closing + frame(TEXT, b"b"), frame(TEXT, b"c")])
    assert taken == ["opened", b"a"]
    assert connection.protocol.close_rcvd.code == 1008


def test_a_refused_handshake_opens_nothing():
    connection, taken = read([b"sorry\r\n\r\n", b"more"], status=b"451 Unavailable")
    assert taken == []
    assert connection.protocol.state is State.CONNECTING


def test_a_taker_that_raises_is_told_its_own_fault():
    class Faulty(Taker):
        def on_text(self, data):
            raise KeyError("ours")

    taker = Faulty()
    with pytest.raises(KeyError):
        read([frame(TEXT, b"a")], taker=taker)
    assert isinstance(taker.taken[-1], KeyError)


pieces = st.one_of(
    st.tuples(st.just(TEXT), st.binary(max_size=300)),
    st.tuples(st.just(TEXT), st.integers(60_000, 70_000).map(lambda size: b"y" * size)),
    st.tuples(st.just(BINARY), st.binary(max_size=9)),
    st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=9)),
    st.tuples(st.just("split"), st.lists(st.binary(max_size=200), min_size=2, max_size=4)),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(pieces, max_size=12), st.data())
def test_every_cutting_of_the_stream_gives_the_same_frames(parts, data):
    stream, wanted = b"", ["opened"]
    for opcode, payload in parts:
        if opcode == "split":
            last = len(payload) - 1
            for index, part in enumerate(payload):
                stream += frame(CONT if index else TEXT, part, fin=index == last)
            wanted.append(b"".join(payload))
        else:
            stream += frame(opcode, payload)
            wanted += {TEXT: [payload], BINARY: ["binary"]}.get(opcode, [])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    connection, taken = read(chunks)
    assert taken == wanted
    assert connection.protocol.state is State.OPEN


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_a_stream_read_in_drops_gives_the_same_frames(step):
    stream = frame(TEXT, b"a" * 200) + frame(PING) + frame(TEXT, b"") + frame(TEXT, b"b" * 130)
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert read(chunks)[1] == ["opened", b"a" * 200, b"", b"b" * 130]


def test_a_large_frame_that_comes_in_many_reads_is_given_once_and_whole():
    payload = bytes(range(251)) * 8_000
    stream = frame(TEXT, payload)
    chunks = [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]
    assert read(chunks)[1] == ["opened", payload]
