"""Segments: one mapped file per writing process, every byte of it owned by that one writer.

`WriterSegment.create` takes the lock, adopts an equal leftover or makes a new file that nobody
sees half-made; `ReaderSegment.attach` maps it read-only and refuses what it cannot read
(shm_layout.md §4, §8 to §11). What lies in the boards is not this module's business.
"""

from __future__ import annotations

import mmap
import os
import stat
import time

from cache import segment_file as files
from cache.board import BoardReader, BoardWriter
from cache.core import core, require_ordered_stores
from cache.counters import CounterReader, CounterWriter
from cache.errors import SegmentMissing, SegmentRemoved
from cache.layout import HEADER, HEADER_AT, BoardPlace, BoardSpec, State, word_of
from cache.liveness import Liveness, judge
from cache.refusals import shown
from cache.segment_file import remove as remove
from cache.segment_file import roles as roles
from cache.segment_file import segment_path as segment_path


class _Mapped:
    """The header words of a mapped segment, by name."""

    def __init__(self, path: str, memory: mmap.mmap) -> None:
        self.path = path
        self._map = memory
        self._view = memoryview(memory)
        self._words = self._view.cast("Q")
        self._signed = self._view.cast("q")

    def _word(self, name: str) -> int:
        value: int = self._words[HEADER_AT[name] >> 3]
        return value

    @property
    def incarnation(self) -> int:
        return self._word("incarnation")

    @property
    def state(self) -> State | None:
        """What the writer says of itself; None where that is no word it could say."""
        return word_of(State, self._word("state"))

    @property
    def heartbeat_ns(self) -> int:
        return self._word("heartbeat_ns")

    @property
    def epoch(self) -> int:
        return self._word("epoch")

    def places(self) -> dict[str, BoardPlace]:
        """The boards of the segment, by name, as its own table of contents gives them."""
        return files.read_contents(self._view)


class WriterSegment(_Mapped):
    """A segment this process owns. Make it with `create`; it belongs to one thread."""

    def __init__(self, path: str, memory: mmap.mmap, descriptor: int, lock: int) -> None:
        super().__init__(path, memory)
        self._descriptor = descriptor
        self._lock = lock
        self._boards: dict[str, BoardWriter] = {}
        self._bell = self._view.cast("I")
        self.counters = CounterWriter(self._words)
        self.replaced = ""
        """Why what lay under the name could not be adopted; "" where it was, or nothing lay."""

    @classmethod
    def create(
        cls,
        role: str,
        boards: tuple[BoardSpec, ...],
        *,
        namespace: str = "penstock",
        mode: int = 0o600,
    ) -> WriterSegment:
        """Claim the role and make its segment, or adopt the equal one a predecessor left.

        Raises AlreadyRunning, SegmentForeign, SharedMemoryFull or SegmentError.
        """
        require_ordered_stores()
        files.check_new(namespace, role, boards, mode)
        path = segment_path(namespace, role)
        lock = files.claim(path, mode)
        try:
            files.unlink_temporary(path)
            left = files.adopt(path, boards)
            replaced = left if isinstance(left, str) else ""
            if isinstance(left, str):
                left = files.make(path, role, boards, mode)
        except BaseException:
            files.unclaim(path, lock)
            raise
        made = cls(path, *left, lock)
        made.replaced = replaced
        made._begin()
        return made

    def _begin(self) -> None:
        """Raise the incarnation first: it alone turns every older record to WARMUP."""
        self._set("incarnation", self.incarnation + 1)
        self._set("state", State.BOOT)
        now_ns = time.monotonic_ns()
        self._set("pid", os.getpid())
        self._set("started_ns", now_ns)
        self._set("link_ns", 0)
        self._set("heartbeat_ns", now_ns)

    def _set(self, name: str, value: int) -> None:
        try:
            self._words[HEADER_AT[name] >> 3] = value
        except (TypeError, ValueError):
            raise TypeError(f"{name} is {shown(value)}: it must be a whole number") from None

    def set_state(self, state: State) -> None:
        """Tell the readers where this process stands."""
        self._set("state", state)

    def heartbeat(self, now_ns: int) -> None:
        """Say that the process turns. Raises SegmentRemoved when its file is gone: then exit."""
        self._set("heartbeat_ns", now_ns)
        for descriptor in (self._descriptor, self._lock):
            if os.fstat(descriptor).st_nlink == 0:
                raise SegmentRemoved(
                    f"{self.path} or its lock was removed while in use; the process ends and its "
                    "next start makes a new one. (systemd: RemoveIPC=no keeps segments.)"
                )

    def turn(self, count: int = 1) -> None:
        """Count turns of the main loop."""
        self._words[HEADER_AT["loop_count"] >> 3] += count

    def set_link(self, now_ns: int) -> None:
        """Say when the venue link was last proven to live."""
        self._set("link_ns", now_ns)

    def bump_epoch(self) -> None:
        """Say that the directory of instruments changed."""
        self._set("epoch", self.epoch + 1)

    def ring(self) -> None:
        """Raise the bell, once per burst, after all publishing."""
        at = HEADER_AT["bell"]
        if core is not None:
            core.ring(self._view, at)
        else:
            self._bell[at >> 2] = (self._bell[at >> 2] + 1) & 0xFFFFFFFF

    def board(self, name: str) -> BoardWriter:
        """The writer of one board; always the same object. Raises BoardError."""
        if name not in self._boards:
            place = files.find_board(self.path, self.places(), name)
            self._boards[name] = BoardWriter(self._view, place, self.incarnation)
        return self._boards[name]

    def close(self, *, retire: bool = False, remove: bool = False) -> None:
        """Give the role up; `remove` unlinks segment and lock while the lock is still held.

        Closing twice is nothing.
        """
        if self._lock < 0:
            return
        if retire or remove:
            self._set("state", State.RETIRED)
        if remove:
            files.unlink_all(self.path)
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1


