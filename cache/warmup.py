"""The warmup: trading opens once enough of the listed tokens have a book, and not before.

    WARMING   tokens are being waited for; nothing is traded
    open      the wanted fraction of them came, or the timeout passed

A token that is listed while it is WARMING has the whole timeout to come, counted from when it was
first seen listed; so has one that is still missing when trading opens. If it does not come, it
failed: it is disabled for the session, which is the life of the process that trades. What is listed
later is never disabled. A window that rolls in is a new market, whose book may come late at the
venue itself: that says nothing of our subscriptions, the gate keeps it from being traded until its
book is there, and to disable it would throw away a market that is in order seconds later.

A token came when it had a whole book once; whether it still has one is the gate's business. One
that is listed no longer is not waited for (its market is over, or its feed starts anew and will
list it again, with a timeout of its own). The invariants: it opens once and stays open; a token
that came is never disabled. Pure: what is ready, and what time it is, it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Warmup:
    """The warmup of one session."""

    def __init__(self, *, timeout_ns: int, min_ready_fraction: float) -> None:
        if type(timeout_ns) is not int or not isinstance(min_ready_fraction, int | float):
            said = (
                f"timeout_ns is {timeout_ns!r:.60}, min_ready_fraction {min_ready_fraction!r:.60}"
            )
            raise TypeError(f"{said}: write a whole number and a share")
        if timeout_ns < 0:
            raise ValueError(f"timeout_ns is {timeout_ns}: a timeout is not negative")
        if not 0.0 <= min_ready_fraction <= 1.0:
            raise ValueError(f"min_ready_fraction is {min_ready_fraction}: write 0 to 1")
        self._timeout_ns = timeout_ns
        self._fraction = min_ready_fraction
        self._due_ns: dict[int, int] = {}
        """Until when a token is waited for."""
        self._came: set[int] = set()
        self._disabled: set[int] = set()
        self._began_ns: int | None = None
        self._opened_ns: int | None = None
        self.has_expired = False
        """Whether it opened by its timeout, with too few tokens ready."""

    @property
    def is_open(self) -> bool:
        """Whether trading is open."""
        return self._opened_ns is not None

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for any more: there is no need to tell it anything."""
        return self.is_open and not self._due_ns

    @property
    def token_count(self) -> int:
        """How many tokens it is, or was, about."""
        return len(self._came) + len(self._due_ns) + len(self._disabled)

    @property
    def ready_count(self) -> int:
        """How many of them came."""
        return len(self._came)

    @property
    def disabled(self) -> frozenset[int]:
        """Tokens that failed."""
        return frozenset(self._disabled)

    @property
    def took_ns(self) -> int | None:
        """How long it took to open, from the first token listed; None while it has not."""
        if self._opened_ns is None or self._began_ns is None:
            return None
        return self._opened_ns - self._began_ns

    def is_disabled(self, tokens: Iterable[int]) -> bool:
        """Whether any of some tokens failed."""
        return not self._disabled.isdisjoint(tokens)

    def see(self, ready: Mapping[int, bool], now_ns: int) -> list[int]:
        """Take which tokens are listed, and whether each has a whole book; give those that fail."""
        if ready and self._began_ns is None:
            self._began_ns = now_ns
        for token in [token for token in self._due_ns if token not in ready]:
            del self._due_ns[token]
        failed = []
        for token, is_ready in ready.items():
            due_ns = self._due_ns.get(token)
            if due_ns is None:
                if self.is_open or token in self._came or token in self._disabled:
                    continue
                due_ns = self._due_ns[token] = now_ns + self._timeout_ns
            if is_ready:
                del self._due_ns[token]
                self._came.add(token)
            elif now_ns >= due_ns:
                del self._due_ns[token]
                self._disabled.add(token)
                failed.append(token)
        if not self.is_open and self.token_count:
            self._open(now_ns)
        return failed

    def _open(self, now_ns: int) -> None:
        """Open where that is due; the first token that failed is the timeout."""
        is_enough = self.ready_count / self.token_count >= self._fraction
        if is_enough or self._disabled:
            self._opened_ns = now_ns
            self.has_expired = not is_enough
