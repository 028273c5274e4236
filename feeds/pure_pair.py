"""The hot path of a market in pure Python: the twin of the C core (`_pair.c`), with its results.

`PairState` keeps both tokens' books and the numbers of the market's newest record. `take_changes`
is the inner loop of the feed: apply, compare, publish. It does the common case whole and tells
`feeds/pair.py`, which derives from it on either twin, of every other. It reads the clock only to
stamp a record.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

from cache.board import BoardWriter
from cache.layout import Proof
from feeds.polymarket_wire import Change, Message
from feeds.pure_book import FIRST_AGREES, SECOND_AGREES, Levels, apply_changes
from feeds.text_numbers import parse_time_ns
from venue.decimals import E9

BEST_PRICES = int(Proof.BEST_PRICES)

PUBLISHED, OUTDATED = 16, 32
"""Of `PairState` besides: they were published; they were older than a whole book, not applied."""


class PairState:
    """Both books of a market, and the numbers of its newest record.

    `is_plain`: the books are in no special state. `is_mirrored`: only the first has a whole book,
    and is shown as both. `is_unsent`: its depth is still to be published. `snapshot_ns`: the
    venue's time of the newest whole book.
    """

    __slots__ = (
        "_board",
        "_time_ns",
        "_time_text",
        "batch",
        "first",
        "held_ns",
        "is_mirrored",
        "is_plain",
        "is_unsent",
        "last_px_e9",
        "proof",
        "proven_ns",
        "publish_ns",
        "recv_ns",
        "second",
        "slot",
        "snapshot_ns",
        "tick_e9",
        "venue_ts_ns",
    )

    def begin(self, first: Levels, second: Levels, slot: int, board: BoardWriter, /) -> None:
        """Set everything to nothing yet; this comes first."""
        self.first, self.second, self.slot, self._board = first, second, slot, board
        self._time_text: str | None = None
        self._time_ns = 0
        self.batch = self.tick_e9 = self.last_px_e9 = self.proof = 0
        self.recv_ns = self.publish_ns = self.venue_ts_ns = 0
        self.held_ns = self.proven_ns = self.snapshot_ns = 0
        self.is_plain = self.is_mirrored = self.is_unsent = False

    def take_changes(self, message: Message, recv_ns: int, /) -> int:
        """Apply a price_change, and publish it where nothing speaks against: the hot path.

        ValueError tells of a number that is none, and that state may be lost.
        """
        text = message.timestamp
        if text != self._time_text:
            self._time_ns, self._time_text = parse_time_ns(text), text
        self.venue_ts_ns = self._time_ns
        if self.venue_ts_ns < self.snapshot_ns:
            return OUTDATED
        return self.apply(message.price_changes or [], recv_ns)

    def apply(self, changes: list[Change], recv_ns: int, /) -> int:
        """Apply changes, and publish both tops if the books are plain and agree."""
        first, second = self.first, self.second
        found = apply_changes(first, second, changes, self.venue_ts_ns, self.tick_e9)
        if not found:
            return 0
        self.recv_ns = recv_ns
        does_agree = found & FIRST_AGREES and (self.is_mirrored or found & SECOND_AGREES)
        if not (self.is_plain and does_agree):
            return found
        bid, ask = first.bid_px, first.ask_px
        bid_qty, ask_qty = first.bids[bid], first.asks[ask]
        if self.is_mirrored:
            no_bid, no_bid_qty, no_ask, no_ask_qty = E9 - ask, ask_qty, E9 - bid, bid_qty
        else:
            no_bid, no_ask = second.bid_px, second.ask_px
            no_bid_qty, no_ask_qty = second.bids[no_bid], second.asks[no_ask]
        self.held_ns = 0
        self.proof = BEST_PRICES
        self.proven_ns = recv_ns
        self.batch = batch = self.batch + 1
        self.publish_ns = publish_ns = monotonic_ns()
        self._board.publish(self.slot, (
            batch, 0, recv_ns, publish_ns, self.venue_ts_ns, 0, BEST_PRICES,
            bid, bid_qty, ask, ask_qty, no_bid, no_bid_qty, no_ask, no_ask_qty,
            self.last_px_e9, self.tick_e9, recv_ns, 0, 0,
        ))  # fmt: skip
        return found | PUBLISHED


class Markets:
    """Markets by their names; the core asks for their memory as soon as their frames are seen."""

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: dict[str, PairState] = {}

    def add(self, name: str, state: PairState, /) -> None:
        """Add a market by its name."""
        self._states[name] = state

    def remove(self, name: str, /) -> None:
        """Forget a market, if it is known."""
        self._states.pop(name, None)

    def find(self, name: str, /) -> Any:
        """The state of a market, or None."""
        return self._states.get(name)

    def is_ascii(self, frame: bytes | bytearray, /) -> bool:
        """Whether a frame is ASCII."""
        return frame.isascii()
