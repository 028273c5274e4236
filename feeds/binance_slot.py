"""One symbol of the Binance feed: what is known of it, and the records it becomes.

A `SymbolSlot` takes tickers and trades of any number of connections, orders them by the venue's
ids (`feeds/binance_order.py`), and publishes the symbol's top of book, trades, features and
samples. Within one read of the socket the newest ticker wins; those it replaced are counted.

A sample is the mid at a whole second of the wall clock. Seconds that were not seen here may be
filled with closes of the venue's candles (`fill`), which say so: their proof is WITNESS. Then the
history is published anew, so that from its last step back on it is in order, each second once.

Flags: WARMUP until the first ticker of this incarnation, RESYNC while no connection can be trusted
for the symbol, SUSPECT while its stream is silent, a frame was lost, an id was refused for being
far ahead, all ids are refused, or trades go on printing beyond the top: each until the next ticker.
A top with a side not near (2 %) the last trusted mid is SUSPECT too, until a trade is near both
sides or the next ticker near its mid. So one damaged price is not trusted, a jump of the market one
event later, a spread above 4 % never; two damaged frames that agree are believed.

The invariant: a record without these flags holds the newest ticker read, and only such a top is
ever sampled. It knows no socket and no timer: `feeds/binance.py` drives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cache.board import BoardReader, BoardWriter, Miss, Snapshot, last_run
from cache.counters import Counter, CounterWriter, Histogram
from cache.layout import E9, Flag, Proof, next_generation, tag_of
from feeds.binance_order import Order
from feeds.binance_rest_wire import Rules
from feeds.binance_wire import BookTicker, Trade
from feeds.features import HOLE_NS_MAX, JOIN_S_MAX, SymbolFeatures, VolatilityParams

# Plain integers: arithmetic on an IntFlag costs a microsecond.
WARMUP = int(Flag.WARMUP)
SUSPECT = int(Flag.SUSPECT)
NO_BID = int(Flag.NO_BID)
NO_ASK = int(Flag.NO_ASK)
CROSSED = int(Flag.CROSSED)
RESYNC = int(Flag.RESYNC)
DISTRUST = WARMUP | SUSPECT | NO_BID | NO_ASK | CROSSED | RESYNC
VENUE_SEQ = int(Proof.VENUE_SEQ)
WITNESS = int(Proof.WITNESS)
NOT_PROVEN = int(Proof.NONE)

APART_MAX = 200
"""A close further from the mid than one part in so many is not of this market."""

NEAR = 50
"""Bid and ask within one part in so many of a price are near it.

Recorded: from one ticker to the next no side moved further than one part in a thousand."""

BEYOND_NS = 300_000_000
"""Trades beyond the top for longer than this, and no ticker: the top is not the market's.

