"""How a record type is described: fields in order, from which every other description follows.

Struct format, numpy dtype and offsets are derived here and checked against each other when they
are first asked for; what the records are stands in `cache/layout.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STAMP_COUNT = 3
"""tag, incarnation, generation: the first fields, which the board stores by itself."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: u64, i64, u32, i32, sN (N bytes of UTF-8, zero padded) or bN (N raw bytes)."""

    name: str
    kind: str
    text: str
    count: int = 1

    @property
    def is_text(self) -> bool:
        return self.kind[0] == "s"

    @property
    def is_raw(self) -> bool:
        return self.kind[0] == "b"

    @property
    def is_number(self) -> bool:
        return self.kind[0] in "ui"

    @property
    def width(self) -> int:
        return int(self.kind[1:]) // 8 if self.is_number else int(self.kind[1:])

    @property
    def size(self) -> int:
        return self.width * self.count

    @property
    def alignment(self) -> int:
        return self.width if self.is_number else 1

    @property
    def code(self) -> str:
        if not self.is_number:
            return f"{self.width}s"
        one = {"u64": "Q", "i64": "q", "u32": "I", "i32": "i"}[self.kind]
        return one * self.count

    @property
    def numpy_type(self) -> str | tuple[str, tuple[int]]:
        letter = {"s": "S", "b": "V"}.get(self.kind[0], f"<{self.kind[0]}")
        base = f"{letter}{self.width}"
        return base if self.count == 1 else (base, (self.count,))


@dataclass(frozen=True)
class Record:
    """A record type: fixed size, a multiple of 64, beginning with `PREFIX`."""

    id: int
    name: str
    text: str
    fields: tuple[Field, ...]

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Byte offset of each field, each derived from the one before."""
        found, at = {}, 0
        for field in self.fields:
            assert at % field.alignment == 0, f"{self.name}.{field.name} is not aligned"
            found[field.name] = at
            at += field.size
        assert at % 64 == 0, f"{self.name} is {at} bytes, not a multiple of 64"
        return found

    @cached_property
    def size(self) -> int:
        last = self.fields[-1]
        return self.offsets[last.name] + last.size

    @cached_property
    def struct(self) -> struct.Struct:
        packed = struct.Struct("<" + "".join(field.code for field in self.fields))
        assert packed.size == self.size
        return packed

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        import numpy as np

        made = np.dtype([(field.name, field.numpy_type) for field in self.fields])
        assert made.itemsize == self.size
        return made

    @cached_property
    def value_names(self) -> tuple[str, ...]:
        """The fields a publisher gives, in order: all but the three stamps and the reserved."""
        return tuple(field.name for field in self.fields[STAMP_COUNT:] if field.name != "reserved")
