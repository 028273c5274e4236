"""What the model hands to the servers: one frame, its time, and whom it concerns."""

from __future__ import annotations

from typing import NamedTuple

PM_MARKET = "pm.market"
BN_TICKER = "bn.bookTicker"
BN_TRADE = "bn.trade"
BN_DEPTH = "bn.depth@100ms"
BOLT_TWAP = "bolt.twap"


class SimFrame(NamedTuple):
    """One message of the venue, as it would leave it.

    `key` says whom it concerns: on `pm.market` the token ids, and an empty key is for every
    subscriber of the channel (`new_market`); on `bn.*` the symbol; on `bolt.twap` the symbol and
    the length of the average in seconds. `payload` is the JSON of one object: without the wrapper
    of Binance's combined stream, and of PolyBolt without the envelope.
    """

    t_ns: int
    channel: str
    key: tuple[str, ...]
    payload: bytes
