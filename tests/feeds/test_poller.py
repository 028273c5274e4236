import asyncio

import pytest
from msgspec import structs

from cache.bn_cache import BNCache
from cache.board import Miss
from cache.counters import Counter
from cache.gate import FAST15M, Trust, Witness, gate
from cache.layout import E9, Flag
from cache.liveness import Liveness
from feeds.fetch import FetchFailed
from tests.feeds.poll_world import MS, SETTINGS, World, answer

NOT_YET = Flag.WARMUP | Flag.RESYNC | Flag.NO_BID | Flag.NO_ASK


@pytest.fixture
def world(namespace, monkeypatch):
    made = World(namespace, monkeypatch)
    yield made
    made.segment.close()


def test_before_the_first_answer_the_symbol_is_listed_and_warming_up(world):
    assert world.read("instruments").id == "BTCUSDT"
    assert world.read().flags == NOT_YET
    assert world.reader.link_ns == 0


def test_a_good_answer_is_published_as_the_stream_would(world):
    assert world.take(answer(world.wall_ms, 60_000.1, 60_000.2), took_ms=30)
    found = world.read()
    assert (found.flags, found.bid_px_e9, found.ask_px_e9) == (0, 60_000_100 * MS, 60_000_200 * MS)
    assert (found.bid_qty_e9, found.ask_qty_e9) == (0, 0)
    assert (found.recv_ns, found.publish_ns) == (world.now_ns, world.now_ns)
    assert found.venue_ts_ns == found.venue_seq * MS == world.wall_ns - 30 * MS
    assert world.reader.link_ns == world.now_ns - 30 * MS, "proven as of the question"
    assert world.count(Counter.feeds_polls_taken) == 1


def test_the_cache_reads_a_polled_price_without_sizes_and_without_the_services_figures(world):
    world.good()
    world.wait(0.1)
    snapshot, _ = BNCache.attach("BTCUSDT", namespace=world.namespace).get_latest()
    assert (snapshot.best_bid_px_e9, snapshot.best_bid_qty_e9) == (100 * E9, None)
    assert snapshot.meta.wall_ts_ns == (world.wall_ns - 100 * MS) // MS * MS
    assert (snapshot.return_1s_e9, snapshot.return_1m_e9) == (None, None)
    assert (snapshot.ewma_vol_1s_e9, snapshot.shock_z_e9) == (None, None)


def polled_for(world, seconds, mids):
    for step in range(round(seconds * 5)):
        world.good(mids[step % len(mids)] - 0.5, mids[step % len(mids)] + 0.5)
        for _ in range(2):
            world.wait(0.1)


def test_volatility_and_returns_are_of_our_own_samples(world):
    polled_for(world, 30, [100.0, 100.1, 100.0, 99.9, 100.0, 100.2, 100.1])
    found = world.read("features")
    assert 20 <= found.sample_count <= 30
    assert 0.05 * E9 < found.sigma_e9 < 0.3 * E9, "the service says 77"
    assert abs(found.return_1s_e9) < 0.01 * E9
    assert world.reader.board("samples").version(0) == 30
    snapshot, _ = BNCache.attach("BTCUSDT", namespace=world.namespace).get_latest()
    assert snapshot.ewma_vol_1s_e9 == found.sigma_e9
    assert snapshot.return_1m_e9 is None, "there is no minute yet"


def test_the_same_again_proves_nothing(world):
    wall_ms = world.wall_ms
    assert world.take(answer(wall_ms))
    linked_ns = world.reader.link_ns
    for _ in range(3):
        world.wait(0.2)
        assert world.take(answer(wall_ms))
    assert world.reader.link_ns == linked_ns
    assert world.read().recv_ns == linked_ns
    assert world.count(Counter.feeds_polls_unchanged) == 3


def trust(world):
    bbo = world.read()
    witness = Witness(Liveness.LIVE, world.reader.incarnation, world.reader.link_ns)
    return gate(bbo, FAST15M, world.now_ns, witness=witness)[1]


