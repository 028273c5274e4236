"""The file behind a segment: claimed by a lock, adopted or made whole, checked, removed.

shm_layout.md §8 to §11. Nothing here knows what is published; `cache/segment.py` does.
"""

from __future__ import annotations

import contextlib
import glob
import mmap
import os
import re
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from cache import layout
from cache.errors import (
    AlreadyRunning,
    BoardError,
    LayoutMismatch,
    SegmentDamaged,
    SegmentError,
    SegmentForeign,
    SharedMemoryFull,
)
from cache.layout import HEADER, HEADER_AT, BoardPlace, BoardSpec, State
from cache.liveness import lock_whole
from cache.refusals import shown

SHM_DIR = "/dev/shm"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOCK_TRIES = 8
_NAME_MAX = 63
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Neither follow a link that somebody put under the name, nor wait for the other end of a pipe."""


def boot_id() -> bytes:
    """The kernel's boot id: 16 bytes that change with every boot."""
    return bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))


def segment_path(namespace: str, role: str) -> str:
    """Where a role's segment lies; its lock file has `.lock` behind the same name."""
    return f"{SHM_DIR}/{namespace}.{role}"


def check_new(namespace: object, role: object, boards: object, mode: object) -> None:
    """Let pass what a segment can be made of. Raises SegmentError.

    A namespace has no dot: whose segments are whose would not be known. A segment is adopted by its
    owner and written to by nobody else, which is what modes can say.
    """
    for name, value, others in (("namespace", namespace, "_-"), ("role", role, "._-")):
        is_text = isinstance(value, str) and len(value) <= _NAME_MAX
        pattern = f"[A-Za-z0-9][A-Za-z0-9{others}]*"
        if not is_text or not re.fullmatch(pattern, str(value)) or str(value).endswith(".lock"):
            signs = f"1 to {_NAME_MAX} letters, digits or signs of {others!r}"
            said = f"{name} is {shown(value)}: it must be {signs}"
            raise SegmentError(f"{said}, begin with no sign and not end in .lock")
    if not isinstance(boards, tuple | list) or not all(
        isinstance(one, BoardSpec) for one in boards
    ):
        raise SegmentError(f"boards is {shown(boards)}: it must be BoardSpecs, in a tuple")
    if type(mode) is not int or mode not in (0o600, 0o640, 0o644):
        raise SegmentError(f"mode is {shown(mode)}: it must be 0o600, 0o640 or 0o644")


