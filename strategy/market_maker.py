"""The two-sided maker of up/down markets: one frozen view to one decision, purely.

    ThreatWorker   view -> Threat: each condition that forbids a quote is tried, in a fixed order
    SignalWorker   view without a threat -> Signal: priced (`pricing`), blended with the market
    MakerPlanner   views, threats, signals -> `decide` -> target quotes (`quoting`)

The invariant: no quote rests on anything missing, warming up, stale or crossed, on a strike that
is not known, or beyond the end of the window. A short SUSPECT keeps what rests and places nothing
new. A view without a threat that could not be priced is not quoted either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cache.gate import Trust
from cache.layout import E9, Provenance, Reason
from strategy.pricing import OPEN, OVER, Phase, Window, blend, doubt, outlook, probability_up
from strategy.quoting import QuoteParams, Terms, Top, TwoSided, quote, wish
from strategy.strategy_cache import IStrategyCache
from strategy.tick import BookView, Signal, TargetQuotes, Threat, View

NOTHING = TwoSided()

# Plain integers and names of this module: looking a member up costs more than comparing with it.
_NEVER_SEEN = int(Trust.NEVER_SEEN)
_QUOTING = Reason.QUOTING
_DOUBTED = (Reason.UNTRUSTED_BOOK, Reason.UNTRUSTED_REFERENCE)

VIEWS, THREATS, SIGNALS = "views", "threats", "signals"
"""The keys of a run's cache: what was frozen, and what the workers found."""


@dataclass(frozen=True, slots=True)
class MakerParams:
    """How the maker judges; what decides money is in `quote`.

    Times in nanoseconds, `_e9` in units of 1e-9, ratios as fractions. `open_before_ns`: how long
    before the window starts quoting begins; `out_before_ns`: how long before its end it is out.
    """

    quote: QuoteParams
    market_weight: float
    market_spread_max_e9: int
    disagreement_max_e9: int
    open_before_ns: int
    out_before_ns: int
    valid_ns: int
    keep_ns_max: int
    strike_min: Provenance
    sigma_sample_count_min: int
    shock_z: float


class ThreatWorker:
    """Finds what forbids a quote."""

    def __init__(self, params: MakerParams) -> None:
        self._params = params

    def process(self, cache: IStrategyCache) -> None:
        for view in cache.get_dtos(VIEWS, View):
            reason = _obstacle(view, self._params)
            if reason is not _QUOTING:
                cache.set_dto(THREATS, Threat(view.tag, reason))


class SignalWorker:
    """Prices the markets that nothing threatens."""

    def __init__(self, params: MakerParams) -> None:
        self._params = params

    def process(self, cache: IStrategyCache) -> None:
        threatened = [threat.tag for threat in cache.get_dtos(THREATS, Threat)]
        for view in cache.get_dtos(VIEWS, View):
            if view.tag not in threatened:
                signal = _signal(view, self._params)
                if signal is not None:
                    cache.set_dto(SIGNALS, signal)


class MakerPlanner:
    """Decides on each market, in the order the views were frozen."""

    def __init__(self, params: MakerParams) -> None:
        self._params = params

    def plan(self, cache: IStrategyCache) -> Iterator[tuple[View, TargetQuotes]]:
        threats: dict[int, Reason] = {}
        signals: dict[int, Signal] = {}
        for threat in cache.get_dtos(THREATS, Threat):
            threats[threat.tag] = threat.reason
        for signal in cache.get_dtos(SIGNALS, Signal):
            signals[signal.tag] = signal
        params = self._params
        for view in cache.get_dtos(VIEWS, View):
            tag = view.tag
            yield view, decide(view, threats.get(tag, _QUOTING), signals.get(tag), params)


def decide(view: View, threat: Reason, signal: Signal | None, params: MakerParams) -> TargetQuotes:
    """Decide what should rest on one market now; `threat` is QUOTING where there is none."""
    if threat is not _QUOTING:
        if threat in _DOUBTED:
            return _keep_or_withdraw(view, params, threat)
        return nothing(threat) if view.admission is not _QUOTING else _withhold(view, threat)
    if signal is None:
        return _withhold(view, Reason.NO_REFERENCE)
    assert view.market is not None
    window, anchor = view.market.window, view.anchor
    assert window is not None
    made = _quotes(view, signal, params)
    reason = _outcome(signal, made, params)
    if reason is not _QUOTING:
        made = NOTHING
    until_out_ns = window.end_ns - params.out_before_ns - anchor.wall_ns
    return TargetQuotes(
        reason=reason,
        quotes=made,
        valid_until_ns=anchor.now_ns + min(params.valid_ns, until_out_ns),
        fair_px_e9=signal.fair_e9,
        model_px_e9=signal.model_e9,
        reference_px_e9=signal.reference_e9,
        strike_e9=view.strike.strike_e9 if view.strike else 0,
    )


def nothing(reason: Reason) -> TargetQuotes:
    """Want nothing, for a reason that is not the market's own."""
    return TargetQuotes(reason, NOTHING, 0)


def _withhold(view: View, reason: Reason) -> TargetQuotes:
    """Want nothing; an expiry in the past says so to whoever reads no reason."""
    strike = view.strike.strike_e9 if view.strike else 0
    return TargetQuotes(reason, NOTHING, 0, strike_e9=strike)


def _keep_or_withdraw(view: View, params: MakerParams, reason: Reason) -> TargetQuotes:
    """Keep what rests for a short while when the worst that can be said is SUSPECT."""
    now_ns = view.anchor.now_ns
    book, reference = view.book, view.reference
    assert book is not None
    assert reference is not None
    until_ns = book.last_trusted_ns + params.keep_ns_max
    is_suspect = min(book.trust, reference.trust) is Trust.SUSPECT
    if not (is_suspect and book.last_trusted_ns and now_ns < until_ns) or view.previous.is_empty:
        return _withhold(view, reason)
    window = view.market.window if view.market else None
    if window is not None:
        left_ns = window.end_ns - params.out_before_ns - view.anchor.wall_ns
        until_ns = min(until_ns, now_ns + left_ns)
    return TargetQuotes(reason, view.previous, until_ns, keep=True)


