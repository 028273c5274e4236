"""The whole venue: one world, whatever the way its moments are reached."""

from __future__ import annotations

import hashlib
import json

import pytest

from feeds.gamma_wire import parse_event, parse_market
from sim.frames import BN_DEPTH, BN_TICKER, BN_TRADE, BOLT_TWAP, PM_MARKET
from sim.model import Model, ModelParams
from venue.decimals import parse_long_e9

NS = 1_000_000_000
START_S = 1_790_000_100
CALM = ModelParams(ticker_rate=4.0, trade_rate=2.0, flow=0.2)
"""For what takes many minutes."""


def at(seconds):
    return int((START_S + seconds) * NS)


def digest(frames):
    whole = hashlib.sha256()
    for frame in frames:
        whole.update(repr(frame).encode())
    return whole.hexdigest()


@pytest.fixture(scope="module")
def whole():
    """A model that began 4 s before a window, and its frames until 10 s into it."""
    model = Model(1, at(-4))
    return model, model.advance(at(10))


def test_frames_come_in_order_on_all_channels_after_the_start(whole):
    _, frames = whole
    assert [f.t_ns for f in frames] == sorted(f.t_ns for f in frames)
    assert at(-4) < frames[0].t_ns
    assert frames[-1].t_ns <= at(10)
    assert {f.channel for f in frames} == {PM_MARKET, BN_TICKER, BN_TRADE, BN_DEPTH, BOLT_TWAP}


@pytest.mark.parametrize("step_ns", [2_000_000, 33_333_333, 7 * NS])
def test_steps_of_any_size_give_the_same_bytes(whole, step_ns):
    model, pieces = Model(1, at(-4)), []
    now_ns = at(-4)
    while now_ns < at(10):
        now_ns = min(now_ns + step_ns, at(10))
        pieces += model.advance(now_ns)
    assert digest(pieces) == digest(whole[1])


def test_wherever_a_model_starts_it_gives_the_same_bytes_from_then_on(whole):
    expected = digest([f for f in whole[1] if f.t_ns > at(3.7)])
    late = Model(1, at(3.7))
    assert digest(late.advance(at(10))) == expected
    for from_s in (-7_200, 3):
        moved = Model(1, at(from_s))
        moved.fast_forward(at(3.7))
        assert digest(moved.advance(at(10))) == expected


def test_a_start_between_a_trade_and_its_print_still_gives_the_print(whole):
    prints = [f.t_ns for f in whole[1] if b'"last_trade_price"' in f.payload]
    start_ns = next(t_ns for t_ns in prints if t_ns > at(5)) - 10_000_000
    late = Model(1, start_ns).advance(start_ns + NS)
    assert digest(late) == digest([f for f in whole[1] if start_ns < f.t_ns <= start_ns + NS])


def test_a_clock_that_was_set_back_gives_nothing_twice():
    model = Model(1, at(3))
    first = model.advance(at(4))
    assert model.advance(at(4)) == []
    assert model.advance(at(3.5)) == []
    assert model.now_ns == at(4)
    assert digest(first + model.advance(at(5))) == digest(Model(1, at(3)).advance(at(5)))


def test_another_seed_is_another_world(whole):
    other = Model(2, at(-4)).advance(at(0))
    assert digest(other) != digest([f for f in whole[1] if f.t_ns <= at(0)])


def test_a_killed_venue_comes_back_with_the_same_books(whole):
    model, _ = whole
    again = Model(1, at(10))
    assert again.slugs == model.slugs
    for slug in model.slugs:
        for token in json.loads(model.gamma_market(slug)["clobTokenIds"]):
            assert again.book(token) == model.book(token)
    assert again.twap_points(60) == model.twap_points(60)
    assert again.book_ticker("BTCUSDT") == model.book_ticker("BTCUSDT")
    assert again.candles("BTCUSDT", 200) == model.candles("BTCUSDT", 200)


def test_markets_exist_before_they_run_and_are_forgotten_after():
    model = Model(1, at(-1))
    starts = [int(slug.rpartition("-")[2]) - START_S for slug in model.slugs]
    assert starts == [-300, 0, 300, 600]
    frames = model.advance(at(1))
    starts = [int(slug.rpartition("-")[2]) - START_S for slug in model.slugs]
    assert starts == [-300, 0, 300, 600, 900]
    listed = [f for f in frames if b'"new_market"' in f.payload]
    assert [f.key for f in listed] == [()]
    token = json.loads(model.gamma_market(model.slugs[0])["clobTokenIds"])[0]
    assert model.token_exists(token)
    model.fast_forward(at(121))
    assert not model.token_exists(token)
    assert model.book(token) is None


