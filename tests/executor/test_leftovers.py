import pytest
from hypothesis import given, settings

from cache.board import snapshot_type
from cache.layout import E9, FILL, POSITION, WORKING_ORDER, OrderState, Outcome, Side
from executor.leftovers import AMOUNT_MAX_E9, fill_of, holding_of, is_order
from tests.system.damage import damages

FILLS = 9
WHOLE = {
    POSITION: {"tag": 1, "yes_qty_e9": 3 * E9, "cash_e9": -E9, "fill_count": 2, "venue_seq": 9},
    FILL: {
        "tag": 2, "pair_tag": 1, "fill_id": 9, "px_e9": E9 // 2, "qty_e9": E9, "side": Side.BUY,
        "is_maker": 1,
    },
    WORKING_ORDER: {
        "tag": 2, "pair_tag": 1, "px_e9": E9 // 2, "qty_e9": E9, "side": Side.SELL,
        "state": OrderState.WORKING,
    },
}  # fmt: skip


def record(kind, **changes):
    told = WHOLE[kind] | changes
    values = [told.get(f.name, 0 if f.is_number else b"") for f in kind.fields]
    return snapshot_type(kind)(kind.struct.pack(*values), 1)


def test_what_an_executor_publishes_is_read_back():
    held = holding_of(record(POSITION), FILLS)
    assert (held.yes_e9, held.cash_e9, held.fill_count, held.fill_id) == (3 * E9, -E9, 2, 9)
    made = fill_of(record(FILL), FILLS)
    assert (made.fill_id, made.side, made.is_yes, made.is_maker) == (9, Side.BUY, True, True)
    assert is_order(record(WORKING_ORDER))


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": 0},
        {"settled": 3},
        {"settled": Outcome.YES},  # Paid out, and shares held.
        {"yes_qty_e9": -1},
        {"no_qty_e9": AMOUNT_MAX_E9 + 1},
        {"cash_e9": -AMOUNT_MAX_E9 - 1},
        {"fees_e9": 1 << 62},
        {"rebates_e9": -(1 << 63)},
        {"fill_count": FILLS + 1},
        {"venue_seq": FILLS + 1},
    ],
)
def test_a_position_that_cannot_be_is_none(changes):
    assert holding_of(record(POSITION, **changes), FILLS) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": 0},
        {"pair_tag": 0},
        {"side": Side.NONE},
        {"side": 3},
        {"fill_id": FILLS - 1},
        {"px_e9": 0},
        {"px_e9": E9},
        {"qty_e9": 0},
        {"qty_e9": AMOUNT_MAX_E9 + 1},
        {"fee_e9": -1},
        {"rebate_e9": AMOUNT_MAX_E9 + 1},
        {"outcome_index": 2},
        {"is_maker": 2},
    ],
)
def test_a_fill_that_cannot_be_is_none(changes):
    assert fill_of(record(FILL, **changes), FILLS) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": 0},
        {"pair_tag": 0},
        {"state": OrderState.NONE},
        {"state": 9},
        {"side": 0},
        {"px_e9": -1},
        {"qty_e9": 0},
        {"filled_e9": E9 + 1},
        {"outcome_index": 2},
    ],
)
def test_an_order_that_may_have_lived_and_cannot_be_is_none(changes):
    assert not is_order(record(WORKING_ORDER, **changes))


def test_of_an_order_that_ended_only_that_counts():
    assert is_order(record(WORKING_ORDER, state=OrderState.DENIED, px_e9=0, qty_e9=1 << 62))


@settings(deadline=None)
@given(damages("positions", keep=()), damages("fills", keep=()))
def test_whatever_is_read_back_of_damage_lies_within_its_bounds(position, fill):
    held = holding_of(spoiled(POSITION, position), FILLS)
    if held is not None:
        assert max(held.fill_id, held.fill_count) <= FILLS
        assert 0 <= min(held.yes_e9, held.no_e9) <= max(held.yes_e9, held.no_e9) <= AMOUNT_MAX_E9
        assert max(map(abs, (held.cash_e9, held.fees_e9, held.rebates_e9))) <= AMOUNT_MAX_E9
    made = fill_of(spoiled(FILL, fill), FILLS)
    if made is not None:
        assert (made.fill_id, bool(made.pair_tag), bool(made.token_tag)) == (FILLS, True, True)
        assert 0 < made.px_e9 < E9
        assert 0 < made.qty_e9 <= AMOUNT_MAX_E9


def spoiled(kind, damage):
    raw = bytearray(record(kind).raw)
    for name, value in damage.items():
        raw[kind.offsets[name] : kind.offsets[name] + len(value)] = value
    return snapshot_type(kind)(bytes(raw), 1)
