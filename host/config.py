"""Reads the configuration: penstock.toml, a user's file over it, the environment over both.

A process reads it once at start and passes its sections on; nothing else opens a configuration
file. Invariant: what `load` returns has been checked whole, against the types and ranges of
`host/settings.py`, and where it cannot be, every fault is reported together, each with what to
change. It holds no secret: those are read from the environment by whoever needs them (`secret`),
and a key that looks like one is refused.

To add a key see `host/settings.py`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from cache.errors import PenstockError
from host.settings import Config, Section

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "penstock.toml"
CONFIG_VARIABLE = "PENSTOCK_CONFIG"

_SECRET_KEY = re.compile(r"(^|_)(secret|password|passphrase|private_key|api_key|mnemonic)(_|$)")
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_SIM_PLACE = "{sim}"


class ConfigError(PenstockError):
    """The configuration cannot be used; `faults` holds one sentence for each thing to change."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n  - ".join([f"the configuration has {count}:", *faults]))


def load(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check the configuration, or raise ConfigError with every fault in it.

    `path` (else PENSTOCK_CONFIG, else nothing) lies over the shipped penstock.toml, key by key.
    """
    chosen = path or environ.get(CONFIG_VARIABLE) or None
    faults: list[str] = []
    layers = [_read(DEFAULT_PATH, faults)]
    if chosen is not None and Path(chosen).resolve() != DEFAULT_PATH:
        layers.append(_read(Path(chosen), faults))
    values: dict[str, Any] = {}
    for layer in layers:
        _merge(values, layer)
    where = str(chosen or DEFAULT_PATH)
    _apply_environment(values, environ, faults)
    _resolve_sim(values)
    config = _build(Config, values, "", where, faults)
    if config is None or faults:
        raise ConfigError(faults)
    assert isinstance(config, Config)
    return config


def effective(config: Config) -> dict[str, object]:
    """Give every key as `section.key`, credentials masked: what a process logs once at start."""
    flat: dict[str, object] = {}

    def walk(section: Section, prefix: str) -> None:
        for name in section.__struct_fields__:
            value = getattr(section, name)
            if isinstance(value, Section):
                walk(value, f"{prefix}{name}.")
            else:
                flat[f"{prefix}{name}"] = mask(value)

    walk(config, "")
    return flat


def mask(value: object) -> object:
    """Hide the credentials of a URL; anything else passes unchanged."""
    return _URL_LOGIN.sub("***", value) if isinstance(value, str) else value


def secret(name: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Read a secret from the environment, or raise ConfigError naming the variable to set."""
    value = environ.get(name, "")
    if not value:
        raise ConfigError([f"{name} is not set: put the secret into that environment variable"])
    return value


def _read(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        faults.append(f"{path} cannot be read ({error.strerror}): name a file that exists")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{path} is not TOML: {error}")
    return {}


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def keys(kind: type[Section] = Config, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key there is, such as ("host", "namespace")."""
    for name, hint in get_type_hints(kind).items():
        if _is_section(hint):
            yield from keys(hint, (*prefix, name))
        else:
            yield (*prefix, name)


def _apply_environment(
    values: dict[str, Any], environ: Mapping[str, str], faults: list[str]
) -> None:
    """Lay PENSTOCK_<SECTION>_<KEY> over the values; a name of no key is a fault."""
    known = {"PENSTOCK_" + "_".join(path).upper(): path for path in keys()}
    sections = tuple(f"PENSTOCK_{name.upper()}_" for name in Config.__struct_fields__)
    for name, text in environ.items():
        if name in known:
            *outer, key = known[name]
            place = values
            for part in outer:
                place = place.setdefault(part, {})
            place[key] = _from_text(text, place.get(key))
        elif name.startswith(sections):
            faults.append(f"{name} in the environment sets no key{_nearest(name, known)}")


def _from_text(text: str, shipped: object) -> object:
    """Read a value out of the environment: text where the shipped value is text, else TOML."""
    if isinstance(shipped, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _resolve_sim(values: dict[str, Any]) -> None:
    """Put the address of the simulated venue in the place of `{sim}` in the endpoints."""
    sim = values.get("sim")
    if not isinstance(sim, dict):
        return
    address = f"{sim.get('host')}:{sim.get('port')}"
    for venue in values.get("venues", {}).values():
        if not isinstance(venue, dict):
            continue
        for key, value in venue.items():
            if isinstance(value, str):
                venue[key] = value.replace(_SIM_PLACE, address)


def _build(
    kind: type[Section], values: object, place: str, where: str, faults: list[str]
) -> Section | None:
    """Make a section out of plain values; add every fault, and give None where there was one."""
    if not isinstance(values, dict):
        faults.append(f"{place} is {values!r}: make it a section, [{place}]")
        return None
    hints = get_type_hints(kind, include_extras=True)
    before = len(faults)
    made: dict[str, Any] = {}
    for name in values.keys() - hints.keys():
        faults.append(_unknown(name, place, where, hints))
    for name, hint in hints.items():
        full = f"{place}.{name}" if place else name
        if _is_section(hint):
            made[name] = _build(hint, values.get(name, {}), full, where, faults)
        elif name not in values:
            faults.append(f"{full} is missing: set {name} under [{place}] in {where}")
        else:
            try:
                made[name] = msgspec.convert(values[name], hint)
            except msgspec.ValidationError as error:
                reason = str(error).replace("Expected", "expected")
                faults.append(f"{full} is {mask(values[name])!r}: {reason}; {describe(hint)}")
    if len(faults) > before:
        return None
    section = kind(**made)
    faults.extend(f"{place}: {fault}" if place else fault for fault in section.faults())
    return section


def _unknown(name: str, place: str, where: str, hints: Mapping[str, object]) -> str:
    full = f"{place}.{name}" if place else name
    if _SECRET_KEY.search(name):
        return f"{full} looks like a secret: take it out of {where} and put it in the environment"
    return f"{full} is unknown: remove it from {where}{_nearest(name, hints)}"


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", or write {near[0]}" if near else ""


def describe(hint: object) -> str:
    """Say in words what a key may hold, from its type."""
    info = msgspec.inspect.type_info(hint)
    if isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        noun = "a whole number" if isinstance(info, msgspec.inspect.IntType) else "a number"
        limits = [
            f"{word} {limit}"
            for word, limit in (
                ("at least", info.ge), ("above", info.gt), ("at most", info.le), ("below", info.lt),
            )
            if limit is not None
        ]  # fmt: skip
        return " ".join(["write", noun, " and ".join(limits)]).strip()
    if isinstance(info, msgspec.inspect.LiteralType):
        return "write one of " + ", ".join(f'"{value}"' for value in info.values)
    if isinstance(info, msgspec.inspect.StrType):
        return f"write text that matches {info.pattern}" if info.pattern else "write text"
    if isinstance(info, msgspec.inspect.BoolType):
        return "write true or false"
    if isinstance(info, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
        return 'write a list, such as ["one", "two"]'
    return "see penstock.toml"


def _is_section(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)
