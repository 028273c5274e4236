import msgspec

from cache import layout
from host.picture import BookRow, FillRow, OrderRow, Picture, PositionRow, QuoteRow, ReferenceRow


def test_what_is_copied_from_a_record_is_called_the_same_in_the_row():
    pairs = (
        (BookRow, layout.PAIR_BBO), (ReferenceRow, layout.BBO), (QuoteRow, layout.TARGET_QUOTES),
        (OrderRow, layout.WORKING_ORDER), (PositionRow, layout.POSITION), (FillRow, layout.FILL),
    )  # fmt: skip
    for row, record in pairs:
        names = {field.name for field in record.fields}
        for name in row.COPIED:
            assert name in names, f"{record.name} has no {name}"
            assert name in row.__struct_fields__, f"{row.__name__} has no {name}"


def test_unknown_is_null_in_json():
    row = msgspec.json.decode(msgspec.json.encode(BookRow(market="m", slot=0)))
    assert row["age_ms"] is None
    assert row["strike_e9"] is None
    assert "COPIED" not in row
    assert "processes" in Picture.__struct_fields__
