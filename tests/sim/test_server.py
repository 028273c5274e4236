"""The pump hands each frame to its channel. (Sockets: tests/system/test_sim.py.)"""

from __future__ import annotations

import asyncio

import pytest

from sim.frames import SimFrame
from sim.server import ServerOptions, SimServer


@pytest.fixture
def server(fake_source):
    return SimServer(fake_source, ServerOptions(), wall_ns=lambda: 5)


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("pm.market", "polymarket"),
        ("bn.bookTicker", "binance"),
        ("bn.depth@100ms", "binance"),
        ("bolt.twap", "polybolt"),
    ],
)
def test_a_frame_goes_to_the_channel_it_names(server, channel, name):
    assert server._channel_of(SimFrame(0, channel, ("x", "60"), b"{}")).name == name


def test_the_pump_publishes_what_is_due_in_order(server, talk, fake_source):
    client = talk(server.binance).join("/binance/ws", match_info={"streams": "x@trade"})
    fake_source.frames = [SimFrame(0, "bn.trade", ("X",), b"%d" % n) for n in range(5)]

    async def turn():
        pump = asyncio.create_task(server._pump())
        await asyncio.sleep(0)
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)

    asyncio.run(turn())
    assert client.take() == ["0", "1", "2", "3", "4"]


def test_the_description_names_source_clients_and_counts(server):
    described = server.describe()
    assert described["source"] == {"mode": "fake"}
    assert described["clients"] == {"polymarket": 0, "binance": 0, "polybolt": 0}
    assert described["tally"]["frames_sent"] == 0
