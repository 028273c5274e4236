"""One market of the model, from its listing to its resolution.

A market is a sequence of moments. At each of them makers or takers act, or the market opens,
changes its tick or is resolved; what they want becomes one batch of frames as the venue makes them:
best prices first, then each level's change, then after a trade both books, and the trade's print
some 37 ms later. All frames of a batch carry the time, hashes and best prices of its end; in
between a reader's book may be stale or crossed.

The invariant: what happens follows from the seed, the window and the parameters alone. A market
that was run to now in one step, or muted (not writing what nobody reads), stands where one that was
run in thousand steps does.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from sim import events
from sim.agents import COARSE, FINE, Makers, Order, Takers
from sim.events import Top
from sim.fair import Fair
from sim.frames import PM_MARKET, SimFrame
from sim.gamma import description_of, question_of
from sim.mirror_book import NO_ASK, NO_BID, Change, MirrorBook, TokenBook, hash_of
from sim.moods import Moods
from sim.params import ModelParams
from sim.seeding import digest, step_generator
from sim.series import Contract

_NS = 1_000_000_000
_MS = 1_000_000
_FRAME_GAP_NS = 25_000
_PRINT_LAG_NS = 35 * _MS
_PRINT_SPAN_NS = 5 * _MS
_IDLE_NS = _NS
"""Rates are looked at again after this long without an event."""
_FOREVER_NS = 1 << 62
_TICK_TEXT = {COARSE: "0.01", FINE: "0.001"}
_SURE = 0.965
"""Beyond this probability the tick size becomes fine, in the windows where it does at all."""


class Market:
    """A market and the frames it makes; `run` is all that moves it."""

    def __init__(
        self,
        seed: int,
        contract: Contract,
        fair: Fair,
        params: ModelParams,
        *,
        muted_ns: int = 0,
    ) -> None:
        """Frames of moments before `muted_ns` are not written."""
        self.contract = contract
        self.book = MirrorBook()
        self.tick = COARSE
        self.is_resolved = False
        self.volume_qty = 0
        self._fair = fair
        self._seed = seed
        self._muted_ns = muted_ns
        self._wire_ns = int(params.polymarket_wire_ms * _MS)
        self._open_ns = (contract.start_s - params.market_lead_s) * _NS
        self._rng = step_generator(seed, "market", contract.start_s)
        self._makers = Makers(self._rng, fair)
        self._takers = Takers(self._rng, fair)
        self._moods = Moods(self._rng, contract, params)
        self._has_fine_tick = self._rng.random() < params.tick_change_share
        self._last_trade = ""
        self._stamp_ms = self._open_ns // _MS
        self._wire_free_ns = 0
        self._trade_count = 0
        self._order = 0
        self._pending: list[tuple[int, int, SimFrame]] = []
        self._next_ns = self._open_ns
        self._next_act = "list"

    # --- what stands now ----------------------------------------------------------------------

    @property
    def due_ns(self) -> int:
        """When the next frame leaves, at the soonest: `run` before then does nothing."""
        soonest = self._next_ns + self._wire_ns
        return min(soonest, self._pending[0][0]) if self._pending else soonest

    @property
    def tick_text(self) -> str:
        """The tick size as the venue writes it."""
        return _TICK_TEXT[self.tick]

    @property
    def last_trade(self) -> str:
        """The last trade price as the hash has it; "" before any trade."""
        return self._last_trade

    @property
    def top(self) -> Top:
        """Best prices of Up."""
        return Top(self.book.best_bid(), self.book.best_ask())

    def first_book(self, token: str) -> bytes:
        """Write the `book` a new subscriber of this token gets."""
        shown = self.book.show()[0 if token == self.contract.up else 1]
        return events.first_book(
            self.contract.condition_id,
            token,
            shown,
            timestamp=str(self._stamp_ms),
            book_hash=self._hash(token, shown),
            tick_size=self.tick_text,
            last_trade=self._last_trade,
        )

    def _hash(self, token: str, shown: TokenBook) -> str:
        return hash_of(
            shown,
            self.contract.condition_id,
            token,
            timestamp=str(self._stamp_ms),
            tick_size=self.tick_text,
            last_trade=self._last_trade,
        )

    # --- time ---------------------------------------------------------------------------------

    def run(self, until_ns: int, out: list[SimFrame]) -> None:
        """Live up to a time and give the frames that leave by then."""
        while self._next_ns + self._wire_ns <= until_ns:
            self._act()
        pending = self._pending
        while pending and pending[0][0] <= until_ns:
            out.append(heapq.heappop(pending)[2])

    def _act(self) -> None:
        now_ns, act = self._next_ns, self._next_act
        if act == "list":
            self._announce(now_ns)
        elif act == "resolve":
            self._resolve(now_ns)
            return
        elif act == "quote":
            self._quote(now_ns)
        elif act == "fidget":
            self._publish(now_ns, self._makers.fidget(self.book, self.tick))
        elif act == "take":
            self._trade(now_ns, self._takers.by_chance(self.book, self.tick))
        elif act == "inform":
            self._trade(now_ns, self._takers.informed(now_ns, self.book, self.tick))
        self._schedule(now_ns)

    def _schedule(self, now_ns: int) -> None:
        """Draw what happens next, and when."""
        rates = self._moods.rates(now_ns)
        total = sum(rates.values())
        wait_ns = int(self._rng.expovariate(total) * _NS) if total > 0.0 else _IDLE_NS + 1
        act = ""
        if wait_ns <= _IDLE_NS:
            chance = self._rng.random() * total
            for act, rate in rates.items():  # noqa: B007 - the one it stops at
                chance -= rate
                if chance < 0.0:
                    break
        # Batches have stamps of their own, and never start before the one before has left.
        soonest = max(
            (self._stamp_ms + 1) * _MS, self._wire_free_ns - self._wire_ns + _FRAME_GAP_NS
        )
        at_ns = max(now_ns + min(wait_ns, _IDLE_NS), soonest)
        if at_ns >= self.contract.resolved_ns:
            at_ns, act = max(self.contract.resolved_ns, soonest), "resolve"
        self._next_ns, self._next_act = at_ns, act

    # --- what happens -------------------------------------------------------------------------

    def _announce(self, now_ns: int) -> None:
        stamp = str(now_ns // _MS)
        question, text = question_of(self.contract), description_of(self.contract)
        frame = events.new_market(self.contract, question, text, timestamp=stamp)
        self._emit(now_ns, [(frame, ())])

    def _resolve(self, now_ns: int) -> None:
        self.is_resolved = True
        self._stamp_ms = now_ns // _MS
        self._next_ns = _FOREVER_NS
        won = self._fair.best(now_ns) > 0.5
        stamp = str(self._stamp_ms)
        frame = events.market_resolved(self.contract, up_won=won, timestamp=stamp)
        self._emit(now_ns, [(frame, self.contract.tokens)])

    def _quote(self, now_ns: int) -> None:
        if not self.book.bids and not self.book.asks and now_ns < self.contract.start_s * _NS:
            self._publish(now_ns, self._makers.open(now_ns, self.tick))
            return
        fair = self._makers.fair_at(now_ns) / 1000.0
        is_running = now_ns >= self.contract.start_s * _NS
        is_sure = is_running and not 1.0 - _SURE < fair < _SURE
        if is_sure and self._has_fine_tick and self.tick == COARSE:
            self._change_tick(now_ns)
        else:
            self._publish(now_ns, self._makers.quote(now_ns, self.book, self.tick))

    def _change_tick(self, now_ns: int) -> None:
        old, self.tick = self.tick_text, FINE
        self._stamp_ms = now_ns // _MS
        market, stamp = self.contract.condition_id, str(self._stamp_ms)
        frames = [
            events.tick_size_change(market, token, old=old, new=self.tick_text, timestamp=stamp)
            for token in self.contract.tokens
        ]
        self._emit(now_ns, [(f, (t,)) for f, t in zip(frames, self.contract.tokens, strict=True)])

    def _trade(self, now_ns: int, order: Order | None) -> None:
        if order is None:
            return
        fills = self.book.take(is_buy=order.is_buy, qty=order.qty, limit=order.limit)
        if not fills:
            return
        self._trade_count += 1
        self.volume_qty += sum(fill.qty for fill in fills)
        is_down_named, is_maker_down = self._rng.random() < 0.5, self._rng.random() < 0.5
        last = fills[-1].px
        self._last_trade = f"0.{1000 - last if is_maker_down else last:03d}"
        changes = [Change(not order.is_buy, fill.px, fill.left) for fill in fills]
        self._publish(now_ns, changes, is_trade=True)
        print_ns = now_ns + _PRINT_LAG_NS + self._rng.randrange(_PRINT_SPAN_NS)
        if now_ns < self._muted_ns:
            return
        token = self.contract.down if is_down_named else self.contract.up
        sold = order.is_buy if is_down_named else not order.is_buy
        transaction = "0x" + digest(self._seed, self.contract.slug, self._trade_count).hex()
        for number, fill in enumerate(fills):
            frame = events.last_trade_price(
                self.contract.condition_id,
                token,
                px=1000 - fill.px if is_down_named else fill.px,
                qty=fill.qty,
                side="SELL" if sold else "BUY",
                timestamp=str(print_ns // _MS),
                transaction=transaction,
            )
            self._push(print_ns + self._wire_ns + number * _FRAME_GAP_NS, (token,), frame)

    # --- batches ------------------------------------------------------------------------------

    def _publish(self, now_ns: int, wanted: Sequence[Change], *, is_trade: bool = False) -> None:
        """Apply changes and write them as one batch."""
        book = self.book
        changes = [
            change
            for change in wanted
            if (book.bids if change.is_bid else book.asks).get(change.px, 0) != change.qty
        ]
        if not changes:
            return
        before = self.top
        for change in changes:
            book.apply(change)
        self._stamp_ms = now_ns // _MS
        top = self.top
        late_ms, down_first = self._rng.randint(0, 1), self._rng.random() < 0.5
        count = len(changes) + (2 if top != before else 0) + (2 if is_trade else 0)
        times = self._times(now_ns, count)
        if now_ns < self._muted_ns:
            return
        frames = self._batch(changes, top, before, is_trade=is_trade, orders=(late_ms, down_first))
        for at_ns, frame in zip(times, frames, strict=True):
            self._push(at_ns, self.contract.tokens if len(frame) == 1 else (frame[1],), frame[0])

    def _batch(
        self,
        changes: Sequence[Change],
        top: Top,
        before: Top,
        *,
        is_trade: bool,
        orders: tuple[int, bool],
    ) -> list[tuple[bytes] | tuple[bytes, str]]:
        """Write the frames of a batch: for both tokens, or (with its token) for one."""
        contract, stamp = self.contract, str(self._stamp_ms)
        late_ms, down_first = orders
        shown = self.book.show()
        pairs = tuple(zip(contract.tokens, shown, strict=True))
        hashes = (self._hash(contract.up, shown[0]), self._hash(contract.down, shown[1]))
        frames: list[tuple[bytes] | tuple[bytes, str]] = []
        if top != before:
            late = str(self._stamp_ms + late_ms)
            mirrored = Top(1000 - top.ask, 1000 - top.bid)
            for token, own in zip(contract.tokens, (top, mirrored), strict=True):
                frames.append((events.best_bid_ask(contract, token, own, timestamp=late), token))
        for change in changes:
            frame = events.price_change(
                contract, change, timestamp=stamp, hashes=hashes, top=top, down_first=down_first
            )
            frames.append((frame,))
        if is_trade:
            market = contract.condition_id
            for (token, book), own_hash in zip(pairs, hashes, strict=True):
                frame = events.trade_book(market, token, book, timestamp=stamp, book_hash=own_hash)
                frames.append((frame, token))
        return frames

    def _times(self, now_ns: int, count: int) -> list[int]:
        """Say when each frame of a batch leaves; a few batches are torn apart by milliseconds."""
        first = now_ns + self._wire_ns
        tear = self._rng.random()
        times = [first + i * _FRAME_GAP_NS for i in range(count)]
        if count > 2 and tear < 0.08:
            cut = 1 + int(tear / 0.08 * (count - 1))
            pause = int(0.3e6 + 2.2e6 * math.modf(tear * 1e4)[0])
            times[cut:] = [at_ns + pause for at_ns in times[cut:]]
        self._wire_free_ns = times[-1] + _FRAME_GAP_NS
        return times

    def _emit(self, now_ns: int, frames: Sequence[tuple[bytes, tuple[str, ...]]]) -> None:
        for at_ns, (payload, key) in zip(self._times(now_ns, len(frames)), frames, strict=True):
            if now_ns >= self._muted_ns:
                self._push(at_ns, key, payload)

    def _push(self, at_ns: int, key: tuple[str, ...], payload: bytes) -> None:
        self._order += 1
        frame = SimFrame(at_ns, PM_MARKET, key, payload)
        heapq.heappush(self._pending, (at_ns, self._order, frame))

    def is_one_sided(self) -> bool:
        """Whether a side is empty."""
        return self.book.best_bid() == NO_BID or self.book.best_ask() == NO_ASK
