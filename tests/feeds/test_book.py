import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import Flag
from feeds import book as books
from feeds.book import check_ahead, depth_of, drop_outdated, mirror_top, top_of
from feeds.polymarket_wire import Change, Level
from feeds.text_numbers import CrossedError
from venue.decimals import E9, format_e9, parse_e9

CENT = E9 // 100
TIME = 1_790_766_981_000_000_000
HASH = "ab" * 20
FIRST, SECOND, FIRST_AGREES, SECOND_AGREES = 1, 2, 4, 8

pytestmark = pytest.mark.usefixtures("book_twin")


def levels(*pairs):
    return [Level(price, size) for price, size in pairs]


def a_book(bids=(), asks=(), token="1"):
    book = books.TokenBook(token)
    book.replace(levels(*bids), levels(*asks), CENT)
    return book


def change(side, price, size, token="1", best=("", "")):
    return Change(token, price, size, side, *best)


def sides(bids, asks):
    """Levels as changes, which may cross each other as those of a whole book may not."""
    return [change("BUY", *one) for one in bids] + [change("SELL", *one) for one in asks]


def apply_changes(first, second, changes, tick=CENT):
    twin = sys.modules[books.Levels.__module__]
    return twin.apply_changes(first, second, changes, TIME, tick)


def test_a_whole_book_gives_its_best_prices_whatever_the_order_of_its_levels():
    book = a_book([("0.4", "1"), ("0.49", "2"), ("0.1", "3")], [("0.5", "4"), ("0.99", "5")])
    assert (book.bid_px, book.ask_px) == (49 * CENT, 50 * CENT)
    assert book.bids[49 * CENT] == 2 * E9
    assert book.is_ready


def test_a_whole_book_leaves_nothing_of_the_one_before():
    book = a_book([("0.4", "1")], [("0.6", "2")])
    book.replace(levels(("0.3", "3")), levels(("0.7", "4")), CENT)
    assert (book.bids, book.asks) == ({30 * CENT: 3 * E9}, {70 * CENT: 4 * E9})
    assert (book.bid_px, book.ask_px) == (30 * CENT, 70 * CENT)


def test_an_empty_side_is_zero_or_one_as_the_venue_writes_it():
    book = a_book()
    assert (book.bid_px, book.ask_px) == (0, E9)
    assert top_of(book) == (0, 0, 0, 0, Flag.NO_BID | Flag.NO_ASK)


def test_a_level_of_size_zero_in_a_whole_book_is_none():
    assert a_book([("0.4", "1"), ("0.49", "0")]).bid_px == 40 * CENT


@pytest.mark.parametrize(
    "level",
    [("0", "1"), ("1", "1"), ("1.5", "1"), ("-0.5", "1"), ("NaN", "1"), ("5e-1", "1"),
     ("0.5", "-1"), ("0.5", "inf"), ("0.5", "99999999999"), ("0.5", ""), ("0.5", " 1"), ("", "1"),
     ("0.5", "9000000000.01"), ("0.5", "1_0"), ("0.5", "٣"), ("0.5", "0.0000000001"),
     ("0.5", "\u3131"), ("0.5", "1é"), ("0.5", "00000000001.000000001"), ("0.5", "1:")],
)  # fmt: skip
def test_a_book_with_a_number_that_is_none_leaves_the_old_one_as_it_was(level):
    book = a_book([("0.4", "1")], [("0.6", "2")])
    with pytest.raises(ValueError, match=r"."):
        book.replace(levels(("0.3", "1"), level), levels(("0.7", "1")), CENT)
    assert (book.bids, book.asks) == ({40 * CENT: E9}, {60 * CENT: 2 * E9})


def test_a_number_may_have_twenty_characters_the_point_among_them():
    book = a_book([("00000000000000000.25", "0000000001.000000001"), (".5", "9000000000")])
    assert book.bids == {25 * CENT: E9 + 1, 50 * CENT: 9_000_000_000 * E9}


@pytest.mark.parametrize("price", ["0.455", "0.4567", "0.000000001"])
def test_a_price_off_the_grid_is_refused_and_its_level_untouched(price):
    book = a_book([("0.4", "1")], [("0.6", "2")])
    for side in ("BUY", "SELL"):
        with pytest.raises(ValueError, match="grid"):
            apply_changes(book, books.TokenBook("2"), [change(side, price, "1")])
    for sides in ((levels((price, "1")), []), ([], levels((price, "1")))):
        with pytest.raises(ValueError, match="grid"):
            book.replace(*sides, CENT)
    assert (book.bids, book.asks) == ({40 * CENT: E9}, {60 * CENT: 2 * E9})


