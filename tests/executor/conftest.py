"""Makers of the executor's values, with everything a test does not care about filled in."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from cache.layout import E9, OrderState, Side
from executor.diff import Wanted
from executor.market import Book, Market, Print
from executor.orders import Order, Provenance
from executor.risk import Limits

_PATH = Path(__file__).resolve().parent.parent / "system" / "executor_world.py"
_SPEC = importlib.util.spec_from_file_location("executor_world", _PATH)
_WORLD = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_WORLD)

CENT = E9 // 100
MS = 1_000_000
PAIR, YES, NO, MAKER = 11, 12, 13, 99


def market(**changes):
    values = {
        "tag": PAIR,
        "slot": 0,
        "generation": 0,
        "yes_tag": YES,
        "no_tag": NO,
        "lot_e9": CENT,
        "min_qty_e9": 5 * E9,
        "fee_rate_e9": 70_000_000,
        "fee_exponent": 1,
        "rebate_rate_e9": 200_000_000,
        "taker_delay_ns": 250 * MS,
    }
    return Market(**values | changes)


def book(bid=50, ask=52, *, bid_qty=100, ask_qty=100, at_ms=0, **changes):
    """A book with prices in cents (0: empty side), sizes in shares."""
    values = {
        "pair_tag": PAIR,
        "version": 1,
        "at_ns": at_ms * MS,
        "is_trusted": True,
        "bid_px_e9": bid * CENT,
        "bid_qty_e9": bid_qty * E9 if bid else 0,
        "ask_px_e9": ask * CENT,
        "ask_qty_e9": ask_qty * E9 if ask else 0,
        "tick_e9": CENT,
    }
    return Book(**values | changes)


def trade(side, cents, shares, *, at_ms=0):
    """A print in terms of the first token."""
    return Print(PAIR, at_ms * MS, side, cents * CENT, shares * E9)


def order(cents=50, shares=10, *, side=Side.BUY, is_yes=True, **changes):
    """A working order; `cents` is the price of the token it names."""
    values = {
        "order_id": f"{side.name}-{is_yes}-{cents}-{shares}".encode(),
        "pair_tag": PAIR,
        "token_tag": YES if is_yes else NO,
        "is_yes": is_yes,
        "side": side,
        "px_e9": cents * CENT,
        "qty_e9": int(shares * E9),
        "created_ns": 0,
        "provenance": Provenance(MAKER),
        "state": OrderState.WORKING,
    }
    return Order(**values | changes)


def wanted(bid=50, ask=52, *, qty=10, bid_qty=None, ask_qty=None, at_ms=0, **changes):
    """Quotes in cents and shares, valid for a second."""
    values = {
        "bid_px_e9": bid * CENT,
        "bid_qty_e9": (qty if bid_qty is None else bid_qty) * E9,
        "ask_px_e9": ask * CENT,
        "ask_qty_e9": (qty if ask_qty is None else ask_qty) * E9,
        "valid_until_ns": (at_ms + 1000) * MS,
        "keep": False,
        "provenance": Provenance(MAKER, 7, 8, 9, decided_ns=at_ms * MS),
    }
    return Wanted(**values | changes)


def limits(**changes):
    values = {
        "px_min_e9": CENT,
        "px_max_e9": 99 * CENT,
        "order_qty_max_e9": 200 * E9,
        "market_qty_max_e9": 500 * E9,
        "market_loss_max_e9": 250 * E9,
        "total_loss_max_e9": 500 * E9,
        "orders_open_max": 32,
        "orders_per_s": 40,
        "orders_burst": 60,
        "cancels_per_s": 80,
        "cancels_burst": 120,
    }
    return Limits(**values | changes)


class Tally:
    """Counts in memory instead of a segment."""

    def __init__(self):
        self.counts = {}
        self.latencies = {}

    def add(self, counter, count=1):
        self.counts[counter] = self.counts.get(counter, 0) + count

    def record(self, histogram, value_ns):
        self.latencies.setdefault(histogram, []).append(value_ns)

    def __getitem__(self, counter):
        return self.counts.get(counter, 0)


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(
        market=market,
        book=book,
        trade=trade,
        order=order,
        wanted=wanted,
        limits=limits,
        tally=Tally,
        values=_WORLD.values,
        CENT=CENT,
        MS=MS,
        PAIR=PAIR,
        YES=YES,
        NO=NO,
        MAKER=MAKER,
    )


@pytest.fixture
def clock():
    return _WORLD.Clock()


@pytest.fixture
def world(clock):
    made = _WORLD.World(clock)
    yield made
    made.close()
