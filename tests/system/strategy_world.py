"""What surrounds a strategy, written by a test: two feeds and an executor in real shared memory.

Loaded by path, from the tests of the strategy and from its system test. The market is one BTC
window around the present, the reference a quiet BTCUSDT at 61,024 with 24 of basis.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from cache.board import Miss, Snapshot
from cache.errors import SegmentMissing as SegmentMissing
from cache.layout import (
    BBO,
    DEPTH,
    DEPTH_LEVELS,
    E9,
    FEATURES,
    FILL,
    INSTRUMENT,
    PAIR_BBO,
    POSITION,
    SAMPLE,
    SETTLEMENT,
    BoardSpec,
    Flag,
    Provenance,
    Record,
    SettlementType,
    State,
    tag_of,
)
from cache.segment import ReaderSegment, WriterSegment
from cache.segment import remove as remove

NS = E9
CENT = E9 // 100
SYMBOL_TAG = tag_of("binance", "BTCUSDT")
PM_BOARDS = (
    BoardSpec("instruments", INSTRUMENT, 8, 4),
    BoardSpec("pair_bbo", PAIR_BBO, 4, 8),
    BoardSpec("depth", DEPTH, 8, 8),
    BoardSpec("settlement", SETTLEMENT, 4, 8),
)
BN_BOARDS = (
    BoardSpec("instruments", INSTRUMENT, 2, 4),
    BoardSpec("bbo", BBO, 2, 8),
    BoardSpec("features", FEATURES, 2, 8),
    BoardSpec("samples", SAMPLE, 2, 128),
)
EXECUTOR_BOARDS = (BoardSpec("positions", POSITION, 4, 8), BoardSpec("fills", FILL, 1, 64))


def values(record: Record, **fields: Any) -> tuple[Any, ...]:
    """The values of a record by name; what is not named is zero or empty."""
    texts = {field.name for field in record.fields if not field.is_number}
    unknown = fields.keys() - set(record.value_names)
    assert not unknown, f"{record.name} has no {unknown}"
    return tuple(fields.get(name, b"" if name in texts else 0) for name in record.value_names)


class World:
    """Feeds and executor of one namespace; `close` removes them."""

    PM_BOARDS = PM_BOARDS
    BN_BOARDS = BN_BOARDS
    EXECUTOR_BOARDS = EXECUTOR_BOARDS

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.segments: dict[str, WriterSegment] = {}
        self.market_tag = 0
        self.start_ns = 0
        self.condition_id = ""
        self.samples_until_s = 0
        self.told: dict[str, Any] = {}
        """What `refresh` says of the settlement, where it is not a strike of the stream."""

    # --- processes ------------------------------------------------------------------------------

    def start(self, role: str, boards: tuple[BoardSpec, ...]) -> WriterSegment:
        segment = WriterSegment.create(role, boards, namespace=self.namespace)
        segment.set_state(State.RUN)
        self.segments[role] = segment
        return segment

    def start_all(self, *, open_s: int = 100) -> None:
        """Three processes, one market that is open for so long, everything fresh."""
        self.start("feed.polymarket.0", PM_BOARDS)
        self.start("feed.binance.0", BN_BOARDS)
        self.start("executor.paper", EXECUTOR_BOARDS)
        self.list_symbol()
        now_s = time.time_ns() // NS
        self.list_market(start_s=now_s - open_s)
        self.fill_history(now_s)
        self.refresh()

    def restart(self, role: str, boards: tuple[BoardSpec, ...]) -> WriterSegment:
        """What a crash and the next start look like: the same segment, another incarnation."""
        self.segments.pop(role).close()
        return self.start(role, boards)

    def replace(self, role: str, boards: tuple[BoardSpec, ...]) -> WriterSegment:
        """What another layout or an `rm` looks like: another file under the same name."""
        self.segments.pop(role).close(remove=True)
        return self.start(role, boards)

    def close(self) -> None:
        for segment in self.segments.values():
            segment.close(remove=True)
        self.segments.clear()

    def beat(self) -> None:
        """All processes live and their links are proven."""
        now_ns = time.monotonic_ns()
        for segment in self.segments.values():
            segment.heartbeat(now_ns)
            segment.set_link(now_ns)

    # --- polymarket -----------------------------------------------------------------------------

    def list_market(
        self, start_s: int, *, slot: int = 0, generation: int = 0, family: str = "btc-updown-5m",
        length_s: int = 300, **fields: Any,
    ) -> int:  # fmt: skip
        self.start_ns = start_s * NS
        self.condition_id = f"0x{start_s:064x}"
        pair_tag = tag_of("polymarket", self.condition_id)
        tokens = [f"{start_s}{side}" for side in (1, 2)]
        tags = [tag_of("polymarket", token) for token in tokens]
        segment = self.segments["feed.polymarket.0"]
        board = segment.board("instruments")
        for index in (0, 1):
            board.assign(2 * slot + index, tags[index], generation)
            segment.board("depth").assign(2 * slot + index, tags[index], generation)
            told = {
                "id": tokens[index].encode(),
                "market_id": self.condition_id.encode(),
                "slug": f"{family}-{start_s}".encode(),
                "complement_tag": tags[1 - index],
                "pair_tag": pair_tag,
                "reference_tag": SYMBOL_TAG,
                "tick_e9": CENT,
                "lot_e9": CENT,
                "min_qty_e9": 5 * E9,
                "window_start_ns": self.start_ns,
                "window_end_ns": self.start_ns + length_s * NS,
                "twap_ns": 60 * NS,
                "outcome_index": index,
                "pair_slot": slot,
                "settlement_type": SettlementType.TWAP,
                "protocol_version": 1,
            }
            board.publish(2 * slot + index, values(INSTRUMENT, **(told | fields)))
        segment.board("pair_bbo").assign(slot, pair_tag, generation)
        segment.board("settlement").assign(slot, pair_tag, generation)
        segment.bump_epoch()
        self.market_tag = pair_tag
        return pair_tag

    def book(
        self, bid: int = 49 * CENT, ask: int = 51 * CENT, *, flags: int = 0, slot: int = 0,
        age_ns: int = 0, batch: int = 0,
    ) -> None:  # fmt: skip
        now_ns = time.monotonic_ns() - age_ns
        made = values(
            PAIR_BBO, batch=batch, recv_ns=now_ns, publish_ns=now_ns, flags=flags, proven_ns=now_ns,
            yes_flags=flags, no_flags=flags,
            venue_ts_ns=time.time_ns() - age_ns, yes_bid_px_e9=bid, yes_bid_qty_e9=E9,
            yes_ask_px_e9=ask, yes_ask_qty_e9=E9, no_bid_px_e9=E9 - ask, no_bid_qty_e9=E9,
            no_ask_px_e9=E9 - bid, no_ask_qty_e9=E9, tick_e9=CENT,
        )  # fmt: skip
        self.segments["feed.polymarket.0"].board("pair_bbo").publish(slot, made)

    def depth(
        self, *levels: tuple[int, int], batch: int, flags: int = 0, slot: int = 0, age_ns: int = 0
    ) -> None:
        """The first token's depth from 0.49 and 0.51 outwards: the size of each bid and ask."""
        now_ns = time.monotonic_ns() - age_ns
        empty = [0] * (2 * DEPTH_LEVELS - 2 * len(levels))
        bids = [x for at, (size, _) in enumerate(levels) for x in ((49 - at) * CENT, size * E9)]
        asks = [x for at, (_, size) in enumerate(levels) for x in ((51 + at) * CENT, size * E9)]
        head = (batch, 0, now_ns, now_ns, 0, flags, 0, len(levels), len(levels), CENT)
        board = self.segments["feed.polymarket.0"].board("depth")
        board.publish(2 * slot, (*head, *bids, *empty, *asks, *empty))

    def settlement(
        self, strike: int = 61_000, provenance: Provenance = Provenance.STREAM,
        *, twap: int | None = 61_000, slot: int = 0,
    ) -> None:  # fmt: skip
        """The strike, and a settlement point of two seconds ago (None: no point ever came)."""
        point_s = time.time_ns() // NS - 2
        made = values(
            SETTLEMENT, strike_e9=strike * E9, strike_provenance=provenance,
            twap_e9=(twap or 0) * E9, twap_ts_ns=point_s * NS if twap else 0,
            window_start_ns=self.start_ns, window_end_ns=self.start_ns + 300 * NS,
        )  # fmt: skip
        self.segments["feed.polymarket.0"].board("settlement").publish(slot, made)

    # --- binance --------------------------------------------------------------------------------

    def list_symbol(self) -> None:
        segment = self.segments["feed.binance.0"]
        for name in ("instruments", "bbo", "features", "samples"):
            segment.board(name).assign(0, SYMBOL_TAG, 0)
        segment.board("instruments").publish(0, values(INSTRUMENT, id=b"BTCUSDT"))
        segment.bump_epoch()

    def reference(self, mid: int = 61_024, *, flags: int = 0, age_ns: int = 0) -> None:
        now_ns = time.monotonic_ns() - age_ns
        empty = bool(flags & Flag.NO_BID)
        made = values(
            BBO, recv_ns=now_ns, publish_ns=now_ns, flags=flags, proven_ns=now_ns,
            bid_px_e9=0 if empty else mid * E9 - E9 // 2, ask_px_e9=mid * E9 + E9 // 2,
            bid_qty_e9=E9, ask_qty_e9=E9,
        )  # fmt: skip
        self.segments["feed.binance.0"].board("bbo").publish(0, made)

    def features(self, sigma: int = 8, *, count: int = 60, age_ns: int = 0) -> None:
        now_ns = time.monotonic_ns() - age_ns
        made = values(
            FEATURES, recv_ns=now_ns, publish_ns=now_ns, mid_px_e9=61_024 * E9,
            sigma_e9=sigma * E9, sample_count=count,
        )  # fmt: skip
        self.segments["feed.binance.0"].board("features").publish(0, made)

    def sample(self, second: int, mid: int = 61_024) -> None:
        made = values(SAMPLE, mid_px_e9=mid * E9, wall_ns=second * NS)
        self.segments["feed.binance.0"].board("samples").publish(0, made)
        self.samples_until_s = second

    def fill_history(self, now_s: int) -> None:
        for second in range(now_s - 125, now_s + 1):
            self.sample(second)

    # --- executor -------------------------------------------------------------------------------

    def position(self, yes: int, no: int = 0, *, tag: int = 0, slot: int = 0) -> None:
        board = self.segments["executor.paper"].board("positions")
        board.assign(slot, tag or self.market_tag, 0)
        board.publish(slot, values(POSITION, yes_qty_e9=yes * E9, no_qty_e9=no * E9))

    def fill(self, *, tag: int = 0) -> None:
        board = self.segments["executor.paper"].board("fills")
        pair_tag = tag or self.market_tag
        made = values(FILL, pair_tag=pair_tag, publish_ns=time.monotonic_ns(), qty_e9=E9)
        board.publish_tagged(0, 1, 0, made)

    # --- together -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Everything there is, fresh: heartbeats, links, both books, features, sample, strike."""
        self.beat()
        self.book()
        self.reference()
        self.features()
        for second in range(self.samples_until_s + 1, time.time_ns() // NS + 1):
            self.sample(second)
        self.settlement(**self.told)

    def quotes(self, strategy: str = "maker") -> Snapshot | None:
        """What the strategy wants of the market, as an executor finds it: by its tag."""
        segment = ReaderSegment.attach(f"strategy.{strategy}", namespace=self.namespace)
        board = segment.board("quotes")
        for slot in range(board.slot_count):
            found = board.read(slot, self.market_tag)
            if not isinstance(found, Miss) and found.incarnation == segment.incarnation:
                return found
        return None


def make_world(name: str) -> Iterator[World]:
    """A world in a namespace of its own, removed at the end."""
    world = World(f"test{os.getpid()}-{name}")
    try:
        yield world
    finally:
        world.close()
