"""That the C core and the pure twin of the hot path do the same, and publish the same records."""

import gc
import sys
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import pure_board
from cache.errors import BoardError
from cache.layout import BBO, PAIR_BBO, BoardSpec
from cache.segment import WriterSegment
from feeds import pure_book, pure_pair
from feeds.polymarket_wire import Change, Level, Message
from tests.twins import book_core
from venue.decimals import E9, format_e9

CORE, ABSENCE = book_core()
TICK, RECV = E9 // 100, 77
NUMBERS = (
    "batch", "recv_ns", "venue_ts_ns", "proof", "proven_ns", "held_ns", "snapshot_ns", "tick_e9",
    "last_px_e9", "slot", "is_plain", "is_mirrored",
)  # fmt: skip

needs_core = pytest.mark.skipif(CORE is None, reason=ABSENCE)
twins = pytest.mark.parametrize("twin", [pure_pair, CORE] if CORE else [pure_pair])


@pytest.fixture(scope="module")
def segment():
    made = WriterSegment.create(
        "feed.polymarket.0",
        (BoardSpec("one", PAIR_BBO, 2, 8), BoardSpec("two", PAIR_BBO, 2, 8),
         BoardSpec("other", BBO, 1, 8)),
        namespace=f"t{uuid.uuid4().hex[:12]}",
    )  # fmt: skip
    for name in ("one", "two"):
        made.board(name).assign(1, 5, 3)
    yield made
    made.close(remove=True)


def a_state(twin, board, second_id="2"):
    levels = CORE.Levels if twin is CORE else pure_book.Levels
    books = levels(), levels()
    for book, token in zip(books, ("1", second_id), strict=True):
        book.token_id = token
    state = twin.PairState()
    state.begin(*books, 1, board)
    state.tick_e9 = TICK
    return state


def filled(twin, board):
    """A state whose books are whole, plain and each other's mirror."""
    state = a_state(twin, board)
    state.first.load([Level("0.4", "1")], [Level("0.6", "2")], TICK)
    state.second.load([Level("0.4", "2")], [Level("0.6", "1")], TICK)
    state.is_plain = True
    return state


def both(px, size, bid, ask, ms=0):
    """A bid of the first token and its mirror."""
    entries = [
        Change("1", px, size, "BUY", bid, ask),
        Change("2", mirror(px), size, "SELL", mirror(ask), mirror(bid)),
    ]
    return message(entries, ms)


