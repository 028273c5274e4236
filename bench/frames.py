"""The frames the bench feeds: recorded ones as they came, and small ones of its own making.

Recordings are found through the environment variable PENSTOCK_RECORDINGS; without it there is no
case for them. A case is what stands first (whole books, not timed) and the frames that are timed.
"""

from __future__ import annotations

import gzip
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

RECORDED_CHANGES = "polymarket/derived/btc-updown-5m-1776324300.price_change.jsonl.gz"
RECORDED_BOOKS = "polymarket/books/btc-updown-5m-1776326100.jsonl.gz"
MARKET = "0x" + "ab" * 32
TOKENS = ("71321045679252212594626385532706912750332728571942532289631379312455583992563", "5" * 76)
FRAME_COUNT = 4000
T0_MS = 1_790_766_981_000


@dataclass(frozen=True, slots=True)
class Case:
    """Frames of one kind, of one market."""

    name: str
    market: str
    tokens: tuple[str, str]
    first: bytes
    frames: list[bytes]
    level_count: float
    """Mean number of levels in a frame."""


def recordings() -> Path | None:
    """The folder of recordings; None where none is named."""
    named = os.environ.get("PENSTOCK_RECORDINGS")
    return Path(named) if named else None


def recorded(path: Path, name: str) -> Case:
    """Read one market's recording; the first frame is what stands."""
    with gzip.open(path) as lines:
        rows = [orjson.loads(line) for line in lines]
    found = [row.get("frame") or row["raw"] for row in rows]
    tokens: dict[str, None] = {}
    for frame in found:
        for event in frame if isinstance(frame, list) else [frame]:
            for one in (event, *event.get("price_changes", ())):
                if "asset_id" in one:
                    tokens[one["asset_id"]] = None
    first, *rest = tokens
    head = found[0] if isinstance(found[0], list) else found[:1]
    timed = [frame for frame in found[1:] if isinstance(frame, dict)][:FRAME_COUNT]
    levels = sum(
        len(f.get("price_changes", ())) + len(f.get("bids", ())) + len(f.get("asks", ()))
        for f in timed
    )
    return Case(
        name,
        head[0]["market"],
        (first, rest[0] if rest else ""),
        orjson.dumps(head),
        [orjson.dumps(frame) for frame in timed],
        levels / len(timed),
    )


def small_changes(count: int = FRAME_COUNT, seed: int = 1) -> Case:
    """Make frames of two levels: one change and its mirror, every tenth moves the best price."""
    rng = random.Random(seed)
    bids = {cent: _size(rng) for cent in range(1, 50)}
    asks = {cent: _size(rng) for cent in range(52, 100)}
    first = orjson.dumps(_books(bids, asks))
    frames = []
    for number in range(count):
        side = rng.choice(("BUY", "SELL"))
        levels, best = (bids, max(bids)) if side == "BUY" else (asks, min(asks))
        step = 1 if side == "BUY" else -1
        size = _size(rng)
        if rng.random() < 0.1:  # The best level goes, or a better one comes.
            is_narrow = min(asks) - max(bids) < 2
            cent, size = (best, "0") if is_narrow or rng.random() < 0.5 else (best + step, size)
            if cent == best and size == "0" and not 30 < best < 70:
                cent, size = (best, _size(rng)) if is_narrow else (best + step, _size(rng))
        else:
            cent = best - step * rng.randrange(10)
        if size == "0":
            del levels[cent]
        else:
            levels[cent] = size
        frames.append(orjson.dumps(_change(side, cent, size, (max(bids), min(asks)), number)))
    return Case("price_change, 2 levels", MARKET, TOKENS, first, frames, 2.0)


def _size(rng: random.Random) -> str:
    return f"{rng.randrange(100, 200_000) / 100:g}"


def _px(cent: int) -> str:
    return f"{cent / 100:g}"


def _books(bids: dict[int, str], asks: dict[int, str]) -> list[dict[str, Any]]:
    def book(token: str, bids: dict[int, str], asks: dict[int, str]) -> dict[str, Any]:
        return {
            "market": MARKET,
            "asset_id": token,
            "timestamp": str(T0_MS),
            "hash": "0" * 40,
            "bids": [{"price": _px(c), "size": bids[c]} for c in sorted(bids)],
            "asks": [{"price": _px(c), "size": asks[c]} for c in sorted(asks, reverse=True)],
            "event_type": "book",
        }

    other_bids = {100 - cent: size for cent, size in asks.items()}
    other_asks = {100 - cent: size for cent, size in bids.items()}
    return [book(TOKENS[0], bids, asks), book(TOKENS[1], other_bids, other_asks)]


def _change(side: str, cent: int, size: str, best: tuple[int, int], number: int) -> dict[str, Any]:
    bid, ask = best
    other = "SELL" if side == "BUY" else "BUY"
    both = (
        (TOKENS[0], side, cent, bid, ask),
        (TOKENS[1], other, 100 - cent, 100 - ask, 100 - bid),
    )
    entries = [
        {
            "asset_id": token,
            "price": _px(px),
            "size": size,
            "side": its_side,
            "hash": f"{number:040x}",
            "best_bid": _px(its_bid),
            "best_ask": _px(its_ask),
        }
        for token, its_side, px, its_bid, its_ask in both
    ]
    return {
        "market": MARKET,
        "price_changes": entries,
        "timestamp": str(T0_MS + number),
        "event_type": "price_change",
    }
