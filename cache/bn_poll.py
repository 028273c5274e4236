"""The HTTP schema of a pricer service: an answer, as parsed JSON, to exact values; pure.

    {"wall_ts_ms": 1790766981628, "symbol": "BTCUSDT", "bbo_bid": 60000.1, "bbo_ask": 60000.2,
     "features": {"return_1m": 0.0004, "ewma_vol": 1.9}, "pricer": {"shock_z": 0.3}}

`features` and `pricer` may be missing, and each of their numbers missing or null: unknown. An
answer that is wrong in any way is refused as a whole, by an UpdateRefused that begins with the key
at fault: a wrong type, something missing, NaN, a number that cannot be, a crossed top, or a key
nobody taught us (but for those that the caller names as known and of no use).

The unit of `ewma_vol` is the service's own and nowhere stated: it is checked, and not carried.
"""

from __future__ import annotations

import math
from collections.abc import Set
from decimal import Decimal

from msgspec import Struct

from cache.errors import UpdateRefused
from cache.layout import E9
from cache.refusals import shown

PX_MAX = 1_000_000_000
WALL_MS_MAX = 9_000_000_000_000
RETURN_MAX = 1.0
"""More than all, or twice as much, in one minute: a percentage, or damage."""
Z_MAX = 1_000_000.0
_LARGEST = 1e300

_REQUIRED = ("wall_ts_ms", "symbol", "bbo_bid", "bbo_ask")
_NESTED = {"features": ("return_1m", "ewma_vol"), "pricer": ("shock_z",)}


class Polled(Struct, frozen=True, gc=False):
    """What a service said, in units of 1e-9; None is what it does not know."""

    wall_ts_ms: int | None
    symbol: str
    bid_px_e9: int
    ask_px_e9: int
    return_1m_e9: int | None
    shock_z_e9: int | None


def read_poll(raw: object, symbol: str, *, ignored: Set[str] = frozenset()) -> Polled:
    """Read an answer about `symbol`. Raises UpdateRefused.

    `ignored` are keys that may be there besides, the inner ones as `features.return_5m`.
    """
    if not isinstance(raw, dict):
        raise UpdateRefused(f"the answer is {_kind(raw)}: it must be an object")
    for key in _REQUIRED:
        if key not in raw:
            raise UpdateRefused(f"{key} is missing")
    inner = {group: _group(raw, group, ignored) for group in _NESTED}
    _refuse_unknown(raw, "", {*_REQUIRED, *_NESTED}, ignored)
    if type(raw["symbol"]) is not str or raw["symbol"] != symbol:
        raise UpdateRefused(f"symbol is {shown(raw['symbol'])}: it must be {symbol!r}")
    bid, ask = (_price(key, raw[key]) for key in ("bbo_bid", "bbo_ask"))
    if bid >= ask:
        raise UpdateRefused(
            f"bbo_bid is {shown(raw['bbo_bid'])}: it must be below bbo_ask, {shown(raw['bbo_ask'])}"
        )
    features, pricer = inner["features"], inner["pricer"]
    return_1m = _number("features.return_1m", features.get("return_1m"), -RETURN_MAX, RETURN_MAX)
    _number("features.ewma_vol", features.get("ewma_vol"), 0.0, math.inf)
    shock_z = _number("pricer.shock_z", pricer.get("shock_z"), -Z_MAX, Z_MAX)
    return Polled(
        _wall_ms(raw["wall_ts_ms"]),
        symbol,
        bid,
        ask,
        None if return_1m is None else round(return_1m * E9),
        None if shock_z is None else round(shock_z * E9),
    )


def _group(raw: dict[str, object], group: str, ignored: Set[str]) -> dict[str, object]:
    found = raw.get(group, {})
    if not isinstance(found, dict):
        raise UpdateRefused(f"{group} is {_kind(found)}: it must be an object")
    _refuse_unknown(found, f"{group}.", set(_NESTED[group]), ignored)
    return found


def _refuse_unknown(
    raw: dict[str, object], prefix: str, known: set[str], ignored: Set[str]
) -> None:
    for key in raw:
        name = prefix + (key if isinstance(key, str) else shown(key))
        if key not in known and name not in ignored:
            raise UpdateRefused(
                f"{name[:80]} is a key that nobody knows here: leave it out, or name it among "
                "those to ignore"
            )


def _wall_ms(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise UpdateRefused(f"wall_ts_ms is {_kind(value)}: it must be a whole number or null")
    if not 0 < value <= WALL_MS_MAX:
        raise UpdateRefused(f"wall_ts_ms is {shown(value)}: it must be 1 to {WALL_MS_MAX}")
    return value


def _price(key: str, value: object) -> int:
    found = _number(key, value, 0.0, PX_MAX)
    if found is None:
        raise UpdateRefused(f"{key} is null: it must be a number")
    px_e9 = int((Decimal(repr(found)) * E9).to_integral_value())  # As written, not as a float.
    if px_e9 <= 0:
        raise UpdateRefused(f"{key} is {shown(value)}: it must be above 0")
    return px_e9


def _number(key: str, value: object, least: float, most: float) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UpdateRefused(f"{key} is {_kind(value)}: it must be a number")
    if not -_LARGEST <= value <= _LARGEST or not least <= value <= most:  # NaN is neither.
        wanted = f"{least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise UpdateRefused(f"{key} is {shown(value)}: it must be a number, {wanted}")
    return float(value)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
