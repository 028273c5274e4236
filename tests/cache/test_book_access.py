"""Books for decisions: from memory or not at all, and why not."""

import time

import pytest

from cache.board import Miss
from cache.book_access import (
    BookAccess,
    depth_of,
    latency_arb,
    policy_named,
    policy_of_ms,
    serve,
)
from cache.book_metrics import BookMetrics
from cache.book_store import bids_of
from cache.gate import FAST15M, LATENCY_ARB, LONG, MS, Trust
from cache.ladder import Delta, Whole
from cache.layout import Flag, State
from tests.cache.book_world import NOW, FeedWorld
from tests.shm import own_namespace

UP = "111"


@pytest.fixture
def pm():
    with own_namespace() as namespace:
        yield FeedWorld(namespace, "polymarket", ("111", "222"))


@pytest.fixture
def bn():
    with own_namespace() as namespace:
        yield FeedWorld(namespace)


def live(world, *, age_ms=0, batch=1, token_slot=0, now_ns=NOW):
    """Publish a book of that age that nothing is wrong with."""
    world.publish_top(batch=batch, recv_ns=now_ns - age_ms * MS)
    world.publish_depth(slot=token_slot, batch=batch, recv_ns=now_ns - age_ms * MS)


def misses(access):
    summary = access.metrics.summary()
    return {
        name.removeprefix("cache_misses_")
        for name in summary.__struct_fields__
        if name.startswith("cache_misses_") and getattr(summary, name)
    }


# --- a book, or why not ---------------------------------------------------------------------------


@pytest.mark.parametrize("venue", ["pm", "bn"])
def test_a_live_book_is_given_with_its_trust_and_counted_as_a_hit(venue, request):
    world = request.getfixturevalue(venue)
    access = BookAccess(world.store())
    live(world, age_ms=30)
    book, trust = access.get_book(world.symbols[0], FAST15M, NOW)
    assert trust is Trust.LIVE
    assert bids_of(book) == [(100, 1)]
    summary = access.metrics.summary()
    assert (summary.cache_hits, summary.hit_rate, summary.mean_age_ms) == (1, 1.0, 30.0)
    assert summary.age_histogram == (0, 1, 0, 0, 0, 0, 0, 0)


def test_a_token_nobody_lists_is_skipped(pm):
    access = BookAccess(pm.store())
    assert access.get_book("333", FAST15M, NOW) == (None, Trust.NOT_SUBSCRIBED)
    assert misses(access) == {"not_subscribed"}


def test_a_token_without_a_book_yet_is_skipped(pm):
    access = BookAccess(pm.store())
    assert access.get_book(UP, FAST15M, NOW) == (None, Trust.NEVER_SEEN)
    assert misses(access) == {"never_seen"}


@pytest.mark.parametrize(
    ("flag", "trust", "miss"),
    [
        (Flag.WARMUP, Trust.WARMUP, "not_ready"),
        (Flag.RESYNC, Trust.GAP, "not_ready"),
        (Flag.RESOLVED, Trust.RESOLVED, "not_ready"),
        (Flag.SUSPECT, Trust.SUSPECT, "not_ready"),
        (Flag.CROSSED, Trust.CROSSED, "crossed"),
    ],
)
@pytest.mark.parametrize("is_top", [False, True])
def test_a_doubt_of_depth_or_of_top_skips_the_tick(pm, flag, trust, miss, is_top):
    access = BookAccess(pm.store())
    live(pm)
    if is_top:
        pm.publish_top(batch=2, flags=int(flag))
    else:
        pm.publish_depth(batch=2, flags=int(flag))
    assert access.get_book(UP, FAST15M, NOW) == (None, trust)
    assert misses(access) == {miss}


def test_a_crossed_book_is_not_served_but_a_one_sided_one_is(pm):
    access = BookAccess(pm.store())
    pm.publish_top(flags=int(Flag.NO_ASK))
    pm.publish_depth(flags=int(Flag.NO_ASK), asks=())
    book, trust = access.get_book(UP, FAST15M, NOW)
    assert trust is Trust.LIVE
    assert book.ask_count == 0


def test_a_dead_writer_skips_the_tick(pm):
    access = BookAccess(pm.store())
    live(pm)
    pm.segment.set_state(State.HALT)
    assert access.get_book(UP, FAST15M, NOW) == (None, Trust.WRITER_DEAD)
    assert misses(access) == {"not_ready"}


