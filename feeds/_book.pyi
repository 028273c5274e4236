"""The C core of the books: the same names as feeds/pure_book.py and feeds/pure_pair.py."""

from collections.abc import Callable
from typing import Any

from feeds.pure_book import Levels as Levels
from feeds.pure_book import apply_changes as apply_changes
from feeds.pure_pair import Markets as Markets
from feeds.pure_pair import PairState as PairState
from feeds.text_numbers import parse_time_ns as parse_time_ns

def configure(
    change: type[Any],
    level: type[Any],
    message: type[Any],
    error: type[ValueError],
    crossed: Callable[[int, int], ValueError],
    /,
) -> None: ...
