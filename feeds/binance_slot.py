"""One symbol of the Binance feed: what is known of it, and the records it becomes.

A `SymbolSlot` takes tickers and trades of any number of connections, orders them by the venue's
ids (lower ones are ignored and counted), and publishes the symbol's top of book, trades, features
and samples. Within one read of the socket the newest ticker wins; those it replaced are counted.

Flags: WARMUP until the first ticker of this incarnation, RESYNC while no connection can be trusted
for the symbol, SUSPECT while its stream is silent or a frame was lost. The invariant: a record
without these flags holds the newest ticker read, and only such a top is ever sampled. It knows no
socket and no timer: `feeds/binance.py` drives it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.board import BoardReader, BoardWriter, Miss, Snapshot
from cache.counters import Counter, CounterWriter, Histogram
from cache.layout import E9, Flag, Proof, tag_of
from feeds.binance_wire import BookTicker, Trade
from feeds.features import HOLE_NS_MAX, SymbolFeatures, VolatilityParams

# Plain integers: arithmetic on an IntFlag costs a microsecond.
WARMUP = int(Flag.WARMUP)
SUSPECT = int(Flag.SUSPECT)
NO_BID = int(Flag.NO_BID)
NO_ASK = int(Flag.NO_ASK)
CROSSED = int(Flag.CROSSED)
RESYNC = int(Flag.RESYNC)
DISTRUST = WARMUP | SUSPECT | NO_BID | NO_ASK | CROSSED | RESYNC
VENUE_SEQ = int(Proof.VENUE_SEQ)
NOT_PROVEN = int(Proof.NONE)

RESET_NS = 2 * E9
"""Ids that stay below the last one this long on a fresh connection have begun anew."""


class Order:
    """Takes ids that grow, of however many connections; all others are duplicates or late."""

    __slots__ = ("_behind_ns", "_may_reset", "last")

    def __init__(self) -> None:
        self.last = 0
        self._behind_ns = 0
        self._may_reset = False

    def allow_reset(self) -> None:
        """A connection was made while there was none: the venue may have been set back."""
        self._may_reset = True
        self._behind_ns = 0

    def accept(self, number: int, recv_ns: int) -> bool:
        """Whether `number` is new."""
        if number > self.last:
            self.last = number
            self._may_reset = False
            return True
        return False

    def begins_anew(self, number: int, recv_ns: int) -> bool:
        """Whether a refused `number` shows that the venue's ids were reset; then it is taken."""
        if not self._may_reset or number == self.last:
            return False
        if not self._behind_ns:
            self._behind_ns = recv_ns
        if recv_ns - self._behind_ns < RESET_NS:
            return False
        self.last = number
        self._may_reset = False
        return True


@dataclass(frozen=True, slots=True)
class Boards:
    """The boards that symbols write to."""

    bbo: BoardWriter
    features: BoardWriter
    samples: BoardWriter
    trades: BoardWriter


