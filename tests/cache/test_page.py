import hashlib
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from cache import layout, page
from cache.layout import BoardSpec
from executor.boards import specs as executor_boards
from feeds import binance, polymarket
from host import supervisor
from host.roles import SUPERVISOR_ROLE
from sim import run as sim_run
from strategy.runner import strategy_boards, strategy_role


def test_the_page_says_what_the_layout_says():
    text = page.PAGE.read_text()
    assert page.render(text) == text, "run: python -m cache.page"


def test_every_generated_part_stands_on_the_page():
    text = page.PAGE.read_text()
    assert set(re.findall(r"<!-- ((?!end)[a-zA-Z_ ]+?) -->", text)) == set(page.parts())


COUNTS = {"S": 5, "M": 7, "2 M": 14, "A": 9, "O": 11, "1": 1, "32": 32}
MADE = {
    "feed.binance.0": binance.boards(SimpleNamespace(symbol_slots=COUNTS["S"])),
    "feed.polymarket.0": polymarket.boards(SimpleNamespace(market_slots=COUNTS["M"])),
    strategy_role("<id>"): strategy_boards(COUNTS["M"]),
    "executor.<account>": executor_boards(COUNTS["A"], COUNTS["O"]),
    SUPERVISOR_ROLE: supervisor.BOARDS,
    sim_run.ROLE: (),
}


def test_the_boards_of_every_role_stand_on_the_page_as_it_makes_them():
    said = {
        role: tuple(
            BoardSpec(one.name, layout.BOARD_RECORDS[one.name], COUNTS[one.slots], one.cells)
            for one in boards
        )
        for role, boards in page.ROLES.items()
    }
    assert said == MADE


def test_every_board_whose_record_is_checked_belongs_to_a_role():
    assert {one.name for boards in page.ROLES.values() for one in boards} == {*layout.BOARD_RECORDS}


@pytest.mark.parametrize("kind", layout.ENUMS, ids=lambda kind: kind.__name__)
def test_every_value_is_said_in_a_sentence(kind):
    rows = page.enum_table(kind).splitlines()[2:]
    assert len(rows) == len(kind)
    for row, value in zip(rows, kind, strict=True):
        assert re.fullmatch(rf"\| {value.value} \| `{value.name}` \| [A-Z`].+\. \|", row)


def test_the_worked_tag_is_made_as_the_page_tells_it():
    steps = dict(re.findall(r"^\| (\w.*) \| `(.*)` \|$", page.tag_example(), re.MULTILINE))
    digest = bytes.fromhex(steps["digest, 8 bytes"])
    assert digest == hashlib.blake2b(steps["text"].encode(), digest_size=8).digest()
    assert int(steps["tag"], 16) == struct.unpack("<Q", digest)[0] == page.EXAMPLE_TAG
    assert page.example_cell()[:8] == digest


def test_the_header_table_written_by_hand_is_the_layout():
    text = page.PAGE.read_text().split("## 4.")[1].split("State:")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [
        (str(layout.HEADER_AT[field.name]), str(field.size), field.kind, field.name)
        for field in layout.HEADER_FIELDS
    ]


def test_the_worked_cell_reads_back_as_the_page_tells_it():
    dump = page.PAGE.read_text().split("### A worked cell")[1].split("```")[1]
    raw = bytes.fromhex("".join(line[6:] for line in dump.strip().splitlines()))
    assert raw == page.example_cell()
    values = layout.PAIR_BBO.struct.unpack(raw)
    assert values[:3] == (layout.tag_of("polymarket", "0x" + "ab" * 32), 3, 1)
    assert values[10:12] == (500_000_000, 918_340_000_000)


def test_the_reader_that_was_written_from_the_page_is_of_its_layout():
    reader = Path(__file__).parents[1] / "system" / "reader.c"
    assert f"#define LAYOUT_HASH {layout.LAYOUT_HASH:#x}ul" in reader.read_text()
