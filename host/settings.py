"""What may stand in penstock.toml: one Struct a section, one typed field a key.

To add a key: add a field here (with `Meta` for its range, the unit last in its name) and the key
with its paragraph and value to penstock.toml. That file is the only place of defaults; a test
keeps the two equal. Rules that concern several keys go into the section's `faults`.

It reads nothing: `host/config.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from cache.md_config import MDCacheConfig
from host.rules import Fault, too_small, twice, windows_held

Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Millis = Annotated[int, Meta(ge=1, le=3_600_000)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
WsUrl = Annotated[str, Meta(pattern=r"^wss?://[^/ ]+")]
HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^/ ]+")]
OptionalWsUrl = Annotated[str, Meta(pattern=r"^(wss?://[^/ ]+.*)?$")]
HostName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")]
Family = Annotated[str, Meta(pattern=r"^[a-z0-9]{2,16}-updown-[1-9][0-9]{0,2}[mh]$")]
TokenId = Annotated[str, Meta(pattern=r"^[0-9]{1,78}$")]
Symbol = Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,20}$")]
Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,9}([.][0-9]{1,9})?$")]
"""A price, size or sum of money: decimal text, because a TOML number would be a float."""
PolicyName = Literal["default", "latency_arb", "fast15m", "long"]
MarketSlots = Annotated[int, Meta(ge=1, le=65_536)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the configuration; frozen, so that a process decides on what it logged."""

    def faults(self) -> Iterator[Fault]:
        """Yield each rule over several keys that does not hold."""
        return iter(())


class Host(Section, frozen=True):
    """[host]: what every process needs to live on this host."""

    namespace: Name
    shm_mode: Literal["0600", "0640", "0644"]
    idle: Literal["park", "yield", "spin"]
    heartbeat_ms: Annotated[int, Meta(ge=10, le=200)]
    hang_exit_s: Annotated[float, Meta(ge=0, le=600)]
    log_level: Literal["debug", "info", "warning", "error"]

    @property
    def mode(self) -> int:
        """Give `shm_mode` as the number that open(2) wants."""
        return int(self.shm_mode, 8)


class Supervisor(Section, frozen=True):
    """[supervisor]: how processes are started, watched and restarted."""

    start_timeout_s: Seconds
    hang_kill_s: Annotated[float, Meta(ge=1, le=600)]
    stop_timeout_s: Seconds
    restart_delay_ms: Millis
    restart_delay_ms_max: Millis
    restart_count_max: Annotated[int, Meta(ge=1, le=100)]
    restart_window_s: Seconds
    status_interval_s: Annotated[float, Meta(ge=0.1, le=3600)]
    log_dir: Annotated[str, Meta(min_length=1)]
    log_bytes_max: Annotated[int, Meta(ge=65_536, le=2**40)]

    def faults(self) -> Iterator[Fault]:
        least, longest = self.restart_delay_ms, self.restart_delay_ms_max
        yield from too_small("restart_delay_ms_max", longest, least, "restart_delay_ms")


class PolymarketVenue(Section, frozen=True):
    """[venues.polymarket]: where the venue is."""

    ws_url: WsUrl
    gamma_url: HttpUrl
    clob_url: HttpUrl
    polybolt_url: OptionalWsUrl


class BinanceVenue(Section, frozen=True):
    """[venues.binance]: where the venue is."""

    ws_url: WsUrl
    rest_url: HttpUrl


class Venues(Section, frozen=True):
    """[venues.*]: every endpoint is a setting."""

    polymarket: PolymarketVenue
    binance: BinanceVenue


