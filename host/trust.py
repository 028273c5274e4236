"""How far what a tool reads may be trusted, judged as those who trade judge it.

The same gate (`cache/gate.py`), and the policies that the configuration names: [strategy]
book_policy for a market's book, reference_policy for a reference price, and the threshold of
[book_store] for any other feed. So what `status` calls STALE is what is not quoted on. It reads no
board and counts nothing.
"""

from __future__ import annotations

from cache.board import Miss, Snapshot
from cache.book_access import judge, policy_named
from cache.book_store import Sight
from cache.gate import FAST15M, Policy, Trust, Witness, gate
from cache.liveness import Liveness
from cache.segment import ReaderSegment
from host.settings import Config
from host.venue_clock import is_replayed


class Judge:
    """The policies of one configuration."""

    def __init__(
        self,
        book: Policy = FAST15M,
        reference: Policy = FAST15M,
        other: Policy = FAST15M,
        *,
        judges_lag: bool = True,
    ) -> None:
        """Without `judges_lag` the venue's own times are not looked at, as of a replay."""
        self._policies = {"feed.polymarket.": book, "feed.binance.": reference}
        self._other = other
        self._judges_lag = judges_lag

    @classmethod
    def of(cls, config: Config) -> Judge:
        """Judge as the strategy of a configuration does."""
        told, default_ms = config.strategy, config.book_store.default_max_stale_ms
        names = (told.book_policy, told.reference_policy, "default")
        return cls(
            *(policy_named(name, default_ms) for name in names),
            judges_lag=not is_replayed(config),
        )

    def policy(self, role: str) -> Policy:
        """Give the policy for the books of a feed."""
        found = (one for prefix, one in self._policies.items() if role.startswith(prefix))
        return next(found, self._other)

    def witness(
        self, found: ReaderSegment, now_ns: int, wall_ns: int, liveness: Liveness, *, link_ns: int
    ) -> Witness:
        """What is known beside a book of a segment; `liveness` is that of its writer.

        `link_ns` was read before the book, the clocks after it.
        """
        offset_ns = wall_ns - now_ns if self._judges_lag else None
        return Witness(liveness, found.incarnation, link_ns, 0, offset_ns)

    def top(self, role: str, read: Snapshot | Miss, now_ns: int, witness: Witness) -> Trust:
        """Judge a top of book; the clock was read after it."""
        return gate(read, self.policy(role), now_ns, witness)[1]

    def depth(
        self, role: str, sight: Sight, now_ns: int, witness: Witness
    ) -> tuple[Snapshot | None, Trust]:
        """Judge a token's depth with its top; the clock was read after both."""
        return judge(sight, self.policy(role), now_ns, witness)
