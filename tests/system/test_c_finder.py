"""The reader in C finds a token by its id and follows it, beside the feed that lists it.

What it knows of slots, tags, listings, restarts and removals stands in shm_layout.md alone. The
feed is the real one without its socket; what the reader prints must be what was published.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cache.layout import E9, INSTRUMENT, Flag, Provenance, tag_of
from cache.segment import ReaderSegment, WriterSegment
from feeds.gamma_wire import MarketInfo
from feeds.polymarket import ROLE, PolymarketFeed, boards
from feeds.twap import SettlementFeed, SettlementSettings
from tests.feeds.lane_world import BOOK_STORE, SETTINGS

NO_STREAM = SettlementSettings(
    url="", silence_s=1.0, point_wait_s=1.0, official_interval_s=1.0, environ={}
)
FOLLOW_S = 30
ROUNDS = 2_000
PLACES = ("instruments", "pair_bbo", "depth", "settlement")


def market(number):
    """A windowed market; its tokens' ids are as long as they get."""
    return MarketInfo(
        condition_id=f"0x{number:064x}",
        slug=f"btc-updown-5m-{number}",
        token_ids=(f"{number}1" * 39, f"{number}2" * 39),
        outcomes=("Up", "Down"),
        tick_e9=10_000_000,
        min_qty_e9=5 * E9,
        neg_risk=False,
        asset="btc",
        window_start_ns=number * 300 * E9,
        window_end_ns=(number + 1) * 300 * E9,
    )


A, B, C = market(1), market(2), market(3)
YES, NO = A.token_ids


class Feed:
    """The feed process `feed.polymarket.0` without its socket."""

    def __init__(self, namespace):
        self.segment = WriterSegment.create(ROLE, boards(SETTINGS), namespace=namespace)
        self.reader = ReaderSegment.attach(ROLE, namespace=namespace)
        settings = SettlementSettings(
            url="", silence_s=1.0, point_wait_s=1.0, official_interval_s=1.0
        )
        self.settlement = SettlementFeed(self.segment, None, settings)
        self.feed = PolymarketFeed(
            self.segment, "ws://127.0.0.1:1/", SETTINGS, book_store=BOOK_STORE,
            settlement=self.settlement,
        )  # fmt: skip
        self.lane = self.feed.lanes[0]
        self.lane._later = self.feed.depths._later = lambda delay_ms, call: self.due.append(call)
        self.due = []
        self.lane.session = SimpleNamespace(
            is_connected=True, is_behind=False, read_ns=0, send=len, arm_keepalive=int
        )
        self.lane.on_connected(len)

    def list(self, *markets):
        for one in markets:
            self.feed.on_listed(one)

    def release(self, *markets):
        for one in markets:
            self.feed.on_released(one.condition_id)

    def books(self, one, bid, ask):
        """Read both tokens' whole books, of one level a side, in cents of the first token."""
        self.lane.on_frame(json.dumps(both_books(one, bid, ask)).encode(), time.monotonic_ns())
        self.lane.on_burst()
        due, self.due = self.due, []
        for call in due:
            call()

    def strike(self, one, strike_e9):
        """Learn a market's strike."""
        place = self.settlement._places[one.condition_id]
        place.market.take_strike(strike_e9, Provenance.STREAM)
        self.settlement._publish(place)
        self.settlement._ring()

    def close(self, **how):
        self.segment.close(**how)


def both_books(one, bid, ask):
    tops = zip(one.token_ids, ((bid, ask), (100 - ask, 100 - bid)), strict=True)
    return [
        {
            "market": one.condition_id, "asset_id": token, "timestamp": "1790766981000",
            "hash": "", "event_type": "book",
            "bids": [{"price": f"0.{low:02}", "size": f"{low}.5"}],
            "asks": [{"price": f"0.{high:02}", "size": "7"}],
        }
        for token, (low, high) in tops
    ]  # fmt: skip


@pytest.fixture
def path(namespace):
    return Path(f"/dev/shm/{namespace}.{ROLE}")


@pytest.fixture
def feed(namespace):
    made = Feed(namespace)
    yield made
    made.close()


def found(lines):
    """What `find` printed, by place."""
    places = {}
    for line in lines:
        if line[0] == "[":
            places[line[1:-1]] = here = {}
        else:
            name, _, value = line.partition("=")
            here[name] = value
    return places


def as_text(snapshot):
    """Every field of a snapshot as the reader prints it."""
    return {
        name: " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in snapshot.as_dict().items()
    }


