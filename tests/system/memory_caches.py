"""Parts of the suite of the snapshot caches: what is published follows from its number alone.

A snapshot that mixes two, or comes with another's number, is not what its number says. The market
cache and the reference cache play the same parts; `--record` says which (pair_bbo or bbo).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

MARKET, YES, NO = "0x" + "ab" * 32, "1" * 77, "2" * 77
E9 = 10**9
HOUR_MS = 3_600_000
OVERTAKEN_SECONDS = 50.0


def tops_of(seq: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """Both tops of the market's snapshot of this number."""
    bid = 1 + seq * 7919 % 400_000_000
    ask = bid + 1 + seq % 1_000
    return (bid, seq + 1, ask, seq + 2), (E9 - ask, seq + 3, E9 - bid, seq + 4)


def answer_of(seq: int, wall_ms: int) -> dict[str, object]:
    """The service's answer that becomes the snapshot of this number."""
    return {
        "wall_ts_ms": wall_ms,
        "symbol": "BTCUSDT",
        "bbo_bid": seq + 1,
        "bbo_ask": seq + 2,
        "features": {"return_1m": seq % 1_000 / 1_000, "ewma_vol": None},
        "pricer": {"shock_z": seq % 1_000},
    }


def is_of(snapshot: Any, seq: int) -> bool:
    """Whether a snapshot is the one of this number, and nothing but it."""
    if snapshot.meta.feed_seq != seq:
        return False
    if snapshot.meta.source == "BN":
        derived = (snapshot.return_1m_e9, snapshot.shock_z_e9)
        own = (seq % 1_000 * E9 // 1_000, seq % 1_000 * E9)
        tops = (snapshot.best_bid_px_e9, snapshot.best_ask_px_e9)
        return tops == ((seq + 1) * E9, (seq + 2) * E9) and derived in (own, (None, None))
    yes, no = snapshot.yes_top, snapshot.no_top
    found = (
        (yes.bid_px_e9, yes.bid_qty_e9, yes.ask_px_e9, yes.ask_qty_e9),
        (no.bid_px_e9, no.bid_qty_e9, no.ask_px_e9, no.ask_qty_e9),
    )
    return found == tops_of(seq) and snapshot.market_id == MARKET


class Published:
    """The writer of either cache; its wall clock jumps by hours if it is asked to."""

    def __init__(self, options: argparse.Namespace) -> None:
        from cache.bn_cache import ROLE as BN_ROLE
        from cache.bn_cache import BNCacheWriter, bn_boards
        from cache.layout import State
        from cache.pm_cache import ROLE as PM_ROLE
        from cache.pm_cache import PMCacheWriter, pm_boards
        from cache.segment import WriterSegment

        self.jumps_ms = [0, HOUR_MS, -HOUR_MS] if options.how == "jump" else [0]
        is_pm = options.record == "pair_bbo"
        boards, role = (pm_boards(), PM_ROLE) if is_pm else (bn_boards(), BN_ROLE)
        self.segment = WriterSegment.create(role, boards, namespace=options.namespace)
        self._board = self.segment.board(options.record)
        self._pm = PMCacheWriter(self.segment, wall=self.wall_ns) if is_pm else None
        self._bn = None if is_pm else BNCacheWriter(self.segment, "BTCUSDT")
        self.segment.set_state(State.RUN)

    def wall_ns(self) -> int:
        return time.time_ns() + self.jumps_ms[self.seq % len(self.jumps_ms)] * 10**6

    @property
    def seq(self) -> int:
        return self._board.version(0)

    def publish(self) -> int:
        seq = self.seq + 1
        if self._pm is not None:
            return self._pm.update_from_ws(*tops_of(seq), MARKET, YES, NO)
        assert self._bn is not None
        return self._bn.update_from_poll(answer_of(seq, self.wall_ns() // 10**6))


def cache_writer(options: argparse.Namespace, twin: Any) -> None:
    """Publish without rest (or with a pause), until asked to end; `--how once` a single time."""
    from tests.system.memory_actor import Asked, break_rules, say

    asked = Asked()
    break_rules(options, twin, options.linger)
    published = Published(options)
    if options.how == "once":
        before_ns = time.monotonic_ns()
        seq = published.publish()
        say(seq=seq, before_ns=before_ns, after_ns=time.monotonic_ns())
        while not asked.to_end:
            time.sleep(0.01)
        return
    begun = published.seq
    published.publish()
    say(ready=True, seq=begun)
    pause_s = options.pause_us / 1e6
    while not asked.to_end:
        published.segment.heartbeat(time.monotonic_ns())
        for _ in range(1 if pause_s else 256):
            assert published.publish() == published.seq
        if pause_s:
            time.sleep(pause_s)
    say(published=published.seq - begun, seq=published.seq)


def attach(options: argparse.Namespace) -> Any:
    """The reader of either cache."""
    from cache.bn_cache import BNCache
    from cache.pm_cache import PMCache

    if options.record == "pair_bbo":
        return PMCache.attach(MARKET, namespace=options.namespace)
    return BNCache.attach("BTCUSDT", namespace=options.namespace)


def boards_of(cache: Any) -> list[Any]:
    """The boards that a cache reads its snapshots from."""
    store = getattr(cache, "_store", None)
    reads = [store._read] if store is not None else [cache._read, cache._features_read]
    return [read.__self__ for read in reads]


def cache_reader(options: argparse.Namespace, twin: Any) -> None:
    """Read without rest, and count what is not what its number says."""
    from tests.system.memory_actor import Asked, break_rules, mutate_reader, say

    asked = Asked()
    break_rules(options, twin, options.linger)
    cache = attach(options)
    boards = [mutate_reader(options, board) for board in boards_of(cache)]
    reads = distinct = torn = backward = nothing = bare = ages = 0
    last, evidence = 0, []
    say(ready=True)
    until = time.monotonic() + options.seconds
    # Who lingers goes on until a copy was overtaken: on a busy host the writer may stand meanwhile.
    until_overtaken = until + OVERTAKEN_SECONDS if options.linger and not options.mutant else until
    while not asked.to_end and not (options.mutant and torn):
        now = time.monotonic()
        if now >= until and (now >= until_overtaken or any(one.retry_count for one in boards)):
            break
        for _ in range(64):
            snapshot, seq = cache.get_latest()
            reads += 1
            if snapshot is None:
                nothing += 1
                continue
            backward += seq < last or cache.get_seq() < seq
            distinct += seq != last
            last = seq
            if not is_of(snapshot, seq):
                torn += 1
                evidence = [*evidence, repr((snapshot, seq))][:3]
            bare += snapshot.meta.source == "BN" and snapshot.return_1m_e9 is None
            age_ms = snapshot.meta.age_ms(time.monotonic_ns() // 10**6)
            ages += not 0 <= age_ms < 600_000
    say(
        reads=reads, distinct=distinct, torn=torn, backward=backward, nothing=nothing, bare=bare,
        odd_ages=ages, seq=last, evidence=evidence,
        retries=sum(board.retry_count for board in boards),
    )  # fmt: skip


def cache_watcher(options: argparse.Namespace, twin: Any) -> None:
    """Look at the age every few milliseconds; after a gap in its own life, say what it found."""
    from tests.system.memory_actor import Asked, say

    asked = Asked()
    cache = attach(options)
    last_ms = time.monotonic_ns() // 10**6
    say(ready=True)
    while not asked.to_end:
        now_ms = time.monotonic_ns() // 10**6
        age_ms, is_stale = cache.get_age_ms(now_ms), cache.is_stale(now_ms)
        if now_ms - last_ms > 300:
            say(gap_ms=now_ms - last_ms, age_ms=age_ms, is_stale=is_stale, now_ms=now_ms)
        last_ms = now_ms
        time.sleep(0.005)
    say(age_ms=age_ms, is_stale=is_stale)


PARTS = (cache_writer, cache_reader, cache_watcher)
