"""Desired quotes against working orders: what to place, what to cancel, what to keep.

One pure function of a frozen view. Wanted quotes are state, not messages: called again with
nothing changed it decides nothing new. Its rules, each on the cautious side:

1. An order is kept while it stands at the wanted price and all kept orders of its side together do
   not exceed the wanted size, the oldest (first in the queue) first; any other is cancelled.
2. A side with a cancel on its way, or an order in state UNKNOWN, places nothing: whatever may still
   trade counts as wanted exposure. Replacing is therefore cancel first, place when the cancel is
   effective, even where limits would allow both at once.
3. After a fill a market places nothing until quotes arrive that were decided with that fill on the
   board, else one wish would be executed twice.
4. Expired, invalid or withdrawn quotes, and a market that may not be traded, mean cancel all.
5. `keep` (of the strategy or of the book) keeps what rests and places nothing.
6. A wanted price that meets the opposite side of the live book, or a live order of our own, is not
   placed: everything is post-only.
7. What is held of the other token is sold before this token is bought, so that collateral comes
   back: an ask sells Up where Up is held and buys Down at 1 - p for the rest; a bid sells Down
   where Down is held and buys Up for the rest. Shares that working sales promise are not held.

It knows no limits: `executor/risk.py` judges each placing afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, IntEnum

from msgspec import Struct

from cache.layout import E9, OrderState, Side
from executor.ledger import Holding
from executor.market import Book, Market, crosses, face, opposite
from executor.orders import Order, Provenance

FREEZE_NS = 10_000_000
"""A strategy may take this long to read all its inputs before it notes the time."""


class Mode(IntEnum):
    """What a market's inputs allow, worst first."""

    CANCEL = 0
    KEEP = 1
    QUOTE = 2


class Withheld(Enum):
    """Why a wanted size is not placed although nothing is wrong with it."""

    KEEP = "keep"
    CANCEL_ON_ITS_WAY = "cancel_on_its_way"
    UNSEEN_FILL = "unseen_fill"
    CROSSES_BOOK = "crosses_book"
    CROSSES_OWN = "crosses_own"
    BELOW_MINIMUM = "below_minimum"


class Wanted(Struct, frozen=True):
    """Target quotes, in terms of the first token; a size of 0 wants nothing on that side."""

    bid_px_e9: int
    bid_qty_e9: int
    ask_px_e9: int
    ask_qty_e9: int
    valid_until_ns: int
    keep: bool
    provenance: Provenance

    @property
    def is_sane(self) -> bool:
        """Whether the two sides make sense together and by themselves."""
        if self.bid_qty_e9 < 0 or self.ask_qty_e9 < 0:
            return False
        bid, ask = self.bid_qty_e9 > 0, self.ask_qty_e9 > 0
        if (bid and not 0 < self.bid_px_e9 < E9) or (ask and not 0 < self.ask_px_e9 < E9):
            return False
        return not (bid and ask) or self.bid_px_e9 < self.ask_px_e9

    def side(self, side: Side) -> tuple[int, int]:
        if side is Side.BUY:
            return self.bid_px_e9, self.bid_qty_e9
        return self.ask_px_e9, self.ask_qty_e9


class Place(Struct, frozen=True):
    """An order to be sent, in terms of the token it names."""

    is_yes: bool
    side: Side
    px_e9: int
    qty_e9: int


class View(Struct, frozen=True):
    """All that a decision rests on. `fill_seen_ns`: when the last fill was put on the board."""

    market: Market
    wanted: Wanted | None
    book: Book | None
    orders: Sequence[Order]
    holding: Holding
    mode: Mode
    fill_seen_ns: int = 0


class Decision(Struct, frozen=True):
    """Cancels come first; what is not named is kept."""

    cancels: tuple[Order, ...] = ()
    places: tuple[Place, ...] = ()
    withheld: tuple[Withheld, ...] = ()


_CANCELLABLE = (OrderState.PENDING, OrderState.WORKING)
_LEAVING = (OrderState.CANCELLING, OrderState.UNKNOWN)


