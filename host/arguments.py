"""The words of a command line: a parser that raises what is wrong, and numbers within limits.

Wrong usage is a `UsageError`, so that it is told like every other error: as text or, for programs,
as JSON. What a command does with its words is not this module's business.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn, TypeVar

from cache.errors import PenstockError

Number = TypeVar("Number", int, float)
DAY_S = 86_400.0
YEAR_S = 366 * DAY_S


class UsageError(PenstockError):
    """The words of a command line cannot be followed."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print and exit; its subparsers are like it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.format_usage()}{self.prog}: {message}")


def real(least: float, most: float) -> Callable[[str], float]:
    """Make a converter for numbers from `least` to `most`; neither nan nor inf is one."""
    return _within(float, least, most, f"a number from {least:g} to {most:g}")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Make a converter for whole numbers from `least` to `most`."""
    return _within(int, least, most, f"a whole number from {least} to {most}")


def _within(
    kind: Callable[[str], Number], least: Number, most: Number, wanted: str
) -> Callable[[str], Number]:
    def convert(text: str) -> Number:
        try:
            value = kind(text)
            if least <= value <= most:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r}: write {wanted}")

    return convert
