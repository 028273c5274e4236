import msgspec

from cache import layout
from host.picture import BookRow, FillRow, OrderRow, Picture, PositionRow, QuoteRow, ReferenceRow


def test_what_is_copied_from_a_record_is_called_the_same_in_the_row():
    pairs = (
        (QuoteRow, layout.TARGET_QUOTES), (OrderRow, layout.WORKING_ORDER),
        (PositionRow, layout.POSITION), (FillRow, layout.FILL),
    )  # fmt: skip
    for row, record in pairs:
        names = {field.name for field in record.fields}
        for name in row.COPIED:
            assert name in names, f"{record.name} has no {name}"
            assert name in row.__struct_fields__, f"{row.__name__} has no {name}"


def test_unknown_is_null_in_json():
    row = msgspec.json.decode(msgspec.json.encode(BookRow(market="m", slot=0)))
    for name in ("age_ms", "strike_e9", "yes_bid_px_e9", "no_ask_qty_e9", "last_px_e9", "tick_e9"):
        assert row[name] is None, name
    row = msgspec.json.decode(msgspec.json.encode(ReferenceRow(symbol="s", slot=0)))
    assert (row["bid_px_e9"], row["sigma_e9"]) == (None, None)
    assert "COPIED" not in msgspec.json.decode(msgspec.json.encode(QuoteRow("s", "m")))
    assert "processes" in Picture.__struct_fields__