def test_a_writer_that_stands_still_skips_the_tick(pm):
    access = BookAccess(pm.store())
    live(pm)
    pm.segment.heartbeat(NOW - 600 * MS)
    assert access.get_book(UP, FAST15M, NOW) == (None, Trust.STALLED)
    pm.segment.heartbeat(NOW)
    assert access.get_book(UP, FAST15M, NOW)[1] is Trust.LIVE


def test_each_policy_has_its_own_patience_with_evidence(pm):
    access = BookAccess(pm.store())
    live(pm, age_ms=1_000)
    pm.publish_top(recv_ns=NOW - 1_000 * MS, proven_ns=NOW - 1_000 * MS)
    pm.beat(NOW, link_ns=NOW - 1_000 * MS)
    assert access.get_book(UP, LATENCY_ARB, NOW) == (None, Trust.STALE)
    assert access.get_book(UP, FAST15M, NOW)[1] is Trust.LIVE
    assert access.get_book(UP, LONG, NOW)[1] is Trust.LIVE
    assert misses(access) == {"stale"}


def test_the_bounds_of_the_policies_are_those_they_are_known_by():
    assert LATENCY_ARB.evidence_ns_max == 500 * MS
    assert FAST15M.evidence_ns_max == 1_500 * MS
    assert LONG.evidence_ns_max == 5_000 * MS


def test_a_policy_goes_by_its_name_and_the_default_by_its_threshold():
    for policy in (LATENCY_ARB, FAST15M, LONG):
        assert policy_named(policy.name, 700) is policy
    assert policy_named("default", 700) == policy_of_ms(700)
    assert policy_named("default", 1_500)[1:] == FAST15M[1:]
    with pytest.raises(ValueError, match="policy is"):
        policy_named("slow", 700)


def test_a_latency_arb_may_be_set_from_100_to_500_ms():
    assert latency_arb() == LATENCY_ARB
    found = latency_arb(150)
    assert (found.name, found.evidence_ns_max) == ("latency_arb", 150 * MS)
    assert found.lag_ns_max == FAST15M.lag_ns_max // 10
    for wrong in (99, 501, 100.0, True):
        with pytest.raises(ValueError, match="max_stale_ms"):
            latency_arb(wrong)


def test_the_default_policy_is_used_where_none_is_named(pm):
    access = BookAccess(pm.store(), default=policy_of_ms(20))
    live(pm, age_ms=30)
    pm.beat(NOW, link_ns=NOW - 30 * MS)
    assert access.get_book(UP, None, NOW) == (None, Trust.STALE)
    assert access.get_book(UP, policy_of_ms(30), NOW)[1] is Trust.LIVE
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="max_stale_ms"):
            policy_of_ms(wrong)


def test_a_quiet_book_is_served_as_long_as_its_link_is_proven(pm):
    access = BookAccess(pm.store())
    later = NOW + 600_000 * MS
    pm.publish_top(proven_ns=later - 900 * MS)
    pm.publish_depth()
    pm.beat(later)
    book, trust = access.get_book(UP, LATENCY_ARB, later)
    assert trust is Trust.QUIET
    assert book is not None
    assert access.metrics.summary().age_histogram[7] == 1


def test_a_link_proven_after_the_book_was_read_proves_nothing_of_it(pm, monkeypatch):
    """Who reads may be stopped between the two."""
    store = pm.store()
    old_ns = NOW - 600 * MS
    pm.publish_top(recv_ns=old_ns, proven_ns=old_ns)
    pm.publish_depth(recv_ns=old_ns)
    pm.beat(NOW, link_ns=old_ns)
    look = store.look

    def look_and_stop(token):
        sight = look(token)
        pm.beat(NOW)
        return sight

    monkeypatch.setattr(store, "look", look_and_stop)
    assert BookAccess(store).get_book(UP, LATENCY_ARB, NOW) == (None, Trust.STALE)
    assert BookAccess(store).get_book(UP, LATENCY_ARB, NOW)[1] is Trust.QUIET


def test_depth_that_stands_still_while_its_top_moves_on_is_stale(bn):
    access = BookAccess(bn.store())
    live(bn)
    later = NOW + 501 * MS
    bn.beat(later)
    bn.publish_top(batch=2, recv_ns=later)
    assert access.get_book("BTCUSDT", LATENCY_ARB, later) == (None, Trust.STALE)
    assert access.get_book("BTCUSDT", FAST15M, later)[1] is Trust.LIVE


