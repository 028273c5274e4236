"""The executor process: reads quotes and books, decides, publishes orders, positions and fills.

One turn: attach what is new · take books, prints and outcomes · take quotes · apply the venue's
reports, publishing each whole · decide for every active market · publish · ring. The account
decides (`executor/account.py`); this module only moves values between it and the memory.

    strategy dead, stale or replaced      its quotes are forgotten, its orders cancelled
    feed dead, stale, RESYNC, unlisted    that market's orders are cancelled
    feed SUSPECT                          orders rest, none is added; after `suspect` cancelled
    prints lost, host slept               all orders are cancelled: what filled them is not known
    halt                                  all orders are cancelled, and their end is waited for
    own records damaged                   nothing is traded; all positions say SUSPECT

Start is recovery: the boards of the last incarnation are adopted, its orders ended, its positions
kept, and only then is anything quoted. The invariant: no order lives that is not on the board.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cache.counters import Counter
from cache.layout import E9, Outcome
from cache.liveness import Liveness
from cache.segment import ReaderSegment, WriterSegment
from executor.account import Account, Desk
from executor.boards import AccountBoards, Recovered
from executor.diff import Mode
from executor.inputs import FeedInput, StrategyInputs, liveness, wanted_of
from executor.ledger import Fill
from executor.market import Market
from executor.orders import Order
from executor.paper import PaperGateway
from executor.params import ExecutorParams
from executor.risk import RiskGate
from executor.watch import BookWatch
from host.clock import NS_PER_MS, monotonic_ns
from host.log import get_log
from host.unreadable import Unreadable

LOG = get_log("executor")

HALT_STEP_S = 0.002
"""Between two looks while the last cancels take effect."""

ORDER_ID_BYTES = 32

SETTLE_NS = 100 * NS_PER_MS
"""How often outcomes are looked up and markets listed."""


class Executor:
    """The role; the frame of `host/process.py` drives it."""

    def __init__(self, segment: WriterSegment, params: ExecutorParams) -> None:
        self.name = params.role
        self.bells: list[ReaderSegment] = []
        """The segments whose bells wake this process; the frame waits on them."""
        self._params = params
        self._counters = segment.counters
        self._boards = AccountBoards(segment)
        self._feed = FeedInput(params.namespace, params.policy, segment.counters)
        self._strategies = StrategyInputs(params.namespace, params.strategies, segment.counters)
        self._gateway = PaperGateway(params.paper)
        self._incarnation = segment.incarnation
        self._order_count = 0
        self._account = Account(
            self._gateway,
            RiskGate(params.limits, monotonic_ns()),
            segment.counters,
            next_id=self._next_id,
        )
        self._watch = BookWatch(self._feed, self._gateway.on_book, suspect_ns=params.suspect_ns)
        self._settle_due_ns = 0
        self._turned_ns = 0
        self._halting = False

    # --- the role -----------------------------------------------------------------------------

    def on_start(self, now_ns: int) -> None:
        """Adopt what the last incarnation left: end its orders, keep its positions."""
        left = self._boards.recover(now_ns)
        self._account.fill_id = left.fill_id
        for tag, holding in left.holdings.items():
            desk = Desk(Market.unlisted(tag), holding=holding, is_listed=False)
            desk.fill_seen_ns = now_ns  # Quotes from before do not know what was recovered.
            self._account.desks[tag] = desk
        if left.damaged:
            self._say_damaged(left)
        elif left.unbooked is not None:
            self._book(left.unbooked, now_ns)
        self._attach(now_ns)
        self._boards.ring()
        _say_recovered(left)

    def poll(self, now_ns: int) -> int:
        """Take one turn; give the amount of work done."""
        self._attach(now_ns)
        worked = self._take_feed()
        worked += self._take_quotes()
        now_ns = self._turned_ns = monotonic_ns()  # After the boards: no age is negative.
        for desk in self._account.desks.values():
            if desk.is_active:
                worked += self._watch.look(desk, now_ns)
                if self._halting:
                    desk.mode = Mode.CANCEL
        worked += self._take_reports(now_ns)
        for desk in self._account.desks.values():
            if desk.is_due(now_ns):
                worked += self._decide(desk, now_ns)
        if now_ns >= self._settle_due_ns:
            self._settle_due_ns = now_ns + SETTLE_NS
            self._take_outcomes(now_ns)
        self._publish_orders()
        self._boards.ring()
        return worked

    def due_ns(self) -> int:
        """When the next turn must be, bell or not; 0 when only a bell matters."""
        due = [
            desk.wanted.valid_until_ns
            for desk in self._account.desks.values()
            if desk.wanted is not None and desk.wanted.valid_until_ns > self._turned_ns
        ]
        if self._gateway.next_due_ns is not None:
            due.append(self._gateway.next_due_ns)
        return min(due, default=0)

    def on_suspend(self, gap_ns: int) -> None:
        """The host slept: nothing that was read before may be acted on."""
        self._cancel_all(monotonic_ns(), "host_slept")

    def on_halt(self, now_ns: int) -> None:
        """Cancel everything and wait, within bounds, until it is gone."""
        self._halting = True
        self._cancel_all(now_ns, "halt")
        deadline_ns = now_ns + self._params.halt_ns
        while self._account.live_count and monotonic_ns() < deadline_ns:
            self.poll(monotonic_ns())
            time.sleep(HALT_STEP_S)
        if self._account.live_count:
            LOG.error("orders_left", count=self._account.live_count)

    # --- inputs -------------------------------------------------------------------------------

    def _attach(self, now_ns: int) -> None:
        replaced = self._feed.refresh(now_ns)
        if replaced:
            self._watch.forget_all()
        before = {source.tag for source in self._strategies.inputs.values()}
        changed = self._strategies.refresh(now_ns)
        if changed:
            sources = self._strategies.inputs.values()
            for tag in before - {source.tag for source in sources}:
                self._account.withdraw(tag)
        if replaced or changed:
            held = [source.segment for source in self._strategies.inputs.values()]
            self.bells[:] = held if self._feed.segment is None else [*held, self._feed.segment]
        self._feed.watch(now_ns)
        markets = self._feed.markets()
        if markets is not None:
            self._list(markets, now_ns)

    def _list(self, markets: dict[int, Market], now_ns: int) -> None:
        """Open a desk for each market that the feed lists; mark those it lists no more."""
        for tag, desk in self._account.desks.items():
            desk.is_listed = tag in markets
        for tag, market in markets.items():
            opened = self._account.desks.get(tag) or self._open(market, now_ns)
            if opened is not None and opened.market != market:
                opened.market = market
                self._watch.forget(tag)

    def _open(self, market: Market, now_ns: int) -> Desk | None:
        """Open a desk; None when there is no slot for its position."""
        gone = self._boards.claim(market.tag, lambda tag: self._account.desks[tag].is_done)
        if gone is None:
            return None
        if gone:
            del self._account.desks[gone]
            self._watch.forget(gone)
            self._gateway.forget_market(gone)
        desk = self._account.desks[market.tag] = Desk(market)
        self._boards.publish_position(desk, now_ns)
        return desk

    def _take_feed(self) -> int:
        """Take the prints of markets that have orders."""
        if self._feed.segment is None:
            return 0
        trades, has_lost = self._feed.prints()
        now_ns = monotonic_ns()
        if has_lost:
            self._cancel_all(now_ns, "prints_lost")
        for trade in trades:
            desk = self._account.desks.get(trade.pair_tag)
            if desk is not None and desk.is_active:
                made = self._feed.print_from(trade, desk.market, now_ns)
                if made is not None:
                    self._gateway.on_print(made)
        return len(trades)

    def _take_quotes(self) -> int:
        """Take what living strategies want; forget what the others wanted."""
        count = 0
        for source in self._strategies.inputs.values():
            now_ns = monotonic_ns()
            is_live = liveness(source.segment, now_ns) is Liveness.LIVE
            if is_live and not source.is_obeyed:
                source.rescan()
            if source.is_obeyed and not is_live:
                lost_count = self._account.withdraw(source.tag)
                LOG.warning("strategy_lost", role=source.role, markets=lost_count)
                count += lost_count
            source.is_obeyed = is_live
            if not is_live or self._halting or not self._boards.is_known:
                continue
            for quotes in source.poll():
                desk = self._account.desks.get(quotes.tag)
                if desk is None or not desk.is_listed:
                    self._counters.add(Counter.executor_quotes_unlisted)
                elif desk.outcome is Outcome.UNKNOWN:
                    self._account.offer(desk, wanted_of(quotes, source.tag), now_ns)
                count += 1
        return count

    # --- what happened ------------------------------------------------------------------------

    def _take_reports(self, now_ns: int) -> int:
        """Apply what the venue reports, each published before the next: fill, position, order."""
        count = 0
        for desk, fill in self._account.reports(now_ns):
            count += 1
            if fill is not None:
                self._boards.publish_fill(fill, monotonic_ns())
            self._boards.publish_position(desk, monotonic_ns())
            if fill is not None:
                desk.fill_seen_ns = monotonic_ns()
                LOG.info(
                    "filled",
                    market=desk.market.name,
                    side=fill.side.name,
                    px=fill.px_e9 / E9,
                    qty=fill.qty_e9 / E9,
                )
            self._publish_orders()
        late = self._gateway.late_count
        if late:
            self._counters.add(Counter.executor_evidence_late, late)
            self._gateway.late_count = 0
        return count

    def _decide(self, desk: Desk, now_ns: int) -> int:
        sent = self._account.decide(desk, now_ns)
        if sent:
            self._publish_orders()
            self._boards.publish_position(desk, monotonic_ns())
        return sent

    def _publish_orders(self) -> None:
        changed = self._account.changed_orders
        for order in changed:
            self._boards.publish_order(order, self._account.fill_id, monotonic_ns())
            _say_order(order)
        changed.clear()

    def _take_outcomes(self, now_ns: int) -> None:
        """Close markets whose outcome is known, and pay them out once nothing lives in them."""
        for tag, desk in self._account.desks.items():
            if desk.holding.settled is not Outcome.UNKNOWN:
                continue
            is_open = desk.outcome is Outcome.UNKNOWN
            if is_open and (desk.is_listed or not desk.holding.is_flat):
                desk.outcome = self._feed.outcome(desk.market)
                if desk.outcome is not Outcome.UNKNOWN:
                    self._gateway.close_market(tag, now_ns)
                    desk.wanted = None
                    desk.is_stirred = True
            held = desk.holding.yes_e9, desk.holding.no_e9
            if self._account.settle(desk):
                self._boards.publish_position(desk, monotonic_ns())
                LOG.info(
                    "settled",
                    market=desk.market.name,
                    outcome=desk.outcome.name,
                    yes=held[0] / E9,
                    no=held[1] / E9,
                    cash=desk.holding.cash_e9 / E9,
                )

    def _say_damaged(self, left: Recovered) -> None:
        """Tell the operator that nothing is traded, why, and what ends it."""
        unreadable = Unreadable(self._counters, LOG)
        for board, slot, version in left.damaged:
            unreadable.note(f"{self.name} {board}", slot, version)
        LOG.error(
            "position_unknown",
            why="records of this account cannot be read, so nothing is traded",
            look=f"penstock shm dump {self.name}",
            then="penstock down forgets all positions; paper begins flat",
        )

    def _book(self, fill: Fill, now_ns: int) -> None:
        """Book the fill that a predecessor published and died before its position contained it."""
        desk = self._account.desks[fill.pair_tag]
        desk.holding.apply(fill)
        desk.holding.merge(())
        self._boards.publish_position(desk, now_ns)

    def _cancel_all(self, now_ns: int, cause: str) -> None:
        """Cancel every order of the account now; quotes decided later may be placed again."""
        live = self._account.live_count
        if live:
            LOG.warning("cancel_all", cause=cause, orders=live)
        for desk in self._account.desks.values():
            if desk.is_active:
                desk.wanted = None
                self._account.decide(desk, now_ns)
        self._publish_orders()

    def _next_id(self) -> bytes:
        """Number orders over all incarnations; a paper order's id is that number, big-endian."""
        self._order_count += 1
        return (self._incarnation << 32 | self._order_count).to_bytes(ORDER_ID_BYTES, "big")


def _say_recovered(left: Recovered) -> None:
    holding = sum(not held.is_flat for held in left.holdings.values())
    LOG.info("recovered", markets=holding, orders_ended=left.ended_count, fills=left.fill_id)


def _say_order(order: Order) -> None:
    say: Callable[..., None] = LOG.warning if order.reason else LOG.debug
    say(
        "order",
        state=order.state.name,
        side=order.side.name,
        px=order.px_e9 / E9,
        qty=order.qty_e9 / E9,
        reason=order.reason or "none",
    )
