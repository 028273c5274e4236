"""The REST witness of quiet markets: whether a book that does not change is still the venue's.

A market may be silent because it is calm, or because its subscription died while its siblings
and PONG go on. So about once a second every silent market's book is compared with what REST shows.
Equal, with the same tick size, proves it, as of the moment the question was asked. Different may be
a frame on its way; so only a book that differs twice, with no frame of the market between, is
called frozen: SUSPECT, and whole books are asked for again over the WebSocket. An answer that is
older than the book, or the ghost that the venue shows for some books (bid 0.01, ask 0.99), says
nothing.

Where more markets are silent than the budget of books a second allows, those are asked for whose
proof is oldest. Questions go through the cache for REST snapshots: it serves what it has and asks
behind, so nobody waits here, and its watch throws away what a lost link, a jump or a new tick has
outdated. How many markets' questions do, and what ends it, is `cache/md_rollout.py`.

A REST book never becomes a book of ours: it has no place in the order of the stream's changes.
The invariant: nothing is proven but by an answer asked for after the last proof, and a book with
less than the venue's own best levels is proven by none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Final

from cache.counters import Counter, CounterWriter
from cache.layout import DEPTH_LEVELS
from cache.md_config import MDCacheConfig
from cache.md_entry import MDCacheEntry, MDMiss
from cache.md_invalidator import MDCacheInvalidator
from cache.md_refresh import Refresh
from cache.md_rollout import MDGates, MDRollout
from feeds.book import TokenBook, top_of
from feeds.pair import Pair
from feeds.rest_books_wire import VenueBook
from host.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from host.log import get_log
from venue.decimals import E9

SILENT_NS: Final = NS_PER_S
"""A market that has not changed or been proven for so long is asked for."""

AGAIN_MS: Final = 300
"""So long after an answer that proved nothing the next one is asked for: frames come late."""

FAILED_NS: Final = 500 * NS_PER_MS
"""After no answer the market is not looked at for so long."""

WAITING_MAX: Final = 200
"""Books that wait for a question longer than it may take are failures: the venue is slow."""

CHECK_EVERY: Final = 10
"""The cache's watch looks for lost links at every so many ticks."""

JUDGE_EVERY: Final = 100
"""The gates of the rollout are applied at every so many ticks; it costs some 0.1 ms."""

GHOST_BID_E9: Final = E9 // 100
GHOST_ASK_E9: Final = E9 - GHOST_BID_E9

log = get_log("feeds")


class Budget:
    """How many books may be asked for: so many a second, and none while too many wait."""

    def __init__(self, count_per_s: int, waiting: Callable[[], int]) -> None:
        """`waiting` tells how many books are wanted that nobody was asked for yet."""
        self._count_per_s = self._count = count_per_s
        self._waiting = waiting
        self._filled_ns = 0

    def take(self, count: int, now_ns: int) -> bool:
        """Take so many, if there are as many."""
        more = (now_ns - self._filled_ns) * self._count_per_s // NS_PER_S
        if more > 0:
            self._count = min(self._count + more, self._count_per_s)
            self._filled_ns = now_ns
        if count > self._count or self._waiting() > WAITING_MAX:
            return False
        self._count -= count
        return True


class Verdict(Enum):
    """What answers say of a market; the value is the counter that tells."""

    MATCHED = Counter.feeds_witness_matched
    MISMATCHED = Counter.feeds_witness_mismatched
    UNCLEAR = Counter.feeds_witness_unclear