def mirror(px):
    return format_e9(E9 - round(float(px) * 1000) * E9 // 1000)


def message(entries, ms=0):
    return Message(timestamp=str(1_790_766_981_000 + ms), price_changes=entries)


def shown(segment, name):
    """The newest record without the time it was published."""
    found = segment.board(name).last(1).as_dict()
    assert found.pop("publish_ns") > 0
    return found


@twins
def test_a_batch_that_agrees_is_published_with_what_proves_it(segment, twin):
    state = filled(twin, segment.board("one"))
    state.last_px_e9, state.held_ns = 41 * TICK, 9
    version = segment.board("one").version(1)
    assert state.take_changes(both("0.45", "7", "0.45", "0.6", 5), RECV) == 15 | 16
    assert segment.board("one").version(1) == version + 1
    found = shown(segment, "one")
    assert (found["tag"], found["generation"], found["batch"], found["venue_seq"]) == (5, 3, 1, 0)
    assert (found["recv_ns"], found["proven_ns"], found["proof"]) == (RECV, RECV, 2)
    assert found["venue_ts_ns"] == 1_790_766_981_005_000_000
    assert [found[f"yes_{name}_e9"] for name in ("bid_px", "bid_qty", "ask_px", "ask_qty")] == [
        45 * TICK, 7 * E9, 60 * TICK, 2 * E9,
    ]  # fmt: skip
    assert [found[f"no_{name}_e9"] for name in ("bid_px", "bid_qty", "ask_px", "ask_qty")] == [
        40 * TICK, 2 * E9, 55 * TICK, 7 * E9,
    ]  # fmt: skip
    assert (found["last_px_e9"], found["tick_e9"]) == (41 * TICK, TICK)
    assert (found["flags"], found["yes_flags"], found["no_flags"]) == (0, 0, 0)
    assert (state.held_ns, state.proof, state.proven_ns, state.recv_ns) == (0, 2, RECV, RECV)


@twins
def test_a_mirrored_market_shows_its_one_book_as_both(segment, twin):
    state = filled(twin, segment.board("one"))
    state.second.forget()
    state.is_mirrored = True
    entry = Change("1", "0.45", "7", "BUY", "0.45", "0.6")
    assert state.take_changes(message([entry]), RECV) == 1 | 4 | 16
    found = shown(segment, "one")
    assert (found["no_bid_px_e9"], found["no_bid_qty_e9"]) == (40 * TICK, 2 * E9)
    assert (found["no_ask_px_e9"], found["no_ask_qty_e9"]) == (55 * TICK, 7 * E9)


@twins
def test_what_is_not_plain_or_does_not_agree_is_applied_and_not_published(segment, twin):
    version = segment.board("one").version(1)
    state = filled(twin, segment.board("one"))
    state.is_plain = False
    assert state.take_changes(both("0.45", "7", "0.45", "0.6"), RECV) == 15
    state = filled(twin, segment.board("one"))
    assert state.take_changes(both("0.45", "7", "0.44", "0.6"), RECV) == 3
    state = filled(twin, segment.board("one"))
    one = message([Change("1", "0.39", "7", "BUY", "0.4", "0.6")])
    assert state.take_changes(one, RECV) == 1 | 4
    assert (state.batch, segment.board("one").version(1)) == (0, version)
    assert state.recv_ns == RECV
    assert state.first.bids == {40 * TICK: E9, 39 * TICK: 7 * E9}


@twins
def test_what_is_older_than_a_whole_book_is_told_and_not_applied(segment, twin):
    state = filled(twin, segment.board("one"))
    state.snapshot_ns = 1_790_766_981_001_000_000
    assert state.take_changes(both("0.45", "7", "0.45", "0.6"), RECV) == 32
    assert state.first.bid_px == 40 * TICK
    assert state.apply(both("0.45", "7", "0.45", "0.6").price_changes, RECV) == 31
    assert state.take_changes(both("0.46", "7", "0.46", "0.6", ms=1), RECV) == 31


@twins
def test_a_frame_without_changes_is_nothing(segment, twin):
    state = filled(twin, segment.board("one"))
    for changes in (None, []):
        assert state.take_changes(message(changes), RECV) == 0
    assert (state.recv_ns, state.batch) == (0, 0)


@twins
@pytest.mark.parametrize("time", ["", "none", "17907669816280", "1790766981.62"])
def test_a_time_that_is_none_is_refused_before_a_level_is_touched(segment, twin, time):
    state = filled(twin, segment.board("one"))
    frame = both("0.45", "7", "0.45", "0.6")
    frame.timestamp = time
    with pytest.raises(ValueError, match="time"):
        state.take_changes(frame, RECV)
    assert (state.first.bid_px, state.venue_ts_ns) == (40 * TICK, 0)


prices = st.sampled_from(["0.4", "0.41", "0.5", "0.59", "0.6", "0.45"])
bests = st.one_of(prices, st.sampled_from(["", "x"]))
entry = st.builds(
    Change, st.sampled_from(["1", "2"]), st.one_of(prices, st.just("0.455")),
    st.sampled_from(["0", "1", "2.5", "x"]), st.sampled_from(["BUY", "SELL"]), bests, bests,
)  # fmt: skip
sound = st.builds(
    both, prices, st.sampled_from(["0", "1", "3"]), st.sampled_from(["0.4", "0.41", "0.45"]),
    st.sampled_from(["0.6", "0.59"]), st.integers(0, 3),
)  # fmt: skip
frames = st.one_of(
    sound, st.builds(message, st.lists(entry, max_size=4), st.sampled_from([0, 1, 2, 10**13]))
)
switches = st.tuples(st.booleans(), st.booleans(), st.integers(0, 2))


@needs_core
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(frames, switches), max_size=8), st.sampled_from(["2", ""]))
def test_the_core_takes_any_frames_as_the_pure_twin_does(segment, taken, second_id):
    states = []
    for twin, name in ((pure_pair, "one"), (CORE, "two")):
        state = filled(twin, segment.board(name))
        state.second.token_id = second_id
        states.append(state)
    versions = [segment.board(name).version(1) for name in ("one", "two")]
    for frame, (is_plain, is_mirrored, snapshot) in taken:
        found = []
        for state in states:
            state.is_plain, state.is_mirrored = is_plain, is_mirrored
            state.snapshot_ns = (1_790_766_981_000 + snapshot) * 1_000_000
            try:
                found.append(state.take_changes(frame, RECV))
            except ValueError:
                found.append(ValueError)
        assert found[0] == found[1]
        assert [getattr(states[0], name) for name in NUMBERS] == [
            getattr(states[1], name) for name in NUMBERS
        ]
        assert (states[0].first.bids, states[0].second.asks) == (
            states[1].first.bids, states[1].second.asks,
        )  # fmt: skip
    news = [segment.board(name).version(1) - at
            for name, at in zip(("one", "two"), versions, strict=True)]  # fmt: skip
    assert news[0] == news[1]
    if news[0]:
        assert shown(segment, "one") == shown(segment, "two")


