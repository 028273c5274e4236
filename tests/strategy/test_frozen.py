"""What can be changed is found by its declared types, however deep it lies."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypeVar

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from cache.gate import Trust
from strategy import tick
from strategy.frozen import changeable_part

T = TypeVar("T")
Price = NewType("Price", int)
Basket = NewType("Basket", list)  # type: ignore[type-arg]


class Leaf(Struct, frozen=True):
    number: int


class Loose(Struct):
    number: int


@dataclass(frozen=True)
class Still:
    count: ClassVar[list[int]] = []
    leaf: Leaf


@dataclass
class Moving:
    leaf: Leaf


class Pair(NamedTuple):
    first: Leaf
    second: int


class Couple(NamedTuple):
    first: Leaf
    second: set[int]


class Chain(Struct, frozen=True):
    link: int
    rest: Chain | None


class Knot(Struct, frozen=True):
    rest: Knot | None
    names: list[str]


class Box(Struct, Generic[T], frozen=True):
    what: T


Untyped = namedtuple("Untyped", "first")


@pytest.mark.parametrize(
    "hint",
    [
        int, float, bool, str, bytes, None, Decimal, datetime, Trust, Price, Leaf, Still, Pair,
        Chain, int | None, Literal["PM", "BN"], Annotated[int, msgspec.Meta(ge=0)],
        tuple[int, ...], tuple[Leaf, str], tuple[()], frozenset[tuple[int, ...]],
    ],
    ids=str,
)  # fmt: skip
def test_what_nobody_can_change_passes(hint: Any) -> None:
    assert changeable_part(msgspec.defstruct("Dto", [("what", hint)], frozen=True)) == ""


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (list[int], "Dto.what is list[int]"),
        (list, "Dto.what is list"),
        (dict[str, int], "Dto.what is dict[str, int]"),
        (set[int], "Dto.what is set[int]"),
        (bytearray, "Dto.what is bytearray"),
        (np.ndarray, "Dto.what is ndarray"),
        (Any, "Dto.what is Any"),
        (object, "Dto.what is object"),
        (tuple, "Dto.what is tuple"),
        (Basket, "Dto.what is list"),
        (Sequence[int], "Dto.what is collections.abc.Sequence[int]"),
        (int | list[int], "Dto.what is list[int]"),
        (tuple[int, list[int]], "Dto.what is list[int]"),
        (tuple[Loose, ...], "Dto.what is Loose"),
        (Annotated[list[int], msgspec.Meta(min_length=1)], "Dto.what is list[int]"),
        (Loose, "Dto.what is Loose"),
        (Moving, "Dto.what is Moving"),
        (Couple, "Dto.what.second is set[int]"),
        (Untyped, "Dto.what.first is object"),
        (Knot, "Dto.what.names is list[str]"),
        (Box, "Dto.what.what is ~T"),
    ],
)
def test_what_can_be_changed_is_named_by_where_it_lies(hint: Any, said: str) -> None:
    assert changeable_part(msgspec.defstruct("Dto", [("what", hint)], frozen=True)) == said


def test_all_fields_are_looked_at_those_of_a_base_too() -> None:
    class Late(Struct, frozen=True):
        first: int
        last: list[int]

    class Heir(Late, frozen=True):
        own: int

    assert changeable_part(Late) == "Late.last is list[int]"
    assert changeable_part(Heir) == "Heir.last is list[int]"
    assert changeable_part(Loose) == "Loose is Loose"


def test_a_type_that_is_not_known_when_it_runs_is_nothing_to_go_by() -> None:
    class Local(Struct, frozen=True):
        number: int

    class Holder(Struct, frozen=True):
        local: Local

    assert changeable_part(Holder) == (
        "Holder has types that are not known when it runs (name 'Local' is not defined)"
    )


@pytest.mark.parametrize(
    "dto", [tick.View, tick.Threat, tick.Signal, tick.TargetQuotes], ids=lambda one: one.__name__
)
def test_what_the_shipped_workers_are_given_and_make_is_frozen_as_deep_as_it_goes(
    dto: type,
) -> None:
    assert changeable_part(dto) == ""
