"""The maker: every reason not to quote, in its order, and what it quotes otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from cache.gate import Trust
from cache.layout import E9, Provenance, Reason
from strategy.market_maker import (
    SIGNALS,
    THREATS,
    VIEWS,
    MakerParams,
    MakerPlanner,
    SignalWorker,
    ThreatWorker,
)
from strategy.pricing import NS, Window
from strategy.quoting import QuoteParams, TwoSided
from strategy.strategy_cache import RunAnchor, RunMode, StrategyCache
from strategy.tick import (
    Basis,
    BookView,
    Market,
    ReferenceView,
    Signal,
    StrikeView,
    TargetQuotes,
    Threat,
    View,
)

CENT = E9 // 100
START = 1_776_323_400
NOW = 5_000 * NS
WINDOW = Window(START * NS, (START + 300) * NS, 60 * NS)
PARAMS = MakerParams(
    quote=QuoteParams(
        qty_e9=20 * E9,
        position_qty_max_e9=100 * E9,
        half_spread_e9=CENT,
        widen_e9=0,
        skew_e9=2 * CENT,
        hysteresis_e9=E9 // 2,
        px_min_e9=5 * CENT,
        px_max_e9=95 * CENT,
    ),
    market_weight=0.0,
    market_spread_max_e9=10 * CENT,
    disagreement_max_e9=20 * CENT,
    open_before_ns=60 * NS,
    out_before_ns=10 * NS,
    valid_ns=NS,
    keep_ns_max=NS // 2,
    strike_min=Provenance.STREAM,
    sigma_sample_count_min=20,
    shock_z=4.0,
)
MARKET = Market(
    tag=7, slug=f"btc-updown-5m-{START}", generation=1, listed_tick_e9=CENT, lot_e9=CENT,
    min_qty_e9=5 * E9, window=WINDOW, has_basis=True,
)  # fmt: skip
BOOK = BookView(
    Trust.LIVE, 49 * CENT, 51 * CENT, CENT, batch=1, version=5, age_ns=1, recv_ns=NOW - 1,
    publish_ns=NOW - 1, last_trusted_ns=NOW,
    micro_px_e9=0,
)  # fmt: skip
REFERENCE = ReferenceView(
    Trust.LIVE, 61_024 * E9, version=6, age_ns=1, recv_ns=NOW - 1, publish_ns=NOW - 1,
    sigma_e9=8 * E9, sample_count=60, shock_z_e9=0,
)  # fmt: skip
STRIKE = StrikeView(61_000 * E9, Provenance.STREAM)
STOOD = TwoSided(48 * CENT, 20 * E9, 52 * CENT, 20 * E9)


def view(second: float = 100.0, **changes: Any) -> View:
    wall_ns = int((START + second) * NS)
    anchor = RunAnchor(NOW, wall_ns, run_id="1", strategy_id="maker", mode=RunMode.PAPER)
    good = View(
        MARKET.tag, anchor, MARKET, BOOK, REFERENCE, Basis(24.0, 4.0), STRIKE, 61_024 * E9,
        TwoSided(), net_e9=0, admission=Reason.QUOTING,
    )  # fmt: skip
    return changed(good, **changes)


def run(seen: View, net_e9: int | None = 0, params: MakerParams = PARAMS) -> TargetQuotes:
    cache = StrategyCache()
    cache.start_run({}, seen.anchor)
    cache.set_dto(VIEWS, changed(seen, net_e9=net_e9))
    for worker in (ThreatWorker(params), SignalWorker(params)):
        worker.process(cache)
    [(decided_on, target)] = MakerPlanner(params).plan(cache)
    assert decided_on.tag == seen.tag
    return target


@pytest.mark.parametrize("reason", [Reason.HALTED, Reason.WARMING_UP, Reason.DISABLED])
def test_a_market_that_is_not_admitted_is_not_quoted_whatever_its_inputs_are(
    reason: Reason,
) -> None:
    assert run(view(admission=reason)) == TargetQuotes(reason, TwoSided(), 0)
    suspect = changed(BOOK, trust=Trust.SUSPECT)
    assert run(view(admission=reason, book=suspect, previous=STOOD)).quotes.is_empty


def test_markets_are_decided_each_by_its_own_threats_and_signals() -> None:
    cache = StrategyCache()
    seen = [
        view(tag=1, market=changed(MARKET, tag=1)),
        view(tag=2, market=changed(MARKET, tag=2), strike=None),
        view(tag=3, market=changed(MARKET, tag=3), basis=Basis(14.0, 4.0)),
    ]
    cache.start_run({}, seen[0].anchor)
    for one in seen:
        cache.set_dto(VIEWS, one)
    ThreatWorker(PARAMS).process(cache)
    assert cache.get_dtos(THREATS, Threat) == [Threat(2, Reason.NO_STRIKE)]
    SignalWorker(PARAMS).process(cache)
    first, third = cache.get_dtos(SIGNALS, Signal)
    assert (first.tag, third.tag) == (1, 3)
    assert first.fair_e9 == E9 // 2 < third.fair_e9
    plan = list(MakerPlanner(PARAMS).plan(cache))
    assert [decided.tag for decided, _ in plan] == [1, 2, 3]
    assert [target.reason for _, target in plan] == [
        Reason.QUOTING, Reason.NO_STRIKE, Reason.QUOTING
    ]  # fmt: skip
    assert [target.fair_px_e9 for _, target in plan] == [first.fair_e9, 0, third.fair_e9]


def test_a_view_that_nothing_threatens_but_nobody_priced_is_not_quoted() -> None:
    cache = StrategyCache()
    seen = view()
    cache.start_run({}, seen.anchor)
    cache.set_dto(VIEWS, seen)
    [(_, target)] = MakerPlanner(PARAMS).plan(cache)
    assert (target.reason, target.quotes) == (Reason.NO_REFERENCE, TwoSided())


def test_at_the_strike_a_flat_maker_quotes_around_one_half() -> None:
    got = run(view())
    assert got.reason is Reason.QUOTING
    assert got.quotes == TwoSided(49 * CENT, 20 * E9, 51 * CENT, 20 * E9)
    assert (got.fair_px_e9, got.model_px_e9) == (E9 // 2, E9 // 2)
    assert (got.reference_px_e9, got.strike_e9) == (61_000 * E9, 61_000 * E9)
    assert got.valid_until_ns == NOW + PARAMS.valid_ns
    assert not got.keep


@pytest.mark.parametrize("second", [-59.0, -30.0, 0.0, 100.0, 245.0, 289.0])
def test_every_phase_quotes_and_a_higher_reference_quotes_higher(second: float) -> None:
    low = run(view(second, reference=changed(REFERENCE, mid_px_e9=61_021 * E9)))
    high = run(view(second, reference=changed(REFERENCE, mid_px_e9=61_027 * E9)))
    assert low.reason is high.reason is Reason.QUOTING
    assert low.fair_px_e9 < E9 // 2 < high.fair_px_e9
    assert low.quotes.bid_px_e9 < high.quotes.ask_px_e9


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (Reason.NO_MARKET, {"market": None}),
        (Reason.NO_BOOK, {"book": None}),
        (Reason.NO_BOOK, {"book": changed(BOOK, trust=Trust.NEVER_SEEN)}),
        (Reason.NO_BOOK, {"book": changed(BOOK, tick_e9=0)}),
        (Reason.NO_STRIKE, {"market": changed(MARKET, window=None)}),
        (Reason.NO_STRIKE, {"strike": None}),
        (Reason.NO_STRIKE, {"strike": StrikeView(0, Provenance.UNKNOWN)}),
        (Reason.NO_STRIKE, {"strike": StrikeView(61_000 * E9, Provenance.PROXY)}),
        (Reason.OUTSIDE_WINDOW, {"book": changed(BOOK, trust=Trust.RESOLVED)}),
        (Reason.NO_REFERENCE, {"reference": None}),
        (Reason.NO_REFERENCE, {"reference": changed(REFERENCE, trust=Trust.NOT_SUBSCRIBED)}),
        (Reason.NO_REFERENCE, {"reference": changed(REFERENCE, mid_px_e9=0)}),
        (Reason.NO_REFERENCE, {"basis": None}),
        (Reason.NO_VOLATILITY, {"reference": changed(REFERENCE, sigma_e9=0)}),
        (Reason.NO_VOLATILITY, {"reference": changed(REFERENCE, sample_count=19)}),
    ],
)
def test_what_is_missing_is_not_quoted_on_and_says_so(
    reason: Reason, changes: dict[str, Any]
) -> None:
    got = run(view(previous=STOOD, **changes))
    assert got.reason is reason
    assert got.quotes.is_empty
    assert got.valid_until_ns == 0
    assert not got.keep


BAD = [trust for trust in Trust if Trust.NEVER_SEEN < trust < Trust.QUIET]


@pytest.mark.parametrize("trust", [trust for trust in BAD if trust is not Trust.RESOLVED])
def test_no_quote_rests_on_a_book_or_reference_that_is_not_trusted(trust: Trust) -> None:
    old = changed(BOOK, last_trusted_ns=0)
    got = run(view(book=changed(old, trust=trust), previous=STOOD))
    assert (got.reason, got.quotes) == (Reason.UNTRUSTED_BOOK, TwoSided())
    got = run(view(book=old, reference=changed(REFERENCE, trust=trust), previous=STOOD))
    assert (got.reason, got.quotes) == (Reason.UNTRUSTED_REFERENCE, TwoSided())


def test_quiet_is_quoted_on() -> None:
    quiet = view(
        book=changed(BOOK, trust=Trust.QUIET), reference=changed(REFERENCE, trust=Trust.QUIET)
    )
    assert run(quiet).reason is Reason.QUOTING


def test_a_short_suspect_keeps_what_rests_and_a_long_one_withdraws() -> None:
    short = changed(BOOK, trust=Trust.SUSPECT, last_trusted_ns=NOW - PARAMS.keep_ns_max + 1)
    got = run(view(book=short, previous=STOOD))
    assert (got.reason, got.quotes, got.keep) == (Reason.UNTRUSTED_BOOK, STOOD, True)
    assert got.valid_until_ns == NOW + 1
    long = changed(short, last_trusted_ns=NOW - PARAMS.keep_ns_max)
    assert run(view(book=long, previous=STOOD)).quotes.is_empty
    worse = changed(REFERENCE, trust=Trust.STALE)
    assert not run(view(book=short, reference=worse, previous=STOOD)).keep
    assert not run(view(book=short)).keep  # nothing rests


def test_what_is_kept_does_not_outlive_the_window() -> None:
    suspect = changed(BOOK, trust=Trust.SUSPECT, last_trusted_ns=NOW)
    got = run(view(289.9, book=suspect, previous=STOOD))
    assert got.keep
    assert got.valid_until_ns == NOW + NS // 10


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (-61.0, Reason.OUTSIDE_WINDOW),
        (-60.0, Reason.QUOTING),
        (289.999, Reason.QUOTING),
        (290.0, Reason.OUTSIDE_WINDOW),
        (301.0, Reason.OUTSIDE_WINDOW),
    ],
)
def test_quotes_begin_before_the_window_and_are_out_before_its_end(
    second: float, reason: Reason
) -> None:
    assert run(view(second)).reason is reason


def test_near_the_end_quotes_expire_when_the_maker_is_to_be_out() -> None:
    assert run(view(289.5)).valid_until_ns == NOW + NS // 2


def test_before_the_window_neither_strike_nor_basis_is_needed() -> None:
    for second in (-59.0, -10.0):
        got = run(view(second, strike=None, basis=None))
        assert got.reason is Reason.QUOTING
        assert abs(got.fair_px_e9 - run(view(second, strike=None)).fair_px_e9) < CENT // 10


def test_a_market_without_a_strike_says_so_even_when_it_is_over() -> None:
    assert run(view(10_000.0, strike=None)).reason is Reason.NO_STRIKE


@pytest.mark.parametrize(("second", "needs"), [(-30.0, True), (100.0, False), (260.0, True)])
def test_an_average_is_needed_only_while_one_is_formed(second: float, needs: bool) -> None:
    got = run(view(second, average_e9=None))
    assert got.reason is (Reason.NO_REFERENCE if needs else Reason.QUOTING)


def test_an_unknown_position_quotes_nothing() -> None:
    assert run(view(), None).reason is Reason.NO_POSITION


def test_a_market_on_the_reference_itself_needs_no_basis() -> None:
    candle = changed(MARKET, window=Window(WINDOW.start_ns, WINDOW.end_ns, 0), has_basis=False)
    got = run(view(market=candle, basis=None, average_e9=None))
    assert got.reason is Reason.QUOTING
    assert got.reference_px_e9 == 61_024 * E9


def test_the_basis_is_taken_off_the_reference_and_off_the_average() -> None:
    assert run(view(270.0)).model_px_e9 == E9 // 2
    assert run(view(270.0, basis=Basis(0.0, 4.0))).model_px_e9 > 9 * E9 // 10


def test_the_market_is_listened_to_where_it_says_something() -> None:
    listening = replace(PARAMS, market_weight=0.5)
    high = changed(BOOK, bid_px_e9=59 * CENT, ask_px_e9=61 * CENT)
    assert run(view(book=high), params=listening).fair_px_e9 > 54 * CENT
    wide = changed(BOOK, bid_px_e9=40 * CENT, ask_px_e9=80 * CENT)
    assert run(view(book=wide), params=listening).fair_px_e9 == E9 // 2
    leaning = changed(BOOK, micro_px_e9=50 * CENT + CENT // 2)
    plain = run(view(book=BOOK), params=listening).fair_px_e9
    assert run(view(book=leaning), params=listening).fair_px_e9 > plain + CENT // 5
    one_sided = changed(BOOK, bid_px_e9=0)
    assert run(view(book=one_sided), params=listening).fair_px_e9 == E9 // 2


def test_disagreement_widens_and_in_the_end_withholds() -> None:
    wary = replace(PARAMS, quote=replace(PARAMS.quote, widen_e9=E9 // 2))
    high = changed(BOOK, bid_px_e9=53 * CENT, ask_px_e9=55 * CENT)
    got = run(view(book=high, basis=Basis(24.0, 0.0)), params=wary)
    assert (got.quotes.bid_px_e9, got.quotes.ask_px_e9) == (47 * CENT, 54 * CENT)
    far = changed(BOOK, bid_px_e9=70 * CENT, ask_px_e9=72 * CENT)
    got = run(view(book=far), params=wary)
    assert (got.reason, got.quotes) == (Reason.NO_EDGE, TwoSided())
    assert got.fair_px_e9 == E9 // 2  # what was thought is shown all the same


def test_what_the_basis_leaves_open_widens_too() -> None:
    wary = replace(PARAMS, quote=replace(PARAMS.quote, widen_e9=E9))
    sure = run(view(), params=wary).quotes
    rough = run(view(basis=Basis(24.0, 20.0**2)), params=wary).quotes
    assert rough.bid_px_e9 < sure.bid_px_e9 < sure.ask_px_e9 < rough.ask_px_e9
    # 20 of price against a deviation of 8 * sqrt(160): about 7.7 cents of probability.
    assert sure.bid_px_e9 - rough.bid_px_e9 in (6 * CENT, 7 * CENT)


def test_a_fair_value_beyond_the_limits_is_not_quoted() -> None:
    rich = view(
        reference=changed(REFERENCE, mid_px_e9=62_000 * E9), book=changed(BOOK, bid_px_e9=0)
    )
    got = run(rich)
    assert (got.reason, got.quotes) == (Reason.LIMIT, TwoSided())


def test_a_full_position_quotes_only_the_way_out() -> None:
    got = run(view(), 100 * E9)
    assert got.reason is Reason.QUOTING
    assert (got.quotes.bid_qty_e9, got.quotes.ask_px_e9) == (0, 50 * CENT)
    assert run(view(), -100 * E9).quotes.ask_qty_e9 == 0


def test_a_shock_takes_the_hysteresis_away() -> None:
    wide = TwoSided(48 * CENT, 20 * E9, 52 * CENT, 20 * E9)
    near = changed(REFERENCE, mid_px_e9=round(61_023.6 * E9))
    calm = run(view(reference=near, previous=wide))
    assert calm.quotes.bid_px_e9 == 48 * CENT
    low = changed(near, mid_px_e9=round(61_024.3 * E9))
    stood = run(view(reference=low, previous=calm.quotes))
    shocked = run(view(reference=changed(low, shock_z_e9=-5 * E9), previous=calm.quotes))
    assert stood.quotes != shocked.quotes


@given(
    second=st.floats(-120, 400),
    mid=st.integers(1, 200_000),
    sigma=st.integers(1, 1_000),
    trusts=st.tuples(st.sampled_from(Trust), st.sampled_from(Trust)),
    provenance=st.sampled_from(Provenance),
    net=st.integers(-150, 150),
    stood=st.booleans(),
)
def test_whatever_is_seen_a_quote_is_allowed_by_all_the_rules(
    second: float,
    mid: int,
    sigma: int,
    trusts: tuple[Trust, Trust],
    provenance: Provenance,
    net: int,
    stood: bool,
) -> None:
    seen = view(
        second,
        book=changed(BOOK, trust=trusts[0]),
        reference=changed(REFERENCE, trust=trusts[1], mid_px_e9=mid * E9, sigma_e9=sigma * E9),
        strike=StrikeView(61_000 * E9, provenance),
        previous=STOOD if stood else TwoSided(),
    )
    got = run(seen, net * E9)
    if got.reason is Reason.QUOTING:
        assert min(trusts).is_quotable
        assert -60 <= second < 290
        assert second < 0 or provenance >= Provenance.STREAM
        assert NOW < got.valid_until_ns <= NOW + PARAMS.valid_ns
        assert not got.quotes.is_empty
    elif got.keep:
        assert min(trusts) is Trust.SUSPECT
        assert got.quotes == STOOD
    else:
        assert got.quotes.is_empty
