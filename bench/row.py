"""One measured figure, and how rows of them are printed.

Every module of the bench gives a list of `Row`; `python -m bench` prints them all. A figure that
could not be measured here has no value, and its `peer` says why or how.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what, how much, of what unit, what it should be, and what stands beside it."""

    name: str
    value: float | None
    unit: str
    target: str
    peer: str = ""


def as_json(rows: Iterable[Row]) -> str:
    """Write the rows as one JSON array of {name, value, unit, target, peer}."""
    keys = ("name", "value", "unit", "target", "peer")
    return json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=1)


def as_table(rows: Iterable[Row]) -> str:
    """Write the rows as a table for people."""
    cells = [
        (row.name, "not measured" if row.value is None else f"{row.value:,.4g}", row.unit,
         row.target, row.peer)
        for row in rows
    ]  # fmt: skip
    cells.insert(0, ("figure", "value", "unit", "target", "beside it"))
    widths = [max(len(line[at]) for line in cells) for at in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at == 1 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )
