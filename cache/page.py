"""The generated parts of shm_layout.md: tables and the worked cell, from `cache/layout.py`.

`python -m cache.page` rewrites them in place between their markers; a test fails where page and
layout differ. The prose around them is written by hand.
"""

from __future__ import annotations

import re
import sys
from enum import IntEnum
from pathlib import Path

from cache import layout
from cache.layout import PAIR_BBO, Field, Record

PAGE = Path(__file__).resolve().parent.parent / "shm_layout.md"

EXAMPLE_TAG = layout.tag_of("polymarket", "0x" + "ab" * 32)
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


def _type_of(field: Field) -> str:
    return field.kind if field.count == 1 else f"{field.kind}[{field.count}]"


def record_table(record: Record, fields: tuple[Field, ...]) -> str:
    """Offset, size, type, name and meaning of the fields."""
    lines = ["| offset | size | type | name | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| {record.offsets[field.name]} | {field.size} | {_type_of(field)} "
        f"| `{field.name}` | {field.text} |"
        for field in fields
    ]
    return "\n".join(lines)


def enum_table(kind: type[IntEnum]) -> str:
    """Names and values of an enumeration, on one line."""
    return " · ".join(f"`{member.name}` {int(member)}" for member in kind)


def example_cell() -> bytes:
    """The worked PairBbo cell: incarnation 3, generation 1."""
    return PAIR_BBO.struct.pack(EXAMPLE_TAG, 3, 1, *EXAMPLE.values(), b"")


def _dump(raw: bytes) -> str:
    rows = [
        f"{at:04x}  {raw[at : at + 8].hex(' ')}  {raw[at + 8 : at + 16].hex(' ')}"
        for at in range(0, len(raw), 16)
    ]
    return "```\n" + "\n".join(rows) + "\n```"


def parts() -> dict[str, str]:
    """Every generated part of the page, by the name of its marker."""
    found = {
        "constants": "\n".join(
            (
                "| constant | value |",
                "|---|---|",
                f"| magic | `0x{layout.MAGIC:016x}` |",
                f"| layout version | {layout.LAYOUT_VERSION} |",
                f"| layout hash | `0x{layout.LAYOUT_HASH:016x}` |",
                f"| header | {layout.HEADER.size} bytes |",
                f"| table of contents | at {layout.TOC_OFFSET}, {layout.BOARD_COUNT_MAX} entries "
                f"of {layout.TOC_ENTRY.size} bytes |",
                f"| counters | at {layout.COUNTERS_OFFSET}, {layout.COUNTER_COUNT} words |",
                f"| histograms | at {layout.HISTOGRAMS_OFFSET}, {layout.HISTOGRAM_COUNT} of "
                f"{layout.BUCKET_COUNT} words |",
                f"| first board | at {layout.BOARDS_OFFSET} |",
            )
        ),
        "toc": record_table(layout.TOC_ENTRY, layout.TOC_FIELDS),
        "prefix": record_table(PAIR_BBO, layout.PREFIX),
        "example": _dump(example_cell()),
    }
    for record in layout.RECORDS:
        head = f"Record type {record.id}, {record.size} bytes. {record.text}.\n\n"
        own = record.fields[len(layout.PREFIX) :]
        found[f"record {record.name}"] = head + record_table(record, own)
    for kind in (
        layout.State, layout.Flag, layout.Proof, layout.Side, layout.Provenance,
        layout.SettlementType, layout.Outcome, layout.OrderState, layout.Reason,
        layout.ProcessPhase,
    ):  # fmt: skip
        found[f"enum {kind.__name__}"] = enum_table(kind)  # type: ignore[arg-type]
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
