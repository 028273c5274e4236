"""What all channels share: faults on the way out, pings, and the end of connections."""

from __future__ import annotations

import asyncio

import pytest

from sim.channel import NS, Channel, Heart, PingPolicy
from sim.client import Tally


@pytest.fixture
def spoken(talk):
    channel = Channel(Tally())
    channel.pings = PingPolicy(20 * NS, 60 * NS)
    return talk(channel)


def keep_alive(spoken, second):
    asyncio.run(spoken.channel.keep_alive(second * NS))


def pings(client):
    return [frame[2:] for frame in client.frames if frame[0] == 0x89]


def test_data_passes_the_faults_and_answers_do_not(spoken):
    client, channel = spoken.join(), spoken.channel
    channel.faults.freeze()
    channel.emit((client,), b"\x81\x01a")
    channel.answer(client, "PONG")
    assert client.take() == ["PONG"]
    assert channel.tally.frames_withheld == 1
    channel.faults.is_mute = True
    channel.answer(client, "PONG")
    assert client.take() == []


def test_held_data_comes_with_the_flush_to_those_it_was_meant_for(spoken):
    early, channel = spoken.join(), spoken.channel
    channel.faults.hold(NS, 0)
    channel.emit((early,), b"\x81\x01a")
    late = spoken.join()
    channel.flush(NS - 1)
    assert early.take() == []
    channel.flush(NS)
    assert early.take() == ["a"]
    assert late.take() == []


def test_doubled_data_comes_twice(spoken):
    client, channel = spoken.join(), spoken.channel
    channel.faults.duplicate(1)
    channel.emit((client,), b"\x81\x01a")
    channel.emit((client,), b"\x81\x01b")
    assert client.take() == ["a", "a", "b"]


def test_pings_come_at_their_interval_and_an_answered_client_lives(spoken):
    client = spoken.join()
    for second in range(0, 200):
        keep_alive(spoken, second)
        if client.frames:
            spoken.channel._clients[client].answered(pings(client)[-1])
            client.frames.clear()
    assert client.closed is None


def test_a_client_that_never_answers_is_closed_after_the_timeout_and_counted_once(spoken):
    client = spoken.join()
    for second in range(0, 81):
        keep_alive(spoken, second)
    assert client.closed is None
    assert len(pings(client)) == 4
    keep_alive(spoken, 81)
    assert client.closed == (1008, "Pong timeout")
    assert spoken.channel.tally.clients_dropped == 1


def test_a_pong_that_copies_no_ping_keeps_nobody_alive():
    heart = Heart(0)
    heart.open_pings.extend([(b"1", 10), (b"2", 20), (b"3", 30)])
    heart.answered(b"")
    assert len(heart.open_pings) == 3
    heart.answered(b"2")
    assert list(heart.open_pings) == [(b"3", 30)]


def test_a_channel_without_a_policy_never_pings(spoken):
    spoken.channel.pings = PingPolicy()
    client = spoken.join()
    keep_alive(spoken, 1000)
    assert client.frames == []


def test_dropping_ends_every_connection_with_or_without_a_word(spoken):
    rude, polite = spoken.join(), spoken.join()
    assert asyncio.run(spoken.channel.drop()) == 2
    assert not rude.is_open
    assert rude.closed is None
    polite.is_open = True
    asyncio.run(spoken.channel.drop(1012, "again"))
    assert polite.closed == (1012, "again")


def test_the_backlog_is_the_slowest_clients(spoken):
    assert spoken.channel.backlog_bytes() == 0
    for pending in (10, 30, 20):
        spoken.join().pending_bytes = pending
    assert spoken.channel.backlog_bytes() == 30
