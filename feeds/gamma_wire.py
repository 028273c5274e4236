"""Reads what Gamma and the CLOB say of a market: bytes of a REST answer in, `MarketInfo` out.

Gamma hides lists as JSON text inside JSON ("clobTokenIds", "outcomes"), writes amounts as JSON
numbers or as text, and leaves out what it does not know. Everything is read exactly (no float is
ever made of an amount) and the invariant is that a `MarketInfo` is whole: a field that is missing
or wrong is a `GammaError` naming it, never a default. Index 0 is always the Up or Yes token.

It fetches nothing (`feeds/gamma.py` does) and lists nothing (`feeds/discovery.py` does).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cache.layout import E9, Outcome, SettlementType
from feeds import gamma_fields as fields
from feeds.gamma_fields import GammaError as GammaError

LOT_E9 = E9 // 100
"""Sizes of orders have two decimals on every market."""

MARKETABLE_HOLD_NS = 250_000_000
"""How long a marketable order is held where `itode` is true; sources say 150 and 250 ms."""

_TOKEN = re.compile(r"[0-9]{1,78}")
_FAMILY = re.compile(r"([a-z0-9]{2,16})-updown-([0-9]{1,3})([mh])")
_WINDOW = re.compile(r"([a-z0-9]{2,16}-updown-[0-9]{1,3}[mh])-([0-9]{9,10})")
_HOURLY = re.compile(r"([a-z]+)-up-or-down-.+-et")
_HOURLY_ASSETS = {"bitcoin": "btc", "ethereum": "eth", "solana": "sol", "xrp": "xrp"}


@dataclass(frozen=True, slots=True)
class MarketInfo:
    """One binary market as the venue lists it; index 0 of a pair is the Up or Yes token.

    A token listed without metadata (`has_metadata` False) knows its book's grid alone: the second
    token is "" and fee, window and settlement are unknown, so nothing may be decided on it.
    """

    condition_id: str
    slug: str
    token_ids: tuple[str, str]
    outcomes: tuple[str, str]
    tick_e9: int
    min_qty_e9: int
    neg_risk: bool
    neg_risk_id: str = ""
    lot_e9: int = LOT_E9
    fee_rate_e9: int = 0
    fee_exponent: int = 0
    rebate_rate_e9: int = 0
    taker_delay_ns: int = 0
    reward_min_qty_e9: int = 0
    reward_spread_e9: int = 0
    asset: str = ""
    window_start_ns: int = 0
    window_end_ns: int = 0
    twap_ns: int = 0
    settlement_type: SettlementType = SettlementType.NONE
    protocol_version: int = 1
    is_closed: bool = False
    winner: Outcome = Outcome.UNKNOWN
    has_metadata: bool = True

    @property
    def twap_symbol(self) -> str:
        """Name of the coin in the venue's price channels: "btcusd"; "" without a coin."""
        return f"{self.asset}usd" if self.asset else ""

    @property
    def reference_symbol(self) -> str:
        """Name of the coin on Binance: "BTCUSDT"; "" without a coin."""
        return f"{self.asset.upper()}USDT" if self.asset else ""


@dataclass(frozen=True, slots=True)
class EventPrices:
    """The official prices of a window, None until the venue has filled them in, and who won."""

    strike_e9: int | None = None
    final_e9: int | None = None
    winner: Outcome = Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a family: its slug and its time, whole seconds of the wall clock."""

    slug: str
    start_s: int
    end_s: int


def family_seconds(family: str) -> int:
    """Length of a family's windows: 300 for "btc-updown-5m". Raises GammaError."""
    found = _FAMILY.fullmatch(family)
    if found is None:
        raise GammaError("family", f"{family!r} is not of the form btc-updown-5m")
    seconds = int(found[2]) * {"m": 60, "h": 3600}[found[3]]
    if seconds == 0 or 86_400 % seconds:
        raise GammaError("family", f"{family!r}: a day is no multiple of its windows")
    return seconds