# --- the name -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["binance:BTCUSDT", f"polymarket:{YES}", "process:sim", "a:", "a:" + "b" * 126]
)
def test_a_tag_is_made_of_its_text(reader, text):
    venue, _, identity = text.partition(":")
    assert reader("tag", text) == (0, [f"{tag_of(venue, identity):#018x}"])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    assert tag_of(venue, identity) == int.from_bytes(digest, "little")


def test_the_worked_tag_of_the_page_is_the_readers(reader):
    page = (Path(__file__).parents[2] / "shm_layout.md").read_text()
    text, tag = re.findall(r"^\| (?:text|tag) \| `(.+:.+|0x\w{16})` \|$", page, re.MULTILINE)
    assert reader("tag", text) == (0, [tag])


# --- find ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_a_token_is_found_by_its_id_with_all_that_is_known_of_it(reader, feed, path, index):
    feed.list(B, A)
    feed.books(B, 10, 20)
    feed.books(A, 41, 43)
    feed.strike(A, 64_000 * E9)
    status, lines = reader("find", path, A.token_ids[index])
    places = found(lines)
    assert status == 0
    assert tuple(places) == PLACES
    for name, slot in zip(PLACES, (2 + index, 1, 2 + index, 1), strict=True):
        published = feed.reader.board(name).read(slot, 0)
        expected = {"slot": str(slot), "found": "WHOLE", "version": str(published.version)}
        assert places[name] == expected | as_text(published)
    assert places["instruments"]["id"] == A.token_ids[index]
    assert places["instruments"]["outcome"] == ("Up", "Down")[index]
    assert places["pair_bbo"]["yes_bid_px_e9"] == "410000000"
    assert places["pair_bbo"]["no_ask_px_e9"] == "590000000"
    assert places["depth"]["bids"].startswith(("410000000 41500000000 0", "570000000")[index])
    assert places["settlement"]["strike_e9"] == "64000000000000"


def test_a_token_that_is_not_listed_is_unlisted(reader, feed, path):
    feed.list(A)
    assert reader("find", path, B.token_ids[0]) == (0, ["UNLISTED"])
    assert reader("find", path, "") == (0, ["UNLISTED"])
    feed.release(A)
    assert reader("find", path, YES) == (0, ["UNLISTED"])


def test_a_tag_without_its_id_is_another_token(reader, feed, path):
    board = feed.segment.board("instruments")
    values = dict.fromkeys(INSTRUMENT.value_names, 0)
    texts = {"market_id": b"", "slug": b"", "outcome": b""}
    for identity, is_found in ((YES[:-1], False), (YES, True)):
        board.assign(3, tag_of("polymarket", YES), 0)
        board.publish(3, tuple((values | texts | {"id": identity.encode()}).values()))
        assert (reader("find", path, YES)[1] != ["UNLISTED"]) is is_found


def test_a_listing_of_an_older_incarnation_is_none_until_it_is_confirmed(reader, namespace, path):
    first = Feed(namespace)
    first.list(A)
    first.books(A, 41, 43)
    first.strike(A, 64_000 * E9)
    first.close()
    second = Feed(namespace)
    assert reader("find", path, YES) == (0, ["UNLISTED"])
    second.feed._settlement = None  # it has nothing to say yet
    second.list(A)
    places = found(reader("find", path, YES)[1])
    second.close()
    assert {name: place["found"] for name, place in places.items()} == {
        "instruments": "WHOLE",
        "pair_bbo": "WHOLE",  # it says WARMUP itself
        "depth": "WARMUP",
        "settlement": "WHOLE",
    }
    assert places["pair_bbo"]["flags"] == str(Flag.WARMUP | Flag.RESYNC)
    assert places["settlement"]["incarnation"] == "1"  # valid across incarnations
    assert places["settlement"]["strike_e9"] == "64000000000000"


def test_what_lies_in_a_reused_slot_is_never_the_next_ones(reader, feed, path):
    feed.list(A, B)
    feed.books(A, 41, 43)
    feed.release(A)
    feed.list(C)
    assert reader("find", path, YES) == (0, ["UNLISTED"])
    places = found(reader("find", path, C.token_ids[0])[1])
    assert places["pair_bbo"]["generation"] == "1"
    assert places["pair_bbo"]["yes_bid_px_e9"] == "0"
    assert places["depth"] == {"slot": "0", "found": "OTHER_TAG"}
    feed.release(C)
    feed.list(A)
    places = found(reader("find", path, YES)[1])
    assert places["pair_bbo"]["generation"] == "2"
    assert places["depth"] == {"slot": "0", "found": "OTHER_TAG"}  # C's, which says it is gone
    feed.books(A, 44, 45)
    assert found(reader("find", path, YES)[1])["depth"]["bids"].startswith("440000000 ")


