"""One market of the Polymarket feed: its two books, and the records they become.

A `Pair` takes the market's events, decides whether its books may be published (they agree with
what the venue claims, or have failed to for too long) and publishes both tops as one `PairBbo`.
It also writes the market's depth, prints and mids. What is in doubt carries a flag:

    WARMUP   no whole book since the market was listed here
    RESYNC   the connection is down or was made anew, or a backlog is being read
    SUSPECT  a held batch never agreed with its best prices, or a frame of this market was lost

The invariant: a record without these flags shows for both tokens the best prices the venue itself
gave, on the grid of the tick size, not crossed, and each token as the other's mirror. Where only
one token's book is known the other is shown as its mirror, which it is. It knows no socket and no
timer: `feeds/market_channel.py` drives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic_ns
from typing import TYPE_CHECKING

from cache.board import BoardWriter, Snapshot
from cache.counters import Counter, CounterWriter
from cache.layout import DEPTH_LEVELS, PAIR_BBO, STAMP_COUNT, Flag, Proof, Side, tag_of
from feeds import pure_pair
from feeds.book import (
    RESOLVED,
    RESYNC,
    WARMUP,
    TokenBook,
    Top,
    are_mirrors,
    check_ahead,
    depth_of,
    drop_outdated,
    is_outdated,
    parse_time_ns,
    tops_of,
)
from feeds.certificate import Certificate, Verdict
from feeds.core import core
from feeds.gamma_wire import MarketInfo
from feeds.polymarket_wire import Message
from feeds.pure_book import FIRST, SECOND
from feeds.pure_pair import BEST_PRICES, OUTDATED, PUBLISHED
from feeds.text_numbers import PRICES, SIZES, parse_tick
from venue.decimals import E9

NOT_PROVEN = int(Proof.NONE)
SNAPSHOT = int(Proof.SNAPSHOT)
WITNESS = int(Proof.WITNESS)

_SIDES = {"BUY": int(Side.BUY), "SELL": int(Side.SELL)}
_PADDING = (0,) * (2 * DEPTH_LEVELS)
_VALUES = slice(STAMP_COUNT, STAMP_COUNT + len(PAIR_BBO.value_names))
_NO_DEPTH: tuple[int, list[int], list[int]] = (int(Flag.NO_BID | Flag.NO_ASK), [], [])

if TYPE_CHECKING:
    from feeds.pure_pair import PairState
else:
    PairState = (core or pure_pair).PairState


@dataclass(frozen=True, slots=True)
class Boards:
    """The boards that pairs write to, and the counters of their segment."""

    pair_bbo: BoardWriter
    mids: BoardWriter
    depth: BoardWriter
    trades: BoardWriter
    counters: CounterWriter
    depth_max: int = field(default=DEPTH_LEVELS, kw_only=True)


class Pair(PairState):
    """Both books of one market and where they are published.

    `held_ns`: since when a batch has been held; 0 while the books agree with the venue.
    """

    first: TokenBook
    second: TokenBook

    def __init__(self, market: MarketInfo, slot: int, generation: int, boards: Boards) -> None:
        self.market = market
        self.tag = tag_of("polymarket", market.condition_id)
        self.generation = generation
        first, second = (TokenBook(token) for token in market.token_ids)
        self.begin(first, second, slot, boards.pair_bbo)
        self.token_tags = [tag_of("polymarket", token) for token in market.token_ids if token]
        self.tick_e9 = market.tick_e9
        self.is_v2 = market.protocol_version == 2
        self.certificate = Certificate(
            market.condition_id, neg_risk=market.neg_risk, min_qty_e9=market.min_qty_e9
        )
        self.is_resolved = False
        self.is_down = True
        self.is_behind = False
        self._was_ready = False
        self._newest: TokenBook | None = None
        self._tops: tuple[Top, Top] = ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0))
        self._boards = boards
        boards.pair_bbo.assign(slot, self.tag, generation)
        boards.mids.assign(slot, self.tag, generation)
        for index, tag in enumerate(self.token_tags):
            boards.depth.assign(2 * slot + index, tag, generation)

    @property
    def is_ready(self) -> bool:
        """Whether a whole book came on this connection."""
        return self.first.is_ready or self.second.is_ready

    @property
    def is_whole(self) -> bool:
        """Whether a whole book of every token came that is listed."""
        return self.first.is_ready and (self.second.is_ready or len(self.token_tags) < 2)

    @property
    def is_suspect(self) -> bool:
        """Whether state may have been lost: only a new whole book helps for sure."""
        return self.first.is_suspect or self.second.is_suspect

    @property
    def is_provable(self) -> bool:
        """Whether a witness may prove these books: nothing else speaks against them."""
        return self.is_ready and not (self._state_flags() or self.held_ns or self.is_suspect)

    # --- events; ValueError tells of a number that is none, and that state may be lost ----------

    def on_changes(self, message: Message, recv_ns: int) -> bool:
        """Apply a price_change; publish if the books agree with it, and return whether they did."""
        found = self.take_changes(message, recv_ns)
        if found & PUBLISHED:
            return True
        if found & OUTDATED:
            changes, books = message.price_changes or [], (self.first, self.second)
            kept = drop_outdated(books, changes, self.venue_ts_ns)
            self._boards.counters.add(Counter.feeds_updates_outdated, len(changes) - len(kept))
            if changes and not kept:
                return self._compare(recv_ns)
            found = self.apply(kept, recv_ns)
        if not found or found & PUBLISHED:
            return found > 0
        is_both = found & FIRST and found & SECOND
        self._newest = None if is_both else self.first if found & FIRST else self.second
        return self.settle(recv_ns, BEST_PRICES)

    def on_book(self, message: Message, recv_ns: int, *, latest_ns: int) -> None:
        """Take a whole book; `settle` publishes it, when the other token's came too.

        `latest_ns` is the venue's time now by our clock: no book outdates what is yet to happen.
        """
        assert message.bids is not None
        assert message.asks is not None
        time_ns = parse_time_ns(message.timestamp)
        check_ahead(time_ns, latest_ns)
        tick_e9 = parse_tick(message.tick_size) if message.tick_size else self.tick_e9
        book = self._book(message.asset_id)
        book.replace(message.bids, message.asks, tick_e9)
        self.venue_ts_ns = time_ns
        book.snapshot_ns = self.snapshot_ns = min(time_ns, latest_ns)
        self._set_tick(tick_e9, fresh=book)
        book.take_hash(message.hash, time_ns)
        # Both books in one read of the socket: neither is older.
        self._newest = book if self._newest is None or self.recv_ns != recv_ns else None
        self.is_v2 = self.is_v2 or message.version == "v2"
        self.recv_ns = recv_ns

    def on_best(self, message: Message, recv_ns: int) -> None:
        """Compare a best_bid_ask, which comes before its batch."""
        if is_outdated(parse_time_ns(message.timestamp), self.venue_ts_ns):
            self._boards.counters.add(Counter.feeds_updates_outdated)
            return
        self._book(message.asset_id).claim(message.best_bid, message.best_ask)
        self._compare(recv_ns)

    def _compare(self, recv_ns: int) -> bool:
        """Look at new claims of books that did not change; return whether they were published."""
        if self.held_ns or self.first.is_unlike or self.second.is_unlike:
            return self.settle(recv_ns, BEST_PRICES)
        return False

    def on_trade(self, message: Message, recv_ns: int) -> None:
        """Publish a print, and the last price with it."""
        book = self._book(message.asset_id)
        px, qty = PRICES[message.price], SIZES[message.size]
        venue_ts_ns = parse_time_ns(message.timestamp)
        is_first = book is self.first
        self.certificate.on_trade(px)
        self.last_px_e9 = px if is_first else E9 - px
        flags = self._state_flags()
        values = (self.batch, 0, recv_ns, monotonic_ns(), venue_ts_ns, flags, NOT_PROVEN)
        self._boards.trades.publish_tagged(
            0,
            self.token_tags[0 if is_first else 1],
            self.generation,
            (*values, px, qty, 0, self.tag, _SIDES[message.side]),
        )
        if not self.held_ns:
            self.publish()

    def on_tick(self, message: Message) -> None:
        """Take the market's new tick size."""
        self._set_tick(parse_tick(message.new_tick_size))
        if not self.held_ns:
            self.publish()

    def on_resolved(self) -> None:
        self.is_resolved = True
        self.publish()

    def on_down(self) -> None:
        """The connection is gone: what it told is history."""
        self.first.clear()
        self.second.clear()
        self.held_ns = 0
        self.is_down = True
        self.is_behind = False
        self.publish()
        self.publish_depth()

    def on_subscribed(self) -> None:
        """A connection carries this market again; the whole books are to come."""
        self.is_down = False

    def on_behind(self, is_behind: bool) -> None:
        """A backlog is being read, or has been read."""
        self.is_behind = is_behind
        self.publish()

    def on_lost(self) -> None:
        """A frame of this market may be missing: hashes of earlier ones prove nothing any more."""
        for book in (self.first, self.second):
            book.is_sure = False
            book.forget_claim()
        self.publish()

    def on_witnessed(self, asked_ns: int) -> None:
        """Publish the same tops anew: another source has shown them, asked at that time."""
        if asked_ns > self.proven_ns:
            self.proof, self.proven_ns = WITNESS, asked_ns
            self.publish_ns = now_ns = monotonic_ns()
            values = self._shown()
            stamps = (*values[:3], now_ns, *values[4:6], WITNESS)
            again = (*stamps, *values[7:17], asked_ns, *values[18:])
            self._boards.pair_bbo.publish(self.slot, again)

    def on_hold_expired(self) -> bool:
        """Publish what never agreed; return whether that is SUSPECT.

        SUSPECT is a token unlike its claim, and two that came together and are unlike each other.
        Where each agrees with its claim but not with the other, the one not updated was outrun: it
        is shown as a mirror until its whole book comes.
        """
        self.held_ns = 0
        newest, is_odd = self._newest, not are_mirrors(self.first, self.second)
        for book in (self.first, self.second):
            book.is_doubted = book.is_unlike or (book.is_ready and is_odd and newest is None)
        is_suspect = self.first.is_doubted or self.second.is_doubted
        if is_suspect:
            self.publish()
            return True
        if is_odd:
            (self.second if newest is self.first else self.first).clear()
        self.settle(self.recv_ns, BEST_PRICES)
        return False

    # --- publishing -----------------------------------------------------------------------------

    def settle(self, recv_ns: int, proof: int) -> bool:
        """Publish if the books agree with the venue and each other, else hold: False."""
        first, second = self.first, self.second
        if not self.is_ready:
            return False
        # Both are looked at, so that a claim that is no price is refused with its own frame.
        unlike = [book.is_unlike for book in (first, second)]
        if any(unlike) or not are_mirrors(first, second):
            self.held_ns = self.held_ns or recv_ns
            return False
        self.held_ns = 0
        first.is_doubted = second.is_doubted = False
        self._was_ready = True
        if not self.is_behind:
            self.proof, self.proven_ns = proof, recv_ns
        self.publish()
        return True

    def publish(self) -> None:
        """Publish both tops as they are known now, with every flag they deserve."""
        state = self._state_flags()
        if self.is_ready:
            self._tops = tops_of(self.first, self.second)
        yes, no = self._tops
        sides = (*yes[:4], *no[:4])
        yes_flags, no_flags = yes[4] | state, no[4] | state
        self.batch += 1
        self.publish_ns = monotonic_ns()
        stamps = (self.batch, 0, self.recv_ns, self.publish_ns, self.venue_ts_ns)
        rest = (self.last_px_e9, self.tick_e9, self.proven_ns, yes_flags, no_flags)
        values = (*stamps, yes_flags | no_flags, self.proof, *sides, *rest)
        self._boards.pair_bbo.publish(self.slot, values)
        self.is_mirrored = not self.second.is_ready
        self.is_plain = not state and self.first.is_ready and not self.is_suspect

    def publish_mid(self) -> None:
        """Put the newest tops on the board of the rolling mids, as they stand."""
        if self._was_ready:
            values = self._shown()
            self._boards.mids.publish(self.slot, (*values[:3], monotonic_ns(), *values[4:]))

    def _shown(self) -> tuple[int, ...]:
        """The values of the newest record, which the board keeps."""
        shown = self._boards.pair_bbo.last(self.slot)
        assert isinstance(shown, Snapshot)
        return PAIR_BBO.struct.unpack(shown.raw)[_VALUES]

    def publish_depth(self) -> None:
        """Publish both tokens' best levels as they belong to the newest `PairBbo`; none unready."""
        state = self._state_flags()
        siblings = ((self.first, self.second), (self.second, self.first))
        for index, (book, sibling) in enumerate(siblings[: len(self.token_tags)]):
            flags, bids, asks = _NO_DEPTH
            if self.is_ready:
                flags, bids, asks = depth_of(book, sibling, self._boards.depth_max)
            head = (self.batch, 0, self.recv_ns, monotonic_ns(), self.venue_ts_ns)
            counts = (flags | state, self.proof, len(bids) // 2, len(asks) // 2, self.tick_e9)
            padded = (*bids, *_PADDING[len(bids) :], *asks, *_PADDING[len(asks) :])
            self._boards.depth.publish(2 * self.slot + index, (*head, *counts, *padded))

    def certify(self) -> list[Verdict]:
        """Compare both books with the hashes the venue gave them."""
        was_suspect = self.is_suspect
        verdicts = []
        for book in (self.first, self.second):
            verdict = self.certificate.check(book, tick_e9=self.tick_e9, is_v2=self.is_v2)
            verdicts.append(verdict)
            if verdict is not Verdict.UNKNOWN:
                book.on_hash(is_match=verdict is Verdict.MATCHED)
        if self.is_suspect != was_suspect:
            self.publish()
            self.publish_depth()
        return verdicts

    def _set_tick(self, tick_e9: int, *, fresh: TokenBook | None = None) -> None:
        """Take a tick size. It is part of the hashes: those of earlier frames have the old one.

        Levels may lie off a coarser grid, but those of a `fresh` book, which was read with it.
        """
        if tick_e9 == self.tick_e9:
            return
        if self.tick_e9 % tick_e9:
            self.is_plain = False
            for book in (self.first, self.second):
                book.is_sure = book is fresh
        self.tick_e9 = tick_e9
        for book in (self.first, self.second):
            book.take_hash("", 0)

    def _book(self, token_id: str) -> TokenBook:
        if token_id == self.first.token_id:
            return self.first
        if token_id == self.second.token_id:
            return self.second
        raise ValueError("a token of another market")

    def _state_flags(self) -> int:
        """What holds for the whole market, whatever its books say."""
        flags = RESOLVED if self.is_resolved else 0
        if not self._was_ready:
            flags |= WARMUP
        if self.is_down or self.is_behind or (self._was_ready and not self.is_ready):
            flags |= RESYNC
        return flags
