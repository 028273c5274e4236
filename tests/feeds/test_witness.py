import asyncio
import itertools

import pytest

from cache.counters import Counter, Histogram
from cache.layout import Flag, Proof
from cache.md_config import MDCacheConfig
from cache.md_entry import MDRefreshError
from cache.md_rollout import READS_MIN, MDGates
from feeds.book import TokenBook
from feeds.polymarket_wire import Level
from feeds.rest_books_wire import VenueBook
from feeds.witness import (
    AGAIN_MS,
    SILENT_NS,
    WAITING_MAX,
    Budget,
    Verdict,
    Witness,
    is_ghost,
    judge,
)
from venue.decimals import E9

CENT = E9 // 100
MS = 1_000_000
BIDS, ASKS = ((40, 1), (39, 2), (10, 5)), ((50, 1), (60, 2))


def held(bids=BIDS, asks=ASKS):
    """A book of ours; prices in cents, sizes whole."""
    book = TokenBook("7")
    sides = (
        [Level(price=f"0.{px:02}", size=str(qty)) for px, qty in side] for side in (bids, asks)
    )
    book.replace(*sides, 10_000_000)
    return book


def told(bids=BIDS, asks=ASKS, *, ms=0):
    """What REST shows, best first."""
    sides = (tuple((px * CENT, qty * E9) for px, qty in side) for side in (bids, asks))
    return VenueBook(*sides, ms * MS)


def verdict(*pairs, depth=20, is_still=True, ms=0):
    books, shown = zip(*pairs, strict=True)
    return judge(books, shown, depth=depth, is_still=is_still, venue_ts_ns=ms * MS)


def test_equal_books_match_and_one_that_differs_in_any_size_does_not():
    assert verdict((held(), told())) is Verdict.MATCHED
    assert verdict((held(), told()), (held(), told())) is Verdict.MATCHED
    other = told(bids=((40, 1), (39, 3), (10, 5)))
    assert verdict((held(), other)) is Verdict.MISMATCHED
    assert verdict((held(), told()), (held(), other)) is Verdict.MISMATCHED
    assert verdict((held(), told(asks=ASKS[:1]))) is Verdict.MISMATCHED
    assert verdict((held(), told(bids=(), asks=ASKS[:1]))) is Verdict.MISMATCHED


@pytest.mark.parametrize(
    ("ours_e9", "shown_e9", "expected"),
    [
        (CENT, CENT, Verdict.MATCHED),
        (CENT, CENT // 10, Verdict.MISMATCHED),
        (CENT, 0, Verdict.MATCHED),
        (0, CENT, Verdict.MATCHED),
    ],
)
def test_the_same_levels_on_another_tick_are_another_book(ours_e9, shown_e9, expected):
    shown = VenueBook(told().bids, told().asks, 0, shown_e9)
    given = {"depth": 20, "is_still": True, "venue_ts_ns": 0, "tick_e9": ours_e9}
    assert judge([held()], [shown], **given) is expected


def test_a_tick_that_never_came_makes_the_book_suspect_until_its_whole_book_comes(world):
    async def work(w):
        assert w.pair.tick_e9 == CENT
        w.tick_e9 = CENT // 10
        await w.tick(20)
        assert w.frozen == 1
        assert w.pair.is_suspect

    world().run(work)


def test_only_the_best_levels_are_compared():
    deeper = told(bids=((40, 1), (39, 2), (9, 5)))
    assert verdict((held(), deeper), depth=2) is Verdict.MATCHED
    assert verdict((held(), deeper), depth=3) is Verdict.MISMATCHED


def test_what_differs_while_frames_come_or_is_older_than_ours_says_nothing():
    other = told(bids=((41, 1),), ms=5)
    assert verdict((held(), other), is_still=False) is Verdict.UNCLEAR
    assert verdict((held(), other), ms=6) is Verdict.UNCLEAR
    assert verdict((held(), other), ms=5) is Verdict.MISMATCHED
    assert verdict((held(), told()), is_still=False, ms=6) is Verdict.MATCHED


def test_one_token_that_is_unclear_leaves_the_market_unclear():
    other, ghost = told(bids=((41, 1),)), told(bids=((1, 1),), asks=((99, 1),))
    assert verdict((held(), other), (held(), ghost)) is Verdict.UNCLEAR
    assert verdict((held(), ghost), (held(), other)) is Verdict.UNCLEAR


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [
        (((1, 5),), ((99, 5),), True),
        ((), (), True),
        (((1, 5),), (), True),
        (((2, 5),), ((99, 5),), False),
        (((1, 5),), ((98, 5),), False),
    ],
)
def test_a_ghost_is_no_tighter_than_a_cent_from_either_end(bids, asks, expected):
    assert is_ghost(told(bids, asks)) is expected


