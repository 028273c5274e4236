"""How a decision gets at books: from memory or not at all, and never by waiting.

`BookAccess.get_book` reads a token's depth, has the gate judge it, and gives the book only if it
may be quoted on. None means *skip this tick*: there is no fall-back, no request and no older book
in its place, and the trust says why. Each call is counted by its outcome.

Who reads all inputs first and the clock behind them, as strategy and executor do, hands over what
was read instead: `serve` judges and counts a top of book, `depth_of` gives the depth that belongs
to it. There is no other door to a book for whoever decides.

Depth and top of book of a token are judged together, the worst that holds wins: so a lost link
shows at once, and depth that stands still while the top moves on is STALE, however young its link.
"""

from __future__ import annotations

from functools import lru_cache
from time import monotonic_ns
from typing import Final

from cache.board import Miss, Snapshot
from cache.book_metrics import BookMetrics
from cache.book_store import BookStore, Sight
from cache.gate import FAST15M, LATENCY_ARB, MS, POLICIES, Policy, Trust, Witness, gate
from cache.refusals import shown

LATENCY_ARB_MS: Final = (100, 500)
"""What a strategy of the latency_arb kind may ask for."""

_EVER_NS: Final = 1 << 62


def policy_of_ms(max_stale_ms: int, name: str = "default") -> Policy:
    """A policy of one's own, such as the default one of the settings. Raises ValueError.

    Its other bounds stand to this one as those of `fast15m` do.
    """
    if type(max_stale_ms) is not int or max_stale_ms < 1:
        said = shown(max_stale_ms)
        raise ValueError(f"max_stale_ms is {said}: it must be a whole number, at least 1")
    bounds = {
        field: value * max_stale_ms * MS // FAST15M.evidence_ns_max
        for field, value in FAST15M._asdict().items()
        if field != "name"
    }
    return Policy(name=name, **bounds)


def policy_named(name: str, default_max_stale_ms: int) -> Policy:
    """The policy of a name; "default" is that of the settings. Raises ValueError."""
    if name == "default":
        return policy_of_ms(default_max_stale_ms)
    if type(name) is not str or name not in POLICIES:
        raise ValueError(f"policy is {shown(name)}: write default, {', '.join(POLICIES)}")
    return POLICIES[name]


def latency_arb(max_stale_ms: int = LATENCY_ARB_MS[1]) -> Policy:
    """The strictest policy, with a tolerance of 100 to 500 ms. Raises ValueError."""
    least, most = LATENCY_ARB_MS
    if type(max_stale_ms) is not int or not least <= max_stale_ms <= most:
        raise ValueError(f"max_stale_ms is {shown(max_stale_ms)}: it must be {least} to {most}")
    if max_stale_ms == most:
        return LATENCY_ARB
    return policy_of_ms(max_stale_ms, LATENCY_ARB.name)


class BookAccess:
    """The books of one store, for one thread that decides."""

    def __init__(
        self,
        store: BookStore,
        metrics: BookMetrics | None = None,
        *,
        default: Policy = FAST15M,
        is_enabled: bool = True,
        wall_offset_ns: int | None = None,
    ) -> None:
        """Count in `metrics`. Without `is_enabled` nothing is served: every tick is skipped.

        `wall_offset_ns` is wall clock minus CLOCK_MONOTONIC; None where the venue's times are not
        to be judged (a replay).
        """
        if not isinstance(store, BookStore):
            raise TypeError(f"store is {shown(store)}: it must be a BookStore")
        if metrics is not None and not isinstance(metrics, BookMetrics):
            raise TypeError(f"metrics is {shown(metrics)}: it must be BookMetrics, or None")
        if type(is_enabled) is not bool:
            raise TypeError(f"is_enabled is {shown(is_enabled)}: it must be True or False")
        if type(default) is not Policy:
            raise TypeError(f"default is {shown(default)}: it must be a Policy")
        if wall_offset_ns is not None and type(wall_offset_ns) is not int:
            raise TypeError(f"wall_offset_ns is {shown(wall_offset_ns)}: it must be int, or None")
        self.store = store
        self.metrics = metrics if metrics is not None else BookMetrics()
        self.default = default
        self.is_enabled = is_enabled
        self.wall_offset_ns = wall_offset_ns

    def get_book(
        self, token: str, policy: Policy | None, now_ns: int
    ) -> tuple[Snapshot | None, Trust]:
        """Give the depth of a token if it may be quoted on, else None: skip this tick.

        `policy` None is the default one. What was published after `now_ns` was read is no book
        from the future: the clock is read again then. Raises TypeError for what is no question.
        """
        if type(token) is not str:
            raise TypeError(f"token is {shown(token)}: it must be the venue's id, as text")
        if type(now_ns) is not int:
            raise TypeError(f"now_ns is {shown(now_ns)}: it must be a whole number of nanoseconds")
        if policy is not None and type(policy) is not Policy:
            raise TypeError(f"policy is {shown(policy)}: it must be a Policy, or None")
        # Before the book: a link that is proven after it was read does not say that it still stood.
        witness = self.store.witness(now_ns, wall_offset_ns=self.wall_offset_ns)
        sight = self.store.look(token) if self.is_enabled else None
        if sight is None:
            self.metrics.judged(Trust.NOT_SUBSCRIBED, 0)
            return None, Trust.NOT_SUBSCRIBED
        if _is_newer(sight, now_ns):
            now_ns = monotonic_ns()
        book, trust = judge(sight, policy or self.default, now_ns, witness)
        self.metrics.judged(trust, now_ns - book.recv_ns if book is not None else 0)
        return (book if trust.is_quotable else None), trust

    def best_bid(self, token: str, policy: Policy | None, now_ns: int) -> int | None:
        """The best bid in 1e-9; None where there is none or it may not be trusted."""
        book, _ = self.get_book(token, policy, now_ns)
        return best_bid_of(book) if book is not None else None

    def best_ask(self, token: str, policy: Policy | None, now_ns: int) -> int | None:
        """The best ask in 1e-9; None where there is none or it may not be trusted."""
        book, _ = self.get_book(token, policy, now_ns)
        return best_ask_of(book) if book is not None else None

    def mid(self, token: str, policy: Policy | None, now_ns: int) -> int | None:
        """The mid price in 1e-9; None unless both sides are known and may be trusted."""
        book, _ = self.get_book(token, policy, now_ns)
        return mid_of(book) if book is not None else None


