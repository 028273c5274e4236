"""The polled reference as a process, against a service that hangs, lies, freezes and dies."""

import http.server
import json
import signal
import threading
import time

import pytest

from cache.bn_cache import BNCache
from cache.counters import Counter
from cache.layout import E9, Flag, tag_of
from tests.system.feed_world import FeedProcess, feed_starter

TAG = tag_of("binance", "BTCUSDT")


class Service:
    """A pricer service in a thread; what it answers is `how`."""

    def __init__(self):
        self.how = "good"
        self.asked_count = 0
        self.frozen_ms = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                service.asked_count += 1
                service.answer(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request, client_address):
                pass  # Who asked did not wait.

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/snapshot?symbol={{symbol}}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, handler):
        if self.how == "hang":
            time.sleep(2.0)
        if self.how == "refuse":
            handler.send_error(503)
            return
        wall_ms = self.frozen_ms if self.how == "frozen" else time.time_ns() // 10**6
        self.frozen_ms = wall_ms
        found = {"wall_ts_ms": wall_ms, "symbol": "BTCUSDT", "bbo_bid": 100.0, "bbo_ask": 100.5}
        if self.how == "crossed":
            found |= {"bbo_bid": 101.0}
        body = b"<html>no</html>" if self.how == "garbage" else json.dumps(found).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class PollingFeed(FeedProcess):
    venue, board_name, tag = "binance", "bbo", TAG


@pytest.fixture
def service():
    made = Service()
    yield made
    made.close()


@pytest.fixture
def feed(service, tmp_path):
    def make(namespace):
        return PollingFeed(
            namespace, tmp_path, {}, source="poll", poll_url=service.url, poll_interval_ms=50,
            poll_timeout_ms=300,
        )  # fmt: skip

    with feed_starter(make) as begin:
        yield begin()


def test_a_polled_price_is_read_by_the_cache_like_a_streamed_one(feed):
    cache = BNCache.attach("BTCUSDT", namespace=feed.namespace)
    snapshot, first = cache.get_latest()
    assert (snapshot.best_bid_px_e9, snapshot.best_ask_px_e9) == (100 * E9, 100_500_000_000)
    feed.wait(lambda: cache.get_latest()[1] > first + 5, "more")
    assert not cache.is_stale(time.monotonic_ns() // 10**6)
    feed.wait(lambda: cache.get_latest()[0].return_1s_e9 == 0, "a return of our own samples")
    feed.wait(lambda: len(cache.mids()[0]) >= 2, "samples")
    feed.process.send_signal(signal.SIGTERM)
    assert feed.process.wait(10) == 0
    assert feed.flags == Flag.RESYNC, "whoever stops following says so"


@pytest.mark.parametrize("how", ["hang", "refuse", "crossed", "garbage", "frozen"])
def test_what_is_no_news_moves_neither_link_nor_top_and_good_answers_bring_it_back(
    feed, service, how
):
    service.how = how
    time.sleep(0.4)  # What was on its way is in.
    before, linked_ns, asked = feed.top(), feed.reader.link_ns, service.asked_count
    feed.wait(lambda: feed.flags == Flag.SUSPECT, "doubt")
    feed.wait(lambda: service.asked_count > asked, "another question")
    assert feed.reader.link_ns == linked_ns
    assert feed.top().recv_ns == before.recv_ns
    counter = {
        "hang": Counter.feeds_polls_failed,
        "refuse": Counter.feeds_polls_failed,
        "frozen": Counter.feeds_polls_unchanged,
    }.get(how, Counter.feeds_polls_refused)
    assert feed.count(counter) > 0
    service.how = "good"
    feed.wait_live()
    assert feed.reader.link_ns > linked_ns


def test_a_stopped_poller_does_not_pass_an_old_answer_off_as_fresh(feed):
    feed.process.send_signal(signal.SIGSTOP)
    stopped_ns = time.monotonic_ns()
    time.sleep(0.8)
    version = feed.top().version
    feed.process.send_signal(signal.SIGCONT)
    feed.wait(lambda: feed.reader.link_ns > stopped_ns, "a good answer")
    assert feed.reader.link_ns > stopped_ns + 700_000_000, "a question from before the stop"
    assert feed.top().version > version


def test_a_killed_poller_goes_on_where_it_was(feed):
    feed.wait(lambda: feed.reader.board("samples").version(0) >= 2, "samples")
    version = feed.top().version
    feed.process.kill()
    feed.process.wait(10)
    feed.start()
    feed.wait(lambda: feed.top().version > version and feed.is_live(), "a top to be trusted")
    assert feed.reader.incarnation == 2
    assert feed.reader.board("samples").version(0) >= 2