class SymbolSlot:
    """State and publishing of one symbol."""

    def __init__(
        self,
        symbol: str,
        slot: int,
        boards: Boards,
        counters: CounterWriter,
        *,
        params: VolatilityParams,
    ) -> None:
        self.symbol = symbol
        self.slot = slot
        self.tag = tag_of("binance", symbol)
        self.is_resync = True
        self.is_silent = False
        self.is_doubted = False
        """A frame that may have been this symbol's was thrown away since the last ticker."""
        self.flags = WARMUP | RESYNC
        self.ticker_ns = 0
        self.trade_ns = 0
        self.order = Order()
        self.trade_order = Order()
        self.features = SymbolFeatures(params)
        self._boards = boards
        self._counters = counters
        self._is_dirty = False
        self._has_ticker = False
        self._batch = 0
        self._recv_ns = 0
        self._bid = self._bid_qty = self._ask = self._ask_qty = 0
        self._last_px = self._last_qty = 0
        self._good_ns = 0
        """Until when the top was known good; a hole is measured from here."""
        self._was_good = False
        self.generation = self._assign()

    def _assign(self) -> int:
        """Take the slot over from the last incarnation, with what it showed, as WARMUP."""
        held = self._boards.bbo.last(self.slot)
        generation = 0
        if not isinstance(held, Miss):
            is_ours = held.tag == self.tag
            generation = held.generation + (not is_ours)
            if is_ours:
                self._bid, self._bid_qty = held.bid_px_e9, held.bid_qty_e9
                self._ask, self._ask_qty = held.ask_px_e9, held.ask_qty_e9
                self._last_px, self._last_qty = held.last_px_e9, held.last_qty_e9
                self._recv_ns = held.recv_ns
        for board in (self._boards.bbo, self._boards.features, self._boards.samples):
            board.assign(self.slot, self.tag, generation)
        return generation

    def recall(self, samples: BoardReader) -> None:
        """Go on from the samples an earlier incarnation took, unless the hole is too long.

        How long it is shows when the first ticker comes.
        """
        history = samples.history(self.slot, samples.cell_count - 2, self.tag)
        if isinstance(history, Miss) or not len(history):
            return
        for wall_ns, mid_e9, publish_ns in zip(
            history["wall_ns"].tolist(),
            history["mid_px_e9"].tolist(),
            history["publish_ns"].tolist(),
            strict=True,
        ):
            self.features.recall(wall_ns // E9, mid_e9, publish_ns)
            self._good_ns = max(self._good_ns, publish_ns)
        for board in (self._boards.bbo, self._boards.features):
            held = board.last(self.slot)
            if isinstance(held, Snapshot) and held.tag == self.tag and not held.flags & DISTRUST:
                self._good_ns = max(self._good_ns, held.publish_ns)

    # --- events -----------------------------------------------------------------------------------

    def on_ticker(self, event: BookTicker, recv_ns: int) -> bool:
        """Take a ticker; False when it is older than the one held."""
        self.ticker_ns = recv_ns
        if not self.order.accept(event.update_id, recv_ns):
            if not self.order.begins_anew(event.update_id, recv_ns):
                self._counters.add(Counter.feeds_updates_outdated)
                return False
            self._counters.add(Counter.feeds_sequence_reset)
        if self._has_ticker:
            self._counters.add(Counter.feeds_updates_conflated)
        self._is_dirty = self._has_ticker = True
        self._recv_ns = recv_ns
        self._bid, self._bid_qty = event.bid_px_e9, event.bid_qty_e9
        self._ask, self._ask_qty = event.ask_px_e9, event.ask_qty_e9
        self.is_silent = self.is_doubted = False
        self.flags = self._side_flags() | (RESYNC if self.is_resync else 0)
        return True

    def on_trade(self, event: Trade, recv_ns: int, now_ns: int) -> bool:
        """Publish a trade; False when it is older than the last one."""
        self.trade_ns = recv_ns
        if not self.trade_order.accept(event.trade_id, recv_ns):
            if not self.trade_order.begins_anew(event.trade_id, recv_ns):
                self._counters.add(Counter.feeds_updates_outdated)
                return False
            self._counters.add(Counter.feeds_sequence_reset)
        self._last_px, self._last_qty = event.px_e9, event.qty_e9
        self._is_dirty = True
        self._boards.trades.publish_tagged(
            0,
            self.tag,
            self.generation,
            (
                self._batch, event.trade_id, recv_ns, now_ns, event.event_ns,
                self.flags & RESYNC, VENUE_SEQ,
                event.px_e9, event.qty_e9, event.trade_id, 0, event.side,
            ),
        )  # fmt: skip
        self._counters.add(Counter.feeds_trades_published)
        return True

    def _side_flags(self) -> int:
        bid, ask = self._bid, self._ask
        if bid and ask and self._bid_qty and self._ask_qty:
            return CROSSED if bid >= ask else 0
        no_bid = 0 if bid and self._bid_qty else NO_BID
        return no_bid | (0 if ask and self._ask_qty else NO_ASK)

    def judge(self) -> None:
        """Work the flags out again after a change of state; `flush` publishes if they differ."""
        flags = self._side_flags() | (self.flags & WARMUP)
        flags |= RESYNC if self.is_resync else 0
        flags |= SUSPECT if self.is_silent or self.is_doubted else 0
        if flags != self.flags:
            self.flags = flags
            self._is_dirty = True

    # --- publishing -------------------------------------------------------------------------------

    def flush(self, now_ns: int) -> bool:
        """Publish the top if anything about it changed since; True when it was published."""
        if not self._is_dirty:
            return False
        self._batch += 1
        self._boards.bbo.publish(
            self.slot,
            (
                self._batch, self.order.last, self._recv_ns, now_ns, 0,
                self.flags, VENUE_SEQ if self.order.last else NOT_PROVEN,
                self._bid, self._bid_qty, self._ask, self._ask_qty,
                self._last_px, self._last_qty, 0, self._recv_ns,
            ),
        )  # fmt: skip
        if self._has_ticker:
            self._counters.record(Histogram.wire_to_slot_ns, now_ns - self._recv_ns)
        self._counters.add(Counter.feeds_bbo_published)
        self._is_dirty = self._has_ticker = False
        return True

    def publish_now(self, now_ns: int) -> None:
        """Publish the top as it is: at the start, so that readers meet the new incarnation."""
        self.judge()
        self._is_dirty = True
        self.flush(now_ns)

    def tick(self, now_ns: int) -> bool:
        """Publish the features of this instant; True when there were any."""
        self._notice(now_ns)
        if self.flags & (WARMUP | NO_BID | NO_ASK):
            return False
        found = self.features.look(now_ns, (self._bid + self._ask) // 2)
        self._boards.features.publish(
            self.slot,
            (
                self._batch, self.order.last, self._recv_ns, now_ns, 0, self.flags, NOT_PROVEN,
                found.mid_px_e9, found.return_1s_e9, found.return_5s_e9, found.return_60s_e9,
                found.sigma_e9, found.shock_z_e9, found.sample_count,
            ),
        )  # fmt: skip
        return True

    def _notice(self, now_ns: int) -> None:
        """Restart the estimate when the top is good again after too long a hole."""
        is_good = not self.flags & DISTRUST
        if is_good:
            if not self._was_good and now_ns - self._good_ns >= HOLE_NS_MAX:
                self.features.restart()
            self._good_ns = now_ns
        self._was_good = is_good

    def sample(self, second: int, now_ns: int) -> bool:
        """Publish the mid as the sample of a whole second of the wall clock, if it is good."""
        self._notice(now_ns)
        if self.flags & DISTRUST:
            self._counters.add(Counter.feeds_samples_missed)
            return False
        mid_e9 = (self._bid + self._ask) // 2
        self.features.sample(second, mid_e9)
        self._boards.samples.publish(
            self.slot,
            (
                self._batch, self.order.last, self._recv_ns, now_ns, 0, self.flags, NOT_PROVEN,
                mid_e9, second * E9,
            ),
        )  # fmt: skip
        return True
