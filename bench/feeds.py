"""What a Polymarket frame costs: bytes, both books, `PairBbo` published; beside a peer in one run.

Everything runs in this process and on real boards; no socket is part of it (`bench/sockets.py` has
those). Rounds of ours, of the bare parsers and of the peer take turns, and the least round of each
is compared: other work on the machine only ever adds. The table of sizes, which the pure twin of
the books has, is emptied before each round: the same frames come again, as they do not at a venue.
"""

from __future__ import annotations

import gc
import tempfile
import time
import uuid
from collections.abc import Callable
from statistics import median

import orjson

from bench import frames
from bench.frames import Case
from bench.peers import environment
from bench.row import Row
from cache.layout import DEPTH, PAIR_BBO, TRADE, BoardSpec
from cache.segment import WriterSegment
from feeds.core import core
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import MarketChannel
from feeds.pair import Boards, Pair
from feeds.polymarket_wire import parse
from feeds.text_numbers import SIZES
from venue.decimals import E9, format_e9

SPECS = (
    BoardSpec("pair_bbo", PAIR_BBO, 64, 8),
    BoardSpec("mids", PAIR_BBO, 64, 128),
    BoardSpec("depth", DEPTH, 128, 8),
    BoardSpec("trades", TRADE, 1, 4096),
)
ROUNDS = 15
TARGETS = {"changes_2": "<= 3.5", "changes_recorded": "<= 18", "book_recorded": "<= 40"}


class Ours:
    """A channel with the one market of a case, on boards in shared memory."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.segment = WriterSegment.create(
            "feed", SPECS, namespace=f"bench-{uuid.uuid4().hex[:8]}"
        )
        self.channel = MarketChannel(self.segment.counters, lambda: None)
        self.pair = self._pair()
        self.channel.add(self.pair)
        self.pair.on_subscribed()

    def _pair(self) -> Pair:
        case = self.case
        info = MarketInfo(
            condition_id=case.market,
            slug="bench",
            token_ids=case.tokens,
            outcomes=("Up", "Down"),
            tick_e9=E9 // 100,
            min_qty_e9=5 * E9,
            neg_risk=False,
        )
        return Pair(info, 0, 0, self._boards())

    def _boards(self) -> Boards:
        board, counters = self.segment.board, self.segment.counters
        pair_bbo, mids, depth, trades = (board(spec.name) for spec in SPECS)
        return Boards(pair_bbo, mids, depth, trades, counters)

    def close(self) -> None:
        self.segment.close(remove=True)

    def _reset(self) -> None:
        self.channel.on_frame(self.case.first, time.monotonic_ns())
        self.channel.end_burst()
        SIZES.clear()

    def run(self) -> int:
        """Take every frame as of one read of the socket; give the nanoseconds of all."""
        self._reset()
        on_frame, recv_ns = self.channel.on_frame, time.monotonic_ns()
        began = time.thread_time_ns()
        for frame in self.case.frames:
            on_frame(frame, recv_ns)
        took = time.thread_time_ns() - began
        self.channel.end_burst()
        return took

    def run_singly(self) -> int:
        """The same with a read of its own for each: clock, counters, histograms, bell."""
        self._reset()
        channel, ring, clock = self.channel, self.segment.ring, time.monotonic_ns
        began = time.thread_time_ns()
        for frame in self.case.frames:
            channel.on_frame(frame, clock())
            if channel.end_burst():
                ring()
        return time.thread_time_ns() - began

    def tops(self) -> dict[str, list[str]]:
        """The best prices it ends with, as the peer tells its own."""
        found = zip(self.case.tokens, (self.pair.first, self.pair.second), strict=True)
        return {
            token: [
                f"{float(format_e9(px)):.2f}" if 0 < px < E9 else "None"
                for px in (book.bid_px, book.ask_px)
            ]
            for token, book in found
            if book.is_ready
        }


def _timed(call: Callable[[bytes], object], timed: list[bytes]) -> int:
    began = time.thread_time_ns()
    for frame in timed:
        call(frame)
    return time.thread_time_ns() - began


def measure(case: Case, worker: environment.Worker | None) -> dict[str, list[float]]:
    """Give microseconds a frame of every round, by who."""
    ours, count = Ours(case), len(case.frames)
    found: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\n".join((case.first, *case.frames)))
        file.flush()
        if worker is not None:
            worker.ask(path=file.name, market=case.market, tokens=case.tokens)
        gc.collect()
        gc.freeze()
        try:
            for _ in range(ROUNDS):
                turns = {
                    "ours": ours.run(),
                    "singly": ours.run_singly(),
                    "orjson": _timed(orjson.loads, case.frames),
                    "parse": _timed(parse, case.frames),
                }
                if worker is not None:
                    for who, quotes in (("nautilus", False), ("nautilus_quotes", True)):
                        answer = worker.ask(quotes=quotes)
                        turns[who] = answer["ns"]
                        _compare(ours.tops(), answer["tops"])
                for who, ns in turns.items():
                    found.setdefault(who, []).append(ns / count / 1e3)
        finally:
            gc.unfreeze()
            ours.close()
    return found


def _compare(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> None:
    """Both must have done the same work."""
    for token in ours.keys() & theirs.keys():
        if ours[token] != theirs[token]:
            raise RuntimeError(f"other best prices than the peer: {ours[token]}, {theirs[token]}")


def cases() -> dict[str, Case]:
    """Every case there are frames for, by its key in TARGETS."""
    found = {"changes_2": frames.small_changes()}
    folder = frames.recordings()
    if folder is not None:
        changes, books = folder / frames.RECORDED_CHANGES, folder / frames.RECORDED_BOOKS
        found["changes_recorded"] = frames.recorded(changes, "recorded price_change")
        found["book_recorded"] = frames.recorded(books, "recorded book")
    return found


def _case_rows(key: str, case: Case, found: dict[str, list[float]]) -> list[Row]:
    best = {who: min(values) for who, values in found.items()}
    name = f"{case.name} ({case.level_count:.1f} levels)"
    parsing = f"parse alone {best['parse']:.2f}, orjson {best['orjson']:.2f}"
    twin = "C core" if core is not None else "pure Python"
    beside = f"{twin}; {parsing}; median {median(found['ours']):.2f}"
    rows = [
        Row(f"{name}: bytes -> PairBbo", best["ours"], "us", TARGETS[key], beside),
        Row(f"{name}: the same, one frame a read", best["singly"], "us", ""),
    ]
    peers = {"nautilus": "NautilusTrader 1.221", "nautilus_quotes": "the same and its QuoteTicks"}
    for who, peer in peers.items():
        value, beside = best.get(who), environment.HINT
        if value is not None:
            pairs = zip(found["ours"], found[who], strict=True)
            ratio = median(theirs / ours for ours, theirs in pairs)
            beside = f"{ratio:.1f} times ours (median of {ROUNDS} interleaved rounds)"
        rows.append(Row(f"{name}: {peer}", value, "us", "peer", beside))
    return rows


def rows() -> list[Row]:
    """Measure every case, beside the peer where its environment was made."""
    found: list[Row] = []
    if environment.is_installed():
        with environment.Worker("nautilus_worker.py") as worker:
            for key, case in cases().items():
                found += _case_rows(key, case, measure(case, worker))
    else:
        for key, case in cases().items():
            found += _case_rows(key, case, measure(case, None))
    if frames.recordings() is None:
        for key in ("changes_recorded", "book_recorded"):
            hint = "not measured: PENSTOCK_RECORDINGS names no folder of recordings"
            found.append(Row(key, None, "us", TARGETS[key], hint))
    return found
