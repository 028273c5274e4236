"""The model's markets as the venue's catalogue lists them: market and event objects of 2026.

Lists stand as JSON text inside JSON, amounts as numbers or as text, as Gamma writes them. Official
prices appear late: `priceToBeat` some time after the start, `finalPrice` after the end.
Everything here is written from a contract and what is known of it; nothing is decided.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sim.params import ModelParams
from sim.series import Contract

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a market at a moment."""

    now_s: int
    best_bid: float
    """Of Up, 0 and 1 where there is none."""
    best_ask: float
    last_trade: float
    tick: float
    volume: float
    up_won: bool | None
    strike: float | None
    """The official one, when it is out; so with the final price."""
    final: float | None


def _iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def question_of(contract: Contract) -> str:
    """Return the market's title, with its window in UTC."""
    start = datetime.fromtimestamp(contract.start_s, UTC)
    end = datetime.fromtimestamp(contract.end_s, UTC)
    times = f"{start:%I:%M%p}-{end:%I:%M%p}".replace("-0", "-").removeprefix("0")
    return f"Bitcoin Up or Down - {start:%B} {start.day}, {times} UTC"


def description_of(contract: Contract) -> str:
    """Return the rules of the market."""
    return (
        'This market will resolve to "Up" if the time-weighted average Bitcoin price at the end of '
        "the time range specified in the title is greater than or equal to that at the beginning "
        'of that range. Otherwise, it will resolve to "Down".\nThe resolution source for this '
        "market is information from Chainlink, specifically the BTC/USD TWAP data stream."
    )


def market_object(contract: Contract, standing: Standing, params: ModelParams) -> Json:
    """Write the market."""
    s = standing
    is_closed = s.up_won is not None
    open_s = contract.start_s - params.market_lead_s
    volume = round(s.volume, 2)
    middle = min(max(round((s.best_bid + s.best_ask) / 2.0, 4), 0.0), 1.0)
    prices = ["1", "0"] if s.up_won else ["0", "1"]
    if not is_closed:
        prices = [f"{middle:g}", f"{round(1.0 - middle, 4):g}"]
    listed: Json = {
        "id": str(contract.market_id),
        "slug": contract.slug,
        "question": question_of(contract),
        "description": description_of(contract),
        "conditionId": contract.condition_id,
        "questionID": contract.question_id,
        "outcomes": json.dumps(["Up", "Down"]),
        "outcomePrices": json.dumps(prices),
        "clobTokenIds": json.dumps([contract.up, contract.down]),
        "active": True,
        "closed": is_closed,
        "archived": False,
        "new": False,
        "restricted": True,
        "approved": True,
        "acceptingOrders": not is_closed,
        "acceptingOrdersTimestamp": _iso(open_s),
        "enableOrderBook": True,
        "negRisk": False,
        "negRiskOther": False,
        "createdAt": _iso(open_s),
        "updatedAt": _iso(s.now_s),
        "startDate": _iso(open_s),
        "startDateIso": _iso(open_s)[:10],
        "endDate": _iso(contract.end_s),
        "endDateIso": _iso(contract.end_s)[:10],
        "eventStartTime": _iso(contract.start_s),
        "bestBid": s.best_bid,
        "bestAsk": s.best_ask,
        "spread": round(s.best_ask - s.best_bid, 4),
        "lastTradePrice": s.last_trade,
        "volume": f"{volume:g}",
        "volumeNum": volume,
        "volumeClob": volume,
        "liquidity": "0",
        "liquidityNum": 0,
    }
    if is_closed:
        closed = datetime.fromtimestamp(contract.resolved_ns // 1_000_000_000, UTC)
        listed["closedTime"] = f"{closed:%Y-%m-%d %H:%M:%S}+00"
        listed["umaResolutionStatus"] = "resolved"
        listed["automaticallyResolved"] = True
    return listed | _terms(s.tick, params)


def _terms(tick: float, params: ModelParams) -> Json:
    """Write what holds for every market of the series."""
    asset = params.family.partition("-")[0]
    stream = f"{asset}-usd-twap-{params.twap_length_s}s-streams"
    return {
        "orderPriceMinTickSize": tick,
        "orderMinSize": 5,
        "feesEnabled": True,
        "feeType": "crypto_fees_v2",
        "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
        "makerBaseFee": 1000,
        "takerBaseFee": 1000,
        "makerRebatesFeeShareBps": 10000,
        "rewardsMinSize": 50,
        "rewardsMaxSpread": 4.5,
        "resolutionSource": f"https://data.chain.link/streams/{stream}",
        "cryptoMarketConfig": {
            "asset": asset,
            "duration": params.family.rpartition("-")[2],
            "twapEnabled": True,
            "twapLookbackSeconds": params.twap_length_s,
        },
    }


def event_object(contract: Contract, standing: Standing, params: ModelParams) -> Json:
    """Write the event: the series has one market an event, of the same slug."""
    metadata = {
        name: price
        for name, price in (("priceToBeat", standing.strike), ("finalPrice", standing.final))
        if price is not None
    }
    market = market_object(contract, standing, params)
    shared = ("slug", "description", "startDate", "endDate", "active", "closed", "archived", "new")
    event: Json = {"id": str(contract.market_id), "ticker": contract.slug}
    event |= {name: market[name] for name in shared}
    event |= {
        "title": market["question"],
        "resolutionSource": market["resolutionSource"],
        "restricted": True,
        "volume": market["volumeNum"],
        "enableOrderBook": True,
        "negRisk": False,
        "seriesSlug": params.family.replace("updown", "up-or-down"),
        "startTime": market["eventStartTime"],
        "eventMetadata": metadata or None,
        "markets": [market],
    }
    return event
