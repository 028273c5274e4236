"""The model venue: Binance, the settlement source and the markets of a rolling series, as one.

`advance` gives every frame up to a moment, in order, and is all that moves it; the other questions
are answered for the moment of the last `advance`. The invariant: the world is a function of the
seed, the parameters and the clock alone. Where a model starts decides only which frames it gives,
so one that was killed goes on where the clock is, with the same books, tokens and strikes, and one
that starts in the middle of a window knows its past.

It does no I/O and reads no clock. `sim/quick_check.py` shows what it sends.
"""

from __future__ import annotations

from collections import deque

from sim.candles import span
from sim.depth import DepthTape
from sim.events import Top
from sim.fair import make_fair
from sim.frames import SimFrame as SimFrame
from sim.gamma import Json, Standing, event_object, market_object
from sim.market import Market
from sim.params import EPOCH_S
from sim.params import ModelParams as ModelParams
from sim.price import PricePath
from sim.series import Contract, Series
from sim.settlement_feed import SettlementFeed
from sim.tape import BinanceTape

_NS = 1_000_000_000
_AHEAD_NS = 50 * 1_000_000
"""What does not depend on a market is made ahead in pieces, or small steps would cost too much."""
_UNMUTE_NS = _NS
"""A market's past is not written but for its last second, whose prints may still be due."""
_WALK_NS = 30 * _NS
POINTS_MAX = 3_600


