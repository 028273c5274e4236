import copy
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.bn_poll import Polled, read_poll
from cache.errors import PenstockError, UpdateRefused
from cache.layout import E9

RAW = {
    "wall_ts_ms": 1_790_766_981_628,
    "symbol": "BTCUSDT",
    "bbo_bid": 60_000.1,
    "bbo_ask": 60_000.2,
    "features": {"return_1m": 0.0004, "ewma_vol": 1.9},
    "pricer": {"shock_z": -0.25},
}


def raw(**changes):
    """The answer with some keys changed; `inner.key` by a double underscore, ... takes it away."""
    made = copy.deepcopy(RAW)
    for name, value in changes.items():
        *group, key = name.split("__")
        place = made[group[0]] if group else made
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return made


def test_an_answer_of_the_schema_is_read_exactly():
    assert read_poll(RAW, "BTCUSDT") == Polled(
        1_790_766_981_628, "BTCUSDT", 60_000_100_000_000, 60_000_200_000_000, 400_000, -250_000_000
    )


def test_the_minute_is_not_taken_for_a_second():
    names = Polled.__struct_fields__
    assert "return_1m_e9" in names
    assert not [name for name in names if "1s" in name]


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ..., "pricer": ...},
        {"features": {}, "pricer": {}},
        {"features__return_1m": None, "features__ewma_vol": None, "pricer__shock_z": None},
        {"features__return_1m": ..., "features__ewma_vol": ..., "pricer__shock_z": ...},
    ],
)
def test_what_the_service_does_not_know_is_none(changes):
    polled = read_poll(raw(**changes), "BTCUSDT")
    assert (polled.return_1m_e9, polled.shock_z_e9) == (None, None)
    assert polled.bid_px_e9 == 60_000_100_000_000


def test_a_service_may_not_know_the_time():
    assert read_poll(raw(wall_ts_ms=None), "BTCUSDT").wall_ts_ms is None


@pytest.mark.parametrize(
    ("ends", "beyond"),
    [
        ({"bbo_bid": 1e-9, "bbo_ask": 1_000_000_000}, {"bbo_ask": 1_000_000_001}),
        ({"wall_ts_ms": 1}, {"wall_ts_ms": -1}),
        ({"wall_ts_ms": 9_000_000_000_000}, {"wall_ts_ms": 9_000_000_000_001}),
        ({"features__return_1m": 1}, {"features__return_1m": 1.000001}),
        ({"features__return_1m": -1}, {"features__return_1m": -1.000001}),
        ({"features__ewma_vol": 0}, {"features__ewma_vol": -1e-9}),
        ({"pricer__shock_z": 10**6}, {"pricer__shock_z": 1_000_001}),
        ({"pricer__shock_z": -(10**6)}, {"pricer__shock_z": -1_000_001}),
    ],
)
def test_the_ends_of_a_range_are_in_it_and_what_lies_beyond_is_not(ends, beyond):
    read_poll(raw(**ends), "BTCUSDT")
    with pytest.raises(UpdateRefused, match=f"^{next(iter(beyond)).replace('__', '.')} is "):
        read_poll(raw(**beyond), "BTCUSDT")


