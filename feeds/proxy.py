"""Makes a strike of a reference price where the venue serves none; it is labelled PROXY.

It reads the samples that another feed keeps in shared memory (one mid a second) and averages them
over the market's averaging time, less the basis: how far such averages were from the venue's own
points, while there were any. Where no point ever came the basis is not known and left out, and so
it must be by whoever compares the reference with this strike: a strike says which of both it is.

The invariant: too few samples give no price. It publishes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cache.board import BoardReader, Miss, Snapshot, last_run
from cache.errors import PenstockError
from cache.layout import E9, tag_of
from cache.segment import ReaderSegment

COVER_MIN = 0.9
"""Share of the seconds of an average that must have been sampled."""

BASIS_KEEP = 0.98
"""Weight of the old basis when a new point comes."""


def mean_before(samples: Iterable[Snapshot], second: int, length_s: int) -> int:
    """Mean of the mids of the `length_s` seconds up to `second`; 0 where too few are known."""
    first_ns, last_ns = (second - length_s) * E9, second * E9
    # By second: where seconds were filled in later, the history stands there anew.
    mids = {one.wall_ns: one.mid_px_e9 for one in samples if first_ns < one.wall_ns <= last_ns}
    return sum(mids.values()) // len(mids) if len(mids) >= COVER_MIN * length_s else 0


class ProxyStrike(NamedTuple):
    """A strike made of a reference price; 0 unknown."""

    price_e9: int
    is_less_basis: bool


class ReferenceProxy:
    """Averages and bases of reference symbols, from the memory of their feed."""

    def __init__(self, role: str, namespace: str) -> None:
        self._role = role
        self._namespace = namespace
        self._segment: ReaderSegment | None = None
        self._board: BoardReader | None = None
        self.basis_e9: dict[str, int] = {}
        """By symbol; what is not in it is not known."""

    def on_point(self, symbol: str, second: int, price_e9: int, length_s: int) -> None:
        """Track the basis of a symbol by a point of the venue."""
        mean_e9 = self._mean(symbol, second, length_s)
        if not mean_e9:
            return
        basis_e9 = mean_e9 - price_e9
        before_e9 = self.basis_e9.get(symbol, basis_e9)
        self.basis_e9[symbol] = before_e9 + round((1.0 - BASIS_KEEP) * (basis_e9 - before_e9))

    def strike(self, symbol: str, second: int, length_s: int) -> ProxyStrike:
        """The symbol's average at `second`, less its basis where that is known."""
        mean_e9, basis_e9 = self._mean(symbol, second, length_s), self.basis_e9.get(symbol)
        price_e9 = max(0, mean_e9 - (basis_e9 or 0)) if mean_e9 else 0
        return ProxyStrike(price_e9, basis_e9 is not None)

    def _mean(self, symbol: str, second: int, length_s: int) -> int:
        board, tag = self._attached(), tag_of("binance", symbol)
        if board is None:
            return 0
        for slot in range(board.slot_count):
            if not isinstance(board.read(slot, tag), Miss):
                return mean_before(last_run(board, slot, tag), second, length_s)
        return 0

    def _attached(self) -> BoardReader | None:
        if self._segment is not None and not self._segment.is_current():
            self._segment = self._board = None
        if self._segment is None:
            try:
                segment = ReaderSegment.attach(self._role, namespace=self._namespace)
                self._segment, self._board = segment, segment.board("samples")
            except PenstockError:
                pass  # Not there yet, or not what it must be: tried again when it is asked for.
        return self._board
