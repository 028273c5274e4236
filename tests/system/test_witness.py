"""Quiet is not frozen: a real feed, a real venue, and a reader that judges with the gate."""

from __future__ import annotations

import time

import pytest

from cache.counters import Counter
from cache.gate import FAST15M, LATENCY_ARB, Trust
from cache.layout import E9, Proof
from cache.md_rollout import figures_of
from tests.system.feed_world import feed_starter
from tests.system.scripted_venue import ScriptedVenue
from tests.system.witness_world import QuietFeed

QUIET_S = FAST15M.quiet_ns_max / 1e9
QUOTABLE = {Trust.LIVE, Trust.QUIET}


@pytest.fixture
def start(tmp_path):
    """Start a venue of busy (True) and quiet markets, and a feed that carries them all."""
    venues = []

    def begin(*busy, **settings):
        venue = ScriptedVenue(*busy)
        venues.append(venue)
        venue.__enter__()
        feed = starter(lambda namespace, **more: QuietFeed(namespace, tmp_path, venue, **more))
        return venue, feed(**settings)

    stack = []

    def starter(make):
        manager = feed_starter(make)
        stack.append(manager)
        return manager.__enter__()

    yield begin
    for manager in stack:
        manager.__exit__(None, None, None)
    for venue in venues:
        venue.__exit__()


def test_a_lone_market_without_any_change_stays_quiet_and_quotable(start):
    venue, feed = start(False)
    (market,) = venue.markets
    feed.wait(lambda: feed.judge(market)[0] is Trust.QUIET, "QUIET")
    found = feed.watch(2 * QUIET_S, market)[market.slug]
    assert set(found) == {Trust.QUIET}
    assert feed.count(Counter.feeds_session_connected) == 1
    assert feed.count(Counter.feeds_books_requested) == 0
    assert feed.count(Counter.feeds_witness_matched) >= 8
    assert feed.count(Counter.cache_md_hits) > feed.count(Counter.cache_md_misses)
    venue.markets[0].is_busy = True
    feed.wait(feed.is_live, "changes")


@pytest.mark.parametrize(
    "setting",
    ["PENSTOCK_MD_CACHE_SHADOW=true", "PENSTOCK_MD_CACHE_SHARE=0"],
    ids=["shadow", "past"],
)
def test_whichever_way_its_questions_go_a_lone_market_stays_quotable(start, monkeypatch, setting):
    monkeypatch.setenv(*setting.split("="))
    venue, feed = start(False)
    (market,) = venue.markets
    feed.wait(lambda: feed.judge(market)[0] is Trust.QUIET, "QUIET")
    assert set(feed.watch(QUIET_S, market)[market.slug]) == {Trust.QUIET}
    figures = figures_of(feed.reader.counters)
    assert figures.direct_count >= 4
    assert figures.direct_p95_ns > 0
    is_shadow = "SHADOW" in setting
    assert (figures.compared_count > 0, figures.read_count > 0) == (is_shadow, is_shadow)
    assert figures.differed_count == 0, "a market that does not change"


def test_a_lone_quiet_market_does_not_flicker_for_the_strictest_policy(start):
    _, feed = start(False)
    (market,) = feed.markets
    feed.wait(lambda: feed.judge(market, LATENCY_ARB)[0] is Trust.QUIET, "QUIET")
    stalls = feed.count(Counter.feeds_loop_stalled)
    found = feed.watch(8, market, policy=LATENCY_ARB)[market.slug]
    assert set(found) == {Trust.QUIET} or feed.count(Counter.feeds_loop_stalled) > stalls


def test_without_the_cache_whole_books_alone_prove_a_quiet_market(start, monkeypatch):
    monkeypatch.setenv("PENSTOCK_MD_CACHE_ENABLED", "false")
    monkeypatch.setenv("BOOK_STORE_HARD_STALE_MS", "2500")
    _, feed = start(False)
    (market,) = feed.markets
    found = feed.watch(9, market)[market.slug]
    assert set(found) <= QUOTABLE
    assert {Trust.QUIET, Trust.LIVE} == set(found)
    assert 3 <= feed.count(Counter.feeds_books_requested) <= 4
    assert feed.count(Counter.feeds_witness_asked) == 0
    assert feed.count(Counter.feeds_session_connected) == 1


def test_without_the_cache_nothing_is_asked_and_a_quiet_book_goes_stale(start, monkeypatch):
    monkeypatch.setenv("PENSTOCK_MD_CACHE_ENABLED", "false")
    venue, feed = start(False, True)
    quiet, busy = venue.markets
    feed.wait(lambda: feed.judge(quiet)[0] is Trust.QUIET, "QUIET")
    feed.wait(lambda: feed.judge(quiet)[0] is Trust.STALE, "STALE")
    assert feed.judge(busy)[0] is Trust.LIVE
    assert feed.count(Counter.feeds_witness_asked) == 0
    assert feed.log.read_text().count("witness_off") == 1


