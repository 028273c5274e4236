import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, INSTRUMENT, Proof, SettlementType, tag_of
from feeds.subscriptions import (
    ASK_NS,
    GIVE_UP_NS,
    SUSPECT_ASK_NS,
    BookRequests,
    Slots,
    instrument_values,
    recall_window,
)

QUIET_NS = 30 * 10**9


def test_a_market_gets_a_slot_that_nobody_ever_had():
    slots = Slots(2)
    assert slots.take(11) == (0, 0)
    assert slots.take(12) == (1, 0)
    assert slots.take(13) is None
    assert list(slots.taken()) == [0, 1]


def test_a_slot_that_changes_hands_changes_its_generation():
    slots = Slots(1)
    slots.take(11)
    slots.release(0)
    assert slots.take(12) == (0, 1)
    slots.release(0)
    assert slots.take(11) == (0, 2)


def test_a_restarted_feed_finds_its_markets_in_their_old_slots():
    slots = Slots(3)
    slots.recall(0, 11, 4)
    slots.recall(2, 12, 7)
    assert slots.take(12) == (2, 7)
    assert slots.take(11) == (0, 4)


def test_a_new_market_takes_an_old_slot_last():
    slots = Slots(3)
    slots.recall(0, 11, 4)
    assert slots.take(13) == (1, 0)
    assert slots.take(14) == (2, 0)
    assert slots.take(15) == (0, 5)


def test_the_longest_free_slot_is_given_away_first():
    slots = Slots(3)
    for tag in (11, 12, 13):
        slots.take(tag)
    for number in (1, 2, 0):
        slots.release(number)
    assert slots.take(14) == (1, 1)
    assert slots.take(15) == (2, 1)


def test_slots_of_a_predecessor_are_given_away_in_order_once_none_is_new():
    slots = Slots(3)
    for number, tag in enumerate((11, 12, 12)):
        slots.recall(number, tag, 1)
    assert slots.take(13) == (0, 2)
    assert slots.take(12)[1] == 1, "one of its own two"
    assert slots.take(14)[1] == 2
    assert slots.take(15) is None


@given(st.lists(st.integers(1, 6), max_size=60))
def test_no_two_markets_ever_share_slot_and_generation(wishes):
    slots, owner, held = Slots(3), {}, {}
    for tag in wishes:
        if tag in held:
            slots.release(held.pop(tag))
        elif (found := slots.take(tag)) is not None:
            assert owner.setdefault(found, tag) == tag
            held[tag] = found[0]
    assert sorted(slots.taken()) == sorted(held.values())


def test_the_directory_shows_a_token_with_everything_that_is_known(make):
    info = make.market_info(asset="btc", twap_ns=60, window_end_ns=5, neg_risk_id="0x9")
    prefix = ("batch", "venue_seq", "recv_ns", "publish_ns", "venue_ts_ns", "flags", "proof")
    names = INSTRUMENT.value_names
    assert names[: len(prefix)] == prefix
    shown = dict(zip(names[len(prefix) :], instrument_values(info, 1, 3), strict=True))
    assert shown["id"] == make.NO.encode()
    assert shown["market_id"] == make.MARKET.encode()
    assert shown["complement_tag"] == tag_of("polymarket", make.YES)
    assert shown["pair_tag"] == tag_of("polymarket", make.MARKET)
    assert shown["reference_tag"] == tag_of("binance", "BTCUSDT")
    assert shown["neg_risk_tag"] == tag_of("polymarket", "0x9")
    assert (shown["outcome"], shown["outcome_index"], shown["pair_slot"]) == (b"Down", 1, 3)
    assert (shown["twap_ns"], shown["window_end_ns"]) == (60, 5)


class Listing(SimpleNamespace):
    """A record of the directory as a reader sees it."""

    def __init__(self, market, index, **changes):
        values = dict(
            zip(INSTRUMENT.value_names[7:], instrument_values(market, index, 3), strict=True)
        )
        texts = {name: value.decode() for name, value in values.items() if type(value) is bytes}
        super().__init__(**(values | texts | changes))


def a_window(make, **changes):
    values = {
        "slug": "btc-updown-5m-1791000000", "asset": "btc", "tick_e9": 10**6, "twap_ns": 60 * E9,
        "window_start_ns": 1_791_000_000 * E9, "window_end_ns": 1_791_000_300 * E9,
        "fee_rate_e9": 7, "fee_exponent": 2, "rebate_rate_e9": 3, "taker_delay_ns": 5,
        "reward_min_qty_e9": 11, "reward_spread_e9": 13, "protocol_version": 2,
        "settlement_type": SettlementType.TWAP,
    }  # fmt: skip
    return make.market_info(**(values | changes))


def test_a_window_is_read_back_from_its_listing_exactly(make):
    market = a_window(make)
    assert recall_window(Listing(market, 0), Listing(market, 1)) == market


