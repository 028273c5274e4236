"""A real feed beside a venue whose markets do what a test says, judged by the gate as a reader."""

from __future__ import annotations

import time
from collections import Counter as Tally

from cache.counters import Counter
from cache.gate import FAST15M, Trust, Witness, gate
from tests.system.feed_world import FeedProcess


class QuietFeed(FeedProcess):
    """A Polymarket feed that carries scripted markets, by token."""

    venue = "polymarket"
    board_name = "pair_bbo"
    tag = 0

    def __init__(self, namespace, directory, venue, **settings):
        self.markets = venue.markets
        tokens = [market.tokens[0] for market in venue.markets]
        settings = {"families": [], "tokens": tokens, "market_slots": 8} | settings
        super().__init__(namespace, directory, venue.urls(), **settings)

    def top_of(self, market):
        """The market's record, wherever it stands; None where there is none."""
        for slot in range(self.board.slot_count):
            found = self.board.read(slot, market.tag)
            if not isinstance(found, int):
                return found
        return None

    def judge(self, market, policy=FAST15M):
        """What a reader of now may think of the market: trust and record."""
        top = self.top_of(market)
        link_ns, incarnation = self.reader.link_ns, self.reader.incarnation
        now_ns = time.monotonic_ns()
        known = Witness(
            self.reader.liveness(now_ns), incarnation, link_ns,
            wall_offset_ns=time.time_ns() - now_ns,
        )  # fmt: skip
        return gate(top, policy, now_ns, known)[1], top

    def is_live(self):
        return all(self.judge(market)[0] is Trust.LIVE for market in self.markets)

    def watch(self, seconds, *markets, policy=FAST15M):
        """Judge again and again for so long; give how often each market had each trust.

        A host that did not let the feed run for a quarter of a second made it RESYNC, rightly: that
        is left out, for it says nothing of the markets.
        """
        found = {market.slug: Tally() for market in markets}
        stalled = self.count(Counter.feeds_loop_stalled)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            for market in markets:
                found[market.slug][self.judge(market, policy)[0]] += 1
            time.sleep(0.005)
        if self.count(Counter.feeds_loop_stalled) > stalled:
            for one in found.values():
                print(f"the feed stood still: {one.pop(Trust.GAP, 0)} looks at RESYNC")
        return found
