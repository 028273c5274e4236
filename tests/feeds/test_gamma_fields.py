import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9
from feeds import gamma_fields as fields
from feeds.gamma_fields import GammaError


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":0.01}', E9 // 100),
        (b'{"a":"0.01"}', E9 // 100),
        (b'{"a":5}', 5 * E9),
        (b'{"a":0.29}', 290_000_000),
        (b'{"a":1e-3}', E9 // 1000),
        (b'{"a":5E0}', 5 * E9),
        (b'{"a":0.1000000000}', None),
        (b'{"a":-1}', None),
        (b'{"a":1e999999999}', None),
        (b'{"a":true}', None),
        (b'{"a":NaN}', None),
        (b'{"a":[]}', None),
        (b'{"a":null}', None),
        (b"{}", None),
    ],
)
def test_an_amount_is_read_exactly_or_is_an_error_with_its_name(body, value):
    row = fields.load(body)
    if value is not None:
        assert fields.amount(row, "a") == value
        return
    with pytest.raises(GammaError, match=r"x\.a") as caught:
        fields.amount(row, "a", at="x.")
    assert caught.value.field == "x.a"


def test_a_price_of_many_places_is_cut_and_one_not_filled_in_is_none():
    row = fields.load(b'{"a":78788.786579938813673472,"b":null,"c":"","d":0,"e":"7.5"}')
    assert fields.price(row, "a") == 78_788_786_579_938
    assert [fields.price(row, name) for name in "bcdx"] == [None] * 4
    assert fields.price(row, "e") == 7_500_000_000
    with pytest.raises(GammaError, match="e "):
        fields.price({"e": []}, "e")


@pytest.mark.parametrize("value", ['["1","2"]', ["1", "2"]])
def test_a_pair_may_be_a_list_or_the_text_of_one(value):
    assert fields.pair({"a": value}, "a") == ("1", "2")


@pytest.mark.parametrize("value", ['["1"]', '["1","2","3"]', '[1,"2"]', "[", "", None, 5, {}])
def test_what_is_no_pair_is_an_error_with_its_name(value):
    with pytest.raises(GammaError, match="tokens"):
        fields.pair({"tokens": value}, "tokens")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-07-24T00:00:00Z", 1_784_851_200),
        ("2026-07-24T00:00:00", 1_784_851_200),
        ("2026-07-24T00:00:00.000Z", 1_784_851_200),
        ("2026-07-24 00:00:00+00", 1_784_851_200),
        ("2026-07-24T02:00:00+02:00", 1_784_851_200),
    ],
)
def test_a_time_is_read_into_seconds(text, seconds):
    assert fields.time({"t": text}, "t") == seconds


@pytest.mark.parametrize("value", [None, 5, "", "soon", "9999-01-01T00:00:00Z", "1900-01-01"])
def test_what_is_no_time_of_a_market_is_an_error(value):
    with pytest.raises(GammaError, match="t "):
        fields.time({"t": value}, "t")


def test_a_list_of_one_is_unwrapped_and_others_are_errors():
    assert fields.one([{"a": 1}]) == {"a": 1}
    assert fields.one({"a": 1}) == {"a": 1}
    for value in ([], [1, 2]):
        with pytest.raises(GammaError, match="body"):
            fields.one(value)


@given(st.binary(max_size=100))
def test_a_body_that_is_no_json_is_a_gamma_error(body):
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        with pytest.raises(GammaError, match="body"):
            fields.load(body)


def test_a_body_nested_without_end_is_a_gamma_error():
    with pytest.raises(GammaError, match="body"):
        fields.load(b"[" * 200_000)
