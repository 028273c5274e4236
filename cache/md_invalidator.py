"""When a REST snapshot must not be served any more, seen from what the stream says.

The feed's loop tells it of every message, proof of the link and top of book, with the time; it
throws the symbol's snapshot out of an `MDCache` when the link had a gap, when the price jumped, or
when the price grid changed. Throwing one away too often costs a request, keeping one too long costs
a wrong price: so a move that cannot be measured throws it away.

A gap is silence of the symbol *and* of its link: a quiet market is not a gap while the link is
proven. Prices are judged in whole ticks of the instrument, exactly. Jumps count from the top that
was seen when the present snapshot came, so a price that drifts away step by step is a jump too; and
a jump while one is being asked for outdates that answer. The first top of a symbol has nothing to
be compared with: there the time to live is all there is. It reads no clock. Bounded: the least
recently seen symbol is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from cache.md_cache import MDCache
from cache.md_config import NS_PER_MS

WS_GAP = "ws_gap"
PRICE_JUMP = "price_jump"
TICK_CHANGE = "tick_change"
TICK_UNKNOWN = "tick_unknown"
RECONNECT = "reconnect"


class Verdict(Enum):
    """What a top of book says of the snapshot."""

    FIRST = "Nothing to compare it with: the first top of this symbol."
    STEADY = "Near the top that was there when the snapshot came."
    JUMPED = "Further away than allowed, or a side came or went: thrown away."
    RETICKED = "The price grid changed: thrown away."
    UNKNOWN = "It moved, and without a tick nobody knows how far: thrown away."


@dataclass(slots=True)
class _Seen:
    """What the stream said of one symbol. A price is None where the side is empty."""

    message_ns: int | None = None
    top: tuple[int | None, int | None] | None = None
    anchor: tuple[int | None, int | None] | None = None
    """The top that the present snapshot is judged from."""
    tick_e9: int | None = None
    """The last one that was known."""
    asked_ns: int | None = None
    """Which snapshot the anchor belongs to."""


class MDCacheInvalidator:
    """The watch over one cache and one link; belongs to the cache's thread."""

    def __init__(self, cache: MDCache) -> None:
        self._cache = cache
        self._gap_ns_max = cache.config.invalidate_on_ws_gap_ms * NS_PER_MS
        self._jump_ticks = cache.config.price_jump_ticks
        self._symbols_max = cache.config.symbols_max
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._link_ns: int | None = None
        self._gaps: set[str] = set()

    def on_message(self, symbol: str, now_ns: int) -> bool:
        """A message of a symbol came; True where that ended a gap, and the snapshot is gone."""
        is_gap = self._is_gap(symbol, now_ns)
        self._of(symbol).message_ns = now_ns
        if is_gap:
            self._cache.invalidate(symbol, reason=WS_GAP)
        return is_gap

    def on_link(self, now_ns: int) -> list[str]:
        """Something came that proves the link for every symbol; give those whose gap it ended.

        What proves it is the caller's decision: any frame, or an answer to a ping alone.
        """
        found = []
        if self._link_ns is not None and not 0 <= now_ns - self._link_ns <= self._gap_ns_max:
            found = [symbol for symbol in self._cache.symbols() if self._is_gap(symbol, now_ns)]
        self._link_ns = now_ns
        for symbol in found:
            self._cache.invalidate(symbol, reason=WS_GAP)
        return found

    def check(self, now_ns: int) -> list[str]:
        """Find the symbols whose gap goes on; each is thrown away once a gap. Call it on a timer.

        Without it a gap is only seen when the next message comes.
        """
        gaps = {symbol for symbol in self._cache.symbols() if self._is_gap(symbol, now_ns)}
        found = sorted(gaps - self._gaps)
        self._gaps = gaps
        for symbol in found:
            self._cache.invalidate(symbol, reason=WS_GAP)
        return found

    def on_reconnect(self) -> None:
        """The link was made anew: nothing from before it holds, and nothing is to be compared."""
        self._cache.invalidate_all(reason=RECONNECT)
        self._seen.clear()
        self._gaps.clear()
        self._link_ns = None

    def on_top(
        self, symbol: str, bid_px_e9: int | None, ask_px_e9: int | None, tick_e9: int | None
    ) -> Verdict:
        """Judge a top of book; a side that is empty is None or 0, so is a tick nobody knows."""
        top = (_px("bid_px_e9", bid_px_e9), _px("ask_px_e9", ask_px_e9))
        tick = _px("tick_e9", tick_e9)
        seen = self._of(symbol)
        asked_ns = self._cache.asked_ns(symbol)
        if asked_ns is not None and asked_ns != seen.asked_ns:
            # A newer snapshot came: judge from what was seen last before now.
            seen.asked_ns, seen.anchor = asked_ns, seen.top
        before, seen.top = seen.anchor, top
        tick_before, seen.tick_e9 = seen.tick_e9, tick or seen.tick_e9
        if before is None:
            seen.anchor = top
            return Verdict.FIRST
        verdict, reason = self._judge(before, top, tick_before, tick)
        if reason is not None:
            seen.anchor = top
            self._cache.invalidate(symbol, reason=reason)
        return verdict

    def _judge(
        self,
        before: tuple[int | None, int | None],
        top: tuple[int | None, int | None],
        tick_before: int | None,
        tick: int | None,
    ) -> tuple[Verdict, str | None]:
        if tick is None:
            same = before == top
            return (Verdict.STEADY, None) if same else (Verdict.UNKNOWN, TICK_UNKNOWN)
        if tick_before is not None and tick != tick_before:
            return Verdict.RETICKED, TICK_CHANGE
        for old, new in zip(before, top, strict=True):
            if old is None or new is None:
                if old is not new:
                    return Verdict.JUMPED, PRICE_JUMP
            elif abs(new - old) > self._jump_ticks * tick:
                return Verdict.JUMPED, PRICE_JUMP
        return Verdict.STEADY, None

    def _is_gap(self, symbol: str, now_ns: int) -> bool:
        """Tell whether the last proof is too old; where there never was one, nothing began."""
        seen = self._seen.get(symbol)
        message_ns = None if seen is None else seen.message_ns
        proofs = [at for at in (message_ns, self._link_ns) if at is not None]
        return bool(proofs) and not 0 <= now_ns - max(proofs) <= self._gap_ns_max

    def _of(self, symbol: str) -> _Seen:
        seen = self._seen.get(symbol)
        if seen is not None:
            self._seen.move_to_end(symbol)
            return seen
        if len(self._seen) >= self._symbols_max:
            self._seen.popitem(last=False)
        seen = self._seen[symbol] = _Seen()
        return seen


def _px(name: str, value: int | None) -> int | None:
    if value is None or (type(value) is int and value == 0):
        return None
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {value!r}: it must be a whole number of 1e-9, or None")
    return value
