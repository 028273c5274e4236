"""A look at the model venue without starting anything: what it sends, how often, at what cost.

    python -c "from sim.quick_check import report; print(report())"

It only counts; whether the frames are right is what the tests say.
"""

from __future__ import annotations

import time
from collections import Counter
from statistics import median

from sim.frames import PM_MARKET, SimFrame
from sim.model import Model
from sim.params import ModelParams

_NS = 1_000_000_000
_STEP_NS = 10_000_000


def kind_of(frame: SimFrame) -> str:
    """Name what a frame is: its channel, on the market channel with the event type."""
    if frame.channel != PM_MARKET:
        return frame.channel
    for part in (b'"event_type":"', b'"event_type": "'):
        at = frame.payload.rfind(part)
        if at >= 0:
            start = at + len(part)
            end = frame.payload.index(b'"', start)
            return f"{frame.channel} {frame.payload[start:end].decode()}"
    return frame.channel


def report(
    seed: int = 1,
    *,
    start_s: int = 1_790_000_090,
    length_s: int = 330,
    params: ModelParams | None = None,
) -> str:
    """Run a model in small steps and return a table of what it sent."""
    begun = time.perf_counter()
    model = Model(seed, start_s * _NS, params)
    built_s = time.perf_counter() - begun
    counts: Counter[str] = Counter()
    size, spreads, start_ns = 0, [], start_s * _NS
    spent = time.process_time()
    for step in range(length_s * _NS // _STEP_NS):
        for frame in model.advance(start_ns + (step + 1) * _STEP_NS):
            counts[kind_of(frame)] += 1
            size += len(frame.payload)
        if step % 100 == 0:
            top = model.running_top()
            spreads += [] if top is None else [(top.ask - top.bid) / 1000]
    spent = time.process_time() - spent
    lines = [f"{kind:32} {n:8} {n / length_s:8.2f}/s" for kind, n in sorted(counts.items())]
    lines += [
        f"{'bytes':32} {size:8} {size / length_s / 1000:8.2f} kB/s",
        f"{'spread of the running window':32} {median(spreads) if spreads else 0:8} median",
        f"{'cpu of one core':32} {100 * spent / length_s:8.2f} %",
        f"{'made from nothing in':32} {built_s:8.2f} s",
        f"{'markets':32} {' '.join(model.slugs)}",
    ]
    return "\n".join(lines)
