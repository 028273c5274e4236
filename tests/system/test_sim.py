"""The simulated venue over real sockets: what a client of either venue meets, and what goes wrong.

One server a test, on a port the system chose, in this process; `python -m sim` is the last part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import aiohttp
import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from cache.counters import Counter
from feeds.binance_rest import BinanceRest
from feeds.binance_rest_wire import Rules, candles_path, parse_candles, parse_rules, rules_path
from sim.frames import BN_TICKER, BN_TRADE, BOLT_TWAP, PM_MARKET, SimFrame
from sim.garbage import KINDS
from sim.model_source import ModelSource
from sim.replay import ReplaySource
from sim.server import ServerOptions, SimServer

ROOT = Path(__file__).resolve().parents[2]
UP, DOWN = "111", "222"
SUBSCRIBE = {"assets_ids": [UP, DOWN], "type": "market", "custom_feature_enabled": True}
TWAP = {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": 60}}
AUTH = {"op": "auth", "rid": "1", "auth": {"apiKey": "k", "secret": "s", "passphrase": "p"}}


class StubSource:
    """A venue that sends what a test tells it to."""

    def __init__(self) -> None:
        self.frames: deque[SimFrame] = deque()
        self.books = {UP: self.book_event(UP), DOWN: self.book_event(DOWN)}

    @staticmethod
    def book_event(token, size="10"):
        bids, asks = [{"price": "0.4", "size": size}], [{"price": "0.6", "size": size}]
        event = {"market": "0xabc", "asset_id": token, "timestamp": "1", "hash": "h"}
        event |= {"bids": bids, "asks": asks, "tick_size": "0.01", "event_type": "book"}
        return json.dumps(event | {"last_trade_price": "0.500"}, separators=(",", ":")).encode()

    def push(self, channel, key, value):
        payload = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.frames.append(SimFrame(0, channel, key, payload))

    def change(self, number):
        change = {"asset_id": UP, "price": "0.4", "size": str(number), "side": "BUY", "hash": "h"}
        value = {"market": "0xabc", "price_changes": [change], "event_type": "price_change"}
        self.push(PM_MARKET, (UP, DOWN), value)

    def ticker(self, number):
        top = {"u": number, "s": "BTCUSDT", "b": "1.0", "B": "1", "a": "2.0", "A": "1"}
        self.push(BN_TICKER, ("BTCUSDT",), top)

    def point(self, second):
        point = {"symbol": "btcusd", "window_seconds": 60, "timestamp": second * 1000}
        self.push(BOLT_TWAP, ("btcusd", "60"), point | {"full_accuracy_value": "1.5"})

    def start(self, wall_ns):
        pass

    def due(self, wall_ns):
        taken = list(self.frames)
        self.frames.clear()
        return taken

    def venue_ns(self, wall_ns):
        return 1_700_000_000_500_000_000

    def book(self, token):
        return self.books.get(token)

    def market_by_slug(self, slug):
        return {"slug": slug, "conditionId": "0xabc"} if slug == "known" else None

    def market_by_id(self, identity):
        return self.market_by_slug("known") if identity in (UP, DOWN, "0xabc") else None

    def event_by_slug(self, slug):
        return {"slug": slug, "markets": []} if slug == "known" else None

    def twap_points(self, symbol, window_seconds, count):
        return [{"timestamp": 1000, "value": 1.0, "full_accuracy_value": "1.0"}]

    def book_ticker(self, symbol):
        known = b'{"u":7,"s":"BTCUSDT","b":"1","B":"2","a":"3","A":"4"}'
        return known if symbol == "BTCUSDT" else None

    def depth(self, symbol, limit):
        known = {"lastUpdateId": 7, "bids": [["1", "2"]], "asks": [["3", "4"]]}
        return known if symbol == "BTCUSDT" else None

    def candles(self, symbol, limit, *, start_s=None, end_s=None):
        return [] if symbol == "BTCUSDT" else None

    def rules(self, symbol):
        return None

    def symbols(self):
        return ()

    def describe(self, wall_ns):
        return {"mode": "stub"}


class Venue:
    """A running server and what a test needs to talk to it."""

    def __init__(self, server, source, http):
        self.server, self.source, self.http = server, source, http
        self.address = f"127.0.0.1:{server.port}"

    def ws(self, path, **options):
        return connect(f"ws://{self.address}{path}", open_timeout=2, close_timeout=1, **options)

    async def get(self, path, **params):
        async with self.http.get(f"http://{self.address}{path}", params=params) as answer:
            return answer.status, await answer.json()

    async def fault(self, name, **fields):
        body = {"fault": name, **fields}
        async with self.http.post(f"http://{self.address}/control", json=body) as answer:
            value = await answer.json()
            assert answer.status == 200, value
            return value

    @contextlib.asynccontextmanager
    async def polymarket(self, **options):
        """Connect, subscribe, and take the first books."""
        async with self.ws("/polymarket/ws/market", **options) as ws:
            await ws.send(json.dumps(SUBSCRIBE))
            assert [book["asset_id"] for book in json.loads(await soon(ws.recv()))] == [UP, DOWN]
            yield ws


async def soon(awaitable, seconds=3.0):
    return await asyncio.wait_for(awaitable, seconds)


async def silence(ws, seconds=0.1):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ws.recv(), seconds)


async def receive(ws):
    return json.loads(await soon(ws.recv()))


def play(scene, *, source=None, seconds=20.0, **options):
    """Run a scene against a fresh server."""

    async def run():
        chosen = source or StubSource()
        server = SimServer(chosen, ServerOptions(**options))
        await server.start()
        pump = asyncio.create_task(server.run())
        try:
            async with aiohttp.ClientSession() as http:
                await asyncio.wait_for(scene(Venue(server, chosen, http)), seconds)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await server.close()
        assert pump.cancelled(), pump.exception()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# --- Polymarket -------------------------------------------------------------------------------


def test_a_subscription_gets_an_array_of_books_ended_by_a_newline_then_single_objects():
    async def scene(venue):
        async with venue.ws("/polymarket/ws/market") as ws:
            await ws.send(json.dumps(SUBSCRIBE | {"assets_ids": [UP, "999", DOWN]}))
            dump = await soon(ws.recv())
            assert dump.startswith("[{")
            assert dump.endswith("}]\n")
            assert [book["asset_id"] for book in json.loads(dump)] == [UP, DOWN]
            venue.source.change(5)
            assert (await receive(ws))["price_changes"][0]["size"] == "5"

    play(scene)


@pytest.mark.parametrize(
    "first",
    [
        "PING",
        "{",
        "[]",
        '{"assets_ids":["1"]}',
        '{"assets_ids":[1],"type":"market"}',
        '{"type":"market"}',
        '{"assets_ids":["1"],"operation":"subscribe"}',
    ],
)
def test_anything_but_a_subscription_as_the_first_message_closes_1008(first):
    async def scene(venue):
        async with venue.ws("/polymarket/ws/market") as ws:
            await ws.send(first)
            with pytest.raises(ConnectionClosed) as closed:
                await soon(ws.recv())
            assert closed.value.rcvd.code == 1008
            assert closed.value.rcvd.reason == "invalid subscription payload"

    play(scene)


def test_ping_is_answered_by_text_once_subscribed():
    async def scene(venue):
        async with venue.polymarket() as ws:
            await ws.send("PING")
            assert await soon(ws.recv()) == "PONG"

    play(scene)


def test_later_messages_add_and_remove_tokens():
    async def scene(venue):
        async with venue.ws("/polymarket/ws/market") as ws:
            await ws.send(json.dumps(SUBSCRIBE | {"assets_ids": []}))
            venue.source.change(1)
            await silence(ws)
            await ws.send(json.dumps({"operation": "subscribe", "assets_ids": [UP]}))
            assert len(await receive(ws)) == 1
            venue.source.change(2)
            assert (await receive(ws))["price_changes"][0]["size"] == "2"
            await ws.send(json.dumps({"operation": "unsubscribe", "assets_ids": [UP]}))
            await ws.send("PING")
            assert await soon(ws.recv()) == "PONG"
            venue.source.change(3)
            await silence(ws)

    play(scene)


# --- Binance ----------------------------------------------------------------------------------


def test_the_combined_stream_wraps_and_the_raw_one_does_not():
    async def scene(venue):
        async with (
            venue.ws("/binance/stream?streams=btcusdt@bookTicker/btcusdt@trade") as combined,
            venue.ws("/binance/ws/btcusdt@bookTicker") as raw,
        ):
            await asyncio.sleep(0.02)
            venue.source.ticker(1)
            venue.source.push(BN_TRADE, ("BTCUSDT",), {"e": "trade"})
            venue.source.ticker(2)
            frames = [await receive(combined) for _ in range(3)]
            names = ["btcusdt@bookTicker", "btcusdt@trade", "btcusdt@bookTicker"]
            assert [frame["stream"] for frame in frames] == names
            assert frames[1]["data"] == {"e": "trade"}
            assert [(await receive(raw))["u"] for _ in range(2)] == [1, 2]

    play(scene)


def test_a_subscription_begins_with_the_next_update_and_the_answer_comes_before_it():
    async def scene(venue):
        async with venue.ws("/binance/stream") as ws:
            venue.source.ticker(1)
            while venue.source.frames:
                await asyncio.sleep(0.001)
            await ws.send('{"method":"SUBSCRIBE","params":["btcusdt@bookTicker"],"id":1}')
            assert await receive(ws) == {"result": None, "id": 1}
            await silence(ws)
            venue.source.ticker(2)
            assert (await receive(ws))["data"]["u"] == 2
            await ws.send('{"method":"LIST_SUBSCRIPTIONS","id":"x1"}')
            assert await receive(ws) == {"result": ["btcusdt@bookTicker"], "id": "x1"}

    play(scene)


def test_more_than_five_messages_in_a_second_end_the_connection_pongs_included():
    async def scene(venue):
        async with venue.ws("/binance/stream") as ws:
            for number in range(3):
                await ws.pong(b"")
                await ws.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
            await soon(ws.wait_closed())
            assert ws.close_code == 1008

    play(scene)


def test_the_server_pings_and_a_client_that_never_answers_is_closed():
    async def scene(venue):
        channel = venue.server.binance
        channel.pings = type(channel.pings)(100_000_000, 400_000_000)
        answering = await venue.ws("/binance/ws/btcusdt@bookTicker")
        mute = socket.create_connection(("127.0.0.1", venue.server.port))
        request = f"GET /binance/ws/x HTTP/1.1\r\nHost: {venue.address}\r\nUpgrade: websocket\r\n"
        key = "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        mute.sendall((request + key + "AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").encode())
        with mute:
            deadline = time.monotonic() + 5
            while len(channel.clients) < 2:
                await asyncio.sleep(0.02)
            while len(channel.clients) > 1:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        assert venue.server.tally.clients_dropped == 1
        assert answering.state.name == "OPEN"
        await answering.close()

    play(scene)


def test_server_shutdown_is_announced_in_the_envelope_and_then_carried_out():
    async def scene(venue):
        async with venue.ws("/binance/stream?streams=btcusdt@bookTicker") as ws:
            await venue.fault("shutdown", channel="binance", seconds=0.3)
            notice = await receive(ws)
            assert notice["stream"] == "!serverShutdown"
            assert notice["data"]["e"] == "serverShutdown"
            venue.source.ticker(1)
            assert (await receive(ws))["data"]["u"] == 1
            with pytest.raises(ConnectionClosed):
                await soon(ws.recv())

    play(scene)


def test_a_connection_of_the_greatest_age_is_announced_its_end():
    async def scene(venue):
        async with venue.ws("/binance/ws/btcusdt@bookTicker") as ws:
            assert (await receive(ws))["e"] == "serverShutdown"
            with pytest.raises(ConnectionClosed):
                await soon(ws.recv())

    play(scene, connection_age_s_max=0.2, shutdown_s=0.2)


# --- PolyBolt ---------------------------------------------------------------------------------


def test_polybolt_authenticates_snapshots_and_counts_without_a_hole():
    async def scene(venue):
        async with venue.ws("/polymarket/polybolt") as ws:
            await ws.send(json.dumps({"op": "subscribe", "rid": "0", "subscriptions": [TWAP]}))
            assert (await receive(ws))["code"] == "auth_required"
            await ws.send(json.dumps(AUTH))
            assert await receive(ws) == {"op": "authed", "rid": "1"}
            await ws.send(json.dumps({"op": "subscribe", "rid": "2", "subscriptions": [TWAP]}))
            answer = {"op": "subscribed", "rid": "2", "channel": "price.crypto.twap"}
            assert await receive(ws) == answer
            snapshot = await receive(ws)
            assert (snapshot["v"], snapshot["seq"], snapshot["snapshot"]) == (1, 1, True)
            assert snapshot["payload"]["data"][0]["timestamp"] == 1000
            for second in (2, 3):
                venue.source.point(second)
                frame = await receive(ws)
                assert (frame["seq"], frame["payload"]["timestamp"]) == (second, second * 1000)
            await ws.send('{"op":"ping"}')
            assert await receive(ws) == {"op": "pong"}

    play(scene)


def test_polybolt_closes_4001_on_missing_credentials():
    async def scene(venue):
        async with venue.ws("/polymarket/polybolt") as ws:
            await ws.send('{"op":"auth","rid":"1","auth":{"apiKey":""}}')
            assert (await receive(ws))["code"] == "auth_invalid"
            with pytest.raises(ConnectionClosed) as closed:
                await soon(ws.recv())
            assert closed.value.rcvd.code == 4001

    play(scene)


# --- REST -------------------------------------------------------------------------------------


def test_rest_answers_what_is_known_and_says_what_is_not():
    async def scene(venue):
        gamma, clob, binance = "/polymarket/gamma", "/polymarket/clob", "/binance/api/v3"
        assert (await venue.get(f"{gamma}/markets/slug/known"))[1]["slug"] == "known"
        assert (await venue.get(f"{gamma}/markets/slug/other"))[0] == 404
        assert (await venue.get(f"{gamma}/events/slug/known"))[0] == 200
        assert len((await venue.get(f"{gamma}/markets", clob_token_ids=f"{UP},{DOWN}"))[1]) == 1
        assert (await venue.get(f"{clob}/time"))[1] == 1_700_000_000
        assert (await venue.get(f"{clob}/book", token_id="999"))[0] == 404
        status, book = await venue.get(f"{clob}/book", token_id=UP)
        assert (status, book["min_order_size"], book["neg_risk"]) == (200, "5", False)
        assert (await venue.get(f"{binance}/ticker/bookTicker", symbol="BTCUSDT"))[1]["bidQty"]
        assert (await venue.get(f"{binance}/depth", symbol="NONE"))[0] == 400
        assert (await venue.get(f"{binance}/depth", symbol="BTCUSDT"))[1]["lastUpdateId"] == 7
        assert (await venue.get(f"{binance}/klines", symbol="BTCUSDT", interval="1s"))[1] == []
        assert (await venue.get(f"{binance}/exchangeInfo"))[1]["symbols"] == []

    play(scene)


def test_the_feed_reads_what_the_model_serves_of_the_past():
    source = ModelSource(7, time.time_ns())

    async def scene(venue):
        counters = Tally()
        rest = BinanceRest(f"http://{venue.address}/binance", counters, timeout_s=10.0)
        candles = await rest.ask(candles_path("BTCUSDT", 127), parse_candles)
        assert len(candles) == 127
        assert abs(candles[-1].open_s - time.time()) < 5
        found = source.candles("BTCUSDT", 1, start_s=candles[50].open_s)
        assert candles[50].trade_count == found[0][8]
        rules = await rest.ask(rules_path(("BTCUSDT",)), parse_rules)
        assert rules == {"BTCUSDT": Rules(10_000_000, 10_000, 10_000)}
        assert await rest.ask(candles_path("NONE", 127), parse_candles) is None
        await venue.fault("refuse", channel="rest", code=418, seconds=60)
        assert await rest.ask(candles_path("BTCUSDT", 127), parse_candles) is None
        assert counters.failed == 2, "neither is asked again"

    play(scene, source=source)


class Tally:
    """Counts what failed."""

    failed = 0

    def add(self, counter, count=1):
        assert counter == Counter.feeds_requests_failed
        self.failed += count


# --- faults -----------------------------------------------------------------------------------


def test_dropped_connections_end_at_once_and_newcomers_are_welcome():
    async def scene(venue):
        async with venue.polymarket() as ws:
            await venue.fault("drop", channel="polymarket")
            with pytest.raises(ConnectionClosed) as closed:
                await soon(ws.recv())
            assert closed.value.rcvd is None
        async with venue.polymarket() as ws:
            await venue.fault("drop", channel="polymarket", code=1012)
            with pytest.raises(ConnectionClosed) as closed:
                await soon(ws.recv())
            assert closed.value.rcvd.code == 1012

    play(scene)


def test_a_frozen_channel_answers_ping_and_sends_no_data_until_it_thaws():
    async def scene(venue):
        async with venue.polymarket() as ws:
            await venue.fault("freeze", channel="polymarket")
            venue.source.change(1)
            await silence(ws)
            await ws.send("PING")
            assert await soon(ws.recv()) == "PONG"
            await venue.fault("thaw", channel="polymarket")
            venue.source.change(2)
            assert (await receive(ws))["price_changes"][0]["size"] == "2"
            assert (await venue.get("/control"))[1]["tally"]["frames_withheld"] == 1

    play(scene)


def test_a_mute_channel_answers_nothing():
    async def scene(venue):
        async with venue.polymarket() as ws:
            await venue.fault("mute", channel="polymarket")
            await ws.send("PING")
            await silence(ws)

    play(scene)


def test_clients_that_leave_in_the_middle_of_the_handshake_are_counted_and_no_error(caplog):
    hello = (
        b"GET /polymarket/ws/market HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    async def scene(venue):
        for _ in range(100):
            gone = socket.create_connection(("127.0.0.1", venue.server.port))
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.send(hello)
            gone.close()
            if venue.server.tally.clients_refused:
                break
            await asyncio.sleep(0.001)
        async with venue.polymarket():
            pass
        assert venue.server.tally.clients_refused

    play(scene)
    assert [found for found in caplog.records if found.levelno >= logging.ERROR] == []


def test_newcomers_are_refused_for_a_while():
    async def scene(venue):
        await venue.fault("refuse", channel="binance", code=429, seconds=0.4)
        with pytest.raises(InvalidStatus) as refused:
            await soon(venue.ws("/binance/stream").__aenter__())
        assert refused.value.response.status_code == 429
        await venue.fault("refuse", channel="binance", seconds=0.4)
        with pytest.raises((OSError, WebSocketException)):
            await soon(venue.ws("/binance/stream").__aenter__())
        await asyncio.sleep(0.5)
        async with venue.ws("/binance/stream"):
            pass
        await venue.fault("refuse", channel="rest", code=503, seconds=60)
        async with venue.http.get(f"http://{venue.address}/polymarket/clob/time") as answer:
            assert answer.status == 503
        await venue.fault("reset")
        assert (await venue.get("/polymarket/clob/time"))[0] == 200

    play(scene)


def test_held_frames_come_in_one_burst_and_in_order():
    async def scene(venue):
        async with venue.polymarket() as ws:
            await venue.fault("hold", channel="polymarket", ms=300)
            for number in range(1, 6):
                venue.source.change(number)
            await silence(ws, 0.15)
            sizes = [(await receive(ws))["price_changes"][0]["size"] for _ in range(5)]
            assert sizes == ["1", "2", "3", "4", "5"]
            venue.source.change(6)
            assert (await receive(ws))["price_changes"][0]["size"] == "6"

    play(scene)


def test_frames_are_duplicated_and_lost_as_many_as_told():
    async def scene(venue):
        async with venue.ws("/binance/ws/btcusdt@bookTicker") as ws:
            await asyncio.sleep(0.02)
            await venue.fault("duplicate", channel="binance", count=2)
            for number in (1, 2, 3):
                venue.source.ticker(number)
            assert [(await receive(ws))["u"] for _ in range(5)] == [1, 1, 2, 2, 3]
            await venue.fault("lose", channel="binance", count=2)
            for number in (4, 5, 6):
                venue.source.ticker(number)
            assert (await receive(ws))["u"] == 6

    play(scene)


def test_every_kind_of_garbage_arrives_and_leaves_the_connection_to_the_client():
    async def scene(venue):
        async with venue.http.ws_connect(
            f"http://{venue.address}/polymarket/ws/market", max_msg_size=0, decode_text=False
        ) as ws:
            await ws.send_json(SUBSCRIBE)
            await soon(ws.receive())
            venue.source.change(1)
            await soon(ws.receive())
            for kind in KINDS:
                await venue.fault("garbage", channel="polymarket", kinds=[kind])
                message = await soon(ws.receive())
                assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), kind
                if kind == "huge":
                    assert len(message.data) == 5 << 20
            await ws.send_str("PING")
            assert (await soon(ws.receive())).data == b"PONG"

    play(scene)


def test_a_command_that_makes_no_sense_is_refused_with_a_reason():
    async def scene(venue):
        for body in ({"fault": "explode"}, {"fault": "garbage", "kinds": ["polite"]}, {"x": 1}):
            url = f"http://{venue.address}/control"
            async with venue.http.post(url, json=body) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]

    play(scene)


def test_a_client_that_does_not_read_is_dropped_and_nobody_waits_for_it():
    async def scene(venue):
        padding = "x" * 100_000
        async with venue.polymarket(max_queue=1) as slow, venue.polymarket() as quick:
            seen = 0

            async def read():
                nonlocal seen
                async for _ in quick:
                    seen += 1

            reader = asyncio.create_task(read())
            for number in range(400):
                venue.source.push(PM_MARKET, (UP,), {"event_type": "book", "pad": padding})
                if number % 10 == 9:
                    await asyncio.sleep(0.01)
            deadline = time.monotonic() + 10
            while seen < 400 or not venue.server.tally.clients_dropped:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            reader.cancel()
            assert venue.server.tally.clients_dropped == 1
            assert len(venue.server.polymarket.clients) == 1
            assert slow is not quick

    play(scene, queue_bytes_max=1 << 20)


def test_a_venue_that_stood_still_ends_its_connections_instead_of_sending_a_backlog(monkeypatch):
    monkeypatch.setattr("sim.server.STALL_NS", 600_000_000)

    async def scene(venue):
        async with venue.polymarket() as ws:
            time.sleep(0.8)
            venue.source.change(1)
            with pytest.raises(ConnectionClosed):
                await soon(ws.recv())
        assert venue.server.tally.stalls_seen == 1

    play(scene)


# --- replay -----------------------------------------------------------------------------------


def recorded(tmp_path, count=500, pad=""):
    """Write a short recording of each venue."""
    book = json.loads(StubSource.book_event(UP))
    lines = [json.dumps({"recv_s": 1776323400.5, "frame": [book]}, separators=(",", ":"))]
    for number in range(1, count):
        change = {"asset_id": UP, "price": "0.4", "size": str(number), "side": "BUY", "hash": "h"}
        change |= {"best_bid": "0.4", "best_ask": "0.6"}
        frame = {"market": "0xabc", "price_changes": [change], "timestamp": str(number)}
        frame |= {"event_type": "price_change"} | ({"pad": pad} if pad else {})
        entry = {"recv_s": 1776323400.5 + number / 1000, "frame": frame}
        lines.append(json.dumps(entry, separators=(",", ":")))
    polymarket = tmp_path / "btc-updown-5m-1776323400.price_change.jsonl"
    polymarket.write_text("\n".join(lines) + "\n")
    binance = tmp_path / "spot_btcusdt.dat"
    top = '{{"u":{0},"s":"BTCUSDT","b":"1.0","B":"1","a":"2.0","A":"1"}}'
    row = '{0} {{"stream":"btcusdt@bookTicker","data":' + top.replace("{0}", "{1}") + "}}\n"
    binance.write_text(
        "".join(
            row.replace("{0}", str(1723161253937085768 + n * 1_000_000)).replace("{1}", str(n))
            .replace("{{", "{").replace("}}", "}")
            for n in range(count)
        )
    )  # fmt: skip
    return polymarket, binance


def test_a_replay_as_fast_as_the_client_reads_loses_nothing_and_touches_no_byte(tmp_path):
    polymarket, binance = recorded(tmp_path)
    source = ReplaySource([polymarket, binance], speed_ratio=0, is_mirrored=False)

    async def scene(venue):
        async with venue.ws("/binance/stream?streams=btcusdt@bookTicker") as ws:
            frames = [await soon(ws.recv()) for _ in range(499)]
        sent = [line.split(" ", 1)[1] for line in binance.read_text().splitlines()]
        assert frames == sent[1:]
        async with venue.ws("/polymarket/ws/market") as ws:
            await ws.send(json.dumps(SUBSCRIBE | {"assets_ids": [UP]}))
            assert (await receive(ws))[0]["asset_id"] == UP
            frames = [await soon(ws.recv()) for _ in range(499)]
        sent = [line.partition('"frame":')[2][:-1] for line in polymarket.read_text().splitlines()]
        assert frames == sent[1:]

    play(scene, source=source)


def test_a_replay_as_fast_as_the_client_reads_waits_for_a_slow_one(tmp_path):
    polymarket, _ = recorded(tmp_path, pad="x" * 40_000)
    source = ReplaySource([polymarket], speed_ratio=0, is_mirrored=False)

    async def scene(venue):
        async with venue.ws("/polymarket/ws/market", max_queue=1) as ws:
            await ws.send(json.dumps(SUBSCRIBE | {"assets_ids": [UP]}))
            await asyncio.sleep(0.5)
            assert venue.server.polymarket.backlog_bytes() > 100_000
            for _ in range(500):
                await soon(ws.recv())
        assert venue.server.tally.clients_dropped == 0

    play(scene, source=source, queue_bytes_max=4 << 20)


def test_a_client_that_comes_late_is_given_the_book_of_that_moment(tmp_path):
    source = ReplaySource([recorded(tmp_path)[0]], is_mirrored=False)

    async def scene(venue):
        await asyncio.sleep(0.2)
        market = (await venue.get("/polymarket/gamma/markets/slug/btc-updown-5m-1776323400"))[1]
        assert json.loads(market["clobTokenIds"])[0] == UP
        async with venue.ws("/polymarket/ws/market") as ws:
            await ws.send(json.dumps(SUBSCRIBE | {"assets_ids": [UP]}))
            book = (await receive(ws))[0]
            size = int(book["bids"][0]["size"])
            assert size > 50
            following = await receive(ws)
            assert int(following["price_changes"][0]["size"]) == size + 1

    play(scene, source=source)


# --- python -m sim ----------------------------------------------------------------------------


@contextlib.contextmanager
def process(tmp_path, *words, port):
    """Run `python -m sim` in a namespace of its own; yields once it serves."""
    namespace = f"t{os.getpid()}-sim"
    config = tmp_path / "own.toml"
    config.write_text(f'[host]\nnamespace = "{namespace}"\n[sim]\nport = {port}\n')
    command = [sys.executable, "-m", "sim", "--config", str(config), *words]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert child.poll() is None, child.stdout.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield child, namespace
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        for path in Path("/dev/shm").glob(f"{namespace}.*"):
            path.unlink()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def control_of(port):
    async def ask():
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port}/control") as answer,
        ):
            return await answer.json()

    return asyncio.run(ask())


def test_the_process_runs_counts_in_its_segment_and_stops_on_a_signal(tmp_path):
    from cache.counters import Counter
    from cache.layout import State
    from cache.segment import ReaderSegment

    polymarket, _ = recorded(tmp_path)
    port = free_port()
    with process(tmp_path, "--replay", str(polymarket), "--speed", "max", port=port) as (
        child,
        namespace,
    ):

        async def read():
            async with connect(f"ws://127.0.0.1:{port}/polymarket/ws/market") as ws:
                await ws.send(json.dumps(SUBSCRIBE | {"assets_ids": [UP]}))
                for _ in range(500):
                    await soon(ws.recv())

        asyncio.run(read())
        segment = ReaderSegment.attach("sim", namespace=namespace)
        assert segment.state is State.RUN
        deadline = time.monotonic() + 5
        while segment.counters[Counter.sim_frames_sent] < 500:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0


def test_a_killed_replay_goes_on_in_its_place(tmp_path):
    polymarket, _ = recorded(tmp_path, count=20_000)
    port = free_port()
    first = second = None
    with process(tmp_path, "--replay", str(polymarket), port=port) as (child, _):
        first = control_of(port)["source"]["clock_behind_ns"]
        child.kill()
        child.wait()
        # The segment stays where it is: its leftover is what the next start reads.
        time.sleep(0.3)
        command = child.args
        again = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 15
            while second is None:
                assert time.monotonic() < deadline
                with contextlib.suppress(aiohttp.ClientError):
                    second = control_of(port)["source"]["clock_behind_ns"]
                time.sleep(0.05)
        finally:
            again.kill()
            again.wait()
    assert abs(first - second) < 1_000_000


def test_a_killed_model_comes_back_with_the_same_markets(tmp_path):
    port = free_port()

    async def look():
        async with aiohttp.ClientSession() as http:
            base = f"http://127.0.0.1:{port}"
            async with http.get(f"{base}/control") as answer:
                slugs = (await answer.json())["source"]["slugs"]
            async with http.get(f"{base}/polymarket/gamma/markets/slug/{slugs[-1]}") as answer:
                market = await answer.json()
            token = json.loads(market["clobTokenIds"])[0]
            url = f"{base}/polymarket/clob/book?token_id={token}"
            async with http.get(url) as answer:
                assert answer.status == 200
            return market["slug"], market["conditionId"], token

    with process(tmp_path, "--seed", "5", port=port) as (child, _):
        first = asyncio.run(look())
        child.kill()
        child.wait()
    with process(tmp_path, "--seed", "5", port=port):
        slug, *ids = asyncio.run(look())
    # Five minutes may have begun in between; then another market is the newest.
    assert [slug, *ids] == list(first) or slug > first[0]


def test_a_taken_port_is_said_and_ends_the_process(tmp_path):
    polymarket, _ = recorded(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "own.toml"
        config.write_text(f'[host]\nnamespace = "t{os.getpid()}-taken"\n[sim]\nport = {port}\n')
        command = [sys.executable, "-m", "sim", "--config", str(config), "--replay"]
        done = subprocess.run(
            [*command, str(polymarket)], cwd=ROOT, capture_output=True, timeout=20, check=False
        )
    for path in Path("/dev/shm").glob(f"t{os.getpid()}-taken.*"):
        path.unlink()
    assert done.returncode == 1
    assert b"cannot be used" in done.stdout + done.stderr
