"""One market, followed by a client that trusts nothing: whole life of a window, frame by frame."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from sim.fair import make_fair
from sim.market import Market
from sim.params import ModelParams
from sim.price import PricePath
from sim.series import Series
from sim.settlement_feed import SettlementFeed
from venue.book_hash import book_hash

NS = 1_000_000_000
START_S = 1_790_000_100
PARAMS = ModelParams(tick_change_share=1.0)
BATCH = ("price_change", "book")


def world(seed, params=PARAMS):
    path = PricePath(seed, params)
    feed = SettlementFeed(seed, path, params)
    fair = make_fair(seed, START_S, path=path, feed=feed, params=params)
    return feed, fair, Series(seed, params).contract(START_S)


def market_of(seed, params=PARAMS, muted_ns=0):
    _, fair, contract = world(seed, params)
    return Market(seed, contract, fair, params, muted_ns=muted_ns)


class Client:
    """Keeps both tokens' books from frames alone."""

    def __init__(self, market):
        self.market = market.contract
        self.books = {token: ({}, {}) for token in market.contract.tokens}
        self.tick, self.last_trades = "0.01", [""]
        for token in market.contract.tokens:
            self.load(json.loads(market.first_book(token)))

    def load(self, event):
        bids, asks = self.books[event["asset_id"]]
        bids.clear()
        asks.clear()
        bids.update({level["price"]: level["size"] for level in event["bids"]})
        asks.update({level["price"]: level["size"] for level in event["asks"]})

    def change(self, entry):
        side = self.books[entry["asset_id"]][entry["side"] == "SELL"]
        if entry["size"] == "0":
            side.pop(entry["price"], None)
        else:
            side[entry["price"]] = entry["size"]

    def top(self, token):
        bids, asks = self.books[token]
        return max(bids, key=float, default="0"), min(asks, key=float, default="1")

    def levels(self, token):
        bids, asks = self.books[token]
        return (
            [(px, bids[px]) for px in sorted(bids, key=float)],
            [(px, asks[px]) for px in sorted(asks, key=float, reverse=True)],
        )

    def hash(self, token, stamp, last_trade):
        bids, asks = self.levels(token)
        return book_hash(
            self.market.condition_id,
            token,
            stamp,
            bids,
            asks,
            tick_size=self.tick,
            last_trade_price=last_trade,
        )


def batches(frames):
    """Group the price_change and book frames of one timestamp; other events come alone."""
    group, stamp = [], ""
    for frame in frames:
        event = json.loads(frame.payload)
        if event["event_type"] in BATCH:
            if group and event["timestamp"] != stamp:
                yield group
                group = []
            group.append(event)
            stamp = event["timestamp"]
        elif event["event_type"] in ("tick_size_change", "last_trade_price", "best_bid_ask"):
            if event["event_type"] != "last_trade_price" and group:
                yield group
                group = []
            yield [event]
    if group:
        yield group


@pytest.fixture(scope="module")
def life():
    """A market that stands at the strike's look-back, and what it sends from there to its end."""
    market = market_of(5)
    market.run((START_S - 60) * NS, [])
    client = Client(market)
    frames = []
    market.run((START_S + 400) * NS, frames)
    return market, client, frames


def mirrored(levels):
    return [(f"{1 - float(px):.3f}".rstrip("0").rstrip("."), size) for px, size in levels]


def test_every_batch_ends_with_the_announced_tops_valid_hashes_and_mirrored_books(life):
    market, client, frames = life
    up, down = market.contract.tokens
    checked = crossed_within = 0
    last_trade = json.loads(market.first_book(up))["last_trade_price"]
    prints = {""} | {f"{float(t):.3f}" for t in (last_trade,) if t}
    for frame in frames:
        event = json.loads(frame.payload)
        if event["event_type"] == "last_trade_price":
            prints |= {f"{float(event['price']):.3f}", f"{1 - float(event['price']):.3f}"}
    known = ""
    told = {}
    for group in batches(frames):
        kind = group[0]["event_type"]
        if kind == "best_bid_ask":
            told[group[0]["asset_id"]] = group[0]
        if kind == "tick_size_change":
            client.tick = group[0]["new_tick_size"]
        if kind not in BATCH:
            continue
        announced = {}
        for event in group:
            if event["event_type"] == "book":
                client.load(event)
                announced[event["asset_id"]] = (event["hash"], None)
                continue
            for entry in event["price_changes"]:
                client.change(entry)
                best = (entry["best_bid"], entry["best_ask"])
                assert announced.setdefault(entry["asset_id"], (entry["hash"], best)) == (
                    entry["hash"],
                    best,
                )
            bid, ask = client.top(up)
            crossed_within += float(bid) >= float(ask)
        stamp = group[0]["timestamp"]
        for token in (up, down):
            bid, ask = client.top(token)
            assert float(bid) < float(ask)
            own_hash, best = announced[token]
            assert best is None or best == (bid, ask)
            if token in told:
                news = told.pop(token)
                assert (news["best_bid"], news["best_ask"]) == (bid, ask)
                assert float(news["spread"]) == pytest.approx(float(ask) - float(bid))
                assert int(news["timestamp"]) - int(stamp) in (0, 1)
            if client.hash(token, stamp, known) != own_hash:
                known = next(t for t in prints if client.hash(token, stamp, t) == own_hash)
            checked += 1
        bids, asks = client.levels(up)
        assert client.levels(down) == (mirrored(asks), mirrored(bids))
    assert checked > 3000
    assert crossed_within > 50