class PolymarketFeed(Section, frozen=True):
    """[feeds.polymarket]: which markets, and how the feed behaves."""

    market_slots: MarketSlots
    families: tuple[Family, ...]
    tokens: tuple[TokenId, ...]
    connection_tokens_max: Annotated[int, Meta(ge=2, le=500)]
    hold_ms: Annotated[int, Meta(ge=1, le=100)]
    depth_interval_ms: Annotated[int, Meta(ge=1, le=1_000)]
    witness_books_per_s: Annotated[int, Meta(ge=2, le=5_000)]
    lead_s: Annotated[float, Meta(ge=0, le=3_600)]
    linger_s: Annotated[float, Meta(ge=0, le=3_600)]
    lookup_timeout_s: Annotated[float, Meta(gt=0, le=60)]
    official_interval_s: Annotated[float, Meta(ge=1, le=3_600)]
    twap_silence_s: Annotated[float, Meta(ge=1, le=3_600)]
    twap_wait_s: Annotated[float, Meta(ge=1, le=30)]
    strike_proxy: Literal["none", "binance"]

    def faults(self) -> Iterator[Fault]:
        for name in ("families", "tokens"):
            yield from twice(name, getattr(self, name))
        windows = sum(windows_held(one, self.lead_s, self.linger_s) for one in set(self.families))
        count = windows + math.ceil(len(set(self.tokens)) / 2)  # Two tokens may be one market.
        others = ("families", "tokens", "lead_s", "linger_s")
        why = "for each family's running, next and lingering windows, and for the tokens"
        yield from too_small("market_slots", self.market_slots, count, *others, why=why)


class BinanceFeed(Section, frozen=True):
    """[feeds.binance]: which symbols, and how the feed behaves."""

    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=1)]
    symbol_slots: Annotated[int, Meta(ge=1, le=512)]
    feature_interval_ms: Annotated[int, Meta(ge=10, le=1_000)]
    ticker_silence_ms: Millis
    trade_silence_ms: Millis
    connection_age_s_max: Seconds
    overlap_s: Annotated[float, Meta(gt=0, le=600)]
    volatility_half_life_s: Annotated[float, Meta(ge=1, le=86_400)]
    volatility_floor_bps: Annotated[float, Meta(ge=0, le=100)]
    volatility_jump_z: Annotated[float, Meta(ge=1, le=100)]
    volatility_jump_half_life_s: Annotated[float, Meta(ge=0.1, le=86_400)]
    backfill_s: Annotated[int, Meta(ge=0, le=126)]
    lookup_timeout_s: Annotated[float, Meta(gt=0, le=60)]
    depth: bool
    source: Literal["stream", "poll"]
    poll_url: HttpUrl
    poll_interval_ms: Annotated[int, Meta(ge=10, le=60_000)]
    poll_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)]
    poll_lag_ms_max: Annotated[int, Meta(ge=10, le=86_400_000)]
    poll_ignored: tuple[Annotated[str, Meta(min_length=1)], ...]

    def faults(self) -> Iterator[Fault]:
        yield from twice("symbols", self.symbols)
        if self.source == "poll" and len(self.symbols) > 1 and "{symbol}" not in self.poll_url:
            yield Fault(
                ("poll_url", "symbols"),
                f"poll_url is {self.poll_url}: with several symbols write {{symbol}} where the "
                "symbol belongs",
            )
        count, why = len(self.symbols), "the number of symbols"
        yield from too_small("symbol_slots", self.symbol_slots, count, "symbols", why=why)
        if 1_000 % self.feature_interval_ms:
            yield Fault(
                ("feature_interval_ms",),
                f"feature_interval_ms is {self.feature_interval_ms}: samples are taken on whole "
                "seconds, so make it a divisor of 1000",
            )


class Feeds(Section, frozen=True):
    """[feeds.*]: one section a venue."""

    polymarket: PolymarketFeed
    binance: BinanceFeed


class BookStore(Section, frozen=True):
    """[book_store]: depth of book, how fresh it must be, and the warmup before trading."""

    enabled: bool
    default_max_stale_ms: Millis
    hard_stale_ms: Millis
    max_depth: Annotated[int, Meta(ge=1, le=20)]
    warmup_timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)]
    warmup_min_ready_fraction: Fraction

    def faults(self) -> Iterator[Fault]:
        least, other = self.default_max_stale_ms, "default_max_stale_ms"
        yield from too_small("hard_stale_ms", self.hard_stale_ms, least, other)


