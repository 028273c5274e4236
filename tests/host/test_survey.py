import io
import mmap
import os
import struct

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cache.bn_cache import BNCacheWriter, bn_boards
from cache.book_access import policy_of_ms
from cache.gate import Trust
from cache.layout import (
    BBO,
    HEADER_AT,
    INSTRUMENT,
    PAIR_BBO,
    PROCESS,
    SETTLEMENT,
    BoardSpec,
    Flag,
    ProcessPhase,
    State,
    tag_of,
)
from cache.pm_cache import PMCacheWriter, pm_boards
from cache.segment import ReaderSegment, WriterSegment, roles, segment_path
from host.dump import board_rows, render, segment_rows
from host.page import WindowPage
from host.show import screen, status_line
from host.survey import FILLS_SHOWN, NAMES_KEPT, Survey, check
from host.trust import Judge
from tests.cache.book_world import NOW as DEPTH_NS
from tests.cache.book_world import FeedWorld
from tests.system.damage import damages, spoil, spoil_word, stray_words

E9 = 10**9
NOW_NS = 5_000_000_000_000
WALL_NS = 1_800_000_000_000_000_000


def test_a_survey_sees_every_board_by_name(filled):
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    assert [row.role for row in picture.processes] == [
        "executor.paper", "feed.binance.0", "feed.polymarket.0", "strategy.maker", "supervisor",
    ]  # fmt: skip
    assert {row.liveness for row in picture.processes} == {"LIVE"}
    feed = picture.processes[1]
    assert (feed.restart_count, feed.exit_code, feed.phase) == (3, -9, "RUNNING")
    assert feed.heartbeat_age_ms == 50
    assert picture.processes[0].restart_count is None, "unknown is not 0"
    (book,) = picture.books
    assert (book.market, book.yes_bid_px_e9, book.age_ms) == ("btc-up-1", 450_000_000, 7)
    assert (book.flags, book.ends_s) == (["SUSPECT"], 100.0)
    assert (book.strike_e9, book.strike_provenance) == (60_010 * E9, "STREAM")
    (reference,) = picture.references
    assert (reference.symbol, reference.ask_px_e9) == ("BTCUSDT", 60_001 * E9)
    assert (reference.sigma_e9, reference.sample_count) == (3 * E9, 99)
    assert (book.move_1m_e9, reference.move_1m_e9) == (5_000_000, 60 * E9)
    (wish,) = picture.quotes
    assert (wish.strategy, wish.market, wish.valid_ms) == ("maker", "btc-up-1", 1000)
    assert wish.reason == "QUOTING"


def test_a_side_without_a_price_is_none_and_a_size_that_is_unknown_too(filled):
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    (book,), (reference,) = picture.books, picture.references
    assert (book.no_bid_px_e9, book.no_ask_qty_e9, book.last_px_e9) == (None, None, None)
    assert (reference.bid_qty_e9, reference.ask_qty_e9) == (2 * E9, E9)
    assert (reference.age_ms, book.disagrees) == (7, [])


def test_books_that_are_not_mirrors_of_each_other_are_told_apart(namespace):
    boards = (*pm_boards(), BoardSpec("settlement", SETTLEMENT, 1, 8))
    feed = WriterSegment.create("feed.polymarket.0", boards, namespace=namespace)
    writer = PMCacheWriter(feed, clock=lambda: NOW_NS - 7_000_000)
    yes = (450_000_000, E9, 470_000_000, E9)
    for no, disagrees in (((530_000_000, E9, 560_000_000, E9), ["bid"]), (None, [])):
        writer.update_from_ws(yes, no, "0xab", "1", "2")
        (book,) = Survey(namespace).take(NOW_NS, WALL_NS).books
        assert (book.disagrees, book.age_ms) == (disagrees, 7)
    assert (book.no_bid_px_e9, book.flags) == (None, ["WARMUP", "NO_BID", "NO_ASK"])
    feed.close()


