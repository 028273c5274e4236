"""Binance's candles of a second, made of trades; pure, and byte for byte in the venue's form.

A candle is named by the second it begins with and holds the trades of that second; one without a
trade repeats the last price and counts none. The newest is of the running second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from venue.decimals import parse_e9

LIMIT_DEFAULT = 500
LIMIT_MAX = 1000
_PLACES = 10**8


@dataclass(frozen=True, slots=True)
class Print:
    """One trade; price and size in units of 1e-8."""

    time_ms: int
    px: int
    qty: int
    is_buy: bool
    """The taker bought."""


def read_print(payload: bytes) -> Print:
    """Read a trade as the stream has it."""
    found = orjson.loads(payload)
    px, qty = parse_e9(found["p"]) // 10, parse_e9(found["q"]) // 10
    return Print(found["T"], px, qty, is_buy=not found["m"])


def span(now_s: int, limit: int, start_s: int | None = None, end_s: int | None = None) -> range:
    """Give the seconds that are asked for: the newest ones, or from the start on."""
    last_s = now_s if end_s is None else min(end_s, now_s)
    if start_s is None:
        return range(last_s - limit + 1, last_s + 1)
    return range(start_s, min(last_s, start_s + limit - 1) + 1)


def candles(prints: Iterable[Print], seconds: range) -> list[list[object]]:
    """Make the candles of some seconds; `prints` are in order and begin before the first.

    Seconds before the first print have no price, and so no candle.
    """
    by_second: dict[int, list[Print]] = {}
    last: Print | None = None
    for found in prints:
        if found.time_ms < seconds.start * 1000:
            last = found
        else:
            by_second.setdefault(found.time_ms // 1000, []).append(found)
    return list(_rows(by_second, last.px if last is not None else 0, seconds))


def _rows(
    by_second: dict[int, list[Print]], last_px: int, seconds: range
) -> Iterator[list[object]]:
    for second in seconds:
        found = by_second.get(second, [])
        if found:
            last_px = found[-1].px
        if last_px:
            yield _row(second, found, last_px)


def _row(second: int, found: Sequence[Print], last_px: int) -> list[object]:
    prices = [one.px for one in found] or [last_px]
    bought = [one for one in found if one.is_buy]
    return [
        second * 1000,
        _text(prices[0]),
        _text(max(prices)),
        _text(min(prices)),
        _text(prices[-1]),
        _text(sum(one.qty for one in found)),
        second * 1000 + 999,
        _text(sum(one.px * one.qty for one in found) // _PLACES),
        len(found),
        _text(sum(one.qty for one in bought)),
        _text(sum(one.px * one.qty for one in bought) // _PLACES),
        "0",
    ]


def _text(value: int) -> str:
    return f"{value // _PLACES}.{value % _PLACES:08d}"