def test_a_finer_tick_has_a_finer_grid():
    book = a_book([("0.4", "1")])
    apply_changes(book, books.TokenBook("2"), [change("BUY", "0.455", "1")], CENT // 10)
    book.replace(levels(("0.4557", "1")), [], CENT // 100)
    assert book.bid_px == 4557 * CENT // 100


@pytest.mark.parametrize(("bid", "ask"), [("0.5", "0.5"), ("0.6", "0.5"), ("0.99", "0.01")])
def test_a_crossed_book_is_refused_and_leaves_the_old_one_as_it_was(bid, ask):
    book = a_book([("0.4", "1")], [("0.6", "2")])
    with pytest.raises(CrossedError, match=bid):
        book.replace(levels((bid, "1")), levels((ask, "1")), CENT)
    assert (book.bids, book.asks) == ({40 * CENT: E9}, {60 * CENT: 2 * E9})


@pytest.mark.parametrize(("second", "agree"), [("0.5", True), ("0.51", False), ("0.49", False)])
def test_two_books_agree_only_as_mirrors_of_each_other(second, agree):
    first, other = a_book([("0.4", "1")]), a_book((), [("0.6", "1")], token="2")
    entries = [
        change("SELL", "0.5", "1", "1", ("0.4", "0.5")),
        change("BUY", second, "1", "2", (second, "0.6")),
    ]
    found = apply_changes(first, other, entries)
    assert found == FIRST | SECOND | (FIRST_AGREES | SECOND_AGREES if agree else 0)


def test_a_size_is_the_new_total_of_its_level_and_zero_removes_it():
    book, other = a_book([("0.4", "1")], [("0.6", "2")]), books.TokenBook("2")
    apply_changes(book, other, [change("BUY", "0.4", "7"), change("SELL", "0.6", "0")])
    assert book.bids == {40 * CENT: 7 * E9}
    assert book.asks == {}
    assert book.ask_px == E9


def test_removing_a_level_that_is_not_there_changes_nothing():
    book, other = a_book([("0.4", "1")], [("0.6", "2")]), books.TokenBook("2")
    apply_changes(book, other, [change("BUY", "0.45", "0"), change("SELL", "0.4", "0")])
    assert (book.bid_px, book.ask_px) == (40 * CENT, 60 * CENT)


def test_each_token_gets_its_own_changes_and_its_last_one_is_its_claim():
    first, second = a_book(token="1"), a_book(token="2")
    entries = [
        change("BUY", "0.4", "1"),
        change("SELL", "0.6", "2", "2", ("0.4", "0.6")),
        change("BUY", "0.3", "3", best=("0.3", "0.61")),
    ]
    entries[2].hash = HASH
    assert apply_changes(first, second, entries) == FIRST | SECOND
    assert first.bids == {40 * CENT: E9, 30 * CENT: 3 * E9}
    assert second.asks == {60 * CENT: 2 * E9}
    assert (first.claim_bid_px, first.claim_ask_px) == (30 * CENT, 61 * CENT)
    assert (second.claim_bid_px, second.claim_ask_px) == (40 * CENT, 60 * CENT)
    assert (first.hash, first.hash_ns) == (HASH, TIME)
    assert (second.hash, second.hash_ns) == ("", 0)
    assert apply_changes(first, second, []) == 0
    assert apply_changes(first, second, entries[1:2]) == SECOND
    assert first.claim_ask_px == 61 * CENT


@pytest.mark.parametrize(
    ("best", "agrees"),
    [(("0.4", "0.6"), True), (("0.40", "0.600"), True), (("0.4", "0.61"), False),
     (("0.39", "0.6"), False), (("", "0.6"), False), (("0.4", "1"), False), (("x", "0.6"), False),
     (("0.4", "0.60000000000000"), False)],
)  # fmt: skip
def test_a_book_agrees_whose_top_is_the_one_its_last_change_claims(best, agrees):
    first, second = a_book([("0.4", "1")]), a_book([("0.4", "1")], token="2")
    for book, token, bits in (
        (first, "1", (FIRST, FIRST_AGREES)),
        (second, "2", (SECOND, SECOND_AGREES)),
    ):
        found = apply_changes(first, second, [change("SELL", "0.6", "1", token, best)])
        assert found == bits[0] | (bits[1] if agrees else 0)
        known = {"0.4": 40 * CENT, "0.40": 40 * CENT, "0.39": 39 * CENT, "": -1, "x": -2}
        assert book.claim_bid_px == known[best[0]]


@pytest.mark.parametrize(
    ("bids", "asks", "best"),
    [((), [("0.6", "1")], ("0", "0.6")), ([("0.4", "1")], (), ("0.4", "1")),
     ([("0.6", "1")], [("0.6", "1")], ("0.6", "0.6")),
     ([("0.7", "1")], [("0.6", "1")], ("0.7", "0.6"))],
)  # fmt: skip
def test_a_side_without_levels_or_a_crossed_book_does_not_agree_whatever_is_claimed(
    bids, asks, best
):
    book = a_book()
    apply_changes(book, books.TokenBook("2"), sides(bids, asks))
    gone = change("BUY", "0.01", "0", best=best)
    assert apply_changes(book, books.TokenBook("2"), [gone]) == FIRST


def test_a_change_of_a_token_of_another_market_is_refused():
    with pytest.raises(ValueError, match="another market"):
        apply_changes(books.TokenBook("1"), books.TokenBook("2"), [change("BUY", "0.4", "1", "3")])


def test_a_token_listed_alone_learns_its_siblings_name():
    first, second = a_book(token="1"), books.TokenBook("")
    apply_changes(first, second, [change("BUY", "0.4", "1"), change("SELL", "0.6", "1", "2")])
    assert second.token_id == "2"
    assert not second.is_ready


def test_a_change_with_a_number_that_is_none_is_refused_and_its_level_untouched():
    book = a_book([("0.4", "1")])
    with pytest.raises(ValueError, match="'x'"):
        apply_changes(
            book, books.TokenBook("2"), [change("BUY", "0.4", "2"), change("BUY", "0.4", "x")]
        )
    assert book.bids == {40 * CENT: 2 * E9}
    assert (book.claim_bid_px, book.claim_ask_px, book.hash) == (-1, -1, "")


@pytest.mark.parametrize("side", ["", "buy", "BUYS", "SEL", "HOLD"])
def test_a_side_that_is_none_is_refused_and_its_level_untouched(side):
    book = a_book([("0.4", "1")], [("0.6", "1")])
    for price in ("0.4", "0.6"):
        with pytest.raises(ValueError, match="side"):
            apply_changes(book, books.TokenBook("2"), [change(side, price, "0")])
    assert (book.bid_px, book.ask_px) == (40 * CENT, 60 * CENT)


prices = st.integers(1, 99).map(lambda cents: format_e9(cents * CENT))
sizes = st.sampled_from(["0", "0", "1", "2.5", "649.17", "12345"])
entries = st.lists(st.builds(change, st.sampled_from(["BUY", "SELL"]), prices, sizes), max_size=60)


@given(entries)
def test_the_best_prices_are_always_those_of_the_levels(changes_):
    book, other = books.TokenBook("1"), books.TokenBook("2")
    wanted = {"BUY": {}, "SELL": {}}
    for one in changes_:
        apply_changes(book, other, [one])
        wanted[one.side][parse_e9(one.price)] = parse_e9(one.size)
        bids = {px: size for px, size in wanted["BUY"].items() if size}
        asks = {px: size for px, size in wanted["SELL"].items() if size}
        assert (book.bids, book.asks) == (bids, asks)
        assert (book.bid_px, book.ask_px) == (max(bids, default=0), min(asks, default=E9))


@given(entries)
def test_a_book_written_out_and_read_again_is_the_same_book(changes_):
    book = books.TokenBook("1")
    apply_changes(book, books.TokenBook("2"), changes_)
    bids, asks = book.level_texts()
    assert [px for px, _ in bids] == sorted((px for px, _ in bids), key=float)
    if book.bid_px < book.ask_px:
        again = a_book(bids, asks)
        assert (again.bids, again.asks) == (book.bids, book.asks)


@pytest.mark.parametrize(
    "text", ["", "0", "179076698162", "17907669816280", "+179076698162", " 179076698162", "abc",
             "1790766981.62", "1_790_766_981", "-790766981628", "9999999999999", "0790766981628",
             "١٧٩٠٧٦٦٩٨١٦٢٨", "\u3131" * 13, "179076698162:", "0999999999999", "9000000000000"],
)  # fmt: skip
def test_what_is_no_time_in_milliseconds_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        books.parse_time_ns(text)


def test_a_time_is_taken_to_the_millisecond():
    assert books.parse_time_ns("1790766981628") == 1_790_766_981_628_000_000
    assert books.parse_time_ns("1000000000000") == 10**18
    assert books.parse_time_ns("8999999999999") == 8_999_999_999_999_000_000


def test_a_book_agrees_with_a_claim_of_its_own_best_prices():
    book = a_book([("0.4", "1")], [("0.6", "2")])
    assert book.agrees  # nothing is claimed yet
    for best, agrees in (
        (("0.4", "0.6"), True), (("0.40", "0.6"), True), (("0.41", "0.6"), False),
        (("0.4", "1"), False), (("", "0.6"), True), (("", ""), True),
    ):  # fmt: skip
        book.claim(*best)
        assert book.agrees is agrees


def test_a_locked_or_crossed_book_says_so():
    for bid, flags in (("0.5", Flag.CROSSED), ("0.6", Flag.CROSSED), ("0.4", 0)):
        book = a_book()
        apply_changes(book, books.TokenBook("2"), sides([(bid, "1")], [("0.5", "1")]))
        assert top_of(book)[4] == flags
        for claim in (("", ""), (bid, "0.5")):
            book.claim(*claim)
            assert book.agrees is (flags == 0)


def test_the_mirror_of_a_mirror_is_the_top_itself():
    for book in (
        a_book([("0.4", "1")], [("0.55", "2")]), a_book([("0.4", "1")]), a_book((), [("0.5", "3")]),
        a_book(),
    ):  # fmt: skip
        assert mirror_top(mirror_top(top_of(book))) == top_of(book)
    assert mirror_top(top_of(a_book([("0.4", "1")]))) == (0, 0, 60 * CENT, E9, Flag.NO_BID)


def test_depth_is_best_first_and_no_more_than_asked_for():
    book = a_book([("0.1", "1"), ("0.3", "3"), ("0.2", "2")], [("0.9", "9"), ("0.5", "5")])
    flags, bids, asks = depth_of(book, books.TokenBook("2"), 2)
    assert (flags, bids) == (0, [30 * CENT, 3 * E9, 20 * CENT, 2 * E9])
    assert asks == [50 * CENT, 5 * E9, 90 * CENT, 9 * E9]


def test_depth_of_a_token_without_book_is_its_siblings_mirror():
    book = a_book([("0.3", "3"), ("0.2", "2")], [("0.9", "9")])
    _, bids, asks = depth_of(books.TokenBook("2"), book, 20)
    assert bids == [10 * CENT, 9 * E9]
    assert asks == [70 * CENT, 3 * E9, 80 * CENT, 2 * E9]


def test_changes_older_than_a_whole_book_are_left_out():
    first, second = books.TokenBook("1"), books.TokenBook("2")
    first.snapshot_ns = 100
    both = [change("BUY", "0.4", "1", best=("0.4", "0.55")), change("SELL", "0.6", "1", "2")]
    assert drop_outdated((first, second), both, 99) == [both[1]]
    assert (first.claim_ask_px, second.claim_ask_px) == (55 * CENT, -1)
    assert drop_outdated((first, second), both, 100) == both


def test_a_time_ahead_of_our_clock_is_taken_for_two_seconds_and_refused_after():
    check_ahead(7 * E9, 5 * E9)
    check_ahead(0, 5 * E9)
    with pytest.raises(ValueError, match=r"2\.001 s ahead"):
        check_ahead(7 * E9 + 1_000_000, 5 * E9)


def test_one_wrong_hash_is_forgiven_and_a_match_takes_doubts_back():
    book = a_book()
    book.on_hash(is_match=False)
    assert book.is_sure
    book.on_hash(is_match=False)
    assert not book.is_sure
    book.on_hash(is_match=True)
    assert book.is_sure
    book.on_hash(is_match=False)
    assert book.is_sure
