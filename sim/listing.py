"""What Gamma would say of recorded markets: made from the recordings, as little as a client needs.

A market gets the slug of its file, its condition and token ids and, where the slug names a window
(`btc-updown-5m-1776323400`), the window. Which token is Up no recording says: they are listed in
the order in which they were seen. Where a file holds one token, the other is listed under a
made-up id (`recorded_book.mirror_id`). There is no strike: `eventMetadata` stays empty.

The files are read once, line by line, when the listing is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from sim import recordings
from sim.recorded_book import mirror_id
from sim.source import Json

SCAN_FRAMES_MAX = 100_000
"""Frames of a file looked at for markets; those that show up later are not listed."""

_MARKET = re.compile(rb'"market" ?: ?"(0x[0-9a-fA-F]+)"')
_WINDOW = re.compile(r"^([a-z0-9]+)-updown-(\d+)([mh])-(\d{9,11})$")
_UNIT_S = {"m": 60, "h": 3600}
TWAP_SECONDS = 60


@dataclass(slots=True)
class Listed:
    """One market of a recording."""

    id: str
    slug: str
    tokens: list[str] = field(default_factory=list)
    unseen: str = ""
    """The made-up id of the half that the recording does not hold."""


class Listing:
    """The markets of recordings, by slug, condition id and token id."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_slug: dict[str, Listed] = {}
        self._by_id: dict[str, Listed] = {}
        for path in paths:
            self._scan(path)
        for listed in list(self._by_id.values()):
            if len(listed.tokens) == 1:
                listed.unseen = mirror_id(listed.tokens[0])
                listed.tokens.append(listed.unseen)
            for token in listed.tokens:
                self._by_id[token] = listed

    def _scan(self, path: Path) -> None:
        slug = recordings.slug_of(path)
        found: dict[str, Listed] = {}
        for number, frame in enumerate(recordings.frames(path)):
            if number >= SCAN_FRAMES_MAX:
                break
            markets = set(_MARKET.findall(frame.payload))
            if len(markets) != 1 or not frame.key:
                continue
            identity = markets.pop().decode()
            listed = found.get(identity)
            if listed is None:
                name = f"{slug}-{len(found)}" if found else slug
                listed = found[identity] = Listed(identity, name)
            listed.tokens.extend(token for token in frame.key if token not in listed.tokens)
            if len(found) == 1 and len(listed.tokens) >= 2 and _WINDOW.match(slug):
                break  # A windowed market's file holds that market and no other.
        for listed in found.values():
            self._by_slug.setdefault(listed.slug, listed)
            self._by_id.setdefault(listed.id, listed)

    def original_of(self, token: str) -> str | None:
        """Give the recorded token whose unseen half this one is."""
        listed = self._by_id.get(token)
        return listed.tokens[0] if listed is not None and listed.unseen == token else None

    def slugs(self) -> tuple[str, ...]:
        """Name every market."""
        return tuple(self._by_slug)

    def by_slug(self, slug: str) -> Json | None:
        """Give a Gamma market."""
        listed = self._by_slug.get(slug)
        return _market(listed) if listed else None

    def by_id(self, identity: str) -> Json | None:
        """Give the Gamma market of a condition or token id."""
        listed = self._by_id.get(identity)
        return _market(listed) if listed else None

    def event_of(self, market: Json) -> Json:
        """Give the event of a market: the series has one market an event, of the same slug."""
        names = ("id", "slug", "startDate", "endDate", "active", "closed", "resolutionSource")
        event = {name: market[name] for name in names if name in market}
        return event | {"title": market["question"], "eventMetadata": None, "markets": [market]}


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _market(listed: Listed) -> Json:
    outcomes = ["Up", "Down"]
    market: Json = {
        "id": str(int(listed.id[:10], 16)),
        "question": f"Recorded market {listed.slug}",
        "conditionId": listed.id,
        "slug": listed.slug,
        "outcomes": orjson.dumps(outcomes).decode(),
        "outcomePrices": '["0.5", "0.5"]',
        "clobTokenIds": orjson.dumps(listed.tokens).decode(),
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "negRisk": False,
        "orderPriceMinTickSize": 0.01,
        "orderMinSize": 5,
        "feesEnabled": True,
        "makerBaseFee": 1000,
        "takerBaseFee": 1000,
        "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
    }
    return market | _window(listed.slug)


def _window(slug: str) -> Json:
    """What follows from a slug that names a window; settled as such markets are today."""
    found = _WINDOW.match(slug)
    if found is None:
        return {}
    asset, count, unit, start = found.groups()
    start_s = int(start)
    end_s = start_s + int(count) * _UNIT_S[unit]
    return {
        "resolutionSource": f"https://data.chain.link/streams/{asset}-usd-twap-60s-streams",
        "cryptoMarketConfig": {
            "asset": asset,
            "duration": f"{count}{unit}",
            "twapEnabled": True,
            "twapLookbackSeconds": TWAP_SECONDS,
        },
        "startDate": _iso(start_s - 86_400),
        "eventStartTime": _iso(start_s),
        "endDate": _iso(end_s),
    }