@twins
def test_markets_are_found_by_their_whole_names(segment, twin):
    markets, state = twin.Markets(), filled(twin, segment.board("one"))
    other = filled(twin, segment.board("one"))
    assert markets.find("0x" + "ab" * 32) is None
    markets.remove("0x")
    names = ["0x" + "ab" * 32, "1x" + "ab" * 32, "", "0", "ab" * 8, "é" * 20, "x" * 300]
    for name in names:
        markets.add(name, state)
    for name in names:
        assert markets.find(name) is state
        markets.add(name, other)
        assert markets.find(name) is other
        markets.remove(name)
        assert markets.find(name) is None


keys = st.integers(0, 40).map(lambda number: f"0x{number:064}")
alike = st.integers(0, 9).map(lambda number: f"{number}" + "ab" * 32)
turns = st.lists(st.tuples(st.booleans(), st.one_of(keys, keys, alike)), max_size=150)


@twins
@settings(max_examples=30)
@given(turns)
def test_markets_come_and_go_as_in_a_dict(segment, twin, taken):
    markets, wanted = twin.Markets(), {}
    states = [a_state(twin, segment.board("one")) for _ in range(3)]
    for number, (is_added, name) in enumerate(taken):
        if is_added:
            wanted[name] = states[number % 3]
            markets.add(name, wanted[name])
        else:
            wanted.pop(name, None)
            markets.remove(name)
        assert markets.find(name) is wanted.get(name)
    for _, name in taken:
        assert markets.find(name) is wanted.get(name)


heads = st.sampled_from(
    [b"", b"{", b'{"market":', b'{"market":"', b'{"market": "', b'[{"market":"', b'{"market":""',
     b'{"market":"0x', b'{"market":"' + b"x" * 90, b'{"market": 7', b"\xff"]
)  # fmt: skip


@twins
@settings(max_examples=200)
@given(heads, keys, st.sampled_from([b"", b'"', b'",' + b" " * 80, b"\x80" + b"," * 99]))
def test_any_frame_may_be_asked_whether_it_is_ascii(segment, twin, head, name, tail):
    markets, state = twin.Markets(), filled(twin, segment.board("one"))
    for frame in (head, head + name.encode() + tail, head + tail):
        assert markets.is_ascii(frame) is frame.isascii()
        assert markets.is_ascii(bytearray(frame)) is frame.isascii()
        markets.add(f"0x{7:064}", state)
        markets.add(f"0x{1:064}", a_state(twin, segment.board("one")))


