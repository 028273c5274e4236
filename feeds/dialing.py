"""When a venue may be dialled again: a growing delay, and a bound on all dials to one host.

Binance allows 300 connection attempts in 5 minutes from one address and bans who makes more, and
an address may have several processes. The delay alone does not keep that bound: a venue that cuts
a connection again and again after it has served it resets the delay each time. So every dial of
the process, whichever session it is for, takes a turn from its host's quota.

The invariant: in no span of 5 minutes are more than `DIAL_COUNT_MAX` turns given. Pure: `now_ns`
is an argument. It dials nothing and knows no session.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from host.clock import NS_PER_S

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_MAX_S: Final = 30.0
BACKOFF_LOCAL_S: Final = 0.5
"""The longest delay where the venue is on this host, and nobody else's server is spared."""

DIAL_COUNT_MAX: Final = 90
"""So that three processes of one address stay below the venue's limit, with room for a restart."""

DIAL_SPAN_NS: Final = 300 * NS_PER_S


def backoff_s(attempt: int, fraction: float, *, longest_s: float = BACKOFF_MAX_S) -> float:
    """Return the delay before another attempt: doubling, with `fraction` (0 to 1) of jitter."""
    full = min(longest_s, BACKOFF_FIRST_S * 2.0 ** min(attempt, 16))
    return full * (0.5 + 0.5 * fraction)


class Quota:
    """Turns to dial one host."""

    def __init__(self) -> None:
        self._turns_ns: deque[int] = deque(maxlen=DIAL_COUNT_MAX)

    def take(self, now_ns: int) -> int:
        """Take the next turn and give its time: now, or when the oldest one is long enough ago."""
        turns = self._turns_ns
        turn_ns = max(now_ns, turns[0] + DIAL_SPAN_NS) if len(turns) == turns.maxlen else now_ns
        turns.append(turn_ns)
        return turn_ns


_quotas: dict[str, Quota] = {}


def quota_of(host: str) -> Quota:
    """The one quota of this process for a host."""
    return _quotas.setdefault(host, Quota())
