"""Who may be quoted at all: the warmup of the session, fed with what the runs read, and told.

The warmup (`cache/warmup.py`) is about tokens; this file says which those are. They are the tokens
of the markets that could be quoted now, by their time: a window that is over has no book to wait
for, and one that is far away has time to get one. A token is ready when its market's record is of
this incarnation of the feed and says neither WARMUP nor RESYNC of it. While the feed does not live
nothing is judged. It holds no books and decides no quotes; the gate judges every read besides.
"""

from __future__ import annotations

from cache.board import Miss
from cache.counters import Counter, CounterWriter
from cache.gate import Witness
from cache.instruments import Pair
from cache.layout import Flag, Reason
from cache.liveness import Liveness
from cache.warmup import Warmup
from host.clock import NS_PER_MS
from host.log import get_log
from strategy.inputs import Look, MarketSight
from strategy.params import StrategyParams
from strategy.strategy_cache import RunAnchor

_NOT_READY = int(Flag.WARMUP | Flag.RESYNC)

log = get_log("strategy")


class Admissions:
    """The warmup of one strategy process. Belongs to one thread."""

    def __init__(self, params: StrategyParams, counters: CounterWriter) -> None:
        self._counters = counters
        self._open_before_ns = params.maker.open_before_ns
        self._warmup = Warmup(
            timeout_ns=params.warmup_timeout_ns, min_ready_fraction=params.warmup_fraction
        )
        self._is_over = not params.has_warmup
        self._admits_all = self._is_over
        self._is_told = False
        self._disabled: list[str] = []
        self._timely: set[int] = set()
        """Markets whose time is now, by tag: of others their time says why they are not quoted."""

    def take(self, look: Look, witness: Witness, anchor: RunAnchor) -> None:
        """Judge what was read, while there is anything to be waited for."""
        if self._is_over or witness.liveness is not Liveness.LIVE:
            return
        ready: dict[int, bool] = {}
        names: dict[int, str] = {}
        self._timely.clear()
        for sight in look.markets.values():
            if self._is_timely(sight.pair, anchor.wall_ns):
                self._timely.add(sight.pair.tag)
                ready |= _readiness(sight, witness.incarnation)
                names |= {listed.tag: listed.id for listed in (sight.pair.yes, sight.pair.no)}
        self._tell(self._warmup.see(ready, anchor.now_ns), names)
        self._is_over = self._warmup.is_over
        self._admits_all = self._is_over and not self._warmup.disabled

    def of(self, pair: Pair) -> Reason:
        """Whether a market may be quoted: QUOTING, WARMING_UP or DISABLED."""
        if self._admits_all:
            return Reason.QUOTING
        if self._warmup.is_disabled((pair.yes.tag, pair.no.tag)):
            return Reason.DISABLED
        is_held = pair.tag in self._timely and not self._warmup.is_open
        return Reason.WARMING_UP if is_held else Reason.QUOTING

    def _is_timely(self, pair: Pair, wall_ns: int) -> bool:
        """Whether a market's time is now; one without a window has no other."""
        if not pair.window_end_ns:
            return True
        return pair.window_start_ns - self._open_before_ns <= wall_ns < pair.window_end_ns

    def _tell(self, failed: list[int], names: dict[int, str]) -> None:
        warmup = self._warmup
        if warmup.is_open and not self._is_told:
            self._is_told = True
            say = log.warning if warmup.has_expired else log.info
            took_ns = warmup.took_ns or 0
            say(
                "warmup_expired" if warmup.has_expired else "warmed_up",
                ready=f"{warmup.ready_count}/{warmup.token_count}",
                ms=took_ns // NS_PER_MS,
            )
            if warmup.has_expired:
                self._counters.add(Counter.strategy_warmups_expired)
        if failed:
            self._counters.add(Counter.strategy_tokens_disabled, len(failed))
            self._disabled += [names[token] for token in failed]
            log.error("tokens_disabled", tokens=",".join(self._disabled))


def _readiness(sight: MarketSight, incarnation: int) -> dict[int, bool]:
    """Say of both tokens of a market whether they have a whole book."""
    book, pair = sight.book, sight.pair
    if isinstance(book, Miss) or book.incarnation != incarnation:
        return {pair.yes.tag: False, pair.no.tag: False}
    return {
        pair.yes.tag: not book.yes_flags & _NOT_READY,
        pair.no.tag: not book.no_flags & _NOT_READY,
    }