class MdCache(MDCacheConfig, Section, frozen=True):
    """[md_cache]: books that only REST offers, the witnesses of quiet markets."""

    def __post_init__(self) -> None:
        """Leave the checks to whoever reads the file, who says every fault of it together."""

    def faults(self) -> Iterator[Fault]:
        for keys, text in self.broken_rules():
            yield Fault(keys, text)


VARIABLES = {
    "HFT_BOOK_CACHE_ENABLED": "book_store.enabled",
    "BOOK_STORE_DEFAULT_MAX_STALE_MS": "book_store.default_max_stale_ms",
    "BOOK_STORE_HARD_STALE_MS": "book_store.hard_stale_ms",
    "BOOK_STORE_MAX_DEPTH": "book_store.max_depth",
    "BOOK_STORE_WARMUP_TIMEOUT_MS": "book_store.warmup_timeout_ms",
    "BOOK_STORE_WARMUP_MIN_READY_FRACTION": "book_store.warmup_min_ready_fraction",
}
"""Variables that set a key besides its PENSTOCK_<SECTION>_<KEY>."""


class Strategy(Section, frozen=True):
    """[strategy]: the maker and its parameters; what decides money stands in [paper]."""

    id: Name
    families: tuple[Family, ...]
    trigger: Literal["rate", "bell"]
    rate_hz: Annotated[float, Meta(ge=0.1, le=1_000)]
    bell_interval_ms_min: Annotated[int, Meta(ge=0, le=1_000)]
    book_policy: PolicyName
    reference_policy: PolicyName
    open_before_s: Annotated[float, Meta(ge=0, le=86_400)]
    out_before_s: Annotated[float, Meta(ge=1, le=3_600)]
    valid_ms: Annotated[int, Meta(ge=100, le=60_000)]
    keep_ms_max: Annotated[int, Meta(ge=0, le=10_000)]
    strike_min: Literal["proxy", "stream", "official"]
    twap_lag_s: Annotated[float, Meta(ge=0, le=60)]
    sigma_sample_count_min: Annotated[int, Meta(ge=2, le=100_000)]
    features_age_ms_max: Millis
    shock_z: Annotated[float, Meta(gt=0, le=1_000)]
    basis_half_life_s: Seconds
    basis_sd_floor_bps: Annotated[float, Meta(ge=0, le=1_000)]
    basis_sd_max_bps: Annotated[float, Meta(gt=0, le=10_000)]
    basis_max_bps: Annotated[float, Meta(gt=0, le=10_000)]
    basis_age_s_max: Seconds
    basis_sd_unknown_bps: Annotated[float, Meta(ge=0, le=1_000)]
    basis_fade_s: Seconds
    market_weight: Fraction
    micro_levels: Annotated[int, Meta(ge=0, le=20)]
    market_spread_max: Amount
    disagreement_max: Amount
    hysteresis_ticks: Annotated[float, Meta(ge=0, le=10)]

    @property
    def role(self) -> str:
        """Name its process and its segment."""
        return f"strategy.{self.id}"

    def faults(self) -> Iterator[Fault]:
        if self.basis_sd_max_bps <= self.basis_sd_floor_bps:
            yield Fault(
                ("basis_sd_max_bps", "basis_sd_floor_bps"),
                f"basis_sd_max_bps is {self.basis_sd_max_bps}: make it more than "
                f"basis_sd_floor_bps, {self.basis_sd_floor_bps}, or there never is a basis",
            )
        least = math.ceil(4_000 / self.rate_hz)
        why = f"four runs at rate_hz {self.rate_hz}: quotes must outlive some"
        yield from too_small("valid_ms", self.valid_ms, least, "rate_hz", why=why)


class Executor(Section, frozen=True):
    """[executor]: orders and their limits; what decides money stands in [paper]."""

    account: Name
    strategies: tuple[Annotated[str, Meta(pattern=r"^[a-z0-9*?][a-z0-9*?_-]{0,31}$")], ...]
    market_slots: MarketSlots
    order_slots: Annotated[int, Meta(ge=16, le=4096)]
    policy: PolicyName
    suspect_ms: Millis
    orders_per_s: Positive
    orders_burst: Positive
    cancels_per_s: Positive
    cancels_burst: Positive

    @property
    def role(self) -> str:
        """Name its process and its segment."""
        return f"executor.{self.account}"

    def faults(self) -> Iterator[Fault]:
        why = "else no order could ever be sent"
        yield from too_small("cancels_burst", self.cancels_burst, 2, why=why)


