"""What only the pure twin has, its tables, and that the C core does as it does on any input."""

import copy
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds import pure_book
from feeds.book import TokenBook
from feeds.polymarket_wire import Change, Level
from feeds.pure_book import BESTS, PRICES, SIZES, UNKNOWN, OutOfRangeError
from tests.twins import book_core
from venue.decimals import E9, DecimalError, parse_e9

CORE, ABSENCE = book_core()


@given(st.one_of(st.text(max_size=24), st.from_regex(r"\A[0-9]{0,12}\.?[0-9]{0,10}\Z")))
def test_the_quick_tables_agree_with_the_strict_parser(text):
    def parsed(table):
        try:
            return table[text]
        except ValueError:
            return None

    try:
        strict = parse_e9(text)
    except DecimalError:
        strict = None
    assert parsed(SIZES) == strict
    assert parsed(PRICES) == (strict if strict is not None and 0 < strict < E9 else None)
    best = strict if strict is not None and strict <= E9 else None
    assert parsed(BESTS) == (UNKNOWN if text == "" else best)


def test_a_table_forgets_when_it_is_full_and_still_parses():
    for number in range(20_000):
        assert SIZES[f"{number}.25"] == number * E9 + E9 // 4
    assert len(SIZES) <= 16_384


TOKENS = ("1", "2")
good_prices = st.sampled_from(["0.4", "0.41", "0.5", "0.50", ".5", "0.001", "0.999999999"])
good_sizes = st.sampled_from(
    ["0", "0.0", "1", "2.5", "649.17", "9000000000", "0000000001.000000001"]
)
texts = st.one_of(
    st.text(max_size=24),
    st.from_regex(r"\A[0-9]{0,21}\.?[0-9]{0,10}\Z"),
    st.sampled_from(
        ["", ".", "1", "0", "1.0", "5e-1", "NaN", "-1", "+1", " 1", "1_0", "٣", "x" * 9]
    ),
)
no_text = st.sampled_from([None, 1, 0.5, b"0.4", True, ("0.4",)])
prices = st.one_of(good_prices, good_prices, texts, no_text)
sizes = st.one_of(good_sizes, good_sizes, texts, no_text)
sides = st.one_of(st.sampled_from(["BUY", "SELL", "BUY", "SELL", "", "buy"]), no_text)
tokens = st.sampled_from([*TOKENS, *TOKENS, *TOKENS, "3", "", "1" * 78])
bests = st.one_of(good_prices, texts, st.sampled_from(["", "0", "1"]))
changes = st.builds(Change, tokens, prices, sizes, sides, bests, bests)
ticks = st.sampled_from([1, E9 // 1000, E9 // 100, E9 // 10, E9 - 1])
levels = st.lists(st.builds(Level, prices, sizes), max_size=12)

needs_core = pytest.mark.skipif(CORE is None, reason=ABSENCE)


def outcome(call, *arguments):
    """What a call gives; of a ValueError that it is one."""
    try:
        return call(*arguments)
    except ValueError:
        return ValueError


def state(book):
    return {name: getattr(book, name) for name in TokenBook.__slots__}


@needs_core
@given(st.lists(st.lists(changes, max_size=6), max_size=5), st.sampled_from(["2", ""]), ticks)
def test_the_core_applies_any_changes_as_the_pure_twin_does(frames, second_id, tick):
    pure, core = ((TokenBook("1"), TokenBook(second_id)) for _ in range(2))
    for number, frame in enumerate(frames):
        data = b"%d" % number
        wanted = outcome(pure_book.apply_changes, *pure, frame, data, tick)
        assert outcome(CORE.apply_changes, *core, frame, data, tick) == wanted
        for one, other in zip(core, pure, strict=True):
            assert state(one) == state(other)
        assert all(type(px) is int for px in (*core[0].bids, *core[1].asks.values()))


@needs_core
@given(levels, st.booleans(), ticks)
def test_the_core_reads_any_side_as_the_pure_twin_does(side, is_bid, tick):
    wanted = outcome(pure_book.read_side, side, is_bid, tick)
    assert outcome(CORE.read_side, side, is_bid, tick) == wanted


@needs_core
@given(
    st.one_of(
        st.text(max_size=15),
        st.from_regex(r"\A\d{12,14}\Z"),
        st.integers(10**11, 10**14).map(str),
    )
)
def test_the_core_reads_any_time_as_the_pure_twin_does(text):
    assert outcome(CORE.parse_time_ns, text) == outcome(pure_book.parse_time_ns, text)


@needs_core
@given(texts)
def test_the_core_has_the_grammar_of_the_strict_parser(text):
    try:
        size = parse_e9(text)
    except DecimalError:
        size = ValueError
    found = outcome(CORE.read_side, [Level("0.5", text)], True, 1)
    assert found == (
        size if size is ValueError else ({E9 // 2: size} if size else {}, E9 // 2 if size else 0)
    )
    is_price = size is not ValueError and 0 < size < E9
    found = outcome(CORE.read_side, [Level(text, "1")], True, 1)
    assert found == (({size: E9}, size) if is_price else ValueError)


@needs_core
@pytest.mark.parametrize(
    "arguments",
    [(), (TokenBook("1"), TokenBook("2"), [], b""), (TokenBook("1"), None, [], b"", 1),
     (TokenBook("1"), TokenBook("2"), None, b"", 1), (TokenBook("1"), TokenBook("2"), (), b"", 1),
     (TokenBook("1"), TokenBook("2"), [None], b"", 1),
     (TokenBook("1"), TokenBook("2"), [Level("", "")], b"", 1),
     (TokenBook("1"), TokenBook("2"), [], b"", 0), (TokenBook("1"), TokenBook("2"), [], b"", E9),
     (TokenBook("1"), TokenBook("2"), [], b"", "1"), (TokenBook("1"), TokenBook("2"), [], b"", -1)],
)  # fmt: skip
def test_what_no_caller_gives_is_a_type_error_and_not_the_end_of_the_process(arguments):
    with pytest.raises(TypeError):
        CORE.apply_changes(*arguments)
    with pytest.raises(TypeError):
        CORE.read_side(*arguments[:1], True, 1)
    with pytest.raises(TypeError):
        CORE.read_side([], True, *arguments[4:] if arguments[4:] != (1,) else (0,))


@needs_core
def test_a_book_without_its_fields_is_an_error_and_not_the_end_of_the_process():
    buy = Change("1", "0.4", "1", "BUY")
    for name in ("bids", "asks", "bid_px", "ask_px", "token_id", "claim", "frame"):
        book = TokenBook("1")
        delattr(book, name)
        for entry in (buy, Change("1", "0.4", "1", "SELL", "0.4", "0.5")):
            try:
                CORE.apply_changes(book, TokenBook("2"), [entry], b"", 1)
            except (TypeError, ValueError):
                continue
    for name in Change.__struct_fields__:
        broken = copy.copy(buy)
        delattr(broken, name)
        try:
            CORE.apply_changes(TokenBook("1"), TokenBook("2"), [broken], b"", 1)
        except (TypeError, ValueError):
            continue
        assert name.startswith("best_")


@needs_core
def test_a_class_without_the_slots_is_refused_and_the_known_ones_stay():
    class Other:
        bids = asks = bid_px = ask_px = token_id = claim = frame = None

    with pytest.raises(TypeError, match="slot"):
        CORE.configure(Other, Change, Level, OutOfRangeError)
    book = TokenBook("1")
    assert CORE.apply_changes(book, TokenBook("2"), [Change("1", "0.5", "1", "BUY")], b"", 1) == 1
    assert book.bids == {E9 // 2: E9}


@needs_core
def test_the_core_keeps_nothing_of_what_it_has_seen():
    entries = [
        Change("1", "0.4", "1", "BUY", "0.4", "0.6"), Change("1", "0.4", "0", "BUY"),
        Change("1", "0.6", "12345.67", "SELL"), Change("2", "0.4", "1", "SELL"),
        Change("2", "0.4", "0", "SELL"),
    ]  # fmt: skip
    bad = [
        Change("1", "x", "1", "BUY"), Change("1", "0.4", "x", "BUY"),
        Change("3", "0.4", "1", "BUY"), Change("1", "0.4", "1", "HOLD"),
        Change("1", "0.45", "1", "BUY"),
    ]  # fmt: skip
    side = [Level("0.4", "1"), Level("0.5", "2"), Level("0.6", "0")]
    frame = bytearray(b"frame")
    first, second = TokenBook("1"), TokenBook("2")

    def a_round():
        CORE.apply_changes(first, second, entries, frame, E9 // 10)
        for one in bad:
            outcome(CORE.apply_changes, first, second, [*entries, one], frame, E9 // 10)
        CORE.read_side(side, True, E9 // 10)
        for price in ("0", "0.55"):
            outcome(CORE.read_side, [*side, Level(price, "1")], False, E9 // 10)
        outcome(CORE.parse_time_ns, "x")
        CORE.parse_time_ns("1790766981628")

    watched = (
        first,
        second,
        frame,
        *entries,
        *bad,
        *side,
        first.bids,
        *(one.price for one in entries),
    )
    for _ in range(10):
        a_round()
    before = [sys.getrefcount(one) for one in watched]
    tracemalloc.start()
    try:
        a_round()
        began = tracemalloc.get_traced_memory()[0]
        for _ in range(1_000):
            a_round()
        grown = tracemalloc.get_traced_memory()[0] - began
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(one) for one in watched] == before
    assert grown < 1_000, "a byte a round would be a leak"