def windows_wanted(family: str, now_s: float, lead_s: float) -> list[Window]:
    """The running window, and the next one from `lead_s` before it opens."""
    length = family_seconds(family)
    start = int(now_s // length) * length
    starts = [start, start + length] if now_s >= start + length - lead_s else [start]
    return [Window(f"{family}-{at}", at, at + length) for at in starts]


def parse_market(body: bytes) -> MarketInfo:
    """Read a Gamma market object (or a list of one). Raises GammaError."""
    return _market(fields.one(fields.load(body)))


def parse_markets(body: bytes) -> list[MarketInfo | GammaError]:
    """Read a list of Gamma markets; one that cannot be used is given as its error."""
    rows = fields.load(body)
    if not isinstance(rows, list):
        raise GammaError("body", "is not a list of markets")
    found: list[MarketInfo | GammaError] = []
    for row in rows:
        try:
            found.append(_market(row))
        except GammaError as error:
            found.append(error)
    return found


def parse_event(body: bytes, condition_id: str) -> EventPrices:
    """Read what a Gamma event (or a list of one) says of a market's end. Raises GammaError."""
    event = fields.one(fields.load(body))
    if not isinstance(event, dict):
        raise GammaError("body", "is not an event")
    data = event.get("eventMetadata") or {}
    if not isinstance(data, dict):
        raise GammaError("eventMetadata", "is not an object")
    markets = event.get("markets") or []
    if not isinstance(markets, list):
        raise GammaError("markets", "is not a list")
    winner = Outcome.UNKNOWN
    for row in markets:
        if isinstance(row, dict) and row.get("conditionId") == condition_id:
            winner = _market(row).winner
    return EventPrices(fields.price(data, "priceToBeat"), fields.price(data, "finalPrice"), winner)


def parse_book_listing(body: bytes, token_id: str) -> MarketInfo:
    """Read the little that a CLOB /book answer says of a token's market. Raises GammaError."""
    book = fields.load(body)
    if not isinstance(book, dict):
        raise GammaError("body", "is not a book")
    if book.get("asset_id") != token_id:
        raise GammaError(
            "asset_id", f"is {fields.shown(book.get('asset_id'))}, not the token asked for"
        )
    return MarketInfo(
        condition_id=fields.condition(book, "market"),
        slug="",
        token_ids=(token_id, ""),
        outcomes=("", ""),
        tick_e9=fields.tick(book, "tick_size"),
        min_qty_e9=fields.amount(book, "min_order_size"),
        neg_risk=fields.flag(book, "neg_risk", missing=False),
        has_metadata=False,
    )


# --- one market -------------------------------------------------------------------------------


def _market(row: object) -> MarketInfo:
    if not isinstance(row, dict):
        raise GammaError("body", f"holds {fields.shown(row)} instead of a market")
    version = 2 if row.get("version") == "v2" else 1
    tokens_field = "positionIds" if version == 2 else "clobTokenIds"
    tokens, outcomes = fields.pair(row, tokens_field), fields.pair(row, "outcomes")
    prices = fields.pair(row, "outcomePrices") if row.get("outcomePrices") else ("", "")
    for token in tokens:
        if not _TOKEN.fullmatch(token):
            raise GammaError(tokens_field, f"holds {fields.shown(token)}, which is no token id")
    if tokens[0] == tokens[1]:
        raise GammaError(tokens_field, "holds the same token twice")
    if outcomes[1].lower() in ("up", "yes"):
        tokens, outcomes, prices = tokens[::-1], outcomes[::-1], prices[::-1]
    closed = fields.flag(row, "closed", missing=False)
    slug = fields.text(row, "slug")
    return MarketInfo(
        condition_id=fields.condition(row, "conditionId"),
        slug=slug,
        token_ids=tokens,
        outcomes=outcomes,
        tick_e9=fields.tick(row, "orderPriceMinTickSize"),
        min_qty_e9=fields.amount(row, "orderMinSize"),
        neg_risk=fields.flag(row, "negRisk", missing=False),
        neg_risk_id=str(row.get("negRiskMarketID") or "")[: fields.TEXT_MAX],
        reward_min_qty_e9=fields.amount(row, "rewardsMinSize", missing=0),
        # The spread is given in cents.
        reward_spread_e9=fields.amount(row, "rewardsMaxSpread", missing=0) // 100,
        taker_delay_ns=_taker_delay(row),
        protocol_version=version,
        is_closed=closed,
        winner=_winner(prices) if closed else Outcome.UNKNOWN,
        **_fees(row),
        **_window(row, slug),
    )


def _fees(row: dict[str, Any]) -> dict[str, Any]:
    schedule = row.get("feeSchedule")
    if schedule is None:
        if fields.flag(row, "feesEnabled", missing=False):
            raise GammaError("feeSchedule", "is missing although fees are enabled")
        return {}
    if not isinstance(schedule, dict):
        raise GammaError("feeSchedule", "is not an object")
    exponent = schedule.get("exponent")
    if type(exponent) is not int or not 0 <= exponent <= 4:
        raise GammaError("feeSchedule.exponent", f"is {fields.shown(exponent)}, not 0 to 4")
    fees = {
        "fee_rate_e9": fields.amount(schedule, "rate", at="feeSchedule."),
        "fee_exponent": exponent,
        "rebate_rate_e9": fields.amount(schedule, "rebateRate", missing=0, at="feeSchedule."),
    }
    if fees["fee_rate_e9"] > E9 or fees["rebate_rate_e9"] > E9:
        raise GammaError("feeSchedule", "has a rate above 1")
    return fees


def _taker_delay(row: dict[str, Any]) -> int:
    if fields.flag(row, "itode", missing=False):
        return MARKETABLE_HOLD_NS
    seconds = row.get("secondsDelay") or 0
    if type(seconds) is not int or not 0 <= seconds <= 3600:
        raise GammaError("secondsDelay", f"is {fields.shown(seconds)}, not 0 to 3600")
    return seconds * E9


def _window(row: dict[str, Any], slug: str) -> dict[str, Any]:
    """Window, coin and settlement of an up/down market; nothing for any other."""
    config = row.get("cryptoMarketConfig")
    if config is not None and not isinstance(config, dict):
        raise GammaError("cryptoMarketConfig", "is not an object")
    numbered, hourly = _WINDOW.fullmatch(slug), _HOURLY.fullmatch(slug)
    if numbered is None and hourly is None:
        return {}
    start_s, end_s = fields.time(row, "eventStartTime"), fields.time(row, "endDate")
    if numbered is not None:
        seconds = family_seconds(numbered[1])
        if start_s != int(numbered[2]):
            raise GammaError("eventStartTime", f"is {start_s}, the slug says {numbered[2]}")
        if end_s != start_s + seconds:
            raise GammaError("endDate", f"is {end_s - start_s} s after the start, not {seconds}")
        asset, kind = numbered[1].split("-")[0], SettlementType.NONE
    else:
        assert hourly is not None
        asset, kind = _HOURLY_ASSETS.get(hourly[1], ""), SettlementType.CANDLE
    if end_s <= start_s:
        raise GammaError("endDate", "is not after eventStartTime")
    twap_s = _twap_seconds(config) if config else 0
    return {
        "asset": asset,
        "window_start_ns": start_s * E9,
        "window_end_ns": end_s * E9,
        "twap_ns": twap_s * E9,
        "settlement_type": SettlementType.TWAP if twap_s else kind,
    }


def _twap_seconds(config: dict[str, Any]) -> int:
    if not fields.flag(config, "twapEnabled", missing=False, at="cryptoMarketConfig."):
        return 0
    seconds = config.get("twapLookbackSeconds")
    if type(seconds) is not int or not 1 <= seconds <= 3600:
        shown = fields.shown(seconds)
        raise GammaError("cryptoMarketConfig.twapLookbackSeconds", f"is {shown}, not 1 to 3600")
    return seconds


def _winner(prices: tuple[str, str]) -> Outcome:
    known = {("1", "0"): Outcome.YES, ("0", "1"): Outcome.NO}
    return known.get(prices, Outcome.UNKNOWN)
