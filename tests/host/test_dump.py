from cache.layout import HEADER
from cache.segment import ReaderSegment
from host.dump import board_rows, render, segment_rows, state_name


def test_a_segment_is_shown_with_header_and_contents(filled):
    segment = ReaderSegment.attach("executor.paper", namespace=filled)
    with open(segment.path, "rb") as file:
        shown = segment_rows(segment, file.read(HEADER.size))
    assert shown["header"]["state"] == "RUN"
    assert shown["header"]["role"] == "executor.paper"
    assert shown["boards"]["orders"]["slots_used"] == 2
    assert shown["boards"]["fills"]["cell_count"] == 64


def test_the_newest_record_of_each_used_slot_is_shown(filled):
    segment = ReaderSegment.attach("executor.paper", namespace=filled)
    rows = list(board_rows(segment.board("orders")))
    assert [row["slot"] for row in rows] == [0, 1]
    assert rows[0]["px_e9"] == 440_000_000
    assert rows[0]["order_id"] == "00" + "ff" * 30 + "00", "an id keeps its zeros"
    assert next(board_rows(segment.board("fills")))["order_id"] == ""
    assert len(rows[0]["tag"]) == 16
    assert not any(name.startswith("reserved") for name in rows[0])


def test_one_slot_and_its_history_can_be_asked_for(filled):
    segment = ReaderSegment.attach("executor.paper", namespace=filled)
    rows = list(board_rows(segment.board("fills"), slot=0, history=3))
    assert [(row["fill_id"], row["back"]) for row in rows] == [(28, 2), (29, 1), (30, 0)]
    assert len(list(board_rows(segment.board("fills"), slot=0, history=999))) == 30


def test_a_line_leaves_zeros_out_but_not_what_they_would_mean(filled):
    segment = ReaderSegment.attach("strategy.maker", namespace=filled)
    (line,) = render(board_rows(segment.board("quotes")))
    assert line.startswith("  slot=0 version=1 tag=")
    assert " flags=0" in line
    assert "ask_px_e9" not in line


def test_lists_and_spaces_stay_one_word():
    (line,) = render([{"slot": 1, "bids": [5, 0, 7, 0, 0], "slug": "a b", "asks": [0, 0]}])
    assert line == '  slot=1 bids=[5,0,7] slug="a b" asks=[]'


def test_a_state_nobody_knows_is_a_number():
    assert state_name(2) == "RUN"
    assert state_name(99) == "state 99"
