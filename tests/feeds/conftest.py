"""A Polymarket channel on real boards, without sockets, and the frames to feed it."""

import json
import uuid
from types import SimpleNamespace

import pytest

from cache.board import Miss
from cache.layout import DEPTH, PAIR_BBO, TRADE, BoardSpec, tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds import pair as pairs
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import MarketChannel
from feeds.pair import Boards
from tests.twins import book_twin as book_twin

ROLE = "feed.polymarket.0"
MARKET = "0x" + "ab" * 32
YES, NO = "71321045679252212594626385532706912750332728571942532289631379312455583992563", "5" * 76
T0 = 1_790_766_981_000


def market_info(number=0, **changes):
    """A market; number 0 is MARKET with the tokens YES and NO."""
    values = {
        "condition_id": MARKET if not number else "0x" + f"{number:064x}",
        "slug": f"btc-updown-5m-{number}",
        "token_ids": (YES, NO) if not number else (f"{number}1", f"{number}2"),
        "outcomes": ("Up", "Down"),
        "tick_e9": 10_000_000,
        "min_qty_e9": 5_000_000_000,
        "neg_risk": False,
    }
    return MarketInfo(**(values | changes))


def mirrored(levels):
    """Levels of one token's side as the other token's opposite side."""
    return [(f"{1 - float(price):.4f}".rstrip("0"), size) for price, size in levels]


def book(token, bids, asks, *, ms=0, **more):
    """A `book` event; levels are (price, size), in any order."""
    return {
        "market": MARKET, "asset_id": token, "timestamp": str(T0 + ms), "hash": "",
        "bids": [{"price": p, "size": s} for p, s in bids],
        "asks": [{"price": p, "size": s} for p, s in asks],
        "event_type": "book",
    } | more  # fmt: skip


def both_books(bids, asks, *, ms=0):
    """The array of both tokens' books, given the first one's levels."""
    return [
        book(YES, bids, asks, ms=ms),
        book(NO, mirrored(asks), mirrored(bids), ms=ms),
    ]


def change(token, side, price, size, best):
    """One entry of `price_changes`; `best` is its best bid and ask."""
    return {
        "asset_id": token, "price": price, "size": size, "side": side, "hash": "",
        "best_bid": best[0], "best_ask": best[1],
    }  # fmt: skip


def changes(*entries, ms=0, market=MARKET):
    """A `price_change` event."""
    return {
        "market": market, "price_changes": list(entries), "timestamp": str(T0 + ms),
        "event_type": "price_change",
    }  # fmt: skip


def both_changes(side, price, size, best, *, ms=0):
    """A `price_change` of both tokens, given the first one's change and best prices."""
    other_side = {"BUY": "SELL", "SELL": "BUY"}[side]
    ((other_price, _),) = mirrored([(price, size)])
    (no_bid, _), (no_ask, _) = mirrored([(best[1], ""), (best[0], "")])
    return changes(
        change(YES, side, price, size, best),
        change(NO, other_side, other_price, size, (no_bid or "0", no_ask)),
        ms=ms,
    )


class Desk:
    """A channel with one market listed and subscribed, and readers of its boards."""

    def __init__(self, slot_count=4):
        namespace = f"t{uuid.uuid4().hex[:12]}"
        specs = (
            BoardSpec("pair_bbo", PAIR_BBO, slot_count, 8),
            BoardSpec("mids", PAIR_BBO, slot_count, 16),
            BoardSpec("depth", DEPTH, 2 * slot_count, 8),
            BoardSpec("trades", TRADE, 1, 64),
        )
        self.segment = WriterSegment.create(ROLE, specs, namespace=namespace)
        self.reader = ReaderSegment.attach(ROLE, namespace=namespace)
        self.boards = Boards(
            *(self.segment.board(spec.name) for spec in specs), self.segment.counters
        )
        self.reset()

    def reset(self):
        """Begin anew on the same boards, as a restarted feed does."""
        self.pongs = 0
        self.ahead_ns = 0
        self.now_ns = 1_000
        self.channel = MarketChannel(
            self.segment.counters, self.on_pong, latest=lambda: T0 * 1_000_000 + self.ahead_ns
        )
        self.pair = self.list(market_info())

    def on_pong(self):
        self.pongs += 1

    def list(self, info, slot=0):
        pair = pairs.Pair(info, slot, 0, self.boards)
        self.channel.add(pair)
        pair.on_subscribed()
        return pair

    def feed(self, *events, after_ns=1_000):
        """Feed frames, each an event, a list of events, or bytes; return what the last one was."""
        told = False
        for event in events:
            self.now_ns += after_ns
            data = event if isinstance(event, bytes) else json.dumps(event).encode()
            told = self.channel.on_frame(data, self.now_ns)
            self.channel.end_burst()
        return told

    def wait(self, ns):
        """Let time pass, and held batches expire."""
        self.now_ns += ns
        return self.channel.expire(self.now_ns)

    @property
    def top(self):
        """The PairBbo of the first slot."""
        found = self.reader.board("pair_bbo").read(0, tag_of("polymarket", MARKET))
        assert not isinstance(found, Miss)
        return found

    @property
    def yes(self):
        """Prices and sizes of the first token, in whole units."""
        top = self.top
        return tuple(
            value / 1e9
            for value in (
                top.yes_bid_px_e9, top.yes_bid_qty_e9, top.yes_ask_px_e9, top.yes_ask_qty_e9,
            )
        )  # fmt: skip

    @property
    def no(self):
        """Prices and sizes of the second token, in whole units."""
        top = self.top
        return tuple(
            value / 1e9
            for value in (
                top.no_bid_px_e9, top.no_bid_qty_e9, top.no_ask_px_e9, top.no_ask_qty_e9,
            )
        )  # fmt: skip

    def counted(self, counter):
        return self.reader.counters[counter]

    def close(self):
        self.reader.close()
        self.segment.close(remove=True)


@pytest.fixture(scope="session")
def make():
    """The makers above: a test file cannot import them."""
    return SimpleNamespace(
        MARKET=MARKET,
        YES=YES,
        NO=NO,
        T0=T0,
        Desk=Desk,
        market_info=market_info,
        book=book,
        both_books=both_books,
        change=change,
        changes=changes,
        both_changes=both_changes,
    )


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.close()