@pytest.mark.parametrize("lag_ms", [-3_600_000, -2_001, -2_000, 0, 2_000, 2_001, 3_600_000])
def test_an_answer_must_be_of_about_now_by_this_hosts_clock(world, lag_ms):
    is_near = abs(lag_ms) <= 2_000
    assert world.take(answer(world.wall_ms - lag_ms)) is is_near
    assert world.count(Counter.feeds_polls_refused) == (not is_near)
    assert (world.reader.link_ns > 0) is is_near


def test_a_service_that_serves_what_it_once_knew_goes_stale_like_a_silent_one(world):
    wall_ms = world.wall_ms
    world.take(answer(wall_ms))
    assert trust(world) is Trust.LIVE
    for _ in range(9):
        world.wait(0.2)
        world.take(answer(wall_ms))
    assert world.now_ns - world.read().recv_ns == 1_800 * MS
    assert trust(world) is Trust.STALE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"wall_ts_ms": NaN}',
        answer(1, bbo_bid=...),
        answer(None),
        answer(1, symbol="ETHUSDT"),
        answer(1, bid=102.0),
        answer(1, unheard_of=1),
        answer(1, bbo_ask="101"),
    ],
)
def test_an_answer_that_is_wrong_changes_nothing_and_is_counted(world, body):
    world.good()
    before, linked_ns = world.read(), world.reader.link_ns
    world.now_ns += 200 * MS
    assert not world.take(body)
    assert world.read().raw == before.raw
    assert world.reader.link_ns == linked_ns
    assert world.count(Counter.feeds_polls_refused) == 1


def test_keys_named_in_the_settings_are_let_through(world):
    assert world.take(answer(world.wall_ms, seq=4))
    assert world.count(Counter.feeds_polls_refused) == 0


def test_an_answer_that_waited_in_a_stopped_process_is_thrown_away(world):
    world.good()
    linked_ns = world.reader.link_ns
    assert not world.take(answer(world.wall_ms), took_ms=1_001)
    assert world.reader.link_ns == linked_ns
    assert world.count(Counter.feeds_polls_failed) == 1
    assert world.take(answer(world.wall_ms), took_ms=1_000)


def test_a_question_that_failed_says_when_to_come_back(world):
    failed = FetchFailed("status 429", status=429, retry_after="7")
    assert world.ask(failed) == (False, "7")
    assert world.count(Counter.feeds_polls_failed) == 1
    assert world.ask(answer(world.wall_ms)) == (True, "")
    assert world.asked[0] == ("http://service", 1.0)
    assert world.read().flags == 0


@pytest.mark.parametrize(
    ("failed", "fraction", "told", "wait_s"),
    [
        (1, 1.0, "", 0.4), (1, 0.0, "", 0.2), (2, 1.0, "", 0.8), (4, 1.0, "", 3.2),
        (5, 1.0, "", 5.0), (10**6, 1.0, "", 5.0), (10**6, 0.0, "", 2.5),
        (1, 0.0, "30", 30.0), (1, 0.0, "9999", 60.0), (1, 0.0, "soon", 0.2), (1, 0.0, "-1", 0.2),
    ],
)  # fmt: skip
def test_what_fails_is_asked_for_again_later_each_time(world, failed, fraction, told, wait_s):
    assert world.poller.backoff_s(failed, fraction, told) == pytest.approx(wait_s)


def test_without_a_good_answer_for_a_while_the_top_is_suspect_and_not_sampled(world):
    polled_for(world, 3, [100.0])
    samples = world.reader.board("samples")
    count = samples.version(0)
    for _ in range(8):
        world.wait(0.1)
    assert world.read().flags == 0
    for _ in range(3):
        world.wait(0.1)
    assert world.read().flags == Flag.SUSPECT
    for _ in range(20):
        world.wait(0.1)
    assert samples.version(0) <= count + 1
    assert world.count(Counter.feeds_stream_silent) == 1
    world.good()
    assert world.read().flags == 0


