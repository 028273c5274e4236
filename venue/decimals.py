"""Decimal strings of the venues to exact integers in units of 1e-9, and back.

Every price and size enters the project through `parse_e9` and leaves it through `format_e9`, so no
float is ever between a venue and shared memory. The invariant: `parse_e9(format_e9(v)) == v`, and
whatever the venues' grammar does not allow (NaN, exponents, signs, blanks, underscores, digits of
other scripts, a tenth decimal place, absurd magnitude) is a `DecimalError`, never a guess.

It knows no ticks, lots or limits of an instrument: those are judged by whoever has the instrument.
"""

from __future__ import annotations

E9 = 1_000_000_000
E9_MAX = 9_000_000_000 * E9
"""Largest magnitude accepted: it still fits a signed 64-bit word."""

_PLACES = 9
_LENGTH_MAX = 20  # ten digits, the point, nine digits
_SCALE: tuple[int, ...] = tuple(10 ** (_PLACES - places) for places in range(_PLACES + 1))
_KNOWN_MAX = 16_384


class DecimalError(ValueError):
    """Text that is no plain decimal number of the venues."""

    def __init__(self, text: object, cause: str) -> None:
        super().__init__(f"{_shorten(text)} is not a decimal amount: {cause}")


def _shorten(text: object) -> str:
    """Show at most 40 characters: what a venue sends may be megabytes."""
    return repr(text[:40]) if isinstance(text, (str, bytes)) else type(text).__name__


def _parse(text: str) -> int:
    """Parse without the memory of `parse_e9`."""
    if not isinstance(text, str):
        raise DecimalError(text, "not text")
    if len(text) > _LENGTH_MAX or not text.isascii():
        raise DecimalError(text, "too long or not ASCII")
    whole, point, part = text.partition(".")
    digits = whole + part
    # A point must be followed by a digit; the documentation of Polymarket does show ".48".
    if not digits.isdigit() or (point and not part):
        raise DecimalError(text, "expected digits with at most one point")
    if len(part) > _PLACES:
        raise DecimalError(text, f"more than {_PLACES} decimal places")
    value = int(digits) * _SCALE[len(part)]
    if value > E9_MAX:
        raise DecimalError(text, "magnitude is absurd")
    return value


class _Known(dict[str, int]):
    """What was parsed already: prices and many sizes of a book come again and again.

    Bounded by emptying, which costs nothing until it happens and then one parse for each text.
    Only valid texts enter, so garbage cannot push them out.
    """

    def __missing__(self, text: str) -> int:
        value = _parse(text)
        if len(self) >= _KNOWN_MAX:
            self.clear()
        self[text] = value
        return value


_known = _Known()


def parse_e9(text: str) -> int:
    """Parse a plain non-negative decimal of at most nine places into units of 1e-9, exactly."""
    try:
        return _known[text]
    except TypeError:  # unhashable: JSON arrays and objects
        raise DecimalError(text, "not text") from None


def parse_signed_e9(text: str) -> int:
    """Parse like `parse_e9`, but let one leading minus through."""
    if isinstance(text, str) and text[:1] == "-":
        return -parse_e9(text[1:])
    return parse_e9(text)


def parse_long_e9(text: str) -> int:
    """Parse a non-negative decimal of any number of places, cut (not rounded) to units of 1e-9.

    For the settlement price alone, which comes with eighteen places. Cutting keeps the order of
    two prices but for differences below 1e-9.
    """
    if not isinstance(text, str) or len(text) > 64:
        raise DecimalError(text, "not text, or too long")
    whole, point, part = text.partition(".")
    rest = part[_PLACES:]
    if rest and not (rest.isascii() and rest.isdigit()):
        raise DecimalError(text, "expected digits with at most one point")
    return _parse(whole + point + part[:_PLACES])


def format_e9(value: int) -> str:
    """Write units of 1e-9 as the venues do: no padding, no exponent, "0.5", "93900.09", "-2"."""
    if value < 0:
        return "-" + format_e9(-value)
    whole, part = divmod(value, E9)
    if not part:
        return str(whole)
    return f"{whole}.{part:09d}".rstrip("0")
