"""The BTC price of the model: one path over all time, in stretches that are made one by one.

Blocks of about two weeks hold the price, the variance and the message counts of all their epochs
of 300 s; inside, an epoch is a random walk of clustered, heavy-tailed sweeps pinned to the prices
at both its ends. So any moment is reached without walking there: the world is a function of the
seed and the clock alone, and the bridge costs nothing of the law (given its variance, a sum of
Gaussian steps pinned to an independent Gaussian end is that same sum).

Prices are whole cents, ids whole numbers; what the venue sends of them is `sim/tape.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sim.params import EPOCH_S, ModelParams
from sim.seeding import array_generator, fraction

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BLOCK_EPOCHS = 4096
CELLS = EPOCH_S * 10
"""Activity is drawn per 100 ms."""

_NS = 1_000_000_000
_GAP_NS = 300
"""Two messages are at least this far apart."""
_LAST_NS = EPOCH_S * _NS - 100_000_000
"""Nothing new starts in the last 100 ms of an epoch: room for the gaps above."""
_SWEEPS_PER_S = 0.8
_UPDATES_PER_TICKER = 6
"""How far `u` moves per message, in the mean."""
_TICKER_ID = 60_000_000_000
_TRADE_ID = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """The frame of 4096 epochs: element i is of epoch `first + i`."""

    first: int
    bid_c: Ints
    """Best bid at the start of each epoch, in cents; one more for the end of the last."""
    variance: Floats
    """Of the epoch's whole move, in cents squared."""
    ticker_count: Ints
    trade_count: Ints
    ticker_id: Ints
    trade_id: Ints


@dataclass(frozen=True, slots=True)
class Epoch:
    """All that Binance does in 300 s. Times are nanoseconds of the wall clock."""

    index: int
    start_s: int
    sigma_usd: float
    """Standard deviation of the price per square-root second in this epoch."""
    ticker_ns: Ints
    ticker_id: Ints
    bid_c: Ints
    ask_c: Ints
    bid_q: Ints
    """Sizes, here and below, in 0.00001 BTC."""
    ask_q: Ints
    trade_ns: Ints
    trade_id: Ints
    trade_c: Ints
    trade_q: Ints
    is_sell: npt.NDArray[np.bool_]
    """The taker sold; on the wire "buyer is maker"."""
    first_bid_c: int

    def mid2_at(self, times_ns: Ints) -> Ints:
        """Return bid + ask, in cents, as of each time: twice the mid."""
        found = np.searchsorted(self.ticker_ns, times_ns, side="right") - 1
        both = self.bid_c + self.ask_c
        return np.where(found >= 0, both[np.maximum(found, 0)], 2 * self.first_bid_c + 1)


