"""Recordings played as a venue: at their own pace, faster, or as fast as the clients read.

Recordings of one venue keep their places to each other (consecutive windows follow each other);
the two venues start together, whatever their dates. Frames are played untouched: the venue's clock
is shifted instead (`venue_ns`, and `describe` tells the shift), so that a process whose clock is
shifted alike finds the recorded window open. What was recorded first of all is not sent but stands
as the first books, so a subscriber is given them as the venue would.

The invariant: where a replay is follows from the clock and its shift alone, so one that is killed
and started again with the same shift goes on in the same place. A recording has no settlement
prices: the TWAP feed is empty, strikes stay unknown. One that cannot be read from the start is
refused; one that turns to junk later ends there, which is said, and what it held is played.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from host.log import get_log
from sim import recordings
from sim.binance_rules import symbol_rules
from sim.candles import candles, read_print, span
from sim.frames import BN_TICKER, BN_TRADE, SimFrame
from sim.listing import Listing
from sim.recorded_book import RecordedBooks
from sim.recordings import BINANCE, POLYMARKET
from sim.source import Json

_JUNK = (ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError)
"""What reading a recorded frame raises that is none."""

log = get_log("sim")

READ_AHEAD_MAX = 16_384
"""Frames a tape without a pace reads before anybody wants them."""
UNSETTLED_MAX = 16_384
"""Frames such a tape may have sent without having read them into its books."""
TRADES_MAX = 16_384
"""The newest trades of a symbol that are kept, for candles."""
BATCH_MAX = 1024
"""Frames given at once: a replay that is behind leaves the event loop some air."""


class Tape:
    """All recordings of one venue as one stream; `loop` begins again at the end."""

    def __init__(self, venue: str, paths: Sequence[Path], *, is_looped: bool = False) -> None:
        self.venue = venue
        self.paths = tuple(paths)
        self.is_looped = is_looped
        self.round_count = 0
        self.faults: dict[str, str] = {}
        """Why a recording ended before its end, by its name."""
        self._has_begun = False
        self._stream = self._open()
        self._ahead: deque[SimFrame] = deque()
        self._next: SimFrame | None = next(self._stream, None)
        if self._next is None:
            names = ", ".join(str(path) for path in paths)
            raise recordings.RecordingError(f"{names}: holds no frame of market data")
        self.first_ns = self._next.t_ns
        self._last_ns = self.first_ns
        self._shift_ns = 0
        self._has_begun = True

    def _open(self) -> Iterator[SimFrame]:
        streams = [self._frames(path) for path in self.paths]
        return heapq.merge(*streams, key=lambda frame: frame.t_ns)

    def _frames(self, path: Path) -> Iterator[SimFrame]:
        """Yield the frames of a recording as far as it can be read."""
        try:
            yield from recordings.frames(path)
        except recordings.RecordingError as fault:
            if not self._has_begun:
                raise
            if path.name not in self.faults:
                log.error("recording_ends_early", error=fault)
            self.faults[path.name] = str(fault)

    def span_ns(self) -> int:
        """Give the length of one round; reads the recordings through."""
        last_ns = max(frame.t_ns for path in self.paths for frame in self._frames(path))
        return last_ns - self.first_ns

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._next is None

    @property
    def position_ns(self) -> int:
        """How far the tape has run, from its first frame on."""
        return self._last_ns - self.first_ns

    def take(self, until_ns: int | None, count_max: int = BATCH_MAX) -> list[SimFrame]:
        """Take frames up to this far from the first one; with None whatever comes next."""
        taken: list[SimFrame] = []
        while self._next is not None and len(taken) < count_max:
            at_ns = self._next.t_ns + self._shift_ns
            if until_ns is not None and at_ns - self.first_ns > until_ns:
                break
            taken.append(self._next)
            self._last_ns = at_ns
            ahead = self._ahead
            self._next = ahead.popleft() if ahead else next(self._stream, None) or self._rewind()
        return taken

    def read_ahead(self, count: int) -> None:
        """Read some frames while there is time; `take` then finds them in memory."""
        for _ in range(min(count, READ_AHEAD_MAX - len(self._ahead))):
            frame = next(self._stream, None)
            if frame is None:
                return
            self._ahead.append(frame)

    def _rewind(self) -> SimFrame | None:
        if not self.is_looped:
            return None
        self.round_count += 1
        # A second of silence between the rounds: no two frames at one moment by accident.
        self._shift_ns = self._last_ns - self.first_ns + 1_000_000_000
        self._stream = self._open()
        return next(self._stream, None)


def _new_trades() -> deque[bytes]:
    return deque(maxlen=TRADES_MAX)


class ReplaySource:
    """A venue made of recordings. `speed_ratio` 0 is as fast as the clients read."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        speed_ratio: float = 1.0,
        is_looped: bool = False,
        is_mirrored: bool = True,
    ) -> None:
        by_venue: dict[str, list[Path]] = {}
        for path in paths:
            by_venue.setdefault(recordings.venue_of(path), []).append(path)
        self.tapes = {
            venue: Tape(venue, chosen, is_looped=is_looped)
            for venue, chosen in sorted(by_venue.items())
        }
        self.speed_ratio = speed_ratio
        self._is_mirrored = is_mirrored
        self.shift_ns = 0
        """What is added to the wall clock at the start to get the recorded time."""
        self._start_ns = 0
        self._is_resumed = False
        self._books = RecordedBooks()
        self._has_junk = False
        self._unsettled: deque[SimFrame] = deque()
        self._tickers: dict[str, bytes] = {}
        self._trades: defaultdict[str, deque[bytes]] = defaultdict(_new_trades)
        self._listing = Listing(by_venue.get(POLYMARKET, ()))
        lead = self.tapes.get(POLYMARKET) or self.tapes[BINANCE]
        self._lead_ns = lead.first_ns
        for tape in self.tapes.values():
            # What stands at the first moment is the first books, not an event.
            self._apply(tape.take(0))

    @property
    def is_paced(self) -> bool:
        """Whether the clock, and not the clients, says when frames are due."""
        return self.speed_ratio > 0

    def start(self, wall_ns: int) -> None:
        if not self._is_resumed:
            self.shift_ns = self._lead_ns - wall_ns
        # The moment of the wall clock at which the recordings begin.
        self._start_ns = self._lead_ns - self.shift_ns

    def resume(self, behind_ns: int, wall_ns: int) -> None:
        """Go on where a replay that was killed would be now, unless it would be over."""
        elapsed_ns = int((wall_ns - behind_ns - self._lead_ns) * (self.speed_ratio or 1.0))
        is_looped = any(tape.is_looped for tape in self.tapes.values())
        if not self.is_paced or not behind_ns or elapsed_ns < 0:
            return
        if is_looped or elapsed_ns < max(tape.span_ns() for tape in self.tapes.values()):
            self.shift_ns, self._is_resumed = -behind_ns, True

    def venue_ns(self, wall_ns: int) -> int:
        ratio = self.speed_ratio or 1.0
        return self._lead_ns + int((wall_ns - self._start_ns) * ratio)

    def due(self, wall_ns: int) -> Sequence[SimFrame]:
        if not self.is_paced:
            return ()
        until_ns = self.venue_ns(wall_ns) - self._lead_ns
        streams = [self.pull(venue, until_ns) for venue in self.tapes]
        if len(streams) == 1:
            return streams[0]
        timed = [
            [(frame.t_ns - tape.first_ns, frame) for frame in stream]
            for tape, stream in zip(self.tapes.values(), streams, strict=True)
        ]
        return [frame for _, frame in heapq.merge(*timed, key=lambda item: item[0])]

    def pull(self, venue: str, until_ns: int | None, count_max: int = BATCH_MAX) -> list[SimFrame]:
        """Take frames of one venue, and what they say of an unseen half, in order."""
        return self._apply(self.tapes[venue].take(until_ns, count_max))

    def _apply(self, frames: list[SimFrame]) -> list[SimFrame]:
        """Keep what the frames say; add mirrored ones behind theirs."""
        out: list[SimFrame] = []
        for frame in frames:
            out.append(frame)
            if frame.channel == BN_TICKER:
                self._tickers[frame.key[0]] = frame.payload
            elif frame.channel == BN_TRADE:
                self._trades[frame.key[0]].append(frame.payload)
            elif frame.key and not frame.channel.startswith("bn."):
                if not self.is_paced and not self._is_mirrored:
                    self._unsettled.append(frame)
                    continue
                mirrored = self._keep(frame)
                if mirrored is not None:
                    out.append(mirrored)
        self._settle(len(self._unsettled) - UNSETTLED_MAX)
        return out

    def _settle(self, count: int) -> None:
        """Read frames that were sent into the books: at full speed that is put off."""
        for _ in range(count):
            self._keep(self._unsettled.popleft())

    def _keep(self, frame: SimFrame) -> SimFrame | None:
        """Take what a frame says; give what it says of an unseen half, if that is mirrored.

        One that is junk is sent as it was recorded, and says nothing of the books.
        """
        try:
            self._books.apply(frame)
            return self._books.mirrored_frame(frame) if self._is_mirrored else None
        except _JUNK as fault:
            if not self._has_junk:
                self._has_junk = True
                log.error("recorded_frame_unreadable", t_ns=frame.t_ns, error=repr(fault))
            return None

    def use_idle_time(self, venue: str, count: int) -> None:
        """Do what was put off, or is to come, while the clients are busy or none is there."""
        self.tapes[venue].read_ahead(count)
        if venue == POLYMARKET:
            self._settle(min(count, len(self._unsettled)))

    def book(self, token: str) -> bytes | None:
        self._settle(len(self._unsettled))
        try:
            book = self._books.book(token)
            if book is None and self._is_mirrored:
                original = self._listing.original_of(token)
                book = self._books.mirrored_book(original) if original else None
        except _JUNK:
            return None  # Its last frame was junk, as was said, or is read only now.
        return book

    def market_by_slug(self, slug: str) -> Json | None:
        return self._listing.by_slug(slug)

    def market_by_id(self, identity: str) -> Json | None:
        return self._listing.by_id(identity)

    def event_by_slug(self, slug: str) -> Json | None:
        market = self._listing.by_slug(slug)
        return self._listing.event_of(market) if market else None

    def twap_points(self, symbol: str, window_seconds: int, count: int) -> Sequence[Json]:
        return ()

    def book_ticker(self, symbol: str) -> bytes | None:
        return self._tickers.get(symbol)

    def depth(self, symbol: str, limit: int) -> Json | None:
        return None  # Recorded diffs begin without a snapshot: what they change is not known.

    def candles(
        self, symbol: str, limit: int, *, start_s: int | None = None, end_s: int | None = None
    ) -> list[list[object]] | None:
        if symbol not in self._tickers:
            return None
        prints = [read_print(payload) for payload in self._trades.get(symbol, ())]
        if not prints:
            return []
        return candles(prints, span(prints[-1].time_ms // 1000, limit, start_s, end_s))

    def rules(self, symbol: str) -> Json | None:
        return symbol_rules(symbol) if symbol in self._tickers else None

    def symbols(self) -> tuple[str, ...]:
        return tuple(symbol for symbol in self._tickers if symbol_rules(symbol) is not None)

    def describe(self, wall_ns: int) -> Json:
        return {
            "mode": "replay",
            "speed_ratio": self.speed_ratio,
            "clock_behind_ns": wall_ns - self.venue_ns(wall_ns),
            "tapes": {
                venue: {
                    "files": [path.name for path in tape.paths],
                    "position_s": round(tape.position_ns / 1e9, 3),
                    "is_over": tape.is_over,
                    "round_count": tape.round_count,
                    "faults": tape.faults,
                }
                for venue, tape in self.tapes.items()
            },
        }
