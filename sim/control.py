"""`/control`: how a test makes the simulated venue misbehave, and asks how it is.

GET tells what is played, who is connected and what was counted. POST takes one command as JSON,
such as `{"fault": "freeze", "channel": "polymarket"}`:

    drop       end all connections; `code` 0 without a word, else with that close code
    freeze     send no more market data, but answer PING; `thaw` ends it, what was missed is lost;
               with `tokens` (polymarket) only what is about them, whole books too, is not sent
    mute       answer nothing more either, not even pings; `thaw` ends it
    refuse     refuse newcomers for `seconds`, with HTTP `code`; 0 resets the connection
    garbage    send `count` frames of each of `kinds` (sim/garbage.py)
    hold       hold frames for `ms`, then send them at once; again and again for `seconds`
    duplicate  send the next `count` frames twice
    lose       lose the next `count` frames; with `stream` only those (Binance: btcusdt@depth@100ms)
    shutdown   announce the end (Binance: serverShutdown), and close after `seconds`
    reset      end every fault

`channel` is polymarket, binance, polybolt, rest (refuse only) or all. It is for tests on the host
itself: whoever reaches the port may use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from sim import garbage
from sim.binance_ws import BinanceChannel
from sim.channel import Channel
from sim.faults import Faults
from sim.polybolt import CODE_DRAINING, PolyBoltChannel
from sim.polymarket_rest import json_response
from sim.source import Json

FaultName = Literal[
    "drop", "freeze", "thaw", "mute", "refuse", "garbage",
    "hold", "duplicate", "lose", "shutdown", "reset",
]  # fmt: skip


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """One command, as POSTed."""

    fault: FaultName
    channel: Literal["polymarket", "binance", "polybolt", "rest", "all"] = "all"
    code: Annotated[int, Meta(ge=0, le=4999)] = 0
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    kinds: tuple[str, ...] = garbage.KINDS
    ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    tokens: tuple[str, ...] = ()

    def fault_of_words(self) -> str | None:
        """Say which words do not go together; None where they do."""
        for kind in self.kinds:
            if kind not in garbage.KINDS:
                return f"{kind} is none of {', '.join(garbage.KINDS)}"
        if self.tokens and (self.fault not in ("freeze", "thaw") or self.channel != "polymarket"):
            return "tokens: only freeze and thaw on the channel polymarket know them"
        return None

    stream: Annotated[str, Meta(max_length=80)] = ""


class Control:
    """Turns commands into faults on channels."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        rest: Faults[object],
        describe: Callable[[], Json],
    ) -> None:
        self._channels = channels
        self._rest = rest
        self._describe = describe

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers into an application."""
        app.router.add_get("/control", self.get)
        app.router.add_post("/control", self.post)

    async def get(self, request: web.Request) -> web.Response:
        """Tell how the venue is."""
        return json_response(self._describe())

    async def post(self, request: web.Request) -> web.Response:
        """Do what a command says; 400 with the reason where it makes no sense."""
        try:
            command = msgspec.json.decode(await request.read(), type=Command)
            if (fault := command.fault_of_words()) is not None:
                raise msgspec.ValidationError(fault)
        except msgspec.DecodeError as error:  # A ValidationError is one too.
            return json_response({"error": str(error)}, status=400)
        done = await self.do(command, time.monotonic_ns())
        return json_response({"fault": command.fault, "done": done})

    async def do(self, command: Command, now_ns: int) -> int:
        """Do it; give how many connections or channels it concerned."""
        if command.channel in ("rest", "all"):
            if command.fault == "refuse":
                self._rest.refuse(command.code, now_ns, int(command.seconds * 1e9))
            elif command.fault == "reset":
                self._rest.clear()
        names = self._channels if command.channel == "all" else (command.channel,)
        chosen = [self._channels[name] for name in names if name in self._channels]
        return sum([await _apply(command, channel, now_ns) for channel in chosen])


async def _apply(command: Command, channel: Channel, now_ns: int) -> int:
    faults = channel.faults
    match command.fault:
        case "drop":
            return await channel.drop(command.code, "dropped")
        case "freeze" | "thaw" if command.tokens:
            faults.freeze_topics(command.tokens, command.fault == "freeze")
        case "freeze":
            faults.freeze()
        case "mute":
            faults.freeze()
            faults.is_mute = True
        case "thaw":
            faults.freeze(False)
            faults.freeze_topics(faults.frozen_topics, False)
            faults.is_mute = False
        case "refuse":
            faults.refuse(command.code, now_ns, int(command.seconds * 1e9))
        case "garbage":
            for _ in range(command.count):
                for kind in command.kinds:
                    channel.inject(garbage.make(kind, channel.sample))
        case "hold":
            lasting_ns = int(command.seconds * 1e9)
            faults.hold(command.ms * 1_000_000, now_ns, lasting_ns=lasting_ns)
        case "duplicate":
            faults.duplicate(command.count)
        case "lose" if command.stream:
            if not isinstance(channel, BinanceChannel):
                return 0
            channel.losing[command.stream] = command.count
        case "lose":
            faults.lose(command.count)
        case "shutdown":
            return await _shut_down(channel, now_ns, int(command.seconds * 1e9))
        case "reset":
            faults.clear()
            if isinstance(channel, BinanceChannel):
                channel.losing.clear()
    return 1


async def _shut_down(channel: Channel, now_ns: int, grace_ns: int) -> int:
    """End the connections as each venue does when it is restarted."""
    if isinstance(channel, BinanceChannel):
        channel.announce_shutdown(now_ns, grace_ns=grace_ns)
        return len(channel.clients)
    if isinstance(channel, PolyBoltChannel):
        return await channel.drop(CODE_DRAINING, "draining")
    return await channel.drop(1001, "going away")
