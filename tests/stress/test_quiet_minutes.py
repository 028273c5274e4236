"""Ten silent minutes on a live link do not make a market unquotable, not for a moment."""

from __future__ import annotations

import os

import pytest

from cache.counters import Counter
from cache.gate import FAST15M, LATENCY_ARB, LONG, Trust
from tests.system.feed_world import feed_starter
from tests.system.scripted_venue import ScriptedVenue
from tests.system.witness_world import QuietFeed

pytestmark = pytest.mark.stress

SECONDS = float(os.environ.get("PENSTOCK_STRESS_SECONDS", "600"))


@pytest.mark.parametrize("busy", [(False,), (False, True)], ids=["alone", "beside a busy one"])
def test_a_market_that_is_silent_for_minutes_is_quotable_all_the_time(tmp_path, busy):
    with ScriptedVenue(*busy) as venue:

        def make(namespace, **settings):
            return QuietFeed(namespace, tmp_path, venue, **settings)

        with feed_starter(make) as start:
            feed = start()
            quiet = venue.markets[0]
            feed.wait(lambda: feed.judge(quiet)[0] is Trust.QUIET, "QUIET")
            found = {}
            for policy in (LATENCY_ARB, FAST15M, LONG):
                found |= feed.watch(SECONDS / 3, quiet, policy=policy)[quiet.slug]
            asked, matched = (
                feed.count(counter)
                for counter in (Counter.feeds_witness_asked, Counter.feeds_witness_matched)
            )
            print(f"{sum(found.values())} looks, {asked} questions, {matched} proofs")
            assert set(found) <= {Trust.QUIET, Trust.LIVE}, found
            assert feed.count(Counter.feeds_session_connected) == 1
            assert feed.count(Counter.feeds_books_requested) == 0
            assert asked <= SECONDS * 1.2