@pytest.mark.parametrize(
    "changes",
    [
        {"slug": "will-it-rain"},
        {"slug": "btc-updown-5m-" + "1" * 70},
        {"outcomes": ("Up" * 9, "Down")},
        {"neg_risk_id": "0x9"},
        {"asset": "eth"},
        {"token_ids": ("1", "")},
    ],
    ids=str,
)
def test_a_listing_that_does_not_say_all_of_its_market_is_not_read_back(make, changes):
    market = a_window(make, **changes)
    assert recall_window(Listing(market, 0), Listing(market, 1)) is None


@pytest.mark.parametrize("changes", [{"tick_e9": 7}, {"tick_e9": 0}, {"settlement_type": 9}])
def test_a_listing_that_cannot_be_is_not_read_back(make, changes):
    market = a_window(make, **{k: v for k, v in changes.items() if k == "tick_e9"})
    listed = (Listing(market, 0, **changes), Listing(market, 1, **changes))
    assert recall_window(*listed) is None


@pytest.mark.parametrize("changes", [{"id": ""}, {"market_id": "0x1"}, {"fee_rate_e9": 8}])
def test_two_listings_that_are_not_of_one_market_give_none(make, changes):
    market = a_window(make)
    assert recall_window(Listing(market, 0), Listing(market, 1, **changes)) is None
    assert recall_window(Listing(market, 0, **changes), Listing(market, 1)) is None


def test_a_released_token_has_no_id_and_a_lone_one_no_complement(make):
    assert instrument_values(make.market_info(), 0, 0, is_listed=False)[0] == b""
    lone = instrument_values(make.market_info(token_ids=("1", "")), 0, 0)
    assert lone[4] == 0


def test_names_that_are_too_long_are_cut_between_characters(make):
    values = instrument_values(make.market_info(slug="é" * 80, outcomes=("ü" * 9, "n")), 0, 0)
    assert values[2] == b"\xc3\xa9" * 36
    assert values[3] == b"\xc3\xbc" * 8


def a_pair(**changes):
    """What `BookRequests` looks at of a pair."""
    market = SimpleNamespace(window_start_ns=0, window_end_ns=0)
    values = {
        "tag": 1, "market": market, "is_suspect": False, "is_ready": True, "is_whole": True,
        "recv_ns": 100 * ASK_NS, "proven_ns": 0, "proof": Proof.BEST_PRICES,
    }  # fmt: skip
    return SimpleNamespace(**(values | changes))


@pytest.fixture
def requests():
    return BookRequests(QUIET_NS)


NOW = 100 * ASK_NS


def test_a_sound_market_is_not_asked_for(requests):
    assert requests.due([a_pair()], now_ns=NOW, wall_ns=0) == ([], False)


def test_a_book_that_never_came_is_asked_for_with_growing_delay(requests):
    pair = a_pair(is_ready=False, is_whole=False)
    requests.asked(pair, NOW)
    asked = [
        at for at in range(0, 20) if requests.due([pair], now_ns=NOW + at * ASK_NS, wall_ns=0)[0]
    ]
    assert asked == [1, 2, 4, 8, 12, 16]


