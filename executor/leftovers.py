"""What a dead executor's own records say, if they can be what they say: the reading of a restart.

A position, fill or live order that holds what cannot be is damage, and damage is not read around:
whose it was is not known either, so nothing of the account is. Each function gives None (or False)
for such a record, and the invariant is that whatever it gives back can be published again as it is
and booked upon. Pure: it looks at records that were read whole, and decides nothing.
"""

from __future__ import annotations

from cache.board import Snapshot
from cache.layout import E9, OrderState, Outcome, Side, word_of
from executor.ledger import Fill, Holding
from executor.orders import LIVE

AMOUNT_MAX_E9 = 1_000_000_000 * E9
"""No sum of shares or collateral that an account can come to is larger."""

SIDES = (Side.BUY, Side.SELL)


def holding_of(left: Snapshot, fill_count: int) -> Holding | None:
    """Read a position back; `fill_count` is how many fills the account ever published."""
    settled = word_of(Outcome, left.settled)
    held = left.yes_qty_e9, left.no_qty_e9
    amounts = left.cash_e9, left.fees_e9, left.rebates_e9
    if not left.tag or settled is None or left.fill_count > fill_count:
        return None
    if left.venue_seq > fill_count or any(abs(one) > AMOUNT_MAX_E9 for one in amounts):
        return None
    if not all(0 <= one <= AMOUNT_MAX_E9 for one in held) or (settled and any(held)):
        return None
    return Holding(
        yes_e9=left.yes_qty_e9,
        no_e9=left.no_qty_e9,
        cash_e9=left.cash_e9,
        fees_e9=left.fees_e9,
        rebates_e9=left.rebates_e9,
        fill_count=left.fill_count,
        fill_id=left.venue_seq,
        settled=settled,
    )


def fill_of(left: Snapshot, fill_count: int) -> Fill | None:
    """Read the last fill back; fills are numbered as they are published."""
    side = word_of(Side, left.side)
    if side not in SIDES or left.fill_id != fill_count or not (left.tag and left.pair_tag):
        return None
    if not 0 < left.px_e9 < E9 or not 0 < left.qty_e9 <= AMOUNT_MAX_E9:
        return None
    if not all(0 <= paid <= AMOUNT_MAX_E9 for paid in (left.fee_e9, left.rebate_e9)):
        return None
    if left.outcome_index > 1 or left.is_maker > 1:
        return None
    return Fill(
        fill_id=left.fill_id,
        order_id=left.order_id,
        pair_tag=left.pair_tag,
        token_tag=left.tag,
        is_yes=left.outcome_index == 0,
        side=side,
        px_e9=left.px_e9,
        qty_e9=left.qty_e9,
        fee_e9=left.fee_e9,
        rebate_e9=left.rebate_e9,
        is_maker=bool(left.is_maker),
        book_version=left.book_version,
        at_ns=left.recv_ns,
    )


def is_order(left: Snapshot) -> bool:
    """Whether an order that may have lived is one; of an ended one only that it ended matters."""
    state = word_of(OrderState, left.state)
    if state is None or state is OrderState.NONE or not left.tag:
        return False
    if state not in LIVE:
        return True
    is_sized: bool = 0 <= left.filled_e9 <= left.qty_e9 <= AMOUNT_MAX_E9 and left.qty_e9 > 0
    is_priced: bool = 0 < left.px_e9 < E9 and word_of(Side, left.side) in SIDES
    return is_sized and is_priced and left.outcome_index <= 1 and bool(left.pair_tag)
