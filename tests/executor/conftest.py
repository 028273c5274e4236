"""Makers of the executor's values, with everything a test does not care about filled in."""

import uuid
from types import SimpleNamespace

import pytest

from cache.layout import (
    DEPTH,
    E9,
    INSTRUMENT,
    PAIR_BBO,
    SETTLEMENT,
    TARGET_QUOTES,
    TRADE,
    BoardSpec,
    OrderState,
    Side,
    State,
    tag_of,
)
from cache.segment import ReaderSegment, WriterSegment, remove, roles
from executor.diff import Wanted
from executor.market import Book, Market, Print
from executor.orders import Order, Provenance
from executor.risk import Limits

CENT = E9 // 100
MS = 1_000_000
PAIR, YES, NO, MAKER = 11, 12, 13, 99


def market(**changes):
    values = {
        "tag": PAIR,
        "slot": 0,
        "generation": 0,
        "yes_tag": YES,
        "no_tag": NO,
        "lot_e9": CENT,
        "min_qty_e9": 5 * E9,
        "fee_rate_e9": 70_000_000,
        "fee_exponent": 1,
        "rebate_rate_e9": 200_000_000,
        "taker_delay_ns": 250 * MS,
    }
    return Market(**values | changes)


def book(bid=50, ask=52, *, bid_qty=100, ask_qty=100, at_ms=0, **changes):
    """A book with prices in cents (0: empty side), sizes in shares."""
    values = {
        "pair_tag": PAIR,
        "version": 1,
        "at_ns": at_ms * MS,
        "is_trusted": True,
        "bid_px_e9": bid * CENT,
        "bid_qty_e9": bid_qty * E9 if bid else 0,
        "ask_px_e9": ask * CENT,
        "ask_qty_e9": ask_qty * E9 if ask else 0,
        "tick_e9": CENT,
    }
    return Book(**values | changes)


def trade(side, cents, shares, *, at_ms=0):
    """A print in terms of the first token."""
    return Print(PAIR, at_ms * MS, side, cents * CENT, shares * E9)


def order(cents=50, shares=10, *, side=Side.BUY, is_yes=True, **changes):
    """A working order; `cents` is the price of the token it names."""
    values = {
        "order_id": f"{side.name}-{is_yes}-{cents}-{shares}".encode(),
        "pair_tag": PAIR,
        "token_tag": YES if is_yes else NO,
        "is_yes": is_yes,
        "side": side,
        "px_e9": cents * CENT,
        "qty_e9": int(shares * E9),
        "created_ns": 0,
        "provenance": Provenance(MAKER),
        "state": OrderState.WORKING,
    }
    return Order(**values | changes)


def wanted(bid=50, ask=52, *, qty=10, bid_qty=None, ask_qty=None, at_ms=0, **changes):
    """Quotes in cents and shares, valid for a second."""
    values = {
        "bid_px_e9": bid * CENT,
        "bid_qty_e9": (qty if bid_qty is None else bid_qty) * E9,
        "ask_px_e9": ask * CENT,
        "ask_qty_e9": (qty if ask_qty is None else ask_qty) * E9,
        "valid_until_ns": (at_ms + 1000) * MS,
        "decided_ns": at_ms * MS,
        "keep": False,
        "provenance": Provenance(MAKER, 7, 8, 9),
    }
    return Wanted(**values | changes)


def limits(**changes):
    values = {
        "px_min_e9": CENT,
        "px_max_e9": 99 * CENT,
        "order_qty_max_e9": 200 * E9,
        "market_qty_max_e9": 500 * E9,
        "market_loss_max_e9": 250 * E9,
        "total_loss_max_e9": 500 * E9,
        "orders_open_max": 32,
        "orders_per_s": 40,
        "orders_burst": 60,
        "cancels_per_s": 80,
        "cancels_burst": 120,
    }
    return Limits(**values | changes)


class Tally:
    """Counts in memory instead of a segment."""

    def __init__(self):
        self.counts = {}
        self.latencies = {}

    def add(self, counter, count=1):
        self.counts[counter] = self.counts.get(counter, 0) + count

    def record(self, histogram, value_ns):
        self.latencies.setdefault(histogram, []).append(value_ns)

    def __getitem__(self, counter):
        return self.counts.get(counter, 0)


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(
        market=market,
        book=book,
        trade=trade,
        order=order,
        wanted=wanted,
        limits=limits,
        tally=Tally,
        values=values,
        CENT=CENT,
        MS=MS,
        PAIR=PAIR,
        YES=YES,
        NO=NO,
        MAKER=MAKER,
    )


# --- a world in real shared memory -----------------------------------------------------------


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self):
        self.now_ns = 10**15

    def __call__(self):
        return self.now_ns


def values(record, **changes):
    """The fields of a record behind its stamps, 0 or empty where the test does not care."""
    texts = {field.name for field in record.fields if field.is_text}
    unknown = changes.keys() - set(record.value_names)
    assert not unknown, unknown
    made = []
    for name in record.value_names:
        field = next(field for field in record.fields if field.name == name)
        given = changes.get(name, b"" if name in texts else 0)
        made += given if field.count > 1 and given else [given] * max(1, field.count)
    return tuple(made)


