"""What one run of a strategy sees and says: frozen inputs, what its workers find, target quotes.

The runner reads every input once and freezes it as a `View`; threat and signal are what the workers
make of it, target quotes what the planner does. All of them are DTOs of the run's cache, and the
same view gives the same quotes. Missing is a value: None, or a `Trust` that says why. No field has
a default that could pass for data. It decides nothing and reads no clock.
"""

from __future__ import annotations

from msgspec import Struct

from cache.gate import Trust
from cache.layout import Provenance, Reason
from strategy.pricing import Window
from strategy.quoting import TwoSided
from strategy.strategy_cache import RunAnchor


class Market(Struct, frozen=True):
    """What the directory says of a market; `window` is None where it has none."""

    tag: int
    slug: str
    generation: int
    listed_tick_e9: int
    lot_e9: int
    min_qty_e9: int
    window: Window | None
    has_basis: bool
    """Whether it settles on another source than the reference, so that a basis lies between."""


class BookView(Struct, frozen=True):
    """The market's top of book in terms of the first token; prices are 0 where a side is empty."""

    trust: Trust
    bid_px_e9: int
    ask_px_e9: int
    tick_e9: int
    batch: int
    version: int
    age_ns: int
    recv_ns: int
    publish_ns: int
    last_trusted_ns: int
    """When this market's inputs were last quotable, CLOCK_MONOTONIC; 0 never."""
    micro_px_e9: int
    """Where between the best prices the sizes behind them say it is; 0 where that is not known."""


class ReferenceView(Struct, frozen=True):
    """The reference symbol's top of book and what is derived from it."""

    trust: Trust
    mid_px_e9: int
    version: int
    age_ns: int
    recv_ns: int
    publish_ns: int
    sigma_e9: int
    """Price per square root of a second; 0 where it is not known, or too old."""
    sample_count: int
    shock_z_e9: int


class Basis(Struct, frozen=True):
    """Reference less settlement source, and the variance of that estimate, in price."""

    value: float
    variance: float


class StrikeView(Struct, frozen=True):
    """The settlement price at the start of the window; 0 while it is UNKNOWN."""

    strike_e9: int
    provenance: Provenance


class View(Struct, frozen=True):
    """One market, frozen: all that its quotes may rest on."""

    tag: int
    """Whose it is; 0 nobody's."""
    anchor: RunAnchor
    market: Market | None
    book: BookView | None
    reference: ReferenceView | None
    basis: Basis | None
    strike: StrikeView | None
    average_e9: int | None
    """Mean of the reference (basis still in it) over what is known of the running average."""
    previous: TwoSided
    """The quotes that stand."""
    net_e9: int | None
    """What is held of the first token less the second; None when that is not known."""
    admission: Reason
    """QUOTING, or why the market is not to be quoted whatever its inputs are."""


class Threat(Struct, frozen=True):
    """Why a market must not be quoted in this run: the first reason there is."""

    tag: int
    reason: Reason


class Signal(Struct, frozen=True):
    """What a market is worth in this run, and what that was made of; in units of 1e-9."""

    tag: int
    fair_e9: int
    model_e9: int
    reference_e9: int
    disagreement_e9: int
    """Between model and market."""
    doubt_e9: int
    """The disagreement, and what the basis leaves open."""
    is_shock: bool
    """The reference moved beyond what is usual: quotes follow at once."""


class TargetQuotes(Struct, frozen=True):
    """The decision on one market, as the record of the board wants it."""

    reason: Reason
    quotes: TwoSided
    valid_until_ns: int
    keep: bool = False
    fair_px_e9: int = 0
    model_px_e9: int = 0
    reference_px_e9: int = 0
    strike_e9: int = 0


_AGE_NS_MAX = 2**63 - 1
"""Of a receive time that is none the age may be more than the record can hold."""


def record_values(
    target: TargetQuotes, view: View, *, strategy_tag: int, publish_ns: int, cause_ns: int
) -> tuple[int, ...]:
    """Flatten a decision into the fields of `target_quotes` behind the three stamps.

    `recv_ns` is when the inputs were frozen: what lies on a board later than that, the decision
    does not know. `cause_ns` is when the input came that made the decision another one; 0 none did.
    """
    book, reference, quotes = view.book, view.reference, target.quotes
    return (
        book.batch if book else 0,
        0,
        view.anchor.now_ns,
        publish_ns,
        view.anchor.wall_ns,
        0,
        0,
        strategy_tag,
        target.valid_until_ns,
        quotes.bid_px_e9,
        quotes.bid_qty_e9,
        quotes.ask_px_e9,
        quotes.ask_qty_e9,
        target.fair_px_e9,
        target.model_px_e9,
        target.reference_px_e9,
        target.strike_e9,
        book.version if book else 0,
        reference.version if reference else 0,
        min(book.age_ns, _AGE_NS_MAX) if book else 0,
        min(reference.age_ns, _AGE_NS_MAX) if reference else 0,
        target.reason,
        int(target.keep),
        cause_ns,
    )
