"""Either twin of the loops over levels, for the tests of several packages."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from feeds import book, pair, pure_book
from feeds.core import find
from feeds.polymarket_wire import Change, Level
from feeds.pure_book import OutOfRangeError


def book_core() -> tuple[ModuleType | None, str]:
    """The C core, ready for use whatever this run chose for itself; or None and why."""
    core, absence = find("")
    if core is not None:
        core.configure(book.TokenBook, Change, Level, OutOfRangeError)
    return core, absence


@pytest.fixture(scope="module", params=["pure", "core"])
def book_twin(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put either twin where the feed calls it."""
    twin: ModuleType | None = pure_book
    if request.param == "core":
        twin, absence = book_core()
        if twin is None:
            pytest.skip(absence)
    with pytest.MonkeyPatch.context() as patch:
        for user in (book, pair):
            for name in ("apply_changes", "parse_time_ns", "read_side"):
                if hasattr(user, name):
                    patch.setattr(user, name, getattr(twin, name))
        yield