def test_frames_of_a_batch_come_in_the_venues_order(life):
    _, _, frames = life
    events = [json.loads(frame.payload) for frame in frames]
    assert [frame.t_ns for frame in frames] == sorted(frame.t_ns for frame in frames)
    order = {"best_bid_ask": 0, "price_change": 1, "book": 2}
    within = {}
    for event in events:
        rank = order.get(event["event_type"])
        if rank in (1, 2):
            assert within.get(event["timestamp"], 1) <= rank
            within[event["timestamp"]] = rank
    stamps = [int(e["timestamp"]) for e in events if e["event_type"] in BATCH]
    assert stamps == sorted(stamps)


def test_a_few_batches_are_torn_by_milliseconds_and_the_others_leave_at_once(life):
    _, _, frames = life
    times = {}
    for frame in frames:
        event = json.loads(frame.payload)
        if event["event_type"] in BATCH:
            times.setdefault(event["timestamp"], []).append(frame.t_ns)
    gaps = [
        max(after - before for before, after in pairwise(batch))
        for batch in times.values()
        if len(batch) > 2
    ]
    torn = [gap for gap in gaps if gap > 300_000]
    assert 0.03 < len(torn) / len(gaps) < 0.10
    assert 2_000_000 < max(torn) <= 2_600_000
    assert {gap for gap in gaps if gap <= 300_000} == {25_000}


