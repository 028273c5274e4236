"""The peers of `bench/latency.py`: a message through a pipe, ZeroMQ or iceoryx2, sent to received.

Runs in the peers' environment and imports nothing of this project. The message has the size of a
`PairBbo` and carries the time it was sent at; the receiver waits as a user of that library would:
pipe and ZeroMQ block, iceoryx2 is asked again and again. Prints the ages as one line of JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

COUNT, WARM_UP, GAP_NS, SIZE = 3_000, 200, 300_000, 192
clock = time.monotonic_ns
pack, unpack = struct.Struct("<q184x").pack, struct.Struct("<q184x").unpack


def pin(cpu: int) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})


def pace() -> None:
    until = clock() + GAP_NS
    while clock() < until:
        pass


class Pipe:
    """os.write and os.read."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def sender(self) -> Callable[[], None]:
        def send() -> None:
            os.write(self.write_end, pack(clock()))

        return send

    def receiver(self) -> Callable[[], int]:
        def receive() -> int:
            sent: int = unpack(os.read(self.read_end, SIZE))[0]
            return clock() - sent

        return receive


class ZeroMQ:
    """PUSH to PULL over ipc."""

    def __init__(self) -> None:
        self.address = f"ipc:///tmp/penstock-bench-{os.getpid()}"

    def _socket(self, kind: str) -> Any:
        import zmq  # type: ignore[import-not-found]

        socket = zmq.Context().socket(getattr(zmq, kind))
        socket.linger = 0  # What nobody took is of no interest at the end.
        return socket

    def sender(self) -> Callable[[], None]:
        socket = self._socket("PUSH")
        socket.connect(self.address)

        def send() -> None:
            socket.send(pack(clock()))

        return send

    def receiver(self) -> Callable[[], int]:
        socket = self._socket("PULL")
        socket.bind(self.address)

        def receive() -> int:
            sent: int = unpack(socket.recv())[0]
            return clock() - sent

        return receive


class Message(ctypes.Structure):
    """What iceoryx2 carries."""

    _fields_ = [("sent_ns", ctypes.c_int64), ("rest", ctypes.c_uint8 * (SIZE - 8))]


class Iceoryx2:
    """Publish and subscribe; the subscriber polls."""

    def _service(self) -> Any:
        import iceoryx2 as iox2  # type: ignore[import-not-found]

        iox2.set_log_level(iox2.LogLevel.Error)
        self.node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        name = iox2.ServiceName.new(f"penstock/bench/{self.number}")
        return self.node.service_builder(name).publish_subscribe(Message).open_or_create()

    def __init__(self) -> None:
        self.number = os.getpid()

    def sender(self) -> Callable[[], None]:
        publisher = self._service().publisher_builder().create()

        def send() -> None:
            sample = publisher.loan_uninit()
            message = Message()
            message.sent_ns = clock()
            sample.write_payload(message).send()

        return send

    def receiver(self) -> Callable[[], int]:
        subscriber = self._service().subscriber_builder().create()

        def receive() -> int:
            while True:
                sample = subscriber.receive()
                if sample is not None:
                    age = clock() - sample.payload().contents.sent_ns
                    sample.delete()
                    return int(age)

        return receive


def main() -> int:
    """Fork the receiver and send until it has enough: iceoryx2 drops what is not taken in time."""
    peers: dict[str, type[Pipe | ZeroMQ | Iceoryx2]]
    peers = {"pipe": Pipe, "zeromq": ZeroMQ, "iceoryx2": Iceoryx2}
    peer = peers[sys.argv[1]]()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        pin(1)
        receive = peer.receiver()
        os.write(write_end, b"!")
        ages = [receive() for _ in range(COUNT + WARM_UP)][WARM_UP:]
        print(json.dumps(ages), flush=True)
        return 0
    pin(0)
    os.close(write_end)
    os.read(read_end, 1)
    send = peer.sender()
    time.sleep(0.3)
    while True:
        for _ in range(100):
            pace()
            send()
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
