"""Trading rules of Binance symbols, as `/exchangeInfo` lists them; pure.

Only what is known of a symbol is said: a recording does not hold its grids, and a grid that is made
up would be worse than none.
"""

from __future__ import annotations

from typing import Any

_GRIDS = {
    "BTCUSDT": ("BTC", "0.01000000", "0.00001000"),
    "ETHUSDT": ("ETH", "0.01000000", "0.00010000"),
}
"""By symbol: base asset, grid of prices, grid of sizes."""


def symbol_rules(symbol: str) -> dict[str, Any] | None:
    """Give the rules of a symbol; None where they are not known."""
    if symbol not in _GRIDS:
        return None
    base, tick, lot = _GRIDS[symbol]
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000.00000000",
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": lot,
                "maxQty": "9000.00000000",
                "stepSize": lot,
            },
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
        ],
    }
