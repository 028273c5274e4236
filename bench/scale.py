"""What size costs: publishing to ten thousand slots, and a frame among ten thousand tokens.

Slot counts are compared in interleaved rounds, in random slot order, by thread CPU time, the least
round of each. Publishing alone is one row, a frame through the feed's books another: what a board
adds and what the books add are different things. Beside them stands what a bare loop in C over as
much memory adds, in the same rounds (`bench/floor.py`). What readers add is in `bench/crowd.py`.
"""

from __future__ import annotations

import array
import gc
import os
import random
import sys
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar

from msgspec import structs

from bench import crowd, floor, frames
from bench.cache import TAG
from bench.row import Row
from bench.stack import rss_mib
from bench.stage import segment_of, values_of
from cache.layout import BBO, DEPTH, PAIR_BBO, BoardSpec, Record, place_boards
from cache.segment import WriterSegment
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import MarketChannel
from feeds.pair import Boards, Pair
from feeds.polymarket import boards
from host import config
from venue.decimals import E9

COUNTS = (10, 100, 1_000, 10_000)
BATCH, ROUNDS = 20_000, 20
FRAME_BATCH, FRAME_ROUNDS = 10_000, 10
FRAMES_EACH = 48_000
"""More than any market of a few takes in all rounds."""
BURST = 100
SPREAD = 200
"""Each market has taken up to so many frames before, so that no two books are alike."""
K = TypeVar("K", bound=Hashable)
Loop = Callable[[], int | None]
"""A loop that is timed, or one that times itself and gives nanoseconds."""


