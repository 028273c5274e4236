import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, Outcome, SettlementType
from feeds.gamma_wire import (
    EventPrices,
    GammaError,
    MarketInfo,
    Window,
    family_seconds,
    parse_book_listing,
    parse_event,
    parse_market,
    parse_markets,
    windows_wanted,
)

START = 1_791_000_000
CONDITION = "0x" + "ab" * 32
OBJECT = {
    "slug": f"btc-updown-5m-{START}",
    "conditionId": CONDITION,
    "outcomes": '["Up", "Down"]',
    "clobTokenIds": '["111", "222"]',
    "outcomePrices": '["0.5", "0.5"]',
    "orderPriceMinTickSize": 0.01,
    "orderMinSize": 5,
    "negRisk": False,
    "closed": False,
    "feesEnabled": True,
    "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
    "rewardsMinSize": 50,
    "rewardsMaxSpread": 4.5,
    "itode": True,
    "eventStartTime": "2026-10-03T04:00:00Z",
    "endDate": "2026-10-03T04:05:00Z",
    "cryptoMarketConfig": {
        "asset": "btc", "duration": "5m", "twapEnabled": True, "twapLookbackSeconds": 60,
    },
}  # fmt: skip


def body(**changes):
    found = OBJECT | changes
    return json.dumps({name: value for name, value in found.items() if value is not ...}).encode()


def test_a_market_is_read_whole():
    assert parse_market(body()) == MarketInfo(
        condition_id=CONDITION,
        slug=f"btc-updown-5m-{START}",
        token_ids=("111", "222"),
        outcomes=("Up", "Down"),
        tick_e9=E9 // 100,
        min_qty_e9=5 * E9,
        neg_risk=False,
        fee_rate_e9=70_000_000,
        fee_exponent=1,
        rebate_rate_e9=200_000_000,
        taker_delay_ns=250_000_000,
        reward_min_qty_e9=50 * E9,
        reward_spread_e9=45_000_000,
        asset="btc",
        window_start_ns=START * E9,
        window_end_ns=(START + 300) * E9,
        twap_ns=60 * E9,
        settlement_type=SettlementType.TWAP,
    )


def test_a_market_names_its_coin_for_both_price_sources():
    market = parse_market(body())
    assert (market.twap_symbol, market.reference_symbol) == ("btcusd", "BTCUSDT")
    other = parse_market(body(slug="will-it-rain", cryptoMarketConfig=...))
    assert (other.twap_symbol, other.reference_symbol) == ("", "")
    assert (other.window_start_ns, other.settlement_type) == (0, SettlementType.NONE)


def test_a_market_of_protocol_v2_has_its_position_ids():
    market = parse_market(body(version="v2", positionIds='["333","444"]'))
    assert (market.token_ids, market.protocol_version) == (("333", "444"), 2)
    with pytest.raises(GammaError, match="positionIds"):
        parse_market(body(version="v2"))


def test_the_up_token_comes_first_whatever_the_order():
    market = parse_market(body(outcomes='["Down", "Up"]', closed=True, outcomePrices='["0", "1"]'))
    assert (market.token_ids, market.outcomes) == (("222", "111"), ("Up", "Down"))
    assert market.winner is Outcome.YES


def test_only_a_closed_market_has_a_winner():
    assert parse_market(body(outcomePrices='["1", "0"]')).winner is Outcome.UNKNOWN
    assert parse_market(body(closed=True, outcomePrices='["0", "1"]')).winner is Outcome.NO
    assert parse_market(body(closed=True, outcomePrices='["0.9", "0.1"]')).winner == 0


def test_a_market_without_a_twap_is_not_settled_by_one():
    for config in (..., {"twapEnabled": False, "twapLookbackSeconds": 60}):
        market = parse_market(body(cryptoMarketConfig=config))
        assert (market.twap_ns, market.settlement_type) == (0, SettlementType.NONE)
        assert market.window_start_ns == START * E9


def test_an_hourly_market_is_settled_by_a_candle():
    market = parse_market(
        body(
            slug="bitcoin-up-or-down-october-3-12am-et",
            endDate="2026-10-03T05:00:00Z",
            cryptoMarketConfig=...,
        )
    )
    assert (market.settlement_type, market.asset) == (SettlementType.CANDLE, "btc")


