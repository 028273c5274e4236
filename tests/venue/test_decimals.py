"""Decimal text to exact integers and back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venue import decimals
from venue.decimals import (
    E9,
    E9_MAX,
    DecimalError,
    format_e9,
    parse_e9,
    parse_long_e9,
    parse_signed_e9,
)

AMOUNTS = st.integers(min_value=0, max_value=E9_MAX)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("0.29", 290_000_000),
        ("0.57", 570_000_000),
        (".48", 480_000_000),
        ("0.638", 638_000_000),
        ("0.0001", 100_000),
        ("93900.09", 93_900_090_000_000),
        ("11.276594", 11_276_594_000),
        ("61234.56000000", 61_234_560_000_000),
        ("0.123456789", 123_456_789),
        ("007", 7 * E9),
        ("9000000000", E9_MAX),
    ],
)
def test_plain_decimals_are_exact(text: str, value: int) -> None:
    assert parse_e9(text) == value
    assert parse_e9(text) == value  # and again, from memory


GARBAGE: list[object] = [
    "", ".", "5.", "-1", "-0", "+1", "1e5", "1E-2", "nan", "NaN", "inf", "-inf", "Infinity", " 1",
    "1 ", "1\n", "1_000", "1,5", "0x10", "1.2.3", "..1", "١٢", "²", "1\x00", "0.1234567891",
    "9000000000.000000001", "99999999999", "1" * 5_000_000, "0" * 64, "½", "1.-5", "1.+5",
    None, 1, 0.5, True, b"1", [], {}, ["1"],
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: repr(text)[:20])
def test_garbage_is_refused_with_a_short_message(text: object) -> None:
    for parse in (parse_e9, parse_long_e9):
        if parse is parse_long_e9 and text in ("0.1234567891",):
            continue
        with pytest.raises(DecimalError) as caught:
            parse(text)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 200


@given(AMOUNTS)
def test_every_amount_survives_the_round_trip(value: int) -> None:
    text = format_e9(value)
    assert parse_e9(text) == value
    assert Decimal(text) * E9 == value


@given(st.integers(min_value=-E9_MAX, max_value=E9_MAX))
def test_every_signed_amount_survives_the_round_trip(value: int) -> None:
    assert parse_signed_e9(format_e9(value)) == value


@given(AMOUNTS)
def test_written_amounts_are_canonical(value: int) -> None:
    text = format_e9(value)
    assert not text.startswith(".")
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0")


@given(st.text(max_size=24))
def test_no_text_raises_anything_but_decimal_error(text: str) -> None:
    for parse in (parse_e9, parse_signed_e9, parse_long_e9):
        try:
            value = parse(text)
        except DecimalError:
            continue
        assert Decimal(value) == Decimal(text) * E9 // 1


def test_a_minus_is_let_through_once_and_only_where_said() -> None:
    assert parse_signed_e9("-0.5") == -E9 // 2
    with pytest.raises(DecimalError):
        parse_signed_e9("--1")
    with pytest.raises(DecimalError):
        parse_e9("-0.5")


def test_the_settlement_price_is_cut_after_nine_places() -> None:
    assert parse_long_e9("78788.786579938813673472") == 78_788_786_579_938
    assert parse_long_e9("0.9999999999") == 999_999_999
    assert parse_long_e9("5") == 5 * E9
    with pytest.raises(DecimalError):
        parse_long_e9("0.999999999x")


def test_the_memory_of_parsed_texts_is_bounded() -> None:
    for number in range(decimals._KNOWN_MAX + 10):
        parse_e9(str(number))
    assert len(decimals._known) <= decimals._KNOWN_MAX
    assert parse_e9("0.29") == 290_000_000


def test_garbage_does_not_enter_the_memory() -> None:
    before = len(decimals._known)
    for number in range(100):
        with pytest.raises(DecimalError):
            parse_e9(f"bad{number}")
    assert len(decimals._known) == before
