"""How a cache says no: an input that cannot be is refused by its name, with what it was; pure.

What publishes for others (`pm_cache`, `bn_cache`, `bn_poll`) checks everything before it changes
anything; these are the parts of it that they share. It judges no price and knows no market.
"""

from __future__ import annotations

from cache.errors import UpdateRefused


def shown(value: object) -> str:
    """A value as a message shows it, whatever it is and however long."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"  # Which Python may refuse to write.
    return repr(value)[:60]


def check_text(name: str, text: object, most: int) -> None:
    """Let pass what a field of `most` bytes can hold as it is. Raises UpdateRefused."""
    if not isinstance(text, str):
        raise UpdateRefused(f"{name} is {type(text).__name__}: it must be text")
    if not text or not text.isascii() or not text.isprintable() or len(text) > most:
        raise UpdateRefused(f"{name} is {shown(text)}: it must be 1 to {most} ASCII characters")
