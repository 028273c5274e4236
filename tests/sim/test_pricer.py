import json
import math

import pytest

from cache.bn_poll import read_poll
from sim.pricer import MINUTE_S, Pricer, derive

NOW_NS = 1_790_766_981_628_999_999


@pytest.fixture
def pricer(fake_source):
    fake_source.candles = lambda symbol, limit: [
        [second * 1000, "1", "1", "1", f"{100 + second % 3}.0"] for second in range(limit)
    ]
    return Pricer(fake_source, lambda: NOW_NS)


def test_the_answer_is_what_the_feed_reads(pricer, ask):
    status, found = ask(pricer.snapshot, "/pricer/snapshot?symbol=BTCUSDT")
    assert status == 200
    polled = read_poll(found, "BTCUSDT")
    assert (polled.wall_ts_ms, polled.bid_px_e9, polled.ask_px_e9) == (
        1_790_766_981_628, 10**9, 3 * 10**9,
    )  # fmt: skip
    assert polled.return_1m_e9 is not None
    assert polled.shock_z_e9 is not None


def test_the_venues_own_time_is_told(pricer, ask, fake_source):
    fake_source.venue_ns = lambda wall_ns: wall_ns - 10**15
    _, found = ask(pricer.snapshot, "/pricer/snapshot?symbol=BTCUSDT")
    assert found["wall_ts_ms"] == (NOW_NS - 10**15) // 1_000_000


def test_an_unknown_symbol_is_not_there(pricer, ask):
    assert ask(pricer.snapshot, "/pricer/snapshot?symbol=NONE")[0] == 404
    assert ask(pricer.snapshot, "/pricer/snapshot")[0] == 404


def test_without_a_minute_of_candles_nothing_is_known(pricer, ask, fake_source):
    fake_source.candles = lambda symbol, limit: None
    _, found = ask(pricer.snapshot, "/pricer/snapshot?symbol=BTCUSDT")
    assert found["features"] == {"return_1m": None, "ewma_vol": None}
    assert found["pricer"] == {"shock_z": None}
    polled = read_poll(json.loads(json.dumps(found)), "BTCUSDT")
    assert polled.return_1m_e9 is None


def test_candles_are_asked_for_once_a_second(pricer, ask, fake_source):
    asked, candles = [], fake_source.candles
    fake_source.candles = lambda symbol, limit: asked.append(limit) or candles(symbol, limit)
    now = {"ns": NOW_NS}
    pricer._wall_ns = lambda: now["ns"]
    for _ in range(5):
        ask(pricer.snapshot, "/pricer/snapshot?symbol=BTCUSDT")
    now["ns"] += 10**9
    ask(pricer.snapshot, "/pricer/snapshot?symbol=BTCUSDT")
    assert asked == [62, 62]


def test_the_figures_of_a_minute():
    rising = [100.0 * 1.001**n for n in range(MINUTE_S + 1)]
    features, pricer = derive(rising)
    assert features["return_1m"] == pytest.approx(1.001**60 - 1)
    assert features["ewma_vol"] == pytest.approx(0.001)
    assert pricer["shock_z"] == pytest.approx(1.0)
    still, pricer = derive([100.0] * (MINUTE_S + 1))
    assert (still["return_1m"], still["ewma_vol"], pricer["shock_z"]) == (0.0, 0.0, None)
    assert not math.isnan(still["ewma_vol"])