def test_how_far_a_market_moved_in_a_minute_is_told_once_it_was_followed_so_long(namespace):
    boards = (*pm_boards(), BoardSpec("settlement", SETTLEMENT, 1, 8))
    feed = WriterSegment.create("feed.polymarket.0", boards, namespace=namespace)
    now_ns = NOW_NS
    writer = PMCacheWriter(feed, clock=lambda: now_ns)
    survey = Survey(namespace)

    def move():
        (book,) = survey.take(now_ns, WALL_NS).books
        return book.move_1m_e9

    for second in range(70):
        now_ns = NOW_NS + second * E9
        bid_e9 = (400 + second) * E9 // 1_000
        writer.update_from_ws((bid_e9, E9, bid_e9 + 2 * E9 // 1_000, E9), None, "0xab", "1", "2")
        assert move() == (60 * E9 // 1_000 if second >= 60 else None)
    now_ns += 3 * E9
    assert move() == (69 - 12) * E9 // 1_000, "from the last mid there was a minute ago"
    now_ns += 1
    assert move() is None, "what is not followed any more moves by nothing that is known"
    feed.close()


def test_how_far_a_reference_moved_is_by_the_seconds_of_the_wall_clock(namespace):
    feed = WriterSegment.create("feed.binance.0", bn_boards(), namespace=namespace)
    BNCacheWriter(feed, "BTCUSDT", clock=lambda: NOW_NS)
    samples = feed.board("samples")

    def follow(*seconds):
        for second in seconds:
            wall_ns = WALL_NS + second * E9
            samples.publish(0, (0, 0, 0, 1, 0, 0, 0, (60_000 - second) * E9, wall_ns))

    def check(*moves):
        for later_s, move in moves:
            (reference,) = Survey(namespace).take(NOW_NS, WALL_NS + later_s * E9).references
            assert reference.move_1m_e9 == (None if move is None else move * E9)

    follow(*range(30), *range(34, 61))
    check((59, None), (60, -60), (63, -57), (64, None))
    follow(*range(61, 93))
    check((92, -63), (93, None))
    feed.close()


def test_what_is_older_than_the_caches_take_for_fresh_is_stale(filled):
    for later_ms, books, references in (
        (0, [False], [False]),
        (493, [False], [False]),
        (494, [True], [False]),
        (993, [True], [False]),
        (994, [True], [True]),
    ):
        picture = Survey(filled).take(NOW_NS + later_ms * 1_000_000, WALL_NS)
        assert [row.is_stale for row in picture.books] == books
        assert [row.is_stale for row in picture.references] == references


def test_only_orders_that_may_rest_are_listed_and_their_ids_need_not_be_text(filled):
    (order,) = Survey(filled).take(NOW_NS, WALL_NS).orders
    assert (order.state, order.outcome, order.market) == ("WORKING", "Up", "btc-up-1")


def test_the_last_fills_are_shown_oldest_first(filled):
    fills = Survey(filled).take(NOW_NS, WALL_NS).fills
    assert [row.fill_id for row in fills] == list(range(31 - FILLS_SHOWN, 31))
    assert (fills[0].side, fills[0].is_maker, fills[0].outcome) == ("BUY", True, "Up")


def test_a_book_of_an_older_incarnation_is_warmup_whatever_it_says(relisted):
    (book,) = Survey(relisted).take(NOW_NS, WALL_NS).books
    assert book.flags == ["WARMUP", "SUSPECT"]
    assert book.yes_bid_px_e9 == 450_000_000


def test_what_a_restarted_feed_has_not_listed_again_is_not_shown(filled):
    with open(segment_path(filled, "feed.binance.0"), "r+b") as file:
        file.seek(HEADER_AT["incarnation"])
        file.write(struct.pack("<Q", 2))
    assert Survey(filled).take(NOW_NS, WALL_NS).references == []


def test_a_survey_follows_a_segment_that_is_replaced_and_one_that_goes(filled):
    survey = Survey(filled)
    survey.take(NOW_NS, WALL_NS)
    os.unlink(segment_path(filled, "executor.paper"))
    os.unlink(segment_path(filled, "executor.paper") + ".lock")
    picture = survey.take(NOW_NS, WALL_NS)
    assert "executor.paper" not in [row.role for row in picture.processes]
    assert picture.positions == []
    made = WriterSegment.create("executor.paper", (), namespace=filled)
    (row,) = [r for r in survey.take(NOW_NS, WALL_NS).processes if r.role == "executor.paper"]
    assert row.state == "BOOT"
    made.close()


def test_the_dead_and_the_damaged_are_shown_too(namespace):
    dead = WriterSegment.create("feed.dead", (), namespace=namespace)
    dead.set_state(State.RUN)
    dead.close()
    with open(segment_path(namespace, "feed.damaged"), "wb") as file:
        file.write(b"nothing")
    damaged, gone = Survey(namespace).take(2**62, WALL_NS).processes
    assert (gone.role, gone.liveness, gone.state) == ("feed.dead", "WRITER_DEAD", "RUN")
    assert (damaged.role, damaged.liveness) == ("feed.damaged", "UNKNOWN")
    assert "7 bytes" in damaged.error


def test_a_role_that_never_made_a_segment_is_shown_as_its_supervisor_tells(namespace):
    boards = (BoardSpec("processes", PROCESS, 4, 8),)
    told = WriterSegment.create("supervisor", boards, namespace=namespace)
    row = (b"feed.early", 0, 0, 3, 2, int(ProcessPhase.FAILED), 0)
    told.board("processes").assign(0, tag_of("process", "feed.early"), 0)
    told.board("processes").publish(0, (0, 0, 1, 1, 0, 0, 0, *row))
    early, _ = Survey(namespace).take(NOW_NS, WALL_NS).processes
    assert (early.role, early.liveness, early.phase) == ("feed.early", "UNKNOWN", "FAILED")
    assert (early.restart_count, early.exit_code) == (3, 2)
    told.close()


def test_check_says_nothing_of_a_live_role_and_why_of_any_other(filled):
    assert check("feed.binance.0", filled, NOW_NS) == ""
    assert "STALLED" in check("feed.binance.0", filled, NOW_NS + 10 * E9)
    assert "does not exist" in check("feed.absent", filled, NOW_NS)


def test_names_outlive_their_market(filled):
    survey = Survey(filled)
    survey.take(NOW_NS, WALL_NS)
    os.unlink(segment_path(filled, "feed.polymarket.0"))
    os.unlink(segment_path(filled, "feed.polymarket.0") + ".lock")
    assert survey.take(NOW_NS, WALL_NS).positions[0].market == "btc-up-1"
    fresh = Survey(filled).take(NOW_NS, WALL_NS).positions[0]
    assert fresh.market == f"#{tag_of('polymarket', '0xcondition'):016x}"
    assert ReaderSegment.attach("executor.paper", namespace=filled).state == State.RUN


def test_names_that_nobody_lists_are_kept_up_to_a_limit_the_newest_and_the_listed_always(filled):
    survey = Survey(filled)
    survey.take(NOW_NS, WALL_NS)
    survey._names |= {tag: ("old", "") for tag in range(1, 2 * NAMES_KEPT)}
    survey._forget()
    assert survey.take(NOW_NS, WALL_NS).positions[0].market == "btc-up-1"
    assert len(survey._names) == NAMES_KEPT
    assert 1 not in survey._names
    assert 2 * NAMES_KEPT - 1 in survey._names


def test_names_are_let_go_of_when_new_ones_come(filled):
    survey = Survey(filled)
    survey._names = {tag: ("old", "") for tag in range(1, 2 * NAMES_KEPT)}
    survey.take(NOW_NS, WALL_NS)
    assert len(survey._names) == NAMES_KEPT


def test_a_segment_that_is_just_being_made_has_no_state_yet(namespace):
    made = WriterSegment.create("feed.new", (), namespace=namespace)
    made._set("state", 0)
    (row,) = Survey(namespace).take(NOW_NS, WALL_NS).processes
    assert row.state == "NEW"
    assert "state NEW" in check("feed.new", namespace, 2**62)
    made.close()


def test_what_was_published_while_the_survey_read_is_new_and_not_of_the_future(filled):
    picture = Survey(filled).take(NOW_NS - 60_000_000, WALL_NS)
    assert {row.liveness for row in picture.processes} == {"LIVE"}
    assert {row.heartbeat_age_ms for row in picture.processes} == {0}
    assert picture.books[0].age_ms == 0
    far = Survey(filled).take(NOW_NS - 10 * E9, WALL_NS)
    assert {row.liveness for row in far.processes} == {"STALLED"}
    assert far.books[0].age_ms < -9000


def page(picture):
    """Everything that is ever made of a picture; the page as text."""
    msgspec.json.encode(picture)
    console = Console(file=io.StringIO(), width=300, force_terminal=True)
    console.print(screen(picture, counters=True))
    console.print(WindowPage(picture, "hint", counters=True))
    status_line(picture)
    return console.file.getvalue()


class Foreign:
    """A segment that somebody else writes into, too."""

    def __init__(self, namespace, role):
        with open(segment_path(namespace, role), "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self._view = memoryview(self.map)
        self._reader = ReaderSegment.attach(role, namespace=namespace)
        self.places = self._reader.places

    def close(self):
        self._view.release()
        self.map.close()


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_lies_in_memory_is_shown_without_a_word_of_python(filled, data):
    strays = []
    for role in roles(filled):
        foreign = Foreign(filled, role)
        for board, place in foreign.places().items():
            if data.draw(st.booleans()):
                slot = data.draw(st.integers(0, min(2, place.spec.slot_count) - 1))
                keep = data.draw(st.sampled_from(((), ("tag", "incarnation"))))
                spoil(foreign, board, slot, data.draw(damages(board, keep=keep)))
                if data.draw(st.booleans()):
                    name, number = data.draw(stray_words({board: (slot,)}))
                    strays.append((role, name, spoil_word(foreign, name, number)))
        foreign.close()
    try:
        text = page(Survey(filled).take(NOW_NS, WALL_NS))
        assert "\x1b]" not in text
        for role in roles(filled):
            dump(filled, role)
    finally:
        for role, name, before in reversed(strays):
            foreign = Foreign(filled, role)
            spoil_word(foreign, name, before)
            foreign.close()


def dump(namespace, role):
    """Everything that `penstock shm dump` ever shows of a segment."""
    found = ReaderSegment.attach(role, namespace=namespace)
    with open(found.path, "rb") as file:
        segment_rows(found, file.read(320))
    for board in found.places():
        for history in (1, 4):
            "".join(render(board_rows(found.board(board), history=history)))


def test_text_in_memory_is_shown_as_it_is_and_steers_no_terminal(filled):
    foreign = Foreign(filled, "feed.polymarket.0")
    evil = b"[/red]\x1b]0;evil\x07[bold]"
    spoil(foreign, "instruments", 0, {"slug": evil})
    spoil(foreign, "instruments", 1, {"slug": evil})
    foreign.close()
    assert "evil" not in page(Survey(filled).take(NOW_NS, WALL_NS)), "no such market"
    foreign = Foreign(filled, "supervisor")
    spoil(foreign, "processes", 0, {"name": b"feed.binance.0"})
    foreign.close()
    foreign = Foreign(filled, "feed.polymarket.0")
    for slot in (0, 1):
        spoil(foreign, "instruments", slot, {"slug": b"[/red]" + bytes(66)})
    foreign.close()
    assert "[/red]" in page(Survey(filled).take(NOW_NS, WALL_NS))


@pytest.mark.parametrize("record", [BBO, PAIR_BBO])
def test_a_segment_without_the_boards_of_its_role_is_a_row_and_no_hole(namespace, record):
    boards = (BoardSpec("instruments", INSTRUMENT, 2, 4), BoardSpec("pair_bbo", record, 1, 4))
    made = WriterSegment.create("feed.polymarket.0", boards, namespace=namespace)
    picture = Survey(namespace).take(NOW_NS, WALL_NS)
    (row,) = picture.processes
    wrong = record is BBO
    assert ("board 'pair_bbo' holds bbo, must hold pair_bbo" in row.error) is wrong
    assert "feed.polymarket.0" in page(picture)
    made.close()


def test_a_position_that_its_executor_does_not_know_says_so(filled):
    foreign = Foreign(filled, "executor.paper")
    spoil(foreign, "positions", 0, {"flags": int(Flag.SUSPECT).to_bytes(4, "little")})
    foreign.close()
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    assert not picture.positions[0].is_known
    assert "UNKNOWN" in page(picture)


def test_a_token_whose_market_is_gone_is_named_by_its_number(filled):
    for slot in (0, 1):
        foreign = Foreign(filled, "feed.polymarket.0")
        spoil(foreign, "instruments", slot, {"id": bytes(80)})
        foreign.close()
    foreign = Foreign(filled, "executor.paper")
    spoil(foreign, "orders", 0, {"outcome_index": b"\x01"})
    foreign.close()
    picture = Survey(filled).take(NOW_NS, WALL_NS)
    assert picture.orders[0].outcome == "second"
    assert picture.fills[0].outcome == "first"


def test_depth_is_shown_as_the_book_store_would_serve_it(namespace):
    world = FeedWorld(namespace)
    world.publish_top(batch=3, recv_ns=DEPTH_NS - 7_000_000)
    world.publish_depth(batch=3, seq=9, recv_ns=DEPTH_NS - 7_000_000)
    survey = Survey(namespace, clock=lambda: DEPTH_NS)
    first, second = survey.take(DEPTH_NS, WALL_NS).depths
    assert (first.feed, first.token, first.trust) == ("feed.binance.0", "BTCUSDT", "LIVE")
    assert (first.is_ready, first.sequence, first.update_count, first.age_ms) == (True, 9, 1, 7)
    assert (first.bid_count, first.ask_count) == (1, 1)
    assert (second.token, second.trust, second.is_ready) == ("ETHUSDT", "NEVER_SEEN", False)
    assert (second.sequence, second.age_ms, second.bid_count) == (None, None, None)
    world.publish_top(batch=4, recv_ns=DEPTH_NS, flags=int(Flag.RESYNC))
    assert [row.trust for row in survey.take(DEPTH_NS, WALL_NS).depths] == ["GAP", "NEVER_SEEN"]
    world.segment.close(remove=True)
    assert survey.take(DEPTH_NS, WALL_NS).depths == []


def test_depth_that_came_after_the_survey_began_is_judged_by_a_later_clock(namespace):
    world = FeedWorld(namespace)
    world.publish_top(batch=3, recv_ns=DEPTH_NS - 7_000_000)
    world.publish_depth(batch=3, seq=9, recv_ns=DEPTH_NS - 7_000_000)
    early_ns = DEPTH_NS - 20_000_000
    survey = Survey(namespace, clock=lambda: DEPTH_NS)
    found = survey.take(early_ns, WALL_NS).depths[0]
    assert (found.trust, found.age_ms) == ("LIVE", 7)
    assert Survey(namespace, clock=lambda: early_ns).take(early_ns, 0).depths[0].trust != "LIVE"
    world.segment.close(remove=True)


def test_a_market_and_a_reference_say_how_far_they_may_be_trusted(filled):
    strict = policy_of_ms(300)
    for judge, later_ms, market, reference in (
        (Judge(), 0, "SUSPECT", "LIVE"),
        (Judge(), 400, "SUSPECT", "LIVE"),
        (Judge(book=strict), 400, "STALE", "LIVE"),
        (Judge(reference=strict), 400, "SUSPECT", "STALE"),
        (Judge(), 9_000, "STALLED", "STALLED"),
    ):
        now_ns = NOW_NS + later_ms * 1_000_000
        picture = Survey(filled, judge, clock=lambda at=now_ns: at).take(now_ns, WALL_NS)
        assert picture.books[0].trust == market, later_ms
        assert picture.references[0].trust == reference, later_ms


def test_a_book_that_came_after_the_survey_began_is_judged_by_a_later_clock(filled):
    early_ns = NOW_NS - 20_000_000
    picture = Survey(filled, clock=lambda: NOW_NS).take(early_ns, WALL_NS)
    assert picture.references[0].trust == "LIVE"
    assert Survey(filled, clock=lambda: early_ns).take(early_ns, 0).references[0].trust == "STALE"


def test_a_market_of_a_feed_of_ones_own_is_shown_and_its_strike_is_not_known(namespace):
    segment = WriterSegment.create("feed.market.0", pm_boards(), namespace=namespace)
    writer = PMCacheWriter(segment, clock=lambda: NOW_NS)
    side = (49 * E9 // 100, E9, 51 * E9 // 100, E9)
    writer.update_from_ws(side, side, "0xcondition", "yes-token", "no-token")
    segment.set_state(State.RUN)
    segment.heartbeat(NOW_NS)
    picture = Survey(namespace).take(NOW_NS, WALL_NS)
    (book,) = picture.books
    assert (book.market, book.yes_bid_px_e9) == ("0xcondition", 490_000_000)
    assert (book.strike_e9, book.strike_provenance, book.ends_s) == (None, "UNKNOWN", None)
    console = Console(file=io.StringIO(), width=300)
    console.print(screen(picture))
    assert "0xcondition" in console.file.getvalue()
    segment.close()


def test_the_tops_too_are_judged_by_a_link_that_was_read_before_them(namespace):
    boards = (*pm_boards(), BoardSpec("settlement", SETTLEMENT, 1, 8))
    feed = WriterSegment.create("feed.polymarket.0", boards, namespace=namespace)
    old_ns = NOW_NS - E9
    writer = PMCacheWriter(feed, clock=lambda: old_ns, wall=lambda: WALL_NS - E9)
    yes = (450_000_000, E9, 470_000_000, E9)
    writer.update_from_ws(yes, (530_000_000, E9, 550_000_000, E9), "0xab", "1", "2")
    feed.set_state(State.RUN)
    feed.heartbeat(NOW_NS)
    told = []

    class Late(Judge):
        def top(self, *read):
            told.append(super().top(*read))
            feed.set_link(old_ns)
            return told[-1]

    def clock():
        feed.set_link(NOW_NS)
        return NOW_NS

    survey = Survey(namespace, Late(policy_of_ms(500)), clock=clock)
    (book,) = survey.take(NOW_NS, WALL_NS).books
    assert (book.trust, told) == ("STALE", [Trust.STALE])
    feed.set_link(NOW_NS)
    survey.take(NOW_NS, WALL_NS)
    assert told[-1] is Trust.QUIET
    feed.close()
