"""The weighted mid on recorded books: it foretells the mid of a moment later, in every market.

The reason why `[strategy] micro_levels` ships as it does. A forecast is worth something where it is
nearer to what came than the mid of its own moment is.
"""

import gzip
import os
from bisect import bisect_right
from pathlib import Path

import orjson
import pytest

from cache.layout import E9
from host.config import load
from strategy.pricing import micro_price
from venue.decimals import parse_e9

FOLDER = Path(os.environ.get("PENSTOCK_RECORDINGS", ""), "polymarket", "books")
FILES = sorted(FOLDER.glob("*.jsonl.gz"))
LEVELS = load(environ={}).strategy.micro_levels
SPREAD_MAX = parse_e9(load(environ={}).strategy.market_spread_max)


def books(path):
    """Time in seconds, mid and weighted mid of the first token, of every two-sided book."""
    token, found = None, []
    with gzip.open(path) as lines:
        for line in lines:
            book = orjson.loads(line)["raw"]
            token = token or book["asset_id"]
            bids, asks = book["bids"], book["asks"]  # The best come last.
            if book["asset_id"] != token or not bids or not asks:
                continue
            bid, ask = parse_e9(bids[-1]["price"]), parse_e9(asks[-1]["price"])
            qty = [sum(parse_e9(x["size"]) for x in side[-LEVELS:]) for side in (bids, asks)]
            if ask - bid <= SPREAD_MAX and E9 // 20 < bid < E9 - E9 // 20:
                micro = micro_price(bid, ask, bid_qty_e9=qty[0], ask_qty_e9=qty[1])
                found.append((int(book["timestamp"]) / 1000, (bid + ask) / 2, micro))
    return sorted(found)


@pytest.mark.skipif(not FILES, reason="PENSTOCK_RECORDINGS names no folder of recordings")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.split(".")[0])
@pytest.mark.parametrize("later_s", [0.2, 1.0])
def test_the_weighted_mid_is_nearer_to_the_mid_of_a_moment_later_than_the_mid_is(path, later_s):
    found = books(path)
    times = [at for at, _, _ in found]
    plain = weighed = 0.0
    for at, mid, micro in found:
        if at + later_s <= times[-1]:
            came = found[bisect_right(times, at + later_s) - 1][1]
            plain += (came - mid) ** 2
            weighed += (came - micro) ** 2
    assert len(found) > 1_000
    assert weighed < plain, f"{weighed / plain:.3f}"
    print(f"{path.name}: {weighed / plain:.3f} of the squared error, {later_s} s ahead")
