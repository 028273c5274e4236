"""The numbers that stand in headers and records for words; a value is never given a second time.

Part of the layout: `cache/layout.py` passes these names on, and shm_layout.md lists them.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class State(IntEnum):
    """What a writer says of itself, in its segment's header."""

    BOOT = 1
    RUN = 2
    HALT = 3
    FAIL = 4
    RETIRED = 5


class Flag(IntFlag):
    """Bits of the `flags` field; in `PairBbo`, of `yes_flags` and `no_flags` too."""

    WARMUP = 1 << 0
    SUSPECT = 1 << 1
    NO_BID = 1 << 2
    NO_ASK = 1 << 3
    CROSSED = 1 << 4
    RESYNC = 1 << 5
    RESOLVED = 1 << 6


class Proof(IntEnum):
    """What last proved a book: the `proof` field."""

    NONE = 0
    SNAPSHOT = 1
    BEST_PRICES = 2
    HASH = 3
    VENUE_SEQ = 4
    WITNESS = 5


class Side(IntEnum):
    """Order and trade side; a trade's is the taker's."""

    NONE = 0
    BUY = 1
    SELL = 2


class Provenance(IntEnum):
    """Where a strike comes from, worst first (protocols: the venue publishes it late)."""

    UNKNOWN = 0
    PROXY = 1
    STREAM = 2
    OFFICIAL = 3


class SettlementType(IntEnum):
    """How a market pays out."""

    NONE = 0
    TWAP = 1
    CANDLE = 2


class Outcome(IntEnum):
    """Which token of a market won."""

    UNKNOWN = 0
    YES = 1
    NO = 2


class OrderState(IntEnum):
    """Where an order stands; PENDING and UNKNOWN count as risk."""

    NONE = 0
    PENDING = 1
    WORKING = 2
    CANCELLING = 3
    FILLED = 4
    CANCELLED = 5
    REJECTED = 6
    DENIED = 7
    UNKNOWN = 8


class Reason(IntEnum):
    """Why a strategy quotes, or does not."""

    QUOTING = 0
    NO_MARKET = 1
    NO_BOOK = 2
    NO_REFERENCE = 3
    NO_STRIKE = 4
    NO_VOLATILITY = 5
    UNTRUSTED_BOOK = 6
    UNTRUSTED_REFERENCE = 7
    OUTSIDE_WINDOW = 8
    LIMIT = 9
    NO_EDGE = 10
    HALTED = 11


class ProcessPhase(IntEnum):
    """Where a supervised process stands."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    BACKOFF = 3
    FAILED = 4