def test_the_proof_of_the_top_is_the_depths_own_where_both_are_of_one_moment(pm):
    access = BookAccess(pm.store())
    old_ns = NOW - 9_000 * MS
    pm.publish_top(batch=3, recv_ns=old_ns, proven_ns=NOW - 5 * MS)
    pm.publish_depth(batch=3, recv_ns=old_ns)
    assert access.get_book(UP, LATENCY_ARB, NOW)[1] is Trust.QUIET
    pm.publish_depth(batch=2, recv_ns=old_ns)
    assert access.get_book(UP, LATENCY_ARB, NOW)[1] is Trust.STALE


def test_a_book_published_after_the_clock_was_read_is_not_from_the_future(pm):
    access = BookAccess(pm.store())
    before_ns = time.monotonic_ns()
    now_ns = time.monotonic_ns()
    pm.beat(now_ns)
    live(pm, now_ns=now_ns)
    assert access.get_book(UP, FAST15M, before_ns)[1] is Trust.LIVE


def test_a_top_published_after_the_clock_was_read_is_not_from_the_future(pm):
    access = BookAccess(pm.store())
    before_ns = time.monotonic_ns()
    now_ns = time.monotonic_ns()
    pm.beat(now_ns)
    pm.publish_depth(recv_ns=before_ns)
    pm.publish_top(recv_ns=now_ns)
    assert access.get_book(UP, FAST15M, before_ns)[1] is Trust.LIVE


@pytest.mark.parametrize("batch", [1, 2])
def test_a_book_whose_event_came_late_is_stale_where_the_offset_of_the_clocks_is_known(bn, batch):
    offset_ns, lag_ns = 10**18, FAST15M.lag_ns_max + 1
    bn.publish_top(batch=batch)
    bn.writer.apply_snapshot(0, Whole(1, ((100, 1),), ((101, 1),)), bn.stamp())
    stamp = bn.stamp(venue_ts_ns=NOW + offset_ns - lag_ns, batch=1)
    bn.writer.apply_delta(0, Delta(2, 2, (), ()), stamp)
    assert BookAccess(bn.store()).get_book("BTCUSDT", FAST15M, NOW)[1] is Trust.LIVE
    access = BookAccess(bn.store(), wall_offset_ns=offset_ns)
    assert access.get_book("BTCUSDT", FAST15M, NOW) == (None, Trust.STALE)


def test_a_store_that_is_switched_off_serves_nothing(pm):
    access = BookAccess(pm.store(), is_enabled=False)
    live(pm)
    assert access.get_book(UP, FAST15M, NOW) == (None, Trust.NOT_SUBSCRIBED)
    assert access.mid(UP, FAST15M, NOW) is None


def test_the_figures_go_where_the_process_keeps_its_own(pm):
    metrics = BookMetrics(pm.segment.counters)
    access = BookAccess(pm.store(), metrics)
    live(pm)
    access.get_book(UP, FAST15M, NOW)
    assert pm.store().segment.counters.all()["cache_book_hits"] == 1


# --- best prices ----------------------------------------------------------------------------------


def test_best_prices_and_mid_are_those_of_the_depth(pm):
    access = BookAccess(pm.store())
    pm.publish_top()
    pm.publish_depth(bids=((100, 1), (99, 2)), asks=((103, 1), (104, 1)))
    assert access.best_bid(UP, FAST15M, NOW) == 100
    assert access.best_ask(UP, FAST15M, NOW) == 103
    assert access.mid(UP, FAST15M, NOW) == 101


def test_a_price_that_is_not_known_is_none(pm):
    access = BookAccess(pm.store())
    for ask in (access.best_bid, access.best_ask, access.mid):
        assert ask(UP, FAST15M, NOW) is None
    pm.publish_top(flags=int(Flag.NO_BID))
    pm.publish_depth(flags=int(Flag.NO_BID), bids=())
    assert access.best_bid(UP, FAST15M, NOW) is None
    assert access.best_ask(UP, FAST15M, NOW) == 101
    assert access.mid(UP, FAST15M, NOW) is None
    pm.publish_depth(asks=())
    assert access.best_ask(UP, FAST15M, NOW) is None


# --- for who reads first and judges then ----------------------------------------------------------


