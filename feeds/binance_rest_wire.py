"""Turns answers of Binance's REST side into typed values; pure.

Two questions are asked: the candles of the past seconds (`/api/v3/klines`, interval 1s) and the
trading rules (`/api/v3/exchangeInfo`). The invariant: an answer is read whole or refused whole, as
`AnswerError`; what a rule does not say is 0, unknown. Prices and sizes are exact integers in units
of 1e-9.

Asking is `feeds/binance_rest.py`, what becomes of the answers `feeds/backfill.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import orjson

from venue.decimals import DecimalError, parse_e9

CANDLES_MAX: Final = 1000
"""The venue gives no more at once."""

SYMBOLS_MAX: Final = 10_000
_TIME_MAX_S: Final = 9_000_000_000
_FIELD_COUNT: Final = 12
_OPEN_TIME, _CLOSE, _TRADE_COUNT = 0, 4, 8


class AnswerError(ValueError):
    """An answer that is not what was asked for."""


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One second of trading: `close_e9` is the price of its last trade, or of one before it."""

    open_s: int
    close_e9: int
    trade_count: int


class Rules(msgspec.Struct, frozen=True, gc=False):
    """Grids of a symbol; 0 unknown."""

    tick_e9: int
    lot_e9: int
    min_qty_e9: int


def candles_path(symbol: str, count: int) -> str:
    """Ask for the newest candles of a second; the last of them is not over yet."""
    return "/api/v3/klines?" + urlencode({"symbol": symbol, "interval": "1s", "limit": count})


def rules_path(symbols: Iterable[str]) -> str:
    """Ask for the rules of some symbols; the venue refuses all where it does not know one."""
    return "/api/v3/exchangeInfo?" + urlencode({"symbols": orjson.dumps(list(symbols)).decode()})


def parse_candles(body: bytes) -> tuple[Candle, ...]:
    """Read candles, oldest first. Raises AnswerError."""
    rows = _load(body)
    if not isinstance(rows, list) or len(rows) > CANDLES_MAX:
        raise AnswerError("no list of candles")
    found = tuple(_candle(row) for row in rows)
    if any(after.open_s <= before.open_s for before, after in pairwise(found)):
        raise AnswerError("candles out of order")
    return found


def parse_rules(body: bytes) -> dict[str, Rules]:
    """Read the rules by symbol. Raises AnswerError."""
    answer = _load(body)
    rows = answer.get("symbols") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or len(rows) > SYMBOLS_MAX:
        raise AnswerError("no list of symbols")
    return dict(_rules(row) for row in rows)


def _load(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise AnswerError(f"not JSON: {error}") from None


def _candle(row: object) -> Candle:
    if not isinstance(row, list) or len(row) < _FIELD_COUNT:
        raise AnswerError("a candle without its fields")
    open_s, rest = divmod(_whole(row[_OPEN_TIME]), 1000)
    if rest or not 0 < open_s <= _TIME_MAX_S:
        raise AnswerError("a candle that does not begin on a second")
    close_e9 = _amount(row[_CLOSE])
    if not close_e9:
        raise AnswerError("a candle without a price")
    return Candle(open_s, close_e9, _whole(row[_TRADE_COUNT]))


def _rules(row: object) -> tuple[str, Rules]:
    if not isinstance(row, dict):
        raise AnswerError("a symbol that is no object")
    symbol, listed = row.get("symbol"), row.get("filters")
    if not isinstance(symbol, str) or not isinstance(listed, list):
        raise AnswerError("a symbol without name or filters")
    objects = [found for found in listed if isinstance(found, dict)]
    filters = {str(found.get("filterType")): found for found in objects}
    price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    return symbol, Rules(
        tick_e9=_amount(price.get("tickSize", "0")),
        lot_e9=_amount(lot.get("stepSize", "0")),
        min_qty_e9=_amount(lot.get("minQty", "0")),
    )


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise AnswerError("a field that is no whole number")
    return value


def _amount(value: object) -> int:
    if not isinstance(value, str):
        raise AnswerError("an amount that is no decimal in text")
    try:
        return parse_e9(value)
    except DecimalError as error:
        raise AnswerError(str(error)) from None
