"""Do we understand Binance? Bytes as the venue sends them in, exact typed values out."""

import gzip
import os
from pathlib import Path

import pytest

from cache.layout import Side
from feeds.binance_wire import (
    BookTicker,
    Rejected,
    Reply,
    Shutdown,
    Trade,
    Unknown,
    VenueError,
    parse,
)

RECORDINGS = os.environ.get("PENSTOCK_RECORDINGS")
FILES = ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz", "spot_btcusdt_20230405.dat.gz")

TICKER = BookTicker("BTCUSDT", 50093421613, 61685990000000, 1258690000, 61686000000000, 2448160000)
TRADE = Trade(
    "BTCUSDT", 3735693016, 61685990000000, 170000, Side.SELL,
    1723161601438000000, 1723161601437000000,
)  # fmt: skip
RAW_TICKER = (
    b'{"u":50093421613,"s":"BTCUSDT","b":"61685.99000000","B":"1.25869000",'
    b'"a":"61686.00000000","A":"2.44816000"}'
)
RAW_TRADE = (
    b'{"e":"trade","E":1723161601438,"s":"BTCUSDT","t":3735693016,"p":"61685.99000000",'
    b'"q":"0.00017000","T":1723161601437,"m":true,"M":true}'
)


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b'{"stream":"btcusdt@bookTicker","data":' + RAW_TICKER + b"}", TICKER),
        (b'{"data":' + RAW_TICKER + b',"stream":"btcusdt@bookTicker"}', TICKER),
        (RAW_TICKER, TICKER),
        (RAW_TICKER[:-1] + b',"st":1,"ps":"BTCUSDT"}', TICKER),
        (
            b'{"stream":"btcusdt@bookTicker","data":{"A":"2.44816000","a":"61686.00000000",'
            b'"B":"1.25869000","b":"61685.99000000","s":"BTCUSDT","st":1,"u":50093421613}}',
            TICKER,
        ),
        (
            b'{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20","B":"2.507",'
            b'"a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}',
            BookTicker(
                "BTCUSDT", 5123107839020, 61800200000000, 2507000000, 61800300000000, 2510000000
            ),
        ),
        (b'{"stream":"btcusdt@trade","data":' + RAW_TRADE + b"}", TRADE),
        (RAW_TRADE, TRADE),
        (
            RAW_TRADE.replace(b"1723161601438", b"1723161601438000").replace(
                b"1723161601437", b"1723161601437000"
            ),
            TRADE,
        ),
        (b'{"result":null,"id":1}', Reply(1, None)),
        (b'{"result":["btcusdt@aggTrade"],"id":3}', Reply(3, ("btcusdt@aggTrade",))),
        (b'{"result":[],"id":"abc"}', Reply("abc", ())),
        (
            b'{"code":2,"msg":"Invalid request: unknown variant"}',
            VenueError(2, "Invalid request: unknown variant", None),
        ),
        (b'{"code":3,"msg":"Invalid JSON: x"}', VenueError(3, "Invalid JSON: x", None)),
        (b'{"error":{"code":2,"msg":"bad"},"id":9}', VenueError(2, "bad", 9)),
        (b'{"e":"serverShutdown","E":1770123456789}', Shutdown(1770123456789000000)),
        (
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
            Shutdown(1770123456789000000),
        ),
        (
            b'{"stream":"nknusdt@aggTrade","data":{"e":"aggTrade","E":1633998523963,'
            b'"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000","f":19862790,'
            b'"l":19862790,"T":1633998523963,"m":false,"M":true}}',
            Unknown("aggTrade"),
        ),
        (
            b'{"stream":"btcusdt@depth5","data":{"lastUpdateId":160,"bids":[],"asks":[]}}',
            Unknown("btcusdt@depth5"),
        ),
    ],
)
def test_a_frame_of_the_venue_becomes_its_event(frame, event):
    assert parse(frame) == event
    assert parse(bytearray(frame)) == event


def lines(name):
    if RECORDINGS is None:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    with gzip.open(Path(RECORDINGS) / "binance" / name) as file:
        for line in file:
            yield line.split(b" ", 1)[1]


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_frame_is_understood_or_known_to_be_foreign(name):
    tickers = last = 0
    for frame in lines(name):
        event = parse(frame)
        assert not isinstance(event, Rejected), (event, frame[:200])
        if isinstance(event, BookTicker):
            assert event.update_id > last
            last = event.update_id
            assert event.bid_px_e9 < event.ask_px_e9
            tickers += 1
        elif isinstance(event, Unknown):
            assert event.kind in ("depthUpdate", "without a name")
        else:
            assert isinstance(event, Trade)
    assert tickers > 8_000


def test_every_recorded_frame_of_four_symbols_is_understood():
    if RECORDINGS is None:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    text = (Path(RECORDINGS) / "binance" / "BINANCE.ws.1.0").read_bytes()
    kinds = set()
    for line in text.splitlines():
        _, found, frame = line.partition(b": {")
        if found:
            event = parse(b"{" + frame)
            assert not isinstance(event, Rejected), event
            kinds.add(event.symbol if isinstance(event, BookTicker) else type(event).__name__)
    assert kinds == {"NKNUSDT", "BLZETH", "LRCBTC", "Unknown"}