def decide(view: View, now_ns: int) -> Decision:
    """Decide what to do about one market now."""
    wanted, mode = view.wanted, view.mode
    if (
        wanted is None
        or mode is Mode.CANCEL
        or wanted.valid_until_ns <= now_ns
        or not wanted.is_sane
    ):
        return Decision(cancels=tuple(o for o in view.orders if o.state in _CANCELLABLE))
    if wanted.keep or mode is Mode.KEEP:
        return Decision(withheld=(Withheld.KEEP,))
    cancels: list[Order] = []
    places: list[Place] = []
    withheld: list[Withheld] = []
    for side in (Side.BUY, Side.SELL):
        px_e9, qty_e9 = wanted.side(side)
        mine = [order for order in view.orders if order.is_live and order.face.side is side]
        leaving, kept_e9 = _sort_out(mine, px_e9, qty_e9)
        cancels.extend(leaving)
        missing_e9 = view.market.floor_lot(qty_e9 - kept_e9)
        if missing_e9 <= 0:
            continue
        obstacle = _obstacle(view, side, px_e9, leaving)
        legs = () if obstacle else tuple(_legs(view, side, px_e9, missing_e9))
        if obstacle or not legs:
            withheld.append(obstacle or Withheld.BELOW_MINIMUM)
        places.extend(legs)
    return Decision(tuple(cancels), tuple(places), tuple(withheld))


def _sort_out(mine: Sequence[Order], px_e9: int, qty_e9: int) -> tuple[list[Order], int]:
    """Split a side's live orders into those to cancel and the open size that stays."""
    leaving: list[Order] = []
    kept_e9 = sum(order.open_e9 for order in mine if order.state in _LEAVING)
    for order in sorted(mine, key=lambda o: o.created_ns):
        if order.state in _LEAVING:
            continue
        if order.face.px_e9 == px_e9 and kept_e9 + order.open_e9 <= qty_e9:
            kept_e9 += order.open_e9
        else:
            leaving.append(order)
    return leaving, kept_e9


def _obstacle(view: View, side: Side, px_e9: int, leaving: Sequence[Order]) -> Withheld | None:
    """Say why nothing may be placed on a side now, if so."""
    assert view.wanted is not None
    live = [order for order in view.orders if order.is_live]
    if leaving or any(o.state in _LEAVING and o.face.side is side for o in live):
        return Withheld.CANCEL_ON_ITS_WAY
    if view.fill_seen_ns and view.wanted.provenance.decided_ns <= view.fill_seen_ns + FREEZE_NS:
        return Withheld.UNSEEN_FILL
    if view.book is None:
        return Withheld.KEEP
    if crosses(side, px_e9, view.book.best(opposite(side))[0]):
        return Withheld.CROSSES_BOOK
    for order in live:
        if order.face.side is not side and crosses(side, px_e9, order.face.px_e9):
            return Withheld.CROSSES_OWN
    return None


def _legs(view: View, side: Side, px_e9: int, qty_e9: int) -> Iterator[Place]:
    """Split a size over both tokens: sell what is held of the one, buy the other for the rest."""
    sells_yes = side is Side.SELL
    free_e9 = view.holding.held(sells_yes) - sum(
        order.open_e9
        for order in view.orders
        if order.side is Side.SELL and order.is_yes is sells_yes
    )
    sell_e9, buy_e9 = _split(view.market, qty_e9, free_e9)
    token_px_e9 = face(sells_yes, side, px_e9).px_e9  # its own inverse
    if sell_e9:
        yield Place(sells_yes, Side.SELL, token_px_e9, sell_e9)
    if buy_e9:
        yield Place(not sells_yes, Side.BUY, E9 - token_px_e9, buy_e9)


def _split(market: Market, qty_e9: int, free_e9: int) -> tuple[int, int]:
    """Divide a size into a sale and a purchase that both reach the minimum.

    The sale is as large as can be. Where that leaves a purchase below the minimum, the sale gives
    it what it lacks; where it cannot, the sale goes alone, then the purchase alone, then nothing.
    """
    least = market.min_qty_e9
    sell_e9 = market.floor_lot(max(0, min(qty_e9, free_e9)))
    rest_e9 = qty_e9 - sell_e9
    if sell_e9 < least:
        return (0, qty_e9) if qty_e9 >= least else (0, 0)
    if rest_e9 == 0 or rest_e9 >= least:
        return sell_e9, rest_e9
    moved_e9 = market.floor_lot(qty_e9 - least)
    if moved_e9 >= least:
        return moved_e9, qty_e9 - moved_e9
    return sell_e9, 0
