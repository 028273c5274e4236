"""Reads single fields of what Gamma and the CLOB answer: exact values out, or a named error.

Gamma writes an amount as a JSON number or as text, hides lists as JSON text inside JSON, and
leaves out what it does not know. No float is ever made of an amount; whatever is not what the
field should be is a `GammaError` that names the field. It knows no market as a whole.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cache.errors import PenstockError
from feeds.text_numbers import is_tick
from venue.decimals import DecimalError, format_e9, parse_e9, parse_long_e9

TEXT_MAX = 512
_CONDITION = re.compile(r"0x[0-9a-fA-F]{64}")
_TIME_MAX_S = 9_000_000_000
"""In nanoseconds it still fits a signed 64-bit word."""


class GammaError(PenstockError):
    """An answer that is not the market it should be; `field` names what is missing or wrong."""

    def __init__(self, field: str, cause: str) -> None:
        super().__init__(f"{field} {cause}")
        self.field = field


def _plain(text: str) -> str:
    """Keep a JSON number as the text of a plain decimal: "1e-3" is "0.001"."""
    if "e" not in text.lower():
        return text
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    exponent = value.as_tuple().exponent
    small = isinstance(exponent, int) and abs(exponent) <= 40
    return format(value, "f") if small else text


def load(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=_plain, parse_constant=lambda name: name)
    except (ValueError, RecursionError) as error:
        raise GammaError("body", f"is not JSON: {str(error)[:80]}") from None


def one(found: Any) -> Any:
    """Unwrap a list of one, which is how queries answer."""
    if isinstance(found, list):
        if len(found) != 1:
            raise GammaError("body", f"is a list of {len(found)}, expected one")
        return found[0]
    return found


def shown(value: object) -> str:
    return repr(value)[:60]


def text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value or len(value) > TEXT_MAX:
        raise GammaError(field, f"is {shown(value)}, expected text")
    return value


def flag(row: dict[str, Any], field: str, *, missing: bool, at: str = "") -> bool:
    value = row.get(field)
    if value is None:
        return missing
    if not isinstance(value, bool):
        raise GammaError(at + field, f"is {shown(value)}, expected true or false")
    return value


def amount(row: dict[str, Any], field: str, *, missing: int | None = None, at: str = "") -> int:
    """Read an amount in units of 1e-9, given as a JSON number or as text."""
    value = row.get(field)
    if value is None and missing is not None:
        return missing
    if type(value) is int:
        value = str(value)
    try:
        return parse_e9(value)  # type: ignore[arg-type]  # anything but text is a DecimalError
    except DecimalError as error:
        raise GammaError(at + field, f"is missing or wrong: {error}") from None


def price(row: dict[str, Any], field: str) -> int | None:
    """Read a settlement price, of any number of decimals; None while it is not known."""
    value = row.get(field)
    if value is None or value == "":
        return None
    if type(value) is int:
        value = str(value)
    try:
        price = parse_long_e9(value)
    except DecimalError as error:
        raise GammaError(field, f"is wrong: {error}") from None
    return price or None


def tick(row: dict[str, Any], field: str) -> int:
    tick = amount(row, field)
    if not is_tick(tick):
        raise GammaError(field, f"is {format_e9(tick)}, which is no tick size")
    return tick


def condition(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not _CONDITION.fullmatch(value):
        raise GammaError(field, f"is {shown(value)}, expected 0x and 64 hex digits")
    return value


def pair(row: dict[str, Any], field: str) -> tuple[str, str]:
    """Read a list of exactly two texts, usually written as JSON text inside the JSON."""
    value = row.get(field)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise GammaError(field, f"is {shown(value)}, expected a JSON list") from None
    if not isinstance(value, list) or len(value) != 2:
        raise GammaError(field, f"is {shown(value)}, expected a list of two")
    first, second = value
    if not isinstance(first, str) or not isinstance(second, str):
        raise GammaError(field, f"is {shown(value)}, expected a list of two texts")
    return first, second


def time(row: dict[str, Any], field: str) -> int:
    """Read a time such as 2026-07-24T00:00:00Z into whole seconds of the wall clock."""
    value = row.get(field)
    if not isinstance(value, str):
        raise GammaError(field, f"is {shown(value)}, expected a time")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise GammaError(field, f"is {shown(value)}, expected a time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int(moment.timestamp())
    if not 0 <= seconds <= _TIME_MAX_S:
        raise GammaError(field, f"is {shown(value)}, which is no time of a market")
    return seconds
