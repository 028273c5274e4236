"""The record types: what lies in a cell, field by field.

Every record begins with `PREFIX`, is a multiple of 64 bytes, and says what its numbers mean in one
sentence a field. Part of the layout: `cache/layout.py` passes these names on, its hash covers them,
and shm_layout.md lists them. What holds between fields stands on that page.
"""

from __future__ import annotations

from cache.fields import Field, Record

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
    Field("bid_qty_e9", "i64", "size at the best bid; 0 without NO_BID: not told"),
    Field("ask_px_e9", "i64", "best ask; 0 with NO_ASK"),
    Field("ask_qty_e9", "i64", "size at the best ask; 0 without NO_ASK: not told"),
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
    Field("known", "u32", "bits of Known: what else here is known; the rest is 0"),
    reserve=4,
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
    Field("cause_ns", "i64", "recv_ns of the newest input that was new to it; 0 none, or renewed"),
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
    Field("order_id", "b32", "hash of the signed order, the venue's id; of paper, a number"),
    Field("pair_tag", "u64", "tag of the market"),
    Field("px_e9", "i64", "limit price, in terms of the tagged token"),
    Field("qty_e9", "i64", "size"),
    Field("filled_e9", "i64", "filled so far"),
    Field("created_ns", "i64", "decided, CLOCK_MONOTONIC"),
    Field("working_ns", "i64", "effective at the venue, CLOCK_MONOTONIC; 0 not yet"),
    Field("quotes_version", "u64", "version of the TargetQuotes that asked for it"),
    Field("book_version", "u64", "version of the PairBbo those rested on"),
    Field("reference_version", "u64", "version of the Bbo those rested on"),
    Field("book_age_ns", "i64", "age of that PairBbo when the quotes were decided"),
    Field("reference_age_ns", "i64", "age of that Bbo when the quotes were decided"),
    Field("decided_ns", "i64", "the strategy froze its inputs, CLOCK_MONOTONIC"),
    Field("quoted_ns", "i64", "the quotes were published, CLOCK_MONOTONIC"),
    Field("cause_ns", "i64", "their cause_ns if they were new to this order's decision, else 0"),
    Field("side", "u32", "Side"),
    Field("state", "u32", "OrderState"),
    Field("outcome_index", "u32", "the token: 0 first (Yes, Up), 1 second"),
    reserve=36,
)

FILL = _record(
    12,
    "fill",
    "One execution of ours; the board is one stream",
    Field("order_id", "b32", "the order"),
    Field("fill_id", "u64", "number of the fill within the account"),
    Field("pair_tag", "u64", "tag of the market"),
    Field("px_e9", "i64", "price"),
    Field("qty_e9", "i64", "size"),
    Field("fee_e9", "i64", "fee paid"),
    Field("rebate_e9", "i64", "rebate earned"),
    Field("side", "u32", "Side"),
    Field("is_maker", "u32", "1 maker, 0 taker"),
    Field("book_version", "u64", "version of the PairBbo when it was filled"),
    Field("outcome_index", "u32", "the token: 0 first (Yes, Up), 1 second"),
    reserve=28,
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
BOARD_RECORDS: dict[str, Record] = {
    "instruments": INSTRUMENT,
    "bbo": BBO,
    "pair_bbo": PAIR_BBO,
    "mids": PAIR_BBO,
    "depth": DEPTH,
    "trades": TRADE,
    "settlement": SETTLEMENT,
    "features": FEATURES,
    "samples": SAMPLE,
    "quotes": TARGET_QUOTES,
    "positions": POSITION,
    "orders": WORKING_ORDER,
    "fills": FILL,
    "processes": PROCESS,
}
"""Boards of these names hold this type and no other, in every segment."""

RECORD_BY_ID = {record.id: record for record in RECORDS}
RECORD_BY_NAME = {record.name: record for record in RECORDS}