class Clocked:
    """A fair value that notes how old each value is that somebody asks for."""

    def __init__(self):
        self.market = None
        self.ages_ms = {"maker": set(), "best": set()}

    def _note(self, who, at_ns):
        self.ages_ms[who].add((self.market._next_ns - at_ns) // 1_000_000)
        return 0.5

    def maker(self, at_ns):
        return self._note("maker", at_ns)

    def best(self, at_ns):
        return self._note("best", at_ns)


def test_whoever_acts_sees_the_fair_value_a_latency_late():
    _, _, contract = world(5)
    fair = Clocked()
    fair.market = Market(5, contract, fair, PARAMS)
    fair.market.run((START_S + 60) * NS, [])
    (informed,), (makers,) = fair.ages_ms["best"], fair.ages_ms["maker"]
    assert 100 <= informed < makers <= 400


def test_a_trade_takes_from_the_book_and_is_printed_some_forty_ms_later(life):
    _, _, frames = life
    events = [json.loads(frame.payload) for frame in frames]
    books = {int(e["timestamp"]) for e in events if e["event_type"] == "book"}
    prints = [e for e in events if e["event_type"] == "last_trade_price"]
    assert len(prints) > 150
    for event in prints:
        lags = [int(event["timestamp"]) - stamp for stamp in books]
        assert any(35 <= lag <= 40 for lag in lags)
        assert event["side"] in ("BUY", "SELL")
        assert 0.0 < float(event["price"]) < 1.0
        assert float(event["size"]) > 0.0
    assert {e["asset_id"] for e in prints} == set(
        events[0]["price_changes"][i]["asset_id"] for i in (0, 1)
    )


def test_the_tick_becomes_fine_once_and_only_near_certainty(life):
    market, _, frames = life
    changes = [
        (frame.t_ns, json.loads(frame.payload))
        for frame in frames
        if b"tick_size_change" in frame.payload
    ]
    assert {event["asset_id"] for _, event in changes} == set(market.contract.tokens)
    assert len(changes) == 2
    before = [f for f in frames if f.t_ns < changes[0][0] and b'"price_change"' in f.payload]
    for frame in before:
        for entry in json.loads(frame.payload)["price_changes"]:
            assert len(entry["price"]) <= 4
    mid = (
        sum(
            float(json.loads(before[-1].payload)["price_changes"][0][k])
            for k in ("best_bid", "best_ask")
        )
        / 2
    )
    assert mid > 0.9 or mid < 0.1
    assert market.tick_text == "0.001"


def test_in_windows_without_a_fine_tick_there_is_none():
    market = market_of(5, ModelParams(tick_change_share=0.0))
    frames = []
    market.run((START_S + 400) * NS, frames)
    assert not any(b"tick_size_change" in frame.payload for frame in frames)


def test_books_move_after_the_end_and_then_the_winner_is_told(life):
    market, _, frames = life
    feed, _, _ = world(5)
    after = [f for f in frames if f.t_ns > market.contract.end_s * NS]
    kinds = Counter(json.loads(f.payload)["event_type"] for f in after)
    assert 2 <= kinds["price_change"] <= 600
    assert kinds["market_resolved"] == 1
    last = json.loads(after[-1].payload)
    assert last["event_type"] == "market_resolved"
    won = feed.is_up(START_S, START_S + 300)
    assert last["winning_asset_id"] == market.contract.tokens[0 if won else 1]
    assert market.is_resolved
    late = []
    market.run((START_S + 4000) * NS, late)
    assert late == []


@pytest.mark.parametrize("step_ns", [7_000_003, 1 * NS])
def test_steps_of_any_size_give_the_same_frames(step_ns):
    whole, pieces = [], []
    first, last = (START_S - 5) * NS, (START_S + 12) * NS
    one, other = market_of(2), market_of(2)
    one.run(first, [])
    other.run(first, [])
    one.run(last, whole)
    at_ns = first
    while at_ns < last:
        at_ns = min(at_ns + step_ns, last)
        other.run(at_ns, pieces)
        assert not pieces or pieces[-1].t_ns <= at_ns
    assert pieces == whole
    assert len(whole) > 200


def test_a_muted_past_leads_to_the_same_present():
    loud, quiet = market_of(3), market_of(3, muted_ns=(START_S + 100) * NS)
    past, unread = [], []
    loud.run((START_S + 101) * NS, past)
    quiet.run((START_S + 101) * NS, unread)
    assert len(unread) < len(past) / 10
    for token in loud.contract.tokens:
        assert loud.first_book(token) == quiet.first_book(token)
    one, other = [], []
    loud.run((START_S + 120) * NS, one)
    quiet.run((START_S + 120) * NS, other)
    assert one == other
    assert len(one) > 100


def test_a_first_book_has_a_valid_hash_and_is_never_ahead_of_the_frames():
    market = market_of(4)
    frames = []
    for step in range(200):
        at_ns = (START_S + 30) * NS + step * 50_000_000
        frames.clear()
        market.run(at_ns, frames)
        book = json.loads(market.first_book(market.contract.up))
        levels = [[(lv["price"], lv["size"]) for lv in book[side]] for side in ("bids", "asks")]
        assert book["hash"] == book_hash(
            book["market"],
            book["asset_id"],
            book["timestamp"],
            *levels,
            tick_size=book["tick_size"],
            last_trade_price=book["last_trade_price"],
        )
        stamps = [
            json.loads(f.payload)["timestamp"] for f in frames if b'"price_change"' in f.payload
        ]
        assert not stamps or stamps[-1] == book["timestamp"]


def test_one_who_joins_the_touch_is_filled_within_a_minute_more_often_than_not():
    market = market_of(6)
    market.run((START_S + 20) * NS, [])
    filled = joined = 0
    for turn in range(6):
        at_ns = (START_S + 20 + turn * 35) * NS
        market.run(at_ns, [])
        px, ahead = market.book.best_bid(), market.book.bids.get(market.book.best_bid(), 0)
        if market.is_one_sided():
            continue
        joined += 1
        for step in range(340):
            sold = []
            market.run(at_ns + (step + 1) * NS // 10, sold)
            for frame in sold:
                event = json.loads(frame.payload)
                if event["event_type"] != "last_trade_price":
                    continue
                is_up = event["asset_id"] == market.contract.up
                price = float(event["price"]) if is_up else 1 - float(event["price"])
                if is_up == (event["side"] == "SELL") and price * 1000 < px + 0.5:
                    ahead -= round(float(event["size"]) * 100)
            if ahead < 0 or market.book.best_ask() <= px:
                filled += 1
                break
    assert joined >= 3
    assert filled * 2 > joined
