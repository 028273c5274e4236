"""The Binance spot market-data streams, raw and combined, as the venue serves them.

`/binance/stream?streams=a/b` wraps each frame with the name of its stream, `/binance/ws/a` does
not; both take SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS and the property `combined`. The server
pings every 20 s and closes who has not answered after 60 s with a copy of a ping's payload; more
than five messages in a second (pings and pongs count) end the connection. A subscription begins
with the next update: the state before it is not sent. Unknown stream names are accepted and never
yield anything, as on the venue.

The invariant: answers are in the order of the frames around them, so an answer proves that what
came before it was read.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from sim.channel import NS, Channel, PingPolicy
from sim.client import QUEUE_BYTES_MAX, Client, Tally
from sim.frames import BN_DEPTH, SimFrame
from sim.garbage import Garbage
from sim.wire import encode

MESSAGES_PER_SECOND = 5
STREAMS_MAX = 1024

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_EXPECTED = ", ".join(f"`{name}`" for name in _METHODS)


@dataclass(slots=True)
class _State:
    """What one client wants and how it behaves."""

    joined_ns: int
    is_combined: bool
    streams: dict[str, None] = field(default_factory=dict)
    message_ns: deque[int] = field(default_factory=lambda: deque(maxlen=MESSAGES_PER_SECOND))
    close_ns: int = 0
    """When the server will close it, having said so; 0 not planned."""


class _RequestError(Exception):
    """A request the venue refuses, with its code and words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def wrap(stream: str, payload: bytes) -> bytes:
    """Put a raw frame into the envelope of the combined stream."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), payload)


class BinanceChannel(Channel):
    """`/binance/stream` and `/binance/ws`."""

    name = "binance"

    def __init__(
        self,
        tally: Tally,
        *,
        pings: PingPolicy = PingPolicy(20 * NS, 60 * NS),  # noqa: B008 - frozen
        age_ns_max: int = 0,
        shutdown_ns: int = 10 * NS,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        super().__init__(tally, queue_bytes_max=queue_bytes_max)
        self.pings = pings
        self._age_ns_max = age_ns_max
        self._shutdown_ns = shutdown_ns
        self._states: dict[Client, _State] = {}
        # Per stream: who gets frames bare, and who in the envelope.
        self._targets: dict[str, tuple[tuple[Client, ...], tuple[Client, ...]]] = {}
        self._names: dict[tuple[str, tuple[str, ...]], str] = {}
        self.losing: dict[str, int] = {}
        """How many frames of a stream are still to be lost."""

    def on_joined(self, client: Client, request: web.Request, now_ns: int) -> None:
        path_streams = request.match_info.get("streams")
        listed = request.query.get("streams", "") if path_streams is None else path_streams
        is_combined = request.path.rstrip("/").endswith("/stream")
        state = _State(now_ns, is_combined)
        state.streams.update(dict.fromkeys(name for name in listed.split("/") if name))
        self._states[client] = state
        self._targets.clear()

    def on_left(self, client: Client) -> None:
        del self._states[client]
        self._targets.clear()

    async def on_control(self, client: Client, now_ns: int) -> bool:
        recent = self._states[client].message_ns
        if len(recent) == MESSAGES_PER_SECOND and now_ns - recent[0] < NS:
            self.tally.clients_refused += 1
            await client.close(1008, "Too many requests")
            return False
        recent.append(now_ns)
        return True

    async def on_message(self, client: Client, text: str, now_ns: int) -> None:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self._refuse(client, _RequestError(3, f"Invalid JSON: {error}"))
            return
        try:
            identity = _identity(request)
            result = self._perform(self._states[client], request)
        except _RequestError as error:
            self._refuse(client, error)
            return
        self.answer(client, orjson.dumps({"result": result, "id": identity}).decode())

    def _refuse(self, client: Client, error: _RequestError) -> None:
        self.answer(client, orjson.dumps({"code": error.code, "msg": str(error)}).decode())

    def _perform(self, state: _State, request: dict[str, Any]) -> object:
        method = request.get("method")
        params = request.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return list(state.streams)
        if not isinstance(params, list):
            raise _RequestError(2, "Invalid request: `params` must be a sequence")
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return _property(state, params, is_set=method == "SET_PROPERTY", owner=self)
        if method not in _METHODS:
            raise _RequestError(
                2, f"Invalid request: unknown variant `{method}`, expected one of {_EXPECTED}"
            )
        if not params or not all(isinstance(name, str) for name in params):
            raise _RequestError(2, "Invalid request: `params` must be a sequence of stream names")
        if method == "SUBSCRIBE":
            if len(state.streams.keys() | set(params)) > STREAMS_MAX:
                raise _RequestError(2, f"Invalid request: more than {STREAMS_MAX} streams")
            state.streams.update(dict.fromkeys(params))
        else:
            for name in params:
                state.streams.pop(name, None)
        self._targets.clear()
        return None

    def forget_targets(self) -> None:
        """Work out anew who gets what: a client has changed."""
        self._targets.clear()

    def _is_lost(self, stream: str) -> bool:
        """Whether a frame of a stream is to be lost; then it is, and counted."""
        left = self.losing.get(stream, 0)
        if not left:
            return False
        self.losing[stream] = left - 1
        self.tally.frames_withheld += 1
        return True

    def publish(self, frame: SimFrame) -> None:
        stream = self._stream_of(frame.channel, frame.key)
        if frame.channel != BN_DEPTH:  # Garbage is made of what every client takes.
            self.sample = frame.payload
        if self.losing and self._is_lost(stream):
            return
        bare, wrapped = self._wanting(stream)
        if bare:
            self.emit(bare, encode(frame.payload))
        if wrapped:
            self.emit(wrapped, encode(wrap(stream, frame.payload)))

    def _stream_of(self, channel: str, key: tuple[str, ...]) -> str:
        """Name the stream: `bn.bookTicker` of BTCUSDT is btcusdt@bookTicker."""
        name = self._names.get((channel, key))
        if name is None:
            name = f"{key[0].lower()}@{channel.removeprefix('bn.')}"
            self._names[channel, key] = name
        return name

    def _wanting(self, stream: str) -> tuple[tuple[Client, ...], tuple[Client, ...]]:
        targets = self._targets.get(stream)
        if targets is None:
            found: tuple[list[Client], list[Client]] = ([], [])
            for client, state in self._states.items():
                if stream in state.streams:
                    found[state.is_combined].append(client)
            targets = self._targets[stream] = (tuple(found[0]), tuple(found[1]))
        return targets

    def inject(self, garbage: Garbage) -> None:
        for client, state in self._states.items():
            if state.streams:
                payload = garbage.payload
                if garbage.is_data and state.is_combined:
                    payload = wrap(next(iter(state.streams)), payload)
                client.send(encode(payload, garbage.opcode))

    def has_subscriptions(self) -> bool:
        return any(state.streams for state in self._states.values())

    def announce_shutdown(self, now_ns: int, *, grace_ns: int | None = None) -> None:
        """Tell every client that its connection will be closed, and close it a while later."""
        for client in self._states:
            self._announce(client, now_ns, self._shutdown_ns if grace_ns is None else grace_ns)

    def _announce(self, client: Client, now_ns: int, grace_ns: int) -> None:
        state = self._states[client]
        state.close_ns = now_ns + grace_ns
        notice = b'{"e":"serverShutdown","E":%d}' % (time.time_ns() // 1_000_000)
        if state.is_combined:
            notice = b'{"stream":"!serverShutdown","data":%b}' % notice
        client.send(encode(notice))

    async def keep_alive(self, now_ns: int) -> None:
        await super().keep_alive(now_ns)
        over = [
            client
            for client, state in self._states.items()
            if state.close_ns and now_ns >= state.close_ns
        ]
        for client, state in self._states.items():
            is_old = self._age_ns_max and now_ns - state.joined_ns >= self._age_ns_max
            if is_old and not state.close_ns:
                self._announce(client, now_ns, self._shutdown_ns)
        await asyncio.gather(*(client.close(1001, "server shutdown") for client in over))


def _identity(request: object) -> object:
    """Give the `id` of a request: a whole number, up to 36 letters and digits, or null."""
    if not isinstance(request, dict):
        raise _RequestError(2, "Invalid request: expected an object")
    identity = request.get("id")
    is_text = isinstance(identity, str) and len(identity) <= 36 and identity.isalnum()
    is_number = isinstance(identity, int) and not isinstance(identity, bool)
    if identity is not None and not is_text and not is_number:
        raise _RequestError(2, "Invalid request: request ID must be an unsigned integer")
    return identity


def _property(state: _State, params: list[Any], *, is_set: bool, owner: BinanceChannel) -> object:
    """Read or set the one property there is, `combined`."""
    if params[:1] != ["combined"]:
        raise _RequestError(0, "Unknown property")
    if not is_set:
        return state.is_combined
    if len(params) != 2 or not isinstance(params[1], bool):
        raise _RequestError(1, "Invalid value type: expected Boolean")
    state.is_combined = params[1]
    owner.forget_targets()
    return None