def test_one_long_step_lists_and_forgets_markets_as_short_ones_do():
    long, short = Model(1, at(280), CALM), Model(1, at(280), CALM)
    jumped = long.advance(at(625))
    walked = []
    for seconds in range(285, 630, 5):
        walked += short.advance(at(seconds))
    assert digest(jumped) == digest(walked)
    assert long.slugs == short.slugs
    assert sum(b'"market_resolved"' in f.payload for f in jumped) == 2
    assert sum(b'"new_market"' in f.payload for f in jumped) == 2


def test_a_start_in_the_middle_of_a_window_knows_the_strike():
    model = Model(1, at(40))
    points = model.twap_points(90)
    stamps = [point["timestamp"] // 1000 for point in points]
    assert stamps == list(range(stamps[0], stamps[0] + 90))
    assert stamps[-1] in (START_S + 38, START_S + 39)
    strike = points[stamps.index(START_S)]["full_accuracy_value"]
    model.fast_forward(at(200))
    official = parse_event(
        json.dumps(model.gamma_event(f"btc-updown-5m-{START_S}")).encode(),
        json.loads(json.dumps(model.gamma_market(f"btc-updown-5m-{START_S}")))["conditionId"],
    )
    assert abs(official.strike_e9 - parse_long_e9(strike)) < 1_000


def test_the_catalogue_tells_strike_final_price_and_winner_in_their_time():
    slug = f"btc-updown-5m-{START_S}"
    model = Model(1, at(10), CALM)
    condition = model.gamma_market(slug)["conditionId"]

    def told(seconds):
        model.fast_forward(at(seconds))
        return parse_event(json.dumps(model.gamma_event(slug)).encode(), condition)

    assert told(15).strike_e9 is None
    assert told(25).strike_e9 is not None
    assert told(301).winner == 0
    late = told(470)
    assert (late.final_e9 >= late.strike_e9) == (late.winner == 1)
    assert told(90_000) == late


def test_a_market_of_the_catalogue_is_whole_for_a_client():
    model = Model(1, at(10))
    for slug in model.slugs:
        market = parse_market(json.dumps(model.gamma_market(slug)).encode())
        assert market.slug == slug
        assert market.fee_rate_e9 == 70_000_000
        assert market.twap_ns == 60 * NS
        assert (market.window_end_ns - market.window_start_ns) == 300 * NS
        for name in (*market.token_ids, market.condition_id):
            assert model.gamma_market_of(name)["slug"] == slug
    assert model.gamma_market(f"btc-updown-5m-{START_S + 3000}") is None
    assert model.gamma_market("eth-updown-5m-1790000100") is None
    assert model.gamma_market_of("12") is None
    assert model.gamma_event("nonsense") is None
    assert model.book("12") is None
    assert model.book_ticker("ETHUSDT") is None
    assert model.candles("ETHUSDT", 5) is None


def test_settlement_is_that_of_the_points_sent():
    model = Model(4, at(-5), CALM)
    values, winners = {}, {}
    for frame in model.advance(at(625)):
        if frame.channel == BOLT_TWAP:
            point = json.loads(frame.payload)
            values[point["timestamp"] // 1000] = parse_long_e9(point["full_accuracy_value"])
        elif b'"market_resolved"' in frame.payload:
            event = json.loads(frame.payload)
            winners[event["market"]] = event["winning_outcome"]
    for point in model.twap_points(1000):
        values.setdefault(point["timestamp"] // 1000, parse_long_e9(point["full_accuracy_value"]))
    told = 0
    for start_s in (START_S, START_S + 300):
        condition = model.gamma_market(f"btc-updown-5m-{start_s}")["conditionId"]
        is_up = values[start_s + 300] >= values[start_s]
        assert winners[condition] == ("Up" if is_up else "Down")
        told += 1
    assert told == 2


def test_parameters_make_the_venue_busier():
    calm = Model(1, at(100), CALM).advance(at(108))
    busy = Model(1, at(100), ModelParams(ticker_rate=100.0, flow=3.0)).advance(at(108))
    for channel in (PM_MARKET, BN_TICKER):
        counts = [sum(f.channel == channel for f in frames) for frames in (calm, busy)]
        assert counts[1] > 2 * counts[0]


def test_running_top_is_that_of_the_running_window():
    model = Model(1, at(10))
    market = model.gamma_market(f"btc-updown-5m-{START_S}")
    top = model.running_top()
    assert (top.bid / 1000, top.ask / 1000) == (market["bestBid"], market["bestAsk"])
