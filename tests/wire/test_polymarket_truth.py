"""Over real recordings, what is published is what the venue said.

Each frame of every recording goes through the feed as it came. What is expected is worked out
here from the frames alone: at the end of each batch the published tops are the best prices the
frames themselves gave, and every book the feed keeps gives the venue's hash.
"""

import gzip
import json
import os
import uuid
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path

import orjson
import pytest

from cache.counters import Counter
from cache.layout import DEPTH, PAIR_BBO, TRADE, BoardSpec, Flag
from cache.segment import ReaderSegment, WriterSegment
from feeds import pair as pairs
from feeds.certificate import Verdict
from feeds.gamma_wire import MarketInfo
from feeds.market_channel import MarketChannel
from feeds.pair import Boards

E9 = 10**9
pytestmark = pytest.mark.usefixtures("book_twin")

START_NS = 10**12
NAMES = (
    "1776323400", "1776323700", "1776324000", "1776324300",
    "1776325200", "1776326100", "1776333000", "1776336900",
)  # fmt: skip


def recordings():
    """The folder of recordings; skips where none is named, fails where one is missing."""
    named = os.environ.get("PENSTOCK_RECORDINGS")
    if not named:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    return Path(named) / "polymarket"


def books(name):
    path = recordings() / "books" / f"btc-updown-5m-{name}.jsonl.gz"
    with gzip.open(path) as lines:
        return [(row["recv_s"], row["raw"]) for row in map(orjson.loads, lines)]


def price_changes(name):
    path = recordings() / "derived" / f"btc-updown-5m-{name}.price_change.jsonl.gz"
    with gzip.open(path) as lines:
        return [(row["recv_s"], row["frame"]) for row in map(orjson.loads, lines)]


def captured(name, key, time_key):
    """Frames of a capture as (seconds, text)."""
    rows = map(json.loads, (recordings() / "frames" / name).read_text().splitlines())
    return [(row.get(time_key, 0), row[key]) for row in rows]


def events_of(frame):
    return frame if isinstance(frame, list) else [frame]


def tokens_of(frames):
    """The tokens of a recording in the order they appear, the second "" where there is none."""
    found = {}
    for _, frame in frames:
        for event in events_of(frame):
            for one in (event, *event.get("price_changes", ())):
                if "asset_id" in one:
                    found[one["asset_id"]] = None
    first, *rest = found
    return first, rest[0] if rest else ""


def claims_of(event):
    """What an event says of the best prices: token to (bid, ask)."""
    if event["event_type"] == "book":
        bid = max((level["price"] for level in event["bids"]), key=float, default="0")
        ask = min((level["price"] for level in event["asks"]), key=float, default="1")
        return {event["asset_id"]: (Decimal(bid), Decimal(ask))}
    if event["event_type"] == "price_change":
        return {
            one["asset_id"]: (Decimal(one["best_bid"]), Decimal(one["best_ask"]))
            for one in event["price_changes"]
        }
    return {}


class Replay:
    """A channel with the one market of a recording, fed by the recording's own clock."""

    def __init__(self, frames, *, protocol_version=1):
        self.frames = frames
        self.tokens = tokens_of(frames)
        market = events_of(frames[0][1])[0]["market"]
        specs = (
            BoardSpec("pair_bbo", PAIR_BBO, 1, 8),
            BoardSpec("mids", PAIR_BBO, 1, 8),
            BoardSpec("depth", DEPTH, 2, 8),
            BoardSpec("trades", TRADE, 1, 64),
        )
        namespace = f"t{uuid.uuid4().hex[:12]}"
        self.segment = WriterSegment.create("feed", specs, namespace=namespace)
        self.reader = ReaderSegment.attach("feed", namespace=namespace)
        self.board = self.reader.board("pair_bbo")
        self.channel = MarketChannel(self.segment.counters, lambda: None, latest=lambda: 2**62)
        info = MarketInfo(
            condition_id=market, slug="recorded", token_ids=self.tokens, outcomes=("Up", "Down"),
            tick_e9=E9 // 100, min_qty_e9=5 * E9, neg_risk=False,
            protocol_version=protocol_version,
        )  # fmt: skip
        boards = Boards(*(self.segment.board(spec.name) for spec in specs), self.segment.counters)
        self.pair = pairs.Pair(info, 0, 0, boards)
        self.channel.add(self.pair)
        self.pair.on_subscribed()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.segment.close(remove=True)

    def run(self):
        """Feed each frame; yield it, with whether its batch is over."""
        start_s, stamps = self.frames[0][0], []
        for _, frame in self.frames:
            stamps.append(events_of(frame)[-1]["timestamp"] if frame else "")
        ends = [a != b for a, b in pairwise(stamps)] + [True]
        for (recv_s, frame), is_end in zip(self.frames, ends, strict=True):
            now_ns = START_NS + int((recv_s - start_s) * 1e9)
            self.channel.expire(now_ns)
            self.channel.on_frame(orjson.dumps(frame), now_ns)
            self.channel.end_burst()
            yield frame, is_end

    def published(self, token):
        """Best bid and ask of a token as published; an empty side is 0 or 1."""
        top = self.board.read(0, 0)
        if token == self.tokens[0]:
            bid, ask, flags = top.yes_bid_px_e9, top.yes_ask_px_e9, top.yes_flags
        else:
            bid, ask, flags = top.no_bid_px_e9, top.no_ask_px_e9, top.no_flags
        if flags & Flag.NO_ASK:
            ask = E9
        return Decimal(bid) / E9, Decimal(ask) / E9

    def check_hashes(self):
        """How many of the two books' hashes were recomputed; fails where one is not the venue's."""
        verdicts = self.pair.certify()
        assert Verdict.MISMATCHED not in verdicts
        return verdicts.count(Verdict.MATCHED)

    def counted(self, counter):
        return self.reader.counters[counter]


