"""The store of one run: configured, filled, read, cleared; whatever is wrong says so."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from strategy.strategy_cache import (
    CacheAlreadyConfiguredError,
    CacheNotConfiguredError,
    InvalidDTOTypeError,
    IStrategyCache,
    RunAnchor,
    RunMode,
    StrategyCache,
    StrategyCacheType,
)

NOON = datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC)
ANCHOR = RunAnchor(
    now_ns=5, wall_ns=1_780_000_000_123_456_789, run_id="3-7", strategy_id="maker",
    mode=RunMode.LIVE,
)  # fmt: skip


class Signal(Struct, frozen=True):
    """A DTO."""

    strength: int


class Risk(Struct, frozen=True):
    """Another."""

    level: int


class Loose(Struct):
    """A Struct that can be changed: no DTO."""

    strength: int


class Notes(Struct, frozen=True):
    """Frozen, but what is in it can be changed: no DTO."""

    signal: Signal
    notes: list[str]


class Sketch:
    """No Struct at all."""


@pytest.fixture
def cache() -> StrategyCache:
    return StrategyCache()


@pytest.fixture
def running(cache: StrategyCache) -> StrategyCache:
    cache.start_run({}, NOON)
    return cache


# --- initialization -----------------------------------------------------------------------------


def test_a_new_cache_is_not_configured(cache: StrategyCache) -> None:
    with pytest.raises(CacheNotConfiguredError):
        cache.get_run_anchor()


def test_it_is_a_strategy_cache_to_whoever_wants_one_and_there_may_be_several() -> None:
    first, second = StrategyCache(), StrategyCache()
    assert isinstance(first, IStrategyCache)
    first.start_run({}, NOON)
    second.start_run({}, NOON)
    first.set_dto("signals", Signal(1))
    assert not second.has_dto("signals")


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (CacheNotConfiguredError, RuntimeError),
        (InvalidDTOTypeError, TypeError),
        (CacheAlreadyConfiguredError, ValueError),
    ],
)
def test_the_errors_are_of_the_kinds_that_callers_catch(
    error: type[Exception], base: type[Exception]
) -> None:
    assert issubclass(error, base)


# --- start_run ----------------------------------------------------------------------------------


def test_a_run_starts_at_a_naive_time_which_is_utc(cache: StrategyCache) -> None:
    cache.start_run({}, NOON.replace(tzinfo=None))
    assert cache.get_run_anchor().timestamp == NOON


@pytest.mark.parametrize("hours", [0, 2, -9])
def test_a_run_starts_at_an_aware_time_which_is_converted(cache: StrategyCache, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    cache.start_run({}, NOON.astimezone(zone))
    timestamp = cache.get_run_anchor().timestamp
    assert timestamp == NOON
    assert timestamp.tzinfo is UTC


def test_the_time_zone_of_the_host_has_no_part_in_a_naive_time(
    cache: StrategyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        cache.start_run({}, NOON.replace(tzinfo=None))
        assert cache.get_run_anchor().timestamp == NOON
    finally:
        monkeypatch.undo()
        time.tzset()


class Autumn(tzinfo):
    """A zone in the hour that comes twice: first summer's, then winter's."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        assert when is not None
        return timedelta(hours=1 if when.fold else 2)


@pytest.mark.parametrize(("fold", "hour"), [(0, 0), (1, 1)])
def test_an_hour_that_comes_twice_is_told_apart_by_its_fold(
    cache: StrategyCache, fold: int, hour: int
) -> None:
    twice = datetime(2026, 10, 25, 2, 30, tzinfo=Autumn(), fold=fold)
    cache.start_run({}, twice)
    assert cache.get_run_anchor().timestamp == datetime(2026, 10, 25, hour, 30, tzinfo=UTC)


