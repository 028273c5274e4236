"""The basis by the best price that tells it: the stream, the edges of windows, or nothing."""

from __future__ import annotations

from math import isclose
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cache.board import Miss
from cache.gate import Trust
from cache.layout import E9, Flag, Provenance
from strategy.basis import Bases
from strategy.pricing import NS, Window
from strategy.reference import NO_SAMPLES, BasisParams, Samples
from strategy.tick import Basis, ReferenceView, StrikeView

START = 1_780_000_200
END = START + 300
SYMBOL = 7
PARAMS = BasisParams(
    half_life_s=10.0, sd_floor_bps=0.5, sd_max_bps=1.0, max_bps=100.0, age_s_max=30.0,
    sd_unknown_bps=4.0, fade_s=600.0,
)  # fmt: skip
FLOOR, UNKNOWN = 3.0**2, 24.0**2
"""Variances of half a basis point and of four, at 60,000."""


def held(first: int, last: int, mid: int = 60_024) -> Samples:
    seconds = np.arange(first, last + 1, dtype=np.int64)
    return Samples(seconds, np.full(seconds.size, mid * E9))


class Feed:
    """What a feed says of one window, and the bases that hear it."""

    def __init__(self, params: BasisParams = PARAMS) -> None:
        self.bases = Bases(params)
        self.begin(START)
        self.samples = NO_SAMPLES
        self.mid = 60_000
        self.told: dict[str, int] = {
            "strike_e9": 0, "final_e9": 0, "twap_e9": 0, "twap_ts_ns": 0, "flags": 0
        }  # fmt: skip
        self.provenance = Provenance.UNKNOWN

    def begin(self, start: int) -> None:
        """Follow the window that begins then."""
        window = Window(start * NS, (start + 300) * NS, 60 * NS)
        self.market = self.bases.of_market(window, SYMBOL)

    def strike(self, price: int, provenance: Provenance, flags: int = 0) -> None:
        self.told["strike_e9"], self.provenance = price * E9, provenance
        self.told["flags"] = flags

    def at(self, second: float, *, missing: bool = False) -> Basis | None:
        settlement: Any = Miss.NEVER if missing else SimpleNamespace(**self.told)
        reference = ReferenceView(Trust.LIVE, self.mid * E9, 1, 0, 0, 0, 8 * E9, 60, 0)
        strike = None if missing else StrikeView(self.told["strike_e9"], self.provenance)
        wall_ns = round(second * NS)
        return self.market.of(settlement, strike, self.samples, reference, wall_ns=wall_ns)


@pytest.fixture
def feed() -> Feed:
    return Feed()


def test_quoting_goes_on_when_a_proxy_becomes_official(feed: Feed) -> None:
    feed.samples = held(START - 70, START + 5)
    feed.strike(60_024, Provenance.PROXY)
    proxy = feed.at(START + 5)
    assert proxy is not None
    assert (proxy.value, isclose(proxy.variance, FLOOR)) == (0.0, True)
    feed.strike(60_000, Provenance.OFFICIAL)
    official = feed.at(START + 60)
    assert official is not None
    assert official.value == 24.0  # both say the same: reference less strike is what it was
    assert isclose(official.variance, FLOOR + UNKNOWN * 60 / 600)


def test_an_official_strike_that_comes_late_finds_the_average_that_was_kept(feed: Feed) -> None:
    feed.samples = held(START - 70, START + 5)
    feed.at(START + 5)
    feed.samples = held(START + 120, START + 240, 61_000)
    feed.strike(60_000, Provenance.OFFICIAL)
    late = feed.at(START + 240)
    assert late is not None
    assert late.value == 24.0


def test_in_a_window_that_was_not_seen_to_begin_the_doubt_is_that_of_an_unknown_basis(
    feed: Feed,
) -> None:
    feed.samples = held(START - 20, START + 100)
    feed.strike(60_000, Provenance.OFFICIAL)
    basis = feed.at(START + 100)
    assert basis is not None
    assert (basis.value, isclose(basis.variance, UNKNOWN)) == (0.0, True)
    feed.mid = 0
    assert feed.at(START + 100) is None


@pytest.mark.parametrize("provenance", [Provenance.STREAM, Provenance.OFFICIAL, Provenance.PROXY])
@pytest.mark.parametrize("mid", [6_000, 59_390, 60_610, 600_000])
def test_a_basis_beyond_belief_is_none_however_sure_it_is(
    feed: Feed, mid: int, provenance: Provenance
) -> None:
    feed.samples = held(START - 70, START + 200, mid)
    feed.told |= {"twap_e9": 60_000 * E9, "twap_ts_ns": (START + 90) * NS}
    feed.strike(60_000, provenance)
    assert feed.at(START + 91) is None
    assert feed.at(START + 92, missing=True) is None
    assert feed.at(START + 190) is None, "nor when the point is old"


@pytest.mark.parametrize("mid", [59_410, 60_590])
def test_a_large_basis_within_belief_is_one(feed: Feed, mid: int) -> None:
    feed.samples = held(START - 70, START + 100, mid)
    feed.told |= {"twap_e9": 60_000 * E9, "twap_ts_ns": (START + 90) * NS}
    feed.strike(60_000, Provenance.STREAM)
    basis = feed.at(START + 91)
    assert basis is not None
    assert basis.value == mid - 60_000


def test_an_official_strike_far_from_the_reference_that_it_was_made_beside_is_not_quoted_on(
    feed: Feed,
) -> None:
    feed.samples = held(START - 70, START + 5, 75_500)
    feed.strike(60_000, Provenance.OFFICIAL)
    assert feed.at(START + 60) is None


