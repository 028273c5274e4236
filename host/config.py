"""Reads the configuration: penstock.toml, a user's file over it, the environment over both.

A process reads it once at start and passes its sections on; nothing else opens a configuration
file. Invariant: what `load` returns has been checked whole, against the types, ranges and rules of
`host/settings.py`, and where it cannot be, every fault is reported together, each with what to
change. It holds no secret: those are read from the environment by whoever needs them (`secret`),
and a key that looks like one is refused.

To add a key see `host/settings.py`.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from cache.errors import PenstockError
from host.settings import VARIABLES, Config, Section, Sim

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "penstock.toml"
CONFIG_VARIABLE = "PENSTOCK_CONFIG"
BYTES_MAX = 1 << 20
"""No configuration is larger; a file that is was named by mistake."""

VALUE_SHOWN = 80
"""Characters of a faulty value that its message repeats."""

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
    shipped = _read(DEFAULT_PATH, faults)
    faults += [f"{name} is missing in {DEFAULT_PATH}" for name in keys() if not _has(shipped, name)]
    if faults:
        raise ConfigError(faults)
    values = copy.deepcopy(shipped)
    if chosen is not None and os.path.realpath(chosen) != str(DEFAULT_PATH):
        _merge(values, _read(Path(chosen), faults))
    variables = _apply_environment(values, environ, shipped=shipped, faults=faults)
    _resolve_sim(values)
    check = _Check(str(chosen or DEFAULT_PATH), shipped, variables, faults)
    config = check.section(Config, values, "")
    if faults:
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
        if not stat.S_ISREG(path.stat().st_mode):
            faults.append(f"{path} is no regular file: name a file")
            return {}
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
        if len(raw) > BYTES_MAX:
            faults.append(f"{path} is larger than {BYTES_MAX:,} bytes: name a configuration")
            return {}
        return tomllib.loads(raw.decode())
    except PermissionError:
        faults.append(f"{path} cannot be read (Permission denied): make it readable to this user")
    except OSError as error:
        faults.append(f"{path} cannot be read ({error.strerror}): name a file that exists")
    except (ValueError, RecursionError) as error:  # Also what is no UTF-8, and an endless number.
        faults.append(f"{path} is not TOML: {error}")
    return {}


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def keys(kind: type[Section] = Config, place: str = "") -> Iterator[str]:
    """Yield every key there is by its full name, such as `host.namespace`."""
    for name, hint in get_type_hints(kind).items():
        full = f"{place}.{name}" if place else name
        if _is_section(hint):
            yield from keys(hint, full)
        else:
            yield full


def _at(values: object, full: str) -> Any:
    """Look a full name up. Raises KeyError."""
    for part in full.split("."):
        if not isinstance(values, dict):
            raise KeyError(full)
        values = values[part]
    return values


def _has(values: object, full: str) -> bool:
    try:
        _at(values, full)
    except KeyError:
        return False
    return True


def _apply_environment(
    values: dict[str, Any],
    environ: Mapping[str, str],
    *,
    shipped: Mapping[str, Any],
    faults: list[str],
) -> dict[str, str]:
    """Lay the variables over the values; give the variable of each key set by one.

    A key's own is PENSTOCK_<SECTION>_<KEY>, some have another name besides (`VARIABLES`). A name of
    no key is a fault, and so are two names of one key that do not say the same.
    """
    known = {"PENSTOCK_" + full.upper().replace(".", "_"): full for full in keys()} | VARIABLES
    sections = tuple(f"PENSTOCK_{name.upper()}_" for name in Config.__struct_fields__)
    variables: dict[str, str] = {}
    for name, text in environ.items():
        full = known.get(name)
        if full is None:
            if name.startswith((*sections, "BOOK_STORE_")):
                faults.append(f"{name} in the environment sets no key{_nearest(name, known)}")
            continue
        section, _, key = full.rpartition(".")
        if not _has(values, section) or not isinstance(place := _at(values, section), dict):
            continue
        value = _from_text(text, _at(shipped, full))
        if full in variables and place[key] != value:
            faults.append(f"{variables[full]} and {name} set {full} to different values: unset one")
        place[key], variables[full] = value, name
    return variables


def _from_text(text: str, shipped: object) -> object:
    """Read a value out of the environment: text where the shipped value is text, else TOML."""
    if isinstance(shipped, str):
        return text
    if isinstance(shipped, bool) and text in ("0", "1"):
        return text == "1"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _resolve_sim(values: dict[str, Any]) -> None:
    """Put the address of the simulated venue in the place of `{sim}` in the endpoints.

    Not an address that is faulty itself: one fault is said once.
    """
    hints = get_type_hints(Sim, include_extras=True)
    try:
        parts = [msgspec.convert(_at(values, f"sim.{n}"), hints[n]) for n in ("host", "port")]
        sections = [*_at(values, "venues").values(), *_at(values, "feeds").values()]
    except (KeyError, AttributeError, msgspec.ValidationError):
        return
    for section in sections:
        if not isinstance(section, dict):
            continue
        for key, value in section.items():
            if isinstance(value, str):
                section[key] = value.replace(_SIM_PLACE, f"{parts[0]}:{parts[1]}")


class _Check:
    """Makes sections out of plain values, and notes every fault on the way.

    The shipped value stands in for a faulty one, so that the rules over several keys are asked in
    the same round; a rule that concerns a faulty key is not.
    """

    def __init__(
        self, where: str, shipped: dict[str, Any], variables: dict[str, str], faults: list[str]
    ) -> None:
        self._where = where
        self._shipped = shipped
        self._variables = variables
        self._faults = faults
        self._faulty: set[str] = set()

    def section(self, kind: type[Section], values: Any, place: str) -> Section:
        """Make one section with those in it."""
        hints = get_type_hints(kind, include_extras=True)
        if not isinstance(values, dict):
            self._faults.append(f"{place} is {_shown(values)}: make it a section, [{place}]")
            self._faulty.update(keys(kind, place))
            values = _at(self._shipped, place)
        for name in values:
            if name not in hints:
                self._faults.append(_unknown(name, place, self._where, hints))
        made: dict[str, Any] = {}
        for name, hint in hints.items():
            full = f"{place}.{name}" if place else name
            if _is_section(hint):
                made[name] = self.section(hint, values[name], full)
            else:
                made[name] = self._key(values[name], hint, full)
        section = kind(**made)
        for fault in section.faults():
            concerned = [f"{place}.{key}" if place else key for key in fault.keys]
            if self._faulty.isdisjoint(concerned):
                text = f"{place}: {fault.text}" if place else fault.text
                self._faults.append(text + self._set_by(concerned))
        return section

    def _key(self, value: object, hint: object, full: str) -> object:
        found, faults = _convert(value, hint, full)
        if faults:
            self._faults += [text + self._set_by([full]) for text in faults]
            self._faulty.add(full)
            found, _ = _convert(_at(self._shipped, full), hint, full)
        return found

    def _set_by(self, concerned: list[str]) -> str:
        names = [self._variables[full] for full in concerned if full in self._variables]
        return f" (the environment sets {' and '.join(names)})" if names else ""


def _convert(value: object, hint: Any, title: str) -> tuple[object, list[str]]:
    """Give a value its type, or say what is wrong with it: of a list, with each element."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(bare) is tuple and isinstance(value, list):
        item, faults = get_args(bare)[0], []
        for at, element in enumerate(value):
            faults += _convert(element, item, f"{title}[{at}]")[1]
        if faults:
            return None, faults
    try:
        return msgspec.convert(value, hint), []
    except msgspec.ValidationError as error:
        reason = str(error).replace("Expected", "expected")
        return None, [f"{title} is {_shown(value)}: {reason}; {describe(hint)}"]


def _shown(value: object) -> str:
    """Repeat a value in a message: without credentials, and not without end."""
    text = repr(mask(value))
    return text if len(text) <= VALUE_SHOWN else text[:VALUE_SHOWN] + "..."


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
