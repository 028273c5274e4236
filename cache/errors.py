"""Every error the shared memory can raise, by whose fault it is.

    PenstockError
    ├── SegmentError                 one segment cannot be used; the message names it
    │   ├── SegmentMissing           transient: not made yet, or just being replaced; try again
    │   ├── SegmentRemoved           its file was removed under its writer, which must exit
    │   ├── AlreadyRunning           a second writer: the first one lives
    │   ├── LayoutMismatch           made by another version of the software
    │   ├── SegmentDamaged           truncated, zeros, random bytes
    │   ├── SegmentForeign           belongs to another user
    │   └── SharedMemoryFull         /dev/shm cannot hold it
    ├── BoardError                   wrong board name, record type or slot
    ├── UpdateRefused                what a cache was to publish cannot be
    └── UnsupportedMachine           this CPU needs the C core

Each message says what was found, what was wanted and what to change. It imports nothing.
"""


class PenstockError(Exception):
    """Root of the errors this project raises on purpose."""


class SegmentError(PenstockError):
    """One segment cannot be used."""


class SegmentMissing(SegmentError):
    """There is no such segment now; its writer has not made it yet. Try again later."""


class SegmentRemoved(SegmentError):
    """The segment's file was removed while its writer ran; the writer must exit."""


class AlreadyRunning(SegmentError):
    """Another living process writes this segment."""


class LayoutMismatch(SegmentError):
    """The segment was made by a version with another layout."""


class SegmentDamaged(SegmentError):
    """The file is not a whole segment."""


class SegmentForeign(SegmentError):
    """The segment belongs to another user."""


class SharedMemoryFull(SegmentError):
    """/dev/shm has no room for the segment."""


class BoardError(PenstockError):
    """A board was asked for something it does not have."""


class UpdateRefused(PenstockError, ValueError):
    """What a cache was given cannot be published; the message begins with the key at fault."""


class UnsupportedMachine(PenstockError):
    """The pure-Python boards rely on x86-64 store order; this CPU needs the C core."""
