"""A client's queue is bounded: who does not read is dropped, and counted."""

from __future__ import annotations

import asyncio

import pytest

from sim.client import Client, Tally
from sim.wire import encode

LIMIT = 1000


class Transport:
    def __init__(self) -> None:
        self.pending, self.written, self.aborted = 0, [], False

    def get_write_buffer_size(self):
        return self.pending

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


class Socket:
    """Stands for the WebSocket object: only closing goes through it."""

    def __init__(self, answers=True) -> None:
        self.closed, self.code, self.answers = False, 0, answers

    async def close(self, *, code, message, drain):
        assert not drain
        self.code = code
        if not self.answers:
            await asyncio.sleep(60)
        self.closed = True


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def client(transport):
    return Client(Socket(), transport, Tally(), queue_bytes_max=LIMIT)


def test_frames_are_written_as_they_are_and_counted(client, transport):
    client.send(b"abc")
    client.send_text("hi")
    assert transport.written == [b"abc", encode(b"hi")]
    assert (client._tally.frames_sent, client._tally.bytes_sent) == (2, 7)


def test_a_full_queue_ends_the_connection_without_another_byte(client, transport):
    transport.pending = LIMIT
    client.send(b"still")
    transport.pending = LIMIT + 1
    client.send(b"no more")
    assert transport.aborted
    assert transport.written == [b"still"]
    client.send(b"nothing after the end")
    assert transport.written == [b"still"]
    assert client._tally.clients_dropped == 1


def test_one_giant_frame_is_no_sign_of_a_slow_client(client, transport):
    client.send(b"x" * 5 * LIMIT)
    transport.pending = 5 * LIMIT
    client.send(b"next")
    assert not transport.aborted
    transport.pending = 6 * LIMIT + 1
    client.send(b"full now")
    assert transport.aborted


def test_closing_does_not_wait_for_a_client_that_never_answers(transport, monkeypatch):
    monkeypatch.setattr("sim.client._CLOSE_TIMEOUT_S", 0.01)
    client = Client(Socket(answers=False), transport, Tally())
    asyncio.run(client.close(1008, "why"))
    assert transport.aborted


def test_a_tally_is_given_by_name():
    assert Tally(frames_sent=3).as_dict()["frames_sent"] == 3
