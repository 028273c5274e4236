"""Binance as the model has it: bookTicker and trade messages, byte for byte in the venue's form.

It turns epochs of `sim/price.py` into frames. It holds no state: what is sent between two moments
follows from them alone. bookTicker has no time of its own; trades carry two, in milliseconds.
"""

from __future__ import annotations

import numpy as np

from sim.candles import Print, candles
from sim.frames import BN_TICKER, BN_TRADE, SimFrame
from sim.params import EPOCH_S, ModelParams
from sim.price import Epoch, PricePath

_NS = 1_000_000_000
_EPOCH_NS = EPOCH_S * _NS
_QUIET_S = 60
"""The last price of a second without a trade is looked for this far back."""
_EVENT_LAG_NS = 400_000
"""From the trade to Binance's event time: now and then the next millisecond."""


def price_text(cents: int) -> str:
    """Write a price as Binance does, with eight places."""
    return f"{cents // 100}.{cents % 100:02d}000000"


def size_text(lots: int) -> str:
    """Write a size of 0.00001 BTC lots as Binance does, with eight places."""
    return f"{lots // 100_000}.{lots % 100_000:05d}000"


class BinanceTape:
    """The stream of one symbol."""

    def __init__(self, path: PricePath, params: ModelParams) -> None:
        self._path = path
        self._symbol = params.symbol
        self._key = (params.symbol,)
        self._wire_ns = int(params.binance_wire_ms * 1e6)

    def frames(self, since_ns: int, until_ns: int) -> list[SimFrame]:
        """Return what is sent after `since_ns` and up to `until_ns`, by time."""
        first, last = since_ns - self._wire_ns + 1, until_ns - self._wire_ns
        out: list[SimFrame] = []
        for index in range(first // _EPOCH_NS, last // _EPOCH_NS + 1):
            epoch = self._path.epoch(index)
            out += self._tickers(epoch, first, last)
            out += self._trades(epoch, first, last)
        out.sort(key=lambda frame: frame.t_ns)
        return out

    def _tickers(self, epoch: Epoch, first_ns: int, last_ns: int) -> list[SimFrame]:
        start, end = np.searchsorted(epoch.ticker_ns, (first_ns, last_ns + 1)).tolist()
        rows = zip(
            epoch.ticker_ns[start:end].tolist(),
            epoch.ticker_id[start:end].tolist(),
            epoch.bid_c[start:end].tolist(),
            epoch.bid_q[start:end].tolist(),
            epoch.ask_c[start:end].tolist(),
            epoch.ask_q[start:end].tolist(),
            strict=True,
        )
        return [
            SimFrame(at + self._wire_ns, BN_TICKER, self._key, self._ticker(u, b, bq, a, aq))
            for at, u, b, bq, a, aq in rows
        ]

    def _ticker(self, update: int, bid: int, bid_q: int, ask: int, ask_q: int) -> bytes:
        return (
            f'{{"u":{update},"s":"{self._symbol}","b":"{price_text(bid)}","B":"{size_text(bid_q)}",'
            f'"a":"{price_text(ask)}","A":"{size_text(ask_q)}"}}'
        ).encode()

    def _trades(self, epoch: Epoch, first_ns: int, last_ns: int) -> list[SimFrame]:
        start, end = np.searchsorted(epoch.trade_ns, (first_ns, last_ns + 1)).tolist()
        rows = zip(
            epoch.trade_ns[start:end].tolist(),
            epoch.trade_id[start:end].tolist(),
            epoch.trade_c[start:end].tolist(),
            epoch.trade_q[start:end].tolist(),
            epoch.is_sell[start:end].tolist(),
            strict=True,
        )
        return [
            SimFrame(at + self._wire_ns, BN_TRADE, self._key, self._trade(at, t, px, q, sell))
            for at, t, px, q, sell in rows
        ]

    def _trade(self, at_ns: int, number: int, cents: int, lots: int, sell: bool) -> bytes:
        event_ms = (at_ns + _EVENT_LAG_NS) // 1_000_000
        return (
            f'{{"e":"trade","E":{event_ms},"s":"{self._symbol}","t":{number},'
            f'"p":"{price_text(cents)}","q":"{size_text(lots)}","T":{at_ns // 1_000_000},'
            f'"m":{"true" if sell else "false"},"M":true}}'
        ).encode()

    def candles(self, at_ns: int, seconds: range) -> list[list[object]]:
        """Return the candles of some seconds, of what was sent by then."""
        if not seconds:
            return []
        first_ns = (seconds.start - _QUIET_S) * _NS
        last_ns = min(at_ns - self._wire_ns, seconds.stop * _NS - 1)
        prints = []
        for index in range(first_ns // _EPOCH_NS, last_ns // _EPOCH_NS + 1):
            epoch = self._path.epoch(index)
            start, end = np.searchsorted(epoch.trade_ns, (first_ns, last_ns + 1)).tolist()
            rows = zip(
                epoch.trade_ns[start:end].tolist(),
                epoch.trade_c[start:end].tolist(),
                epoch.trade_q[start:end].tolist(),
                epoch.is_sell[start:end].tolist(),
                strict=True,
            )
            prints += [
                Print(at // 1_000_000, px * 10**6, lots * 10**3, not sell)
                for at, px, lots, sell in rows
            ]
        return candles(prints, seconds)

    def _last(self, at_ns: int) -> tuple[Epoch, int]:
        """Return where the last bookTicker sent by then stands."""
        seen_ns = at_ns - self._wire_ns
        epoch = self._path.epoch(seen_ns // _EPOCH_NS)
        at = int(np.searchsorted(epoch.ticker_ns, seen_ns, side="right")) - 1
        if at < 0:
            epoch = self._path.epoch(epoch.index - 1)
            at = len(epoch.ticker_ns) - 1
        return epoch, at

    def last_state(self, at_ns: int) -> tuple[int, ...]:
        """Return the last bookTicker sent by then: time, update id, bid, size, ask and size."""
        epoch, at = self._last(at_ns)
        columns = (
            epoch.ticker_ns, epoch.ticker_id, epoch.bid_c, epoch.bid_q, epoch.ask_c, epoch.ask_q
        )  # fmt: skip
        return tuple(int(column[at]) for column in columns)

    def last_ticker(self, at_ns: int) -> bytes:
        """Return the last bookTicker sent by then, as the stream has it."""
        return self._ticker(*self.last_state(at_ns)[1:])
