"""The point-in-time store of one strategy run: DTOs under keys, frozen under an anchor.

    empty -> start_run() -> set_dto, get_dtos, has_dto, get_run_anchor -> clear() -> empty

Whatever works within a run (signals, threats, the planner) is given this store, reads from it and
never from the boards: so all of them decide on the same instant. A DTO is a frozen msgspec Struct
of what cannot be changed either (`strategy/frozen.py`), and what is handed out is a list of its
own: nothing that a worker does to it changes the store. The tick manager starts and clears runs;
workers take an `IStrategyCache`, so that a test hands them another one.

The invariant: between runs there is nothing to be read, and what was refused changed nothing. It
reads no clock and does no I/O. One cache belongs to one thread. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from strategy.frozen import changeable_part

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WALL_NS_MIN, _WALL_NS_MAX = (
    (end.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) * 1_000
    for end in (datetime.min, datetime.max)
)
"""What a datetime can say."""

StrategyCacheType = dict[str, list[Struct]]
"""What holds the DTOs of a run, by key; whoever starts the run owns it."""

T = TypeVar("T", bound=Struct)


class CacheNotConfiguredError(RuntimeError):
    """The cache was used outside a run, or a run was to begin at no time."""


class InvalidDTOTypeError(TypeError):
    """A DTO is of another type than was asked for."""


class CacheAlreadyConfiguredError(ValueError):
    """A run was to begin inside another."""


class RunMode(Enum):
    """What becomes of the quotes."""

    LIVE = "live"
    PAPER = "paper"
    REPLAY = "replay"
    BACKTEST = "backtest"


class RunAnchor(Struct, frozen=True):
    """When, and by whom, a run was frozen.

    `now_ns` is CLOCK_MONOTONIC, read after the boards: 0 where a run is on no such clock, and then
    no record is ever fresh. `wall_ns` counts from 1970, UTC. `run_id` is unique to the run.
    """

    now_ns: int
    wall_ns: int
    run_id: str
    strategy_id: str
    mode: RunMode

    def __post_init__(self) -> None:
        """Refuse what no run can be frozen under: TypeError, ValueError, by the field's name."""
        for name, kind in _ANCHOR_KINDS:
            value = getattr(self, name)
            if type(value) is not kind:
                raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
        if self.now_ns < 0:
            raise ValueError(f"now_ns is {self.now_ns:#x}: it must be 0 or more")
        if not _WALL_NS_MIN <= self.wall_ns <= _WALL_NS_MAX:
            raise ValueError(f"wall_ns is {self.wall_ns:#x}: it must lie in the years 1 to 9999")

    @property
    def timestamp(self) -> datetime:
        """When it was, in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.wall_ns // 1_000)


_ANCHOR_KINDS = (
    ("now_ns", int),
    ("wall_ns", int),
    ("run_id", str),
    ("strategy_id", str),
    ("mode", RunMode),
)


@runtime_checkable
class IStrategyCache(Protocol):
    """What a worker may ask of the cache of its run."""

    def start_run(self, tick_cache: StrategyCacheType, timestamp: datetime | RunAnchor) -> None: ...

    def get_run_anchor(self) -> RunAnchor: ...

    def set_dto(self, key: str, dto: Struct) -> None: ...

    def get_dtos(self, key: str, dto_type: type[T]) -> list[T]: ...

    def has_dto(self, key: str) -> bool: ...

    def clear(self) -> None: ...


class StrategyCache:
    """The cache of one strategy. `strategy_id` and `mode` are for runs begun at a plain time."""

    def __init__(self, strategy_id: str = "", mode: RunMode = RunMode.BACKTEST) -> None:
        self._strategy_id = strategy_id
        self._mode = mode
        self._run_count = 0
        self._frozen_types: set[type] = set()
        self._current_cache: StrategyCacheType | None = None
        self._current_anchor: RunAnchor | None = None

    def start_run(self, tick_cache: StrategyCacheType, timestamp: datetime | RunAnchor) -> None:
        """Begin a run that keeps its DTOs in `tick_cache`; a time without a zone is UTC.

        Raises CacheAlreadyConfiguredError inside a run, CacheNotConfiguredError for what is no
        time, TypeError for what cannot hold DTOs.
        """
        if self._current_cache is not None:
            raise CacheAlreadyConfiguredError(
                f"run {self.get_run_anchor().run_id} is on: call clear() before the next start"
            )
        if not isinstance(tick_cache, dict):
            raise TypeError(f"tick_cache must be a dict of lists, got {type(tick_cache).__name__}")
        for key, held in tick_cache.items():
            _check_key(key)
            if not isinstance(held, list):
                raise TypeError(
                    f"tick_cache must hold lists, got {type(held).__name__} for key {key!r}"
                )
            for kind in {type(dto) for dto in held} - self._frozen_types:
                self._admit(kind)
        self._current_anchor = self._anchor(timestamp)
        self._current_cache = tick_cache

    def _anchor(self, timestamp: datetime | RunAnchor) -> RunAnchor:
        if isinstance(timestamp, RunAnchor):
            return timestamp
        if not isinstance(timestamp, datetime):
            raise CacheNotConfiguredError(
                "Cannot start a run: timestamp must be a datetime or a RunAnchor, got "
                f"{type(timestamp).__name__}"
            )
        is_naive = timestamp.utcoffset() is None
        aware = timestamp.replace(tzinfo=UTC) if is_naive else timestamp
        wall_ns = (aware - _EPOCH) // timedelta(microseconds=1) * 1_000
        if not _WALL_NS_MIN <= wall_ns <= _WALL_NS_MAX:
            raise CacheNotConfiguredError(
                f"Cannot start a run: timestamp {timestamp} is outside the years 1 to 9999 in UTC"
            )
        anchor = RunAnchor(
            now_ns=0,
            wall_ns=wall_ns,
            run_id=str(self._run_count + 1),
            strategy_id=self._strategy_id,
            mode=self._mode,
        )
        self._run_count += 1
        return anchor

    def get_run_anchor(self) -> RunAnchor:
        """Return the anchor of the run. Raises CacheNotConfiguredError outside one."""
        if self._current_anchor is None:
            raise _not_configured("get the RunAnchor")
        return self._current_anchor

    def set_dto(self, key: str, dto: Struct) -> None:
        """Keep a DTO under a key, behind those that are there.

        Raises CacheNotConfiguredError outside a run, TypeError for what is no frozen msgspec
        Struct or holds what can be changed, or for a key that is no text.
        """
        cache = self._current_cache
        if cache is None:
            raise _not_configured("set a DTO")
        _check_key(key)
        kind = type(dto)
        if kind not in self._frozen_types:
            self._admit(kind)
        held = cache.get(key)
        if held is not None:
            held.append(dto)
        else:
            cache[key] = [dto]

    def _admit(self, kind: type) -> None:
        """Let pass, from now on, a type that nobody can change."""
        if not issubclass(kind, Struct):
            raise TypeError(f"a DTO must be a frozen msgspec Struct, got {kind.__name__}")
        if not kind.__struct_config__.frozen:
            raise TypeError(f"a DTO must be frozen: declare {kind.__name__}(Struct, frozen=True)")
        part = changeable_part(kind)
        if part:
            raise TypeError(
                f"a DTO must hold what nobody can change, but {part}: make it a number, a text, "
                "a tuple of such, or a frozen Struct"
            )
        self._frozen_types.add(kind)

    def get_dtos(self, key: str, dto_type: type[T]) -> list[T]:
        """Return all DTOs under a key, in the order they came; an empty list where there are none.

        Raises CacheNotConfiguredError outside a run, InvalidDTOTypeError where one of them is of
        another type, TypeError for a key that is no text, or a `dto_type` that is no type.
        """
        cache = self._current_cache
        if cache is None:
            raise _not_configured("get DTOs")
        _check_key(key)
        if not isinstance(dto_type, type):
            raise TypeError(f"dto_type must be a type, got {type(dto_type).__name__}")
        held = cache.get(key)
        if held is None:
            return []
        for dto in held:
            if type(dto) is not dto_type and not isinstance(dto, dto_type):
                raise InvalidDTOTypeError(
                    f"Expected {dto_type.__name__}, got {type(dto).__name__} for key {key!r}"
                )
        return held.copy()  # type: ignore[return-value]

    def has_dto(self, key: str) -> bool:
        """Whether there is any DTO under a key. Raises as `get_dtos` does."""
        if self._current_cache is None:
            raise _not_configured("look for a DTO")
        _check_key(key)
        return bool(self._current_cache.get(key))

    def clear(self) -> None:
        """End the run, if one is on: nothing of it can be read any more."""
        self._current_cache = None
        self._current_anchor = None


def _not_configured(what: str) -> CacheNotConfiguredError:
    return CacheNotConfiguredError(f"Cannot {what}: no run is on. Call start_run() first.")


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"the key of a DTO must be a str, got {type(key).__name__}")