def best_of(book: TokenBook, depth: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Give a book's best bids and asks as a snapshot has them."""
    bids, asks = book.best_levels(depth)
    return (
        tuple(zip(bids[::2], bids[1::2], strict=True)),
        tuple(zip(asks[::2], asks[1::2], strict=True)),
    )


def judge(
    books: Sequence[TokenBook],
    told: Sequence[VenueBook],
    *,
    depth: int,
    is_still: bool,
    venue_ts_ns: int,
    tick_e9: int = 0,
) -> Verdict:
    """Compare a market's books with the venue's, token by token.

    `is_still`: no frame of the market came since the venue was asked; `venue_ts_ns`: when the
    venue made the market's newest change that we know; `tick_e9`: its tick size, 0 not known.
    """
    verdict = Verdict.MATCHED
    for book, shown in zip(books, told, strict=True):
        has_tick = tick_e9 in (0, shown.tick_e9) or not shown.tick_e9
        if has_tick and best_of(book, depth) == (shown.bids[:depth], shown.asks[:depth]):
            continue
        if not is_still or shown.venue_ts_ns < venue_ts_ns or is_ghost(shown):
            return Verdict.UNCLEAR
        verdict = Verdict.MISMATCHED
    return verdict


def is_ghost(shown: VenueBook) -> bool:
    """Whether a book is no tighter than what the venue sometimes shows in place of one."""
    return (not shown.bids or shown.bids[0][0] <= GHOST_BID_E9) and (
        not shown.asks or shown.asks[0][0] >= GHOST_ASK_E9
    )


class _Look:
    """How the witness of one market stands."""

    __slots__ = (
        "asked_ns", "differed_ns", "is_open", "is_under_way", "next_ns", "paid_ns", "seen_ns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.asked_ns = 0
        """When the answer that was judged last was asked for."""
        self.differed_ns = 0
        """The market's last frame when an answer differed; 0 none did since."""
        self.is_open = False
        """Whether the last answer proved nothing."""
        self.is_under_way = False
        self.next_ns = 0
        self.paid_ns = 0
        """When the budget was charged: a question is looked after more than once."""
        self.seen_ns = 0
        """The market's last frame when the cache's watch was told of its top."""

    @property
    def again_ns(self) -> int:
        """How old an answer may be."""
        return AGAIN_MS * NS_PER_MS if self.is_open else SILENT_NS


class Witness:
    """The witness of one connection's markets; belongs to its event loop."""

    def __init__(
        self,
        config: MDCacheConfig,
        refresh: Refresh,
        counters: CounterWriter,
        *,
        ring: Callable[[], None],
        budget: Budget,
        gates: MDGates,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        """Ask by `refresh` within a `budget` and `gates`, others' too; `ring` after publishing."""
        self._budget = budget
        self._gates = gates
        self._rollout = MDRollout(config, refresh, counters, gates=gates, now_ns=now_ns)
        self.cache = self._rollout.cache
        self._watch = MDCacheInvalidator(self.cache)
        self._counters = counters
        self._ring = ring
        self._now_ns = now_ns
        self._depth = min(config.max_depth, DEPTH_LEVELS)
        self._looks: dict[Pair, _Look] = {}
        self._group: asyncio.TaskGroup | None = None
        self._link_ns = 0
        self._tick_count = 0
        if not config.enabled:
            log.warning("witness_off", cause="[md_cache] enabled is false: quiet books go STALE")

    async def run(self) -> None:
        """Carry the questions until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.Event().wait()
        finally:
            self._group = None
            await self.cache.close()

    # --- what the feed tells; some ten times a second, never for a frame --------------------------

    def tick(self, pairs: Collection[Pair], *, read_ns: int, wall_ns: int) -> None:
        """Look at the silent ones of all markets; the connection was read at `read_ns` last."""
        if self._group is None or not self.cache.config.enabled:
            return
        now_ns = self._now_ns()
        self._tick_count += 1
        if read_ns > self._link_ns:
            self._link_ns = read_ns
            self._watch.on_link(read_ns)
        if self._tick_count % CHECK_EVERY == 0:
            self._watch.check(now_ns)
            for gone in self._looks.keys() - set(pairs):
                del self._looks[gone]
        if self._tick_count % JUDGE_EVERY == 0 and (cause := self._gates.check()):
            log.warning("md_cache_rolled_back", cause=cause)
        due = []
        for pair in pairs:
            look = self._looks.get(pair)
            if look is None:
                look = self._looks[pair] = _Look()
            if look.seen_ns != pair.recv_ns:
                look.seen_ns = pair.recv_ns
                self._tell_tops(pair)
            if now_ns >= look.next_ns and self._is_due(pair, look, now_ns, wall_ns):
                due.append((max(pair.recv_ns, pair.proven_ns), pair.slot, pair, look))
        for _, _, pair, look in sorted(due):
            if now_ns - look.paid_ns >= look.again_ns:
                if not self._budget.take(2, now_ns):
                    continue
                look.paid_ns = now_ns
            look.is_under_way = True
            self._group.create_task(self._look(pair, look), name="witness")

    def on_disconnected(self) -> None:
        """The connection is gone: what was asked beside it says nothing of the next one."""
        self._watch.on_reconnect()
        self._link_ns = 0

    def _tell_tops(self, pair: Pair) -> None:
        for book in (pair.first, pair.second):
            if book.is_ready:
                top = top_of(book)
                self._watch.on_top(book.token_id, top[0], top[2], pair.tick_e9)

    # --- looking ----------------------------------------------------------------------------------

    def _is_due(self, pair: Pair, look: _Look, now_ns: int, wall_ns: int) -> bool:
        end_ns = pair.market.window_end_ns
        return (
            not look.is_under_way
            and pair.is_provable
            and now_ns - max(pair.recv_ns, pair.proven_ns) > SILENT_NS
            and (not end_ns or wall_ns < end_ns)
        )

    async def _look(self, pair: Pair, look: _Look) -> None:
        """Read what REST shows of a market, and judge it if that is news."""
        books = [book for book in (pair.first, pair.second) if book.is_ready]
        age_ms = look.again_ns // NS_PER_MS
        try:
            found = await asyncio.gather(
                *(
                    self._rollout.read(book.token_id, self._depth, age_ms, tag=pair.tag)
                    for book in books
                )
            )
        finally:
            look.is_under_way = False
        entries = [entry for entry in found if isinstance(entry, MDCacheEntry)]
        if len(entries) < len(books):
            self._failed(pair, look, next(miss for miss in found if isinstance(miss, MDMiss)))
            return
        # Judged at once: nothing is awaited from here on.
        asked_ns = min(entry.asked_ns for entry in entries)
        is_news = asked_ns > look.asked_ns
        if is_news and pair.is_provable and all(book.is_ready for book in books):
            look.asked_ns = asked_ns
            self._judge(pair, look, books, entries)

    def _judge(
        self, pair: Pair, look: _Look, books: list[TokenBook], entries: list[MDCacheEntry]
    ) -> None:
        verdict = judge(
            books,
            [entry.book for entry in entries if isinstance(entry.book, VenueBook)],
            depth=self._depth,
            is_still=pair.recv_ns < look.asked_ns,
            venue_ts_ns=pair.venue_ts_ns,
            tick_e9=pair.tick_e9,
        )
        self._counters.add(verdict.value)
        look.is_open = verdict is not Verdict.MATCHED
        if look.is_open:
            look.next_ns = look.asked_ns + AGAIN_MS * NS_PER_MS
        if verdict is Verdict.MATCHED:
            look.differed_ns = 0
            pair.on_witnessed(look.asked_ns)
            self._ring()
        elif verdict is Verdict.UNCLEAR or look.differed_ns != pair.recv_ns:
            look.differed_ns = pair.recv_ns if verdict is Verdict.MISMATCHED else 0
        else:
            look.differed_ns = 0
            self._counters.add(Counter.feeds_books_frozen)
            log.warning("book_frozen", slug=pair.market.slug, slot=pair.slot)
            pair.on_lost()
            self._ring()

    def _failed(self, pair: Pair, look: _Look, why: MDMiss) -> None:
        look.next_ns = self._now_ns() + FAILED_NS
        self._counters.add(Counter.feeds_witness_failed)
        log.warning("witness_failed", slug=pair.market.slug, cause=why.name)
