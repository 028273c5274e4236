"""An executor that is killed while it adopts what its predecessor left: nothing is lost or doubled.

What it finds: two markets with positions, three orders alive, and a second fill, of an order that
does not contain it yet, that no position contains.
"""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from cache.counters import Counter
from cache.layout import E9, OrderState, Side, tag_of
from cache.segment import ReaderSegment, WriterSegment, remove
from executor.account import Desk
from executor.boards import AccountBoards, specs
from executor.ledger import Fill, Holding
from executor.market import Market
from executor.orders import Order, Provenance
from host.config import load

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tests" / "system" / "dying_executor.py"
CENT = E9 // 100
FIRST, SECOND = tag_of("polymarket", "a"), tag_of("polymarket", "b")
STEPS = 6
"""Stores of an adoption: two positions, three orders, and the position of the second fill."""


def fill(number, order_id, shares):
    return Fill(
        number, order_id, FIRST, FIRST + 1, True, Side.BUY, 50 * CENT, shares * E9, 0, 0, True, 9,
        number,
    )  # fmt: skip


def order(order_id, pair, filled=0):
    return Order(
        order_id=order_id, pair_tag=pair, token_tag=pair + 1, is_yes=True, side=Side.BUY,
        px_e9=50 * CENT, qty_e9=10 * E9, created_ns=1, provenance=Provenance(7),
        state=OrderState.WORKING, filled_e9=filled * E9,
    )  # fmt: skip


@pytest.fixture
def namespace():
    """What an executor left that was killed right after it published its second fill."""
    name = f"adopt{uuid.uuid4().hex[:12]}"
    config = load(environ={}).executor
    boards = specs(config.market_slots, config.order_slots)
    segment = WriterSegment.create("executor.paper", boards, namespace=name)
    made = AccountBoards(segment)
    made.recover(1)
    for tag in (FIRST, SECOND):
        made.claim(tag, lambda _: False)
    made.publish_order(order(b"x", FIRST), 0, 1)
    made.publish_order(order(b"y", FIRST), 0, 1)
    made.publish_order(order(b"z", SECOND), 0, 1)
    made.publish_position(Desk(Market.unlisted(SECOND), holding=Holding(no_e9=E9)), 1)
    held = Holding()
    first = fill(1, b"x", 4)
    held.apply(first)
    made.publish_fill(first, 1)
    made.publish_position(Desk(Market.unlisted(FIRST), holding=held), 1)
    made.publish_order(order(b"x", FIRST, 4), 1, 1)
    made.publish_fill(fill(2, b"x", 6), 1)
    segment.close()
    yield name
    remove("executor.paper", namespace=name)


def start(namespace, step):
    environ = os.environ | {"PENSTOCK_HOST_NAMESPACE": namespace}
    command = [sys.executable, str(SCRIPT), str(step)]
    return subprocess.run(command, cwd=ROOT, env=environ, timeout=30).returncode


def positions(own):
    board = own.board("positions")
    shown = [board.read(slot, 0) for slot in range(board.slot_count) if board.version(slot)]
    return {held.tag: held for held in shown}


def orders(own):
    board = own.board("orders")
    shown = [board.read(slot, 0) for slot in range(board.slot_count) if board.version(slot)]
    return {one.order_id[:1]: (OrderState(one.state), one.filled_e9 // E9) for one in shown}


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_before_any_store_of_its_adoption_the_next_one_accounts_for_everything(
    namespace, step
):
    assert start(namespace, step) == -signal.SIGKILL
    assert start(namespace, step) in (-signal.SIGKILL, 0)  # It finds less to do, or the same.
    assert start(namespace, 0) == start(namespace, 0) == 0
    own = ReaderSegment.attach("executor.paper", namespace=namespace)
    assert own.board("fills").version(0) == 2
    first, second = positions(own)[FIRST], positions(own)[SECOND]
    assert (first.yes_qty_e9, first.cash_e9, first.fill_count) == (10 * E9, -5 * E9, 2)
    assert (first.venue_seq, second.no_qty_e9) == (2, E9)
    assert first.incarnation == second.incarnation == own.incarnation
    assert first.flags == second.flags == 0
    assert orders(own) == {
        b"x": (OrderState.FILLED, 10),
        b"y": (OrderState.CANCELLED, 0),
        b"z": (OrderState.CANCELLED, 0),
    }
    assert own.counters[Counter.executor_orders_adopted] == 3


def test_an_adoption_has_as_many_stores_as_are_tried(namespace):
    assert start(namespace, STEPS + 1) == 0
