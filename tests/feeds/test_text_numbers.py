"""The tables that turn the venue's text into integers, and the tick sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.text_numbers import BESTS, PRICES, SIZES, UNKNOWN, is_tick, parse_tick
from venue.decimals import E9, DecimalError, parse_e9


@given(st.one_of(st.text(max_size=24), st.from_regex(r"\A[0-9]{0,12}\.?[0-9]{0,10}\Z")))
def test_the_quick_tables_agree_with_the_strict_parser(text):
    def parsed(table):
        try:
            return table[text]
        except ValueError:
            return None

    try:
        strict = parse_e9(text)
    except DecimalError:
        strict = None
    assert parsed(SIZES) == strict
    assert parsed(PRICES) == (strict if strict is not None and 0 < strict < E9 else None)
    best = strict if strict is not None and strict <= E9 else None
    assert parsed(BESTS) == (UNKNOWN if text == "" else best)


def test_a_table_forgets_when_it_is_full_and_still_parses():
    for number in range(20_000):
        assert SIZES[f"{number}.25"] == number * E9 + E9 // 4
    assert len(SIZES) <= 16_384


@pytest.mark.parametrize("text", ["0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001", "0.5"])
def test_the_ticks_of_the_venue_are_ticks(text):
    assert parse_tick(text) == parse_e9(text)


@pytest.mark.parametrize("text", ["0", "1", "0.3", "0.00001", "0.00015", "2", "-0.01", "x", ""])
def test_what_is_no_tick_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_tick(text)


def test_no_tick_gives_a_side_more_than_9999_levels():
    ticks = [tick for tick in range(1, 10**6) if is_tick(tick)]
    assert ticks[0] == E9 // 10_000
    assert not [tick for tick in ticks if tick % ticks[0]]
