"""What was read becomes what a strategy sees."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from cache.book_metrics import BookMetrics
from cache.gate import POLICIES, Trust, Witness
from cache.layout import E9, Flag, Provenance, Reason, SettlementType
from cache.liveness import Liveness
from cache.segment import WriterSegment
from host.config import load
from strategy.inputs import Inputs
from strategy.params import StrategyParams, strategy_params
from strategy.pricing import NS, Window
from strategy.quoting import TwoSided
from strategy.runner import strategy_boards
from strategy.strategy_cache import RunAnchor, RunMode
from strategy.tick import View
from strategy.views import ViewBuilder, Witnesses

PARAMS = strategy_params(load(environ={}))
STOOD = TwoSided(1, 2, 3, 4)
OWN = STOOD, 5, Reason.WARMING_UP


class Eye:
    """Looks and builds, with a clock the test may move."""

    def __init__(self, world: Any, params: StrategyParams = PARAMS) -> None:
        self.world = world
        segment = WriterSegment.create("eye", strategy_boards(1), namespace=world.namespace)
        world.segments["eye"] = segment
        self.inputs = Inputs(
            account="paper", families=params.families, namespace=world.namespace,
            counters=segment.counters, has_depth=params.micro_levels > 0,
        )  # fmt: skip
        self.inputs.refresh(0)
        self.metrics = BookMetrics()
        self.builder = ViewBuilder(params, self.metrics)

    def see(
        self, *, wall_ns: int = 0, later_ns: int = 0, mode: RunMode = RunMode.PAPER,
        incarnation: int = 1,
    ) -> View:  # fmt: skip
        look = self.inputs.look()
        now_ns = time.monotonic_ns() + later_ns
        anchor = RunAnchor(now_ns, wall_ns or time.time_ns() + later_ns, "1", "maker", mode)
        witness = Witness(Liveness.LIVE, incarnation, look.market_link_ns)
        built = self.builder.build(look, anchor, Witnesses(witness, witness), lambda *_: OWN)
        views = {view.tag: view for view in built}
        self.order = list(views)
        return views[self.world.market_tag]


@pytest.fixture
def eye(world: Any) -> Eye:
    return Eye(world)


def test_a_view_has_all_that_was_read(world: Any, eye: Eye) -> None:
    view = eye.see()
    market, book, reference = view.market, view.book, view.reference
    assert market is not None
    assert book is not None
    assert reference is not None
    assert market.slug == f"btc-updown-5m-{world.start_ns // NS}"
    assert market.window == Window(world.start_ns, world.start_ns + 300 * NS, 60 * NS)
    assert (market.tag, market.has_basis) == (world.market_tag, True)
    assert (book.trust, reference.trust) == (Trust.LIVE, Trust.LIVE)
    assert (book.bid_px_e9, book.ask_px_e9, book.tick_e9) == (
        49 * E9 // 100,
        51 * E9 // 100,
        E9 // 100,
    )
    assert reference.mid_px_e9 == 61_024 * E9
    assert (reference.sigma_e9, reference.sample_count) == (8 * E9, 60)
    assert view.basis is not None
    assert view.basis.value == 24.0
    assert view.strike is not None
    assert view.strike == (view.strike.__class__)(61_000 * E9, Provenance.STREAM)
    assert view.average_e9 is None  # the window is open: no average is being formed
    assert (view.previous, view.net_e9, view.admission) == OWN
    assert book.last_trusted_ns == view.anchor.now_ns


def test_while_an_average_is_formed_its_known_part_is_given(world: Any, eye: Eye) -> None:
    now_s = time.time_ns() // NS
    world.list_market(now_s - 270, slot=1)
    world.book(slot=1)
    assert eye.see().average_e9 == 61_024 * E9
    world.list_market(now_s + 30, slot=2)
    world.book(slot=2)
    assert eye.see().average_e9 == 61_024 * E9


def test_the_first_second_of_an_average_is_the_mid_itself(world: Any, eye: Eye) -> None:
    start_s = world.start_ns // NS
    world.reference(61_100)
    view = eye.see(wall_ns=(start_s + 240) * NS + 500_000_000)
    assert view.average_e9 == 61_100 * E9


def test_a_hole_in_the_samples_leaves_the_average_unknown(world: Any) -> None:
    board = world.segments["feed.binance.0"].board("samples")
    second = time.time_ns() // NS
    board.assign(0, board.last(0).tag, 1)
    for skipped in (40, 36):
        world.sample(second - skipped)  # a clock set back: only these count
    world.list_market(second - 270, slot=1)
    world.book(slot=1)
    assert Eye(world).see().average_e9 is None


@pytest.mark.parametrize(
    ("kind", "twap_s", "window_known", "has_basis"),
    [
        (SettlementType.TWAP, 60, True, True),
        (SettlementType.TWAP, 0, False, True),
        (SettlementType.TWAP, 301, False, True),
        (SettlementType.CANDLE, 0, True, False),
        (SettlementType.NONE, 0, False, False),
    ],
)
def test_the_settlement_type_decides_what_window_there_is(
    world: Any, eye: Eye, kind: SettlementType, twap_s: int, window_known: bool, has_basis: bool
) -> None:
    world.list_market(world.start_ns // NS, generation=1, settlement_type=kind, twap_ns=twap_s * NS)
    world.book()
    market = eye.see().market
    assert market is not None
    assert (market.window is not None) is window_known
    assert market.has_basis is has_basis
    if market.window is not None:
        assert market.window.twap_ns == twap_s * NS


def test_the_lag_is_told_to_the_window(world: Any) -> None:
    market = Eye(world, replace(PARAMS, lag_ns=3 * NS)).see().market
    assert market is not None
    assert market.window is not None
    assert market.window.lag_ns == 3 * NS


def test_features_that_are_too_old_are_no_volatility(world: Any, eye: Eye) -> None:
    world.features(age_ns=PARAMS.features_age_ns_max + E9)
    reference = eye.see().reference
    assert reference is not None
    assert (reference.sigma_e9, reference.sample_count) == (0, 0)


def test_the_basis_needs_new_points_and_the_samples_behind_them(world: Any, eye: Eye) -> None:
    assert eye.see().basis is not None
    later_ns = round(PARAMS.basis.age_s_max + 5) * NS
    assert eye.see(later_ns=later_ns).basis is None
    world.settlement(twap=60_990)
    follows = Eye.__new__(Eye)  # a builder that starts anew rebuilds it from what lies there
    follows.world, follows.inputs, follows.builder = (
        world,
        eye.inputs,
        ViewBuilder(PARAMS, BookMetrics()),
    )
    basis = follows.see().basis
    assert basis is not None
    assert basis.value == 34.0


def test_a_proxy_strike_without_any_point_is_in_the_reference_s_own_terms(
    world: Any, eye: Eye
) -> None:
    world.settlement(61_024, Provenance.PROXY, twap=None)
    basis = eye.see().basis
    assert basis is not None
    assert basis.value == 0.0
    assert basis.variance > 0.0
    world.settlement(61_024, Provenance.STREAM, twap=None)
    assert eye.see().basis is None


def test_the_last_trusted_time_stands_still_while_an_input_is_not_trusted(
    world: Any, eye: Eye
) -> None:
    trusted_ns = eye.see().anchor.now_ns
    world.reference(flags=Flag.SUSPECT)
    for _ in range(2):
        view = eye.see()
        assert view.book is not None
        assert view.book.trust is Trust.LIVE
        assert view.book.last_trusted_ns == trusted_ns
    world.reference()
    view = eye.see()
    assert view.book is not None
    assert view.book.last_trusted_ns == view.anchor.now_ns


def test_both_feeds_are_judged_by_their_own_incarnation(world: Any, eye: Eye) -> None:
    view = eye.see(incarnation=2)
    assert view.book is not None
    assert view.reference is not None
    assert view.book.trust is view.reference.trust is Trust.WARMUP


def test_another_market_of_the_feed_proves_the_link_of_a_quiet_one(world: Any, eye: Eye) -> None:
    old_ns = 3 * NS
    world.book(age_ns=old_ns)
    world.segments["feed.polymarket.0"].set_link(time.monotonic_ns() - old_ns)
    world.reference()
    view = eye.see()
    assert view.book is not None
    assert view.book.trust is Trust.STALE
    quiet = world.market_tag
    world.list_market(world.start_ns // NS + 300, slot=1)
    world.book(slot=1)
    world.market_tag = quiet
    view = eye.see()
    assert view.book is not None
    assert view.book.trust is Trust.QUIET


def test_the_market_whose_own_book_is_new_comes_first(world: Any, eye: Eye) -> None:
    first = world.market_tag
    second = world.list_market(world.start_ns // NS + 300, slot=1)
    world.book(slot=1)
    eye.see()
    for slot, tags in ((1, [second, first]), (0, [first, second])):
        world.book(slot=slot)
        eye.see()
        assert eye.order == tags


def test_a_replay_is_not_judged_by_the_age_of_its_events(world: Any, eye: Eye) -> None:
    day_ns = 86_400 * NS
    late = eye.see(wall_ns=time.time_ns() + day_ns)
    replayed = eye.see(wall_ns=time.time_ns() + day_ns, mode=RunMode.REPLAY)
    assert late.book is not None
    assert replayed.book is not None
    assert late.book.trust is Trust.STALE
    assert replayed.book.trust is Trust.LIVE


def test_book_and_reference_are_judged_each_by_its_own_policy(world: Any) -> None:
    """Both inputs are as old as a patient policy still takes, and an impatient one does not."""
    patient, impatient = POLICIES["long"], POLICIES["latency_arb"]
    for book_policy, reference_policy in ((patient, impatient), (impatient, patient)):
        params = replace(PARAMS, book_policy=book_policy, reference_policy=reference_policy)
        eye = Eye(world, params)
        world.book()
        world.reference()
        view = eye.see(later_ns=2 * NS)
        assert view.book is not None
        assert view.reference is not None
        assert view.book.trust.is_quotable is (book_policy is patient)
        assert view.reference.trust.is_quotable is (reference_policy is patient)
        world.segments.pop("eye").close()


def test_features_of_the_future_are_no_volatility(world: Any, eye: Eye) -> None:
    world.features(age_ns=-3_600 * NS)
    reference = eye.see().reference
    assert reference is not None
    assert (reference.sigma_e9, reference.sample_count, reference.shock_z_e9) == (0, 0, 0)


def test_nothing_is_kept_of_a_market_that_is_looked_at_no_more(world: Any, eye: Eye) -> None:
    eye.see()
    look = eye.inputs.look()
    anchor = RunAnchor(time.monotonic_ns(), time.time_ns(), "2", "maker", RunMode.PAPER)
    witness = Witness(Liveness.LIVE, 1, look.market_link_ns)
    gone = structs.replace(look, markets={})
    both = Witnesses(witness, witness)
    assert list(eye.builder.build(gone, anchor, both, lambda *_: OWN)) == []
    assert eye.builder.cause(world.market_tag) is None
    world.book()
    again = eye.see()
    assert again.book is not None
    assert eye.builder.cause(world.market_tag) is None, "as if it were seen for the first time"


def micro(eye: Eye, **options: Any) -> int:
    book = eye.see(**options).book
    assert book is not None
    return book.micro_px_e9


def test_the_mid_is_weighed_by_the_sizes_of_the_best_levels(world: Any, eye: Eye) -> None:
    world.depth((6, 1), (2, 1), (1, 1), (99, 1), batch=7)
    assert micro(eye) == 0  # Of another moment than the top: it says nothing of it.
    world.book(batch=7)
    assert PARAMS.micro_levels == 3
    assert micro(eye) == 49 * E9 // 100 + 2 * E9 // 100 * 9 // 12
    world.depth((1, 6), batch=7)
    assert micro(eye) == 49 * E9 // 100 + 2 * E9 // 100 * 1 // 7
    world.book(batch=8)
    assert micro(eye) == 0


@pytest.mark.parametrize("flag", [Flag.SUSPECT, Flag.RESYNC, Flag.WARMUP, Flag.CROSSED])
def test_depth_or_a_top_in_doubt_weighs_nothing(world: Any, eye: Eye, flag: Flag) -> None:
    world.book(batch=7)
    world.depth((6, 1), batch=7, flags=flag)
    assert micro(eye) == 0
    world.depth((6, 1), batch=7)
    assert micro(eye) > 0
    world.book(batch=7, flags=flag)
    assert micro(eye) == 0


def test_one_level_alone_or_an_empty_side_is_weighed_as_far_as_it_goes(world: Any) -> None:
    one = Eye(world, replace(PARAMS, micro_levels=1))
    world.book(batch=7)
    world.depth((6, 2), (50, 0), batch=7)
    assert micro(one) == 49 * E9 // 100 + 2 * E9 // 100 * 6 // 8
    world.depth((6, 0), batch=7)
    assert micro(one) == 0
    world.book(bid=0, batch=8)
    world.depth((0, 6), batch=8)
    assert micro(one) == 0


def test_every_book_that_is_judged_is_counted_by_what_became_of_it(world: Any, eye: Eye) -> None:
    eye.see()
    summary = eye.metrics.summary()
    assert (summary.cache_hits, summary.cache_misses) == (2, 0)  # Of the market, of the reference.
    assert sum(summary.age_histogram) == 2
    world.book(flags=Flag.RESYNC)
    eye.see(later_ns=2 * NS)
    summary = eye.metrics.summary()
    assert (summary.cache_hits, summary.cache_misses_not_ready) == (2, 1)
    assert summary.cache_misses_stale == 1


def test_the_book_of_a_window_that_is_over_is_judged_and_counts_as_neither_hit_nor_miss(
    world: Any, eye: Eye
) -> None:
    end_ns = world.start_ns + 300 * NS
    for wall_ns, hits in ((end_ns - 1, 2), (end_ns, 3)):  # The reference is asked for each time.
        book = eye.see(wall_ns=wall_ns, mode=RunMode.REPLAY).book
        assert book is not None
        assert book.trust is Trust.LIVE
        assert eye.metrics.summary().cache_hits == hits
    world.book(flags=Flag.RESOLVED)
    book = eye.see(wall_ns=end_ns, mode=RunMode.REPLAY).book
    assert book is not None
    assert book.trust is Trust.RESOLVED
    summary = eye.metrics.summary()
    assert (summary.cache_hits, summary.cache_misses) == (4, 0)
