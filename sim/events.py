"""The market channel's messages as the venue writes them: key order, separators, text for numbers.

First books are compact, what comes later has a space after each comma, as recorded. These are
plain writers: what is true of the market is decided in `sim/market.py`.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sim.mirror_book import PX_TEXT, Change, TokenBook, qty_text
from sim.series import Contract
from venue.book_hash import Levels


class Top(NamedTuple):
    """Best prices of Up, in thousandths."""

    bid: int
    ask: int


def _levels(levels: Levels, space: str) -> str:
    return f",{space}".join([f'{{"price":"{px}",{space}"size":"{qty}"}}' for px, qty in levels])


def first_book(
    market: str,
    token: str,
    book: TokenBook,
    *,
    timestamp: str,
    book_hash: str,
    tick_size: str,
    last_trade: str,
) -> bytes:
    """Write the `book` a new subscriber gets."""
    return (
        f'{{"market":"{market}","asset_id":"{token}","timestamp":"{timestamp}",'
        f'"hash":"{book_hash}","bids":[{_levels(book.bids, "")}],"asks":[{_levels(book.asks, "")}],'
        f'"tick_size":"{tick_size}","event_type":"book","last_trade_price":"{last_trade}"}}'
    ).encode()


def trade_book(
    market: str, token: str, book: TokenBook, *, timestamp: str, book_hash: str
) -> bytes:
    """Write the `book` that follows a trade: no tick size, no last trade price."""
    return (
        f'{{"market":"{market}", "asset_id":"{token}", "bids":[{_levels(book.bids, " ")}], '
        f'"asks":[{_levels(book.asks, " ")}], "hash":"{book_hash}", "timestamp":"{timestamp}", '
        f'"event_type":"book"}}'
    ).encode()


def price_change(
    contract: Contract,
    change: Change,
    *,
    timestamp: str,
    hashes: tuple[str, str],
    top: Top,
    down_first: bool,
) -> bytes:
    """Write one level's change, for both tokens; the token the order named comes first."""
    px, qty = change.px, qty_text(change.qty)
    up = (
        f'{{"asset_id":"{contract.up}", "price":"{PX_TEXT[px]}", "size":"{qty}", '
        f'"side":"{"BUY" if change.is_bid else "SELL"}", "hash":"{hashes[0]}", '
        f'"best_bid":"{PX_TEXT[top.bid]}", "best_ask":"{PX_TEXT[top.ask]}"}}'
    )
    down = (
        f'{{"asset_id":"{contract.down}", "price":"{PX_TEXT[1000 - px]}", "size":"{qty}", '
        f'"side":"{"SELL" if change.is_bid else "BUY"}", "hash":"{hashes[1]}", '
        f'"best_bid":"{PX_TEXT[1000 - top.ask]}", "best_ask":"{PX_TEXT[1000 - top.bid]}"}}'
    )
    first, second = (down, up) if down_first else (up, down)
    return (
        f'{{"market":"{contract.condition_id}", "price_changes":[{first}, {second}], '
        f'"timestamp":"{timestamp}", "event_type":"price_change"}}'
    ).encode()


def best_bid_ask(contract: Contract, token: str, top: Top, *, timestamp: str) -> bytes:
    """Write the best prices of one token; `top` is in that token's terms."""
    return (
        f'{{"event_type":"best_bid_ask", "market":"{contract.condition_id}", "asset_id":"{token}", '
        f'"best_bid":"{PX_TEXT[top.bid]}", "best_ask":"{PX_TEXT[top.ask]}", '
        f'"spread":"{PX_TEXT[max(top.ask - top.bid, 0)]}", "timestamp":"{timestamp}"}}'
    ).encode()


def last_trade_price(
    market: str,
    token: str,
    *,
    px: int,
    qty: int,
    side: str,
    timestamp: str,
    transaction: str,
) -> bytes:
    """Write a print: the taker's side, on the token the taker named."""
    return (
        f'{{"market":"{market}", "asset_id":"{token}", "price":"{PX_TEXT[px]}", '
        f'"size":"{qty_text(qty)}", "fee_rate_bps":"0", "side":"{side}", '
        f'"timestamp":"{timestamp}", "event_type":"last_trade_price", '
        f'"transaction_hash":"{transaction}"}}'
    ).encode()


def tick_size_change(market: str, token: str, *, old: str, new: str, timestamp: str) -> bytes:
    """Write a change of tick size."""
    return (
        f'{{"event_type":"tick_size_change", "asset_id":"{token}", "market":"{market}", '
        f'"old_tick_size":"{old}", "new_tick_size":"{new}", "timestamp":"{timestamp}"}}'
    ).encode()


def new_market(contract: Contract, question: str, description: str, *, timestamp: str) -> bytes:
    """Write the announcement of a market, which goes to everybody."""
    tokens = [contract.up, contract.down]
    event = {
        "id": str(contract.market_id),
        "ticker": contract.slug,
        "slug": contract.slug,
        "title": question,
        "description": description,
    }
    return json.dumps(
        {
            "id": str(contract.market_id),
            "question": question,
            "market": contract.condition_id,
            "slug": contract.slug,
            "description": description,
            "assets_ids": tokens,
            "outcomes": ["Up", "Down"],
            "event_message": event,
            "timestamp": timestamp,
            "event_type": "new_market",
            "tags": [],
            "condition_id": contract.condition_id,
            "active": True,
            "clob_token_ids": tokens,
            "sports_market_type": "",
            "line": "",
            "game_start_time": "",
            "order_price_min_tick_size": "0.01",
            "group_item_title": "",
            "taker_base_fee": "1000",
            "fees_enabled": True,
            "fee_schedule": {
                "exponent": "1",
                "rate": "0.07",
                "taker_only": True,
                "rebate_rate": "0.2",
            },
        },
        separators=(",", ":"),
    ).encode()


def market_resolved(contract: Contract, *, up_won: bool, timestamp: str) -> bytes:
    """Write who won."""
    winner = contract.up if up_won else contract.down
    return (
        f'{{"event_type":"market_resolved", "id":"{contract.market_id}", '
        f'"market":"{contract.condition_id}", '
        f'"assets_ids":["{contract.up}", "{contract.down}"], "winning_asset_id":"{winner}", '
        f'"winning_outcome":"{"Up" if up_won else "Down"}", "timestamp":"{timestamp}", '
        f'"tags":["crypto"]}}'
    ).encode()
