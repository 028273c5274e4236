"""PolyBolt, the venue's price feed, as far as settlement needs it: `price.crypto.twap`.

A client authenticates (`auth`, any credentials but empty ones), then subscribes to a symbol and an
averaging time; each subscription is acknowledged and answered with a snapshot of the last points,
then points come one a frame. The invariant: within a connection and channel `seq` is dense from 1
on, so a client can tell a loss; it starts again on reconnect. `{"op":"ping"}` is answered
`{"op":"pong"}`; the server pings every 25 s.

A venue without a settlement feed (a replay) serves empty snapshots and no points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from aiohttp import web

from sim.channel import NS, Channel, PingPolicy
from sim.client import QUEUE_BYTES_MAX, Client, Tally
from sim.frames import SimFrame
from sim.garbage import Garbage
from sim.wire import encode

TWAP_CHANNEL = "price.crypto.twap"
SUBSCRIPTIONS_MAX = 64
SNAPSHOT_COUNT = 60
CODE_AUTH = 4001
CODE_DRAINING = 4003
CODE_POLICY = 4008

PointsOf = Callable[[str, int, int], Sequence[dict[str, object]]]
"""(symbol, window_seconds, count) to the newest points, oldest first."""


class _State:
    """What one client is and wants."""

    __slots__ = ("is_authed", "seq", "wanted")

    def __init__(self) -> None:
        self.is_authed = False
        self.seq = 0
        self.wanted: set[tuple[str, int]] = set()


class PolyBoltChannel(Channel):
    """`/polymarket/polybolt`; `points_of` gives a symbol's past."""

    name = "polybolt"

    def __init__(
        self,
        tally: Tally,
        points_of: PointsOf,
        *,
        pings: PingPolicy = PingPolicy(25 * NS, 60 * NS),  # noqa: B008 - frozen
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        super().__init__(tally, queue_bytes_max=queue_bytes_max)
        self.pings = pings
        self._points_of = points_of
        self._states: dict[Client, _State] = {}

    def on_joined(self, client: Client, request: web.Request, now_ns: int) -> None:
        self._states[client] = _State()

    def on_left(self, client: Client) -> None:
        del self._states[client]

    async def on_message(self, client: Client, text: str, now_ns: int) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            await client.close(CODE_POLICY, "malformed frame")
            return
        state = self._states[client]
        operation = message.get("op")
        if operation == "ping":
            self._reply(client, message, "pong")
        elif operation == "auth":
            await self._authenticate(client, state, message)
        elif operation not in ("subscribe", "unsubscribe"):
            self._error(client, message, "invalid_op")
        elif not state.is_authed:
            self._error(client, message, "auth_required")
        else:
            await self._change(client, state, message, is_added=operation == "subscribe")

    async def _authenticate(self, client: Client, state: _State, message: dict[str, Any]) -> None:
        given = message.get("auth")
        names = ("apiKey", "secret", "passphrase")
        if isinstance(given, dict) and all(given.get(name) for name in names):
            state.is_authed = True
            self._reply(client, message, "authed")
            return
        self.tally.clients_refused += 1
        self._error(client, message, "auth_invalid")
        await client.close(CODE_AUTH, "unauthorized")

    async def _change(
        self, client: Client, state: _State, message: dict[str, Any], *, is_added: bool
    ) -> None:
        listed = message.get("subscriptions")
        if not isinstance(listed, list):
            self._error(client, message, "invalid_request")
            return
        for entry in listed:
            channel = entry.get("channel") if isinstance(entry, dict) else None
            key = _key_of(entry)
            if key is None:
                self._error(client, message, "invalid_channel", channel=channel)
            elif not is_added:
                state.wanted.discard(key)
                self._reply(client, message, "unsubscribed", channel=TWAP_CHANNEL)
            elif len(state.wanted | {key}) > SUBSCRIPTIONS_MAX:
                await client.close(CODE_POLICY, "too many subscriptions")
                return
            else:
                state.wanted.add(key)
                self._reply(client, message, "subscribed", channel=TWAP_CHANNEL)
                self._snapshot(client, state, key)

    def _snapshot(self, client: Client, state: _State, key: tuple[str, int]) -> None:
        symbol, window_seconds = key
        payload = {
            "symbol": symbol,
            "window_seconds": window_seconds,
            "source": "chainlink",
            "data": list(self._points_of(symbol, window_seconds, SNAPSHOT_COUNT)),
        }
        self._send_data(client, state, orjson.dumps(payload), is_snapshot=True)

    def _send_data(
        self, client: Client, state: _State, payload: bytes, *, is_snapshot: bool = False
    ) -> None:
        # The sequence is counted even for what a fault withholds: that is how the loss shows.
        state.seq += 1
        head = b'{"v":1,"channel":"%b","seq":%d,"ts":%d,%b"payload":' % (
            TWAP_CHANNEL.encode(),
            state.seq,
            time.time_ns() // 1_000_000,
            b'"snapshot":true,' if is_snapshot else b"",
        )
        self.emit((client,), encode(head + payload + b"}"))

    def publish(self, frame: SimFrame) -> None:
        self.sample = frame.payload
        key = (frame.key[0], int(frame.key[1]))
        for client, state in self._states.items():
            if key in state.wanted:
                self._send_data(client, state, frame.payload)

    def inject(self, garbage: Garbage) -> None:
        for client, state in self._states.items():
            if not state.wanted:
                continue
            if garbage.is_data:
                state.seq += 1
                head = b'{"v":1,"channel":"%b","seq":%d,"ts":0,"payload":' % (
                    TWAP_CHANNEL.encode(),
                    state.seq,
                )
                client.send(encode(head + garbage.payload + b"}", garbage.opcode))
            else:
                client.send(encode(garbage.payload, garbage.opcode))

    def has_subscriptions(self) -> bool:
        return any(state.wanted for state in self._states.values())

    def _reply(self, client: Client, message: dict[str, Any], op: str, **fields: object) -> None:
        reply: dict[str, object] = {"op": op}
        if isinstance(message.get("rid"), str):
            reply["rid"] = message["rid"]
        self.answer(client, orjson.dumps(reply | fields).decode())

    def _error(
        self, client: Client, message: dict[str, Any], code: str, *, channel: object = None
    ) -> None:
        fields = {"code": code} | ({"channel": channel} if isinstance(channel, str) else {})
        self._reply(client, message, "error", **fields)


def _key_of(entry: object) -> tuple[str, int] | None:
    """Read (symbol, window_seconds) out of one subscription to the TWAP channel."""
    if not isinstance(entry, dict) or entry.get("channel") != TWAP_CHANNEL:
        return None
    wanted = entry.get("filter")
    if not isinstance(wanted, dict):
        return None
    symbol, window_seconds = wanted.get("symbol"), wanted.get("window_seconds")
    if not isinstance(symbol, str) or type(window_seconds) is not int:
        return None
    return symbol.lower(), window_seconds
