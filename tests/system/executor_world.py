"""What surrounds an executor, written by a test: a feed and a strategy in real shared memory.

Loaded by path, from the tests of the executor and from its system test. Prices are given in cents,
sizes in shares.
"""

import uuid

from cache.layout import (
    DEPTH,
    E9,
    INSTRUMENT,
    PAIR_BBO,
    SETTLEMENT,
    TARGET_QUOTES,
    TRADE,
    BoardSpec,
    State,
    tag_of,
)
from cache.segment import ReaderSegment, WriterSegment, remove, roles

CENT = E9 // 100
MS = 1_000_000


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self):
        self.now_ns = 10**15

    def __call__(self):
        return self.now_ns


def values(record, **changes):
    """The fields of a record behind its stamps, 0 or empty where the test does not care."""
    texts = {field.name for field in record.fields if not field.is_number}
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

    @staticmethod
    def token_tag(index, name="a"):
        return tag_of("polymarket", f"{name}{index}")

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

    def own_writer(self):
        """The executor's segment as its writer holds it; None before there was one."""
        return self.writers.get("executor.paper")

    def own(self):
        """A reader of the executor's segment."""
        return ReaderSegment.attach("executor.paper", namespace=self.namespace)

    def close(self):
        for segment in self.writers.values():
            segment.close()
        for role in roles(self.namespace):
            remove(role, namespace=self.namespace)
