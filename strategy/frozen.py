"""Tells by its declared types whether a DTO can be changed once it was made; pure.

`frozen=True` forbids to set a field, and nothing more: a list in one can still be appended to, by
any worker that the DTO is handed to. So a type is looked through as deep as it goes. What cannot be
changed: numbers, text, bytes, times, members of enumerations, None; tuples and frozensets of such;
and Structs, dataclasses and NamedTuples, themselves frozen, of such. Anything else can, for all
that is known of it: lists, dicts, arrays, `Any`, a tuple of nobody says what.

It is of types, once for each, and costs a run nothing. That a field holds what it was declared to
hold is for the type checker to say.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

_PLAIN = (int, float, complex, str, bytes, Decimal, date, time, timedelta, Enum, NoneType)
_OF_PARTS = (Union, UnionType, tuple, frozenset)


def changeable_part(kind: type) -> str:
    """Name the first part of a type that can be changed, and what it is; "" where there is none."""
    return _changeable(kind, kind.__name__, frozenset())


def _changeable(kind: object, at: str, above: frozenset[object]) -> str:
    kind = getattr(kind, "__supertype__", kind)  # Of a NewType.
    origin = get_origin(kind)
    if origin is Literal or kind in above or (isinstance(kind, type) and issubclass(kind, _PLAIN)):
        return ""
    if origin in _OF_PARTS:
        parts = [(part, at) for part in get_args(kind) if part is not ...]
    else:
        names = _frozen_fields(kind)
        if names is None:
            return f"{at} is {kind.__name__ if isinstance(kind, type) else kind}"
        try:
            hints = get_type_hints(kind)
        except NameError as error:
            return f"{at} has types that are not known when it runs ({error})"
        parts = [(hints.get(name, object), f"{at}.{name}") for name in names]
    found = (_changeable(part, where, above | {kind}) for part, where in parts)
    return next(filter(None, found), "")


def _frozen_fields(kind: object) -> tuple[str, ...] | None:
    """The fields of a type none of which can be set; None of any other type."""
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Struct):
        return kind.__struct_fields__ if kind.__struct_config__.frozen else None
    if is_dataclass(kind):
        params = kind.__dataclass_params__  # type: ignore[attr-defined]
        return tuple(field.name for field in fields(kind)) if params.frozen else None
    return getattr(kind, "_fields", None) if issubclass(kind, tuple) else None
