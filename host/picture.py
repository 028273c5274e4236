"""The rows of a survey, as typed data: what `penstock status --json` prints, field for field.

Money and sizes are integers in 1e-9, ages are milliseconds. None means unknown; it is never 0.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct, field


class ProcessRow(Struct):
    """One segment's writer, and what the supervisor says of it."""

    role: str
    liveness: str = "UNKNOWN"
    state: str = ""
    pid: int = 0
    incarnation: int = 0
    heartbeat_age_ms: int | None = None
    link_age_ms: int | None = None
    uptime_s: float | None = None
    loop_count: int = 0
    phase: str | None = None
    restart_count: int | None = None
    exit_code: int | None = None
    error: str = ""


class BookRow(Struct):
    """Both tops of one Polymarket market."""

    market: str
    slot: int
    version: int = 0
    age_ms: int | None = None
    is_stale: bool = True
    """Older than `PMCache` takes for fresh: a quiet market is, and may be sound all the same."""
    trust: str = "NEVER_SEEN"
    """How far it may be trusted, by the policy of the strategy."""
    flags: list[str] = field(default_factory=list)
    move_1m_e9: int | None = None
    """How far the mid of the first token moved in the last minute."""
    ends_s: float | None = None
    yes_bid_px_e9: int | None = None
    yes_bid_qty_e9: int | None = None
    yes_ask_px_e9: int | None = None
    yes_ask_qty_e9: int | None = None
    no_bid_px_e9: int | None = None
    no_bid_qty_e9: int | None = None
    no_ask_px_e9: int | None = None
    no_ask_qty_e9: int | None = None
    disagrees: list[str] = field(default_factory=list)
    """The sides on which the two books are not mirrors of each other."""
    last_px_e9: int | None = None
    tick_e9: int | None = None
    strike_e9: int | None = None
    twap_e9: int | None = None
    strike_provenance: str = "UNKNOWN"


class ReferenceRow(Struct):
    """The top of book of one reference symbol."""

    symbol: str
    slot: int
    version: int = 0
    age_ms: int | None = None
    is_stale: bool = True
    """Older than `BNCache` takes for fresh."""
    trust: str = "NEVER_SEEN"
    """How far it may be trusted, by the policy of the strategy."""
    flags: list[str] = field(default_factory=list)
    move_1m_e9: int | None = None
    """How far the mid moved in the last minute."""
    bid_px_e9: int | None = None
    bid_qty_e9: int | None = None
    ask_px_e9: int | None = None
    ask_qty_e9: int | None = None
    sigma_e9: int | None = None
    sample_count: int = 0


class DepthRow(Struct):
    """The depth of one token or symbol, as the book store would serve it."""

    feed: str
    token: str
    trust: str
    """How far it may be trusted."""
    policy: str
    """By which policy: that of the strategy."""
    is_ready: bool = False
    sequence: int | None = None
    update_count: int = 0
    age_ms: int | None = None
    bid_count: int | None = None
    ask_count: int | None = None


class ServedRow(Struct):
    """What became of the books that one process asked for, since its segment was made."""

    role: str
    hit_count: int
    miss_counts: dict[str, int]
    """By cause; those that never were are left out."""
    hit_rate: float
    age_histogram: tuple[int, ...]
    """Books served by age; the bounds are `AGE_BOUNDS_MS` of cache/book_metrics.py."""
    age_ms_p50: float | None = None
    """Upper bound of the bucket in which it lies; None where nothing was served."""
    age_ms_p95: float | None = None
    """The same. Infinite, which is null in JSON, where it is more than the last bound."""


class QuoteRow(Struct):
    """What a strategy wants on one market, in terms of its first token."""

    COPIED: ClassVar = (
        "bid_px_e9", "bid_qty_e9", "ask_px_e9", "ask_qty_e9",
        "fair_px_e9", "model_px_e9", "reference_px_e9", "strike_e9",
    )  # fmt: skip

    strategy: str
    market: str
    version: int = 0
    age_ms: int | None = None
    valid_ms: int | None = None
    reason: str = ""
    keep: bool = False
    bid_px_e9: int = 0
    bid_qty_e9: int = 0
    ask_px_e9: int = 0
    ask_qty_e9: int = 0
    fair_px_e9: int = 0
    model_px_e9: int = 0
    reference_px_e9: int = 0
    strike_e9: int = 0


class OrderRow(Struct):
    """An order that may rest at the venue."""

    COPIED: ClassVar = ("px_e9", "qty_e9", "filled_e9")

    account: str
    market: str
    outcome: str
    side: str = ""
    state: str = ""
    px_e9: int = 0
    qty_e9: int = 0
    filled_e9: int = 0
    age_ms: int | None = None


class PositionRow(Struct):
    """The holding of one market."""

    COPIED: ClassVar = (
        "yes_qty_e9", "no_qty_e9", "cash_e9", "fees_e9", "rebates_e9", "in_flight_e9",
        "fill_count",
    )  # fmt: skip

    account: str
    market: str
    yes_qty_e9: int = 0
    no_qty_e9: int = 0
    cash_e9: int = 0
    fees_e9: int = 0
    rebates_e9: int = 0
    in_flight_e9: int = 0
    fill_count: int = 0
    settled: str = "UNKNOWN"
    is_known: bool = True
    """False when the executor could not read its own records: look at its log."""


class FillRow(Struct):
    """One execution."""

    COPIED: ClassVar = ("fill_id", "px_e9", "qty_e9", "fee_e9", "rebate_e9")

    account: str
    market: str
    outcome: str
    side: str = ""
    fill_id: int = 0
    px_e9: int = 0
    qty_e9: int = 0
    fee_e9: int = 0
    rebate_e9: int = 0
    is_maker: bool = False
    age_ms: int | None = None


class RestCacheRow(Struct):
    """The cache for REST snapshots of one feed, and asking past it, since its segment was made."""

    COPIED: ClassVar = (
        "read_count", "read_p50_ns", "read_p95_ns", "age_p50_ns", "age_p95_ns",
        "direct_count", "direct_p50_ns", "direct_p95_ns", "compared_count", "differed_count",
    )  # fmt: skip

    role: str
    gate: str
    """What the rollback gates say of these figures; ROLLED_BACK once one of them was applied, and
    nothing where no read may go past the cache."""
    reason: str = ""
    read_count: int = 0
    hit_ratio: float | None = None
    read_p50_ns: int | None = None
    read_p95_ns: int | None = None
    age_p50_ns: int | None = None
    age_p95_ns: int | None = None
    direct_count: int = 0
    direct_p50_ns: int | None = None
    direct_p95_ns: int | None = None
    compared_count: int = 0
    differed_count: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    """The metrics of the cache, `mm_md_*`, all symbols together; times in ms. What was never seen
    has none."""


class Picture(Struct):
    """Everything one look at a namespace saw."""

    namespace: str
    wall_ns: int
    processes: list[ProcessRow]
    books: list[BookRow]
    references: list[ReferenceRow]
    depths: list[DepthRow]
    served: list[ServedRow]
    quotes: list[QuoteRow]
    orders: list[OrderRow]
    positions: list[PositionRow]
    fills: list[FillRow]
    counters: dict[str, dict[str, int]]
    latencies: dict[str, dict[str, list[int]]]
    rest_caches: list[RestCacheRow] = field(default_factory=list)
