import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9, SETTLEMENT, Outcome, Provenance
from feeds.gamma_wire import EventPrices
from feeds.polybolt_wire import Point, Points
from feeds.strike import AHEAD_S, KEPT_COUNT, Settlement, Strikes, settlement_values

BTC = ("btcusd", 60)
START = 1_791_000_000
END = START + 300


def market(condition="0x1", start=START, series=BTC):
    return Settlement(condition, f"slug-{condition}", series, start, start + 300)


def points(*seconds_and_prices, series=BTC, seq=1, is_carried=False):
    found = tuple(Point(second, price, is_carried) for second, price in seconds_and_prices)
    return Points(series, seq, 0, len(found) != 1, "chainlink", found)


@pytest.fixture
def strikes():
    made = Strikes()
    made.add(market())
    return made


def only(strikes):
    return strikes.markets["0x1"]


def test_the_strike_is_unknown_until_the_point_of_the_start(strikes):
    strikes.on_points(points((START - 1, 99)), 5)
    assert (only(strikes).strike_e9, only(strikes).provenance) == (0, Provenance.UNKNOWN)
    strikes.on_points(points((START, 100)), 5)
    assert (only(strikes).strike_e9, only(strikes).provenance) == (100, Provenance.STREAM)
    strikes.on_points(points((START + 1, 101)), 5)
    assert only(strikes).strike_e9 == 100


@pytest.mark.parametrize(
    ("final", "outcome"), [(99, Outcome.NO), (100, Outcome.YES), (101, Outcome.YES)]
)
def test_up_wins_a_tie(strikes, final, outcome):
    strikes.on_points(points((START, 100)), 5)
    assert only(strikes).outcome is Outcome.UNKNOWN
    strikes.on_points(points((END, final)), 5)
    assert (only(strikes).final_e9, only(strikes).outcome) == (final, outcome)


def test_a_snapshot_gives_strike_and_final_at_once(strikes):
    strikes.on_points(points((START, 100), (START + 1, 7), (END, 90)), 5)
    assert only(strikes).outcome is Outcome.NO


def test_a_point_carried_forward_is_no_price_of_its_second(strikes):
    assert strikes.on_points(points((START, 100), is_carried=True), 5) == (0, 0)
    assert only(strikes).provenance == Provenance.UNKNOWN
    strikes.on_points(points((START, 101)), 5)
    assert only(strikes).strike_e9 == 101


def test_a_point_that_comes_again_changes_nothing(strikes):
    strikes.on_points(points((START, 100)), 5)
    assert strikes.on_points(points((START, 200)), 6) == (0, 0)
    assert only(strikes).strike_e9 == 100


def test_points_of_another_series_are_not_used(strikes):
    assert strikes.on_points(points((START, 100), series=("btcusd", 30)), 5) == (0, 0)
    assert strikes.on_points(points((START, 100), series=("ethusd", 60)), 5) == (0, 0)
    assert only(strikes).provenance == Provenance.UNKNOWN


def test_an_official_price_replaces_that_of_the_stream_and_decides_again(strikes):
    strikes.on_points(points((START, 100), (END, 100)), 5)
    assert only(strikes).outcome is Outcome.YES
    assert strikes.on_official("0x1", EventPrices(102, None, Outcome.UNKNOWN))
    assert (only(strikes).strike_e9, only(strikes).provenance) == (102, Provenance.OFFICIAL)
    assert only(strikes).outcome is Outcome.NO
    assert strikes.on_official("0x1", EventPrices(102, 103, Outcome.UNKNOWN))
    assert (only(strikes).final_e9, only(strikes).outcome) == (103, Outcome.YES)
    assert not strikes.on_official("0x1", EventPrices(102, 103, Outcome.UNKNOWN))
    strikes.on_points(points((END, 5)), 5)
    assert only(strikes).final_e9 == 103


def test_the_venue_may_name_the_winner_without_a_price(strikes):
    assert strikes.on_official("0x1", EventPrices(None, None, Outcome.NO))
    assert only(strikes).outcome is Outcome.NO
    assert not strikes.on_official("0x1", EventPrices())
    assert not strikes.on_official("0x9", EventPrices(5, 5, Outcome.NO))


def test_a_proxy_is_taken_only_where_nothing_is_known_and_decides_nothing(strikes):
    assert strikes.on_proxy("0x1", 90, is_less_basis=False)
    assert (only(strikes).strike_e9, only(strikes).provenance) == (90, Provenance.PROXY)
    assert not strikes.on_proxy("0x1", 91, is_less_basis=False)
    strikes.on_points(points((END, 95)), 5)
    assert only(strikes).outcome is Outcome.UNKNOWN
    strikes.on_points(points((START, 100)), 5)
    assert only(strikes).provenance == Provenance.STREAM
    assert only(strikes).outcome is Outcome.NO
    assert not strikes.on_proxy("0x1", 91, is_less_basis=False)
    assert not strikes.on_proxy("0x9", 91, is_less_basis=False)


def test_no_price_is_no_proxy(strikes):
    assert not strikes.on_proxy("0x1", 0, is_less_basis=False)
    assert only(strikes).provenance == Provenance.UNKNOWN


def test_a_market_listed_late_finds_the_point_it_needs(strikes):
    strikes.on_points(points((START, 100), (START + 300, 110)), 5)
    strikes.add(market("0x2", START + 300))
    assert strikes.markets["0x2"].strike_e9 == 110
    assert strikes.markets["0x2"].provenance == Provenance.STREAM


def test_the_points_kept_are_bounded(strikes):
    strikes.on_points(points(*((START - 1000 + n, 5) for n in range(900))), 5)
    assert len(strikes._lines[BTC].prices) == KEPT_COUNT
    assert min(strikes._lines[BTC].prices) == START - 100 - KEPT_COUNT