class ReaderSegment(_Mapped):
    """A segment of another process, mapped read-only: a write through it faults this process."""

    def __init__(self, path: str, memory: mmap.mmap, inode: int) -> None:
        super().__init__(path, memory)
        self._inode = inode
        self.counters = CounterReader(self._words)

    @classmethod
    def attach(cls, role: str, *, namespace: str = "penstock") -> ReaderSegment:
        """Map the role's segment. Raises SegmentMissing (try again later) or why it never will."""
        require_ordered_stores()
        for name, value in (("role", role), ("namespace", namespace)):
            if not isinstance(value, str):
                raise TypeError(f"{name} is {shown(value)}: it must be text")
        path = segment_path(namespace, role)
        try:
            descriptor = os.open(path, files.OPEN_FLAGS | os.O_RDONLY)
        except FileNotFoundError:
            raise SegmentMissing(f"{path} does not exist: is its writer running?") from None
        except PermissionError:
            raise files.foreign(path, os.stat(path).st_uid) from None
        except OSError as fault:
            raise files.no_file(path, fault) from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise files.no_file(path, None)
            if status.st_uid not in (os.geteuid(), 0):
                raise files.foreign(path, status.st_uid)
            files.check_head(path, os.pread(descriptor, HEADER.size, 0), status.st_size)
            memory = mmap.mmap(
                descriptor,
                status.st_size,
                flags=mmap.MAP_SHARED | mmap.MAP_POPULATE,
                prot=mmap.PROT_READ,
            )
        finally:
            os.close(descriptor)
        made = cls(path, memory, status.st_ino)
        if made._word("state") == State.RETIRED:
            raise SegmentMissing(f"{path} is being removed or replaced; try again.")
        return made

    @property
    def role(self) -> str:
        at = HEADER_AT["role"]
        return bytes(self._view[at : at + 64]).rstrip(b"\0").decode(errors="replace")

    @property
    def pid(self) -> int:
        return self._word("pid")

    @property
    def loop_count(self) -> int:
        return self._word("loop_count")

    @property
    def link_ns(self) -> int:
        return self._word("link_ns")

    @property
    def started_ns(self) -> int:
        return self._word("started_ns")

    @property
    def bell_word(self) -> tuple[memoryview, int]:
        """Memory and byte offset of the bell, for whoever waits on it."""
        return self._view, HEADER_AT["bell"]

    def board(self, name: str) -> BoardReader:
        """A new reader of one board. Raises BoardError."""
        return BoardReader(self._view, files.find_board(self.path, self.places(), name))

    def is_current(self) -> bool:
        """Whether the name still leads to this file and it is not RETIRED; if not, re-attach."""
        if self._word("state") == State.RETIRED:
            return False
        try:
            return os.stat(self.path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def liveness(self, now_ns: int) -> Liveness:
        """What is known of the writer now; a system call only when the heartbeat is stale.

        A beat that came after the caller read the clock is not from the future: look again.
        """
        heartbeat_ns = self.heartbeat_ns
        if heartbeat_ns > now_ns:
            now_ns = time.monotonic_ns()
        return judge(self._word("state"), heartbeat_ns, now_ns, f"{self.path}.lock")

    def close(self) -> None:
        """Nothing to give back: the mapping goes when the last view of it goes."""
