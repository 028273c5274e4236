"""The Binance feed as a process, on real sockets: cuts, shutdowns, garbage, stalls, deaths."""

from __future__ import annotations

import contextlib
import http.server
import json
import signal
import threading
import time

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from cache.bn_cache import BNCache
from cache.counters import Counter
from cache.layout import E9, Flag, Proof, tag_of
from feeds.binance import BRIDGE_NS_MIN
from tests.system.feed_world import (
    FeedProcess,
    ServedVenue,
    feed_starter,
    kill_and_start_again,
    stop_for_a_second,
)

ROLE = "feed.binance.0"
TAG = tag_of("binance", "BTCUSDT")
SHUTDOWN = json.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})


RULES = {
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                {"filterType": "LOT_SIZE", "stepSize": "0.00001000", "minQty": "0.00002000"},
            ],
        }
    ]
}
STREAMS = ["btcusdt@bookTicker", "btcusdt@trade"]


class Venue(ServedVenue):
    """A Binance of the tests: one WebSocket server in a thread, that does what a test tells it to.

    While it runs it sends tickers and trades of one symbol with growing ids to every client, and
    answers LIST_SUBSCRIPTIONS in order behind them, as the venue does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent_trades: list[int] = []
        self.is_refusing = False
        self.muted: set[ServerConnection] = set()
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stream"

    async def serve_client(self, client: ServerConnection) -> None:
        if self.is_refusing:
            client.transport.abort()
            return
        assert client.request is not None
        self.paths.append(client.request.path)
        self.clients[client] = set()
        self.joined_count += 1
        try:
            async for text in client:
                asked = json.loads(text)
                if asked["method"] == "LIST_SUBSCRIPTIONS":
                    await client.send(json.dumps({"result": STREAMS, "id": asked["id"]}))
        except ConnectionClosed:
            pass
        finally:
            self.clients.pop(client)

    # --- what is sent; on the server's thread ---------------------------------------------------

    def step(self) -> None:
        """Send one ticker and one trade to everybody who is not muted."""
        self.number += 1
        self.sent_trades.append(self.number)
        now_ms = time.time_ns() // 1_000_000
        ticker = {
            "u": self.number, "s": "BTCUSDT", "b": f"{self.number}.00", "B": "1",
            "a": f"{self.number + 1}.00", "A": "2",
        }  # fmt: skip
        trade = {
            "e": "trade", "E": now_ms, "s": "BTCUSDT", "t": self.number, "p": "5.5", "q": "1",
            "T": now_ms, "m": True, "M": True,
        }  # fmt: skip
        for client in self.clients:
            if client not in self.muted:
                for stream, data in zip(STREAMS, (ticker, trade), strict=True):
                    self.write(client, json.dumps({"stream": stream, "data": data}))

    def mute(self) -> None:
        """Send nothing more on the connections there are; those to come are served."""
        self.do(lambda: self.muted.update(self.clients))


class Rest:
    """The REST side of the venue of the tests: says what a test tells it to, when it tells it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.delay = threading.Event()
        self.delay.set()
        rest = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                rest.asked.append(self.path)
                rest.delay.wait(30)
                body = rest.candles() if "klines" in self.path else RULES
                with contextlib.suppress(OSError):
                    self.send_response(rest.status)
                    self.end_headers()
                    self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.px = 1_000

    @staticmethod
    def candle(second: int, px: int) -> list[object]:
        rest = ["1", second * 1000 + 999, "1", 9, "1", "1", "0"]
        return [second * 1000, "1", "1", "1", f"{px}.25", *rest]

    def candles(self) -> list[list[object]]:
        now_s = time.time_ns() // E9
        return [self.candle(second, self.px) for second in range(now_s - 126, now_s + 1)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/rest"

    def __enter__(self) -> Rest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.delay.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class Feed(FeedProcess):
    venue = "binance"
    board_name = "bbo"
    tag = TAG


@pytest.fixture
def venue():
    with Venue() as made:
        yield made


@pytest.fixture
def rest():
    with Rest() as made:
        yield made


@pytest.fixture
def start(venue, rest, tmp_path):
    """Start a feed with some settings of its own, and wait until it is live."""

    def make(namespace, **settings):
        urls = {"ws_url": venue.url, "rest_url": rest.url}
        return Feed(namespace, tmp_path, urls, **{"backfill_s": 0, "depth": False} | settings)

    with feed_starter(make) as begin:
        yield begin


def test_a_feed_follows_the_venue_until_it_is_told_to_stop(start, venue):
    feed = start()
    assert venue.paths == ["/stream?streams=btcusdt@bookTicker/btcusdt@trade"]
    feed.wait(lambda: feed.top().venue_seq > 1_020, "twenty updates")
    found = feed.top()
    assert found.bid_px_e9 == found.venue_seq * E9
    assert found.ask_px_e9 == (found.venue_seq + 1) * E9
    assert found.last_px_e9 == 5_500_000_000
    assert 0 <= time.monotonic_ns() - feed.reader.link_ns < 5 * E9
    feed.wait(lambda: feed.reader.board("samples").version(0) >= 2, "samples")
    features = feed.reader.board("features").read(0, TAG)
    assert features.flags == 0
    feed.process.send_signal(signal.SIGTERM)
    assert feed.process.wait(10) == 0
    assert feed.flags == Flag.RESYNC, "whoever stops following says so"


def test_the_cache_reads_the_stream_with_what_is_derived_of_it(start):
    feed = start()
    cache = BNCache.attach("BTCUSDT", namespace=feed.namespace)
    feed.wait(lambda: cache.get_latest()[0].return_1s_e9 is not None, "a return")
    snapshot, seq = cache.get_latest()
    assert snapshot.best_ask_px_e9 == snapshot.best_bid_px_e9 + E9
    assert (snapshot.best_bid_qty_e9 or 0) > 0
    assert snapshot.return_1s_e9 > 0, "the venue's price only grows"
    assert (snapshot.return_1m_e9, snapshot.meta.feed_seq) == (None, seq)
    assert not cache.is_stale(time.monotonic_ns() // 10**6)
    feed.wait(lambda: len(cache.mids()[0]) >= 2, "samples")
    times, mids = (found.tolist() for found in cache.mids())
    assert all(at % E9 == 0 for at in times)
    assert (times, mids) == (sorted(times), sorted(mids))


def test_a_lost_connection_is_resync_until_the_next_one_delivers(start, venue):
    feed = start()
    venue.is_refusing = True
    before = feed.reader.board("samples").version(0)
    venue.cut()
    feed.wait(lambda: feed.flags == Flag.RESYNC, "RESYNC")
    seen = feed.top().venue_seq
    time.sleep(0.5)
    assert feed.flags == Flag.RESYNC
    assert feed.top().venue_seq == seen
    venue.is_refusing = False
    feed.wait_live()
    assert feed.top().venue_seq > seen
    assert feed.count(Counter.feeds_session_disconnected) >= 1
    feed.wait(lambda: feed.reader.board("samples").version(0) > before, "a sample")


def test_a_server_shutdown_loses_nothing_and_raises_no_doubt(start, venue):
    feed = start()
    trades, first = feed.reader.board("trades").stream(), venue.number
    seen, flags = [], set()

    def look():
        seen.extend(found.trade_id for found in trades.take(4096))
        flags.add(feed.flags)
        return feed.count(Counter.feeds_session_bridged) == 1

    old = list(venue.clients)
    venue.say(SHUTDOWN)
    feed.wait(look, "the bridge")
    venue.do(lambda: [client.transport.abort() for client in old])
    last = venue.number + 20
    feed.wait(lambda: look() and seen and seen[-1] >= last, "more trades")
    assert flags == {Flag(0)}
    assert seen == list(range(seen[0], seen[-1] + 1)), "no trade is lost, none comes twice"
    assert seen[0] <= first + 2
    assert venue.joined_count == 2
    assert feed.count(Counter.feeds_updates_outdated) > 0, "both connections delivered for a while"


def test_garbage_is_counted_and_the_connection_lives(start, venue):
    feed = start()
    venue.is_sending = False
    time.sleep(0.1)
    garbage = [
        "{",
        "[]",
        "",
        '{"stream":"btcusdt@bookTicker","data":{"u":-5,"s":"BTCUSDT"}}',
        '{"stream":"btcusdt@bookTicker","data":{"u":9e99,"b":"NaN"}}',
        '{"stream":"btcusdt@bookTicker","data":' + "[" * 50_000,
        '{"pad":"' + "x" * 5_000_000 + '"',
        b"\x00\xff\xfe",
    ]
    rejected = feed.count(Counter.feeds_frames_rejected)
    venue.say(*garbage)
    feed.wait(
        lambda: feed.count(Counter.feeds_frames_rejected) == rejected + len(garbage), "the counts"
    )
    assert feed.flags == Flag.SUSPECT
    assert feed.count(Counter.feeds_frames_binary) == 1
    venue.is_sending = True
    feed.wait_live()
    assert venue.joined_count == 1


def test_a_ticker_that_is_well_formed_and_wrong_freezes_nothing(start, venue):
    def say(number):
        data = {"u": number, "s": "BTCUSDT", "b": "0.01", "B": "1", "a": "9000000.0", "A": "1"}
        venue.say(json.dumps({"stream": STREAMS[0], "data": data}))

    feed = start()
    say(2**63 - 1)
    feed.wait(lambda: feed.count(Counter.feeds_ids_refused) == 1, "the refusal")
    feed.wait_live()
    assert feed.count(Counter.feeds_stream_silent) == 0
    time.sleep(BRIDGE_NS_MIN / E9)
    say(venue.number + 90_000)
    feed.wait(lambda: feed.flags == Flag.SUSPECT, "the doubt")
    feed.wait(lambda: feed.count(Counter.feeds_session_bridged) == 1, "a new connection")
    feed.wait(lambda: feed.count(Counter.feeds_sequence_reset) >= 1, "the reset")
    feed.wait_live()


def test_a_stopped_feed_does_not_pass_its_backlog_off_as_fresh(start, venue):
    feed = start()
    trusted, doubted, newest = stop_for_a_second(feed, venue)
    assert trusted.venue_seq >= newest
    assert all(found.flags & Flag.RESYNC for found in doubted)


def test_a_silent_stream_is_suspect_and_followed_on_a_new_connection(start, venue):
    feed = start(ticker_silence_ms=400)
    venue.mute()
    feed.wait(lambda: feed.flags == Flag.SUSPECT, "SUSPECT")
    feed.wait_live()
    assert venue.joined_count == 2
    feed.wait(lambda: feed.count(Counter.feeds_session_bridged) == 1, "the old one to be left")
    feed.wait(lambda: len(venue.clients) == 1, "the old one to be closed")


def test_a_connection_is_replaced_before_it_grows_too_old(start, venue):
    feed = start(connection_age_s_max=1.5)
    flags = set()

    def look():
        flags.add(feed.flags)
        return feed.count(Counter.feeds_session_bridged) >= 2

    feed.wait(look, "two bridges")
    assert flags == {Flag(0)}


def test_a_killed_feed_is_seen_dead_and_its_successor_goes_on(start, venue):
    feed = start()
    features = feed.reader.board("features")
    feed.wait(lambda: getattr(features.read(0, TAG), "sample_count", 0) >= 3, "some samples")
    held, found = kill_and_start_again(feed)
    assert found.venue_seq > held.venue_seq
    feed.wait(lambda: features.read(0, TAG).incarnation == 2, "features")
    # Whether the history is kept depends on how long the hole was; it is never joined across one.
    hole_ns = found.publish_ns - held.publish_ns
    if hole_ns < 1_800_000_000:
        assert features.read(0, TAG).sample_count >= 3
    if hole_ns > 2_500_000_000:
        assert features.read(0, TAG).sample_count < 3


def count_of(feed):
    return getattr(feed.reader.board("features").read(0, TAG), "sample_count", 0)


def test_a_cold_start_takes_the_past_seconds_from_the_venues_candles(start, venue, rest):
    began_ns = time.monotonic_ns()
    feed = start_with_top(start, venue, backfill_s=126)
    feed.wait(lambda: count_of(feed) >= 100, "a volatility")
    assert time.monotonic_ns() - began_ns < 15 * E9, "sooner than by a sample a second"
    assert feed.count(Counter.feeds_samples_filled) >= 120
    run = feed.reader.board("samples").history(0, 126, TAG)
    seconds = (run["wall_ns"] // E9).tolist()
    first = max((at for at in range(1, len(seconds)) if seconds[at] <= seconds[at - 1]), default=0)
    assert seconds[first:] == list(range(seconds[first], seconds[-1] + 1))
    assert rest.asked[0].startswith("/rest/api/v3/klines?")
    instruments = feed.reader.board("instruments")
    feed.wait(lambda: instruments.read(0, TAG).tick_e9, "the rules")
    found = instruments.read(0, TAG)
    assert (found.tick_e9, found.lot_e9, found.min_qty_e9) == (10_000_000, 10_000, 20_000)


def start_with_top(start, venue, **settings):
    """Start a feed on a venue that repeats one ticker, at the price of the candles."""

    def step():
        venue.number += 1
        ticker = {"u": venue.number, "s": "BTCUSDT", "b": "1000.00", "B": "1"}
        ticker |= {"a": "1000.50", "A": "1"}
        data = json.dumps({"stream": STREAMS[0], "data": ticker})
        for client in venue.clients:
            venue.write(client, data)

    venue.step = step
    venue.is_sending = True
    return start(**settings)


def test_a_rest_side_that_refuses_changes_nothing_but_the_counts(start, venue, rest):
    rest.status = 503
    feed = start_with_top(start, venue, backfill_s=126)
    feed.wait(lambda: feed.count(Counter.feeds_requests_failed) >= 3, "failures")
    feed.wait(lambda: count_of(feed) >= 2, "samples")
    assert feed.count(Counter.feeds_samples_filled) == 0
    assert feed.is_live()


def test_a_rest_side_that_never_answers_holds_up_neither_frames_nor_the_end(start, venue, rest):
    rest.delay.clear()
    feed = start(backfill_s=126, lookup_timeout_s=60.0)
    feed.wait(lambda: rest.asked, "a question")
    newest = feed.top().venue_seq
    feed.wait(lambda: feed.top().venue_seq > newest + 20, "twenty updates")
    assert feed.is_live()
    feed.process.send_signal(signal.SIGTERM)
    assert feed.process.wait(3) == 0


def taken(feed):
    """Seconds that the feed sampled itself."""
    run = feed.reader.board("samples").history(0, 126, TAG)
    return set(run["wall_ns"][run["proof"] == Proof.NONE].tolist())


def test_a_hole_in_the_line_is_filled_when_it_is_over(start, venue, rest):
    feed = start_with_top(start, venue, backfill_s=126)
    feed.wait(lambda: count_of(feed) >= 100, "a volatility")
    feed.wait(lambda: len(taken(feed)) >= 2, "two samples")
    filled, sampled = feed.count(Counter.feeds_samples_filled), taken(feed)
    venue.is_refusing = True
    venue.cut()
    time.sleep(3.2)
    venue.is_refusing = False
    feed.wait_live()
    feed.wait(lambda: feed.count(Counter.feeds_samples_filled) > filled, "the hole to be filled")
    feed.wait(lambda: count_of(feed) >= 100, "the volatility")
    assert sampled <= taken(feed), "what was sampled is kept"


def test_of_a_recording_no_depth_and_no_past_is_asked_for(start, venue, rest, monkeypatch):
    monkeypatch.setenv("PENSTOCK_SIM_MODE", "replay")
    monkeypatch.setenv("PENSTOCK_SIM_RECORDINGS", '["some.jsonl.gz"]')
    feed = start(backfill_s=126, depth=True)
    # The rules are asked for behind the candles, and two samples are a second and more.
    feed.wait(lambda: rest.asked and count_of(feed) >= 2, "the rules and two samples")
    assert not [path for path in rest.asked if "klines" in path or "depth" in path]
    assert len(venue.paths) == 1
    assert "depth" not in venue.paths[0]
    said = feed.log.read_text()
    assert said.count("left_out") == 1
    assert "request_failed" not in said
    assert "samples_unfilled" not in said