def claim(path: str, mode: int = 0o600) -> int:
    """Take the role's lock and return its descriptor. Raises AlreadyRunning or SegmentForeign."""
    name = f"{path}.lock"
    for _ in range(_LOCK_TRIES):
        try:
            lock = os.open(name, OPEN_FLAGS | os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise foreign(name, os.stat(name).st_uid) from None
        except OSError as fault:
            raise no_file(name, fault) from None
        status = os.fstat(lock)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            os.close(lock)
            raise refused(name, status)
        if not lock_whole(lock):
            os.close(lock)
            raise AlreadyRunning(
                f"{path} has a living writer{_writer_pid(path)}; a role has one writer. "
                "Stop that one first, or choose another [host] namespace."
            )
        with contextlib.suppress(FileNotFoundError):
            if os.stat(name).st_ino == os.fstat(lock).st_ino:
                os.fchmod(lock, mode)  # Whoever may read the segment may ask who holds it.
                return lock
        os.close(lock)  # It was unlinked between open and lock: another file now has the name.
    raise SegmentError(f"{name} is being removed again and again; who does that?")


def unclaim(path: str, lock: int) -> None:
    """Give a claim up: where there is no segment, its lock file goes too."""
    if os.path.islink(path) or not os.path.isfile(path):
        os.unlink(f"{path}.lock")
    os.close(lock)


def _writer_pid(path: str) -> str:
    with contextlib.suppress(OSError, struct.error), open(path, "rb") as file:
        return f" (pid {HEADER.struct.unpack(file.read(HEADER.size))[_PID_INDEX]})"
    return ""


_PID_INDEX = [field.name for field in layout.HEADER_FIELDS].index("pid")


def adopt(path: str, boards: tuple[BoardSpec, ...]) -> tuple[mmap.mmap, int] | str:
    """Map the segment a predecessor left, if it is exactly what is wanted; else say why not.

    The reason is "" where there was none.

    What cannot be adopted is replaced by a new file; readers of the old one see RETIRED, or
    another inode. Raises SegmentForeign: another user's file cannot be replaced.
    """
    try:
        descriptor = os.open(path, OPEN_FLAGS | os.O_RDWR)
    except FileNotFoundError:
        return ""
    except PermissionError:
        raise foreign(path, os.stat(path).st_uid) from None
    except OSError as fault:
        raise no_file(path, fault) from None
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise refused(path, status)
    places, total = layout.place_boards(boards)
    try:
        check_head(path, os.pread(descriptor, HEADER.size, 0), status.st_size)
        memory = mmap.mmap(descriptor, status.st_size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        found = tuple(read_contents(memoryview(memory)).values())
    except SegmentError as fault:
        os.close(descriptor)
        return str(fault)
    if status.st_size == total and found == places:
        return memory, descriptor
    memoryview(memory).cast("Q")[HEADER_AT["state"] >> 3] = State.RETIRED
    os.close(descriptor)
    return f"{path} has {_sizes(found)}, wanted {_sizes(places)}: other settings made it."


def _sizes(places: tuple[BoardPlace, ...]) -> str:
    """Name boards with their N and K."""
    specs = [place.spec for place in places]
    return ", ".join(f"{s.name} {s.slot_count}x{s.cell_count}" for s in specs) or "no boards"


def make(path: str, role: str, boards: tuple[BoardSpec, ...], mode: int) -> tuple[mmap.mmap, int]:
    """Make a new segment under a temporary name, whole, and rename it into place."""
    places, total = layout.place_boards(boards)
    temporary = f"{path}.tmp.{os.getpid()}"
    _check_room(path, total)
    from multiprocessing import shared_memory  # here: a process that adopts does not load it

    with _untracked():
        shared = shared_memory.SharedMemory(os.path.basename(temporary), create=True, size=total)
    shared.close()
    descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
        try:
            os.posix_fallocate(descriptor, 0, total)
        except OSError as fault:
            raise _full(path, total) from fault
        memory = mmap.mmap(descriptor, total, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        view = memoryview(memory)
        _write_head(view, role, places, total)
        view.cast("Q")[0] = layout.MAGIC  # Last: a segment without it is not one.
        os.rename(temporary, path)
    except BaseException:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return memory, descriptor


@contextlib.contextmanager
def _untracked() -> Iterator[None]:
    """Keep the resource tracker from a segment: it would unlink it when a process exits.

    (`track=False` does this from Python 3.13 on.)
    """
    from multiprocessing import resource_tracker

    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None
    try:
        yield
    finally:
        resource_tracker.register = register


def _write_head(view: memoryview, role: str, places: tuple[BoardPlace, ...], total: int) -> None:
    """Fill in header and table of contents, all but the magic."""
    values = dict.fromkeys((field.name for field in layout.HEADER_FIELDS), 0)
    texts = {field.name: b"" for field in layout.HEADER_FIELDS if field.is_text}
    known = {
        "layout_version": layout.LAYOUT_VERSION,
        "header_bytes": HEADER.size,
        "layout_hash": layout.LAYOUT_HASH,
        "total_bytes": total,
        "boot_id": boot_id(),
        "created_wall_ns": time.time_ns(),
        "state": State.BOOT,
        "heartbeat_ns": time.monotonic_ns(),
        "pid": os.getpid(),
        "board_count": len(places),
        "counter_count": layout.COUNTER_COUNT,
        "histogram_count": layout.HISTOGRAM_COUNT,
        "bucket_count": layout.BUCKET_COUNT,
        "counters_offset": layout.COUNTERS_OFFSET,
        "histograms_offset": layout.HISTOGRAMS_OFFSET,
        "role": role.encode(),
    }
    HEADER.struct.pack_into(view, 0, *(values | texts | known).values())
    for index, place in enumerate(places):
        spec = place.spec
        layout.TOC_ENTRY.struct.pack_into(
            view,
            layout.TOC_OFFSET + index * layout.TOC_ENTRY.size,
            spec.name.encode(),
            spec.record.id,
            spec.record.size,
            spec.slot_count,
            spec.cell_count,
            place.versions_offset,
            place.cells_offset,
        )


def check_head(path: str, head: bytes, size: int) -> None:
    """Refuse what is not a whole segment of this layout and this boot."""
    hint = "Its writer replaces it at its next start."
    if len(head) < 64:
        raise SegmentDamaged(f"{path} is {size} bytes long, a header is {HEADER.size}. {hint}")
    magic, version, _, digest, total = struct.unpack_from("<QIIQQ", head)
    if magic != layout.MAGIC:
        raise SegmentDamaged(f"{path} has magic {magic:#x}, wanted {layout.MAGIC:#x}. {hint}")
    if version != layout.LAYOUT_VERSION or digest != layout.LAYOUT_HASH:
        raise LayoutMismatch(
            f"{path} has layout {version} ({digest:#x}), this program {layout.LAYOUT_VERSION} "
            f"({layout.LAYOUT_HASH:#x}): writer and reader are of different versions."
        )
    if total != size or size < layout.BOARDS_OFFSET:
        raise SegmentDamaged(f"{path} is {size} bytes long, its header says {total}. {hint}")
    made = head[HEADER_AT["boot_id"] : HEADER_AT["boot_id"] + 16]
    if made != boot_id():
        raise SegmentDamaged(
            f"{path} is left over from boot {made.hex()}, this is boot {boot_id().hex()}. {hint}"
        )


def read_contents(view: memoryview) -> dict[str, BoardPlace]:
    """Parse the table of contents. Raises SegmentDamaged where it does not add up."""
    count = view.cast("I")[HEADER_AT["board_count"] >> 2]
    if count > layout.BOARD_COUNT_MAX:
        raise SegmentDamaged(f"{count} boards in the header, at most {layout.BOARD_COUNT_MAX}")
    places = {}
    for index in range(count):
        at = layout.TOC_OFFSET + index * layout.TOC_ENTRY.size
        raw, record_id, size, slots, cells, versions_offset, cells_offset = (
            layout.TOC_ENTRY.struct.unpack_from(view, at)
        )
        name = raw.rstrip(b"\0").decode(errors="replace")
        record = layout.RECORD_BY_ID.get(record_id)
        if record is None or record.size != size:
            raise SegmentDamaged(f"board {name}: record type {record_id} of {size} bytes")
        try:
            spec = BoardSpec(name, record, slots, cells)
        except ValueError as fault:
            raise SegmentDamaged(str(fault)) from None
        if cells_offset + slots * cells * size > len(view) or versions_offset > cells_offset:
            raise SegmentDamaged(f"board {name} ends behind the end of the file")
        places[name] = BoardPlace(spec, versions_offset, cells_offset)
    return places


def find_board(path: str, places: dict[str, BoardPlace], name: str) -> BoardPlace:
    """Look a board up. Raises BoardError where it is missing, or holds what it must not."""
    if name not in places:
        raise BoardError(f"{path} has no board {name!r}, only {', '.join(places)}")
    found = places[name].spec.record
    if found is not layout.BOARD_RECORDS.get(name, found):
        wanted = layout.BOARD_RECORDS[name].name
        raise BoardError(f"{path}: board {name!r} holds {found.name}, must hold {wanted}")
    return places[name]


def foreign(path: str, uid: int) -> SegmentForeign:
    return SegmentForeign(
        f"{path} belongs to uid {uid}, this process runs as uid {os.geteuid()}. "
        "Run as that user, remove the file, or choose another [host] namespace."
    )


def refused(path: str, status: os.stat_result) -> SegmentError:
    """What stands under a segment's name and is no file, or another user's."""
    if not stat.S_ISREG(status.st_mode):
        return no_file(path, None)
    return foreign(path, status.st_uid)


def no_file(path: str, fault: OSError | None) -> SegmentDamaged:
    """What stands under a segment's name is a directory, a link or a device."""
    why = fault.strerror if fault is not None else "it is no regular file"
    return SegmentDamaged(f"{path} is not a segment ({why}): remove it.")


def _check_room(path: str, total: int) -> None:
    room = os.statvfs(SHM_DIR)
    if room.f_bavail * room.f_frsize < total:
        raise _full(path, total)


def _full(path: str, total: int) -> SharedMemoryFull:
    room = os.statvfs(SHM_DIR)
    return SharedMemoryFull(
        f"{path} needs {total} bytes, {SHM_DIR} has {room.f_bavail * room.f_frsize} free of "
        f"{room.f_blocks * room.f_frsize}. Make it larger (docker: the size of the tmpfs volume) "
        "or lower the slot counts in the configuration."
    )


def remove(role: str, *, namespace: str = "penstock") -> bool:
    """Unlink a role's segment and lock while holding the lock; False when there was none.

    Raises AlreadyRunning while its writer lives, SegmentForeign or SegmentDamaged for what is
    another user's, or no file.
    """
    path = segment_path(namespace, role)
    if not [name for name in (path, f"{path}.lock") if _is_ours(name)]:
        return False
    lock = claim(path)
    try:
        _retire(path)
        unlink_all(path)
    finally:
        os.close(lock)
    return True


def _retire(path: str) -> None:
    """Mark a segment RETIRED, where it is one, so that its readers let go of it."""
    with contextlib.suppress(SegmentError, OSError), open(path, "r+b") as file:
        check_head(path, file.read(HEADER.size), os.fstat(file.fileno()).st_size)
        with mmap.mmap(file.fileno(), 0) as memory:
            memory[HEADER_AT["state"]] = State.RETIRED  # One byte: the other seven are zero.


def _is_ours(name: str) -> bool:
    """Whether the file is there. Raises SegmentForeign or SegmentDamaged where it is not ours."""
    try:
        status = os.lstat(name)
    except FileNotFoundError:
        return False
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        raise refused(name, status)
    return True


def unlink_temporary(path: str) -> None:
    """Unlink what creations that died left behind."""
    _unlink(*glob.glob(f"{glob.escape(path)}.tmp.*"))


def unlink_all(path: str) -> None:
    """Unlink everything a role has in memory, the lock last."""
    unlink_temporary(path)
    _unlink(path, f"{path}.lock")


def _unlink(*names: str) -> None:
    """Unlink what is there and ours."""
    for name in names:
        with contextlib.suppress(SegmentError, FileNotFoundError):
            if _is_ours(name):
                os.unlink(name)


def roles(namespace: str = "penstock") -> list[str]:
    """Names of the segments of a namespace, whole or not, in order."""
    prefix = f"{SHM_DIR}/{namespace}."
    found = {
        name[len(prefix) :].removesuffix(".lock") for name in glob.glob(glob.escape(prefix) + "*")
    }
    return sorted(role for role in found if ".tmp." not in role)
