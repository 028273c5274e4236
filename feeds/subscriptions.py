"""Which slots a Polymarket feed gives to which market, across markets and restarts. Pure.

A market takes one pair slot; its tokens have the two instrument slots 2n and 2n + 1 behind it. The
invariant: a slot that changes hands changes its generation, so that no reader can take one market's
book for another's; a market that a restarted feed finds in its own old slot keeps both.

What is subscribed on the wire follows from the slots that are taken; who wants a market, and for
how long, is the resolver's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from cache.board import Snapshot
from cache.layout import INSTRUMENT, SettlementType, next_generation, tag_of, word_of
from feeds.gamma_wire import MarketInfo
from feeds.pair import SNAPSHOT, Pair
from feeds.text_numbers import is_tick

ASK_NS = 5_000_000_000
"""A whole book that was asked for is waited for this long at first, then ever longer ..."""

ASK_DOUBLED_MAX = 2
"""... up to so many times twice as long."""

SUSPECT_ASK_NS = 500_000_000
"""Least time before the first question where state is known to be in doubt; then `ASK_NS` each."""

SLUG_BYTES, OUTCOME_BYTES = 72, 16

STAMPS_COUNT = 7
"""Values of a record that come before what it is about: times, flags and the like."""

GIVE_UP_NS = 60_000_000_000
"""Least time between two connections made anew because whole books do not come."""


@dataclass(slots=True)
class _Slot:
    tag: int = 0
    """Whose the slot is or was last; 0 nobody's ever."""
    generation: int = 0
    is_taken: bool = False
    released_at: int = 0
    """Number of the release, so that the longest free is given away first; 0 not in this run."""


class Slots:
    """The pair slots of one segment."""

    def __init__(self, count: int) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._owned: dict[int, int] = {}
        """By tag, the slot that was its last."""
        self._free = [(False, 0, number) for number in range(count)]
        """A heap: never used first, then the longest free. It may name slots that are not free."""
        self._release_count = 0

    def recall(self, slot: int, tag: int, generation: int) -> None:
        """Say what a predecessor left in a slot."""
        self._slots[slot].tag = tag
        self._slots[slot].generation = generation
        self._owned[tag] = slot
        heappush(self._free, self._rank(slot))

    def take(self, tag: int) -> tuple[int, int] | None:
        """Give a market its slot and generation; None when all are taken.

        Its own old slot if nobody had it since, else one never used, else the longest free.
        """
        number = self._owned.get(tag)
        if number is None or self._slots[number].is_taken:
            number = self._next_free()
        if number is None:
            return None
        slot = self._slots[number]
        if slot.tag not in (0, tag):
            slot.generation = next_generation(slot.generation)
            if self._owned.get(slot.tag) == number:
                del self._owned[slot.tag]
        self._owned[tag] = number
        slot.tag = tag
        slot.is_taken = True
        return number, slot.generation

    def _rank(self, number: int) -> tuple[bool, int, int]:
        slot = self._slots[number]
        return slot.tag != 0, slot.released_at, number

    def _next_free(self) -> int | None:
        while self._free:
            rank = heappop(self._free)
            number = rank[-1]
            # Else it was taken, or used, since it was put there; it stands there anew.
            if not self._slots[number].is_taken and rank == self._rank(number):
                return number
        return None

    def release(self, number: int) -> None:
        """Take a slot back; it keeps its tag until it is given away."""
        self._release_count += 1
        self._slots[number].is_taken = False
        self._slots[number].released_at = self._release_count
        heappush(self._free, self._rank(number))

    def taken(self) -> Iterator[int]:
        """Yield the numbers of the slots that are taken."""
        return (number for number, slot in enumerate(self._slots) if slot.is_taken)


class BookRequests:
    """When a market's whole book is to be asked for again, and when that is hopeless.

    Asked for where state may be lost, where a token has no book, and after `quiet_ns` without any
    change or proof: so a silent market that nobody witnesses is proven by whole books alone, one
    every `quiet_ns`. What has no answer is asked for ever more rarely. A book that came and was not
    followed by a change or a witness may be all that a dead subscription gives: it counts as none.
    """

    def __init__(self, quiet_ns: int) -> None:
        self._quiet_ns = quiet_ns
        self._asked: dict[int, tuple[int, int]] = {}  # tag: when last, how often in vain
        self._given_up_ns = 0

    def asked(self, pair: Pair, now_ns: int) -> None:
        """Note that a market's books were asked for by a new subscription."""
        self._asked[pair.tag] = (now_ns, 0)

    def forget(self, pair: Pair) -> None:
        """Note that a market is gone."""
        self._asked.pop(pair.tag, None)

    def due(
        self, pairs: Iterable[Pair], *, now_ns: int, wall_ns: int, flow_ns: int = 0
    ) -> tuple[list[Pair], bool]:
        """Return the markets to ask for now, and whether only a new connection can help.

        Each is asked for with growing delay. The connection is to be made anew where a market that
        was asked for has no answer, or is in doubt again, and no change of any market flowed since
        (`flow_ns`: when the last one came). A token that is shown as the mirror of the other, and a
        market that is not open, are no reason for that.
        """
        wanted, is_hopeless = [], False
        for pair in pairs:
            asked_ns, count = self._asked.get(pair.tag, (0, 0))
            market = pair.market
            if market.window_end_ns and wall_ns > market.window_end_ns:
                continue
            is_broken = pair.is_suspect or not pair.is_ready or self._is_silent(pair, now_ns)
            if not is_broken and pair.is_whole:
                self._asked[pair.tag] = (asked_ns, count if pair.proof == SNAPSHOT else 0)
                continue
            delay_ns = _delay_ns(count, is_suspect=pair.is_suspect)
            if pair.recv_ns > asked_ns:  # A subscription that lives: its book will come.
                delay_ns = min(delay_ns, ASK_NS, self._quiet_ns)
            if now_ns - asked_ns < delay_ns:
                continue
            is_in_vain = count > 0 and (pair.is_suspect or pair.recv_ns < asked_ns)
            if is_broken and is_in_vain and wall_ns >= market.window_start_ns:
                is_hopeless = is_hopeless or flow_ns < asked_ns
            self._asked[pair.tag] = (now_ns, count + 1)
            wanted.append(pair)
        is_hopeless = is_hopeless and now_ns - self._given_up_ns > GIVE_UP_NS
        if is_hopeless:
            self._given_up_ns = now_ns
        return wanted, is_hopeless

    def _is_silent(self, pair: Pair, now_ns: int) -> bool:
        return now_ns - max(pair.recv_ns, pair.proven_ns) > self._quiet_ns