def feed(strikes, now_s, *seconds_and_prices):
    """Take of an envelope what is believed; give the newest second and price."""
    strikes.on_points(strikes.believed(points(*seconds_and_prices), now_s), 5)
    newest = strikes.newest(BTC)
    return (newest[0].time_s - START, newest[0].price_e9) if newest else None


def test_points_from_the_future_are_left_out_and_evict_nothing(strikes):
    assert feed(strikes, START, (START, 100)) == (0, 100)
    far = [(9_000_000_000 - number, 100) for number in range(KEPT_COUNT)]
    assert feed(strikes, START, *far, (START + AHEAD_S + 1, 100)) == (0, 100)
    assert feed(strikes, START, (START + AHEAD_S, 101)) == (AHEAD_S, 101)
    strikes.add(market("0x2"))
    assert strikes.markets["0x2"].strike_e9 == 100


def test_an_absurd_price_is_left_out_until_a_second_one_in_a_row_says_the_like(strikes):
    assert feed(strikes, END, (START, 100), (START + 1, 199), (START + 2, 100)) == (2, 100)
    for second, price in ((3, 200), (4, 50), (5, 1)):
        assert feed(strikes, END, (START + second, price)) == (2, 100)
    assert feed(strikes, END, (START + 6, 100), (START + 7, 1)) == (6, 100), "not in a row"
    assert feed(strikes, END, (START + 8, 300)) == (6, 100), "nor the like"
    assert feed(strikes, END, (START + 9, 301)) == (9, 301)
    assert feed(strikes, END, (START + 10, 300)) == (10, 300)


def test_a_first_price_that_was_absurd_is_outvoted(strikes):
    snapshot = [(START + 1 + number, 100) for number in range(60)]
    assert feed(strikes, END, (START - 1, 1), *snapshot) == (60, 100)
    assert feed(strikes, END, (START, 100)) == (60, 100)
    assert only(strikes).strike_e9 == 100


def test_points_of_a_series_that_nobody_wants_are_not_judged(strikes):
    frame = points((START, 100), series=("ethusd", 60))
    assert strikes.believed(frame, START) is frame


def test_seconds_that_never_came_are_counted(strikes):
    assert strikes.on_points(points((START, 1), (START + 1, 1)), 5) == (2, 0)
    assert strikes.on_points(points((START + 2, 1)), 5) == (1, 0)
    assert strikes.on_points(points((START + 5, 1)), 5) == (1, 2)
    assert strikes.on_points(points((START + 3, 1), (START + 4, 1), (START + 5, 1)), 5) == (2, 0)


def test_a_series_lives_as_long_as_a_market_rests_on_it(strikes):
    strikes.add(market("0x2", START + 300))
    strikes.remove("0x1")
    assert strikes.series() == {BTC}
    strikes.remove("0x2")
    assert strikes.series() == set()
    assert strikes.newest(BTC) is None
    assert strikes.remove("0x2") is None


def test_a_market_not_settled_by_a_twap_wants_no_series(strikes):
    strikes.add(market("0x2", series=None))
    assert strikes.series() == {BTC}
    assert strikes.newest(None) is None
    assert list(strikes.overdue(START + 10, 3)) == [only(strikes)]


def test_a_point_is_overdue_only_while_a_replay_can_still_bring_it(strikes):
    def overdue(at):
        return [found.condition_id for found in strikes.overdue(at, 3)]

    assert overdue(START + 2) == []
    assert overdue(START + 3) == ["0x1"]
    assert overdue(START + 54) == ["0x1"]
    assert overdue(START + 55) == []
    assert overdue(END + 3) == ["0x1"]
    strikes.on_points(points((START, 100), (END, 100)), 5)
    assert overdue(START + 5) == overdue(END + 5) == []


def test_gamma_is_asked_from_the_start_until_all_is_official(strikes):
    found = only(strikes)
    assert not found.wants_official(START - 1)
    assert found.wants_official(START)
    found.take_strike(100, Provenance.OFFICIAL)
    assert not found.wants_official(START + 100)
    assert found.wants_official(END)
    found.take_final(100, is_official=True)
    assert not found.wants_official(END)


@given(st.lists(st.tuples(st.sampled_from(list(Provenance)), st.integers(0, 10**18)), max_size=20))
def test_provenance_never_gets_worse(steps):
    found, best = market(), Provenance.UNKNOWN
    for provenance, price in steps:
        if provenance == Provenance.UNKNOWN:
            price = 0
        found.take_strike(price, provenance)
        assert found.provenance >= best
        assert bool(found.strike_e9) == (found.provenance != Provenance.UNKNOWN)
        best = found.provenance


def test_the_record_says_what_is_known(strikes):
    strikes.on_points(points((START, 100), seq=4), 55)
    strikes.on_points(points((START + 9, 109), seq=5), 66)
    found = settlement_values(only(strikes), strikes.newest(BTC), flags=32, now_ns=77)
    assert dict(zip(SETTLEMENT.value_names, found, strict=True)) == {
        "batch": 0, "venue_seq": 5, "recv_ns": 66, "publish_ns": 77,
        "venue_ts_ns": (START + 9) * E9, "flags": 32, "proof": 0,
        "window_start_ns": START * E9, "window_end_ns": END * E9,
        "strike_e9": 100, "twap_e9": 109, "twap_ts_ns": (START + 9) * E9,
        "final_e9": 0, "strike_provenance": Provenance.STREAM, "outcome": Outcome.UNKNOWN,
    }  # fmt: skip
    empty = settlement_values(market(), None, flags=0, now_ns=77)
    assert sum(empty) == 77 + (START + END) * E9
