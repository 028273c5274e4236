"""That the C core and the pure twin of the levels do as plain dicts would, on any input."""

import copy
import gc
import resource
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import pure_book, text_numbers
from feeds.polymarket_wire import Change, Level
from feeds.text_numbers import OutOfRangeError
from tests.twins import book_core
from venue.decimals import E9, DecimalError, parse_e9

CORE, ABSENCE = book_core()
TIME, HASH = 1_790_766_981_000_000_000, "ab" * 20

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
tokens = st.sampled_from([*TOKENS, *TOKENS, *TOKENS, "3", "", "1" * 78, "1" * 79, "é"])
bests = st.one_of(good_prices, texts, st.sampled_from(["", "0", "1"]))
hashes = st.sampled_from([HASH, HASH[1:] + "c", "", "x" * 39, "é" * 40, None, 7, [HASH]])
changes = st.builds(Change, tokens, prices, sizes, sides, bests, bests, hashes)
ticks = st.sampled_from([1, E9 // 1000, E9 // 100, E9 // 10, E9 - 1])
levels = st.lists(st.builds(Level, prices, sizes), max_size=12)


needs_core = pytest.mark.skipif(CORE is None, reason=ABSENCE)
FIELDS = (
    "token_id", "bids", "asks", "bid_px", "ask_px", "bid_qty", "ask_qty",
    "claim_bid_px", "claim_ask_px", "hash", "hash_ns",
)  # fmt: skip


def outcome(call, *arguments):
    """What a call gives; of a ValueError that it is one."""
    try:
        return call(*arguments)
    except ValueError:
        return ValueError


def state(book):
    return {name: getattr(book, name) for name in FIELDS} | {"best": book.best_levels(3)}


def named(module, token):
    book = module.Levels()
    book.token_id = token
    return book


def read(levels, tick):
    """A side by the plain rules: sizes by price; ValueError where one cannot be."""
    found = {}
    for level in levels:
        size = parse_e9(level.size)
        if size > 9_000_000_000 * E9:
            raise ValueError(level.size)
        if size:
            px = parse_e9(level.price)
            if not 0 < px < E9 or px % tick:
                raise ValueError(level.price)
            found[px] = size
    return found


def read_whole(bids, asks, tick):
    found = read(bids, tick), read(asks, tick)
    if max(found[0], default=0) >= min(found[1], default=E9):
        raise ValueError("crossed")
    return found


steps = st.one_of(
    st.tuples(st.just("changes"), st.lists(changes, max_size=6), ticks),
    st.tuples(st.just("load"), levels, levels, ticks),
    st.tuples(st.just("claim"), bests, bests),
    st.tuples(st.just("hash"), hashes),
    st.tuples(st.just("forget")),
    st.tuples(st.just("forget_claim")),
)


def take(module, books, step):
    """Do one step with two books of a twin; give what came of it."""
    kind, *given_ = step
    first, second = books
    match kind:
        case "changes":
            return outcome(module.apply_changes, first, second, given_[0], TIME, given_[1])
        case "load":
            return outcome(first.load, *given_)
        case "claim":
            return second.claim(*given_)
        case "hash":
            return first.take_hash(given_[0], TIME + 1)
    return getattr(first, kind)()


@needs_core
@given(st.lists(steps, max_size=8), st.sampled_from(["2", ""]))
def test_the_core_does_any_steps_as_the_pure_twin_does(taken, second_id):
    pure, core = ((named(module, "1"), named(module, second_id)) for module in (pure_book, CORE))
    for step in taken:
        assert take(CORE, core, step) == take(pure_book, pure, step)
        for one, other in zip(core, pure, strict=True):
            assert state(one) == state(other)


few_prices = st.integers(1, 999).map(lambda px: f"0.{px:03}")
few_sizes = st.sampled_from(["0", "0", "0", "1", "2.5", "649.17"])
many = st.lists(
    st.builds(Change, st.just("1"), few_prices, few_sizes, st.sampled_from(["BUY", "SELL"])),
    min_size=40, max_size=400,
)  # fmt: skip


@needs_core
@pytest.mark.parametrize("module", [pure_book, CORE], ids=["pure", "core"])
@settings(max_examples=25)
@given(many, levels, levels, st.booleans())
def test_deep_books_are_what_plain_dicts_would_be(module, entries, bids, asks, is_loaded):
    book, other = named(module, "1"), named(module, "2")
    wanted = {"BUY": {}, "SELL": {}}
    if is_loaded:
        try:
            wanted["BUY"], wanted["SELL"] = read_whole(bids, asks, E9 // 1000)
        except (ValueError, TypeError):
            bids = asks = ()
            wanted = {"BUY": {}, "SELL": {}}
        book.load(list(bids), list(asks), E9 // 1000)
    for one in entries:
        module.apply_changes(book, other, [one], TIME, E9 // 1000)
        wanted[one.side][parse_e9(one.price)] = parse_e9(one.size)
        bids_, asks_ = ({p: q for p, q in side.items() if q} for side in wanted.values())
        assert (book.bids, book.asks) == (bids_, asks_)
        assert (book.bid_px, book.ask_px) == (max(bids_, default=0), min(asks_, default=E9))
        assert (book.bid_qty, book.ask_qty) == (
            bids_.get(book.bid_px, 0), asks_.get(book.ask_px, 0),
        )  # fmt: skip
    best = book.best_levels(20)
    assert best[0][::2] == sorted(bids_, reverse=True)[:20]
    assert best[1] == [one for px in sorted(asks_)[:20] for one in (px, asks_[px])]


@needs_core
def test_a_side_that_fills_its_whole_grid_is_kept_whole():
    cents = [f"{px / 10_000:.4f}" for px in range(1, 10_000)]
    book = named(CORE, "1")
    book.load([Level(px, "1") for px in reversed(cents)], [], E9 // 10_000)
    assert list(book.bids) == [px * E9 // 10_000 for px in range(1, 10_000)]
    gone = [Change("1", px, "0", "BUY") for px in cents[::2] + cents[1::2]]
    assert CORE.apply_changes(book, named(CORE, "2"), gone, TIME, E9 // 10_000) == 1
    assert (book.bids, book.bid_px) == ({}, 0)


@needs_core
@given(
    st.one_of(
        st.text(max_size=15),
        st.from_regex(r"\A\d{12,14}\Z"),
        st.integers(10**11, 10**14).map(str),
    )
)
def test_the_core_reads_any_time_as_the_pure_twin_does(text):
    assert outcome(CORE.parse_time_ns, text) == outcome(text_numbers.parse_time_ns, text)


@needs_core
@given(texts)
def test_the_core_has_the_grammar_of_the_strict_parser(text):
    try:
        size = parse_e9(text)
    except DecimalError:
        size = ValueError
    book = named(CORE, "1")
    found = outcome(book.load, [Level("0.5", text)], [], 1)
    assert found is (ValueError if size is ValueError else None)
    assert book.bids == ({} if size is ValueError or not size else {E9 // 2: size})
    book = named(CORE, "1")
    is_price = size is not ValueError and 0 < size < E9
    assert outcome(book.load, [Level(text, "1")], [], 1) is (None if is_price else ValueError)
    assert book.bids == ({size: E9} if is_price else {})


A_BOOK = CORE.Levels() if CORE else None


@needs_core
@pytest.mark.parametrize(
    "arguments",
    [(), (A_BOOK, A_BOOK, [], 1), (A_BOOK, None, [], 1, 1), (A_BOOK, A_BOOK, None, 1, 1),
     (A_BOOK, A_BOOK, (), 1, 1), (A_BOOK, A_BOOK, [None], 1, 1), (A_BOOK, A_BOOK, [], "1", 1),
     (A_BOOK, A_BOOK, [Level("", "")], 1, 1), (A_BOOK, A_BOOK, [], 1, 0),
     (A_BOOK, A_BOOK, [], 1, E9), (A_BOOK, A_BOOK, [], 1, "1"), (A_BOOK, A_BOOK, [], 1, -1),
     (pure_book.Levels(), A_BOOK, [], 1, 1)],
)  # fmt: skip
def test_what_no_caller_gives_is_a_type_error_and_not_the_end_of_the_process(arguments):
    with pytest.raises(TypeError):
        CORE.apply_changes(*arguments)


@needs_core
def test_what_no_caller_tells_a_book_is_a_type_error():
    book = CORE.Levels()
    for call, arguments in (
        (book.load, ([], [])), (book.load, ((), [], 1)), (book.load, ([], [None], 1)),
        (book.load, ([], [], 0)), (book.load, ([], [], None)), (book.load, ([Change], [], 1)),
        (book.claim, ("1",)), (book.take_hash, (HASH,)), (book.take_hash, (HASH, "1")),
        (book.best_levels, ("1",)), (setattr, (book, "token_id", 1)),
        (delattr, (book, "token_id")), (delattr, (book, "hash_ns")),
    ):  # fmt: skip
        with pytest.raises((TypeError, AttributeError)):
            call(*arguments)
    with pytest.raises(ValueError, match="-1"):
        book.best_levels(-1)
    with pytest.raises(OverflowError):
        book.take_hash(HASH, 1 << 64)
    assert state(book) == state(pure_book.Levels())


@needs_core
def test_a_change_without_its_fields_is_an_error_and_not_the_end_of_the_process():
    buy = Change("1", "0.4", "1", "BUY")
    for name in Change.__struct_fields__:
        broken = copy.copy(buy)
        delattr(broken, name)
        try:
            CORE.apply_changes(named(CORE, "1"), named(CORE, "2"), [broken], TIME, 1)
        except (TypeError, ValueError):
            continue
        assert name.startswith("best_") or name == "hash"


@needs_core
def test_a_class_without_the_slots_is_refused_and_the_known_ones_stay():
    class Other:
        price = size = side = asset_id = best_bid = best_ask = hash = None

    with pytest.raises(TypeError, match="slot"):
        CORE.configure(Other, Level, Level, OutOfRangeError, text_numbers.crossed)
    book_core()
    book = named(CORE, "1")
    buy = Change("1", "0.5", "1", "BUY")
    assert CORE.apply_changes(book, named(CORE, "2"), [buy], TIME, 1) == 1
    assert book.bids == {E9 // 2: E9}


@needs_core
def test_the_core_keeps_nothing_of_what_it_has_seen():
    entries = [
        Change("1", "0.4", "1", "BUY", "0.4", "0.6", HASH), Change("1", "0.4", "0", "BUY"),
        Change("1", "0.6", "12345.67", "SELL"), Change("2", "0.4", "1", "SELL"),
        Change("2", "0.4", "0", "SELL"),
    ]  # fmt: skip
    bad = [
        Change("1", "x", "1", "BUY"), Change("1", "0.4", "x", "BUY"),
        Change("3", "0.4", "1", "BUY"), Change("1", "0.4", "1", "HOLD"),
        Change("1", "0.45", "1", "BUY"),
    ]  # fmt: skip
    side = [Level("0.4", "1"), Level("0.5", "2"), Level("0.6", "0")]
    deep = [Level(f"0.{px:04}", "1") for px in range(1, 900)]
    tick = E9 // 10
    first, second = named(CORE, "1"), named(CORE, "2")

    def a_round():
        CORE.apply_changes(first, second, entries, TIME, tick)
        for one in bad:
            outcome(CORE.apply_changes, first, second, [*entries, one], TIME, tick)
        first.load(side, [], tick)
        for price in ("0", "0.55"):
            outcome(first.load, side, [*side, Level(price, "1")], tick)
        outcome(first.load, side, side, tick)
        second.load(deep, [], 1)
        book = named(CORE, "1")
        book.load(deep, [], 1)
        assert len(book.bids) == len(book.best_levels(1000)[0]) // 2 == 899
        second.forget()
        outcome(CORE.parse_time_ns, "x")
        CORE.parse_time_ns("1790766981628")

    watched = (first, second, *entries, *bad, *side, *(one.price for one in entries), CORE.Levels)
    for _ in range(20):
        a_round()
    gc.collect()
    before = [sys.getrefcount(one) for one in watched]
    blocks, began_kib = sys.getallocatedblocks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        a_round()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began_kib
    assert [sys.getrefcount(one) for one in watched] == before
    assert sys.getallocatedblocks() - blocks < 100
    assert grown_kib < 2_000, "300 rounds of 43 KiB kept would be 13 MiB"
