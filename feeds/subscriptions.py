"""Which markets a Polymarket feed carries: who gets which slots, what is subscribed, until when.

`Market` is what the resolver (`feeds/discovery.py`) gives and `Slots` what becomes of it: a market
takes one pair slot, its tokens the two instrument slots behind it, and gives them back after its
end. The invariant: a slot that changes hands changes its generation, so no reader can take one
market's book for another's; a market that a restarted feed finds in its own old slot keeps both.

Pure: it neither looks markets up nor sends anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cache.layout import SettlementType, tag_of

E9 = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One binary market as the venue lists it; 0 and "" where something is unknown or none."""

    condition_id: str
    tokens: tuple[str, str]
    """Token ids, Yes or Up first; with protocol V2 its position ids."""
    outcomes: tuple[str, str] = ("Yes", "No")
    slug: str = ""
    tick_e9: int = E9 // 100
    lot_e9: int = E9 // 100
    min_qty_e9: int = 5 * E9
    fee_rate_e9: int = 0
    fee_exponent: int = 0
    rebate_rate_e9: int = 0
    taker_delay_ns: int = 0
    reward_min_qty_e9: int = 0
    reward_spread_e9: int = 0
    neg_risk_id: str = ""
    reference: str = ""
    """Binance symbol it is priced on, such as BTCUSDT."""
    window_start_ns: int = 0
    window_end_ns: int = 0
    twap_ns: int = 0
    settlement_type: SettlementType = SettlementType.NONE
    protocol_version: int = 1

    @property
    def tag(self) -> int:
        return tag_of("polymarket", self.condition_id)


class Resolver(Protocol):
    """Where markets come from: Gamma by family and clock, or a fixed list."""

    async def resolve(self, wall_ns: int) -> Sequence[Market]:
        """Return the markets to be carried now: running ones, and next ones before they open.

        Called about once a second. A look-up that failed is counted, left out and tried again.
        """