Recorded: 36 ms at most."""


@dataclass(frozen=True, slots=True)
class Boards:
    """The boards that symbols write to."""

    bbo: BoardWriter
    features: BoardWriter
    samples: BoardWriter
    trades: BoardWriter


class Sample(NamedTuple):
    """A mid that was taken, with what its record says besides."""

    second: int
    mid_e9: int
    batch: int
    venue_seq: int
    recv_ns: int
    taken_ns: int


def _run_begin(seconds: Sequence[int]) -> int:
    """The first of the newest seconds that no hole parts."""
    first = seconds[-1]
    for second in reversed(seconds):
        if first - second > JOIN_S_MAX:
            break
        first = second
    return first


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
        """Since the last ticker something was lost, refused, or said against the top."""
        self.is_odd = False
        """The top lies far from the last trusted one, and nothing has confirmed it."""
        self.flags = WARMUP | RESYNC
        self.ticker_ns = 0
        self.trade_ns = 0
        self.order = Order()
        self.trade_order = Order()
        self.features = SymbolFeatures(params)
        self.rules = Rules(0, 0, 0)
        self.lacks_past = False
        """The estimate was restarted, and nobody has filled in what came before."""
        self._live: deque[Sample] = deque(maxlen=boards.samples.cell_count - 2)
        """The mids that were taken, by second, as far back as the board shows."""
        self._boards = boards
        self._counters = counters
        self._is_dirty = False
        self._has_ticker = False
        self._batch = 0
        self._recv_ns = 0
        self._bid = self._bid_qty = self._ask = self._ask_qty = 0
        self._last_px = self._last_qty = self.venue_ts_ns = 0
        self._trusted_mid = self._mid = 0
        self._beyond_ns = 0
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
            generation = held.generation if is_ours else next_generation(held.generation)
            if is_ours:
                self._bid, self._bid_qty = held.bid_px_e9, held.bid_qty_e9
                self._ask, self._ask_qty = held.ask_px_e9, held.ask_qty_e9
                self._last_px, self._last_qty = held.last_px_e9, held.last_qty_e9
                self._recv_ns = held.recv_ns
        for board in (self._boards.bbo, self._boards.features, self._boards.samples):
            board.assign(self.slot, self.tag, generation)
        return generation

    def recall(self, samples: BoardReader, now_ns: int) -> None:
        """Go on from the samples an earlier incarnation took, unless the hole is too long.

        How long it is shows when the first ticker comes.
        """
        for known in last_run(samples, self.slot, self.tag):
            if not _is_sample(known, now_ns):
                self._counters.add(Counter.cache_record_unreadable)
                continue
            second, mid_e9 = known.wall_ns // E9, known.mid_px_e9
            if known.proof == WITNESS:
                self.features.sample(second, mid_e9)
                continue
            taken_ns = known.publish_ns
            self._keep(
                Sample(second, mid_e9, known.batch, known.venue_seq, known.recv_ns, taken_ns)
            )
            self.features.recall(second, mid_e9, taken_ns)
            self._good_ns = max(self._good_ns, taken_ns)
        for board in (self._boards.bbo, self._boards.features):
            held = board.last(self.slot)
            if isinstance(held, Snapshot) and held.tag == self.tag and not held.flags & DISTRUST:
                self._good_ns = max(self._good_ns, held.publish_ns)

    # --- events -----------------------------------------------------------------------------------

    def on_ticker(self, event: BookTicker, recv_ns: int) -> bool:
        """Take a ticker; False when it is older than the one held."""
        order, number = self.order, event.update_id
        if not order.accept(number, recv_ns) and not self._begins_anew(order, number, recv_ns):
            if number > order.last or order.is_stuck:
                self.is_doubted = True
                self.judge()
            return False
        if self._has_ticker:
            self._counters.add(Counter.feeds_updates_conflated)
        self._is_dirty = self._has_ticker = True
        self.ticker_ns = self._recv_ns = recv_ns
        self._bid, self._bid_qty = event.bid_px_e9, event.bid_qty_e9
        self._ask, self._ask_qty = event.ask_px_e9, event.ask_qty_e9
        self.is_silent = self.is_doubted = self.is_odd = False
        self._beyond_ns = 0
        flags = self._side_flags()
        if not flags:
            flags = self._weigh()
        self.flags = flags | (RESYNC if self.is_resync else 0)
        return True

    def _begins_anew(self, order: Order, number: int, recv_ns: int) -> bool:
        """Whether a refused id is taken all the same; if not, why is counted."""
        if order.begins_anew(number, recv_ns):
            self._counters.add(Counter.feeds_sequence_reset)
            return True
        is_late = number <= order.last
        self._counters.add(Counter.feeds_updates_outdated if is_late else Counter.feeds_ids_refused)
        return False

    def _is_near(self, px_e9: int) -> bool:
        """Whether both sides of the top are near a price; they do not cross."""
        slack = px_e9 // NEAR
        return px_e9 - slack <= self._bid and self._ask <= px_e9 + slack

    def _weigh(self) -> int:
        """Compare a whole top with the last trusted one and with the last of all."""
        before_e9, self._mid = self._mid, (self._bid + self._ask) // 2
        if self._is_near(self._trusted_mid or self._mid) or self._is_near(before_e9):
            self._trusted_mid = self._mid
            return 0
        self.is_odd = True
        self._counters.add(Counter.feeds_tops_doubted)
        return SUSPECT

    def _hold_against(self, px_e9: int, recv_ns: int) -> None:
        """Take a trade as a witness for or against the top."""
        if self.is_odd:
            if self._is_near(px_e9):
                self.is_odd, self._trusted_mid = False, self._mid
                self.judge()
        elif not self._bid <= px_e9 <= self._ask and not self.flags & DISTRUST:
            if not self._beyond_ns:
                self._beyond_ns = recv_ns
            elif recv_ns - self._beyond_ns > BEYOND_NS:
                self.is_doubted = True
                self._counters.add(Counter.feeds_tops_contradicted)
                self.judge()

    def on_trade(self, event: Trade, recv_ns: int, now_ns: int) -> bool:
        """Publish a trade; False when it is older than the last one."""
        order, number = self.trade_order, event.trade_id
        if not order.accept(number, recv_ns) and not self._begins_anew(order, number, recv_ns):
            return False
        self.trade_ns = recv_ns
        self._hold_against(event.px_e9, recv_ns)
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
        flags |= SUSPECT if self.is_silent or self.is_doubted or self.is_odd else 0
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
                self._batch, self.order.last, self._recv_ns, now_ns, self.venue_ts_ns,
                self.flags, VENUE_SEQ if self.order.last else NOT_PROVEN,
                self._bid, self._bid_qty, self._ask, self._ask_qty,
                self._last_px, self._last_qty, self.rules.tick_e9, self._recv_ns,
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
        if self.flags & (WARMUP | NO_BID | NO_ASK) or self.is_odd:
            return False  # An odd mid would stay in the returns for a minute.
        found = self.features.look(now_ns, (self._bid + self._ask) // 2)
        self._boards.features.publish(
            self.slot,
            (
                self._batch, self.order.last, self._recv_ns, now_ns, 0, self.flags, NOT_PROVEN,
                found.mid_px_e9, found.return_1s_e9, found.return_5s_e9, found.return_60s_e9,
                found.sigma_e9, found.shock_z_e9, found.sample_count, found.known,
            ),
        )  # fmt: skip
        return True

    def _notice(self, now_ns: int) -> None:
        """Restart the estimate when the top is good again after too long a hole."""
        is_good = not self.flags & DISTRUST
        if is_good:
            if not self._was_good and now_ns - self._good_ns >= HOLE_NS_MAX:
                self.features.restart()
                self.lacks_past = True
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
        taken = Sample(second, mid_e9, self._batch, self.order.last, self._recv_ns, now_ns)
        self._keep(taken)
        self._publish_sample(taken)
        return True

    def _keep(self, taken: Sample) -> None:
        if self._live and taken.second <= self._live[-1].second:
            self._live.clear()  # The wall clock was set back, or the history was filled here.
        self._live.append(taken)

    def _publish_sample(self, taken: Sample) -> None:
        self._boards.samples.publish(
            self.slot,
            (
                taken.batch, taken.venue_seq, taken.recv_ns, taken.taken_ns, 0, 0, NOT_PROVEN,
                taken.mid_e9, taken.second * E9,
            ),
        )  # fmt: skip

    @property
    def live_count(self) -> int:
        """How many of the samples that the board shows were taken here."""
        return len(self._live)

    def fill(self, closes: Mapping[int, int], second: int, now_ns: int) -> int:
        """Take closes for seconds of which there is no mid; return how many were taken.

        `second` is the last one that was sampled: later closes would meet their mid. None is taken
        without a top to compare the newest with, or where a hole stays before the newest seconds.
        """
        live = {taken.second: taken for taken in self._live if taken.second <= second}
        room = self._boards.samples.cell_count - 2
        wanted = sorted({at for at in closes if at <= second} | live.keys())[-room:]
        filled = [at for at in wanted if at not in live]
        if self.flags & DISTRUST or not filled or second - wanted[-1] > JOIN_S_MAX:
            return 0
        if filled[-1] < _run_begin(wanted):
            return 0
        mid_e9 = (self._bid + self._ask) // 2
        if abs(closes[filled[-1]] - mid_e9) * APART_MAX > mid_e9:
            return 0
        self.features.restart()
        for at in wanted:
            taken = live.get(at)
            self.features.sample(at, taken.mid_e9 if taken else closes[at])
            if taken:
                self._publish_sample(taken)
                continue
            self._boards.samples.publish(
                self.slot, (0, 0, now_ns, now_ns, at * E9, 0, WITNESS, closes[at], at * E9)
            )
        return len(filled)


def _is_sample(known: Snapshot, now_ns: int) -> bool:
    """Whether a record of a predecessor holds what a sample can: a price, and a past."""
    found: bool = 0 < known.mid_px_e9 < 1 << 60 and 0 <= known.publish_ns <= now_ns
    return found and known.wall_ns > 0