class Paper(Section, frozen=True):
    """[paper]: play money, the only section whose money values are shipped."""

    quote_qty: Amount
    quote_position_qty_max: Amount
    quote_half_spread: Amount
    quote_widen_ratio: Annotated[float, Meta(ge=0, le=10)]
    quote_skew: Amount
    quote_px_min: Amount
    quote_px_max: Amount
    px_min: Amount
    px_max: Amount
    order_qty_max: Amount
    market_qty_max: Amount
    market_loss_max: Amount
    total_loss_max: Amount
    orders_open_max: Positive
    fill_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    place_latency_ms_p50: Millis
    place_latency_ms_p99: Millis
    cancel_latency_ms_p50: Millis
    cancel_latency_ms_p99: Millis
    evidence_delay_ms: Millis
    persist_ms: Millis

    def faults(self) -> Iterator[Fault]:
        if not 0 < float(self.px_min) < float(self.px_max) < 1:
            yield Fault(
                ("px_min", "px_max"),
                f"px_min is {self.px_min} and px_max {self.px_max}: prices lie between 0 and 1, "
                "so write 0 < px_min < px_max < 1",
            )
        if not 0 < float(self.quote_px_min) < float(self.quote_px_max) < 1:
            yield Fault(
                ("quote_px_min", "quote_px_max"),
                f"quote_px_min is {self.quote_px_min} and quote_px_max {self.quote_px_max}: write "
                "0 < quote_px_min < quote_px_max < 1",
            )
        if float(self.quote_half_spread) <= 0:
            yield Fault(
                ("quote_half_spread",),
                "quote_half_spread is 0: a quote at the fair value only loses, so raise it",
            )
        for name in ("place_latency_ms", "cancel_latency_ms"):
            p50, p99 = getattr(self, f"{name}_p50"), getattr(self, f"{name}_p99")
            yield from too_small(f"{name}_p99", p99, p50, f"{name}_p50")


class Sim(Section, frozen=True):
    """[sim]: the simulated venue."""

    embedded: bool
    host: HostName
    port: Port
    mode: Literal["model", "replay"]
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    recordings: tuple[Annotated[str, Meta(min_length=1)], ...]
    speed_ratio: Annotated[float, Meta(ge=0, le=1_000)]
    loop: bool
    mirror: bool
    connection_age_s_max: Annotated[float, Meta(ge=0, le=86_400)]

    def faults(self) -> Iterator[Fault]:
        if self.mode == "replay" and not self.recordings:
            yield Fault(
                ("mode", "recordings"),
                'mode is "replay": name in recordings the files to be replayed',
            )


class Config(Section, frozen=True):
    """The whole of penstock.toml."""

    host: Host
    supervisor: Supervisor
    venues: Venues
    feeds: Feeds
    book_store: BookStore
    md_cache: MdCache
    strategy: Strategy
    executor: Executor
    paper: Paper
    sim: Sim

    def faults(self) -> Iterator[Fault]:
        least, other = self.feeds.polymarket.market_slots, "feeds.polymarket.market_slots"
        yield from too_small("executor.market_slots", self.executor.market_slots, least, other)
        least, other = 2 * self.paper.orders_open_max, "paper.orders_open_max"
        slots, why = self.executor.order_slots, f"twice {other}"
        yield from too_small("executor.order_slots", slots, least, other, why=why)
        if self.md_cache.enabled:
            feed, kept = self.feeds.polymarket, self.md_cache.symbols_max
            least, other = 2 * feed.market_slots, "feeds.polymarket.market_slots"
            why = f"twice {other}"
            if feed.connection_tokens_max < least:  # There is one cache a connection.
                least, other = feed.connection_tokens_max, "feeds.polymarket.connection_tokens_max"
                why = other
            yield from too_small("md_cache.symbols_max", kept, least, other, why=why)
