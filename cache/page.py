"""The generated parts of shm_layout.md: tables and worked examples, from the layout.

Records, values and their sentences come from `cache/layout.py`, counters from `cache/counters.py`,
and the boards of each role from the table below, which a test compares with what the roles make.
`python -m cache.page` rewrites them in place between their markers; a test fails where page and
layout differ. The prose around them is written by hand.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cache
from pathlib import Path

from cache import enums, layout
from cache.counters import Counter, Histogram
from cache.layout import PAIR_BBO, Field, Record

PAGE = Path(__file__).resolve().parent.parent / "shm_layout.md"

EXAMPLE_VENUE = "polymarket"
EXAMPLE_ID = "0x" + "ab" * 32
EXAMPLE_TAG = layout.tag_of(EXAMPLE_VENUE, EXAMPLE_ID)
EXAMPLE = {
    "batch": 7,
    "venue_seq": 0,
    "recv_ns": 1_000_000_000_000,
    "publish_ns": 1_000_000_004_200,
    "venue_ts_ns": 1_790_766_981_628_000_000,
    "flags": int(layout.Flag.SUSPECT),
    "proof": int(layout.Proof.BEST_PRICES),
    "yes_bid_px_e9": 500_000_000,
    "yes_bid_qty_e9": 918_340_000_000,
    "yes_ask_px_e9": 510_000_000,
    "yes_ask_qty_e9": 326_430_000_000,
    "no_bid_px_e9": 490_000_000,
    "no_bid_qty_e9": 326_430_000_000,
    "no_ask_px_e9": 500_000_000,
    "no_ask_qty_e9": 918_340_000_000,
    "last_px_e9": 510_000_000,
    "tick_e9": 10_000_000,
    "proven_ns": 1_000_000_000_000,
    "yes_flags": 0,
    "no_flags": int(layout.Flag.SUSPECT),
}


@dataclass(frozen=True, slots=True)
class RoleBoard:
    """A board that a role's segment has: N in words, K, what one slot is, and whose tag it has."""

    name: str
    slots: str
    cells: int
    one: str
    tag: str


_SYMBOL, _TOKEN, _MARKET = "binance:<SYMBOL>", "polymarket:<token id>", "polymarket:<condition id>"
_PAIR = "a market: slot p"
_STREAM = "one stream of all"

ROLES: dict[str, tuple[RoleBoard, ...]] = {
    "feed.binance.0": (
        RoleBoard("instruments", "S", 4, "a symbol: slot s", _SYMBOL),
        RoleBoard("bbo", "S", 8, "the same s", _SYMBOL),
        RoleBoard("depth", "S", 8, "the same s", _SYMBOL),
        RoleBoard("features", "S", 8, "the same s", _SYMBOL),
        RoleBoard("samples", "S", 128, "the same s", _SYMBOL),
        RoleBoard("trades", "1", 4096, _STREAM, _SYMBOL),
    ),
    "feed.polymarket.0": (
        RoleBoard("instruments", "2 M", 4, "a token: slot s = 2 p + `outcome_index`", _TOKEN),
        RoleBoard("pair_bbo", "M", 8, _PAIR, _MARKET),
        RoleBoard("mids", "M", 128, "the same p; a copy of `pair_bbo`, once a second", _MARKET),
        RoleBoard("depth", "2 M", 8, "a token: the same s as in `instruments`", _TOKEN),
        RoleBoard("trades", "1", 4096, _STREAM, _TOKEN),
        RoleBoard("settlement", "M", 8, "the same p as in `pair_bbo`", _MARKET),
    ),
    "strategy.<id>": (RoleBoard("quotes", "M", 8, "a market, in any slot", _MARKET),),
    "executor.<account>": (
        RoleBoard("positions", "A", 8, "a market, in any slot", _MARKET),
        RoleBoard("orders", "O", 8, "an order; given to another when it ended", _TOKEN),
        RoleBoard("fills", "1", 4096, _STREAM, _TOKEN),
    ),
    "supervisor": (RoleBoard("processes", "32", 8, "a process", "process:<role>"),),
    "sim": (),
}
"""The boards of the roles of this program, in the order of their tables of contents."""


