"""A Polymarket feed without a socket, its first lane, its timers, and readers of its boards."""

import json
import uuid
from contextlib import contextmanager

from cache.board import Miss
from cache.instruments import Directory
from cache.segment import ReaderSegment, WriterSegment
from feeds import market_lane
from feeds.polymarket import ROLE, PolymarketFeed, boards
from host.settings import BookStore
from host.settings import PolymarketFeed as Settings

SETTINGS = Settings(
    market_slots=2, families=("btc-updown-5m",), tokens=(), connection_tokens_max=250, hold_ms=5,
    depth_interval_ms=10, witness_books_per_s=1_000, lead_s=120.0, linger_s=90.0,
    lookup_timeout_s=5.0, official_interval_s=15.0, twap_silence_s=10.0, twap_wait_s=3.0,
    strike_proxy="none",
)  # fmt: skip
BOOK_STORE = BookStore(
    enabled=True, default_max_stale_ms=1_500, hard_stale_ms=5_000, max_depth=20,
    warmup_timeout_ms=10_000, warmup_min_ready_fraction=0.8,
)  # fmt: skip
S = 1_000_000_000


class Session:
    """Stands in for the connection."""

    def __init__(self):
        self.is_connected = False
        self.is_behind = False
        self.is_armed = False
        self.read_ns = 0
        self.sent = []
        self.reconnects = []

    def send(self, text):
        assert self.is_connected
        self.sent.append(json.loads(text))

    def arm_keepalive(self):
        self.is_armed = True

    def reconnect(self, reason):
        self.reconnects.append(reason)

    def take(self):
        sent, self.sent = self.sent, []
        return sent


class Settlement:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def listed(self, market, slot, generation):
        self.told.append(("listed", market.slug, slot, generation))

    def released(self, condition_id):
        self.told.append(("released", condition_id))


class World:
    """A feed without a socket, its timers, and readers of its boards."""

    def __init__(self, monkeypatch, namespace=None, *, settings=SETTINGS, **more):
        self.namespace = namespace or f"t{uuid.uuid4().hex[:12]}"
        self.now_ns = 1_000 * S
        monkeypatch.setattr(market_lane, "monotonic_ns", lambda: self.now_ns)
        self.segment = WriterSegment.create(ROLE, boards(settings), namespace=self.namespace)
        self.reader = ReaderSegment.attach(ROLE, namespace=self.namespace)
        self.settlement = Settlement()
        self.feed = PolymarketFeed(
            self.segment, "ws://127.0.0.1:1/", settings, settlement=self.settlement,
            **({"book_store": BOOK_STORE} | more),
        )  # fmt: skip
        self.timers = []
        self.lane = self.feed.lanes[0]
        self.session = self.stub(self.lane)
        self.feed.depths._later = self.later
        self.directory = Directory(self.reader)

    def stub(self, lane):
        """Put a stand-in and timers of the test in a lane."""
        lane.session = Session()
        lane._later = self.later
        return lane.session

    def later(self, delay_ms, call):
        self.timers.append((delay_ms, call))
        return len(self.timers)

    def connect(self):
        self.session.is_connected = True
        return self.lane.on_connected(self.session.send)

    def disconnect(self):
        self.session.is_connected = False
        self.lane.on_disconnected("cut")

    def read(self, *events):
        """Read frames in one go of the socket."""
        self.now_ns += 1_000
        self.session.read_ns = self.now_ns
        for event in events:
            self.lane.on_frame(json.dumps(event).encode(), self.now_ns)
        self.lane.on_burst()

    def books(self, lane, make):
        """Read the whole books of a lane's markets."""
        self.now_ns += 1_000
        lane.session.read_ns = self.now_ns
        for market, pair in lane.channel.pairs.items():
            yes, no = pair.market.token_ids
            books = [
                make.book(yes, [("0.4", "1")], [("0.5", "1")], market=market),
                make.book(no, [("0.5", "1")], [("0.6", "1")], market=market),
            ]
            lane.on_frame(json.dumps(books).encode(), self.now_ns)
        lane.on_burst()

    def fire(self):
        """Let every timer that was set go off."""
        timers, self.timers = self.timers, []
        for _, call in timers:
            call()

    def top(self, slot=0):
        found = self.reader.board("pair_bbo").read(slot, 0)
        return found if not isinstance(found, Miss) else None

    def counted(self, counter):
        return self.reader.counters[counter]

    def close(self, *, remove=True):
        self.reader.close()
        self.segment.close(remove=remove)


def tokens_of(make, *numbers):
    return [token for n in numbers for token in make.market_info(n).token_ids]


@contextmanager
def ringing_world(monkeypatch):
    """A world that notes in `rings` whenever the bell was rung."""
    made = World(monkeypatch)
    made.rings = []
    monkeypatch.setattr(made.segment, "ring", lambda: made.rings.append(1))
    yield made
    made.close()