def is_sound(replay):
    """Whether nothing was thrown away, lost or doubted."""
    doubts = (
        Counter.feeds_frames_rejected, Counter.feeds_batches_suspect, Counter.feeds_hash_mismatched,
        Counter.feeds_events_unknown, Counter.feeds_events_unlisted,
    )  # fmt: skip
    return not any(replay.counted(counter) for counter in doubts)


class Tally:
    """What a replay showed."""

    batches = 0
    compared = 0
    unfinished = 0
    hashed = 0
    held = 0


def compare(frames):
    """Replay a recording: tops and hashes at the end of each batch."""
    tally = Tally()
    with Replay(frames) as replay:
        claimed = {}
        for frame, is_end in replay.run():
            for event in events_of(frame):
                claimed |= claims_of(event)
            if not is_end or not claimed:
                continue
            tally.batches += 1
            if replay.channel.held:  # for its sibling's book, which comes in the next batch
                tally.unfinished += 1
            else:
                for token, best in claimed.items():
                    assert replay.published(token) == best, (tally.batches, token)
                tally.compared += 1
            tally.hashed += replay.check_hashes()
            claimed = {}
        assert is_sound(replay)
        tally.held = replay.counted(Counter.feeds_batches_held)
    return tally


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_book_is_published_with_its_own_best_prices_and_hash(name):
    frames = books(name)
    tally = compare(frames)
    assert tally.batches == count_batches(frames)
    assert tally.compared + tally.unfinished == tally.batches
    # Only where a file holds both tokens: their books were recorded one by one.
    assert tally.unfinished <= (len(frames) // 100 if replayed_both(frames) else 0)
    assert tally.hashed >= tally.batches


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_batch_of_changes_ends_in_the_best_prices_it_carries(name):
    frames = price_changes(name)
    tally = compare(frames)
    assert tally.batches == count_batches(frames)
    assert tally.compared + tally.unfinished == tally.batches
    assert tally.unfinished <= (2 if replayed_both(frames) else 0)
    assert tally.hashed >= tally.batches // 10


def count_batches(frames):
    return sum(1 for _ in groupby(events_of(frame)[-1]["timestamp"] for _, frame in frames))


def replayed_both(frames):
    return tokens_of(frames)[1] != ""


def test_captured_frames_of_a_15_minute_market_publish_their_own_best_prices():
    texts = captured("15m_raw.first30.jsonl", "raw", "received_ms")
    frames = [(ms / 1e3, json.loads(text)) for ms, text in texts]
    tally = compare(frames)
    assert (tally.batches, tally.compared, tally.held) == (22, 22, 0)
    assert tally.hashed == 44


def test_captured_batches_with_a_trade_publish_their_own_best_prices():
    texts = captured("market-ws-frames-h1-run-8.jsonl", "payloadUtf8", "")
    frames = [(0.0, json.loads(text)) for _, text in texts if text != "PONG"]
    tally = compare(frames)
    assert (tally.batches, tally.compared, tally.held) == (13, 13, 0)
    assert tally.hashed == 26


def test_the_book_of_a_protocol_2_market_gives_the_venues_hash():
    rows = captured("ws-market-v2-session.jsonl", "data", "")
    texts = [text for _, text in rows if isinstance(text, str) and text.startswith("[")]
    with Replay([(0.0, json.loads(text)) for text in texts], protocol_version=1) as replay:
        for _ in replay.run():
            assert replay.check_hashes() == 1
        assert replay.pair.is_v2
        assert replay.board.read(0, 0).flags & (Flag.NO_BID | Flag.NO_ASK)
        # new_market of another market, and PONG, came in the same session.
        others = [text for _, text in rows if isinstance(text, str) and '"new_market"' in text]
        for text in (*others, "PONG"):
            replay.channel.on_frame(text.encode(), START_NS)
        assert replay.counted(Counter.feeds_events_unlisted) == len(others) == 1
        assert replay.counted(Counter.feeds_frames_rejected) == 0


def test_captured_books_and_trades_of_other_markets_are_read():
    with (recordings() / "frames" / "polymarket_book.jsonl").open() as lines:
        singles = [json.loads(line) for line in lines]
    for event in singles:
        with Replay([(0.0, event)]) as replay:
            for _ in replay.run():
                (best,) = claims_of(event).values()
                assert replay.published(event["asset_id"]) == best
                assert is_sound(replay)
    with (recordings() / "frames" / "polymarket_trade.jsonl").open() as lines:
        for event in map(json.loads, lines):
            with Replay([(0.0, event)]) as replay:
                stream = replay.reader.board("trades").stream()
                for _ in replay.run():
                    (found,) = stream.take()
                    assert Decimal(found.px_e9) / E9 == Decimal(event["price"])
                    assert Decimal(found.qty_e9) / E9 == Decimal(event["size"])
                    assert found.side == ("BUY", "SELL").index(event["side"]) + 1
