import re

from cache import layout, page


def test_the_page_says_what_the_layout_says():
    text = page.PAGE.read_text()
    assert page.render(text) == text, "run: python -m cache.page"


def test_every_generated_part_stands_on_the_page():
    text = page.PAGE.read_text()
    assert set(re.findall(r"<!-- ((?!end)[a-zA-Z_ ]+?) -->", text)) == set(page.parts())


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
