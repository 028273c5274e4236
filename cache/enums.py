"""The numbers that stand in headers and records for words; a value is never given a second time.

Part of the layout: `cache/layout.py` passes these names on, and shm_layout.md lists them, each with
the sentence below it (`cache/page.py` reads it here).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TypeVar

_Kind = TypeVar("_Kind", bound=IntEnum)


def word_of(kind: type[_Kind], number: int) -> _Kind | None:
    """Give the word that a number read from memory stands for; None where it stands for none."""
    try:
        return kind(number)
    except ValueError:
        return None


class State(IntEnum):
    """What a writer says of itself, in its segment's header."""

    BOOT = 1
    """It starts: its records may still be those of the one before it."""

    RUN = 2
    """It works: its loop turns and it publishes."""

    HALT = 3
    """It was asked to stop and has stopped in order."""

    FAIL = 4
    """A fault of its own ended it."""

    RETIRED = 5
    """This file is no longer the role's: let go of it and attach again."""


class Flag(IntFlag):
    """Bits of the `flags` field; in `PairBbo`, of `yes_flags` and `no_flags` too."""

    WARMUP = 1 << 0
    """Nothing to be trusted has come in this incarnation yet: this is older, or zero."""

    SUSPECT = 1 << 1
    """State may have been lost, or a witness contradicts it; lifted by the next proof."""

    NO_BID = 1 << 2
    """There is no bid: neither bid price nor bid size mean anything."""

    NO_ASK = 1 << 3
    """There is no ask: neither ask price nor ask size mean anything."""

    CROSSED = 1 << 4
    """The best bid is not below the best ask."""

    RESYNC = 1 << 5
    """The connection is down, behind, or owes a whole book: this is history."""

    RESOLVED = 1 << 6
    """The market is over: nothing of it will trade again."""

    LESS_BASIS = 1 << 7
    """Of a settlement with a PROXY strike: the basis is off it, so it is in the source's terms."""


class Known(IntFlag):
    """Bits of the `known` field of features: a 0 without its bit is no value."""

    RETURN_1S = 1 << 0
    """`return_1s_e9` is a value."""

    RETURN_5S = 1 << 1
    """`return_5s_e9` is a value."""

    RETURN_60S = 1 << 2
    """`return_60s_e9` is a value."""

    SHOCK_Z = 1 << 3
    """`shock_z_e9` is a value."""


class Proof(IntEnum):
    """What last proved a book: the `proof` field."""

    NONE = 0
    """Nothing proved it."""

    SNAPSHOT = 1
    """A whole book of the venue, which carries the time of the book's last change."""

    BEST_PRICES = 2
    """The best prices that the venue wrote into the frame itself."""

    HASH = 3
    """The venue's hash of the book, computed again."""

    VENUE_SEQ = 4
    """The venue's own update id, in order."""

    WITNESS = 5
    """Another source of the same venue; in a sample, the close of a candle."""


class Side(IntEnum):
    """Order and trade side; a trade's is the taker's."""

    NONE = 0
    """Not known."""

    BUY = 1
    """Buys the tagged token or symbol."""

    SELL = 2
    """Sells the tagged token or symbol."""


class Provenance(IntEnum):
    """Where a strike comes from, worst first (protocols: the venue publishes it late)."""

    UNKNOWN = 0
    """There is none yet."""

    PROXY = 1
    """Made of a reference price: an estimate."""

    STREAM = 2
    """The point of the venue's price stream for the second the window began."""

    OFFICIAL = 3
    """The price that the venue published as the strike."""


class SettlementType(IntEnum):
    """How a market pays out."""

    NONE = 0
    """Not by a price this feed follows."""

    TWAP = 1
    """By the average over the last `twap_ns` of the window against the one at its start."""

    CANDLE = 2
    """By the close of the reference's candle of the window against its open."""


class Outcome(IntEnum):
    """Which token of a market won."""

    UNKNOWN = 0
    """Not known yet, or not one of the two."""

    YES = 1
    """The first token (Yes, Up) pays 1."""

    NO = 2
    """The second token (No, Down) pays 1."""


class OrderState(IntEnum):
    """Where an order stands; PENDING and UNKNOWN count as risk."""

    NONE = 0
    """Decided, and not sent; never published."""

    PENDING = 1
    """Sent, and not answered: it may trade."""

    WORKING = 2
    """Accepted: it rests at the venue, perhaps filled in part."""

    CANCELLING = 3
    """A cancel was sent and not confirmed: it may still trade."""

    FILLED = 4
    """Filled wholly; the end."""

    CANCELLED = 5
    """Gone from the venue, not filled wholly; the end, but for fills reported late."""

    REJECTED = 6
    """Refused by the venue; the end."""

    DENIED = 7
    """Refused by the executor's own limits and never sent; the end."""

    UNKNOWN = 8
    """Its fate is not known: it may trade until the venue is found to hold it or not."""


class Reason(IntEnum):
    """Why a strategy quotes, or does not."""

    QUOTING = 0
    """It quotes."""

    NO_MARKET = 1
    """The feed lists the market no longer."""

    NO_BOOK = 2
    """The market has no book to be read, or no tick size."""

    NO_REFERENCE = 3
    """The reference has no price, or none to compare with the settlement price."""

    NO_STRIKE = 4
    """The strike is not known well enough, or the market is none with a strike."""

    NO_VOLATILITY = 5
    """There are too few samples behind the volatility."""

    UNTRUSTED_BOOK = 6
    """The market's book must not be quoted on now."""

    UNTRUSTED_REFERENCE = 7
    """The reference must not be quoted on now."""

    OUTSIDE_WINDOW = 8
    """The window is not open yet, too near its end, or over."""

    LIMIT = 9
    """A limit of price, size or position leaves nothing to quote."""

    NO_EDGE = 10
    """Model and market disagree by more than is believed."""

    HALTED = 11
    """The strategy starts, stops, or wakes from a suspended host."""

    NO_POSITION = 12
    """What is held is not known: the executor does not live or has not said."""

    WARMING_UP = 13
    """The strategy has just started: too few of the listed tokens have a book yet."""

    DISABLED = 14
    """A token of the market had no book when the warmup ended: it is left out for the session."""


class ProcessPhase(IntEnum):
    """Where a supervised process stands."""

    STOPPED = 0
    """Not started yet, or stopped on purpose."""

    STARTING = 1
    """Spawned; it has not said RUN."""

    RUNNING = 2
    """It said RUN, and is watched."""

    BACKOFF = 3
    """It ended by itself, and is started again after a delay."""

    FAILED = 4
    """It ended too often, or cannot run as configured: left alone."""


ENUMS: tuple[type[IntEnum] | type[IntFlag], ...] = (
    State, Flag, Known, Proof, Side, Provenance, SettlementType, Outcome, OrderState, Reason,
    ProcessPhase,
)  # fmt: skip
"""All of them, in the order of the page."""
