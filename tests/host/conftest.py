"""A namespace filled as the five processes would fill it."""

import pytest

from cache import layout
from cache.layout import BoardSpec, ProcessPhase, State, tag_of
from cache.segment import WriterSegment

E9 = layout.E9
NOW_NS = 5_000_000_000_000
WALL_NS = 1_800_000_000_000_000_000
MARKET = tag_of("polymarket", "0xcondition")
UP, DOWN = tag_of("polymarket", "111"), tag_of("polymarket", "222")
BTC = tag_of("binance", "BTCUSDT")


def publish(writer, board, slot, tag, **values):
    """Publish by field name; what is not named is zero."""
    record = next(p.spec.record for n, p in writer.places().items() if n == board)
    given = {"recv_ns": NOW_NS - 7_000_000, "publish_ns": NOW_NS - 6_000_000} | values
    flat = []
    for field in record.fields:
        if field.name not in record.value_names:
            continue
        value = given.pop(field.name, 0 if field.is_number else b"")
        flat.extend([value] * field.count if field.count > 1 else [value])
    assert not given, f"no such fields: {given}"
    writer.board(board).publish_tagged(slot, tag, 0, flat)


def claim(namespace, role, *specs):
    made = WriterSegment.create(role, specs, namespace=namespace)
    made.heartbeat(NOW_NS - 50_000_000)
    made.set_state(State.RUN)
    return made


def fill_binance(namespace):
    feed = claim(
        namespace,
        "feed.binance.0",
        BoardSpec("instruments", layout.INSTRUMENT, 4, 4),
        BoardSpec("bbo", layout.BBO, 4, 8),
        BoardSpec("features", layout.FEATURES, 4, 8),
        BoardSpec("samples", layout.SAMPLE, 4, 128),
    )
    publish(feed, "instruments", 1, BTC, id=b"BTCUSDT")
    publish(feed, "bbo", 1, BTC, bid_px_e9=60_000 * E9, bid_qty_e9=2 * E9,
            ask_px_e9=60_001 * E9, ask_qty_e9=E9, last_px_e9=60_000 * E9)  # fmt: skip
    publish(feed, "features", 1, BTC, sigma_e9=3 * E9, sample_count=99)
    for second in (-60, -1, 0):
        mid_e9 = (60_000 + second) * E9
        publish(feed, "samples", 1, BTC, mid_px_e9=mid_e9, wall_ns=WALL_NS + second * E9)
    return feed


def list_polymarket(namespace):
    """The feed's segment with the market listed and no book of this incarnation."""
    feed = claim(
        namespace,
        "feed.polymarket.0",
        BoardSpec("instruments", layout.INSTRUMENT, 4, 4),
        BoardSpec("pair_bbo", layout.PAIR_BBO, 2, 8),
        BoardSpec("mids", layout.PAIR_BBO, 2, 128),
        BoardSpec("settlement", layout.SETTLEMENT, 2, 8),
    )
    for index, (tag, other, outcome) in enumerate(((UP, DOWN, b"Up"), (DOWN, UP, b"Down"))):
        publish(feed, "instruments", index, tag, id=(b"111", b"222")[index], slug=b"btc-up-1",
                outcome=outcome, outcome_index=index, complement_tag=other, pair_tag=MARKET,
                window_end_ns=WALL_NS + 100 * E9)  # fmt: skip
    return feed


def fill_polymarket(namespace):
    feed = list_polymarket(namespace)
    publish(feed, "pair_bbo", 0, MARKET, yes_bid_px_e9=450_000_000, yes_bid_qty_e9=10 * E9,
            yes_ask_px_e9=470_000_000, yes_ask_qty_e9=5 * E9,
            flags=layout.Flag.SUSPECT)  # fmt: skip
    for second, ask_px_e9 in ((-60, 460_000_000), (-1, 465_000_000), (0, 470_000_000)):
        publish(feed, "mids", 0, MARKET, publish_ns=NOW_NS + second * E9,
                yes_bid_px_e9=450_000_000, yes_ask_px_e9=ask_px_e9)  # fmt: skip
    publish(feed, "settlement", 0, MARKET, strike_e9=60_010 * E9,
            strike_provenance=layout.Provenance.STREAM)  # fmt: skip
    return feed


@pytest.fixture
def relisted(namespace):
    """A Polymarket feed that was started again and has listed its market, but has no book yet."""
    fill_polymarket(namespace).close()
    feed = list_polymarket(namespace)
    yield namespace
    feed.close()


def fill_trading(namespace):
    strategy = claim(namespace, "strategy.maker", BoardSpec("quotes", layout.TARGET_QUOTES, 2, 8))
    publish(strategy, "quotes", 0, MARKET, bid_px_e9=440_000_000, bid_qty_e9=20 * E9,
            fair_px_e9=460_000_000, valid_until_ns=NOW_NS + E9)  # fmt: skip
    executor = claim(
        namespace,
        "executor.paper",
        BoardSpec("positions", layout.POSITION, 2, 8),
        BoardSpec("orders", layout.WORKING_ORDER, 4, 8),
        BoardSpec("fills", layout.FILL, 1, 64),
    )
    publish(executor, "positions", 0, MARKET, yes_qty_e9=7 * E9, cash_e9=-3 * E9, fill_count=2)
    states = (layout.OrderState.WORKING, layout.OrderState.FILLED)
    for slot, state in enumerate(states):
        publish(executor, "orders", slot, UP, order_id=b"\0" + b"\xff" * 30, pair_tag=MARKET,
                px_e9=440_000_000, qty_e9=20 * E9, side=layout.Side.BUY, state=state)  # fmt: skip
    for number in range(1, 31):
        publish(executor, "fills", 0, UP, fill_id=number, pair_tag=MARKET, px_e9=440_000_000,
                qty_e9=E9, side=layout.Side.BUY, is_maker=1)  # fmt: skip
    return strategy, executor


def fill_supervisor(namespace):
    made = claim(namespace, "supervisor", BoardSpec("processes", layout.PROCESS, 32, 8))
    publish(made, "processes", 0, tag_of("process", "feed.binance.0"), name=b"feed.binance.0",
            restart_count=3, exit_code=-9, phase=ProcessPhase.RUNNING)  # fmt: skip
    return made


@pytest.fixture
def filled(namespace):
    """The namespace of a running family; its writers stay open as long as the test."""
    writers = [
        fill_binance(namespace),
        fill_polymarket(namespace),
        *fill_trading(namespace),
        fill_supervisor(namespace),
    ]
    yield namespace
    for writer in writers:
        writer.close()
