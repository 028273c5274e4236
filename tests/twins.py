"""Either twin of the books, for the tests of several packages."""

from collections.abc import Iterator
from types import MemberDescriptorType, ModuleType
from typing import Any

import pytest

from feeds import book, market_channel, pair, pure_book, pure_pair, rest_books_wire, text_numbers
from feeds.core import find
from feeds.polymarket_wire import Change, Level, Message
from feeds.text_numbers import OutOfRangeError, crossed


def book_core() -> tuple[ModuleType | None, str]:
    """The C core, ready for use whatever this run chose for itself; or None and why."""
    core, absence = find("")
    if core is not None:
        core.configure(Change, Level, Message, OutOfRangeError, crossed)
    return core, absence


def derived(cls: type[Any], base: type[Any]) -> type[Any]:
    """Make the class anew on the base of another twin."""
    dropped = ("__dict__", "__weakref__")
    body = {
        name: value
        for name, value in vars(cls).items()
        if name not in dropped and not isinstance(value, MemberDescriptorType)
    }
    return type(cls.__name__, (base,), body)


@pytest.fixture(scope="module", params=["pure", "core"])
def book_twin(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put either twin where the feed uses it."""
    levels, state, parse = pure_book.Levels, pure_pair.PairState, text_numbers.parse_time_ns
    markets = pure_pair.Markets
    if request.param == "core":
        twin, absence = book_core()
        if twin is None:
            pytest.skip(absence)
        markets = twin.Markets
        levels, state, parse = twin.Levels, twin.PairState, twin.parse_time_ns
    token_book = derived(book.TokenBook, levels)
    with pytest.MonkeyPatch.context() as patch:
        for user in (book, pair, rest_books_wire):
            for name, value in (
                ("Levels", levels), ("TokenBook", token_book), ("parse_time_ns", parse),
            ):  # fmt: skip
                if hasattr(user, name):
                    patch.setattr(user, name, value)
        patch.setattr(pair, "Pair", derived(pair.Pair, state))
        patch.setattr(market_channel, "Markets", markets)
        yield