def test_a_quiet_connection_proves_its_link_by_pings_alone(start, monkeypatch):
    monkeypatch.setenv("PENSTOCK_MD_CACHE_ENABLED", "false")
    monkeypatch.setenv("PENSTOCK_BOOK_STORE_HARD_STALE_MS", "3600000")
    _, feed = start(False)
    frames = feed.count(Counter.feeds_frames_received)
    ages_ns = []
    end = time.monotonic() + 4
    while time.monotonic() < end:
        link_ns = feed.reader.link_ns
        ages_ns.append(time.monotonic_ns() - link_ns)
        time.sleep(0.005)
    assert feed.count(Counter.feeds_frames_received) == frames
    assert max(ages_ns) <= FAST15M.evidence_ns_max or feed.count(Counter.feeds_loop_stalled)


def test_a_frozen_market_is_found_while_its_siblings_go_on_and_comes_back(start):
    venue, feed = start(True, True, False)
    busy, frozen, quiet = venue.markets
    venue.fault("freeze", channel="polymarket", tokens=frozen.tokens)
    held = frozen.number
    began = time.monotonic()
    feed.wait(lambda: feed.judge(frozen)[0] not in QUOTABLE, "doubt")
    took_s = time.monotonic() - began
    assert took_s < QUIET_S + 1
    assert frozen.number > held, "the truth moves on"
    print(f"found after {took_s:.2f} s")
    found = feed.watch(6, busy, frozen, quiet)
    assert set(found[busy.slug]) == {Trust.LIVE}
    assert Trust.QUIET in found[quiet.slug]  # LIVE after it was asked for anew
    assert set(found[quiet.slug]) <= {Trust.QUIET, Trust.LIVE}
    assert not set(found[frozen.slug]) & QUOTABLE
    assert feed.count(Counter.feeds_books_frozen) == 1
    assert feed.count(Counter.feeds_books_requested) >= 1
    venue.fault("thaw", channel="polymarket", tokens=frozen.tokens)
    feed.wait(lambda: feed.judge(frozen)[0] is Trust.LIVE, "the market again")
    top = feed.judge(frozen)[1]
    assert top.yes_bid_qty_e9 // E9 > held
    assert feed.count(Counter.feeds_session_connected) == 1, "siblings flowed all the time"


def test_one_frozen_token_of_a_market_is_shown_as_the_mirror_of_the_other(start):
    venue, feed = start(True)
    (market,) = venue.markets
    venue.fault("freeze", channel="polymarket", tokens=market.tokens[1:])
    held = market.number
    feed.wait(lambda: feed.top_of(market).no_ask_qty_e9 // E9 > held + 30, "the mirror")
    found = feed.watch(3, market)[market.slug]
    assert set(found) == {Trust.LIVE}


def test_a_connection_on_which_nothing_flows_is_made_anew(start):
    venue, feed = start(True, True)
    venue.fault("freeze", channel="polymarket")
    feed.wait(lambda: feed.count(Counter.feeds_session_connected) == 2, "a new connection")
    found = feed.watch(1, *venue.markets)
    assert not {trust for one in found.values() for trust in one} & QUOTABLE
    venue.fault("thaw", channel="polymarket")
    feed.wait(feed.is_live, "the markets again")


def test_without_rest_quiet_markets_are_not_quoted_and_busy_ones_go_on(start, monkeypatch):
    # A whole book that the stream is asked for would be a proof as well.
    monkeypatch.setenv("PENSTOCK_BOOK_STORE_HARD_STALE_MS", "3600000")
    venue, feed = start(True, False)
    busy, quiet = venue.markets
    feed.wait(lambda: feed.top_of(quiet).proof == Proof.WITNESS, "a witness")
    venue.fault("refuse", channel="rest", code=503, seconds=3600)
    began = time.monotonic()
    feed.wait(lambda: feed.judge(quiet)[0] is Trust.STALE, "STALE")
    assert time.monotonic() - began < QUIET_S + 1
    found = feed.watch(4, busy, quiet)
    assert set(found[busy.slug]) == {Trust.LIVE}
    assert set(found[quiet.slug]) == {Trust.STALE}
    assert feed.count(Counter.cache_md_refreshes_failed) >= 3
    feed.wait(lambda: feed.count(Counter.feeds_witness_failed), "that it is told")
    asked = feed.count(Counter.feeds_witness_asked)
    feed.watch(4, quiet)
    assert feed.count(Counter.feeds_witness_asked) <= asked + 4, "who fails is asked less"
    venue.fault("reset", channel="rest")
    feed.wait(lambda: feed.judge(quiet)[0] is Trust.QUIET, "QUIET again")


def test_a_witness_that_hangs_harms_nobody(start):
    venue, feed = start(True, False)
    busy, quiet = venue.markets
    feed.wait(lambda: feed.judge(quiet)[0] is Trust.QUIET, "QUIET")
    hanging = venue.server.source.book

    def hang(token):
        time.sleep(0.3)  # the venue's own thread: its stream stutters too
        return hanging(token)

    venue.server.source.book = hang
    found = feed.watch(3, busy, quiet)
    assert set(found[busy.slug]) <= QUOTABLE
    assert Trust.QUIET in found[quiet.slug]  # LIVE after it was asked for anew
    assert set(found[quiet.slug]) <= {Trust.QUIET, Trust.LIVE}