def test_where_an_unknown_basis_is_not_wanted_there_is_none() -> None:
    feed = Feed(BasisParams(10.0, 0.5, 1.0, 100.0, 30.0, sd_unknown_bps=0.0, fade_s=600.0))
    feed.samples = held(START - 70, START + 5)
    feed.strike(60_000, Provenance.OFFICIAL)
    assert feed.at(START + 100) is None


def test_the_doubt_grows_to_that_of_an_unknown_basis_and_not_beyond(feed: Feed) -> None:
    feed.samples = held(START - 70, START + 5)
    feed.strike(60_000, Provenance.OFFICIAL)
    ages = [feed.at(START + age) for age in (10, 100, 600, 3_000)]
    known = [basis for basis in ages if basis is not None]
    assert [basis.value for basis in known] == [24.0] * 4
    variances = [basis.variance for basis in known]
    assert variances == sorted(variances)
    assert variances[2:] == [UNKNOWN, UNKNOWN]


def test_a_final_price_tells_the_basis_to_the_windows_that_follow(feed: Feed) -> None:
    feed.samples = held(END - 70, END + 5, 60_030)
    feed.at(END + 5)
    feed.told["final_e9"] = 60_000 * E9
    feed.at(END + 60)
    feed.begin(END)
    feed.told["final_e9"] = 0
    feed.strike(59_990, Provenance.OFFICIAL)
    basis = feed.at(END + 200)
    assert basis is not None
    assert basis.value == 30.0  # not twice of the same second: the first that told it stands


def test_a_proxy_made_of_the_reference_alone_is_compared_with_it_whatever_else_is_known(
    feed: Feed,
) -> None:
    feed.samples = held(START - 70, START + 5)
    feed.strike(60_000, Provenance.OFFICIAL)
    feed.at(START + 5)
    feed.begin(END)
    feed.strike(60_024, Provenance.PROXY)
    basis = feed.at(END + 5)
    assert basis is not None
    assert basis.value == 0.0


def test_a_proxy_less_the_basis_is_never_taken_for_the_reference_itself(feed: Feed) -> None:
    # A feed that was started again, and whose stream did not come back, shows no point.
    feed.samples = held(START - 70, START + 50)
    points(feed, START + 49)
    feed.strike(60_000, Provenance.PROXY, Flag.LESS_BASIS)
    assert feed.at(START + 50) is not None
    points(feed, 0, 0)
    basis = feed.at(START + 109)
    assert basis is not None
    assert basis.value == 24.0
    fresh = Feed()
    fresh.strike(60_000, Provenance.PROXY, Flag.LESS_BASIS)
    unknown = fresh.at(START + 109)
    assert unknown is not None
    assert (unknown.value, isclose(unknown.variance, UNKNOWN)) == (0.0, True)


def test_a_proxy_in_the_terms_of_the_reference_stays_so_when_the_stream_comes(feed: Feed) -> None:
    feed.samples = held(START - 70, START + 50)
    feed.strike(60_024, Provenance.PROXY)
    points(feed, START + 49)
    basis = feed.at(START + 50)
    assert basis is not None
    assert basis.value == 0.0


def points(feed: Feed, second: int, price: int = 60_000) -> None:
    feed.told |= {"twap_e9": price * E9, "twap_ts_ns": second * NS}


@pytest.mark.parametrize("provenance", [Provenance.PROXY, Provenance.STREAM, Provenance.OFFICIAL])
def test_while_the_stream_comes_it_tells_the_basis_whatever_the_strike(
    feed: Feed, provenance: Provenance
) -> None:
    feed.samples = held(START - 70, START + 50)
    points(feed, START + 49, 60_004)
    feed.strike(60_000, provenance, Flag.LESS_BASIS if provenance is Provenance.PROXY else 0)
    basis = feed.at(START + 50)
    assert basis is not None
    assert (basis.value, isclose(basis.variance, FLOOR, rel_tol=1e-3)) == (20.0, True)


def test_a_stream_that_fell_silent_is_waited_for_under_its_own_strike_alone(feed: Feed) -> None:
    feed.samples = held(START - 70, START + 50)
    points(feed, START + 49, 60_004)
    feed.strike(60_000, Provenance.STREAM)
    assert feed.at(START + 79) is not None
    assert feed.at(START + 80) is None
    for provenance in (Provenance.OFFICIAL, Provenance.PROXY):
        feed.strike(60_000, provenance, Flag.LESS_BASIS if provenance is Provenance.PROXY else 0)
        basis = feed.at(START + 109)
        assert basis is not None
        assert basis.value == 20.0
        assert isclose(basis.variance, FLOOR + UNKNOWN * 60 / 600, rel_tol=1e-3)


def test_a_basis_that_is_still_rough_is_waited_for_while_the_stream_comes(feed: Feed) -> None:
    feed.samples = held(START + 30, START + 50)
    points(feed, START + 49)
    feed.strike(60_000, Provenance.OFFICIAL)
    assert feed.at(START + 50) is None


def test_an_average_that_ends_within_a_hole_tells_nothing(feed: Feed) -> None:
    feed.samples = held(START - 70, START - 1)
    feed.at(START + 1)
    assert feed.market.means_e9 == {}
    feed.samples = held(START - 40, START + 5)
    feed.at(START + 5)
    assert feed.market.means_e9 == {}
    feed.samples = held(START - 59, START + 5)
    feed.at(START + 5)
    assert feed.market.means_e9 == {START: 60_024 * E9}


def test_without_a_settlement_nothing_is_known_but_what_the_stream_told(feed: Feed) -> None:
    assert feed.at(START, missing=True) is None
    feed.samples = held(START - 70, START + 50)
    points(feed, START + 49)
    assert feed.at(START + 50) == feed.at(START + 50, missing=True)