def test_who_is_asked_seldom_may_be_silent_for_three_questions(namespace, monkeypatch):
    settings = structs.replace(SETTINGS, poll_interval_ms=1_000)
    monkeypatch.setattr("tests.feeds.poll_world.SETTINGS", settings)
    world = World(namespace, monkeypatch)
    world.good()
    for wait_s, flags in ((3.0, 0), (0.1, Flag.SUSPECT)):
        world.wait(wait_s)
        assert world.read().flags == flags
    world.segment.close()


def test_whoever_waits_is_rung_for_by_each_answer(world):
    for _ in range(3):
        memory, at = world.reader.bell_word
        rung = bytes(memory[at : at + 4])
        world.good()
        assert bytes(memory[at : at + 4]) != rung
        world.now_ns += 200 * MS


def test_a_late_timer_takes_no_sample(world):
    polled_for(world, 2, [100.0])
    samples = world.reader.board("samples")
    count = samples.version(0)
    world.good()
    world.wait(1.0, late_ns=400 * MS)
    assert samples.version(0) == count
    assert world.count(Counter.feeds_samples_missed) >= 1


def test_an_older_answer_is_left_out(world):
    world.good(100.0, 101.0)
    assert world.take(answer(world.wall_ms - 50, 90.0, 91.0)), "nothing is wrong with it"
    assert world.read().bid_px_e9 == 100 * E9
    assert world.count(Counter.feeds_updates_outdated) == 1


def test_a_service_whose_clock_was_set_back_is_believed_again_in_time(world):
    world.take(answer(world.wall_ms + 1_900))
    for step in range(15):
        world.now_ns += 200 * MS
        world.take(answer(world.wall_ms - 1_900, 100.0 + step / 100))
    assert world.read().bid_px_e9 == 100_140 * MS
    assert world.read().flags == 0
    assert world.count(Counter.feeds_sequence_reset) == 1


def test_one_odd_price_is_in_doubt_until_it_is_confirmed(world):
    world.good()
    world.now_ns += 200 * MS
    world.good(1_000.0, 1_001.0)
    assert world.read().flags == Flag.SUSPECT
    world.now_ns += 200 * MS
    world.good(100.0, 101.0)
    assert world.read().flags == 0


def test_a_restart_goes_on_from_what_was_sampled_and_shows_itself(world):
    polled_for(world, 30, [100.0, 100.1, 100.0, 99.9])
    count = world.read("features").sample_count
    world.segment.close()
    world.begin()
    assert world.read().flags == Flag.WARMUP | Flag.RESYNC
    assert (world.read().incarnation, world.read().bid_px_e9 > 0) == (2, True)
    world.good()
    world.wait(0.1)
    assert world.read("features").sample_count >= count - 1


def test_it_asks_at_its_interval_and_says_in_the_end_that_nothing_is_known(world, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        if len(waits) >= 6:
            raise asyncio.CancelledError
        world.now_ns += round(seconds * E9)

    def slow():
        world.now_ns += 50 * MS
        return answer(world.wall_ms)

    refused = FetchFailed("refused")
    world.replies += [slow, slow, refused, refused, slow, refused]
    monkeypatch.setattr("feeds.poller.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.poller._poll(world.slot))
    assert waits[:2] == pytest.approx([0.15, 0.15])
    assert 0.2 <= waits[2] <= 0.4
    assert 0.4 <= waits[3] <= 0.8
    assert waits[4] == pytest.approx(0.15)
    assert 0.2 <= waits[5] <= 0.4, "a good answer ends the waiting"
    assert world.asked[0][0] == "http://service/x?s=BTCUSDT"

    async def cancelled(*_):
        raise asyncio.CancelledError

    monkeypatch.setattr("feeds.poller.on_time", cancelled)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.poller.run())
    assert world.read().flags == Flag.RESYNC


def test_the_slot_of_a_symbol_that_never_answered_gives_no_features_and_wakes_nobody(world):
    memory, at = world.reader.bell_word
    rung = bytes(memory[at : at + 4])
    world.wait(0.1)
    assert bytes(memory[at : at + 4]) == rung
    assert world.read("features") is Miss.NEVER
