"""The strategy process: what a run is, when it is due, and what becomes of it.

    feeds' and executor's memory -> Inputs.look -> clock -> gate, views -> TickManager: frozen in
        the StrategyCache, threats, signals, plan -> quotes board -> bell

A run reads each input once, decides on what it froze, publishes, and forgets. Inputs may be
missing, die, or be replaced at any time: then the markets concerned are withheld with their reason,
and nothing else happens. A fault of the strategy's own withdraws everything and ends the process.
The invariant: what is wanted of a market was decided in the last run, and a market that the feed
lists no longer was withdrawn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from cache.book_metrics import BookMetrics
from cache.counters import Counter, Histogram
from cache.gate import Witness
from cache.instruments import Pair
from cache.layout import TARGET_QUOTES, BoardSpec, Reason, tag_of
from cache.liveness import Liveness
from cache.segment import ReaderSegment, WriterSegment
from host.clock import NS_PER_S, monotonic_ns, wall_ns
from host.idle import IdleStrategy
from host.log import get_log
from strategy.inputs import Inputs, Look, MarketFeed, ReferenceFeed
from strategy.link import Link
from strategy.market_maker import (
    NOTHING,
    VIEWS,
    MakerPlanner,
    SignalWorker,
    ThreatWorker,
    nothing,
)
from strategy.params import StrategyParams
from strategy.slots import QuoteSlots
from strategy.strategy_cache import RunAnchor, StrategyCache
from strategy.tick import Market, TargetQuotes, View, record_values
from strategy.tick_manager import TickManager
from strategy.views import Own, ViewBuilder, Witnesses
from strategy.warming import Admissions

BLIND_NS = NS_PER_S
"""After the host slept nothing is quoted for so long: the feeds have to notice it too."""

REST_NS = 200_000_000
"""Where nothing is wanted, and time alone cannot change that, so long passes between two runs.

Anything new that comes ends the rest; what does not come as a record (a link that is proven again,
a writer that beats again, a window that opens) is noticed at its end.
"""

_RESTING = frozenset(
    {
        Reason.NO_MARKET, Reason.NO_BOOK, Reason.NO_REFERENCE, Reason.NO_STRIKE,
        Reason.NO_VOLATILITY, Reason.NO_POSITION, Reason.UNTRUSTED_BOOK,
        Reason.UNTRUSTED_REFERENCE, Reason.OUTSIDE_WINDOW, Reason.WARMING_UP, Reason.DISABLED,
    }
)  # fmt: skip
"""Reasons that need an input to go away; but for a window's time, which may be late to begin."""

_PASSING = (Reason.LIMIT, Reason.NO_EDGE)
"""Reasons that come and go with the price."""

_UNTRUSTED = (Reason.UNTRUSTED_BOOK, Reason.UNTRUSTED_REFERENCE)
"""Reasons that may come and go with each stall of a feed; told as a fault, which collapses."""

_HALTED = Reason.HALTED

log = get_log("strategy")


def strategy_role(strategy_id: str) -> str:
    """Name of the segment of a strategy."""
    return f"strategy.{strategy_id}"


def strategy_boards(market_slots: int) -> tuple[BoardSpec, ...]:
    """The boards of a strategy's segment."""
    return (BoardSpec("quotes", TARGET_QUOTES, market_slots, 8),)


class SleepUntilDue(IdleStrategy):
    """Sleeps until the next run: a strategy on a fixed rate is woken by nothing else."""

    def idle(self, work_count: int, until_ns: int = 0) -> None:
        left_ns = until_ns - time.monotonic_ns()
        if not work_count and left_ns > 0:
            time.sleep(left_ns / NS_PER_S)