def test_a_market_that_really_is_that_wide_is_proven():
    wide = (((1, 5),), ((99, 5),))
    assert verdict((held(*wide), told(*wide))) is Verdict.MATCHED


# --- the witness on real boards, with a venue and a clock in the test's hand ----------------------


class World:
    """A witness of the desk's market, and REST as the test wants it."""

    def __init__(self, desk, make, **config):
        self.desk, self.make = desk, make
        self.pair = desk.pair
        self.config = {"enabled": True, "ttl_ms": 1_000, "max_depth": 20} | config
        self.rest = {make.YES: told(((40, 1),), ((50, 1),)), make.NO: told(((50, 1),), ((60, 1),))}
        self.asked = []
        self.budget = Budget(1_000, lambda: 0)
        self.tick_e9 = CENT
        self.venue_ts_ns = 9 * 10**18
        self.fault = None
        self.ring_count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        desk.now_ns = 1_000 * E9
        desk.feed(make.both_books([("0.4", "1")], [("0.5", "1")]))

    async def refresh(self, symbol, depth):
        self.asked.append((self.desk.now_ns, symbol, depth))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        book = self.rest[symbol]
        if book is None:
            return None
        return VenueBook(book.bids, book.asks, self.venue_ts_ns, self.tick_e9)

    def ring(self):
        self.ring_count += 1

    def run(self, work):
        async def main():
            self.gates = MDGates(
                MDCacheConfig(**self.config), self.desk.segment.counters,
                now_ns=lambda: self.desk.now_ns,
            )  # fmt: skip
            self.witness = Witness(
                MDCacheConfig(**self.config), self.refresh, self.desk.segment.counters,
                ring=self.ring, budget=self.budget, gates=self.gates,
                now_ns=lambda: self.desk.now_ns,
            )  # fmt: skip
            running = asyncio.create_task(self.witness.run())
            await asyncio.sleep(0)
            try:
                await work(self)
            finally:
                running.cancel()
                await asyncio.wait([running])
                assert running.cancelled(), running.exception()

        asyncio.run(main())

    async def tick(self, count=1, *, wall_ns=0, after_ms=100, is_linked=True):
        """Let ticks pass, and whatever they begin."""
        for _ in range(count):
            self.desk.now_ns += after_ms * MS
            read_ns = self.desk.now_ns if is_linked else 0
            pairs = list(self.desk.channel.pairs.values())
            self.witness.tick(pairs, read_ns=read_ns, wall_ns=wall_ns)
            await self.settle()

    @staticmethod
    async def settle():
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def questions(self):
        """When the venue was asked, each moment once."""
        return sorted({at for at, _, _ in self.asked})

    @property
    def frozen(self):
        """How often a book was called frozen."""
        return self.desk.counted(Counter.feeds_books_frozen)

    def counted(self, name):
        return self.desk.counted(Counter[f"feeds_witness_{name}"])

    def moves(self, size="2"):
        """The venue moves on, and says so over REST alone."""
        self.rest[self.make.YES] = told(((40, int(size)),), ((50, 1),))
        self.rest[self.make.NO] = told(((50, 1),), ((60, int(size)),))