class PricePath:
    """Makes blocks and epochs on demand and keeps the recent ones."""

    def __init__(self, seed: int, params: ModelParams) -> None:
        self._seed = seed
        self._params = params
        self.block = lru_cache(maxsize=2)(self._make_block)
        self.epoch = lru_cache(maxsize=12)(self._make_epoch)

    def _anchor_c(self, block: int) -> float:
        """Return the price at the start of a block: within about 4 % of the configured one."""
        share = fraction(self._seed, "anchor", block) + fraction(self._seed, "anchor2", block) - 1.0
        return self._params.price_usd * 100.0 * (1.0 + 0.04 * share)

    def _make_block(self, number: int) -> Block:
        p = self._params
        rng = array_generator(self._seed, "block", number)
        loud = _persistent(rng, BLOCK_EPOCHS, 12.0)
        # Mean 1, so that the configured volatility is the mean one; calm and wild half-hours.
        swing = np.exp(0.5 * loud - 0.125)
        variance = swing * (p.volatility_usd * 100.0) ** 2 * EPOCH_S
        walk = np.concatenate(([0.0], np.cumsum(rng.standard_normal(BLOCK_EPOCHS) * variance**0.5)))
        clock = np.concatenate(([0.0], np.cumsum(variance)))
        start, end = self._anchor_c(number), self._anchor_c(number + 1)
        path = start + walk + clock / clock[-1] * (end - start - walk[-1])
        busy = swing**0.5 * np.exp(0.15 * rng.standard_normal(BLOCK_EPOCHS) - 0.011)
        busy *= BLOCK_EPOCHS / busy.sum()
        tickers = np.maximum(busy * p.ticker_rate * EPOCH_S, 1.0).astype(np.int64)
        trades = np.maximum(busy * p.trade_rate * EPOCH_S, 1.0).astype(np.int64)
        return Block(
            first=number * BLOCK_EPOCHS,
            bid_c=np.rint(path).astype(np.int64),
            variance=variance,
            ticker_count=tickers,
            trade_count=trades,
            ticker_id=_first_ids(
                tickers * _UPDATES_PER_TICKER, number, _TICKER_ID, p.ticker_rate * 6
            ),
            trade_id=_first_ids(trades, number, _TRADE_ID, p.trade_rate),
        )

    def _make_epoch(self, index: int) -> Epoch:
        block = self.block(index // BLOCK_EPOCHS)
        at = index - block.first
        rng = array_generator(self._seed, "epoch", index)
        activity = _activity(rng)
        variance = float(block.variance[at])
        move_ns, move_c = _sweeps(
            rng, activity, variance, int(block.bid_c[at + 1] - block.bid_c[at])
        )
        first = int(block.bid_c[at])
        quote_ns, bid_c, ask_c = _quotes(rng, move_ns, first + move_c, first)
        ticker_ns, which = _ticker_times(
            rng, activity, move_ns, quote_ns, int(block.ticker_count[at])
        )
        start_ns = index * EPOCH_S * _NS
        bids, asks = bid_c[which], ask_c[which]
        trade_ns, is_sell = _trade_times(rng, activity, move_ns, move_c, int(block.trade_count[at]))
        seen = np.maximum(np.searchsorted(ticker_ns, trade_ns, side="right") - 1, 0)
        count = len(ticker_ns)
        return Epoch(
            index=index,
            start_s=index * EPOCH_S,
            sigma_usd=(variance / EPOCH_S) ** 0.5 / 100.0,
            ticker_ns=start_ns + ticker_ns,
            ticker_id=_spread_ids(
                rng, int(block.ticker_id[at]), int(block.ticker_id[at + 1]), count
            ),
            bid_c=bids,
            ask_c=asks,
            bid_q=_sizes(rng, bids, is_turn=rng.random(count) < 0.5),
            ask_q=_sizes(rng, asks, is_turn=rng.random(count) < 0.5),
            trade_ns=start_ns + trade_ns,
            trade_id=int(block.trade_id[at]) + np.arange(len(trade_ns), dtype=np.int64),
            trade_c=np.where(is_sell, bids[seen], asks[seen]),
            trade_q=np.maximum(np.exp(rng.normal(-7.1, 2.3, len(trade_ns))) * 1e5, 2.0).astype(
                np.int64
            ),
            is_sell=is_sell,
            first_bid_c=first,
        )


def _persistent(rng: np.random.Generator, count: int, memory: float) -> Floats:
    """Return an autoregression of unit variance that forgets over `memory` steps."""
    keep = float(np.exp(-1.0 / memory))
    noise = rng.standard_normal(count) * (1.0 - keep * keep) ** 0.5
    noise[0] /= (1.0 - keep * keep) ** 0.5
    out = noise.tolist()
    for i in range(1, count):
        out[i] += keep * out[i - 1]
    return np.array(out)


def _first_ids(counts: Ints, block: int, base: int, rate: float) -> Ints:
    """Return the first id of each epoch of a block; blocks leave room, epochs follow closely."""
    room = int(rate * EPOCH_S * BLOCK_EPOCHS * 1.01) + BLOCK_EPOCHS
    ids: Ints = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return ids + (base + block * room)


def _spread_ids(rng: np.random.Generator, first: int, end: int, count: int) -> Ints:
    """Return `count` ids from `first` up to below `end`, strictly increasing, with gaps."""
    weight = np.cumsum(rng.gamma(0.6, 1.0, count))
    free = max(end - first - count - 1, 0)
    gaps: Ints = (weight * (free / weight[-1])).astype(np.int64)
    return gaps + np.arange(first, first + count, dtype=np.int64)


def _activity(rng: np.random.Generator) -> Floats:
    """Return the share of an epoch's activity up to each 100 ms cell: calm and busy seconds."""
    busy = np.exp(0.65 * _persistent(rng, CELLS, 6.0) + 0.45 * _persistent(rng, CELLS, 300.0))
    total: Floats = np.concatenate(([0.0], np.cumsum(busy)))
    return total / float(total[-1])


def _draw_times(rng: np.random.Generator, activity: Floats, count: int) -> Floats:
    """Return sorted times in ns from the start of the epoch, denser where it is busy."""
    cells: Floats = np.interp(np.sort(rng.random(count)), activity, np.arange(CELLS + 1.0))
    return cells * (_LAST_NS / CELLS)


def _sweeps(
    rng: np.random.Generator, activity: Floats, variance: float, total_c: int
) -> tuple[Ints, Ints]:
    """Return when the price moves and where it then is, in cents from the epoch's first.

    A sweep is one decision of the market, carried out in one to a few moves within a fraction of a
    second; its size is heavy-tailed and sometimes a jump. The last move ends at `total_c`.
    """
    count = max(int(rng.poisson(_SWEEPS_PER_S * EPOCH_S)), 8)
    start_ns = _draw_times(rng, activity, count)
    scale = np.exp(0.65 * rng.standard_normal(count))
    scale *= np.where(rng.random(count) < 0.002, 5.0, 1.0)
    share = scale**2 / (scale**2).sum()
    size = rng.standard_normal(count) * (share * variance) ** 0.5
    size += (total_c - size.sum()) * share
    parts = 1 + rng.poisson(0.9, count)
    of_sweep = np.repeat(np.arange(count), parts)
    # The parts of a sweep follow each other over about 150 ms, in any proportion.
    gap = rng.exponential(1.5e8, len(of_sweep))
    gap[np.concatenate(([0], np.cumsum(parts)[:-1]))] = 0.0
    weight = rng.exponential(1.0, len(of_sweep))
    step = size[of_sweep] * weight / np.bincount(of_sweep, weight)[of_sweep]
    time_ns = np.minimum(start_ns[of_sweep] + gap, _LAST_NS)
    order = np.argsort(time_ns, kind="stable")
    where_c = np.rint(np.cumsum(step[order])).astype(np.int64)
    where_c[-1] = total_c
    moved = np.flatnonzero(np.diff(where_c, prepend=0))
    return _apart(time_ns[order][moved].astype(np.int64), 4 * _GAP_NS), where_c[moved]


def _apart(sorted_ns: Ints, gap_ns: int) -> Ints:
    """Push sorted times apart to at least `gap_ns`."""
    ramp = np.arange(len(sorted_ns), dtype=np.int64) * gap_ns
    return np.maximum.accumulate(sorted_ns - ramp) + ramp


def _quotes(
    rng: np.random.Generator, move_ns: Ints, bid_c: Ints, first_bid_c: int
) -> tuple[Ints, Ints, Ints]:
    """Return the top of book after each change: a move first widens the spread, then closes it.

    The side that is taken goes first; the other follows within microseconds to milliseconds, and
    always before the next move.
    """
    count = len(move_ns)
    before = np.concatenate(([first_bid_c], bid_c[:-1]))
    is_up = bid_c > before
    room = np.diff(move_ns, append=_LAST_NS + 50_000_000) - 2 * _GAP_NS
    lag = np.minimum(np.exp(rng.uniform(np.log(2e3), np.log(4e7), count)), room).astype(np.int64)
    quote_ns = np.empty(2 * count + 1, dtype=np.int64)
    bids = np.empty(2 * count + 1, dtype=np.int64)
    asks = np.empty(2 * count + 1, dtype=np.int64)
    quote_ns[0], bids[0], asks[0] = -1, first_bid_c, first_bid_c + 1
    quote_ns[1::2], quote_ns[2::2] = move_ns, move_ns + np.maximum(lag, _GAP_NS)
    bids[1::2], bids[2::2] = np.where(is_up, before, bid_c), bid_c
    asks[1::2], asks[2::2] = np.where(is_up, bid_c, before) + 1, bid_c + 1
    return quote_ns, bids, asks


def _ticker_times(
    rng: np.random.Generator, activity: Floats, move_ns: Ints, quote_ns: Ints, count: int
) -> tuple[Ints, Ints]:
    """Return when bookTickers are sent, and which of the quotes each of them shows.

    Every change of price is sent; what is left of `count` changes only sizes: some of it around
    the moves, the rest by activity, and nearly half of it in tight groups.
    """
    rest = max(count - (len(quote_ns) - 1), 0)
    near, own = int(rest * 0.25), int(rest * 0.27)
    around = rng.choice(move_ns, near) + rng.exponential(1.2e8, near)
    alone = _draw_times(rng, activity, own)
    parents = np.concatenate((around, alone, quote_ns[1:].astype(np.float64)))
    group = rest - near - own
    grouped = rng.choice(parents, group) + rng.exponential(3e4, group)
    fill = np.minimum(np.concatenate((around, alone, grouped)), _LAST_NS + 40_000_000).astype(
        np.int64
    )
    times = np.concatenate((quote_ns[1:], np.sort(fill)))
    order = np.argsort(times, kind="stable")
    which = np.maximum.accumulate(
        np.concatenate((np.arange(1, len(quote_ns)), np.zeros(rest, dtype=np.int64)))[order]
    )
    return _apart(times[order], _GAP_NS), which


def _trade_times(
    rng: np.random.Generator, activity: Floats, move_ns: Ints, move_c: Ints, count: int
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return when trades happen and whether the taker sold; each move has one just before it."""
    is_down = np.diff(move_c, prepend=0) < 0
    lead = min(len(move_ns), count // 2)
    chosen = np.sort(rng.permutation(len(move_ns))[:lead])
    alone = max(int((count - lead) * 0.3), 1)
    parent_ns = np.concatenate((move_ns[chosen] - 20_000.0, _draw_times(rng, activity, alone)))
    parent_sell = np.concatenate((is_down[chosen], rng.random(alone) < 0.54))
    rest = count - len(parent_ns)
    pick = rng.integers(0, len(parent_ns), max(rest, 0))
    # A group is one order that met several resting ones: same side, microseconds apart.
    times = np.concatenate((parent_ns, parent_ns[pick] + rng.exponential(2e4, len(pick))))
    sells = np.concatenate((parent_sell, parent_sell[pick]))
    order = np.argsort(times, kind="stable")[:count]
    times_ns = np.clip(times[order], 1_000.0, _LAST_NS + 40_000_000).astype(np.int64)
    return _apart(times_ns, _GAP_NS), sells[order]


def _sizes(rng: np.random.Generator, price_c: Ints, *, is_turn: npt.NDArray[np.bool_]) -> Ints:
    """Return the size at one side of the top: anew at a new price, else small changes in turn."""
    count = len(price_c)
    is_new = np.concatenate(([True], np.diff(price_c) != 0)) | (
        is_turn & (rng.random(count) < 0.03)
    )
    fresh = np.where(
        rng.random(count) < 0.25, np.exp(rng.normal(-4.0, 2.5, count)), rng.gamma(1.4, 1.5, count)
    )
    change = np.where(
        is_turn, rng.standard_normal(count) * np.exp(rng.normal(-4.5, 2.0, count)), 0.0
    )
    total = np.cumsum(change)
    last = np.maximum.accumulate(np.where(is_new, np.arange(count), 0))
    size: Floats = np.abs(fresh[last] + total - total[last])
    return np.clip(size * 1e5, 9.0, 5e6).astype(np.int64)
