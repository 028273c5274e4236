"""Each kind of garbage is what it is called, and keeps the name of whose data it claims to be."""

from __future__ import annotations

import json

import pytest

from sim.garbage import AHEAD, HUGE_BYTES, KINDS, OVERSIZE_BYTES, make
from sim.wire import BINARY

SAMPLES = {
    "change": b'{"market":"0xabc","price_changes":[{"asset_id":"111","price":"0.5","size":"1",'
    b'"side":"BUY","hash":"h","best_bid":"0.5","best_ask":"0.6"}],"timestamp":"1",'
    b'"event_type":"price_change"}',
    "ticker": b'{"u":1,"s":"BTCUSDT","b":"1.0","B":"1","a":"2.0","A":"1"}',
    "nothing": b"{}",
}
PARSED = ("huge", "wrong_types", "nan", "negative", "absurd", "exponent", "unknown_type")


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_made_of_every_frame(kind, sample):
    made = make(kind, sample)
    assert isinstance(made.payload, bytes)
    assert made.payload != sample or sample == b"{}"


@pytest.mark.parametrize("kind", PARSED)
def test_what_parses_keeps_the_token_or_symbol(kind):
    for name in ("change", "ticker"):
        made = make(kind, SAMPLES[name])
        assert made.is_data
        text = json.dumps(json.loads(made.payload))
        if kind != "unknown_type":
            assert ("111" if name == "change" else "BTCUSDT") in text


@pytest.mark.parametrize("kind", ["malformed", "truncated", "empty", "bad_utf8", "bare_nan"])
def test_what_is_no_json_is_none(kind):
    import orjson

    for name in ("change", "ticker"):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(make(kind, SAMPLES[name]).payload)


def test_numbers_are_replaced_and_names_are_not():
    change = json.loads(make("negative", SAMPLES["change"]).payload)["price_changes"][0]
    assert (change["price"], change["size"], change["best_bid"]) == ("-0.5", "-0.5", "-0.5")
    assert (change["asset_id"], change["side"]) == ("111", "BUY")
    top = json.loads(make("nan", SAMPLES["ticker"]).payload)
    assert (top["b"], top["A"], top["s"], top["u"]) == ("NaN", "NaN", "BTCUSDT", 1)


def test_what_is_well_formed_is_wrong_in_what_it_says():
    book = {
        "bids": [{"price": "0.4"}],
        "asks": [{"price": "0.6"}],
        "market": "0x1",
        "asset_id": "7",
    }
    sample = json.dumps(book | {"timestamp": "1000"}).encode()
    assert json.loads(make("off_grid", sample).payload)["bids"] == [{"price": "0.4567891"}]
    assert json.loads(make("crossed", sample).payload)["bids"] == book["asks"]
    assert json.loads(make("ahead", sample).payload)["timestamp"] == str(1000 + AHEAD)
    nameless = json.loads(make("nameless", sample).payload)
    assert "market" not in nameless
    assert nameless["asset_id"] == "7"
    twice = make("twice", sample).payload
    assert twice.count(b'"price"') == 4
    assert json.loads(twice) == json.loads(sample)
    top = json.loads(make("crossed", SAMPLES["ticker"]).payload)
    assert (top["b"], top["a"]) == ("2.0", "1.0")


def test_sizes_and_opcodes_are_as_said():
    assert len(make("huge", SAMPLES["change"]).payload) == HUGE_BYTES
    assert len(make("oversize", SAMPLES["change"]).payload) == OVERSIZE_BYTES > 16 << 20
    assert make("binary", SAMPLES["change"]).opcode == BINARY
    with pytest.raises(UnicodeDecodeError):
        make("bad_utf8", SAMPLES["change"]).payload.decode()