class StrategyRunner:
    """The role `strategy.<id>`."""

    def __init__(self, segment: WriterSegment, params: StrategyParams, inputs: Inputs) -> None:
        self.name = strategy_role(params.strategy_id)
        self.bells: list[ReaderSegment] = []
        self._segment = segment
        self._params = params
        self._inputs = inputs
        self._tag = tag_of("strategy", params.strategy_id)
        self._counters = segment.counters
        self._slots = QuoteSlots(
            segment.board("quotes"), segment.counters, valid_ns=params.maker.valid_ns
        )
        self._builder = ViewBuilder(params, BookMetrics(segment.counters))
        self._admissions = Admissions(params, segment.counters)
        self._ticks = TickManager(
            StrategyCache(params.strategy_id, params.mode),
            (ThreatWorker(params.maker), SignalWorker(params.maker)),
            MakerPlanner(params.maker),
            publish=self._decided,
            withdraw=self._broken_off,
        )
        self._reasons: dict[int, Reason] = {}
        self._live: frozenset[int] | None = None
        """Markets of the last run; None where something else withdrew quotes since."""
        self._has_rest = False
        self._incarnation = segment.incarnation
        self._run_count = 0
        self._due_ns = 0
        self._ran_ns = 0
        self._rest_ns = 0
        """How long the last run may be left alone unless something new comes; 0 not at all."""
        self._blind_ns = 0

    # --- host.process.Role ----------------------------------------------------------------------

    def on_start(self, now_ns: int) -> None:
        """Take back what the last incarnation wanted, until there is a decision of this one."""
        self._withdraw(Reason.HALTED)
        self._attach(now_ns)
        self._due_ns = now_ns

    def poll(self, now_ns: int) -> int:
        """Run if a run is due."""
        self._attach(now_ns)
        if now_ns < self._due_ns and not self._is_rung(now_ns):
            return 0
        self._plan(now_ns)
        if now_ns < self._ran_ns + self._rest_ns and not self._inputs.has_news():
            return 0
        self._ran_ns = now_ns
        self.run()
        return 1

    def on_halt(self, now_ns: int) -> None:
        """Want nothing any more."""
        self._withdraw(Reason.HALTED)

    def due_ns(self) -> int:
        """When the next run is due; sooner where something new waits for its turn."""
        interval_ns = self._params.bell_interval_ns
        if interval_ns is None:
            return self._due_ns
        if self._inputs.has_news():
            return min(self._due_ns, self._ran_ns + interval_ns)
        return max(self._due_ns, self._ran_ns + self._rest_ns)

    def on_suspend(self, gap_ns: int) -> None:
        """Be blind for a while: what lies in memory is older than its age says."""
        self._blind_ns = monotonic_ns() + BLIND_NS
        self._withdraw(Reason.HALTED)

    def _attach(self, now_ns: int) -> None:
        if self._inputs.refresh(now_ns):
            self.bells[:] = self._inputs.segments()

    def _is_rung(self, now_ns: int) -> bool:
        """Whether something new came and the last run is long enough ago."""
        interval_ns = self._params.bell_interval_ns
        if interval_ns is None or now_ns - self._ran_ns < interval_ns:
            return False
        return self._inputs.has_news()

    def _plan(self, now_ns: int) -> None:
        """Set the next run on the grid of the rate; runs that were missed are not made up."""
        interval_ns = self._params.interval_ns
        late_ns = now_ns - self._due_ns
        if self._params.bell_interval_ns is not None:
            self._due_ns = now_ns + interval_ns
        elif late_ns < interval_ns:
            self._due_ns += interval_ns
        else:
            self._due_ns = now_ns + interval_ns
            self._counters.add(Counter.strategy_ticks_late)

    # --- a run ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Read, freeze, decide, publish."""
        look = self._inputs.look()
        anchor = self._anchor()
        witnesses = Witnesses(
            _witness(self._inputs.market_feed, look.market_link_ns, anchor.now_ns),
            _witness(self._inputs.reference_feed, look.reference_link_ns, anchor.now_ns),
        )
        self._counters.add(Counter.strategy_ticks_run)
        self._admissions.take(look, witnesses.market, anchor)
        live = frozenset(look.markets)
        self._has_rest = True
        self._ticks.run(anchor, self._freeze(look, anchor, witnesses, live))
        if live != self._live:
            self._withdraw_gone(live, anchor)
            self._live = live
        self._rest_ns = REST_NS if self._has_rest else 0

    def _freeze(
        self, look: Look, anchor: RunAnchor, witnesses: Witnesses, live: frozenset[int]
    ) -> Iterator[tuple[str, View]]:
        """Give the inputs of the run: the view of each market that has a slot for its quotes."""
        standing, admit = self._slots.standing, self._admissions.of
        is_blind = anchor.now_ns < self._blind_ns
        is_told = self._inputs.account.liveness(anchor.now_ns) is Liveness.LIVE

        def own(market: Market, pair: Pair) -> Own:
            return (
                standing(market.tag),
                self._net_e9(market, anchor) if is_told else None,
                _HALTED if is_blind else admit(pair),
            )

        for view in self._builder.build(look, anchor, witnesses, own):
            if self._slots.claim(view.tag, anchor.now_ns, live=live):
                yield VIEWS, view

    def _decided(self, decision: tuple[View, TargetQuotes]) -> None:
        """Take a decision of the planner."""
        view, target = decision
        if target.quotes.is_empty:
            self._counters.add(Counter.strategy_quotes_withheld)
            self._has_rest = self._has_rest and target.reason in _RESTING
        else:
            self._has_rest = False
        self._offer(view.tag, target, view)

    def _broken_off(self) -> None:
        """Want nothing: a worker raised. The fault goes on and ends the process."""
        log.error("run_broken_off", run=self._run_count)
        self._withdraw(Reason.HALTED)

    def _withdraw_gone(self, live: frozenset[int], anchor: RunAnchor) -> None:
        """Want nothing, once, of markets that are listed no longer."""
        for tag in self._slots.tags - live:
            if self._reasons.get(tag) is not Reason.NO_MARKET:
                self._offer(tag, nothing(Reason.NO_MARKET), _empty_view(anchor))
        for tag in self._reasons.keys() - self._slots.tags:
            del self._reasons[tag]

    def _anchor(self) -> RunAnchor:
        self._run_count += 1
        return RunAnchor(
            now_ns=monotonic_ns(),
            wall_ns=wall_ns(),
            run_id=f"{self._incarnation}-{self._run_count}",
            strategy_id=self._params.strategy_id,
            mode=self._params.mode,
        )

    def _net_e9(self, market: Market, anchor: RunAnchor) -> int | None:
        """Return the net position, as far as the executor, which lives, can say so."""
        account, window = self._inputs.account.boards, market.window
        if account is None or window is None:
            return None
        # When this market could first have been quoted, on the monotonic clock.
        first_ns = window.start_ns - self._params.maker.open_before_ns
        return account.net_e9(market.tag, first_ns - anchor.wall_ns + anchor.now_ns)

    def _offer(self, tag: int, target: TargetQuotes, view: View) -> None:
        """Publish a decision if that is due, and ring: an executor need not wait for the others."""
        now_ns, net_e9 = monotonic_ns(), view.net_e9
        is_news = self._slots.is_news(tag, target)
        if not is_news and not self._slots.must_renew(tag, target, net_e9, now_ns):
            return
        cause = self._builder.cause(tag) if is_news else None
        values = record_values(
            target,
            view,
            strategy_tag=self._tag,
            publish_ns=now_ns,
            cause_ns=cause.recv_ns if cause is not None else 0,
        )
        self._slots.publish(tag, target, values, net_e9=net_e9)
        self._segment.ring()
        if cause is not None:
            self._counters.record(Histogram.slot_to_quote_ns, now_ns - cause.publish_ns)
        self._tell(tag, target, view)

    def _tell(self, tag: int, target: TargetQuotes, view: View) -> None:
        """Log when the reason of a market changes, as far as it is an operator's story."""
        before = self._reasons.get(tag)
        if before is target.reason:
            return
        self._reasons[tag] = target.reason
        slug = view.market.slug if view.market is not None else f"{tag:#x}"
        if target.reason in _UNTRUSTED:
            say = log.warning
        elif target.reason in _PASSING or before in (*_PASSING, *_UNTRUSTED):
            say = log.debug
        else:
            say = log.info
        say("reason", market=slug, reason=target.reason.name)

    def _withdraw(self, reason: Reason) -> None:
        """Want nothing in any market."""
        anchor = self._anchor()
        self._live = None
        for tag in self._slots.tags:
            self._offer(tag, nothing(reason), _empty_view(anchor))


def _empty_view(anchor: RunAnchor) -> View:
    return View(0, anchor, None, None, None, None, None, None, NOTHING, None, Reason.QUOTING)


def _witness(link: Link[MarketFeed] | Link[ReferenceFeed], link_ns: int, now_ns: int) -> Witness:
    return Witness(link.liveness(now_ns), link.incarnation, link_ns)
