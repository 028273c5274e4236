from sim.binance_rules import symbol_rules


def test_a_known_symbol_has_its_grids_as_the_venue_writes_them():
    rules = symbol_rules("BTCUSDT")
    filters = {found["filterType"]: found for found in rules["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == filters["LOT_SIZE"]["minQty"] == "0.00001000"
    assert (rules["symbol"], rules["status"], rules["quoteAsset"]) == ("BTCUSDT", "TRADING", "USDT")


def test_of_another_symbol_nothing_is_made_up():
    assert symbol_rules("DOGEUSDT") is None
