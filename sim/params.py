"""The numbers of the model venue, each with its sense. Money is play money here.

The price is calibrated against a recorded spot BTCUSDT of 2024 (80 to 150 bookTickers a second,
43 % of them within 100 us of the one before, a standard deviation of 8 USD per square-root second,
30 trades a second); the default rates are about half of that, which a small machine carries.
"""

from __future__ import annotations

from dataclasses import dataclass

EPOCH_S = 300
"""Length of one stretch of the price; the windows of the market series coincide with them."""


@dataclass(frozen=True, slots=True)
class ModelParams:
    """Parameters of one model; equal parameters and an equal seed make an equal world."""

    symbol: str = "BTCUSDT"
    family: str = "btc-updown-5m"
    price_usd: int = 78_000
    """What the price wanders around over weeks."""
    volatility_usd: float = 8.0
    """Standard deviation of the price per square-root second, over ten seconds and more."""
    ticker_rate: float = 60.0
    """bookTickers a second, in the mean."""
    trade_rate: float = 20.0
    """Binance trades a second, in the mean."""
    binance_wire_ms: float = 2.0
    """From Binance's own time stamp to the wire."""
    depth_missing: float = 0.0
    """Share of the depth diffs that are lost, drawn from the seed: the same ones each time."""

    basis_usd: float = 20.0
    """Binance less the settlement source, in the mean; it moves slowly by about 6 either way."""
    bolt_symbol: str = "btcusd"
    twap_length_s: int = 60
    twap_lag_s: int = 0
    """The average stamped t ends this many seconds before t."""
    twap_missing: float = 0.03
    """Share of points that are never sent live and stand only in the snapshot."""

    market_lead_s: int = 900
    """How long before its start a market exists: with 300 s windows the next three do."""
    market_keep_s: int = 120
    """How long after its end the venue still knows its tokens."""
    flow: float = 1.0
    """Scales how often makers and takers of the markets act."""
    tick_change_share: float = 0.7
    """Share of the windows whose tick size changes to 0.001 once they are near certain."""
    polymarket_wire_ms: float = 12.0
    """From the venue's time stamp to the wire."""
    strike_official_s: int = 20
    """How long after the start Gamma shows `priceToBeat`, and after the end `finalPrice`: sooner
    than the venue (minutes), so that a run begun in the middle of a window soon quotes it."""

    def __post_init__(self) -> None:
        """Refuse numbers with which the model would not be what it says."""
        if not 2.0 <= self.ticker_rate <= 1_000.0 or not 1.0 <= self.trade_rate <= 500.0:
            raise ValueError(
                f"ticker_rate {self.ticker_rate} must be 2 to 1000 a second, "
                f"trade_rate {self.trade_rate} 1 to 500"
            )
        if not 0.1 <= self.volatility_usd <= 50.0 or self.price_usd < 20_000:
            raise ValueError(
                f"volatility_usd {self.volatility_usd} must be 0.1 to 50 "
                f"and price_usd {self.price_usd} at least 20000, or the price could reach zero"
            )
        if not 0.0 <= self.depth_missing < 1.0:
            raise ValueError(f"depth_missing {self.depth_missing} must be at least 0 and below 1")
        if not 1 <= self.twap_length_s <= EPOCH_S // 2 or not 0 <= self.twap_lag_s <= 60:
            raise ValueError(
                f"twap_length_s {self.twap_length_s} must be 1 to {EPOCH_S // 2}, "
                f"twap_lag_s {self.twap_lag_s} 0 to 60"
            )
        if self.market_lead_s < 2 * EPOCH_S or self.market_keep_s < 60 or not 0 < self.flow <= 20:
            raise ValueError(
                f"market_lead_s {self.market_lead_s} must be at least {2 * EPOCH_S}, market_keep_s "
                f"{self.market_keep_s} at least 60, flow {self.flow} above 0 and at most 20"
            )