def _obstacle(view: View, params: MakerParams) -> Reason:
    """Find the first reason not to quote; QUOTING when there is none."""
    if view.admission is not _QUOTING:
        return view.admission
    market, book, reference = view.market, view.book, view.reference
    if market is None:
        return Reason.NO_MARKET
    if book is None or book.trust <= _NEVER_SEEN:
        return Reason.NO_BOOK
    window = market.window
    if window is None:
        return Reason.NO_STRIKE
    phase = window.phase(view.anchor.wall_ns)
    reason = _window_obstacle(view, window, phase, params)
    if reason is not _QUOTING:
        return reason
    if book.trust is Trust.RESOLVED:
        return Reason.OUTSIDE_WINDOW
    if reference is None or reference.trust <= _NEVER_SEEN:
        return Reason.NO_REFERENCE
    if not book.trust.is_quotable:
        return Reason.UNTRUSTED_BOOK
    if not reference.trust.is_quotable:
        return Reason.UNTRUSTED_REFERENCE
    if book.tick_e9 <= 0:
        return Reason.NO_BOOK
    if reference.sigma_e9 <= 0 or reference.sample_count < params.sigma_sample_count_min:
        return Reason.NO_VOLATILITY
    # Before the window starts the reference is only compared with itself.
    lacks_basis = market.has_basis and view.basis is None and phase >= OPEN
    if reference.mid_px_e9 <= 0 or lacks_basis:
        return Reason.NO_REFERENCE
    return _QUOTING if view.net_e9 is not None else Reason.NO_POSITION


def _window_obstacle(view: View, window: Window, phase: Phase, params: MakerParams) -> Reason:
    """Judge time and strike: a market without a strike says so even when its time is over."""
    wall_ns = view.anchor.wall_ns
    if wall_ns < window.start_ns - params.open_before_ns:
        return Reason.OUTSIDE_WINDOW
    if phase >= OPEN:
        strike = view.strike
        if strike is None or strike.strike_e9 <= 0 or strike.provenance < params.strike_min:
            return Reason.NO_STRIKE
    if wall_ns >= window.end_ns - params.out_before_ns or phase >= OVER:
        return Reason.OUTSIDE_WINDOW
    return _QUOTING


def _signal(view: View, params: MakerParams) -> Signal | None:
    """Price the market; None when an average that this phase needs is not known."""
    market, book, reference = view.market, view.book, view.reference
    assert market is not None
    assert market.window is not None
    assert book is not None
    assert reference is not None
    basis, variance = (view.basis.value, view.basis.variance) if view.basis else (0.0, 0.0)
    seen = outlook(
        market.window,
        view.anchor.wall_ns,
        reference=reference.mid_px_e9 / E9 - basis,
        sigma=reference.sigma_e9 / E9,
        strike=view.strike.strike_e9 / E9 if view.strike and view.strike.strike_e9 else None,
        average=None if view.average_e9 is None else view.average_e9 / E9 - basis,
    )
    if seen is None:
        return None
    model = probability_up(seen, basis_variance=variance)
    opinion = _market_probability(book, params)
    disagreement_e9 = 0 if opinion is None else round(abs(model - opinion) * E9)
    return Signal(
        tag=market.tag,
        fair_e9=round(blend(model, opinion, market_weight=params.market_weight) * E9),
        model_e9=round(model * E9),
        reference_e9=reference.mid_px_e9 - round(basis * E9),
        disagreement_e9=disagreement_e9,
        doubt_e9=disagreement_e9 + round(doubt(seen, basis_variance=variance) * E9),
        is_shock=abs(reference.shock_z_e9) >= params.shock_z * E9,
    )


def _market_probability(book: BookView, params: MakerParams) -> float | None:
    """Return the market's own opinion: its weighted mid, or its mid where the depth is not known.

    None where a side is empty or the spread says nothing.
    """
    if not book.bid_px_e9 or not book.ask_px_e9:
        return None
    if book.ask_px_e9 - book.bid_px_e9 > params.market_spread_max_e9:
        return None
    if book.micro_px_e9:
        return book.micro_px_e9 / E9
    return (book.bid_px_e9 + book.ask_px_e9) / (2 * E9)


def _quotes(view: View, signal: Signal, params: MakerParams) -> TwoSided:
    """Quote around the fair value; a shock of the reference takes the hysteresis away."""
    market, book, net_e9 = view.market, view.book, view.net_e9
    assert market is not None
    assert book is not None
    assert net_e9 is not None
    return quote(
        wish(
            signal.fair_e9,
            params.quote,
            doubt_e9=signal.doubt_e9,
            net_e9=net_e9,
        ),
        Terms(book.tick_e9, market.lot_e9, market.min_qty_e9),
        params.quote,
        top=Top(book.bid_px_e9, book.ask_px_e9),
        net_e9=net_e9,
        previous=NOTHING if signal.is_shock else view.previous,
    )


def _outcome(signal: Signal, made: TwoSided, params: MakerParams) -> Reason:
    """Say why nothing is quoted although everything is known, or that something is."""
    if signal.disagreement_e9 > params.disagreement_max_e9:
        return Reason.NO_EDGE
    if not params.quote.px_min_e9 <= signal.fair_e9 <= params.quote.px_max_e9 or made.is_empty:
        return Reason.LIMIT
    return _QUOTING
