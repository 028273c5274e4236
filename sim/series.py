"""The rolling series of up/down windows: which market a start names, and its ids.

A window of the family starts at each multiple of its length. Its condition id and its two token
ids follow from the seed and the start, so they are known before the market exists and again after
the venue was killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sim.params import EPOCH_S, ModelParams
from sim.seeding import digest, fraction
from venue.settlement import Window, parse_family, parse_slug

_NS = 1_000_000_000
_MARKET_ID = 3_000_000
_FIRST_START_S = 1_767_225_600
_RESOLVED_S = 14.0
_RESOLVED_SPAN_S = 6.0


@dataclass(frozen=True, slots=True)
class Contract:
    """One market: a window and what the venue calls it. Index 0 of a pair is Up."""

    start_s: int
    slug: str
    market_id: int
    condition_id: str
    question_id: str
    up: str
    down: str
    resolved_ns: int

    @property
    def end_s(self) -> int:
        return self.start_s + EPOCH_S

    @property
    def tokens(self) -> tuple[str, str]:
        return (self.up, self.down)


class Series:
    """Names the windows of one family."""

    def __init__(self, seed: int, params: ModelParams) -> None:
        family = parse_family(params.family)
        if family is None or family.length_s != EPOCH_S:
            raise ValueError(f"family {params.family!r}: use one of {EPOCH_S} s, as btc-updown-5m")
        self.family = family
        self._seed = seed
        self.contract = lru_cache(maxsize=64)(self._make_contract)

    def by_slug(self, slug: str) -> Contract | None:
        """Return the market a slug names; None when it is not of this series."""
        window = parse_slug(slug)
        if window is None or window.family != self.family:
            return None
        return self.contract(window.start_s)

    def _make_contract(self, start_s: int) -> Contract:
        name, seed = self.family.name, self._seed
        slug = Window(self.family, start_s).slug
        late_s = _RESOLVED_S + _RESOLVED_SPAN_S * fraction(seed, name, start_s, "resolved")
        return Contract(
            start_s=start_s,
            slug=slug,
            market_id=_MARKET_ID + (start_s - _FIRST_START_S) // EPOCH_S,
            condition_id="0x" + digest(seed, name, start_s, "condition").hex(),
            question_id="0x" + digest(seed, name, start_s, "question").hex(),
            up=_token(digest(seed, name, start_s, "up")),
            down=_token(digest(seed, name, start_s, "down")),
            resolved_ns=(start_s + EPOCH_S) * _NS + int(late_s * _NS),
        )


def _token(noise: bytes) -> str:
    """Make a token id of 77 digits, as most of the venue's have."""
    return str(10**76 + int.from_bytes(noise, "big") % (9 * 10**76))