def test_a_market_without_fees_needs_no_schedule():
    market = parse_market(body(feesEnabled=False, feeSchedule=...))
    assert (market.fee_rate_e9, market.fee_exponent) == (0, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conditionId", ...), ("conditionId", "0x12"), ("conditionId", 5),
        ("slug", ...), ("slug", ""), ("slug", 5),
        ("clobTokenIds", ...), ("clobTokenIds", '["111"]'), ("clobTokenIds", '["111","111"]'),
        ("clobTokenIds", '["111","0x22"]'), ("clobTokenIds", json.dumps(["1" * 79, "2"])),
        ("outcomes", ...), ("outcomes", '["Up","Down","Flat"]'),
        ("orderPriceMinTickSize", ...), ("orderPriceMinTickSize", 0),
        ("orderPriceMinTickSize", 1), ("orderPriceMinTickSize", "x"),
        ("orderPriceMinTickSize", 0.3),
        ("orderMinSize", ...), ("orderMinSize", -5), ("orderMinSize", True),
        ("negRisk", "no"), ("closed", 1),
        ("feeSchedule", ...), ("feeSchedule", []),
        ("feeSchedule.rate", {"exponent": 1}),
        ("feeSchedule.exponent", {"rate": 0.07, "exponent": 1.5}),
        ("feeSchedule.exponent", {"rate": 0.07}),
        ("feeSchedule", {"rate": 7, "exponent": 1}),
        ("secondsDelay", -1),
        ("eventStartTime", ...), ("eventStartTime", "2026-10-03T04:05:00Z"),
        ("endDate", ...), ("endDate", "2026-10-03T04:10:00Z"),
        ("cryptoMarketConfig", []),
        ("cryptoMarketConfig.twapLookbackSeconds", {"twapEnabled": True}),
        ("cryptoMarketConfig.twapEnabled", {"twapEnabled": "yes"}),
    ],
)  # fmt: skip
def test_a_missing_or_wrong_field_is_an_error_that_names_it(field, value):
    changes = {field.split(".")[0]: value}
    if field == "secondsDelay":
        changes["itode"] = False
    with pytest.raises(GammaError) as caught:
        parse_market(body(**changes))
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_the_usable_markets_of_a_list_are_not_lost_with_the_others():
    rows = [OBJECT, OBJECT | {"orderMinSize": None}, 5]
    found = parse_markets(json.dumps(rows).encode())
    assert isinstance(found[0], MarketInfo)
    assert [error.field for error in found[1:]] == ["orderMinSize", "body"]
    with pytest.raises(GammaError, match="body"):
        parse_markets(b"{}")


def test_official_prices_are_read_when_they_are_there():
    event = {"eventMetadata": {"priceToBeat": 78788.786579938813, "finalPrice": "78790.5"}}
    assert parse_event(json.dumps(event).encode(), CONDITION) == EventPrices(
        78_788_786_579_938, 78_790_500_000_000
    )
    for empty in ({}, {"eventMetadata": None}, {"eventMetadata": {}}, {"markets": []}):
        assert parse_event(json.dumps([empty]).encode(), CONDITION) == EventPrices()
    closed = OBJECT | {"closed": True, "outcomePrices": '["0","1"]'}
    event = {"markets": [{"conditionId": "0x1"}, closed]}
    assert parse_event(json.dumps(event).encode(), CONDITION).winner is Outcome.NO


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"eventMetadata": 5}, "eventMetadata"),
        ({"eventMetadata": {"priceToBeat": "x"}}, "priceToBeat"),
        ({"eventMetadata": {"finalPrice": []}}, "finalPrice"),
        ({"markets": {"a": 1}}, "markets"),
        (5, "body"),
    ],
)
def test_a_wrong_event_is_an_error_that_names_the_field(event, field):
    with pytest.raises(GammaError) as caught:
        parse_event(json.dumps(event).encode(), CONDITION)
    assert caught.value.field == field


def test_a_book_lists_a_token_without_metadata():
    book = {
        "market": CONDITION, "asset_id": "111", "tick_size": "0.001", "min_order_size": "5",
        "neg_risk": True, "bids": [], "asks": [],
    }  # fmt: skip
    market = parse_book_listing(json.dumps(book).encode(), "111")
    assert (market.token_ids, market.has_metadata) == (("111", ""), False)
    assert (market.tick_e9, market.min_qty_e9, market.neg_risk) == (E9 // 1000, 5 * E9, True)
    with pytest.raises(GammaError, match="asset_id"):
        parse_book_listing(json.dumps(book).encode(), "112")


@pytest.mark.parametrize(
    ("family", "seconds"),
    [("btc-updown-5m", 300), ("eth-updown-15m", 900), ("x1-updown-4h", 14400)],
)
def test_a_family_knows_the_length_of_its_windows(family, seconds):
    assert family_seconds(family) == seconds


@pytest.mark.parametrize("family", ["btc", "btc-updown-0m", "btc-updown-7m", "btc-updown-5d", ""])
def test_a_family_that_is_none_is_an_error(family):
    with pytest.raises(GammaError, match="family"):
        family_seconds(family)


def test_the_next_window_is_wanted_from_its_lead_on():
    running = Window(f"btc-updown-5m-{START}", START, START + 300)
    after = Window(f"btc-updown-5m-{START + 300}", START + 300, START + 600)
    assert windows_wanted("btc-updown-5m", START, 120) == [running]
    assert windows_wanted("btc-updown-5m", START + 179.9, 120) == [running]
    assert windows_wanted("btc-updown-5m", START + 180, 120) == [running, after]
    assert windows_wanted("btc-updown-5m", START + 300, 120) == [after]


@given(st.dictionaries(st.sampled_from(list(OBJECT)), st.none() | st.integers() | st.text()))
def test_no_object_makes_anything_but_a_market_or_a_gamma_error(changes):
    found = parse_markets(b"[" + body(**changes) + b"]")[0]
    assert isinstance(found, MarketInfo) or found.field
