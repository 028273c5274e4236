"""The venue's wall clock: ours, or, while a recording is replayed, behind ours by its shift.

A replay leaves the frames untouched and moves the clock instead. The simulated venue writes the
shift into its segment; every process that asks what time it is at the venue follows it from its
start on. Nobody follows anything unless the embedded venue is set to replay.
"""

from __future__ import annotations

from cache.counters import Counter
from cache.errors import SegmentError
from cache.segment import ReaderSegment
from host import clock
from host.settings import Config

_WORD = 1 << 64


def to_word(behind_ns: int) -> int:
    """Write a shift, which may be negative, as the unsigned word of a counter."""
    return behind_ns % _WORD


def from_word(word: int) -> int:
    """Read a shift out of its word: the inverse of `to_word`."""
    return word - _WORD if word >> 63 else word


def behind_ns(namespace: str) -> int:
    """How far the replayed venue's clock is behind ours; 0 without a replay."""
    try:
        counters = ReaderSegment.attach("sim", namespace=namespace).counters
    except SegmentError:
        return 0
    return from_word(counters[Counter.sim_clock_behind_ns])


def is_replayed(config: Config) -> bool:
    """Whether the venue is a recording, which knows only what was recorded."""
    return config.sim.embedded and config.sim.mode == "replay"


def follow(config: Config) -> None:
    """Let this process's wall clock be the replayed venue's, if there is one."""
    if is_replayed(config):
        clock.set_behind_ns(behind_ns(config.host.namespace))
