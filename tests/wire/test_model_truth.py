"""The model venue's frames, through the channel: every hash it gives is that of our books."""

import json

import pytest

from cache.layout import DEPTH, PAIR_BBO, TRADE, BoardSpec
from cache.segment import WriterSegment
from feeds import pair as pairs
from feeds.certificate import Verdict
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import STILL_NS, MarketChannel
from feeds.pair import Boards
from sim.frames import PM_MARKET
from sim.model import Model
from venue.decimals import E9

pytestmark = pytest.mark.usefixtures("book_twin")

WINDOW_S = 1_790_766_900
STEP_NS = 5_000_000
SPECS = (
    BoardSpec("pair_bbo", PAIR_BBO, 4, 8),
    BoardSpec("mids", PAIR_BBO, 4, 8),
    BoardSpec("depth", DEPTH, 8, 8),
    BoardSpec("trades", TRADE, 1, 64),
)


@pytest.fixture
def segment(namespace):
    made = WriterSegment.create("feed", SPECS, namespace=namespace)
    yield made
    made.close(remove=True)


def a_pair(model, slug, segment):
    """The market as Gamma describes it, on boards."""
    gamma = model.gamma_market(slug)
    info = MarketInfo(
        condition_id=gamma["conditionId"], slug=slug, outcomes=("Up", "Down"), tick_e9=E9 // 100,
        token_ids=tuple(json.loads(gamma["clobTokenIds"])), min_qty_e9=5 * E9, neg_risk=False,
    )  # fmt: skip
    boards = Boards(*(segment.board(spec.name) for spec in SPECS), segment.counters)
    return pairs.Pair(info, 0, 0, boards)


@pytest.mark.parametrize(("seed", "from_s"), [(1, 208), (4, 156)])
def test_every_hash_of_the_model_matches_also_around_a_change_of_the_tick_size(
    segment, seed, from_s
):
    start_ns = (WINDOW_S + from_s) * 10**9
    model, channel = (
        Model(seed, start_ns),
        MarketChannel(segment.counters, lambda: None, latest=lambda: start_ns),
    )
    pair = a_pair(model, f"btc-updown-5m-{WINDOW_S}", segment)
    channel.add(pair)
    pair.on_subscribed()
    for token in pair.market.token_ids:
        channel.on_frame(model.book(token), 1)
    verdicts, tick_count = [], 0
    for now_ns in range(STEP_NS, 4 * 10**9, STEP_NS):
        for frame in model.advance(start_ns + now_ns):
            if frame.channel == PM_MARKET and set(frame.key) & set(pair.market.token_ids):
                channel.on_frame(frame.payload, frame.t_ns - start_ns)
                tick_count += b"tick_size_change" in frame.payload
        channel.end_burst()
        channel.expire(now_ns)
        if now_ns - pair.recv_ns >= STILL_NS and not channel.held:
            verdicts += pair.certify()
    assert tick_count == 2
    assert verdicts.count(Verdict.MATCHED) > 100
    assert Verdict.MISMATCHED not in verdicts
