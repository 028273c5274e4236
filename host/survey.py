"""Reads the memory of one namespace into plain rows: what `status`, `top` and the live view show.

It attaches read-only, asks no process anything, and shows the dead as well as the living. A
segment that cannot be read is a row with its error, never a hole. Prices stay integers in 1e-9;
`host/show.py` makes text of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

from cache import segment as segments
from cache.bn_cache import BNCache
from cache.board import Miss, Snapshot
from cache.book_store import BookStore
from cache.errors import PenstockError
from cache.gate import Witness
from cache.instruments import Directory
from cache.layout import Flag, OrderState, Outcome, ProcessPhase, Provenance, Reason, Side, word_of
from cache.liveness import Liveness
from cache.pm_cache import PMCache
from cache.segment import ReaderSegment
from cache.snapshots import BNSnapshot, PMBookSnapshot
from host.clock import NS_PER_MS, monotonic_ns
from host.figures import latencies, rest_caches, served
from host.picture import (
    BookRow,
    DepthRow,
    FillRow,
    OrderRow,
    Picture,
    PositionRow,
    ProcessRow,
    QuoteRow,
    ReferenceRow,
)
from host.roles import SUPERVISOR_ROLE
from host.trust import Judge
from host.venue_clock import behind_ns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILLS_SHOWN = 12
NAMES_KEPT = 4096
"""So many names, some days of markets, are remembered for the fills that speak of them."""

MOVE_NS = 60_000_000_000
HOLE_NS = 3_000_000_000
"""So long may the mid before a moment lie back."""

MIDS_READ = 66
"""Mids of a minute, one each second, and some to spare."""

SURVEY_NS = 1_000_000_000
"""Longest time one survey takes: so much later than its clock a record may be."""


class Survey:
    """Looks at a namespace again and again; it stays attached to what has not been replaced."""

    def __init__(
        self,
        namespace: str,
        judge: Judge | None = None,
        *,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        """Judge books as `judge` does: `Judge.of` makes one of a configuration."""
        self.namespace = namespace
        self._judge = judge or Judge()
        self._clock = clock
        self._segments: dict[str, ReaderSegment] = {}
        self._directories: dict[str, Directory] = {}
        self._stores: dict[str, BookStore] = {}
        self._now_ns = self._wall_ns = 0
        self._names: dict[int, tuple[str, str]] = {}
        """Tag of a market, token or symbol: its slug and its outcome."""

    def take(self, now_ns: int, wall_ns: int) -> Picture:
        """Read everything once."""
        self._now_ns, self._wall_ns = now_ns, wall_ns
        errors = self._attach()
        self._read_names()
        told = self._supervised()  # Of one that has no segment yet, or never made one, too.
        roles = sorted({*self._segments, *errors, *told})
        return Picture(
            namespace=self.namespace,
            wall_ns=wall_ns,
            processes=[self._process(role, told.get(role), errors.get(role, "")) for role in roles],
            books=list(self._books(now_ns, wall_ns)),
            references=list(self._references(now_ns, wall_ns)),
            depths=list(self._depths()),
            served=list(served(self._segments)),
            quotes=list(self._quotes(now_ns)),
            orders=list(self._orders(now_ns)),
            positions=list(self._positions()),
            fills=list(self._fills(now_ns)),
            counters={role: found.counters.all() for role, found in self._segments.items()},
            latencies={role: latencies(found) for role, found in self._segments.items()},
            rest_caches=list(rest_caches(self._segments)),
        )

    def _attach(self) -> dict[str, str]:
        """Attach what is there and let go of what is not; give the errors by role."""
        errors = {}
        there = segments.roles(self.namespace)
        for role in list(self._segments):
            if role not in there or not self._segments[role].is_current():
                del self._segments[role]
                self._directories.pop(role, None)
                self._stores.pop(role, None)
        for role in there:
            if role in self._segments:
                continue
            try:
                found = ReaderSegment.attach(role, namespace=self.namespace)
                for name in found.places():
                    found.board(name)
                if "instruments" in found.places():
                    self._directories[role] = Directory(found)
                    if "depth" in found.places():
                        self._stores[role] = BookStore(found)
                self._segments[role] = found
            except PenstockError as error:
                errors[role] = str(error)
        return errors

    def _read_names(self) -> None:
        """Remember whose tag is whose, beyond the life of a market: fills speak of old ones."""
        for directory in self._directories.values():
            if directory.refresh():
                for tag, listed in directory.by_tag.items():
                    self._names[tag] = (listed.slug or listed.id, listed.outcome)
                    if listed.pair_tag:
                        self._names[listed.pair_tag] = (listed.slug, "")
        if len(self._names) > NAMES_KEPT:
            self._forget()

    def _forget(self) -> None:
        """Let go of the names longest known that nobody lists any more."""
        listed = set[int]()
        for directory in self._directories.values():
            listed.update(directory.by_tag, (row.pair_tag for row in directory.by_tag.values()))
        gone = [tag for tag in self._names if tag not in listed]
        for tag in gone[: len(self._names) - NAMES_KEPT]:
            del self._names[tag]

    def _name(self, tag: int) -> str:
        return self._names.get(tag, (f"#{tag:016x}", ""))[0]

    def _token(self, record: Snapshot) -> tuple[str, str]:
        """Name market and token of an order or fill; by its number where nobody lists it."""
        number = {0: "first", 1: "second"}.get(record.outcome_index, "?")
        return self._names.get(record.tag, (self._name(record.pair_tag), number))

    def _process(self, role: str, board: Snapshot | None, error: str) -> ProcessRow:
        found, now_ns = self._segments.get(role), self._now_ns
        row = ProcessRow(role=role, error=error)
        if board is not None:
            row.phase = _word(ProcessPhase, board.phase)
            row.restart_count, row.exit_code = board.restart_count, board.exit_code
        if found is None:
            return row
        row.liveness = _liveness(found, now_ns).name
        row.state = _state(found)
        row.pid, row.incarnation = found.pid, found.incarnation
        row.heartbeat_age_ms = _age_ms(now_ns, found.heartbeat_ns)
        row.link_age_ms = _age_ms(now_ns, found.link_ns) if found.link_ns else None
        row.uptime_s = (now_ns - found.started_ns) / 1e9
        row.loop_count = found.loop_count
        return row

    def _supervised(self) -> dict[str, Snapshot]:
        """The supervisor's own table, by role."""
        return {row.name: row for _, row in self._rows(SUPERVISOR_ROLE, "processes")}

    def _rows(self, prefix: str, board_name: str) -> Iterator[tuple[str, Snapshot]]:
        """Every record there is on a board of the segments whose role begins with `prefix`."""
        for role, found in self._segments.items():
            if not role.startswith(prefix) or board_name not in found.places():
                continue
            board = found.board(board_name)
            for slot in range(board.slot_count):
                record = board.read(slot, 0) if board.version(slot) else Miss.NEVER
                if not isinstance(record, Miss):
                    yield role, record

    def _books(self, now_ns: int, wall_ns: int) -> Iterator[BookRow]:
        venue_ns = wall_ns - behind_ns(self.namespace)
        for role, directory in self._directories.items():
            boards = (found := self._segments[role]).places()
            if "pair_bbo" not in boards:
                continue
            # A feed of one's own has none (`PMCacheWriter`).
            settlements = found.board("settlement") if "settlement" in boards else None
            for pair in sorted(directory.pairs.values(), key=lambda p: p.window_end_ns):
                row = BookRow(market=pair.yes.slug, slot=pair.pair_slot)
                if pair.window_end_ns:
                    row.ends_s = (pair.window_end_ns - venue_ns) / 1e9
                cache = PMCache(found, pair, clock=self._latest_ns)
                top, row.version = cache.get_latest()
                row.flags = _flags(top, row.version)
                row.age_ms = cache.get_age_ms(now_ns // NS_PER_MS)
                row.is_stale = cache.is_stale(now_ns // NS_PER_MS)
                row.move_1m_e9 = _moved(cache.mids(MIDS_READ), now_ns)
                row.trust = self._trust(role, "pair_bbo", pair.pair_slot, pair.tag)
                if top is not None:
                    _fill_book(row, top)
                settled = settlements.read(pair.pair_slot, pair.tag) if settlements else Miss.NEVER
                if not isinstance(settled, Miss):
                    _fill(row, settled, ("strike_e9", "twap_e9"))
                    row.strike_provenance = _word(Provenance, settled.strike_provenance)
                yield row

    def _references(self, now_ns: int, wall_ns: int) -> Iterator[ReferenceRow]:
        venue_ns = wall_ns - behind_ns(self.namespace)
        for role, directory in self._directories.items():
            if not {"bbo", "features"} <= (found := self._segments[role]).places().keys():
                continue
            for tag, listed in directory.by_tag.items():
                slot = directory.slot_of[tag]
                row = ReferenceRow(symbol=listed.id, slot=slot)
                cache = BNCache(found, listed.id, slot, clock=self._latest_ns)
                top, row.version = cache.get_latest()
                row.flags = _flags(top, row.version)
                row.age_ms = cache.get_age_ms(now_ns // NS_PER_MS)
                row.is_stale = cache.is_stale(now_ns // NS_PER_MS)
                row.move_1m_e9 = _moved(cache.mids(MIDS_READ), venue_ns)
                row.trust = self._trust(role, "bbo", slot, tag)
                if top is not None:
                    row.bid_px_e9, row.bid_qty_e9 = top.best_bid_px_e9, top.best_bid_qty_e9
                    row.ask_px_e9, row.ask_qty_e9 = top.best_ask_px_e9, top.best_ask_qty_e9
                    row.sigma_e9, row.sample_count = top.ewma_vol_1s_e9, top.sample_count
                yield row

    def _depths(self) -> Iterator[DepthRow]:
        for role, store in self._stores.items():
            for token in store.tokens():
                link_ns = self._segments[role].link_ns
                sight = store.look(token)
                if sight is None:
                    continue
                now_ns, witness = self._witness(role, link_ns)
                book, trust = self._judge.depth(role, sight, now_ns, witness)
                row = DepthRow(role, token, trust.name, self._judge.policy(role).name)
                row.is_ready = store.is_ready(token)
                row.sequence, row.update_count = store.sequence(token), store.update_count(token)
                if book is not None:
                    row.age_ms = _age_ms(now_ns, book.recv_ns)
                    row.bid_count, row.ask_count = book.bid_count, book.ask_count
                yield row

    def _trust(self, role: str, board: str, slot: int, tag: int) -> str:
        link_ns = self._segments[role].link_ns
        read = self._segments[role].board(board).read(slot, tag)
        return self._judge.top(role, read, *self._witness(role, link_ns)).name

    def _witness(self, role: str, link_ns: int) -> tuple[int, Witness]:
        """The clock, read after the book as `link_ns` was before it: nothing came later."""
        found, now_ns = self._segments[role], self._clock()
        wall_ns = self._wall_ns + now_ns - self._now_ns
        liveness = _liveness(found, now_ns)
        return now_ns, self._judge.witness(found, now_ns, wall_ns, liveness, link_ns=link_ns)

    def _latest_ns(self) -> int:
        """How late what is found may be: no record of the future is new."""
        return self._now_ns + SURVEY_NS

    def _quotes(self, now_ns: int) -> Iterator[QuoteRow]:
        for role, wish in self._rows("strategy.", "quotes"):
            row = QuoteRow(strategy=role.partition(".")[2], market=self._name(wish.tag))
            _fill(row, wish, QuoteRow.COPIED)
            row.reason = _word(Reason, wish.reason)
            row.keep = bool(wish.keep)
            if wish.valid_until_ns:
                row.valid_ms = (wish.valid_until_ns - now_ns) // NS_PER_MS
            row.version, row.age_ms = wish.version, _age_ms(now_ns, wish.publish_ns)
            yield row

    def _orders(self, now_ns: int) -> Iterator[OrderRow]:
        open_states = (OrderState.PENDING, OrderState.WORKING, OrderState.CANCELLING)
        for role, order in self._rows("executor.", "orders"):
            if order.state in (*open_states, OrderState.UNKNOWN):
                market, outcome = self._token(order)
                row = OrderRow(account=role.partition(".")[2], market=market, outcome=outcome)
                _fill(row, order, OrderRow.COPIED)
                row.side, row.state = _word(Side, order.side), _word(OrderState, order.state)
                row.age_ms = _age_ms(now_ns, order.created_ns)
                yield row

    def _positions(self) -> Iterator[PositionRow]:
        for role, held in self._rows("executor.", "positions"):
            row = PositionRow(account=role.partition(".")[2], market=self._name(held.tag))
            _fill(row, held, PositionRow.COPIED)
            row.settled = _word(Outcome, held.settled)
            row.is_known = not held.flags
            yield row

    def _fills(self, now_ns: int) -> Iterator[FillRow]:
        """The last fills, oldest first, whatever a stream reader has seen of them."""
        for role, found in self._segments.items():
            if not role.startswith("executor.") or "fills" not in found.places():
                continue
            board = found.board("fills")
            newest = board.version(0)
            kept: deque[Snapshot] = deque(maxlen=FILLS_SHOWN)
            for version in range(max(1, newest - FILLS_SHOWN + 1), newest + 1):
                fill = board.read_version(0, version)
                if not isinstance(fill, Miss):
                    kept.append(fill)
            for fill in kept:
                market, outcome = self._token(fill)
                row = FillRow(account=role.partition(".")[2], market=market, outcome=outcome)
                _fill(row, fill, FillRow.COPIED)
                row.side, row.is_maker = _word(Side, fill.side), bool(fill.is_maker)
                row.age_ms = _age_ms(now_ns, fill.publish_ns)
                yield row


def _fill(row: object, record: Snapshot, names: tuple[str, ...]) -> None:
    """Copy the fields that row and record call the same."""
    for name in names:
        setattr(row, name, getattr(record, name))


def _age_ms(now_ns: int, then_ns: int) -> int:
    """Give an age. What was published after the survey read its clock is new, not of the future."""
    age_ns = now_ns - then_ns
    return 0 if -SURVEY_NS < age_ns < 0 else age_ns // NS_PER_MS


def _liveness(found: ReaderSegment, now_ns: int) -> Liveness:
    """Judge a writer; a heartbeat that came after the survey read its clock is not a future one."""
    beat_ns = found.heartbeat_ns
    return found.liveness(beat_ns if now_ns < beat_ns < now_ns + SURVEY_NS else now_ns)


def _state(found: ReaderSegment) -> str:
    """Name the state; a segment whose writer is just making it has none yet."""
    state = found.state
    return state.name if state is not None else "NEW"


def _flags(top: PMBookSnapshot | BNSnapshot | None, version: int) -> list[str]:
    """Name the flags, or say why there is nothing."""
    if top is None:
        return [Miss.OTHER_TAG.name if version else Miss.NEVER.name]
    return [str(flag.name) for flag in Flag if top.flags & flag]


def _fill_book(row: BookRow, top: PMBookSnapshot) -> None:
    for name, side in (("yes", top.yes_top), ("no", top.no_top)):
        if side is not None:
            for field in side.__struct_fields__:
                setattr(row, f"{name}_{field}", getattr(side, field))
    row.disagrees = list(top.combined.disagrees)
    row.last_px_e9, row.tick_e9 = top.last_px_e9, top.tick_e9


def _moved(run: tuple[NDArray[np.int64], NDArray[np.int64]], now_ns: int) -> int | None:
    """How far a mid moved in the minute up to now; None where it was not followed all the time."""
    times, mids = run
    then_ns = now_ns - MOVE_NS
    at = int(times.searchsorted(then_ns, "right")) - 1
    if at < 0 or max(now_ns - int(times[-1]), then_ns - int(times[at])) > HOLE_NS:
        return None
    return int(mids[-1]) - int(mids[at])


def _word(kind: type[IntEnum], number: int) -> str:
    found = word_of(kind, number)
    return found.name if found is not None else str(number)


def check(role: str, namespace: str, now_ns: int) -> str:
    """Say what is wrong with a role, or nothing when its process is live. Never raises."""
    try:
        found = ReaderSegment.attach(role, namespace=namespace)
    except PenstockError as error:
        return str(error)
    liveness = _liveness(found, now_ns)
    if liveness == Liveness.LIVE:
        return ""
    age_ms = _age_ms(now_ns, found.heartbeat_ns)
    return f"{role} is {liveness.name}: state {_state(found)}, heartbeat {age_ms} ms ago"