# --- follow -------------------------------------------------------------------------------------


@contextlib.contextmanager
def follower(reader, path, token, out=subprocess.PIPE):
    """A process that follows a token, told line by line."""
    command = [reader.program, "follow", path, token, str(FOLLOW_S)]
    process = subprocess.Popen(command, stdout=out, text=True)
    try:
        yield process
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=FOLLOW_S)


def until(process, wanted):
    """The lines that came before and with the wanted one."""
    lines = []
    while not lines or not re.search(wanted, lines[-1]):
        line = process.stdout.readline()
        assert line, f"no {wanted} in {lines}"
        lines.append(line.rstrip())
    return lines


def wait_for_last(path, word):
    """The lines of a file whose last is to be `word`."""
    until_s = time.monotonic() + FOLLOW_S
    while time.monotonic() < until_s:
        lines = path.read_text().splitlines()
        if lines and lines[-1] == word:
            return lines
        time.sleep(0.01)
    raise AssertionError(f"no {word} in {path.read_text()[-1000:]}")


def bids(lines):
    return {int(bid) for bid in re.findall(r" bid=(\d+) ", "\n".join(lines))}


def test_a_token_is_followed_through_slots_restart_and_removal(reader, namespace, path):
    with follower(reader, path, YES) as process:
        feed = Feed(namespace)
        until(process, "^attached$")
        feed.list(A, B)
        until(process, "^listed slot=0 generation=0 incarnation=1$")
        feed.books(B, 10, 20)
        feed.books(A, 41, 43)
        until(process, r"^depth WHOLE version=1 .* bid=410000000 ask=430000000$")
        feed.strike(A, 64_000 * E9)
        until(process, r"^settlement WHOLE .* strike=64000000000000$")

        feed.release(A)
        assert not bids(until(process, "^unlisted$")) - {410_000_000}
        feed.list(C)
        feed.books(C, 50, 51)
        feed.release(B)
        feed.list(A)
        lines = until(process, "^listed slot=2 generation=1 incarnation=1$")
        lines += until(process, "^depth ")
        assert lines[-1] == "depth OTHER_TAG"  # B's lies there still
        assert not bids(lines) - {0}
        feed.books(A, 44, 45)
        lines = until(process, r"^depth WHOLE .* generation=1 flags=0 bid=440000000 ask=450000000$")
        assert not bids(lines) - {0, 440_000_000}

        feed.close()
        feed = Feed(namespace)
        until(process, "^unlisted$")
        feed.list(A)
        until(process, "^listed slot=2 generation=1 incarnation=2$")
        lines = until(process, "^settlement ")
        assert any(line.startswith("depth WARMUP version=") for line in lines)
        feed.books(A, 46, 47)
        until(process, r"^depth WHOLE version=\d+ .* bid=460000000 ask=470000000$")

        feed.close(remove=True)
        until(process, "^gone$")
        feed = Feed(namespace)
        until(process, "^attached$")
        feed.list(A)
        until(process, "^listed slot=0 generation=0 incarnation=1$")
        path.unlink()  # by somebody else, and before anybody looked
        feed.close()
        feed = Feed(namespace)
        until(process, "^gone$")
        feed.list(B, A)
        until(process, "^listed slot=2 generation=0 incarnation=1$")
        feed.close()


def test_nothing_of_others_is_seen_while_slots_go_round_without_rest(reader, feed, path, tmp_path):
    cents = {A.slug: 40, B.slug: 50, C.slug: 60}
    told = tmp_path / "told"  # not a pipe, which would make the reader wait for us
    with told.open("w") as out, follower(reader, path, NO, out):
        first, second, third = A, B, C
        for _ in range(ROUNDS):
            feed.list(first, second)
            for one in (first, second):
                feed.books(one, cents[one.slug], cents[one.slug] + 5)
            feed.release(first, second)
            first, second, third = second, third, first
        feed.close(remove=True)
        lines = wait_for_last(told, "gone")
    assert {line.split()[1] for line in lines if line.startswith("listed ")} <= {"slot=1", "slot=3"}
    assert 550_000_000 in bids(lines)  # its first token's ask is 0.45
    assert not bids(lines) - {0, 550_000_000}