@needs_core
def test_what_no_caller_gives_is_a_type_error_and_not_the_end_of_the_process(segment):
    board, books = segment.board("one"), (CORE.Levels(), CORE.Levels())
    state = CORE.PairState()
    for call in (state.take_changes, state.apply):
        with pytest.raises(TypeError, match="after begin"):
            call(message([]), RECV)
    pure = pure_board.Writer(board.memory, board.place, 1)
    for arguments in (
        (), (*books, 1, None), (*books, "1", board), (None, books[1], 1, board),
        (*books, 1, segment.board("other")), (*books, 1, pure), (*books, 1, 5),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            state.begin(*arguments)
    state.begin(*books, 1, board)
    with pytest.raises(TypeError, match="once"):
        state.begin(*books, 1, board)
    with pytest.raises(TypeError, match="tick"):
        state.apply([], RECV)
    state.tick_e9 = TICK
    for call, arguments in (
        (state.take_changes, (None, RECV)), (state.take_changes, (message([]),)),
        (state.take_changes, (message([]), "1")), (state.apply, ((), RECV)),
        (setattr, (state, "batch", "1")), (setattr, (state, "first", books[0])),
        (delattr, (state, "batch")),
    ):  # fmt: skip
        with pytest.raises((TypeError, AttributeError)):
            call(*arguments)
    markets = CORE.Markets()
    for call, arguments in (
        (markets.add, ()), (markets.add, ("1", None)), (markets.add, (1, state)),
        (markets.add, ("1", CORE.PairState())), (markets.find, (1,)), (markets.remove, (1,)),
        (markets.is_ascii, ("{",)), (markets.is_ascii, (None,)),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call(*arguments)
    for name in ("timestamp", "price_changes"):
        broken = both("0.45", "7", "0.45", "0.6")
        delattr(broken, name)
        with pytest.raises((TypeError, ValueError)):
            state.take_changes(broken, RECV)


@needs_core
def test_a_slot_that_is_none_or_nobodys_is_an_error(segment):
    for slot, error in ((0, BoardError), (2, IndexError), (-1, IndexError), (1 << 40, IndexError)):
        state = filled(CORE, segment.board("one"))
        other = CORE.PairState()
        other.begin(state.first, state.second, slot, segment.board("one"))
        other.tick_e9, other.is_plain = TICK, True
        with pytest.raises(error):
            other.take_changes(both("0.45", "7", "0.45", "0.6"), RECV)


@needs_core
def test_the_core_keeps_nothing_of_what_it_has_seen(segment):
    board = segment.board("one")
    good, bad = both("0.45", "7", "0.45", "0.6"), both("0.455", "7", "0.45", "0.6")
    state, names = filled(CORE, board), [f"a market {number}" for number in range(30)]

    def a_round():
        state.take_changes(good, RECV)
        with pytest.raises(ValueError, match="grid"):
            state.take_changes(bad, RECV)
        state.apply(good.price_changes, RECV)
        markets = CORE.Markets()
        for name in (*names, *names):
            markets.add(name, filled(CORE, board))
        markets.remove(names[0])
        markets.add(names[1], state)
        assert markets.find(names[1]) is state

    for _ in range(20):
        a_round()
    gc.collect()
    watched = (board, state, state.first, good, bad, good.price_changes, CORE.PairState)
    before = [sys.getrefcount(one) for one in watched]
    blocks = sys.getallocatedblocks()
    for _ in range(300):
        a_round()
    gc.collect()
    grown = [sys.getrefcount(one) - was for one, was in zip(watched, before, strict=True)]
    # What other tests left, of the type at least, may be let go meanwhile: a leak is one a round.
    assert all(abs(count) < 100 for count in grown), grown
    assert sys.getallocatedblocks() - blocks < 100