def _delay_ns(count: int, *, is_suspect: bool) -> int:
    """Give the least time since the last question, after so many in vain.

    A market in doubt was there before, and is to come back soon: its questions get no rarer.
    """
    if is_suspect:
        return ASK_NS if count else SUSPECT_ASK_NS
    return ASK_NS << min(max(count - 1, 0), ASK_DOUBLED_MAX)


def instrument_values(
    market: MarketInfo, index: int, pair_slot: int, *, is_listed: bool = True
) -> tuple[int | bytes, ...]:
    """Write the directory's record of one token, without stamps and times of publishing.

    A released market is a record without an id: readers drop it from their directory.
    """
    other = market.token_ids[1 - index]
    return (
        market.token_ids[index].encode() if is_listed else b"",
        market.condition_id.encode(),
        _cut(market.slug, SLUG_BYTES),
        _cut(market.outcomes[index], OUTCOME_BYTES),
        tag_of("polymarket", other) if other else 0,
        tag_of("polymarket", market.condition_id),
        tag_of("binance", market.reference_symbol) if market.reference_symbol else 0,
        tag_of("polymarket", market.neg_risk_id) if market.neg_risk_id else 0,
        market.tick_e9,
        market.lot_e9,
        market.min_qty_e9,
        market.fee_rate_e9,
        market.fee_exponent,
        market.rebate_rate_e9,
        market.taker_delay_ns,
        market.reward_min_qty_e9,
        market.reward_spread_e9,
        market.window_start_ns,
        market.window_end_ns,
        market.twap_ns,
        index,
        pair_slot,
        int(market.settlement_type),
        market.protocol_version,
    )


def recall_window(yes: Snapshot, no: Snapshot) -> MarketInfo | None:
    """Read a listing back: the inverse of `instrument_values` for a window of an up/down family.

    None where the records do not say all of it: no other market is listed without being asked for.
    """
    asset, is_window, _ = yes.slug.partition("-updown-")
    if not (is_window and yes.id and no.id) or _may_be_cut(yes) or _may_be_cut(no):
        return None
    settlement_type = word_of(SettlementType, yes.settlement_type)
    if settlement_type is None or not is_tick(yes.tick_e9):
        return None
    market = MarketInfo(
        condition_id=yes.market_id,
        slug=yes.slug,
        token_ids=(yes.id, no.id),
        outcomes=(yes.outcome, no.outcome),
        tick_e9=yes.tick_e9,
        min_qty_e9=yes.min_qty_e9,
        neg_risk=False,
        lot_e9=yes.lot_e9,
        fee_rate_e9=yes.fee_rate_e9,
        fee_exponent=yes.fee_exponent,
        rebate_rate_e9=yes.rebate_rate_e9,
        taker_delay_ns=yes.taker_delay_ns,
        reward_min_qty_e9=yes.reward_min_qty_e9,
        reward_spread_e9=yes.reward_spread_e9,
        asset=asset,
        window_start_ns=yes.window_start_ns,
        window_end_ns=yes.window_end_ns,
        twap_ns=yes.twap_ns,
        settlement_type=settlement_type,
        protocol_version=yes.protocol_version,
    )
    for index, held in enumerate((yes, no)):
        if instrument_values(market, index, yes.pair_slot) != _values(held):
            return None
    return market


def _may_be_cut(listing: Snapshot) -> bool:
    """Whether a text fills its field, and may have been longer."""
    slug, outcome = listing.slug.encode(), listing.outcome.encode()
    return len(slug) >= SLUG_BYTES - 3 or len(outcome) >= OUTCOME_BYTES - 3


def _values(listing: Snapshot) -> tuple[int | bytes, ...]:
    """What `instrument_values` gave for this record."""
    values = (getattr(listing, name) for name in INSTRUMENT.value_names[STAMPS_COUNT:])
    return tuple(value.encode() if isinstance(value, str) else value for value in values)


def _cut(text: str, size: int) -> bytes:
    """Encode a text into at most `size` bytes, whole characters only."""
    return text.encode()[:size].decode(errors="ignore").encode()
