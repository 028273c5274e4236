"""The Polymarket feed as a process, on real sockets: rules, cuts, garbage, stalls, deaths."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from cache.counters import Counter, Histogram
from cache.errors import SegmentMissing
from cache.layout import E9, Flag, Proof, tag_of
from cache.pm_cache import PMCache
from cache.snapshots import PMBookTop
from tests.system.feed_world import (
    FeedProcess,
    ServedVenue,
    feed_starter,
    kill_and_start_again,
    stop_for_a_second,
)
from tests.system.memory_world import wait_for

ROLE = "feed.polymarket.0"
MARKET = "0x" + "ab" * 32
YES, NO = "7" * 77, "5" * 76
TAG = tag_of("polymarket", MARKET)

LISTING = {
    "conditionId": MARKET, "slug": "will-it-hold", "outcomes": '["Yes", "No"]',
    "clobTokenIds": json.dumps([YES, NO]), "orderPriceMinTickSize": 0.01, "orderMinSize": 5,
    "negRisk": False, "closed": False,
}  # fmt: skip


DAY_S = 86_400
FAMILY = "btc-updown-24h"
"""Windows so long that no test meets the end of one."""


def window(slug):
    """The listing of a window of the family, in the terms of Gamma."""
    start = datetime.fromtimestamp(int(slug.rpartition("-")[2]), UTC)
    end = start + timedelta(seconds=DAY_S)
    times = {"eventStartTime": f"{start:%FT%TZ}", "endDate": f"{end:%FT%TZ}"}
    return LISTING | {"slug": slug, "outcomes": '["Up", "Down"]'} | times


def change(token, side, price, size, best):
    return {
        "asset_id": token, "price": price, "size": size, "side": side, "hash": "",
        "best_bid": best[0], "best_ask": best[1],
    }  # fmt: skip


class Venue(ServedVenue):
    """A Polymarket of the tests: one server in a thread, with the venue's rules.

    Its one market bids 0.40 and asks 0.50; the size of the bid is a number that grows with every
    frame. The first message must be a subscription; PING is answered PONG in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []
        self.refused_count = 0
        self.has_catalogue = True

    def answer(self, client: ServerConnection, request: Request) -> Response | None:
        """Answer look-ups; the WebSocket's path goes on to its handshake."""
        if request.path == "/ws/market":
            return None
        if not self.has_catalogue:
            return client.respond(HTTPStatus.SERVICE_UNAVAILABLE, "later")
        slug = request.path.removeprefix("/gamma/markets/slug/")
        if slug.startswith(FAMILY):
            return client.respond(HTTPStatus.OK, json.dumps(window(slug)))
        found = [LISTING] if request.path == f"/gamma/markets?clob_token_ids={YES}" else []
        return client.respond(HTTPStatus.OK, json.dumps(found))

    async def serve_client(self, client: ServerConnection) -> None:
        self.joined_count += 1
        try:
            async for text in client:
                assert isinstance(text, str)
                if client not in self.clients:
                    await self._first(client, text)
                elif text == "PING":
                    self.heard.append(text)
                    self.write(client, "PONG")
                else:
                    self._later(client, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self.clients.pop(client, None)

    async def _first(self, client: ServerConnection, text: str) -> None:
        asked = json.loads(text) if text.startswith("{") else {}
        if asked.get("type") != "market":
            self.refused_count += 1
            await client.close(1008, "invalid subscription payload")
            return
        self.heard.append(asked)
        self.clients[client] = set(asked["assets_ids"])
        self.write(client, json.dumps(self.books(asked["assets_ids"])) + "\n")

    def _later(self, client: ServerConnection, asked: dict[str, object]) -> None:
        self.heard.append(asked["operation"])
        tokens = asked["assets_ids"]
        assert isinstance(tokens, list)
        if asked["operation"] == "unsubscribe":
            self.clients[client].difference_update(tokens)
        else:
            self.clients[client].update(tokens)
            self.write(client, json.dumps(self.books(tokens)))

    # --- what is sent; on the server's thread ---------------------------------------------------

    @staticmethod
    def now() -> str:
        return str(time.time_ns() // 1_000_000)

    def books(self, tokens: list[str]) -> list[dict[str, object]]:
        sides = {
            YES: (("0.4", str(self.number)), ("0.5", "20")),
            NO: (("0.5", "20"), ("0.6", str(self.number))),
        }
        return [
            {
                "market": MARKET, "asset_id": token, "timestamp": self.now(), "hash": "",
                "bids": [{"price": sides[token][0][0], "size": sides[token][0][1]}],
                "asks": [{"price": sides[token][1][0], "size": sides[token][1][1]}],
                "event_type": "book",
            }
            for token in tokens
        ]  # fmt: skip

    def changes(self, *entries: dict[str, str]) -> str:
        return json.dumps(
            {
                "market": MARKET, "price_changes": entries, "timestamp": self.now(),
                "event_type": "price_change",
            }
        )  # fmt: skip

    def step(self) -> None:
        """Send the next size of the bid to everybody who wants the market."""
        self.number += 1
        size = str(self.number)
        frame = self.changes(
            change(YES, "BUY", "0.4", size, ("0.4", "0.5")),
            change(NO, "SELL", "0.6", size, ("0.5", "0.6")),
        )
        for client, tokens in self.clients.items():
            if tokens:
                self.write(client, frame)


class Feed(FeedProcess):
    venue = "polymarket"
    board_name = "pair_bbo"
    tag = TAG

    @property
    def number(self):
        """The newest number of the venue that was published."""
        return self.top().yes_bid_qty_e9 // E9


def feed_of(port, namespace, directory, **settings):
    at = f"127.0.0.1:{port}"
    urls = {"ws_url": f"ws://{at}/ws/market", "polybolt_url": ""}
    urls |= {name: f"http://{at}/{name[:-4]}" for name in ("gamma_url", "clob_url")}
    settings = {"families": [], "tokens": [YES], "market_slots": 2} | settings
    return Feed(namespace, directory, urls, **settings)


@pytest.fixture
def venue():
    with Venue() as made:
        yield made


@pytest.fixture
def start(venue, tmp_path):
    """Start a feed with some settings of its own, and wait until it is live."""

    def make(namespace, **settings):
        return feed_of(venue.port, namespace, tmp_path, **settings)

    with feed_starter(make) as begin:
        yield begin


def test_a_feed_follows_the_venue_until_it_is_told_to_stop(start, venue):
    feed = start()
    newest = venue.number
    feed.wait(lambda: feed.number > newest + 20, "new sizes")
    found = feed.top()
    assert (found.yes_bid_px_e9, found.yes_ask_px_e9) == (400_000_000, 500_000_000)
    assert (found.no_bid_px_e9, found.no_ask_px_e9) == (500_000_000, 600_000_000)
    assert found.no_ask_qty_e9 == found.yes_bid_qty_e9
    assert (found.proof, found.proven_ns) == (Proof.BEST_PRICES, found.recv_ns)
    assert abs(time.time_ns() - found.venue_ts_ns) < 60 * E9
    assert venue.heard[0] == {
        "assets_ids": [YES, NO], "type": "market", "custom_feature_enabled": True,
    }  # fmt: skip
    depth = feed.reader.board("depth")
    feed.wait(lambda: depth.version(1) > 3, "depth")
    assert depth.read(1, tag_of("polymarket", NO)).asks[0] == 600_000_000
    feed.wait(lambda: feed.reader.board("mids").version(0) >= 1, "a mid")
    assert feed.reader.counters.percentiles(Histogram.wire_to_slot_ns, 0.5) is not None
    assert time.monotonic_ns() - feed.reader.link_ns < 10 * E9
    feed.process.send_signal(signal.SIGTERM)
    assert feed.process.wait(10) == 0
    assert feed.flags == Flag.RESYNC


def test_the_cache_reads_the_feed_through_its_kill_and_the_removal_of_its_segment(start):
    feed = start()
    cache = PMCache.attach(MARKET, namespace=feed.namespace)
    _, first = cache.get_latest()
    feed.wait(lambda: cache.get_latest()[1] > first + 5, "news")
    snapshot, seq = cache.get_latest()
    assert (snapshot.market_id, snapshot.yes_token_id, snapshot.no_token_id) == (MARKET, YES, NO)
    assert snapshot.yes_top == PMBookTop(
        400_000_000, snapshot.yes_top.bid_qty_e9, 500_000_000, 20 * E9
    )
    assert (snapshot.combined.mid_px_e9, snapshot.combined.disagrees) == (450_000_000, ())
    assert not cache.is_stale(time.monotonic_ns() // 10**6)
    feed.wait(lambda: cache.mids()[1].tolist()[-1:] == [450_000_000], "a mid")
    feed.process.kill()
    feed.process.wait(10)
    last, seq = cache.get_latest()
    feed.start()
    feed.wait(
        lambda: cache.get_latest()[1] > seq and not cache.get_latest()[0].flags, "its successor"
    )
    Path(cache.segment.path).unlink()
    kept, seq = cache.get_latest()
    feed.processes[-1].wait(30)  # Whose segment is gone ends.
    assert cache.get_latest()[1] >= seq
    assert (
        cache.get_latest()[0].yes_top.bid_px_e9 == kept.yes_top.bid_px_e9 == last.yes_top.bid_px_e9
    )
    wait_for(lambda: cache.is_stale(time.monotonic_ns() // 10**6))
    assert not cache.segment.is_current()
    with pytest.raises(SegmentMissing):
        PMCache.attach(MARKET, namespace=feed.namespace)


def test_a_lost_connection_is_resync_until_its_whole_book_comes_again(start, venue):
    feed = start()
    held = []

    def look():
        found = feed.top()
        held.append((int(found.flags), found.yes_bid_px_e9))
        return found.flags == 0 and feed.count(Counter.feeds_session_connected) == 2

    venue.cut()
    feed.wait(look, "the next connection")
    assert (int(Flag.RESYNC), 400_000_000) in held
    assert {flags for flags, _ in held} <= {0, int(Flag.RESYNC)}
    assert venue.refused_count == 0


GARBAGE = (
    '{"event_type":"price_change","price_changes":[',
    json.dumps({"event_type": "book", "market": MARKET, "bids": 7}),
    json.dumps({"market": MARKET, "event_type": "price_change", "timestamp": "9999999999999",
                "price_changes": [change(YES, "BUY", "NaN", "1", ("0.4", "0.5"))]}),
    json.dumps({"market": MARKET, "event_type": "price_change", "timestamp": "9999999999999",
                "price_changes": [change(YES, "BUY", "0.4", "-1", ("0.4", "0.5"))]}),
    json.dumps({"market": MARKET, "event_type": "price_change", "timestamp": "9999999999999",
                "price_changes": [change(YES, "BUY", "0.4", "9" * 30, ("0.4", "0.5"))]}),
    "[1, 2]",
    "null",
    "x" * 5_000_000,
)  # fmt: skip


def test_garbage_is_counted_by_cause_and_the_connection_lives(start, venue, monkeypatch):
    monkeypatch.setenv("BOOK_STORE_HARD_STALE_MS", "3600000")
    feed = start()
    venue.say(*GARBAGE)
    venue.say(b"\x00\x01", b"")
    venue.say(b'{"event_type":"\xff"}', is_text=True)
    venue.say("[]", json.dumps({"event_type": "comet"}), json.dumps({"surprise": 1}))
    feed.wait(lambda: feed.count(Counter.feeds_events_unknown) == 2, "the last of it")
    causes = {
        Counter.feeds_frames_rejected: 11, Counter.feeds_frames_malformed: 2,
        Counter.feeds_frames_mistyped: 3, Counter.feeds_frames_out_of_range: 3,
        Counter.feeds_frames_binary: 3,
    }  # fmt: skip
    assert {counter: feed.count(counter) for counter in causes} == causes
    feed.wait(lambda: "subscribe" in venue.heard, "a whole book to be asked for")
    feed.wait_live()
    newest = venue.number
    feed.wait(lambda: feed.number > newest, "new sizes")
    assert venue.joined_count == 1
    assert feed.count(Counter.feeds_books_requested) >= 1


def test_a_doubted_book_stays_suspect_until_its_whole_book_comes(start, venue):
    feed = start()
    seen = []
    venue.say("{")

    def look():
        found = feed.top()
        seen.append(int(found.flags))
        return found.flags == 0 and int(Flag.SUSPECT) in seen

    feed.wait(look, "a whole book")
    assert set(seen) <= {0, int(Flag.SUSPECT)}


def test_a_frame_over_16_mib_costs_a_reconnect(start, venue):
    feed = start()
    venue.say("x" * ((16 << 20) + 1))
    feed.wait(lambda: feed.count(Counter.feeds_frames_oversize) == 1, "the refusal")
    feed.wait(lambda: feed.count(Counter.feeds_session_connected) == 2, "the next connection")
    feed.wait_live()


def test_a_batch_that_does_not_agree_is_suspect_until_it_does(start, venue):
    feed = start()
    venue.do(lambda: setattr(venue, "is_sending", False))
    newest = venue.number
    feed.wait(lambda: feed.number == newest, "all that was sent")
    crossing = ("0", "0.38")
    venue.say(
        venue.changes(
            change(YES, "SELL", "0.38", "9", crossing),
            change(NO, "BUY", "0.62", "9", ("0.62", "1")),
        )
    )
    feed.wait(lambda: feed.flags == Flag.SUSPECT | Flag.CROSSED, "SUSPECT")
    assert feed.top().proof in (Proof.BEST_PRICES, Proof.SNAPSHOT)
    venue.say(
        venue.changes(
            change(YES, "BUY", "0.4", "0", crossing), change(NO, "SELL", "0.6", "0", ("0.62", "1"))
        )
    )
    feed.wait(lambda: not feed.flags & Flag.SUSPECT, "agreement")
    assert feed.count(Counter.feeds_batches_held) >= 1
    assert feed.count(Counter.feeds_batches_suspect) >= 1


def test_arrays_of_changes_are_taken(start, venue):
    feed = start()
    venue.do(lambda: setattr(venue, "is_sending", False))
    one = venue.changes(
        change(YES, "BUY", "0.45", "7", ("0.45", "0.5")),
        change(NO, "SELL", "0.55", "7", ("0.5", "0.55")),
    )
    venue.say(f"[{one}]")
    feed.wait(lambda: feed.top().yes_bid_px_e9 == 450_000_000, "the array")


def test_a_stopped_feed_does_not_pass_its_backlog_off_as_fresh(start, venue):
    feed = start()
    trusted, doubted, newest = stop_for_a_second(feed, venue)
    assert trusted.yes_bid_qty_e9 // E9 >= newest
    assert all(found.flags == Flag.RESYNC for found in doubted)
    assert "PING" in venue.heard


def test_a_killed_feed_is_seen_dead_and_its_successor_keeps_the_slot(start, venue):
    feed = start()
    held, found = kill_and_start_again(feed)
    assert found.yes_bid_qty_e9 > held.yes_bid_qty_e9


def test_a_killed_feed_has_its_windows_back_though_nobody_can_be_asked_about_them(start, venue):
    feed = start(families=[FAMILY], tokens=[], lead_s=0.0)
    held = feed.top()
    venue.do(lambda: setattr(venue, "has_catalogue", False))
    feed.process.kill()
    feed.process.wait(10)
    feed.start()
    feed.wait(lambda: feed.reader.incarnation == 2, "the next incarnation")
    feed.wait_live()
    assert (feed.top().tag, feed.top().generation) == (held.tag, held.generation)
    feed.wait(lambda: feed.count(Counter.feeds_lookup_failed) >= 1, "a failed look-up")
    epoch = feed.reader.epoch
    venue.do(lambda: setattr(venue, "has_catalogue", True))
    newest = venue.number
    feed.wait(lambda: feed.number > newest + 100, "new sizes")
    assert feed.reader.epoch == epoch, "what the venue confirms is not listed anew"
    assert venue.heard.count("unsubscribe") == 0


def test_a_venue_that_is_not_there_yet_is_waited_for(tmp_path, namespace):
    with Venue() as first:
        port = first.port
    feed = feed_of(port, namespace, tmp_path).start()
    try:
        feed.attach()
        feed.wait(lambda: feed.count(Counter.feeds_lookup_failed) >= 1, "a failed look-up")
        feed.wait(lambda: feed.count(Counter.feeds_session_refused) >= 1, "a refused connection")
        assert feed.process.poll() is None
    finally:
        feed.process.kill()
        feed.process.wait(10)
