"""A feed's segment with depth and tops, written by hand, and the store that reads it."""

from cache.book_store import BookStore, BookStoreWriter, Stamp
from cache.layout import (
    BBO,
    DEPTH,
    DEPTH_LEVELS,
    INSTRUMENT,
    PAIR_BBO,
    BoardSpec,
    State,
    tag_of,
)
from cache.segment import ReaderSegment, WriterSegment

NOW = 10_000_000_000
MS = 1_000_000
INCARNATION = 1


class FeedWorld:
    """`feed.binance.0` with some symbols, or `feed.polymarket.0` with one market of two tokens."""

    def __init__(self, namespace, venue="binance", symbols=("BTCUSDT", "ETHUSDT")):
        self.namespace, self.venue, self.symbols = namespace, venue, symbols
        self.role = f"feed.{venue}.0"
        self.is_pair = venue == "polymarket"
        top = BoardSpec("pair_bbo", PAIR_BBO, 2, 8) if self.is_pair else BoardSpec("bbo", BBO, 4, 8)
        specs = (BoardSpec("instruments", INSTRUMENT, 4, 4), top, BoardSpec("depth", DEPTH, 4, 8))
        self.segment = WriterSegment.create(self.role, specs, namespace=namespace)
        self.top_board = self.segment.board(top.name)
        self.depth = self.segment.board("depth")
        self.writer = BookStoreWriter(self.depth, self.segment.counters)
        self.pair_tag = tag_of(venue, "market") if self.is_pair else 0
        for slot, symbol in enumerate(symbols):
            self.list(slot, symbol)
            self.writer.open(slot, self.tag(symbol), 0)
        for slot in range(1 if self.is_pair else len(symbols)):
            self.top_board.assign(slot, self.pair_tag or self.tag(symbols[slot]), 0)
        self.beat(NOW)

    def tag(self, symbol):
        return tag_of(self.venue, symbol)

    def beat(self, now_ns, *, link_ns=None):
        self.segment.set_state(State.RUN)
        self.segment.heartbeat(now_ns)
        self.segment.set_link(now_ns if link_ns is None else link_ns)

    def list(self, slot, symbol, *, is_listed=True):
        values = {
            field.name: b"" if field.is_text else 0
            for field in INSTRUMENT.fields
            if field.name in INSTRUMENT.value_names
        }
        values["id"] = symbol.encode() if is_listed else b""
        if self.is_pair:
            values["pair_tag"], values["outcome_index"] = self.pair_tag, slot
            values["complement_tag"] = self.tag(self.symbols[1 - slot])
        board = self.segment.board("instruments")
        board.assign(slot, self.tag(symbol), 0)
        board.publish(slot, tuple(values[name] for name in INSTRUMENT.value_names))
        self.segment.bump_epoch()

    def publish_top(self, *, slot=0, batch=1, recv_ns=NOW, flags=0, proven_ns=None, seq=0):
        """A top of book at 100/101."""
        prefix = (batch, seq, recv_ns, recv_ns, 0, flags, 0)
        proven_ns = recv_ns if proven_ns is None else proven_ns
        if self.is_pair:
            own = (100, 1, 101, 1, 899, 1, 900, 1, 0, 1, proven_ns, flags, flags)
        else:
            own = (100, 1, 101, 1, 0, 0, 1, proven_ns)
        self.top_board.publish(slot, (*prefix, *own))

    def publish_depth(self, *, slot=0, batch=1, recv_ns=NOW, flags=0, seq=0, bids=((100, 1),),
                      asks=((101, 1),)):  # fmt: skip
        """A depth record by hand, as a feed that keeps its own books writes it."""
        flat = [[number for level in side for number in level] for side in (bids, asks)]
        padded = [side + [0] * (2 * DEPTH_LEVELS - len(side)) for side in flat]
        head = (batch, seq, recv_ns, recv_ns, 0, flags, 0, len(bids), len(asks), 1)
        self.depth.publish(slot, (*head, *padded[0], *padded[1]))

    def stamp(self, recv_ns=NOW, **more):
        return Stamp(recv_ns, recv_ns, **more)

    def store(self):
        return BookStore(ReaderSegment.attach(self.role, namespace=self.namespace))
