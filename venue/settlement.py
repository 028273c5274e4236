"""How an up/down market of the venue is named, settled and paid out.

A window [start, end] pays Up when the settlement price at its end is not below that at its start:
a tie is Up. The settlement price at t is the mean of the whole-second prices of the `twap` seconds
up to t (less a lag, which the venue does not state). Slugs are `<asset>-updown-<5m>-<unix start>`
with a start that is a UTC multiple of the length.

Nothing here says what a market is worth before its end: that is `strategy/pricing.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from venue.decimals import E9

_FAMILY = re.compile(r"([a-z0-9]{1,16})-updown-([1-9][0-9]{0,2})([mh])", re.ASCII)
_UNIT_S = {"m": 60, "h": 3600}
_START_MAX = 1 << 33


class Family(NamedTuple):
    """A rolling series of windows, such as `btc-updown-5m`."""

    name: str
    asset: str
    length_s: int


class Window(NamedTuple):
    """One market of a family, by its unix seconds."""

    family: Family
    start_s: int

    @property
    def end_s(self) -> int:
        return self.start_s + self.family.length_s

    @property
    def slug(self) -> str:
        return f"{self.family.name}-{self.start_s}"


def parse_family(name: str) -> Family | None:
    """Parse `btc-updown-5m`; None when it is no up/down family."""
    found = _FAMILY.fullmatch(name)
    if found is None:
        return None
    return Family(name, found[1], int(found[2]) * _UNIT_S[found[3]])


def parse_slug(slug: str) -> Window | None:
    """Parse `btc-updown-5m-1776323400`; None when the name or the start is not of that form."""
    name, _, start = slug.rpartition("-")
    family = parse_family(name)
    if family is None or not (start.isascii() and start.isdigit()) or len(start) > 10:
        return None
    start_s = int(start)
    if start_s % family.length_s or start_s > _START_MAX or start != str(start_s):
        return None
    return Window(family, start_s)


def window_at(family: Family, at_s: int) -> Window:
    """Return the window that runs at a unix second; its start belongs to it, its end does not."""
    return Window(family, at_s - at_s % family.length_s)


def twap_seconds(at_s: int, *, length_s: int, lag_s: int = 0) -> range:
    """Return the whole seconds whose prices the settlement price at `at_s` is the mean of."""
    last = at_s - lag_s
    return range(last - length_s + 1, last + 1)


def mean_e9(prices_e9: Sequence[int]) -> int:
    """Average exactly, cut to units of 1e-9; at least one price is needed."""
    if not prices_e9:
        raise ValueError("the mean of no prices is not known")
    return sum(prices_e9) // len(prices_e9)


def is_up(final_e9: int, strike_e9: int) -> bool:
    """Say whether Up won; a tie is Up. Both prices must be known, that is, positive."""
    if final_e9 <= 0 or strike_e9 <= 0:
        raise ValueError(f"settlement price {final_e9} or strike {strike_e9} is not known")
    return final_e9 >= strike_e9


def payout_e9(up_qty_e9: int, down_qty_e9: int, *, up_won: bool) -> int:
    """Compute the collateral a holding redeems for: one for each winning share, exactly."""
    if up_qty_e9 < 0 or down_qty_e9 < 0:
        raise ValueError(f"a holding cannot be negative: {up_qty_e9} Up, {down_qty_e9} Down")
    return up_qty_e9 if up_won else down_qty_e9


def complement_e9(px_e9: int) -> int:
    """Return the price of the other outcome: the two make one unit of collateral."""
    return E9 - px_e9
