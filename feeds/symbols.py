"""What both ways to a reference price share: the boards, the symbols on them, and the timer.

The stream (`feeds/binance.py`) and the poller (`feeds/poller.py`) are one role and one segment, so
that whoever reads it need not know which of them writes. Only one of them runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from cache.instruments import listing
from cache.layout import BBO, DEPTH, E9, FEATURES, INSTRUMENT, SAMPLE, TRADE, BoardSpec
from cache.segment import ReaderSegment, WriterSegment
from feeds.binance_slot import Boards, SymbolSlot
from feeds.features import VolatilityParams
from host.clock import monotonic_ns
from host.settings import BinanceFeed as Settings

ROLE: Final = "feed.binance.0"
CELL_COUNT: Final = 8
SAMPLE_CELL_COUNT: Final = 128
TRADE_CELL_COUNT: Final = 4096
LATE_NS: Final = 250_000_000
"""A timer this late does not sample: the mid is not that of the second any more."""

Slot = TypeVar("Slot", bound=SymbolSlot)


def boards(settings: Settings) -> tuple[BoardSpec, ...]:
    """The boards of the segment."""
    count = settings.symbol_slots
    return (
        BoardSpec("instruments", INSTRUMENT, count, 4),
        BoardSpec("bbo", BBO, count, CELL_COUNT),
        BoardSpec("depth", DEPTH, count, CELL_COUNT),
        BoardSpec("features", FEATURES, count, CELL_COUNT),
        BoardSpec("samples", SAMPLE, count, SAMPLE_CELL_COUNT),
        BoardSpec("trades", TRADE, 1, TRADE_CELL_COUNT),
    )


def open_slots(segment: WriterSegment, settings: Settings, kind: type[Slot]) -> dict[str, Slot]:
    """Take over the slots of the symbols."""
    names = ("bbo", "features", "samples", "trades")
    places = Boards(*(segment.board(name) for name in names))
    params = VolatilityParams(
        settings.volatility_half_life_s,
        settings.volatility_floor_bps,
        settings.volatility_jump_z,
        settings.volatility_jump_half_life_s,
    )
    return {
        symbol: kind(symbol, index, places, segment.counters, params=params)
        for index, symbol in enumerate(settings.symbols)
    }


def recall(slots: Iterable[SymbolSlot], namespace: str, now_ns: int) -> None:
    """Have the slots go on from what their predecessors sampled, and show that they are there."""
    samples = ReaderSegment.attach(ROLE, namespace=namespace).board("samples")
    for slot in slots:
        slot.recall(samples, now_ns)
        slot.publish_now(now_ns)


def list_symbols(segment: WriterSegment, slots: Iterable[SymbolSlot], now_ns: int) -> None:
    """Publish the directory: symbol by slot."""
    board = segment.board("instruments")
    for slot in slots:
        board.assign(slot.slot, slot.tag, slot.generation)
        values = listing(
            recv_ns=now_ns,
            publish_ns=now_ns,
            id=slot.symbol.encode(),
            tick_e9=slot.rules.tick_e9,
            lot_e9=slot.rules.lot_e9,
            min_qty_e9=slot.rules.min_qty_e9,
        )
        board.publish(slot.slot, values)
    segment.bump_epoch()


def next_due(last_ns: int, now_ns: int, interval_ns: int) -> int:
    """The next whole multiple of the interval: one after the last, as long as the clock goes on.

    Timers may fire a little early; the instant that has been served is not served again.
    """
    following_ns = (now_ns // interval_ns + 1) * interval_ns
    if 0 <= last_ns - now_ns < interval_ns:
        return last_ns + interval_ns
    return following_ns


async def on_time(
    interval_ms: int, wall: Callable[[], int], tick: Callable[[int, int, int], None]
) -> None:
    """Call `tick(now_ns, due_wall_ns, late_ns)` on whole fractions of the wall-clock second."""
    interval_ns, due_ns = interval_ms * 10**6, 0
    while True:
        due_ns = next_due(due_ns, wall(), interval_ns)
        delay_ns = due_ns - wall()
        expected_ns = monotonic_ns() + delay_ns
        await asyncio.sleep(delay_ns / E9)
        now_ns = monotonic_ns()
        tick(now_ns, due_ns, now_ns - expected_ns)