def test_a_doubted_book_is_asked_for_at_once_but_not_in_a_storm(requests):
    pair = a_pair(is_suspect=True)
    requests.asked(pair, NOW - ASK_NS)
    assert requests.due([pair], now_ns=NOW, wall_ns=0)[0] == [pair]
    assert requests.due([pair], now_ns=NOW + SUSPECT_ASK_NS, wall_ns=0)[0] == []
    sound = a_pair()
    requests.due([sound], now_ns=NOW + SUSPECT_ASK_NS, wall_ns=0)
    assert requests.due([pair], now_ns=NOW + SUSPECT_ASK_NS // 2, wall_ns=0)[0] == []
    assert requests.due([pair], now_ns=NOW + SUSPECT_ASK_NS, wall_ns=0)[0] == [pair]


def test_a_silent_market_is_asked_for(requests):
    silent = a_pair(recv_ns=NOW - QUIET_NS - 1)
    assert requests.due([silent], now_ns=NOW, wall_ns=0)[0] == [silent]


def test_what_is_asked_for_in_vain_makes_the_connection_anew_but_not_often(requests):
    pair = a_pair(is_ready=False, is_whole=False, recv_ns=0)
    hopeless = []
    for second in range(0, 400, 5):
        now_ns = NOW + second * 10**9
        if requests.due([pair], now_ns=now_ns, wall_ns=0)[1]:
            hopeless.append(second)
            requests.asked(pair, now_ns)  # the new connection subscribes
    assert len(hopeless) >= 2
    assert all(b - a >= GIVE_UP_NS // 10**9 for a, b in itertools.pairwise(hopeless))
    assert hopeless[0] <= 10


def test_while_another_market_flows_the_connection_is_kept_and_the_lone_one_asked_for(requests):
    pair = a_pair(is_suspect=True, recv_ns=NOW - ASK_NS)
    asked = []
    for at in range(0, 600):
        now_ns = NOW + at * ASK_NS // 10
        wanted, is_hopeless = requests.due([pair], now_ns=now_ns, wall_ns=0, flow_ns=now_ns)
        assert not is_hopeless
        if wanted:
            asked.append(at)
    assert asked == list(range(0, 600, 10)), "every five seconds, and no more rarely"


def test_a_subscription_that_gives_books_alone_is_asked_ever_more_rarely_and_then_made_anew(
    requests,
):
    pair = a_pair(is_suspect=True)
    assert requests.due([pair], now_ns=NOW, wall_ns=0) == ([pair], False)
    booked = a_pair(recv_ns=NOW + 1, proof=Proof.SNAPSHOT)
    assert requests.due([booked], now_ns=NOW + 2, wall_ns=0) == ([], False)
    again = a_pair(is_suspect=True, recv_ns=NOW + 1, proof=Proof.SNAPSHOT)
    assert requests.due([again], now_ns=NOW + ASK_NS - 1, wall_ns=0) == ([], False)
    assert requests.due([again], now_ns=NOW + ASK_NS, wall_ns=0) == ([again], True)


@pytest.mark.parametrize("proof", [Proof.BEST_PRICES, Proof.WITNESS])
def test_a_change_or_a_witness_behind_the_book_ends_the_waiting(requests, proof):
    pair = a_pair(is_suspect=True)
    requests.due([pair], now_ns=NOW, wall_ns=0)
    requests.due([a_pair(proof=proof)], now_ns=NOW + 1, wall_ns=0)
    found = requests.due([pair], now_ns=NOW + SUSPECT_ASK_NS, wall_ns=0)
    assert found == ([pair], False)


def test_a_quiet_market_that_is_witnessed_is_not_silent(requests):
    quiet = a_pair(recv_ns=NOW - 10 * QUIET_NS, proven_ns=NOW - QUIET_NS)
    assert requests.due([quiet], now_ns=NOW, wall_ns=0) == ([], False)
    assert requests.due([quiet], now_ns=NOW + 1, wall_ns=0)[0] == [quiet]


def test_a_silent_market_whose_book_answers_makes_no_connection_anew(requests):
    for at in range(20):
        now_ns = NOW + at * (QUIET_NS + 10)
        silent = a_pair(recv_ns=now_ns - QUIET_NS - 1, proof=Proof.SNAPSHOT)
        assert requests.due([silent], now_ns=now_ns, wall_ns=0) == ([silent], False)


@pytest.mark.parametrize("quiet_s", [2, 5, 12])
def test_a_silent_market_that_nobody_witnesses_is_asked_for_each_time_it_was_silent_for_so_long(
    quiet_s,
):
    requests, recv_ns, asked = BookRequests(quiet_s * 10**9), NOW + 1, []
    requests.asked(a_pair(), NOW)
    for tenth in range(600):
        now_ns = NOW + tenth * 10**8
        pair = a_pair(recv_ns=recv_ns, proof=Proof.SNAPSHOT)
        wanted, is_hopeless = requests.due([pair], now_ns=now_ns, wall_ns=0)
        assert not is_hopeless
        if wanted:
            asked.append(tenth)
            recv_ns = now_ns + 1  # Its whole book comes, and nothing else.
    step = 10 * quiet_s + 1
    assert asked == list(range(step, 600, step))


def test_a_market_that_is_not_open_or_over_makes_no_connection_anew(requests):
    early = a_pair(is_ready=False, market=SimpleNamespace(window_start_ns=10, window_end_ns=20))
    for at in range(60):
        found = requests.due([early], now_ns=NOW + at * ASK_NS, wall_ns=5)
        assert not found[1]
    over = BookRequests(QUIET_NS)
    for at in range(60):
        assert over.due([early], now_ns=NOW + at * ASK_NS, wall_ns=21) == ([], False)


def test_a_token_that_is_shown_as_a_mirror_is_no_reason_for_a_new_connection(requests):
    pair = a_pair(is_whole=False, recv_ns=NOW + 10**12)
    found = [requests.due([pair], now_ns=NOW + at * ASK_NS, wall_ns=0) for at in range(60)]
    assert any(wanted for wanted, _ in found)
    assert not any(is_hopeless for _, is_hopeless in found)
    fresh = BookRequests(QUIET_NS)
    calm = a_pair(is_whole=False, recv_ns=NOW, proven_ns=NOW + 10**12)
    found = [fresh.due([calm], now_ns=NOW + at * ASK_NS, wall_ns=0) for at in range(60)]
    assert not any(is_hopeless for _, is_hopeless in found)


def test_a_market_that_is_gone_is_forgotten(requests):
    pair = a_pair(is_suspect=True)
    requests.asked(pair, NOW)
    requests.forget(pair)
    assert requests.due([pair], now_ns=NOW + 1, wall_ns=0)[0] == [pair]
