"""What the rules of `host/settings.py` over several keys are made of. Pure.

A rule that does not hold is a `Fault`: it names the keys it concerns, so that it can be left out
where one of them is faulty itself, and says in one sentence what is and what to change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple


class Fault(NamedTuple):
    """A rule that does not hold."""

    keys: tuple[str, ...]
    """The keys it concerns, as the section names them."""
    text: str
    """What is, and what to change."""


def too_small(
    name: str, value: float, least: float, *others: str, why: str = ""
) -> Iterator[Fault]:
    """`name` must be at least `least`, which follows from the keys `others`."""
    if value < least:
        reason = why or others[-1]
        yield Fault((name, *others), f"{name} is {value}: make it at least {least}, {reason}")


def twice(name: str, values: tuple[str, ...]) -> Iterator[Fault]:
    """No element of the list `name` may stand in it twice."""
    again = sorted({value for value in values if values.count(value) > 1})
    if again:
        yield Fault((name,), f"{name} names {', '.join(again)} twice: take one out")


def windows_held(family: str, lead_s: float, linger_s: float) -> int:
    """How many windows of a family have slots at once, at most.

    The running one; the next one, from `lead_s` before the running one ends; and those that ended
    less than `linger_s` ago, of which some may be gone when the next one comes.
    """
    number, unit = family.rpartition("-")[2][:-1], family[-1]
    length_s = int(number) * {"m": 60, "h": 3600}[unit]
    lingering = math.ceil(linger_s / length_s)
    if not lead_s:
        return 1 + lingering
    joined_s = max(0.0, length_s - lead_s)
    return 1 + max(lingering, 1 + math.ceil(max(0.0, linger_s - joined_s) / length_s))
