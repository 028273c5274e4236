"""Candles of a second: what they hold, and which are given."""

from __future__ import annotations

from sim.candles import Print, candles, read_print, span

E8 = 10**8


def a_print(ms, px, qty=1, *, is_buy=True):
    return Print(ms, px * E8, qty * E8, is_buy)


def test_a_candle_has_the_twelve_fields_of_the_venue():
    prints = [a_print(5_000, 10, 2), a_print(5_500, 12, is_buy=False), a_print(5_999, 11, 3)]
    (row,) = candles(prints, range(5, 6))
    assert row == [
        5_000, "10.00000000", "12.00000000", "10.00000000", "11.00000000", "6.00000000",
        5_999, "65.00000000", 3, "5.00000000", "53.00000000", "0",
    ]  # fmt: skip


def test_a_second_without_a_trade_repeats_the_price_and_counts_none():
    rows = candles([a_print(4_999, 10), a_print(6_000, 12)], range(5, 8))
    assert [(row[0], row[1], row[4], row[8]) for row in rows] == [
        (5_000, "10.00000000", "10.00000000", 0),
        (6_000, "12.00000000", "12.00000000", 1),
        (7_000, "12.00000000", "12.00000000", 0),
    ]
    assert rows[0][5] == "0.00000000"


def test_before_the_first_trade_there_is_no_candle():
    assert [row[0] for row in candles([a_print(6_000, 12)], range(4, 8))] == [6_000, 7_000]
    assert candles([], range(4, 8)) == []


def test_the_newest_ones_are_given_or_those_from_the_start_on():
    assert span(100, 3) == range(98, 101)
    assert span(100, 3, end_s=50) == range(48, 51)
    assert span(100, 3, end_s=500) == range(98, 101)
    assert span(100, 3, 10) == range(10, 13)
    assert span(100, 3, 10, 11) == range(10, 12)
    assert span(100, 3, 99) == range(99, 101)
    assert not span(100, 3, 101)
    assert not span(100, 3, 10, 9)


def test_a_trade_of_the_stream_is_read_exactly():
    payload = (
        b'{"e":"trade","E":1723161601438,"s":"BTCUSDT","t":3735693016,"p":"61685.99000000",'
        b'"q":"0.00017000","T":1723161601437,"m":true,"M":true}'
    )
    assert read_print(payload) == Print(1_723_161_601_437, 6_168_599_000_000, 17_000, is_buy=False)
