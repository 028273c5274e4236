from types import SimpleNamespace

import pytest

from cache.layout import E9, SAMPLE, BoardSpec, tag_of
from cache.segment import WriterSegment
from feeds.proxy import ReferenceProxy, mean_before

SECOND = 1_791_000_000
BTC = "BTCUSDT"
BOARDS = (BoardSpec("samples", SAMPLE, 2, 128),)


@pytest.fixture
def writer(namespace):
    made = WriterSegment.create("feed.binance.0", BOARDS, namespace=namespace)
    made.board("samples").assign(1, tag_of("binance", BTC), 0)
    yield made
    made.close()


def publish(writer, second, mid_e9):
    writer.board("samples").publish(1, (0, 0, 0, 0, 0, 0, 0, mid_e9, second * E9))


def samples(*seconds_and_mids):
    return [SimpleNamespace(wall_ns=second * E9, mid_px_e9=mid) for second, mid in seconds_and_mids]


def test_the_mean_is_over_the_seconds_before_and_the_second_itself():
    rows = samples(*((SECOND + n, 1000 + n) for n in range(20)))
    assert mean_before(rows, SECOND + 10, 3) == (1008 + 1009 + 1010) // 3


def test_a_mean_of_large_prices_does_not_overflow():
    rows = samples(*((SECOND + n, 8 * 10**18) for n in range(60)))
    assert mean_before(rows, SECOND + 59, 60) == 8 * 10**18


def test_a_second_that_was_published_anew_counts_once():
    seconds = range(SECOND, SECOND + 4)
    rows = samples((SECOND + 3, 5), *((second, 9) for second in seconds))
    assert mean_before(rows, SECOND + 3, 4) == 9
    once = samples((SECOND, 9), (SECOND, 9), (SECOND, 9), (SECOND + 1, 9))
    assert mean_before(once, SECOND + 3, 4) == 0


def test_too_few_samples_give_no_mean():
    rows = samples(*((SECOND + n, 1000) for n in range(60) if n % 9))
    assert mean_before(rows, SECOND + 59, 60) == 0
    assert mean_before(samples(), SECOND, 60) == 0


def test_the_strike_is_the_mean_less_the_tracked_basis(writer, namespace):
    proxy = ReferenceProxy("feed.binance.0", namespace)
    for n in range(100):
        publish(writer, SECOND + n, 60_000 * E9)
    assert proxy.strike(BTC, SECOND + 90, 60) == (60_000 * E9, False)
    proxy.on_point(BTC, SECOND + 90, 59_976 * E9, 60)
    assert proxy.basis_e9 == {BTC: 24 * E9}
    assert proxy.strike(BTC, SECOND + 99, 60) == (59_976 * E9, True)
    proxy.on_point(BTC, SECOND + 95, 59_966 * E9, 60)
    assert 24 * E9 < proxy.basis_e9[BTC] < 25 * E9


def test_without_samples_there_is_neither_strike_nor_basis(writer, namespace):
    proxy = ReferenceProxy("feed.binance.0", namespace)
    publish(writer, SECOND, 5)
    proxy.on_point(BTC, SECOND, 100, 60)
    assert proxy.basis_e9 == {}
    assert proxy.strike("ETHUSDT", SECOND, 1).price_e9 == 0


def test_a_feed_that_is_not_there_is_looked_for_again(namespace):
    proxy = ReferenceProxy("feed.binance.0", namespace)
    assert proxy.strike(BTC, SECOND, 1).price_e9 == 0
    writer = WriterSegment.create("feed.binance.0", BOARDS, namespace=namespace)
    writer.board("samples").assign(1, tag_of("binance", BTC), 0)
    publish(writer, SECOND, 7)
    assert proxy.strike(BTC, SECOND, 1).price_e9 == 7
    writer.close(remove=True)
    assert proxy.strike(BTC, SECOND, 1).price_e9 == 0