def _table(*rows: tuple[object, ...]) -> str:
    """A table; the first row is its head."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _type_of(field: Field) -> str:
    return field.kind if field.count == 1 else f"{field.kind}[{field.count}]"


def record_table(record: Record, fields: tuple[Field, ...]) -> str:
    """Offset, size, type, name and meaning of the fields."""
    return _table(
        ("offset", "size", "type", "name", "meaning"),
        *(
            (record.offsets[one.name], one.size, _type_of(one), f"`{one.name}`", one.text)
            for one in fields
        ),
    )


@cache
def _sentences() -> dict[tuple[str, str], str]:
    """The sentence below each value in cache/enums.py, by enumeration and name."""
    found = {}
    for kind in ast.parse(inspect.getsource(enums)).body:
        if isinstance(kind, ast.ClassDef):
            for value, below in zip(kind.body, kind.body[1:], strict=False):
                match value, below:
                    case (
                        ast.Assign(targets=[ast.Name(id=name)]),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[kind.name, name] = text
    return found


def enum_table(kind: type[IntEnum] | type[IntFlag]) -> str:
    """Values, names and meanings. Raises KeyError where a value has no sentence."""
    said = _sentences()
    rows = ((int(one), f"`{one.name}`", said[kind.__name__, str(one.name)]) for one in kind)
    return _table(("value", "name", "meaning"), *rows)


def boards_table() -> str:
    """Which boards the segment of each role has."""
    rows = [
        (f"`{role}`", f"`{one.name}`", record, one.slots, one.cells, one.one, f"`{one.tag}`")
        for role, boards in ROLES.items()
        for one in boards
        for record in [layout.BOARD_RECORDS[one.name].name]
    ]
    bare = [(f"`{role}`", "none", "", "", "", "", "") for role in ROLES if not ROLES[role]]
    return _table(("role", "board", "record", "N", "K", "one slot is", "tag of"), *rows, *bare)


def words_table(kind: type[Counter] | type[Histogram]) -> str:
    """Ids, names and meanings of counters or histograms."""
    return _table(
        ("id", "name", "meaning"), *((int(one), f"`{one.name}`", one.text) for one in kind)
    )


def tag_example() -> str:
    """The tag of the worked cell's market, step by step."""
    raw = EXAMPLE_TAG.to_bytes(8, "little")
    return _table(
        ("step", "value"),
        ("text", f"`{EXAMPLE_VENUE}:{EXAMPLE_ID}`"),
        ("digest, 8 bytes", f"`{raw.hex(' ')}`"),
        ("tag", f"`0x{EXAMPLE_TAG:016x}`"),
    )


def example_cell() -> bytes:
    """The worked PairBbo cell: incarnation 3, generation 1."""
    return PAIR_BBO.struct.pack(EXAMPLE_TAG, 3, 1, *EXAMPLE.values(), b"")


def _dump(raw: bytes) -> str:
    rows = [
        f"{at:04x}  {raw[at : at + 8].hex(' ')}  {raw[at + 8 : at + 16].hex(' ')}"
        for at in range(0, len(raw), 16)
    ]
    return "```\n" + "\n".join(rows) + "\n```"


def _constants() -> str:
    toc = f"{layout.BOARD_COUNT_MAX} entries of {layout.TOC_ENTRY.size} bytes"
    histograms = f"{layout.HISTOGRAM_COUNT} of {layout.BUCKET_COUNT} words"
    return _table(
        ("constant", "value"),
        ("magic", f"`0x{layout.MAGIC:016x}`"),
        ("layout version", layout.LAYOUT_VERSION),
        ("layout hash", f"`0x{layout.LAYOUT_HASH:016x}`"),
        ("header", f"{layout.HEADER.size} bytes"),
        ("table of contents", f"at {layout.TOC_OFFSET}, {toc}"),
        ("counters", f"at {layout.COUNTERS_OFFSET}, {layout.COUNTER_COUNT} words"),
        ("histograms", f"at {layout.HISTOGRAMS_OFFSET}, {histograms}"),
        ("first board", f"at {layout.BOARDS_OFFSET}"),
    )


def parts() -> dict[str, str]:
    """Every generated part of the page, by the name of its marker."""
    found = {
        "constants": _constants(),
        "toc": record_table(layout.TOC_ENTRY, layout.TOC_FIELDS),
        "prefix": record_table(PAIR_BBO, layout.PREFIX),
        "boards": boards_table(),
        "tag": tag_example(),
        "example": _dump(example_cell()),
        "counter ids": words_table(Counter),
        "histogram ids": words_table(Histogram),
    }
    for record in layout.RECORDS:
        head = f"Record type {record.id}, {record.size} bytes. {record.text}.\n\n"
        own = record.fields[len(layout.PREFIX) :]
        found[f"record {record.name}"] = head + record_table(record, own)
    for kind in layout.ENUMS:
        found[f"enum {kind.__name__}"] = enum_table(kind)
    return found


def render(page: str) -> str:
    """The page with every generated part as the layout has it. Raises KeyError on a bad marker."""
    known = parts()

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- {name} -->\n{known[name]}\n<!-- end -->"

    return re.sub(r"<!-- ([a-zA-Z_ ]+?) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def main() -> int:
    """Rewrite the generated parts of the page in place."""
    PAGE.write_text(render(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
