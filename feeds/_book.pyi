"""The C core of the books: the same names as feeds/pure_book.py."""

from typing import Any

from feeds.pure_book import apply_changes as apply_changes
from feeds.pure_book import parse_time_ns as parse_time_ns
from feeds.pure_book import read_side as read_side

def configure(
    book: type[Any],
    change: type[Any],
    level: type[Any],
    error: type[ValueError],
    /,
) -> None: ...
