"""The byte layout of a segment, and nothing else: offsets, sizes, records, flags.

This file is the one source, with its vocabulary in `cache/enums.py` and its mechanics in
`cache/fields.py`. Struct formats, numpy dtypes, the C header `_layout.h` and the tables
of `shm_layout.md` follow from it, and tests compare them. Each offset is derived from the one
before; sizes, alignment and "no hidden padding" are asserted when the module is imported.

It does no I/O and imports nothing else of this project. What the words mean is in `shm_layout.md`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cache.enums import *  # noqa: F403 - the words of the layout are imported from here
from cache.fields import STAMP_COUNT as STAMP_COUNT
from cache.fields import Field as Field
from cache.fields import Record as Record

LAYOUT_VERSION = 1
MAGIC = 0x314B_5453_4E45_5001  # bytes 01 50 "ENSTK1": a byte-swapped reader cannot match it.

E9 = 1_000_000_000
"""Prices and sizes are integers in units of 1e-9; this is 1.0."""


PREFIX = (
    Field("tag", "u64", "whose data: blake2b-64 of `venue:id`; 0 never names anything"),
    Field("incarnation", "u32", "restart number of the writer that published it"),
    Field("generation", "u32", "how often the slot had been given away before"),
    Field("batch", "u64", "number of the venue batch; equal in records of one batch"),
    Field("venue_seq", "u64", "update id given by the venue; 0 where there is none"),
    Field("recv_ns", "i64", "bytes received, CLOCK_MONOTONIC"),
    Field("publish_ns", "i64", "record published, CLOCK_MONOTONIC"),
    Field("venue_ts_ns", "i64", "event time of the venue, wall clock; 0 unknown"),
    Field("flags", "u32", "bits of Flag"),
    Field("proof", "u32", "what last proved the book: Proof"),
)


def _record(number: int, name: str, text: str, *fields: Field, reserve: int = 0) -> Record:
    """Join prefix and own fields, and fill up with `reserve` explicit reserved bytes."""
    tail = (Field("reserved", f"s{reserve}", "zero"),) if reserve else ()
    return Record(number, name, text, PREFIX + fields + tail)


BBO = _record(
    1,
    "bbo",
    "Top of book of one instrument (Binance)",
    Field("bid_px_e9", "i64", "best bid; 0 with NO_BID"),
    Field("bid_qty_e9", "i64", "size at the best bid"),
    Field("ask_px_e9", "i64", "best ask; 0 with NO_ASK"),
    Field("ask_qty_e9", "i64", "size at the best ask"),
    Field("last_px_e9", "i64", "last trade; 0 before any"),
    Field("last_qty_e9", "i64", "size of the last trade"),
    Field("tick_e9", "i64", "tick size; 0 unknown"),
    Field("proven_ns", "i64", "when last proven, CLOCK_MONOTONIC"),
)

PAIR_BBO = _record(
    2,
    "pair_bbo",
    "Both tops of one Polymarket market, published once per batch",
    Field("yes_bid_px_e9", "i64", "best bid of the first token (Yes, Up); 0 with NO_BID"),
    Field("yes_bid_qty_e9", "i64", "size at it"),
    Field("yes_ask_px_e9", "i64", "best ask of the first token; 0 with NO_ASK"),
    Field("yes_ask_qty_e9", "i64", "size at it"),
    Field("no_bid_px_e9", "i64", "best bid of the second token (No, Down)"),
    Field("no_bid_qty_e9", "i64", "size at it"),
    Field("no_ask_px_e9", "i64", "best ask of the second token"),
    Field("no_ask_qty_e9", "i64", "size at it"),
    Field("last_px_e9", "i64", "last trade in terms of the first token; 0 before any"),
    Field("tick_e9", "i64", "tick size of the market now"),
    Field("proven_ns", "i64", "when both tops were last proven, CLOCK_MONOTONIC"),
    Field("yes_flags", "u32", "bits of Flag of the first token alone"),
    Field("no_flags", "u32", "bits of Flag of the second token alone"),
    reserve=32,
)

DEPTH_LEVELS = 20
DEPTH = _record(
    3,
    "depth",
    "Up to 20 levels a side of one token, best first",
    Field("bid_count", "u32", "levels in `bids`"),
    Field("ask_count", "u32", "levels in `asks`"),
    Field("tick_e9", "i64", "tick size"),
    Field("bids", "i64", "price, size, price, size ... best (highest) first", DEPTH_LEVELS * 2),
    Field("asks", "i64", "price, size, price, size ... best (lowest) first", DEPTH_LEVELS * 2),
    reserve=48,
)

TRADE = _record(
    4,
    "trade",
    "One print; the board is one stream, the tag says whose",
    Field("px_e9", "i64", "price, in terms of the tagged token or symbol"),
    Field("qty_e9", "i64", "size"),
    Field("trade_id", "u64", "id given by the venue; 0 where there is none"),
    Field("pair_tag", "u64", "tag of the market; 0 on Binance"),
    Field("side", "u32", "Side of the taker"),
    reserve=28,
)

FEATURES = _record(
    5,
    "features",
    "What a timer derives from a Binance top of book",
    Field("mid_px_e9", "i64", "mid price"),
    Field("return_1s_e9", "i64", "relative return over 1 s"),
    Field("return_5s_e9", "i64", "relative return over 5 s"),
    Field("return_60s_e9", "i64", "relative return over 60 s"),
    Field("sigma_e9", "i64", "clock-sampled EWMA volatility, price per square root of a second"),
    Field("shock_z_e9", "i64", "last sampled return over its own standard deviation"),
    Field("sample_count", "u64", "clock samples behind sigma; few mean it is not to be used"),
    reserve=8,
)

SAMPLE = _record(
    6,
    "sample",
    "A mid taken on the clock, one a second; its board keeps the rolling history",
    Field("mid_px_e9", "i64", "mid price"),
    Field("wall_ns", "i64", "the whole second it stands for, wall clock"),
    reserve=48,
)

INSTRUMENT = _record(
    7,
    "instrument",
    "One tradable token or symbol: the directory of a feed",
    Field("id", "s80", "token id as decimal text (up to 78 digits), or the symbol"),
    Field("market_id", "s72", "condition id (0x and 64 hex digits); empty on Binance"),
    Field("slug", "s72", "slug of the market"),
    Field("outcome", "s16", "outcome name: Up, Down, Yes, No"),
    Field("complement_tag", "u64", "tag of the other token; 0 where there is none"),
    Field("pair_tag", "u64", "tag of the market; 0 where there is none"),
    Field("reference_tag", "u64", "tag of the reference symbol; 0 where there is none"),
    Field("neg_risk_tag", "u64", "tag of the neg-risk group; 0 where there is none"),
    Field("tick_e9", "i64", "tick size when the instrument was listed"),
    Field("lot_e9", "i64", "size grid"),
    Field("min_qty_e9", "i64", "smallest order"),
    Field("fee_rate_e9", "i64", "taker fee rate"),
    Field("fee_exponent", "i64", "exponent of the fee formula"),
    Field("rebate_rate_e9", "i64", "share of taker fees rebated to makers"),
    Field("taker_delay_ns", "i64", "how long the venue holds a marketable order"),
    Field("reward_min_qty_e9", "i64", "smallest order that earns rewards; 0 none"),
    Field("reward_spread_e9", "i64", "widest spread that earns rewards; 0 none"),
    Field("window_start_ns", "i64", "start of the window, wall clock; 0 where there is none"),
    Field("window_end_ns", "i64", "end of the window, wall clock; 0 where there is none"),
    Field("twap_ns", "i64", "averaging time of the settlement price; 0 where there is none"),
    Field("outcome_index", "u32", "0 first token (Yes, Up), 1 second"),
    Field("pair_slot", "u32", "slot of the market on the boards of the same segment"),
    Field("settlement_type", "u32", "SettlementType"),
    Field("protocol_version", "u32", "1 or 2: which exchange contracts it trades on"),
    reserve=64,
)

SETTLEMENT = _record(
    8,
    "settlement",
    "Strike and settlement price of a windowed market; valid across incarnations",
    Field("window_start_ns", "i64", "start of the window, wall clock"),
    Field("window_end_ns", "i64", "end of the window, wall clock"),
    Field("strike_e9", "i64", "settlement price at the start; 0 with UNKNOWN"),
    Field("twap_e9", "i64", "newest point of the settlement price"),
    Field("twap_ts_ns", "i64", "the second that point stands for, wall clock"),
    Field("final_e9", "i64", "settlement price at the end; 0 until known"),
    Field("strike_provenance", "u32", "Provenance"),
    Field("outcome", "u32", "Outcome"),
    reserve=8,
)

TARGET_QUOTES = _record(
    9,
    "target_quotes",
    "What a strategy wants to rest on one market, in terms of the first token",
    Field("strategy_tag", "u64", "tag of the strategy that owns the market"),
    Field("valid_until_ns", "i64", "CLOCK_MONOTONIC; later it means cancel"),
    Field("bid_px_e9", "i64", "wanted bid"),
    Field("bid_qty_e9", "i64", "wanted bid size; 0 none"),
    Field("ask_px_e9", "i64", "wanted ask"),
    Field("ask_qty_e9", "i64", "wanted ask size; 0 none"),
    Field("fair_px_e9", "i64", "fair value it rests on; 0 unknown"),
    Field("model_px_e9", "i64", "model probability before the blend with the market"),
    Field("reference_px_e9", "i64", "reference price used, less the basis"),
    Field("strike_e9", "i64", "strike used"),
    Field("book_version", "u64", "version of the PairBbo it rests on"),
    Field("reference_version", "u64", "version of the Bbo it rests on"),
    Field("book_age_ns", "i64", "age of that PairBbo when decided"),
    Field("reference_age_ns", "i64", "age of that Bbo when decided"),
    Field("reason", "u32", "Reason"),
    Field("keep", "u32", "1: keep resting orders, place none (a short SUSPECT)"),
    reserve=8,
)

POSITION = _record(
    10,
    "position",
    "Holding of one market, in shares of both tokens and collateral",
    Field("yes_qty_e9", "i64", "shares of the first token"),
    Field("no_qty_e9", "i64", "shares of the second token"),
    Field("cash_e9", "i64", "collateral gained (+) or spent (-) since the first fill"),
    Field("fees_e9", "i64", "taker fees paid, contained in cash"),
    Field("rebates_e9", "i64", "maker rebates earned, not contained in cash"),
    Field("in_flight_e9", "i64", "shares of orders whose outcome is not known yet"),
    Field("fill_count", "u64", "fills so far"),
    Field("settled", "u32", "Outcome it was paid out by; UNKNOWN while open"),
    Field("reserved_word", "u32", "zero"),
)

WORKING_ORDER = _record(
    11,
    "working_order",
    "One order and where it stands",
    Field("order_id", "s32", "the venue's order id, raw bytes; of paper, a number"),
    Field("pair_tag", "u64", "tag of the market"),
    Field("px_e9", "i64", "limit price, in terms of the tagged token"),
    Field("qty_e9", "i64", "size"),
    Field("filled_e9", "i64", "filled so far"),
    Field("created_ns", "i64", "decided, CLOCK_MONOTONIC"),
    Field("working_ns", "i64", "effective at the venue, CLOCK_MONOTONIC; 0 not yet"),
    Field("quotes_version", "u64", "version of the TargetQuotes that asked for it"),
    Field("book_version", "u64", "version of the PairBbo those rested on"),
    Field("reference_version", "u64", "version of the Bbo those rested on"),
    Field("side", "u32", "Side"),
    Field("state", "u32", "OrderState"),
    reserve=16,
)

FILL = _record(
    12,
    "fill",
    "One execution of ours; the board is one stream",
    Field("order_id", "s32", "the order"),
    Field("fill_id", "u64", "number of the fill within the account"),
    Field("pair_tag", "u64", "tag of the market"),
    Field("px_e9", "i64", "price"),
    Field("qty_e9", "i64", "size"),
    Field("fee_e9", "i64", "fee paid"),
    Field("rebate_e9", "i64", "rebate earned"),
    Field("side", "u32", "Side"),
    Field("is_maker", "u32", "1 maker, 0 taker"),
    Field("book_version", "u64", "version of the PairBbo when it was filled"),
    reserve=32,
)

PROCESS = _record(
    13,
    "process",
    "One process under the supervisor",
    Field("name", "s48", "role: feed.polymarket.0, strategy.maker, ..."),
    Field("pid", "u64", "process id; 0 not running"),
    Field("started_ns", "i64", "last start, CLOCK_MONOTONIC"),
    Field("restart_count", "u64", "restarts so far"),
    Field("exit_code", "i64", "last exit code; negative a signal"),
    Field("phase", "u32", "ProcessPhase"),
    Field("reserved_word", "u32", "zero"),
    reserve=40,
)


RECORDS: tuple[Record, ...] = (
    BBO, PAIR_BBO, DEPTH, TRADE, FEATURES, SAMPLE, INSTRUMENT, SETTLEMENT,
    TARGET_QUOTES, POSITION, WORKING_ORDER, FILL, PROCESS,
)  # fmt: skip
RECORD_BY_ID = {record.id: record for record in RECORDS}
RECORD_BY_NAME = {record.name: record for record in RECORDS}


# --- segment header ---------------------------------------------------------------------------
# The first 64 bytes never change. Every word the writer changes later is one aligned 8-byte word,
# but for the bell, which the futex call wants as 32 bits and which has a cache line of its own.

HEADER_FIELDS = (
    Field("magic", "u64", "MAGIC, stored last when the segment is made"),
    Field("layout_version", "u32", "LAYOUT_VERSION"),
    Field("header_bytes", "u32", "size of this header"),
    Field("layout_hash", "u64", "blake2b-64 of the description of header, tables and records"),
    Field("total_bytes", "u64", "length of the file"),
    Field("boot_id", "s16", "kernel boot id: nothing survives a reboot"),
    Field("created_wall_ns", "i64", "when it was made, wall clock"),
    Field("reserved_head", "s8", "zero"),
    Field("incarnation", "u64", "restart number of the writer; only grows"),
    Field("state", "u64", "State of the writer"),
    Field("heartbeat_ns", "i64", "last heartbeat, CLOCK_MONOTONIC"),
    Field("pid", "u64", "process id of the writer, in its own pid namespace"),
    Field("started_ns", "i64", "start of this incarnation, CLOCK_MONOTONIC"),
    Field("loop_count", "u64", "turns of the main loop"),
    Field("link_ns", "i64", "last proof that the venue link lives, CLOCK_MONOTONIC; 0 none"),
    Field("epoch", "u64", "grows when the writer's directory of instruments changes"),
    Field("bell", "u32", "the futex word: grows by one for each burst of publishing"),
    Field("reserved_bell", "s60", "zero"),
    Field("board_count", "u32", "entries in the table of contents"),
    Field("counter_count", "u32", "words in the counter table"),
    Field("histogram_count", "u32", "histograms"),
    Field("bucket_count", "u32", "buckets of each histogram"),
    Field("counters_offset", "u64", "byte offset of the counters"),
    Field("histograms_offset", "u64", "byte offset of the histograms"),
    Field("role", "s64", "role of the writer: the segment's name without the namespace"),
    Field("reserved_tail", "s32", "zero"),
)
HEADER = Record(0, "header", "Segment header", HEADER_FIELDS)
HEADER_AT = HEADER.offsets

TOC_FIELDS = (
    Field("name", "s32", "name of the board"),
    Field("record_id", "u32", "which record type"),
    Field("record_bytes", "u32", "size of one record"),
    Field("slot_count", "u32", "N"),
    Field("cell_count", "u32", "K, a power of two"),
    Field("versions_offset", "u64", "byte offset of the N version words"),
    Field("cells_offset", "u64", "byte offset of the N x K cells"),
)
TOC_ENTRY = Record(0, "toc_entry", "Table-of-contents entry of one board", TOC_FIELDS)

BOARD_COUNT_MAX = 32
COUNTER_COUNT = 256
HISTOGRAM_COUNT = 16
BUCKET_COUNT = 1024  # log-linear: 16 buckets an octave over 64 octaves of nanoseconds

TOC_OFFSET = HEADER.size
COUNTERS_OFFSET = TOC_OFFSET + BOARD_COUNT_MAX * TOC_ENTRY.size
HISTOGRAMS_OFFSET = COUNTERS_OFFSET + COUNTER_COUNT * 8
BOARDS_OFFSET = -(-(HISTOGRAMS_OFFSET + HISTOGRAM_COUNT * BUCKET_COUNT * 8) // 4096) * 4096


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """What a board is to be: its name, record type, N slots and K cells a slot."""

    name: str
    record: Record
    slot_count: int
    cell_count: int

    def __post_init__(self) -> None:
        k = self.cell_count
        if k < 4 or k & (k - 1):
            raise ValueError(f"board {self.name}: K is {k}, must be a power of two, at least 4")
        if self.slot_count < 1:
            raise ValueError(f"board {self.name}: N is {self.slot_count}, must be at least 1")
        if len(self.name.encode()) > 31:
            raise ValueError(f"board {self.name}: the name is longer than 31 bytes")


@dataclass(frozen=True, slots=True)
class BoardPlace:
    """Where a board lies in its segment."""

    spec: BoardSpec
    versions_offset: int
    cells_offset: int


def place_boards(specs: tuple[BoardSpec, ...]) -> tuple[tuple[BoardPlace, ...], int]:
    """Give each board its offsets (64-byte aligned, in order) and the length of the file."""
    if len(specs) > BOARD_COUNT_MAX:
        raise ValueError(f"{len(specs)} boards; a segment holds at most {BOARD_COUNT_MAX}")
    places, at = [], BOARDS_OFFSET
    for spec in specs:
        versions = at
        cells = versions + -(-spec.slot_count * 8 // 64) * 64
        at = cells + spec.slot_count * spec.cell_count * spec.record.size
        places.append(BoardPlace(spec, versions, cells))
    return tuple(places), -(-at // 4096) * 4096


def _describe() -> str:
    """Everything a reader depends on, as text: what `layout_hash` is the hash of."""
    lines = [f"version {LAYOUT_VERSION} toc {TOC_OFFSET} counters {COUNTERS_OFFSET}"]
    lines.append(f"histograms {HISTOGRAMS_OFFSET} {HISTOGRAM_COUNT} {BUCKET_COUNT}")
    for record in (HEADER, TOC_ENTRY, *RECORDS):
        lines.append(f"{record.name} {record.id} {record.size}")
        for field in record.fields:
            lines.append(f"{field.name} {field.kind} {field.count} {record.offsets[field.name]}")
    return "\n".join(lines)


def tag_of(venue: str, identity: str) -> int:
    """The 64-bit name of an instrument or market: blake2b-64 of `venue:id`, never 0."""
    digest = hashlib.blake2b(f"{venue}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


LAYOUT_HASH = int.from_bytes(
    hashlib.blake2b(_describe().encode(), digest_size=8).digest(), "little"
)

assert HEADER_AT["incarnation"] == 64
assert HEADER_AT["bell"] % 64 == 0
assert HEADER.size == 320
assert all(record.size % 64 == 0 for record in RECORDS)