@pytest.fixture
def world(desk, make):
    return lambda **config: World(desk, make, **config)


def test_a_silent_market_is_proven_about_once_a_second_as_of_the_question(world):
    one = world()

    async def work(one):
        top = one.desk.top
        await one.tick(10)
        assert one.asked == [], "a change is proof enough for a second"
        proofs = []
        for _ in range(100):
            await one.tick()
            proofs.append((one.desk.now_ns - one.desk.top.proven_ns) // MS)
        assert max(proofs) <= 1_200
        assert min(b - a for a, b in itertools.pairwise(one.questions)) >= SILENT_NS
        assert 8 <= len(one.questions) <= 10
        found = one.desk.top
        assert (found.proof, found.flags) == (Proof.WITNESS, 0)
        assert found.proven_ns in one.questions
        assert (found.recv_ns, found.batch, found.yes_bid_px_e9) == (
            top.recv_ns, top.batch, top.yes_bid_px_e9
        )  # fmt: skip
        assert found.publish_ns >= top.publish_ns
        assert one.counted("matched") == one.ring_count >= len(one.questions) - 1
        assert {depth for _, _, depth in one.asked} == {20}

    one.run(work)


def test_a_budget_gives_so_many_a_second_and_saves_no_more_than_a_seconds_worth():
    budget = Budget(10, lambda: 0)
    assert [budget.take(2, 100 * E9) for _ in range(6)] == [True] * 5 + [False]
    assert not budget.take(2, 100 * E9 + E9 // 10)
    assert budget.take(2, 100 * E9 + E9 // 5)
    assert sum(budget.take(1, 200 * E9) for _ in range(30)) == 10


def test_a_budget_gives_nothing_while_many_books_wait_for_a_question():
    waiting = [WAITING_MAX + 1]
    budget = Budget(10, lambda: waiting[0])
    assert not budget.take(2, E9)
    waiting[0] = WAITING_MAX
    assert budget.take(2, E9)


def test_a_question_is_paid_for_once_however_often_its_answer_is_looked_for(world):
    one = world()
    one.budget = Budget(2, lambda: 0)

    async def work(one):
        await one.tick(20)
        ages_ms = []
        for _ in range(60):
            await one.tick()
            ages_ms.append((one.desk.now_ns - one.desk.top.proven_ns) // MS)
        assert max(ages_ms) <= 1_300

    one.run(work)


def test_without_budget_nothing_is_asked(world):
    one = world()
    one.budget = Budget(1, lambda: 0)

    async def work(one):
        await one.tick(50)
        assert one.asked == []

    one.run(work)


def test_of_many_silent_markets_those_are_asked_for_whose_proof_is_oldest(world, make):
    one = world()
    one.budget = Budget(2, lambda: 0)
    for number in (1, 2, 3):
        info = make.market_info(number)
        one.desk.list(info, slot=number)
        sides = (([("0.4", "1")], [("0.5", "1")]), ([("0.5", "1")], [("0.6", "1")]))
        books = zip(info.token_ids, sides, strict=True)
        one.desk.feed([make.book(token, *both, market=info.condition_id) for token, both in books])
        one.rest |= zip(info.token_ids, list(one.rest.values())[:2], strict=True)

    async def work(one):
        await one.tick(200)
        asked = [symbol[:-1] for _, symbol, _ in one.asked if symbol not in (make.YES, make.NO)]
        rounds = [asked[at : at + 6] for at in range(0, len(asked) - 5, 6)]
        assert len(rounds) >= 3
        assert {tuple(one) for one in rounds} == {("1", "1", "2", "2", "3", "3")}
        assert len(one.asked) <= 2 * 20 + 2

    one.run(work)


def test_both_tokens_are_asked_for_and_both_must_match(world):
    one = world()

    async def work(one):
        await one.tick(11)
        assert {symbol for _, symbol, _ in one.asked} == {one.make.YES, one.make.NO}
        await one.tick(5)
        one.rest[one.make.NO] = told(((50, 7),), ((60, 1),))
        await one.tick(20)
        assert one.frozen == 1

    one.run(work)


def test_a_market_that_flows_is_not_asked_for(world):
    one = world()

    async def work(one):
        for number in range(30):
            await one.tick(5)
            one.desk.feed(
                one.make.both_changes("BUY", "0.4", str(number + 1), ("0.4", "0.5"), ms=number)
            )
        assert one.asked == []

    one.run(work)


def test_a_frozen_book_is_suspect_at_the_second_answer_that_differs(world):
    one = world()

    async def work(one):
        await one.tick(20)
        proven_ns = one.desk.top.proven_ns
        one.moves()
        began_ns = one.desk.now_ns
        while not one.frozen:
            await one.tick()
            assert one.desk.now_ns - began_ns < 2 * SILENT_NS
        assert one.desk.top.flags & Flag.SUSPECT
        assert one.desk.top.proven_ns == proven_ns
        assert one.counted("mismatched") == 2
        assert one.frozen == 1
        first, second = one.questions[-2:]
        assert AGAIN_MS * MS <= second - first <= 2 * AGAIN_MS * MS, "not a second later"
        asked = len(one.asked)
        await one.tick(50)
        assert len(one.asked) == asked, "who is in doubt waits for a whole book"
        assert one.frozen == 1

    one.run(work)


def test_a_frame_between_two_answers_begins_the_count_anew(world):
    one = world()

    async def work(one):
        await one.tick(20)
        one.moves("9")
        while one.counted("mismatched") < 1:
            await one.tick()
        one.desk.feed(one.make.both_changes("BUY", "0.4", "3", ("0.4", "0.5"), ms=1))
        while one.counted("mismatched") < 2:
            await one.tick()
        assert one.frozen == 0
        one.rest[one.make.YES] = told(((40, 3),), ((50, 1),))
        one.rest[one.make.NO] = told(((50, 1),), ((60, 3),))
        await one.tick(10)
        one.moves("9")
        while one.counted("mismatched") < 3:
            await one.tick()
        assert one.frozen == 0, "a match lies between"
        assert one.desk.top.flags == 0

    one.run(work)


def test_an_answer_older_than_our_book_says_nothing(world):
    one = world()

    async def work(one):
        one.moves()
        one.venue_ts_ns = 1
        await one.tick(40)
        assert one.counted("unclear") >= 3
        assert one.counted("mismatched") == one.frozen == one.counted("matched") == 0

    one.run(work)


def test_a_market_is_proven_only_as_of_the_older_of_its_answers(world, make):
    one = world()

    async def work(one):
        await one.tick(15)
        proven_ns = one.pair.proven_ns
        assert one.counted("matched") == 1
        one.rest[make.YES] = told(((40, 2),), ((50, 1),))  # It moves on, and says so nowhere else.
        one.witness.cache.invalidate(make.NO, reason="a test")
        await one.tick(30)
        assert one.pair.proven_ns == proven_ns
        assert one.frozen == 1

    one.run(work)


def test_a_market_is_looked_at_once_at_a_time(world):
    one = world()

    async def work(one):
        one.gate.clear()
        await one.tick(30)
        looks = [task for task in asyncio.all_tasks() if task.get_name() == "witness"]
        assert len(looks) == 1

    one.run(work)


def test_an_answer_that_a_frame_overtook_says_nothing(world):
    one = world()

    async def work(one):
        await one.tick(20)
        one.gate.clear()
        one.moves("9")
        await one.tick(12)
        one.desk.feed(one.make.both_changes("BUY", "0.4", "3", ("0.4", "0.5"), ms=1))
        one.gate.set()
        await one.tick(12)
        assert one.counted("unclear") >= 1
        assert one.frozen == 0

    one.run(work)


def test_what_is_over_behind_down_held_or_not_there_is_not_asked_for(world, make):
    one = world()
    one.pair.market = make.market_info(window_end_ns=5)

    async def work(one):
        await one.tick(30, wall_ns=5)
        for change in (one.pair.on_down, one.pair.on_resolved):
            one.desk.feed(make.both_books([("0.4", "1")], [("0.5", "1")]))
            change()
            await one.tick(30)
            one.pair.on_subscribed()
        assert one.asked == []

    one.run(work)


def test_a_backlog_proves_nothing(world):
    one = world()

    async def work(one):
        one.pair.on_behind(True)
        await one.tick(20)
        assert one.asked == []
        one.pair.on_behind(False)
        one.gate.clear()
        await one.tick(2)
        assert one.asked
        one.pair.on_behind(True)
        one.gate.set()
        await one.settle()
        assert one.counted("matched") == 0

    one.run(work)


def test_without_an_answer_nothing_is_proven_and_it_is_counted(world):
    one = world(refresh_try_count_max=1, retry_delay_ms=1, retry_delay_ms_max=1, stale_ms_max=2_000)

    async def work(one):
        await one.tick(20)
        proven_ns = one.desk.top.proven_ns
        one.fault = MDRefreshError("status 503")
        await one.tick(60)
        assert one.desk.top.proven_ns == proven_ns
        assert one.desk.top.flags == 0, "it is not the book that is in doubt"
        assert one.desk.counted(Counter.cache_md_refreshes_failed) >= 4
        assert 2 <= one.counted("failed") <= 12
        one.fault = None
        await one.tick(10)
        assert one.desk.now_ns - one.desk.top.proven_ns < SILENT_NS

    one.run(work)


def test_a_token_that_rest_does_not_know_is_not_proven(world):
    one = world()
    one.rest[one.make.NO] = None

    async def work(one):
        await one.tick(30)
        assert one.counted("matched") == 0
        assert one.counted("failed") >= 1

    one.run(work)


def test_a_lost_link_throws_away_what_was_asked_beside_it(world):
    one = world(invalidate_on_ws_gap_ms=500)

    async def work(one):
        await one.tick(15)
        assert one.desk.counted(Counter.cache_md_invalidated) == 0
        await one.tick(20, is_linked=False)
        assert one.desk.counted(Counter.cache_md_invalidated) >= 2
        one.witness.on_disconnected()
        assert one.witness.cache.get_cache_age_ms(one.make.YES) is None

    one.run(work)


@pytest.mark.parametrize("what", ["jump", "tick"])
def test_jumps_in_real_ticks_and_new_ticks_throw_a_snapshot_away(world, make, what):
    one = world()

    async def work(one):
        await one.tick(15)
        assert one.witness.cache.get_cache_age_ms(make.YES) is not None
        near = make.both_changes("BUY", "0.45", "1", ("0.45", "0.5"), ms=1)
        one.desk.feed(near)
        await one.tick()
        assert one.desk.counted(Counter.cache_md_invalidated) == 0, "five ticks are no jump"
        one.desk.feed(
            make.both_changes("BUY", "0.49", "1", ("0.49", "0.5"), ms=2)
            if what == "jump"
            else {
                "event_type": "tick_size_change", "market": make.MARKET, "asset_id": make.YES,
                "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": "1790766981002",
            }
        )  # fmt: skip
        bid = "0.49" if what == "jump" else "0.45"
        one.desk.feed(make.both_changes("BUY", "0.3", "1", (bid, "0.5"), ms=3))
        await one.tick()
        assert one.desk.counted(Counter.cache_md_invalidated) >= 2

    one.run(work)


def test_a_cache_that_is_off_asks_nothing_and_says_so_once(world, capsys):
    one = world(enabled=False)

    async def work(one):
        await one.tick(50)
        assert one.asked == []
        assert one.counted("failed") == 0

    one.run(work)
    assert capsys.readouterr().err.count("witness_off") == 1


@pytest.mark.parametrize(
    "config", [{"share": 0}, {"shadow": True}], ids=["past the cache", "in shadow"]
)
def test_a_market_is_proven_and_found_frozen_whichever_way_its_questions_go(world, config):
    one = world(**config)

    async def work(one):
        await one.tick(50)
        assert one.counted("matched") >= 3
        found = one.desk.top
        assert (found.proof, found.flags) == (Proof.WITNESS, 0)
        assert found.proven_ns in one.questions
        one.moves()
        await one.tick(30)
        assert one.frozen == 1
        assert one.desk.top.flags & Flag.SUSPECT
        first, second = one.questions[-2:]
        assert second - first >= AGAIN_MS * MS, "a frame that is late may still come"

    one.run(work)


def test_a_question_that_hangs_is_not_repeated_at_every_tick(world):
    one = world(share=0)

    async def work(one):
        one.gate.clear()
        await one.tick(30)
        assert len(one.asked) == 2, "one for each token"

    one.run(work)


def test_a_market_is_proven_as_of_the_older_of_both_questions(world):
    one = world()

    async def work(one):
        await one.tick(15)
        one.gate.clear()
        await one.tick(10)
        asked_ns = one.questions[-1]
        one.desk.now_ns += 50 * MS
        one.witness.cache.invalidate(one.make.NO, reason="test")
        one.gate.set()
        await one.settle()
        assert one.questions[-1] > asked_ns, "one token was asked for again"
        await one.tick(2)
        assert one.desk.top.proven_ns == asked_ns

    one.run(work)


def test_only_levels_that_are_published_are_compared_however_many_are_kept(world, make):
    one = world(max_depth=50)
    prices = [f"0.{at}" for at in range(39, 9, -1)]
    one.desk.feed(make.both_books([(px, "1") for px in prices], [("0.5", "1")]))
    bids = tuple((at, 1 if at > 15 else 9) for at in range(39, 9, -1))
    one.rest[make.YES] = told(bids, ((50, 1),))
    one.rest[make.NO] = told(((50, 1),), tuple((100 - px, qty) for px, qty in bids))

    async def work(one):
        await one.tick(15)
        assert one.counted("matched") >= 1
        assert one.counted("mismatched") == 0

    one.run(work)


def test_past_the_cache_who_does_not_answer_is_not_asked_at_every_tick(world):
    one = world(share=0)
    one.fault = MDRefreshError("status 503")

    async def work(one):
        await one.tick(60)
        assert 8 <= one.counted("failed") <= 12
        assert one.counted("matched") == 0

    one.run(work)


def test_a_cache_that_a_gate_gives_up_is_told_once_and_the_witness_goes_on(world, capsys):
    one = world()

    async def work(one):
        await one.tick(30)
        for _ in range(READS_MIN):
            one.desk.segment.counters.record(Histogram.cache_md_read_ns, 1)
        asked = len(one.asked)
        await one.tick(200)
        assert one.desk.counted(Counter.cache_md_rolled_back) == 1
        assert one.desk.now_ns - one.desk.top.proven_ns < 2 * SILENT_NS
        assert len(one.asked) > asked

    one.run(work)
    assert capsys.readouterr().err.count("md_cache_rolled_back") == 1


def test_a_market_that_is_gone_is_forgotten(world):
    one = world()

    async def work(one):
        await one.tick(12)
        one.gate.clear()
        await one.tick(12)
        one.desk.channel.remove(one.make.MARKET)
        one.gate.set()
        await one.tick(20)
        assert one.counted("matched") == 1
        assert not one.witness._looks

    one.run(work)


def test_a_fault_of_ours_ends_the_feed(world):
    one = world()
    one.fault = ZeroDivisionError()

    async def work(one):
        await one.tick(12)

    with pytest.raises(BaseException, match=r"unhandled errors|running"):
        one.run(work)
