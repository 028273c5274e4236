"""Polymarket's market channel, from the bytes of a frame to published records.

It takes each frame as the session reads it, gives its events to the `Pair` they belong to, and
keeps what has to be done later: batches that are held, depth that is to follow, whole books that
are to be asked for again. The invariant: no frame, whatever is in it, raises out of `on_frame`; one
that cannot be used is counted by its cause, and every book it may have been about is SUSPECT:
that of the market it names, those of the tokens it names, or all where it names neither.

It knows no socket and sets no timer: `feeds/market_lane.py` calls `on_frame` for every frame,
`end_burst` after each read of the socket, and `expire` when that is due; `feeds/depth_turns.py`
calls `flush_depth`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cache.counters import Counter, CounterWriter, Histogram
from feeds.book import AHEAD_NS_MAX
from feeds.certificate import Verdict
from feeds.core import core
from feeds.pair import SNAPSHOT, Pair
from feeds.polymarket_wire import (
    DECODE_FAULTS,
    KNOWN_EVENTS,
    PONG,
    Cause,
    Message,
    Parsed,
    Rejection,
    decode_message,
    is_complete,
    parse,
    tokens_of,
)
from feeds.text_numbers import CrossedError
from host.clock import latest_ns, wall_ns
from host.log import get_log

if core is None or TYPE_CHECKING:
    from feeds.pure_pair import Markets
else:
    Markets = core.Markets

log = get_log("feeds")

STILL_NS = 20_000_000
"""A market that said nothing for so long is not in the middle of a batch."""

# Looked up once: a member of an enum costs as much as half a counter.
CHANGES_APPLIED = Counter.feeds_changes_applied
DELTAS_APPLIED = Counter.cache_book_deltas_applied
BBO_PUBLISHED = Counter.feeds_bbo_published
WIRE_TO_SLOT = Histogram.wire_to_slot_ns
VENUE_TO_WIRE = Histogram.venue_to_wire_ns

DEPTHS_A_TURN = 64
"""Markets whose depth is published before frames are read again: some 17 us each, a millisecond."""

HOLD_NS = 5_000_000
"""How long a batch may disagree with its own best prices before it is published as SUSPECT."""


class MarketChannel:
    """The markets carried on one connection, by condition id; belongs to one thread."""

    def __init__(
        self,
        counters: CounterWriter,
        on_pong: Callable[[], None],
        *,
        hold_ns: int = HOLD_NS,
        latest: Callable[[], int] = latest_ns,
    ) -> None:
        self.pairs: dict[str, Pair] = {}
        self.held: set[Pair] = set()
        self.unsent_depth: list[Pair] = []
        """Each once: it is marked, as a set of thousands would be one more wait for memory."""
        self._counters = counters
        self._markets = Markets()
        self._on_pong = on_pong
        self._hold_ns = hold_ns
        self._latest = latest
        self.flow_ns = 0
        """When a change came last, of whichever market: whole books may be answers to us."""
        self._published: Pair | None = None
        self._published_count = 0
        self._change_count = self._delta_count = 0
        self._recorded_ns = 0  # when what was recorded last was read
        self._turn: list[Pair] = []

    # --- markets ----------------------------------------------------------------------------

    def add(self, pair: Pair) -> None:
        """Carry a market; it shows WARMUP until its whole book comes."""
        self.pairs[pair.market.condition_id] = pair
        self._markets.add(pair.market.condition_id, pair)
        pair.publish()
        self._published_count += 1

    def remove(self, condition_id: str) -> Pair | None:
        """Stop carrying a market; what it shows last is that it is not live."""
        pair = self.pairs.pop(condition_id, None)
        if pair is not None:
            self._markets.remove(condition_id)
            self.held.discard(pair)
            if pair.is_unsent:
                self.unsent_depth.remove(pair)
                pair.is_unsent = False
            pair.on_down()
            self._published_count += 1
        return pair

    def on_down(self) -> None:
        """The connection is gone: every slot is RESYNC until its whole book comes again."""
        self.held.clear()
        self.unsent_depth.clear()
        for pair in self.pairs.values():
            pair.is_unsent = False
            pair.on_down()
        self._published_count += len(self.pairs)

    def on_behind(self, is_behind: bool) -> None:
        """What is read may be old; or (False) everything that waited has been read.

        Tops say so at once, and depth is judged by its top; publishing the depth of many markets
        here would be one more stall, so it follows as always.
        """
        for pair in self.pairs.values():
            pair.on_behind(is_behind)
            self._want_depth(pair)
        self._published_count += len(self.pairs)

    # --- frames -----------------------------------------------------------------------------

    def on_frame(self, data: bytes | bytearray, recv_ns: int) -> bool:
        """Take one frame; return whether the venue told something of our markets with it."""
        message: Parsed
        try:
            message = decode_message(data) if self._markets.is_ascii(data) else parse(data)
        except DECODE_FAULTS:
            message = parse(data)
        if type(message) is Message:  # twice as fast as isinstance
            if message.event_type == "price_change":
                return self._on_changes(message, recv_ns)
            return self._on_event(message, recv_ns)
        if isinstance(message, list):
            return self._on_array(message, recv_ns)
        if isinstance(message, Rejection):
            self.on_rejection(message)
        elif message is PONG:
            self._on_pong()
        return False

    def _on_array(self, messages: list[Message], recv_ns: int) -> bool:
        books: set[Pair] = set()
        known = [self._on_event(one, recv_ns, books) for one in messages]
        for pair in books:
            self._settle(pair, recv_ns)
        return any(known)

    def on_rejection(self, rejection: Rejection) -> None:
        """Count a frame that was thrown away; the books it may have been about are SUSPECT."""
        self._counters.add(Counter.feeds_frames_rejected)
        self._counters.add(rejection.cause.value)
        log.warning("frame_rejected", cause=rejection.cause.name, detail=rejection.detail)
        if rejection.is_harmless:
            return
        owners = self._owners(rejection.market, rejection.tokens)
        self._lose(owners if owners or rejection.market else self.pairs.values())

    def lose_all(self) -> None:
        """A frame was thrown away that may have been about any market."""
        self._lose(self.pairs.values())

    def _owners(self, market: str, tokens: frozenset[str]) -> list[Pair]:
        """The pairs of a market and of tokens."""
        return [
            pair
            for condition_id, pair in self.pairs.items()
            if condition_id == market or {pair.first.token_id, pair.second.token_id} & tokens
        ]

    def _lose(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            pair.on_lost()
            self._published_count += 1

    def _refuse(self, message: Message, cause: Cause, detail: str) -> bool:
        """Throw away an event of which part may have been applied."""
        tokens = tokens_of(message)
        if message.event_type == "book":
            self._counters.add(Counter.cache_book_snapshots_rejected)
        if cause is Cause.CROSSED:
            self._counters.add(Counter.cache_book_resets_crossed)
        self.on_rejection(Rejection(cause, detail, market=message.market, tokens=tokens))
        return False

    def _on_unlisted(self, message: Message) -> bool:
        """Take an event of a market that is not ours; naming a token of ours it is garbage."""
        if (tokens := tokens_of(message)) and self._owners("", tokens):
            return self._refuse(message, Cause.MISTYPED, "a token under another market's name")
        self._counters.add(Counter.feeds_events_unlisted)
        return False

    def _on_changes(self, message: Message, recv_ns: int) -> bool:
        pair: Pair | None = self._markets.find(message.market)
        if pair is None:
            return self._on_unlisted(message)
        changes = message.price_changes
        if changes is None:
            return self._refuse(message, Cause.MISTYPED, "no changes")
        try:
            is_published = pair.on_changes(message, recv_ns)
        except ValueError as fault:
            return self._refuse(message, Cause.OUT_OF_RANGE, str(fault)[:120])
        self._change_count += len(changes)
        self._delta_count += 1
        self.flow_ns = recv_ns
        if is_published:
            self._published = pair
            self._published_count += 1
            if not pair.is_unsent:  # As `_want_depth` does, without a call for each frame.
                pair.is_unsent = True
                self.unsent_depth.append(pair)
            if self.held:
                self.held.discard(pair)
        elif pair.held_ns:
            self._hold(pair)
        return True

    def _on_event(self, message: Message, recv_ns: int, books: set[Pair] | None = None) -> bool:
        """Take any event; whole books of an array are collected and settled together."""
        kind = message.event_type
        if kind == "price_change":
            return self._on_changes(message, recv_ns)
        if kind not in KNOWN_EVENTS:
            self._counters.add(Counter.feeds_events_unknown)
            return False
        pair = self.pairs.get(message.market)
        if pair is None:
            return self._on_unlisted(message)
        if not is_complete(message):
            return self._refuse(message, Cause.MISTYPED, f"{kind} lacks a field")
        batch = pair.batch
        try:
            self._dispatch(pair, message, recv_ns)
        except CrossedError as fault:
            return self._refuse(message, Cause.CROSSED, str(fault))
        except ValueError as fault:
            return self._refuse(message, Cause.OUT_OF_RANGE, str(fault)[:120])
        self._follow(pair, batch)
        if kind == "book":
            self._counters.add(Counter.feeds_books_applied)
            self._counters.add(Counter.cache_book_snapshots_applied)
            if books is None:
                self._settle(pair, recv_ns)
            else:
                books.add(pair)
        return True

    def _dispatch(self, pair: Pair, message: Message, recv_ns: int) -> None:
        match message.event_type:
            case "book":
                pair.on_book(message, recv_ns, latest_ns=self._latest())
            case "best_bid_ask":
                pair.on_best(message, recv_ns)
            case "last_trade_price":
                pair.on_trade(message, recv_ns)
                self._counters.add(Counter.feeds_trades_published)
            case "tick_size_change":
                pair.on_tick(message)
            case "market_resolved":
                pair.on_resolved()

    def _settle(self, pair: Pair, recv_ns: int) -> None:
        batch = pair.batch
        pair.settle(recv_ns, SNAPSHOT)
        self._follow(pair, batch)

    def _follow(self, pair: Pair, batch: int) -> None:
        """Note what a pair has done since its batch had this number."""
        if pair.batch != batch:
            self._published = pair
            self._published_count += 1
            self._want_depth(pair)
        if pair.held_ns:
            self._hold(pair)
        else:
            self.held.discard(pair)

    def _want_depth(self, pair: Pair) -> None:
        if not pair.is_unsent:
            pair.is_unsent = True
            self.unsent_depth.append(pair)

    def _hold(self, pair: Pair) -> None:
        if pair not in self.held:
            self.held.add(pair)
            self._counters.add(Counter.feeds_batches_held)

    # --- afterwards -------------------------------------------------------------------------

    def end_burst(self) -> bool:
        """Count what one read of the socket brought; return whether anything was published."""
        counters = self._counters
        if self._change_count:
            counters.add(CHANGES_APPLIED, self._change_count)
            counters.add(DELTAS_APPLIED, self._delta_count)
            self._change_count = self._delta_count = 0
        if self._published_count:
            counters.add(BBO_PUBLISHED, self._published_count)
            self._published_count = 0
        pair = self._published
        if pair is None:
            return False
        # One value a read, that of its last record, which waited longest: per frame it would cost
        # a tenth of the frame.
        recv_ns = pair.recv_ns
        if recv_ns > self._recorded_ns:  # else a print, or what a timer published
            self._recorded_ns = recv_ns
            waited_ns = pair.publish_ns - recv_ns
            counters.record(WIRE_TO_SLOT, waited_ns)
            lag_ns = wall_ns() - waited_ns - pair.venue_ts_ns
            counters.record(VENUE_TO_WIRE, lag_ns)
            if lag_ns < -AHEAD_NS_MAX:
                self._doubt_time(pair)
        self._published = None
        return True

    def _doubt_time(self, pair: Pair) -> None:
        """Doubt a market whose changes the venue stamps later than it can have."""
        if pair.venue_ts_ns - self._latest() > AHEAD_NS_MAX:
            market = pair.market.condition_id
            self.on_rejection(Rejection(Cause.OUT_OF_RANGE, "stamped ahead", market=market))

    def expire(self, now_ns: int) -> bool:
        """Publish what has been held too long; return whether there was any."""
        late = [pair for pair in self.held if now_ns - pair.held_ns >= self._hold_ns]
        for pair in late:
            batch = pair.batch
            is_suspect = pair.on_hold_expired()
            self._counters.add(
                Counter.feeds_batches_suspect if is_suspect else Counter.feeds_books_outrun
            )
            self._follow(pair, batch)
        return bool(late)

    def flush_depth(self, count_max: int = DEPTHS_A_TURN) -> bool:
        """Publish the depth of markets that changed, of so many at most; whether there was any.

        Depth of a held market waits: it would be of another batch than its `PairBbo`.
        """
        unsent = self.unsent_depth
        now, self.unsent_depth = unsent[:count_max], unsent[count_max:]
        is_published = False
        for pair in now:
            pair.is_unsent = pair in self.held
            if pair.is_unsent:
                self.unsent_depth.append(pair)
            else:
                pair.publish_depth()
                is_published = True
        return is_published

    def publish_mids(self) -> None:
        """Take the sample of the rolling mids of every market."""
        for pair in self.pairs.values():
            pair.publish_mid()

    def certify_next(self, now_ns: int) -> None:
        """Check the hashes of the next market whose batch is over; a lost change shows here."""
        if not self._turn:
            self._turn = list(self.pairs.values())
        pair = self._turn.pop() if self._turn else None
        if pair is None or pair in self.held or now_ns - pair.recv_ns < STILL_NS:
            return
        batch, was_suspect = pair.batch, pair.is_suspect
        for verdict in pair.certify():
            if verdict is Verdict.MATCHED:
                self._counters.add(Counter.feeds_hash_matched)
            elif verdict is Verdict.MISMATCHED:
                self._counters.add(Counter.feeds_hash_mismatched)
                log.warning("hash_mismatched", slug=pair.market.slug, slot=pair.slot)
        if pair.is_suspect and not was_suspect:
            self._counters.add(Counter.cache_book_gaps_seen)
        self._follow(pair, batch)