def feed_boards(token_count: int) -> tuple[BoardSpec, ...]:
    """The boards of the shipped feed with room for so many tokens."""
    settings = config.load(environ={}).feeds.polymarket
    return boards(structs.replace(settings, market_slots=token_count // 2))


def least(loops: dict[K, Loop], count: int, *, rounds: int) -> dict[K, float]:
    """Nanoseconds of one of `count` steps of each loop: the least of rounds taken in turns."""
    best = dict.fromkeys(loops, float("inf"))
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(rounds + 1):
            for size, loop in loops.items():
                begun = time.thread_time_ns()
                took = loop()
                took = time.thread_time_ns() - begun if took is None else took
                best[size] = min(best[size], took / count)
    finally:
        gc.enable()
        gc.unfreeze()
    return best


def _flatness(name: str, found: dict[int, float], unit: str) -> Row:
    first, *_, last = found
    scale = 1e3 if unit == "us" else 1
    beside = ", ".join(f"{size:,}: {ns / scale:.4g} {unit}" for size, ns in found.items())
    return Row(f"{name}, {last:,} / {first:,}", found[last] / found[first], "x", "<= 1.1", beside)


def _floors(work: floor.Work, markets: dict[int, int], steps: int) -> dict[int, floor.Floor]:
    """Bare loops over the memory of so many markets; none where there is no compiler."""
    try:
        return {size: floor.Floor(count, work, steps=steps) for size, count in markets.items()}
    except OSError as fault:
        print(f"no floor: {fault}", file=sys.stderr)
        return {}


def _with_floor(row: Row, took_ns: float, found: dict[int, float]) -> Row:
    """Say beside a row what the bare loop added, and the ratio if nothing else were added."""
    if not found:
        return row
    first, *_, last = found
    added = found[last] - found[first]
    said = f"a bare loop in C: +{added:.0f} ns, {1 + added / took_ns:.3f} x"
    return replace(row, peer=f"{row.peer}; {said}")


# --- ten thousand tokens ----------------------------------------------------------------------


def publish_row(record: Record) -> Row:
    """Publishing by the number of tokens, each time to another slot at random."""
    tokens_each = 2 if record is PAIR_BBO else 1
    publish_all: dict[int, Loop] = {}
    empty: dict[int, Loop] = {}
    values, rng = values_of(record), random.Random(1)
    specs = [BoardSpec(f"top_{size}", record, size // tokens_each, 8) for size in COUNTS]
    with segment_of(*specs) as segment:
        for size, spec in zip(COUNTS, specs, strict=True):
            board = segment.board(spec.name)
            for slot in range(spec.slot_count):
                board.assign(slot, TAG, 1)
            slots = array.array("q", (rng.randrange(spec.slot_count) for _ in range(BATCH)))
            publish_all[size] = _publisher(board.publish, slots, values)
            empty[-size] = _publisher(None, slots, values)  # Small numbers cost less to make.
        ends = {size: size for size in (COUNTS[0], COUNTS[-1]) if record is DEPTH}
        bare = _floors(floor.DEPTH, ends, BATCH)
        floors: dict[str, Loop] = {str(size): one.run for size, one in bare.items()}
        took = least(publish_all | empty | floors, BATCH, rounds=ROUNDS)
        del publish_all, board  # Their memory is the segment's.
    found = {size: took[size] - took[-size] for size in COUNTS}
    row = _flatness(f"publish {record.name} by tokens", found, "ns")
    return _with_floor(row, found[COUNTS[0]], {size: took[str(size)] for size in bare})


def _publisher(
    publish: Callable[..., int] | None, slots: array.array[int], values: tuple[int, ...]
) -> Loop:
    def run() -> None:
        for slot in slots:
            publish(slot, values)  # type: ignore[misc]

    def nothing() -> None:
        for _ in slots:
            pass

    return run if publish is not None else nothing


class Feed:
    """A channel with so many markets, their books filled, and frames of them in random order."""

    def __init__(self, segment: WriterSegment, token_count: int, case: frames.Case) -> None:
        markets = range(token_count // 2)
        self._segment = segment
        self.channel = MarketChannel(segment.counters, lambda: None)
        names = ("pair_bbo", "mids", "depth", "trades")
        pair_bbo, mids, depth, trades = (segment.board(name) for name in names)
        boards = Boards(pair_bbo, mids, depth, trades, segment.counters)
        for market in markets:
            pair = Pair(_listing(market), market, 0, boards)
            self.channel.add(pair)
            pair.on_subscribed()
            self.channel.on_frame(_of_market(case.first, market), time.monotonic_ns())
            self.channel.end_burst()
        self._frames, self._at = case.frames, [0] * len(markets)
        self._rng = random.Random(1)
        for market in markets:
            for _ in range(self._rng.randrange(SPREAD)):
                self.channel.on_frame(self._next_of(market), time.monotonic_ns())
            self.channel.end_burst()

    def run(self) -> int:
        """Take frames, counting each as a read; give the nanoseconds of taking them.

        They are made a few at a time, as a socket gives them: thousands that lie ready would be
        more memory than the books.
        """
        took = 0
        for _ in range(FRAME_BATCH // BURST):
            block = [self._next() for _ in range(BURST)]
            on_frame, end_burst, now_ns = self.channel.on_frame, self.channel.end_burst, 1
            begun = time.thread_time_ns()
            for frame in block:
                on_frame(frame, now_ns)
                end_burst()
            took += time.thread_time_ns() - begun
        return took

    def run_live(self) -> int:
        """The same with what each read of a socket costs besides: clock, histograms, bell."""
        took, ring, clock = 0, self._segment.ring, time.monotonic_ns
        for _ in range(FRAME_BATCH // BURST):
            block = [self._next() for _ in range(BURST)]
            channel = self.channel
            begun = time.thread_time_ns()
            for frame in block:
                channel.on_frame(frame, clock())
                if channel.end_burst():
                    ring()
            took += time.thread_time_ns() - begun
        return took

    def _next(self) -> bytes:
        """The next frame of a market at random."""
        return self._next_of(self._rng.randrange(len(self._at)))

    def _next_of(self, market: int) -> bytes:
        frame = self._frames[self._at[market]]  # None twice: its claims would not be the book's.
        self._at[market] += 1
        return _of_market(frame, market)


def _listing(market: int) -> MarketInfo:
    return MarketInfo(
        condition_id=_of_market(frames.MARKET.encode(), market).decode(),
        slug=f"bench-{market}",
        token_ids=(_token(0, market), _token(1, market)),
        outcomes=("Up", "Down"),
        tick_e9=E9 // 100,
        min_qty_e9=5 * E9,
        neg_risk=False,
    )


def _token(index: int, market: int) -> str:
    return f"{frames.TOKENS[index][:-6]}{market:06}"


def _of_market(frame: bytes, market: int) -> bytes:
    names = (*frames.TOKENS, frames.MARKET)
    others = (_token(0, market), _token(1, market), f"{frames.MARKET[:-6]}{market:06}")
    for name, other in zip(names, others, strict=True):
        frame = frame.replace(name.encode(), other.encode())
    return frame


def update_rows() -> list[Row]:
    """A frame of two levels, from bytes to both boards, by the number of tokens; and the memory."""
    case, most = frames.small_changes(FRAMES_EACH), COUNTS[-1]
    with segment_of(*feed_boards(most)) as segment:
        before = rss_mib(os.getpid())[1]
        feeds = {most: Feed(segment, most, case)}
        own_kib = (rss_mib(os.getpid())[1] - before) * 1024 / most
        with segment_of(*feed_boards(COUNTS[0])) as small:
            feeds[COUNTS[0]] = Feed(small, COUNTS[0], case)
            bare: dict[int, Loop] = {size: feeds[size].run for size in sorted(feeds)}
            live: dict[int, Loop] = {size: feeds[size].run_live for size in sorted(feeds)}
            ends = {size: size // 2 for size in sorted(feeds)}
            bare_c = _floors(floor.FRAME, ends, FRAME_BATCH)
            floors: dict[str, Loop] = {str(size): one.run for size, one in bare_c.items()}
            took = least(bare | floors, FRAME_BATCH, rounds=FRAME_ROUNDS)
            found_live = least(live, FRAME_BATCH, rounds=FRAME_ROUNDS)
        del feeds, bare, live
    found = {size: took[size] for size in ends}
    row = _flatness("frame of 2 levels, bytes -> boards, by tokens", found, "us")
    return [
        _with_floor(row, found[COUNTS[0]], {size: took[str(size)] for size in bare_c}),
        _flatness("the same, one frame a read, by tokens", found_live, "us"),
        Row("process memory of the feed, per token", own_kib, "KiB", "", "books of 98 levels"),
    ]


def memory_rows() -> list[Row]:
    """Shared memory per token, as the shipped feed lays its boards out; fixed at creation."""
    found = []
    for tokens in COUNTS:
        total = place_boards(feed_boards(tokens))[1]
        beside = f"{total / 2**20:,.1f} MiB in all, reserved at start, never more"
        name = f"shared memory of the feed per token, {tokens:,} tokens"
        found.append(Row(name, total / tokens / 1024, "KiB", "", beside))
    return found


def rows() -> list[Row]:
    """Measure everything of this module, and what readers cost."""
    found = [publish_row(record) for record in (PAIR_BBO, BBO, DEPTH)]
    return [*found, *update_rows(), *memory_rows(), *crowd.rows()]
