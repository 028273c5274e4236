"""Ten thousand tokens in one feed: many connections, one cut, and what it costs.

A venue in this process serves 5,000 markets on real sockets, one in fifty of them busy. It prints
what it saw: start to ready, memory, processor time, REST questions a second.
"""

from __future__ import annotations

import os
import time
from collections import Counter as Tally
from pathlib import Path

import pytest

from cache.board import Miss
from cache.counters import Counter
from cache.layout import Flag
from tests.system.feed_world import feed_starter
from tests.system.scripted_venue import ScriptedVenue
from tests.system.witness_world import QuietFeed

pytestmark = pytest.mark.stress

MARKETS, CONNECTION_TOKENS, BUSY_EVERY = 5_000, 250, 50
LANES = MARKETS * 2 // CONNECTION_TOKENS
LOOK_S = 10.0


class WideFeed(QuietFeed):
    """The feed, and what its boards say of all markets at once."""

    def flags(self) -> Tally[int | None]:
        """How many markets have which flags; None what this writer has not published."""
        return Tally(flags for flags, _ in self.all_tops().values())

    def all_tops(self) -> dict[int, tuple[int | None, int]]:
        found = {}
        for slot in range(MARKETS):
            top = self.board.read(slot, 0)
            if isinstance(top, Miss) or top.incarnation != self.reader.incarnation:
                found[slot] = (None, 0)
            else:
                found[slot] = (top.flags, top.tag)
        return found

    def is_live(self) -> bool:
        return self.count(Counter.feeds_markets_listed) == MARKETS and self.flags()[0] == MARKETS

    def cpu_s(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(feed: WideFeed) -> str:
    wanted = ("VmRSS", "RssAnon", "RssShmem")
    lines = Path(f"/proc/{feed.process.pid}/status").read_text().splitlines()
    return ", ".join(" ".join(line.split()) for line in lines if line.startswith(wanted))


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """The venue, and its feed once all tokens are ready."""
    monkeypatch.setenv("PENSTOCK_EXECUTOR_MARKET_SLOTS", str(MARKETS))
    with ScriptedVenue(*(number % BUSY_EVERY == 0 for number in range(MARKETS))) as venue:

        def make(namespace, **settings):
            return WideFeed(
                namespace, tmp_path, venue,
                market_slots=MARKETS, connection_tokens_max=CONNECTION_TOKENS, **settings,
            )  # fmt: skip

        with feed_starter(make) as start:
            begun = time.monotonic()
            feed = start()
            print(f"ready after {time.monotonic() - begun:.1f} s, {feed.cpu_s():.1f} s of CPU")
            yield venue, feed


def test_ten_thousand_tokens_are_ready_and_a_cut_connection_takes_its_own_markets_alone(wide):
    venue, feed = wide
    size_mib = os.path.getsize(feed.reader.path) / 2**20
    assert feed.count(Counter.feeds_session_connected) == LANES
    counters = (
        Counter.feeds_frames_received, Counter.feeds_witness_asked, Counter.feeds_witness_matched,
    )  # fmt: skip
    before, cpu_s = [feed.count(one) for one in counters], feed.cpu_s()
    time.sleep(LOOK_S)
    rates = [(feed.count(one) - was) / LOOK_S for one, was in zip(counters, before, strict=True)]
    print(f"frames, questions, proofs a second: {[round(rate) for rate in rates]}")
    print(
        f"CPU {(feed.cpu_s() - cpu_s) / LOOK_S:.0%}; segment {size_mib:.0f} MiB; {memory_of(feed)}"
    )
    assert rates[0] > MARKETS / BUSY_EVERY, "updates flow"
    assert 0 < rates[1] <= 50, "the venue's limit of questions a second"
    feed.wait(feed.is_live, "all live")

    slots = {tag: slot for slot, (_, tag) in feed.all_tops().items()}
    stalled, seen = feed.count(Counter.feeds_loop_stalled), dict.fromkeys(slots.values(), 0)
    tokens = venue.cut_one()
    cut = {slots[market.tag] for market in venue.markets if market.tokens[0] in tokens}
    assert len(cut) == CONNECTION_TOKENS // 2
    begun = time.monotonic()

    def are_back() -> bool:
        for slot, (flags, _) in feed.all_tops().items():
            seen[slot] |= flags or 0
        return all(seen[slot] for slot in cut) and feed.is_live()

    feed.wait(are_back, "all live again")
    print(f"all live again after {time.monotonic() - begun:.2f} s")
    assert feed.count(Counter.feeds_session_disconnected) == 1
    assert feed.count(Counter.feeds_session_connected) == LANES + 1
    assert all(seen[slot] & Flag.RESYNC for slot in cut)
    if feed.count(Counter.feeds_loop_stalled) == stalled:  # else all were RESYNC, rightly
        assert {slot for slot, flags in seen.items() if flags} == cut