def serve(
    read: Snapshot | Miss | None,
    policy: Policy,
    now_ns: int,
    *,
    witness: Witness,
    metrics: BookMetrics,
) -> tuple[Snapshot | None, Trust]:
    """Judge a top of book that was read, and count a hit of its age, or a miss by its cause.

    Unlike `get_book` it gives what was read whatever its trust: a short doubt keeps quotes.
    """
    book, trust = gate(read, policy, now_ns, witness)
    metrics.judged(trust, now_ns - book.recv_ns if book is not None else 0)
    return book, trust


def depth_of(sight: Sight, policy: Policy, now_ns: int, witness: Witness) -> Snapshot | None:
    """Give the depth that is of one moment with a top that `serve` gave as quotable, else None.

    Both are one book, which was counted with its top.
    """
    if not sight.is_one_moment:
        return None
    book, trust = gate(sight.depth, _patient(policy), now_ns, witness)
    return book if trust.is_quotable else None


def judge(
    sight: Sight, policy: Policy, now_ns: int, witness: Witness
) -> tuple[Snapshot | None, Trust]:
    """Judge depth and top of book together; the book is the depth.

    Depth carries no proof of its own: where it is of one moment with its top, it shares the top's.
    """
    depth, top = sight
    own_policy = _patient(policy) if sight.is_one_moment else policy
    book, trust = gate(depth, own_policy, now_ns, witness=witness)
    if top is None or book is None:
        return book, trust
    _, trust_of_top = gate(top, policy, now_ns, witness=witness)
    trust = min(trust, trust_of_top)
    if isinstance(top, Snapshot) and top.recv_ns - book.recv_ns > policy.evidence_ns_max:
        trust = min(trust, Trust.STALE)
    return book, trust


@lru_cache(maxsize=64)
def _patient(policy: Policy) -> Policy:
    """The same policy without a bound on ages: they are judged of the top."""
    return policy._replace(evidence_ns_max=_EVER_NS, quiet_ns_max=_EVER_NS)


def _is_newer(sight: Sight, now_ns: int) -> bool:
    """Whether depth or top was published after the clock was read."""
    depth, top = sight
    if not isinstance(depth, Miss) and depth.publish_ns > now_ns:
        return True
    is_newer: bool = isinstance(top, Snapshot) and top.publish_ns > now_ns
    return is_newer


def best_bid_of(book: Snapshot) -> int | None:
    """The best bid of a depth record; None where there is none."""
    px: int | None = book.bids[0] if book.bid_count else None
    return px


def best_ask_of(book: Snapshot) -> int | None:
    """The best ask of a depth record; None where there is none."""
    px: int | None = book.asks[0] if book.ask_count else None
    return px


def mid_of(book: Snapshot) -> int | None:
    """The mid of a depth record; None unless it has both sides."""
    bid, ask = best_bid_of(book), best_ask_of(book)
    return (bid + ask) // 2 if bid is not None and ask is not None else None
