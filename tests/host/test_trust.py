from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from cache.board import Miss
from cache.gate import FAST15M, LATENCY_ARB, LONG, Trust
from cache.layout import Flag
from cache.liveness import Liveness
from host.config import load
from host.survey import Survey
from host.trust import Judge
from tests.cache.book_world import MS, NOW, FeedWorld

ROLE = "feed.binance.0"
SEGMENT = SimpleNamespace(incarnation=1)
WALL = 1_800_000_000_000_000_000


def configured(**strategy):
    config = load(None)
    return replace(config, strategy=replace(config.strategy, **strategy))


def test_books_and_references_are_judged_by_the_policies_that_the_strategy_names():
    judge = Judge.of(configured(book_policy="latency_arb", reference_policy="long"))
    assert judge.policy("feed.polymarket.0") == LATENCY_ARB
    assert judge.policy(ROLE) == LONG


def test_where_none_is_named_and_for_other_feeds_it_is_the_threshold_of_the_book_store():
    config = configured(book_policy="default", reference_policy="default")
    config = replace(config, book_store=replace(config.book_store, default_max_stale_ms=700))
    judge = Judge.of(config)
    for role in ("feed.polymarket.0", ROLE, "feed.other.0"):
        assert judge.policy(role).evidence_ns_max == 700 * MS, role
    assert Judge().policy(ROLE) == FAST15M


@pytest.mark.parametrize("mode", ["model", "replay"])
def test_the_venues_own_times_are_judged_unless_they_are_those_of_a_recording(mode):
    config = load(None)
    config = replace(config, sim=replace(config.sim, embedded=True, mode=mode))
    witness = Judge.of(config).witness(SEGMENT, NOW, NOW + 7, Liveness.LIVE, link_ns=NOW)
    assert witness.wall_offset_ns == (7 if mode == "model" else None)
    assert (witness.liveness, witness.incarnation, witness.link_ns) == (Liveness.LIVE, 1, NOW)


def test_what_was_not_read_says_why():
    judge = Judge()
    witness = judge.witness(SEGMENT, NOW, NOW, Liveness.LIVE, link_ns=NOW)
    assert judge.top(ROLE, Miss.NEVER, NOW, witness) is Trust.NEVER_SEEN
    assert judge.top(ROLE, Miss.OTHER_TAG, NOW, witness) is Trust.NOT_SUBSCRIBED


@pytest.fixture(params=["binance", "polymarket"])
def quiet(request, namespace):
    """A feed whose one book changed a second ago, and whose link was not proven since."""
    names = ("one", "other")
    world = FeedWorld(namespace, request.param, names)
    world.publish_top(batch=3, recv_ns=NOW - 1_000 * MS)
    world.publish_depth(batch=3, recv_ns=NOW - 1_000 * MS)
    world.beat(NOW, link_ns=NOW - 1_000 * MS)
    yield world
    world.segment.close(remove=True)


def depth_of(world, judge):
    survey = Survey(world.namespace, judge, clock=lambda: NOW)
    row = survey.take(NOW, WALL).depths[0]
    return row.trust, row.policy


def test_a_survey_judges_depth_by_the_policy_it_was_given(quiet):
    assert depth_of(quiet, Judge()) == ("LIVE", "fast15m")
    for role in ("book", "reference"):
        is_own = (role == "book") == (quiet.venue == "polymarket")
        told = depth_of(quiet, Judge(**{role: LATENCY_ARB}))
        assert told == (("STALE", "latency_arb") if is_own else ("LIVE", "fast15m"))


def test_a_book_in_doubt_says_so_whatever_the_policy(quiet):
    quiet.publish_top(batch=3, recv_ns=NOW - 1_000 * MS, flags=int(Flag.RESYNC))
    assert depth_of(quiet, Judge(LONG, LONG))[0] == "GAP"


def test_a_link_that_is_proven_once_a_book_was_read_proves_nothing_of_that_book(quiet):
    class Late(Judge):
        """Lets the link be as old as the books again, once one was judged."""

        def top(self, *read):
            found = super().top(*read)
            quiet.beat(NOW, link_ns=NOW - 1_000 * MS)
            return found

        def depth(self, *read):
            found = super().depth(*read)
            quiet.beat(NOW, link_ns=NOW - 1_000 * MS)
            return found

    def clock():
        quiet.beat(NOW)
        return NOW

    told = []
    for judge in (Late(LATENCY_ARB, LATENCY_ARB), Judge(LATENCY_ARB, LATENCY_ARB)):
        quiet.beat(NOW, link_ns=NOW - 1_000 * MS)
        survey = Survey(quiet.namespace, judge, clock=clock)
        told += [survey.take(NOW, WALL).depths[0].trust for _ in range(2)]
    assert told[:2] == ["STALE"] * 2
    assert told[3] == "QUIET", "of the link that was proven before the second look"