def test_a_top_that_was_read_is_served_by_the_same_gate_and_counted(pm):
    store, metrics = pm.store(), BookMetrics()
    live(pm, age_ms=30)
    top, witness = store.look(UP).top, store.witness(NOW)
    assert serve(top, FAST15M, NOW, witness=witness, metrics=metrics) == (top, Trust.LIVE)
    late = NOW + FAST15M.evidence_ns_max
    book, trust = serve(top, FAST15M, late, witness=store.witness(late), metrics=metrics)
    assert (book, trust) == (top, Trust.STALLED)
    served = serve(Miss.NEVER, FAST15M, NOW, witness=witness, metrics=metrics)
    assert served == (None, Trust.NEVER_SEEN)
    summary = metrics.summary()
    assert (summary.cache_hits, summary.cache_misses) == (1, 2)
    assert (summary.cache_misses_not_ready, summary.cache_misses_never_seen) == (1, 1)
    assert summary.age_histogram == (0, 1, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("batch", "flags", "is_given"),
    [(1, 0, True), (2, 0, False), (1, Flag.SUSPECT, False), (1, Flag.RESYNC, False)],
)
def test_depth_belongs_to_a_top_of_the_same_moment_unless_it_is_in_doubt_itself(
    pm, batch, flags, is_given
):
    live(pm, age_ms=30)
    pm.publish_depth(batch=batch, flags=int(flags))
    store = pm.store()
    sight = store.look(UP)
    found = depth_of(sight, FAST15M, NOW, store.witness(NOW))
    assert found == (sight.depth if is_given else None)


def test_old_depth_that_is_of_the_same_moment_as_a_proven_top_is_given(pm):
    live(pm, age_ms=3_000)
    pm.publish_top(recv_ns=NOW - 3_000 * MS, proven_ns=NOW)
    store = pm.store()
    assert depth_of(store.look(UP), FAST15M, NOW, store.witness(NOW)) is not None


def test_without_any_depth_there_is_none(pm):
    pm.publish_top()
    store = pm.store()
    assert depth_of(store.look(UP), FAST15M, NOW, store.witness(NOW)) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"token": 5}, "token is 5: it must be the venue's id, as text"),
        ({"token": ["x"]}, "token is .'x'.: it must be"),
        ({"token": None}, "token is None"),
        ({"policy": "fast15m"}, "policy is 'fast15m': it must be a Policy"),
        ({"policy": ("fast15m", 1, 2, 3)}, "policy is .'fast15m'"),
        ({"policy": FAST15M._replace(evidence_ns_max="x")}, "policy is Policy"),
        ({"now_ns": "now"}, "now_ns is 'now': it must be a whole number"),
        ({"now_ns": None}, "now_ns is None"),
        ({"now_ns": float(NOW)}, "now_ns is 1"),
        ({"now_ns": True}, "now_ns is True"),
    ],
    ids=str,
)
def test_what_is_no_question_is_refused_by_its_name_and_counted_nowhere(pm, changed, said):
    live(pm)
    access = BookAccess(pm.store(), wall_offset_ns=0)
    asked = {"token": UP, "policy": None, "now_ns": NOW} | changed
    with pytest.raises(TypeError, match=said):
        access.get_book(**asked)
    summary = access.metrics.summary()
    assert summary.cache_hits == summary.cache_misses == 0
    assert access.get_book(UP, None, NOW)[1] is Trust.LIVE


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"default": "fast15m"}, "default is 'fast15m'"),
        ({"wall_offset_ns": 0.5}, "wall_offset_ns"),
        ({"is_enabled": "false"}, "is_enabled is 'false': it must be True or False"),
        ({"metrics": {}}, "metrics is {}: it must be BookMetrics, or None"),
        ({"store": "feed.binance.0"}, "store is 'feed.binance.0': it must be a BookStore"),
        ({"default": 10**400}, "default is a number of many digits"),
    ],
    ids=str,
)
def test_an_access_that_cannot_judge_is_not_made(pm, told, said):
    with pytest.raises(TypeError, match=said):
        BookAccess(**{"store": pm.store()} | told)


def test_a_policy_of_no_known_name_is_refused_by_it():
    with pytest.raises(ValueError, match="policy is 'fast': write default, latency_arb, fast15m"):
        policy_named("fast", 1_500)
    for name in (["fast15m"], None, 10**400):
        with pytest.raises(ValueError, match=r"^policy is .*: write default, "):
            policy_named(name, 1_500)
    for make in (policy_of_ms, latency_arb):
        with pytest.raises(
            ValueError, match=r"^max_stale_ms is a number of many digits: it must be"
        ):
            make(-(10**400))


@pytest.mark.parametrize("now_ns", [-(2**70), -1, 0, 2**63, 2**70])
def test_a_clock_that_cannot_be_serves_nothing(pm, now_ns):
    live(pm)
    book, trust = BookAccess(pm.store()).get_book(UP, None, now_ns)
    assert book is None
    assert not trust.is_quotable