class World:
    """A feed and a strategy, written by the test, and the executor under test."""

    MARKETS = 4

    def __init__(self, clock):
        self.clock = clock
        self.namespace = f"pt{uuid.uuid4().hex[:12]}"
        self.writers = {}
        self.batch = 0
        self.feed = self.start_feed()

    def writer(self, role, boards):
        made = WriterSegment.create(role, boards, namespace=self.namespace)
        self.writers[role] = made
        made.set_state(State.RUN)
        made.heartbeat(self.clock())
        return made

    def start_feed(self, markets=MARKETS):
        return self.writer(
            "feed.polymarket.0",
            (
                BoardSpec("instruments", INSTRUMENT, 2 * markets, 4),
                BoardSpec("pair_bbo", PAIR_BBO, markets, 8),
                BoardSpec("depth", DEPTH, 2 * markets, 8),
                BoardSpec("trades", TRADE, 1, 64),
                BoardSpec("settlement", SETTLEMENT, markets, 8),
            ),
        )

    def start_strategy(self, name="maker"):
        return self.writer(f"strategy.{name}", (BoardSpec("quotes", TARGET_QUOTES, 4, 8),))

    def pass_ms(self, ms, *, but=()):
        """Let time pass, with a beat of every writer but some."""
        self.clock.now_ns += round(ms * MS)
        for role, segment in self.writers.items():
            if role not in but:
                segment.heartbeat(self.clock())
                segment.set_link(self.clock())

    def list_market(self, slot=0, *, name="a", generation=0, **changes):
        """List a market on the feed's directory; return the tag of the pair."""
        pair = tag_of("polymarket", name)
        board = self.feed.board("instruments")
        for index in (0, 1):
            own, other = (tag_of("polymarket", f"{name}{i}") for i in (index, 1 - index))
            board.assign(2 * slot + index, own, generation)
            board.publish(
                2 * slot + index,
                values(
                    INSTRUMENT,
                    **{
                        "id": f"{name}{index}".encode(),
                        "market_id": name.encode(),
                        "slug": name.encode(),
                        "complement_tag": other,
                        "pair_tag": pair,
                        "tick_e9": CENT,
                        "lot_e9": CENT,
                        "min_qty_e9": 5 * E9,
                        "fee_rate_e9": 70_000_000,
                        "fee_exponent": 1,
                        "rebate_rate_e9": 200_000_000,
                        "taker_delay_ns": 250 * MS,
                        "outcome_index": index,
                        "pair_slot": slot,
                    }
                    | changes,
                ),
            )
        for board_name in ("pair_bbo", "settlement"):
            self.feed.board(board_name).assign(slot, pair, generation)
        for index in (0, 1):
            self.feed.board("depth").assign(
                2 * slot + index, tag_of("polymarket", f"{name}{index}"), generation
            )
        self.feed.bump_epoch()
        return pair

    def show_book(self, bid=50, ask=52, *, slot=0, qty=100, flags=0, **changes):
        """Publish a top in cents; 0 is an empty side."""
        self.batch += 1
        made = {
            "batch": self.batch,
            "recv_ns": self.clock(),
            "publish_ns": self.clock(),
            "flags": flags,
            "yes_bid_px_e9": bid * CENT,
            "yes_bid_qty_e9": qty * E9,
            "yes_ask_px_e9": ask * CENT,
            "yes_ask_qty_e9": qty * E9,
            "no_bid_px_e9": (100 - ask) * CENT,
            "no_bid_qty_e9": qty * E9,
            "no_ask_px_e9": (100 - bid) * CENT,
            "no_ask_qty_e9": qty * E9,
            "tick_e9": CENT,
            "proven_ns": self.clock(),
        }
        self.feed.board("pair_bbo").publish(slot, values(PAIR_BBO, **made | changes))

    def show_trade(self, side, cents, shares, *, name="a", index=0):
        self.feed.board("trades").publish_tagged(
            0,
            tag_of("polymarket", f"{name}{index}"),
            0,
            values(
                TRADE,
                recv_ns=self.clock(),
                publish_ns=self.clock(),
                px_e9=cents * CENT,
                qty_e9=round(shares * E9),
                pair_tag=tag_of("polymarket", name),
                side=side,
            ),
        )

    def show_outcome(self, outcome, *, slot=0):
        self.feed.board("settlement").publish(slot, values(SETTLEMENT, outcome=outcome))

    def want(self, strategy, bid=50, ask=52, *, qty=10, slot=0, name="a", valid_ms=1000, **changes):
        """Publish target quotes in cents and shares."""
        board = strategy.board("quotes")
        board.assign(slot, tag_of("polymarket", name), 0)
        now_ns = self.clock()
        made = {
            "recv_ns": now_ns,
            "publish_ns": now_ns,
            "valid_until_ns": now_ns + valid_ms * MS,
            "bid_px_e9": bid * CENT,
            "bid_qty_e9": qty * E9,
            "ask_px_e9": ask * CENT,
            "ask_qty_e9": qty * E9,
            "book_version": 1,
            "reference_version": 2,
        }
        return board.publish(slot, values(TARGET_QUOTES, **made | changes))

    def own(self):
        """A reader of the executor's segment."""
        return ReaderSegment.attach("executor.paper", namespace=self.namespace)

    def close(self):
        for segment in self.writers.values():
            segment.close()
        for role in roles(self.namespace):
            remove(role, namespace=self.namespace)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world(clock):
    made = World(clock)
    yield made
    made.close()
