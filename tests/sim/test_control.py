"""Each command of /control does to the channels what it says, and to no other."""

from __future__ import annotations

import asyncio
import json

import pytest

from sim.binance_ws import BinanceChannel
from sim.client import Tally
from sim.control import Command, Control
from sim.faults import Faults
from sim.polybolt import PolyBoltChannel
from sim.polymarket_ws import PolymarketChannel


class Stage:
    def __init__(self, talk) -> None:
        tally = Tally()
        self.channels = {
            "polymarket": PolymarketChannel(tally, lambda _: None),
            "binance": BinanceChannel(tally),
            "polybolt": PolyBoltChannel(tally, lambda *_: ()),
        }
        self.clients = {name: talk(channel).join() for name, channel in self.channels.items()}
        self.rest = Faults()
        self.control = Control(self.channels, self.rest, lambda: {"is": "described"})

    def do(self, fault, now_ns=0, **fields):
        return asyncio.run(self.control.do(Command(fault=fault, **fields), now_ns))


@pytest.fixture
def stage(talk):
    return Stage(talk)


def test_a_channel_is_named_or_all_are_meant(stage):
    assert stage.do("freeze", channel="binance") == 1
    frozen = [name for name, channel in stage.channels.items() if channel.faults.is_frozen]
    assert frozen == ["binance"]
    assert stage.do("freeze") == 3
    assert all(channel.faults.is_frozen for channel in stage.channels.values())
    stage.do("thaw")
    assert not any(channel.faults.is_active for channel in stage.channels.values())


def test_mute_is_frozen_and_more_and_thaws_too(stage):
    stage.do("mute", channel="polymarket")
    faults = stage.channels["polymarket"].faults
    assert faults.is_mute
    assert faults.is_frozen
    stage.do("thaw")
    assert not faults.is_mute


def test_single_tokens_freeze_and_thaw_alone_or_with_all(stage):
    faults = stage.channels["polymarket"].faults
    stage.do("freeze", channel="polymarket", tokens=("1", "2"))
    assert not faults.is_frozen
    stage.do("thaw", channel="polymarket", tokens=("1",))
    assert faults.frozen_topics == {"2"}
    stage.do("thaw")
    assert faults.frozen_topics == frozenset()


def test_refusing_concerns_newcomers_and_rest_only_where_meant(stage):
    stage.do("refuse", channel="rest", code=503, seconds=1)
    assert stage.rest.refusal(1) == 503
    assert stage.channels["binance"].faults.refusal(1) is None
    stage.do("reset")
    stage.do("refuse", channel="binance", seconds=1)
    assert stage.channels["binance"].faults.refusal(1) == 0
    assert stage.rest.refusal(1) is None


def test_counts_and_times_reach_the_faults(stage):
    stage.do("lose", channel="binance", count=3)
    stage.do("duplicate", channel="polymarket", count=2)
    stage.do("hold", channel="polybolt", ms=10, seconds=1)
    assert stage.channels["binance"].faults.lose_count == 3
    assert stage.channels["polymarket"].faults.twice_count == 2
    assert stage.channels["polybolt"].faults.is_active


def test_the_frames_of_one_binance_stream_can_be_lost(stage):
    assert stage.do("lose", stream="btcusdt@depth@100ms", count=2) == 1
    binance = stage.channels["binance"]
    assert binance.losing == {"btcusdt@depth@100ms": 2}
    assert not any(channel.faults.lose_count for channel in stage.channels.values())
    stage.do("reset")
    assert binance.losing == {}


def test_dropping_aborts_or_closes(stage):
    stage.do("drop", channel="polymarket")
    assert stage.clients["polymarket"].closed is None
    assert not stage.clients["polymarket"].is_open
    stage.do("drop", channel="binance", code=1012)
    assert stage.clients["binance"].closed == (1012, "dropped")
    assert stage.clients["polybolt"].is_open


def test_each_venue_shuts_down_in_its_own_way(stage):
    assert stage.do("shutdown", seconds=1) == 3
    assert stage.clients["polymarket"].closed[0] == 1001
    assert stage.clients["polybolt"].closed[0] == 4003
    assert stage.clients["binance"].closed is None
    assert b"serverShutdown" in stage.clients["binance"].frames[-1]


def test_garbage_is_as_much_as_told(stage, talk):
    spoken = talk(stage.channels["polymarket"])
    client = spoken.join()
    spoken.say(client, {"assets_ids": ["1"], "type": "market", "initial_dump": False})
    stage.do("garbage", channel="polymarket", kinds=("empty", "deep"), count=3)
    assert len(client.frames) == 6


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fault": "explode"},
        {"fault": "drop", "channel": "moon"},
        {"fault": "garbage", "kinds": ["polite"]},
        {"fault": "lose", "count": 0},
        {"fault": "lose", "unknown": 1},
        {"fault": "freeze", "channel": "all", "tokens": ["1"]},
        {"fault": "lose", "channel": "polymarket", "tokens": ["1"]},
        {"fault": "freeze", "channel": "polymarket", "tokens": [1]},
    ],
)
def test_what_makes_no_sense_is_400_with_a_reason(stage, ask, body):
    status, answer = ask(stage.control.post, "/control", json.dumps(body).encode())
    assert status == 400
    assert answer["error"]


def test_commands_and_questions_come_over_http(stage, ask):
    body = json.dumps({"fault": "lose", "channel": "binance", "count": 2}).encode()
    assert ask(stage.control.post, "/control", body) == (200, {"fault": "lose", "done": 1})
    assert stage.channels["binance"].faults.lose_count == 2
    assert ask(stage.control.get, "/control") == (200, {"is": "described"})
    assert ask(stage.control.post, "/control", b"{")[0] == 400