NAN, INF = math.nan, math.inf
REFUSED = [
    ({"wall_ts_ms": ...}, "wall_ts_ms is missing"),
    ({"wall_ts_ms": "1"}, "wall_ts_ms is str"),
    ({"wall_ts_ms": 1.5}, "wall_ts_ms is float"),
    ({"wall_ts_ms": True}, "wall_ts_ms is bool"),
    ({"wall_ts_ms": 0}, "wall_ts_ms is 0"),
    ({"wall_ts_ms": 10**16}, "wall_ts_ms is 10000000000000000"),
    ({"symbol": ...}, "symbol is missing"),
    ({"symbol": "ETHUSDT"}, "symbol is 'ETHUSDT'"),
    ({"symbol": None}, "symbol is None"),
    ({"bbo_bid": ...}, "bbo_bid is missing"),
    ({"bbo_bid": None}, "bbo_bid is null"),
    ({"bbo_bid": "60000.1"}, "bbo_bid is str"),
    ({"bbo_bid": True}, "bbo_bid is bool"),
    ({"bbo_bid": 0}, "bbo_bid is 0"),
    ({"bbo_bid": 1e-12}, "bbo_bid is 1e-12"),
    ({"bbo_bid": -1.0}, "bbo_bid is -1.0"),
    ({"bbo_bid": NAN}, "bbo_bid is nan"),
    ({"bbo_ask": INF}, "bbo_ask is inf"),
    ({"bbo_ask": 1e10}, "bbo_ask is 10000000000.0"),
    ({"bbo_ask": ...}, "bbo_ask is missing"),
    ({"bbo_ask": [60_000.2]}, "bbo_ask is list"),
    ({"bbo_bid": 60_000.3}, "bbo_bid is 60000.3: it must be below bbo_ask, 60000.2"),
    ({"bbo_bid": 60_000.2}, "bbo_bid is 60000.2: it must be below"),
    ({"features": None}, "features is null"),
    ({"features": [1]}, "features is list"),
    ({"features__return_1m": "0"}, "features.return_1m is str"),
    ({"features__return_1m": NAN}, "features.return_1m is nan"),
    ({"features__return_1m": 1.2}, "features.return_1m is 1.2"),
    ({"features__ewma_vol": -1}, "features.ewma_vol is -1"),
    ({"features__ewma_vol": INF}, "features.ewma_vol is inf"),
    ({"features__ewma_vol": {}}, "features.ewma_vol is dict"),
    ({"pricer": 3}, "pricer is int"),
    ({"pricer__shock_z": -INF}, "pricer.shock_z is -inf"),
    ({"pricer__shock_z": 1e7}, "pricer.shock_z is 10000000.0"),
    ({"pricer__shock_z": False}, "pricer.shock_z is bool"),
    ({"bbo_bid": 10**5000}, "bbo_bid is a number of many digits"),
    ({"features__ewma_vol": 10**5000}, "features.ewma_vol is a number of many digits"),
    ({"features__ewma_vol": -(10**400)}, "features.ewma_vol is a number of many digits"),
    ({"wall_ts_ms": 10**5000}, "wall_ts_ms is a number of many digits"),
    ({"symbol": 10**5000}, "symbol is a number of many digits"),
    ({"seq": 4}, "seq is a key that nobody knows"),
    ({"features__return_1s": 0.1}, "features.return_1s is a key that nobody knows"),
    ({"pricer__fair": 0.5}, "pricer.fair is a key that nobody knows"),
    ({"seq": 4}, "seq is a key that nobody knows here: leave it out, or name it among"),
    ({"symbol": [10**5000]}, "symbol is of type list: it must be 'BTCUSDT'"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_is_wrong_is_refused_and_named(changes, says):
    with pytest.raises(UpdateRefused, match=f"^{re.escape(says)}"):
        read_poll(raw(**changes), "BTCUSDT")


@pytest.mark.parametrize("answer", [None, [], "x", 5, [RAW]])
def test_an_answer_that_is_no_object_is_refused(answer):
    with pytest.raises(UpdateRefused, match=r"^the answer is"):
        read_poll(answer, "BTCUSDT")


def test_keys_that_are_known_to_be_of_no_use_may_be_there():
    extra = raw(seq=4, features__return_5m=None)
    ignored = frozenset({"seq", "features.return_5m"})
    assert read_poll(extra, "BTCUSDT", ignored=ignored) == read_poll(RAW, "BTCUSDT")
    with pytest.raises(UpdateRefused, match=r"^features\.return_5m is a key"):
        read_poll(extra, "BTCUSDT", ignored=frozenset({"seq", "return_5m"}))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (10**5000, "a number of many digits"),
        (None, "None"),
        ((10**5000,), "of type tuple"),
        ("x" * 10**6, "xxx"),
    ],
    ids=[*"abcd"],
)
def test_a_key_of_any_kind_is_refused_by_its_name(key, says):
    for name, answer in (("", RAW | {key: 1}), (r"features\.", RAW | {"features": {key: 1}})):
        with pytest.raises(UpdateRefused, match=f"^{name}{says}") as refused:
            read_poll(answer, "BTCUSDT")
        assert len(str(refused.value)) < 200


def test_a_refusal_is_the_projects_own_error_and_a_value_error():
    assert issubclass(UpdateRefused, PenstockError)
    assert issubclass(UpdateRefused, ValueError)


@pytest.mark.parametrize(
    ("written", "px_e9"),
    [(0.29, 290_000_000), (69_583.29, 69_583_290_000_000), (1e-9, 1), (60_000, 60_000 * E9)],
)
def test_a_price_is_the_number_that_was_written_and_not_what_a_float_makes_of_it(written, px_e9):
    polled = read_poll(raw(bbo_bid=written, bbo_ask=999_999_999), "BTCUSDT")
    assert polled.bid_px_e9 == px_e9


@settings(deadline=None)
@given(st.integers(1, 10**16), st.integers(1, 10**9))
def test_prices_are_as_they_were_written(bid_e9, gap_e9):
    bid, ask = bid_e9 / E9, (bid_e9 + gap_e9) / E9
    if bid >= ask:
        return
    polled = read_poll(raw(bbo_bid=bid, bbo_ask=ask), "BTCUSDT")
    assert abs(polled.bid_px_e9 - bid_e9) <= 1 + bid_e9 // 10**15


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*RAW, "seq"]), JSON))
def test_nothing_but_a_refusal_comes_of_what_is_no_answer(changes):
    try:
        polled = read_poll(RAW | changes, "BTCUSDT")
    except UpdateRefused:
        return
    assert 0 < polled.bid_px_e9 < polled.ask_px_e9
