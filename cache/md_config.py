"""The settings of the cache for what only REST offers: ranges, and every fault said at once.

`MDCacheConfig(...)` checks types and ranges and gives what it is told or raises `MDConfigError`;
`MDCacheConfig.parse` does so for values out of a file, unknown keys included. Nothing that failed
leaves anything behind: the value is frozen and made whole or not at all.

The types carry their ranges, so a section of penstock.toml can be made of this class as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from cache.errors import PenstockError
from cache.refusals import shown

NS_PER_MS = 1_000_000

RetryMillis = Annotated[int, Meta(ge=1, le=600_000)]


class MDConfigError(PenstockError, ValueError):
    """The settings cannot be used; `faults` holds one sentence for each thing to change."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n  - ".join([f"the market data cache has {count}:", *faults]))


class MDCacheConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a snapshot lives, how it is refreshed, when it is thrown away, how many are kept.

    Times in milliseconds. An age counts from the moment the venue was asked. `ttl_ms` is how long
    a snapshot is fresh; with `stale_ok` it is served on while it is refreshed, up to
    `stale_ms_max`. `refresh_try_count_max` tries make one refresh, each ended after
    `refresh_timeout_ms`; the delay after a failed one doubles from `retry_delay_ms` up to
    `retry_delay_ms_max`, and as much as half of it is taken off by chance.
    `share` and `shadow` are for `cache/md_rollout.py`: the cache itself does not look at them.
    """

    enabled: bool = False
    ttl_ms: Annotated[int, Meta(ge=10, le=5_000)] = 100
    max_depth: Annotated[int, Meta(ge=1, le=200)] = 50
    stale_ok: bool = True
    stale_ms_max: Annotated[int, Meta(ge=10, le=600_000)] = 5_000
    invalidate_on_ws_gap_ms: Annotated[int, Meta(ge=50, le=10_000)] = 300
    price_jump_ticks: Annotated[int, Meta(ge=1, le=10_000)] = 5
    max_inflight_refresh: Annotated[int, Meta(ge=1, le=8)] = 1
    refresh_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1_000
    refresh_try_count_max: Annotated[int, Meta(ge=1, le=10)] = 3
    retry_delay_ms: RetryMillis = 50
    retry_delay_ms_max: RetryMillis = 2_000
    symbols_max: Annotated[int, Meta(ge=1, le=65_536)] = 256
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    shadow: bool = False

    def __post_init__(self) -> None:
        faults = list(_of_fields(msgspec.structs.asdict(self)).values())
        if not faults:
            faults = [text for _, text in self.broken_rules()]
        if faults:
            raise MDConfigError(faults)

    def broken_rules(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each rule over several keys that does not hold: the keys, and what to change."""
        return _of_rules(msgspec.structs.asdict(self))

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> MDCacheConfig:
        """Check plain values, such as a section of a file. Raises MDConfigError with all faults."""
        if not isinstance(values, Mapping):
            raise MDConfigError([f"the settings are {_shown(values)}: make them a section"])
        known = {name: value for name, value in values.items() if name in _HINTS}
        wrong = _of_fields(known)
        faults = [_unknown(name) for name in values if name not in _HINTS] + list(wrong.values())
        # The default stands in for a faulty value; what is said of both would be no news.
        whole = _defaults() | {name: known[name] for name in known if name not in wrong}
        faults += [text for keys, text in _of_rules(whole) if wrong.keys().isdisjoint(keys)]
        if faults:
            raise MDConfigError(faults)
        return cls(**known)


_HINTS = get_type_hints(MDCacheConfig, include_extras=True)


def _defaults() -> dict[str, Any]:
    return {info.name: info.default for info in msgspec.structs.fields(MDCacheConfig)}


def _of_fields(values: Mapping[str, object]) -> dict[str, str]:
    """Say what is wrong with each value for itself. A bool is no number, nor is NaN."""
    found = {}
    for name, value in values.items():
        try:
            msgspec.convert(value, _HINTS[name])
        except msgspec.ValidationError:
            found[name] = f"{name} is {_shown(value)}: {_allowed(name)}"
    return found


def _of_rules(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, least in (("stale_ms_max", "ttl_ms"), ("retry_delay_ms_max", "retry_delay_ms")):
        if values[name] < values[least]:
            text = f"{name} is {values[name]}: make it at least {least}, {values[least]}"
            yield (name, least), text


def _allowed(name: str) -> str:
    info = msgspec.inspect.type_info(_HINTS[name])
    if isinstance(info, msgspec.inspect.IntType):
        return f"write a whole number at least {info.ge} and at most {info.le}"
    if isinstance(info, msgspec.inspect.FloatType):
        return f"write a number at least {info.ge:g} and at most {info.le:g}"
    return "write true or false"


def _unknown(name: object) -> str:
    near = difflib.get_close_matches(str(name), _HINTS, n=1)
    return f"{_shown(name)} is unknown: remove it" + (f", or write {near[0]}" if near else "")


def _shown(value: object) -> str:
    text = shown(value, 61)
    return text if len(text) <= 60 else f"{text[:60]}..."