class Nowhere(tzinfo):
    """A zone that knows no offset: by the language's own rule such a time is naive."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None


def test_a_time_in_a_zone_without_an_offset_is_naive(cache: StrategyCache) -> None:
    cache.start_run({}, NOON.replace(tzinfo=Nowhere()))
    assert cache.get_run_anchor().timestamp == NOON


@pytest.mark.parametrize(
    "timestamp",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
    ],
)
def test_a_time_that_utc_cannot_say_starts_nothing(
    cache: StrategyCache, timestamp: datetime
) -> None:
    with pytest.raises(CacheNotConfiguredError, match=f"timestamp {timestamp.year}|timestamp 0001"):
        cache.start_run({}, timestamp)
    with pytest.raises(CacheNotConfiguredError):
        cache.get_run_anchor()
    for end in (datetime.min, datetime.max):
        cache.start_run({}, end)
        assert cache.get_run_anchor().timestamp == end.replace(tzinfo=UTC)
        cache.clear()


def test_a_run_starts_under_an_anchor_that_is_kept_as_it_is(cache: StrategyCache) -> None:
    cache.start_run({}, ANCHOR)
    assert cache.get_run_anchor() is ANCHOR


def test_a_run_does_not_start_inside_another_which_goes_on(running: StrategyCache) -> None:
    running.set_dto("signals", Signal(1))
    with pytest.raises(CacheAlreadyConfiguredError, match="call clear"):
        running.start_run({}, ANCHOR)
    with pytest.raises(ValueError, match="run 1 is on"):
        running.start_run({}, ANCHOR)
    assert running.get_run_anchor().timestamp == NOON
    assert running.get_dtos("signals", Signal) == [Signal(1)]


def test_a_run_that_holds_nothing_yet_is_a_run_all_the_same(running: StrategyCache) -> None:
    with pytest.raises(CacheAlreadyConfiguredError):
        running.start_run({}, ANCHOR)
    assert running.get_run_anchor().timestamp == NOON


def test_what_was_refused_used_up_no_run_id(cache: StrategyCache) -> None:
    for timestamp in (None, datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))):
        with pytest.raises(CacheNotConfiguredError):
            cache.start_run({}, timestamp)  # type: ignore[arg-type]
    cache.start_run({}, NOON)
    assert cache.get_run_anchor().run_id == "1"


@pytest.mark.parametrize("timestamp", [None, 1_780_000_000, "2026-11-20T12:00:00Z"])
def test_what_is_no_time_starts_nothing(cache: StrategyCache, timestamp: Any) -> None:
    with pytest.raises(CacheNotConfiguredError, match=f"got {type(timestamp).__name__}"):
        cache.start_run({}, timestamp)
    with pytest.raises(CacheNotConfiguredError):
        cache.has_dto("signals")


@pytest.mark.parametrize(
    ("tick_cache", "word"),
    [
        (None, "NoneType"),
        ([], "list"),
        ({"signals": Signal(1)}, "Signal"),
        ({"signals": ["text"]}, "str"),
        ({7: []}, "int"),
    ],
)
def test_what_cannot_hold_dtos_starts_nothing(
    cache: StrategyCache, tick_cache: Any, word: str
) -> None:
    with pytest.raises(TypeError, match=f"got {word}"):
        cache.start_run(tick_cache, NOON)
    with pytest.raises(CacheNotConfiguredError):
        cache.get_run_anchor()


def test_the_dtos_are_kept_in_the_callers_own_dictionary(cache: StrategyCache) -> None:
    tick_cache: StrategyCacheType = {"signals": [Signal(1)]}
    cache.start_run(tick_cache, NOON)
    cache.set_dto("signals", Signal(2))
    cache.set_dto("threats", Risk(3))
    assert tick_cache == {"signals": [Signal(1), Signal(2)], "threats": [Risk(3)]}
    cache.clear()
    assert tick_cache == {"signals": [Signal(1), Signal(2)], "threats": [Risk(3)]}


# --- get_run_anchor -----------------------------------------------------------------------------


def test_outside_a_run_there_is_no_anchor(running: StrategyCache) -> None:
    running.clear()
    with pytest.raises(CacheNotConfiguredError, match=r"get the RunAnchor.*start_run\(\) first"):
        running.get_run_anchor()


@pytest.mark.parametrize(
    "field", ["now_ns", "wall_ns", "run_id", "strategy_id", "mode", "timestamp"]
)
def test_an_anchor_cannot_be_changed(running: StrategyCache, field: str) -> None:
    anchor = running.get_run_anchor()
    with pytest.raises(AttributeError):
        setattr(anchor, field, getattr(anchor, field))


def test_an_anchor_says_whose_run_it_is_and_each_run_has_an_id_of_its_own() -> None:
    cache = StrategyCache("maker", RunMode.REPLAY)
    anchors = []
    for _ in range(3):
        cache.start_run({}, NOON)
        anchors.append(cache.get_run_anchor())
        cache.clear()
    assert {(anchor.strategy_id, anchor.mode) for anchor in anchors} == {("maker", RunMode.REPLAY)}
    assert len({anchor.run_id for anchor in anchors}) == 3
    assert anchors[0].now_ns == 0  # a plain time is on no clock of this host


@pytest.mark.parametrize(
    ("wall_ns", "timestamp"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_780_000_000_123_456_789, datetime(2026, 5, 28, 20, 26, 40, 123_456, tzinfo=UTC)),
        (-1_000, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_the_timestamp_is_exact_to_the_microsecond(wall_ns: int, timestamp: datetime) -> None:
    anchor = RunAnchor(0, wall_ns, "1", "maker", RunMode.PAPER)
    assert anchor.timestamp == timestamp


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"now_ns": "5"}, TypeError, "now_ns must be int, got str"),
        ({"now_ns": 5.0}, TypeError, "now_ns must be int, got float"),
        ({"now_ns": True}, TypeError, "now_ns must be int, got bool"),
        ({"now_ns": -1}, ValueError, "now_ns is -0x1"),
        ({"wall_ns": None}, TypeError, "wall_ns must be int, got NoneType"),
        ({"wall_ns": 1 << 68}, ValueError, "wall_ns is 0x1"),
        ({"wall_ns": -(10**5000)}, ValueError, "wall_ns is -0x"),
        ({"run_id": 7}, TypeError, "run_id must be str, got int"),
        ({"strategy_id": b"maker"}, TypeError, "strategy_id must be str, got bytes"),
        ({"mode": "live"}, TypeError, "mode must be RunMode, got str"),
    ],
)
def test_an_anchor_of_what_cannot_be_is_refused_by_the_field(
    changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{says}"):
        replace(ANCHOR, **changes)


def test_a_mode_is_one_of_the_four() -> None:
    assert [mode.value for mode in RunMode] == ["live", "paper", "replay", "backtest"]


# --- set_dto ------------------------------------------------------------------------------------


def test_outside_a_run_nothing_is_stored(cache: StrategyCache) -> None:
    with pytest.raises(CacheNotConfiguredError, match=r"set a DTO.*start_run\(\) first"):
        cache.set_dto("signals", Signal(1))


@pytest.mark.parametrize(
    ("dto", "word"),
    [
        ("not_a_dto", "got str"),
        (None, "got NoneType"),
        ({"strength": 1}, "got dict"),
        (Sketch(), "got Sketch"),
        (Signal, "got StructMeta"),
        (Loose(1), "Loose.*frozen=True"),
        (Notes(Signal(1), []), r"but Notes\.notes is list\[str\]: make it .* a tuple"),
    ],
)
def test_what_is_no_frozen_struct_is_refused_by_its_type(
    running: StrategyCache, dto: Any, word: str
) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match=word):
            running.set_dto("signals", dto)
    assert not running.has_dto("signals")


def test_a_type_that_passed_is_not_looked_at_again(
    running: StrategyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.set_dto("signals", Signal(1))
    monkeypatch.setattr("strategy.strategy_cache.changeable_part", None)
    running.set_dto("signals", Signal(2))
    running.clear()
    running.start_run({"signals": [Signal(3)]}, NOON)
    with pytest.raises(TypeError, match="not callable"):
        running.set_dto("threats", Risk(1))


def test_what_can_be_changed_does_not_begin_a_run_either(cache: StrategyCache) -> None:
    for dto, says in ((Notes(Signal(1), []), r"Notes\.notes is list"), (Loose(1), "frozen=True")):
        with pytest.raises(TypeError, match=says):
            cache.start_run({"signals": [Signal(1), dto]}, NOON)
    with pytest.raises(CacheNotConfiguredError):
        cache.get_run_anchor()


@pytest.mark.parametrize("key", [7, None, ["signals"], b"signals"])
def test_a_key_is_text(running: StrategyCache, key: Any) -> None:
    for use in (
        lambda: running.set_dto(key, Signal(1)),
        lambda: running.get_dtos(key, Signal),
        lambda: running.has_dto(key),
    ):
        with pytest.raises(
            TypeError, match=f"key of a DTO must be a str, got {type(key).__name__}"
        ):
            use()


def test_dtos_of_a_key_keep_their_order_and_other_keys_their_own(running: StrategyCache) -> None:
    for strength in (3, 1, 2):
        running.set_dto("signals", Signal(strength))
    running.set_dto("threats", Risk(9))
    assert running.get_dtos("signals", Signal) == [Signal(3), Signal(1), Signal(2)]
    assert running.get_dtos("threats", Risk) == [Risk(9)]


# --- get_dtos -----------------------------------------------------------------------------------


def test_outside_a_run_nothing_is_read(cache: StrategyCache) -> None:
    with pytest.raises(CacheNotConfiguredError, match=r"get DTOs.*start_run\(\) first"):
        cache.get_dtos("signals", Signal)


def test_another_type_than_asked_for_is_refused_with_both_names(running: StrategyCache) -> None:
    running.set_dto("signals", Signal(1))
    with pytest.raises(InvalidDTOTypeError, match=r"Expected Risk, got Signal for key 'signals'"):
        running.get_dtos("signals", Risk)
    assert running.get_dtos("signals", Signal) == [Signal(1)]


def test_one_of_another_type_among_many_is_enough(running: StrategyCache) -> None:
    running.set_dto("signals", Signal(1))
    running.set_dto("signals", Risk(1))
    with pytest.raises(InvalidDTOTypeError, match="got Risk"):
        running.get_dtos("signals", Signal)
    assert len(running.get_dtos("signals", Struct)) == 2


def test_a_key_without_dtos_gives_an_empty_list(cache: StrategyCache) -> None:
    tick_cache: StrategyCacheType = {}
    cache.start_run(tick_cache, NOON)
    assert cache.get_dtos("signals", Signal) == []
    assert cache.has_dto("signals") is False
    assert tick_cache == {}


@pytest.mark.parametrize("dto_type", ["Signal", None, (Signal, Risk), Signal(1)])
def test_what_is_asked_for_is_a_type_whether_anything_is_there_or_not(
    running: StrategyCache, dto_type: Any
) -> None:
    for _ in range(2):
        with pytest.raises(
            TypeError, match=f"dto_type must be a type, got {type(dto_type).__name__}"
        ):
            running.get_dtos("signals", dto_type)
        running.set_dto("signals", Signal(1))


def test_what_is_done_to_the_list_that_was_given_out_changes_nothing(
    running: StrategyCache,
) -> None:
    running.set_dto("signals", Signal(1))
    got = running.get_dtos("signals", Signal)
    got.clear()
    got.append(Signal(2))
    running.get_dtos("threats", Risk).append(Risk(1))
    assert running.get_dtos("signals", Signal) == [Signal(1)]
    assert not running.has_dto("threats")


# --- has_dto ------------------------------------------------------------------------------------


def test_outside_a_run_nothing_is_looked_for(cache: StrategyCache) -> None:
    with pytest.raises(CacheNotConfiguredError, match=r"look for a DTO.*start_run\(\) first"):
        cache.has_dto("signals")


def test_a_key_that_is_missing_or_empty_has_none(cache: StrategyCache) -> None:
    cache.start_run({"empty": []}, NOON)
    assert cache.has_dto("missing") is False
    assert cache.has_dto("empty") is False


def test_a_key_with_a_dto_has_one(running: StrategyCache) -> None:
    running.set_dto("signals", Signal(1))
    assert running.has_dto("signals") is True


# --- clear --------------------------------------------------------------------------------------


def test_clearing_ends_the_run_wholly(running: StrategyCache) -> None:
    running.set_dto("signals", Signal(1))
    running.clear()
    for use in (
        running.get_run_anchor,
        lambda: running.set_dto("signals", Signal(1)),
        lambda: running.get_dtos("signals", Signal),
        lambda: running.has_dto("signals"),
    ):
        with pytest.raises(CacheNotConfiguredError):
            use()


def test_clearing_twice_or_before_any_run_does_nothing(cache: StrategyCache) -> None:
    cache.clear()
    cache.start_run({}, NOON)
    cache.clear()
    cache.clear()
    cache.start_run({}, NOON)


# --- the whole life -----------------------------------------------------------------------------


def test_a_run_starts_stores_reads_clears_and_the_next_one_sees_nothing_of_it(
    cache: StrategyCache,
) -> None:
    cache.start_run({}, NOON)
    cache.set_dto("signals", Signal(1))
    cache.set_dto("threats", Risk(2))
    assert cache.has_dto("signals")
    assert cache.get_dtos("signals", Signal) == [Signal(1)]
    assert cache.get_dtos("threats", Risk) == [Risk(2)]
    cache.clear()
    cache.start_run({}, NOON + timedelta(seconds=1))
    assert cache.get_run_anchor().timestamp == NOON + timedelta(seconds=1)
    assert not cache.has_dto("signals")
    assert cache.get_dtos("threats", Risk) == []
