"""What may stand in penstock.toml: one Struct a section, one typed field a key.

To add a key: add a field here (with `Meta` for its range, the unit last in its name) and the key
with its paragraph and value to penstock.toml. That file is the only place of defaults; a test
keeps the two equal. Checks that concern several keys go into the section's `faults`.

It reads nothing: `host/config.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Millis = Annotated[int, Meta(ge=1, le=3_600_000)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
WsUrl = Annotated[str, Meta(pattern=r"^wss?://[^/ ]+")]
HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^/ ]+")]
OptionalWsUrl = Annotated[str, Meta(pattern=r"^(wss?://[^/ ]+.*)?$")]
Symbol = Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,20}$")]
Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,9}([.][0-9]{1,9})?$")]
"""A price, size or sum of money: decimal text, because a TOML number would be a float."""
MarketSlots = Annotated[int, Meta(ge=1, le=4096)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the configuration; frozen, so that a process decides on what it logged."""

    def faults(self) -> Iterator[str]:
        """Yield each fault that concerns several keys, as a sentence saying what to change."""
        return iter(())


class Host(Section, frozen=True):
    """[host]: what every process needs to live on this host."""

    namespace: Name
    shm_mode: Annotated[str, Meta(pattern=r"^0[0-7]{3}$")]
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

    def faults(self) -> Iterator[str]:
        if self.restart_delay_ms_max < self.restart_delay_ms:
            yield (
                f"restart_delay_ms_max is {self.restart_delay_ms_max}: make it at least "
                f"restart_delay_ms, {self.restart_delay_ms}"
            )


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
    families: tuple[Annotated[str, Meta(pattern=r"^[a-z0-9]{2,16}-updown-[0-9]{1,3}[mh]$")], ...]
    tokens: tuple[Annotated[str, Meta(pattern=r"^[0-9]{1,78}$")], ...]
    hold_ms: Annotated[int, Meta(ge=1, le=100)]
    depth_interval_ms: Annotated[int, Meta(ge=1, le=1_000)]
    quiet_s: Annotated[float, Meta(ge=1, le=86_400)]
    lead_s: Annotated[float, Meta(ge=0, le=3_600)]
    linger_s: Annotated[float, Meta(ge=0, le=3_600)]
    lookup_timeout_s: Annotated[float, Meta(gt=0, le=60)]
    official_interval_s: Annotated[float, Meta(ge=1, le=3_600)]
    twap_silence_s: Annotated[float, Meta(ge=1, le=3_600)]
    twap_wait_s: Annotated[float, Meta(ge=1, le=30)]
    strike_proxy: Literal["none", "binance"]


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

    def faults(self) -> Iterator[str]:
        if len(set(self.symbols)) < len(self.symbols):
            yield "symbols names one twice: take it out"
        if len(self.symbols) > self.symbol_slots:
            yield (
                f"symbol_slots is {self.symbol_slots}: make it at least {len(self.symbols)}, "
                "the number of symbols"
            )
        if 1_000 % self.feature_interval_ms:
            yield (
                f"feature_interval_ms is {self.feature_interval_ms}: samples are taken on whole "
                "seconds, so make it a divisor of 1000"
            )


class Feeds(Section, frozen=True):
    """[feeds.*]: one section a venue."""

    polymarket: PolymarketFeed
    binance: BinanceFeed


class Strategy(Section, frozen=True):
    """[strategy]: the maker and its parameters; what decides money stands in [paper]."""

    id: Name
    families: tuple[str, ...]
    trigger: Literal["rate", "bell"]
    rate_hz: Annotated[float, Meta(ge=0.1, le=1_000)]
    bell_interval_ms_min: Annotated[int, Meta(ge=0, le=1_000)]
    book_policy: Literal["latency_arb", "fast15m", "long"]
    reference_policy: Literal["latency_arb", "fast15m", "long"]
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
    basis_age_s_max: Seconds
    market_weight: Fraction
    market_spread_max: Amount
    disagreement_max: Amount
    hysteresis_ticks: Annotated[float, Meta(ge=0, le=10)]

    def faults(self) -> Iterator[str]:
        if self.basis_sd_max_bps <= self.basis_sd_floor_bps:
            yield (
                f"basis_sd_max_bps is {self.basis_sd_max_bps}: make it more than "
                f"basis_sd_floor_bps, {self.basis_sd_floor_bps}, or there never is a basis"
            )
        if self.valid_ms < 4_000 / self.rate_hz:
            yield (
                f"valid_ms is {self.valid_ms}: quotes must outlive some ticks, so with rate_hz "
                f"{self.rate_hz} make it at least {int(4_000 / self.rate_hz) + 1}"
            )


class Executor(Section, frozen=True):
    """[executor]: orders and their limits; what decides money stands in [paper]."""

    account: Name
    strategies: tuple[str, ...]
    market_slots: MarketSlots
    order_slots: Annotated[int, Meta(ge=16, le=4096)]
    policy: Literal["latency_arb", "fast15m", "long"]
    suspect_ms: Millis
    orders_per_s: Positive
    orders_burst: Positive
    cancels_per_s: Positive
    cancels_burst: Positive

    def faults(self) -> Iterator[str]:
        if self.cancels_burst < 2:
            yield "cancels_burst is 1: make it at least 2, else no order could ever be sent"


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

    def faults(self) -> Iterator[str]:
        if not 0 < float(self.px_min) < float(self.px_max) < 1:
            yield (
                f"px_min is {self.px_min} and px_max {self.px_max}: prices lie between 0 and 1, "
                "so write 0 < px_min < px_max < 1"
            )
        if not 0 < float(self.quote_px_min) < float(self.quote_px_max) < 1:
            yield (
                f"quote_px_min is {self.quote_px_min} and quote_px_max {self.quote_px_max}: write "
                "0 < quote_px_min < quote_px_max < 1"
            )
        if float(self.quote_half_spread) <= 0:
            yield "quote_half_spread is 0: a quote at the fair value only loses, so raise it"
        for name in ("place_latency_ms", "cancel_latency_ms"):
            p50, p99 = getattr(self, f"{name}_p50"), getattr(self, f"{name}_p99")
            if p99 < p50:
                yield f"{name}_p99 is {p99}: make it at least {name}_p50, {p50}"


class Sim(Section, frozen=True):
    """[sim]: the simulated venue."""

    embedded: bool
    host: str
    port: Port
    mode: Literal["model", "replay"]
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    recordings: tuple[str, ...]
    speed_ratio: Annotated[float, Meta(ge=0, le=1_000)]
    loop: bool
    mirror: bool
    connection_age_s_max: Annotated[float, Meta(ge=0, le=86_400)]

    def faults(self) -> Iterator[str]:
        if self.mode == "replay" and not self.recordings:
            yield 'mode is "replay": name in recordings the files to be replayed'


class Config(Section, frozen=True):
    """The whole of penstock.toml."""

    host: Host
    supervisor: Supervisor
    venues: Venues
    feeds: Feeds
    strategy: Strategy
    executor: Executor
    paper: Paper
    sim: Sim

    def faults(self) -> Iterator[str]:
        slots = self.feeds.polymarket.market_slots
        if self.executor.market_slots < slots:
            yield (
                f"executor.market_slots is {self.executor.market_slots}: make it at least "
                f"feeds.polymarket.market_slots, {slots}"
            )
        if self.executor.order_slots < 2 * self.paper.orders_open_max:
            yield (
                f"executor.order_slots is {self.executor.order_slots}: make it at least twice "
                f"paper.orders_open_max, {2 * self.paper.orders_open_max}"
            )
