"""How a cache says no: an input that cannot be is refused by its name, with what it was; pure.

What publishes for others (`pm_cache`, `bn_cache`, `bn_poll`) checks everything before it changes
anything; these are the parts of it that they share. It judges no price and knows no market.
"""

from __future__ import annotations

from cache.errors import UpdateRefused

WHOLE_MAX = 2**63 - 1
"""Times, ids and numbers of every record fit below it."""


def shown(value: object, most: int = 60) -> str:
    """A value as a message shows it, whatever it is and however long."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"  # Which Python may refuse to write.
    try:
        return repr(value)[:most]
    except (ValueError, RecursionError):  # What is in it is as long, or too deep.
        return f"of type {type(value).__name__}"


def check_text(name: str, text: object, most: int) -> None:
    """Let pass what a field of `most` bytes can hold as it is. Raises UpdateRefused."""
    if not isinstance(text, str):
        raise UpdateRefused(f"{name} is {type(text).__name__}: it must be text")
    if not text or not text.isascii() or not text.isprintable() or len(text) > most:
        raise UpdateRefused(f"{name} is {shown(text)}: it must be 1 to {most} ASCII characters")


def check_whole_number(name: str, value: object, *, least: int = 0, most: int = WHOLE_MAX) -> None:
    """Let pass what a field of eight bytes can hold as it is. Raises UpdateRefused."""
    if type(value) is not int or not least <= value <= most:
        said = f"{name} is {shown(value)}"
        raise UpdateRefused(f"{said}: it must be a whole number, {least} to {most}")
