"""The Polymarket market channel, as the venue serves it.

The first message must be a subscription (`type` "market"); anything else, a PING too, closes with
1008. Later messages add and remove tokens (`operation`), or are the text PING, answered PONG;
another thing is answered INVALID OPERATION. New tokens get an array of their `book`s, ended by a
newline; naming a token again sends nothing, but applies the flag. The invariant: a client is sent
a frame once, however many of its tokens the frame concerns, and the extra events
(`best_bid_ask`, `new_market`, `market_resolved`) only with `custom_feature_enabled`.

It keeps no books: the source does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson
from aiohttp import web

from sim.channel import Channel
from sim.client import QUEUE_BYTES_MAX, Client, Tally
from sim.frames import SimFrame
from sim.garbage import Garbage
from sim.wire import encode

INVALID_REASON = "invalid subscription payload"
DUMP_TOKENS_MAX = 500
"""Above this many tokens on a connection the venue sends no first books."""

_TARGETS_MAX = 4096
_EXTRA_EVENTS = (b"best_bid_ask", b"new_market", b"market_resolved")
_EVENT_KEY = b'"event_type"'


def event_type(payload: bytes) -> bytes:
    """Give the event type of a frame, without parsing it; empty where it has none."""
    # Read from the end: there it stands in most frames, and lists of levels come before.
    at = payload.rfind(_EVENT_KEY)
    if at < 0:
        return b""
    start = payload.find(b'"', at + len(_EVENT_KEY)) + 1
    return payload[start : payload.find(b'"', start)]


def without(payload: bytes, tokens: Collection[str]) -> bytes:
    """Cut out of a frame what is about some tokens; empty where nothing is left."""
    told = orjson.loads(payload)
    kept = []
    for event in told if isinstance(told, list) else [told]:
        changes = event.get("price_changes")
        if changes is not None:
            event["price_changes"] = [one for one in changes if one["asset_id"] not in tokens]
        if event.get("asset_id") not in tokens and event.get("price_changes") != []:
            kept.append(event)
    if not kept:
        return b""
    return orjson.dumps(kept if isinstance(told, list) else kept[0])


class _Subscription:
    """What one client wants; `None` tokens before its first valid message."""

    __slots__ = ("is_extra", "tokens")

    def __init__(self) -> None:
        self.tokens: set[str] | None = None
        self.is_extra = False


class PolymarketChannel(Channel):
    """`/polymarket/ws/market`; `book_of` gives the `book` event of a token the venue knows."""

    name = "polymarket"

    def __init__(
        self,
        tally: Tally,
        book_of: Callable[[str], bytes | None],
        *,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        super().__init__(tally, queue_bytes_max=queue_bytes_max)
        self._book_of = book_of
        self._subscriptions: dict[Client, _Subscription] = {}
        # Who gets what, by (tokens, extra event); emptied whenever a subscription changes.
        self._targets: dict[tuple[tuple[str, ...], bool], tuple[Client, ...]] = {}

    def on_joined(self, client: Client, request: web.Request, now_ns: int) -> None:
        self._subscriptions[client] = _Subscription()

    def on_left(self, client: Client) -> None:
        del self._subscriptions[client]
        self._targets.clear()

    async def on_message(self, client: Client, text: str, now_ns: int) -> None:
        subscription = self._subscriptions[client]
        if subscription.tokens is None:
            await self._first(client, subscription, text)
        elif text == "PING":
            self.answer(client, "PONG")
        else:
            self._later(client, subscription, text)

    async def _first(self, client: Client, subscription: _Subscription, text: str) -> None:
        wanted = _parse(text)
        is_valid = wanted is not None and wanted.get("type") == "market"
        if wanted is None or not is_valid or wanted.get("level", 2) not in (1, 2, 3):
            self.tally.clients_refused += 1
            await client.close(1008, INVALID_REASON)
            return
        subscription.tokens = set()
        is_dumped = wanted.get("initial_dump", True) is not False
        self._add(client, subscription, wanted, is_dumped=is_dumped)

    def _later(self, client: Client, subscription: _Subscription, text: str) -> None:
        wanted = _parse(text)
        operation = wanted.get("operation") if wanted else None
        if wanted is not None and operation == "subscribe":
            is_dumped = wanted.get("initial_dump", True) is not False
            self._add(client, subscription, wanted, is_dumped=is_dumped)
        elif wanted is not None and operation == "unsubscribe":
            assert subscription.tokens is not None
            subscription.tokens.difference_update(wanted["assets_ids"])
            self._targets.clear()
        else:
            self.answer(client, "INVALID OPERATION")

    def _add(
        self,
        client: Client,
        subscription: _Subscription,
        wanted: dict[str, Any],
        *,
        is_dumped: bool,
    ) -> None:
        assert subscription.tokens is not None
        if isinstance(wanted.get("custom_feature_enabled"), bool):
            subscription.is_extra = wanted["custom_feature_enabled"]
        added = [
            token
            for token in dict.fromkeys(wanted["assets_ids"])
            if token not in subscription.tokens
        ]
        subscription.tokens.update(added)
        self._targets.clear()
        if added and is_dumped and len(subscription.tokens) <= DUMP_TOKENS_MAX:
            told = [token for token in added if token not in self.faults.frozen_topics]
            books = [book for token in told if (book := self._book_of(token)) is not None]
            self.emit((client,), encode(b"[" + b",".join(books) + b"]\n"))

    def publish(self, frame: SimFrame) -> None:
        if frame.payload[:1] == b"{":
            self.sample = frame.payload
        kind = event_type(frame.payload)
        targets = self._wanting(() if kind == b"new_market" else frame.key, kind in _EXTRA_EVENTS)
        if targets:
            payload = frame.payload
            frozen = self.faults.frozen_topics
            if frozen and not frozen.isdisjoint(frame.key):
                payload = b"" if frozen.issuperset(frame.key) else without(payload, frozen)
                self.tally.frames_withheld += not payload
            if payload:
                self.emit(targets, encode(payload))

    def _wanting(self, tokens: tuple[str, ...], is_extra: bool) -> Sequence[Client]:
        """Give who wants these tokens, in the order they came; no tokens: whoever wants extras."""
        key = (tokens, is_extra)
        targets = self._targets.get(key)
        if targets is None:
            if len(self._targets) >= _TARGETS_MAX:
                self._targets.clear()
            targets = self._targets[key] = tuple(
                client
                for client, subscription in self._subscriptions.items()
                if subscription.tokens is not None
                and (subscription.is_extra or not is_extra)
                and (not tokens or not subscription.tokens.isdisjoint(tokens))
            )
        return targets

    def inject(self, garbage: Garbage) -> None:
        frame = encode(garbage.payload, garbage.opcode)
        for client, subscription in self._subscriptions.items():
            if subscription.tokens:
                client.send(frame)

    def has_subscriptions(self) -> bool:
        return any(subscription.tokens for subscription in self._subscriptions.values())


def _parse(text: str) -> dict[str, Any] | None:
    """Read a message that has a list of tokens; None for anything else."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict):
        return None
    tokens = message.get("assets_ids")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return None
    return message