class Model:
    """One world of a seed, at one moment."""

    def __init__(self, seed: int, start_ns: int, params: ModelParams | None = None) -> None:
        """Stand at `start_ns`: the first `advance` gives what leaves after it."""
        self.seed = seed
        self.params = params if params is not None else ModelParams()
        self.path = PricePath(seed, self.params)
        self.feed = SettlementFeed(seed, self.path, self.params)
        self.tape = BinanceTape(self.path, self.params)
        self.depths = DepthTape(seed, self.path, self.params)
        self.series = Series(seed, self.params)
        self._stand(start_ns)

    # --- time ---------------------------------------------------------------------------------

    def fast_forward(self, to_ns: int) -> None:
        """Stand at another moment, whatever lies between; what is sent until then is not given."""
        if 0 <= to_ns - self.now_ns <= _WALK_NS:
            self.advance(to_ns)  # The same state, for less.
        else:
            self._stand(to_ns)

    def _stand(self, to_ns: int) -> None:
        """Make the state of a moment from nothing but the seed."""
        self.now_ns = to_ns
        self._ahead: deque[SimFrame] = deque()
        self._ahead_ns = to_ns
        self._markets: dict[int, Market] = {}
        self._by_id: dict[str, Market] = {}
        self._next_start_s = self._first_start_s(to_ns)
        unread: list[SimFrame] = []
        self._open_markets(to_ns, unread, muted_ns=to_ns - _UNMUTE_NS)

    def _first_start_s(self, at_ns: int) -> int:
        """Return the oldest window whose tokens are still known."""
        first_s = (at_ns // _NS) - EPOCH_S - self.params.market_keep_s
        return (first_s // EPOCH_S + 1) * EPOCH_S

    def advance(self, until_ns: int) -> list[SimFrame]:
        """Return the frames that leave up to a moment, by time; none for a moment that is past."""
        out: list[SimFrame] = []
        if until_ns <= self.now_ns:
            return out
        self.now_ns = until_ns
        if until_ns > self._ahead_ns:
            to_ns = max(until_ns, self._ahead_ns + _AHEAD_NS)
            ahead = self.tape.frames(self._ahead_ns, to_ns)
            ahead += self.depths.frames(self._ahead_ns, to_ns)
            ahead += self.feed.frames(self._ahead_ns, to_ns)
            ahead.sort(key=_time_of)
            self._ahead.extend(ahead)
            self._ahead_ns = to_ns
        while self._ahead and self._ahead[0].t_ns <= until_ns:
            out.append(self._ahead.popleft())
        count = len(out)
        for market in self._markets.values():
            if market.due_ns <= until_ns:
                market.run(until_ns, out)
        if until_ns >= self._open_ns(self._next_start_s):
            self._open_markets(until_ns, out)
        if len(out) > count:
            out.sort(key=_time_of)
        return out

    def _open_ns(self, start_s: int) -> int:
        return (start_s - self.params.market_lead_s) * _NS

    def _open_markets(self, until_ns: int, out: list[SimFrame], *, muted_ns: int = 0) -> None:
        """List the markets whose time has come, run them up to now, and forget the old ones."""
        while self._open_ns(self._next_start_s) <= until_ns:
            start_s = self._next_start_s
            self._next_start_s += EPOCH_S
            fair = make_fair(self.seed, start_s, path=self.path, feed=self.feed, params=self.params)
            contract = self.series.contract(start_s)
            market = Market(self.seed, contract, fair, self.params, muted_ns=muted_ns)
            market.run(until_ns, out)
            self._markets[start_s] = market
            for name in (contract.up, contract.down, contract.condition_id):
                self._by_id[name] = market
        oldest = self._first_start_s(until_ns)
        for start_s in [start_s for start_s in self._markets if start_s < oldest]:
            contract = self._markets.pop(start_s).contract
            for name in (contract.up, contract.down, contract.condition_id):
                del self._by_id[name]

    # --- Polymarket ---------------------------------------------------------------------------

    @property
    def slugs(self) -> tuple[str, ...]:
        """The markets there are, oldest first."""
        return tuple(market.contract.slug for market in self._markets.values())

    def running_top(self) -> Top | None:
        """Return the best prices of the running window's Up."""
        market = self._markets.get(self.now_ns // _NS // EPOCH_S * EPOCH_S)
        return market.top if market is not None else None

    def token_exists(self, token_id: str) -> bool:
        """Whether the venue knows a token now."""
        market = self._by_id.get(token_id)
        return market is not None and token_id in market.contract.tokens

    def book(self, token_id: str) -> bytes | None:
        """Return the `book` event a new subscriber gets; None for an unknown token."""
        if not self.token_exists(token_id):
            return None
        return self._by_id[token_id].first_book(token_id)

    def gamma_market(self, slug: str) -> Json | None:
        """Return Gamma's market of a slug, also of any past window; None before it is listed."""
        contract = self._listed(slug)
        return market_object(contract, self._standing(contract), self.params) if contract else None

    def gamma_event(self, slug: str) -> Json | None:
        """Return Gamma's event of a slug."""
        contract = self._listed(slug)
        return event_object(contract, self._standing(contract), self.params) if contract else None

    def gamma_market_of(self, identity: str) -> Json | None:
        """Return Gamma's market of a token or condition id that the venue knows now."""
        market = self._by_id.get(identity)
        return self.gamma_market(market.contract.slug) if market is not None else None

    def _listed(self, slug: str) -> Contract | None:
        contract = self.series.by_slug(slug)
        if contract is None or self._open_ns(contract.start_s) > self.now_ns:
            return None
        return contract

    def _standing(self, contract: Contract) -> Standing:
        market, p = self._markets.get(contract.start_s), self.params
        late_ns = p.strike_official_s * _NS
        is_final = self.now_ns >= contract.end_s * _NS + late_ns
        is_struck = self.now_ns >= contract.start_s * _NS + late_ns
        is_resolved = self.now_ns >= contract.resolved_ns
        top = market.top if market is not None else None
        return Standing(
            now_s=self.now_ns // _NS,
            best_bid=top.bid / 1000 if top else 0.0,
            best_ask=top.ask / 1000 if top else 1.0,
            last_trade=float(market.last_trade or 0) if market is not None else 0.0,
            tick=float(market.tick_text) if market is not None else 0.001,
            volume=market.volume_qty / 100 if market is not None else 0.0,
            up_won=self.feed.is_up(contract.start_s, contract.end_s) if is_resolved else None,
            strike=self.feed.official(contract.start_s) if is_struck else None,
            final=self.feed.official(contract.end_s) if is_final else None,
        )

    # --- the settlement source and Binance ----------------------------------------------------

    def twap_points(self, count: int) -> list[Json]:
        """Return the newest points known now, oldest first, those never sent live among them."""
        last_s = self.feed.last_point_s(self.now_ns)
        first_s = last_s - min(count, POINTS_MAX) + 1
        return [self.feed.point(at_s) for at_s in range(first_s, last_s + 1)]

    def book_ticker(self, symbol: str) -> bytes | None:
        """Return the last bookTicker sent, as the stream has it; None for another symbol."""
        return self.tape.last_ticker(self.now_ns) if symbol == self.params.symbol else None

    def depth(self, symbol: str, limit: int) -> Json | None:
        """Return the best levels as the REST side has them; None for another symbol."""
        return self.depths.snapshot(self.now_ns, limit) if symbol == self.params.symbol else None

    def candles(
        self, symbol: str, limit: int, *, start_s: int | None = None, end_s: int | None = None
    ) -> list[list[object]] | None:
        """Return the candles of a second as the venue has them now; None for another symbol."""
        if symbol != self.params.symbol:
            return None
        return self.tape.candles(self.now_ns, span(self.now_ns // _NS, limit, start_s, end_s))


def _time_of(frame: SimFrame) -> int:
    return frame.t_ns
