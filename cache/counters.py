"""Counters and histograms: single-writer u64 words in a segment, described in one table.

A counter is one word, incremented by one store, so exporters and tools read memory and never ask
a process. A histogram is log-linear: 16 buckets an octave, each value off by at most 1/16.
Ids are positions in the segment and only ever appended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING

from cache import layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


COUNT_MAX = 2**64 - 1


class Counter(IntEnum):
    """Subject-action-unit; the sentence says what one more means."""

    text: str

    def __new__(cls, number: int, text: str) -> Counter:
        made = int.__new__(cls, number)
        made._value_ = number
        made.text = text
        return made

    cache_read_retried = 0, "A read was repeated because the writer overtook it."
    cache_read_busy = 1, "A read gave up after its last retry."
    cache_stream_overrun = 2, "A stream reader was lapped or met a new incarnation."
    cache_stream_lost = 3, "A record a stream reader never saw."
    cache_segment_reattached = 4, "A segment was replaced and attached again."
    cache_record_unreadable = 5, "A record held what cannot be; it was left out."
    cache_updates_refused = 6, "A cache was given what cannot be published: nothing changed."
    feeds_frames_received = 10, "A frame came from a socket."
    feeds_bytes_received = 11, "A byte came from a socket."
    feeds_frames_rejected = 12, "A frame was thrown away; the causes follow."
    feeds_frames_malformed = 13, "Not JSON, or cut off."
    feeds_frames_mistyped = 14, "JSON of an unexpected shape, or a field of a wrong type."
    feeds_frames_out_of_range = 15, "A number that cannot be a price, size or time."
    feeds_frames_binary = 16, "A binary frame, or text that is not UTF-8."
    feeds_frames_oversize = 17, "A frame over the limit: the connection was made anew."
    feeds_events_unknown = 18, "An event type nobody taught us; ignored."
    feeds_events_unlisted = 19, "An event for a token that is not ours; ignored."
    feeds_books_applied = 20, "A whole book replaced one."
    feeds_changes_applied = 21, "A level was changed."
    feeds_bbo_published = 22, "A top of book was published."
    feeds_batches_held = 23, "A batch disagreed with its own best prices at first and was held."
    feeds_batches_suspect = 24, "A held batch never agreed: published as SUSPECT."
    feeds_hash_matched = 25, "A book's hash was recomputed and is the venue's."
    feeds_hash_mismatched = 26, "A book's hash was recomputed and is not the venue's."
    feeds_updates_outdated = 27, "An update older than the one held; ignored."
    feeds_trades_published = 28, "A print was published."
    feeds_session_connected = 29, "A connection was made."
    feeds_session_disconnected = 30, "A connection ended."
    feeds_session_refused = 31, "A connection could not be made."
    feeds_session_silent = 32, "The watchdog ended a connection that had gone silent."
    feeds_loop_stalled = 33, "The event loop stood still too long: slots were RESYNC."
    feeds_markets_listed = 34, "A market was given slots."
    feeds_markets_released = 35, "A market's slots were given back."
    feeds_markets_refused = 36, "A market found no free slot."
    feeds_lookup_failed = 37, "A look-up of a market failed; it is tried again."
    feeds_twap_received = 38, "A point of the settlement price came."
    feeds_twap_lost = 39, "A point of the settlement price was missed."
    feeds_session_bridged = 40, "A connection was replaced by an overlapping one."
    feeds_lookup_empty = 41, "A market was looked up that does not exist yet; it is tried again."
    feeds_updates_conflated = 42, "An update was replaced by a newer one of the same burst."
    feeds_sequence_reset = 43, "The venue's update ids began anew: lower ones are taken again."
    feeds_stream_silent = 44, "A stream said nothing for too long: its slots were SUSPECT."
    feeds_samples_missed = 45, "A whole second passed without a mid that could be sampled."
    feeds_requests_refused = 46, "The venue refused a control message of ours."
    feeds_strikes_revised = 47, "An official strike differed from the one of the stream."
    feeds_books_outrun = 48, "A token's book fell behind its sibling's: shown as its mirror."
    feeds_books_requested = 49, "A whole book was asked for again: state may have been lost."
    feeds_samples_filled = 50, "A second that was not sampled took the close of its candle."
    feeds_requests_failed = 51, "A REST request failed, or its answer was of no use."
    feeds_ids_refused = 52, "An id lay too far above the last one: its event was left out."
    feeds_tops_doubted = 53, "A top lay too far from the last trusted one: SUSPECT until confirmed."
    feeds_tops_contradicted = 54, "Trades went on printing beyond the top: SUSPECT until the next."
    feeds_twap_refused = 55, "A point of the settlement price was refused: its time or price."
    feeds_polls_taken = 56, "A polled service told something new, and it was published."
    feeds_polls_unchanged = 57, "A polled service told the same again: no proof that it is alive."
    feeds_polls_refused = 58, "A polled service's answer was thrown away: the log says why."
    feeds_polls_failed = 59, "A polled service did not answer, or too late."
    strategy_ticks_run = 60, "The strategy ran once."
    strategy_quotes_published = 61, "Target quotes were published."
    strategy_quotes_withheld = 62, "A tick ended without a quote; the reason is on the board."
    strategy_markets_refused = 63, "A market found no free slot for its quotes."
    strategy_ticks_late = (
        64,
        "A run began more than its interval late; the missed ones are not made up.",
    )
    strategy_tokens_disabled = (
        65,
        "A token never came within the warmup: left out for the session.",
    )
    strategy_warmups_expired = 66, "The warmup ended by its timeout: too few tokens had come."
    executor_orders_placed = 80, "An order was sent."
    executor_orders_cancelled = 81, "A cancel was sent."
    executor_orders_rejected = 82, "The venue refused an order."
    executor_orders_denied = 83, "Our own risk gate refused an order."
    executor_orders_unknown = 84, "The outcome of an order is not known."
    executor_fills_received = 85, "An order was filled, wholly or in part."
    executor_strategy_refused = 86, "A second strategy wanted a market that has an owner."
    executor_cancels_forced = 87, "Orders were cancelled because an input was not to be trusted."
    executor_places_withheld = 88, "A wanted size was not placed yet: it waits or meets the book."
    executor_cancels_unbudgeted = 89, "A cancel was sent although the rate budget had no room."
    executor_reports_unmatched = 90, "The venue reported what fits no order of ours."
    executor_markets_settled = 91, "A market was paid out."
    executor_markets_refused = 92, "A market found no free slot for its position."
    executor_quotes_unlisted = 93, "Quotes came for a market that the feed does not list."
    executor_evidence_late = 94, "A book or print came after the paper venue had passed its time."
    executor_orders_adopted = 95, "A restart found an order of its predecessor and ended it."
    host_heartbeats_late = 120, "A heartbeat came later than the stale limit."
    host_suspends_seen = 121, "The host slept."
    host_bells_rung = 122, "The bell was raised after a burst."
    host_polls_idle = 123, "A turn of the loop found nothing to do."
    sim_frames_sent = 140, "The simulated venue sent a frame."
    sim_clients_dropped = 141, "The simulated venue dropped a client that did not read."
    sim_clients_connected = 142, "A client connected to the simulated venue."
    sim_clients_refused = 143, "A client was refused, broke a rule, or left in its handshake."
    sim_frames_withheld = 144, "An injected fault kept a frame of the simulated venue back."
    sim_stalls_seen = 145, "The simulated venue had stood still and ended all connections."
    sim_clock_behind_ns = 146, "Not a count: how far the replayed venue's clock is behind ours."
    supervisor_processes_started = 160, "A process was started."
    supervisor_processes_restarted = 161, "A process was started again after an exit."
    supervisor_processes_hung = 162, "A process without heartbeat was killed."
    supervisor_processes_failed = 163, "A process crashed too often and is left alone."
    cache_md_hits = 180, "A REST snapshot was served at once."
    cache_md_hits_stale = 181, "It was past its time, and was being refreshed."
    cache_md_misses = 182, "No REST snapshot could be served at once."
    cache_md_refreshes_failed = 183, "A try to fetch a REST snapshot failed."
    cache_md_refreshes_outdated = 184, "A REST snapshot was outdated before it came: thrown away."
    cache_md_evicted = 185, "A symbol's REST snapshot made room for another's."
    cache_md_invalidated = 186, "A symbol's REST snapshot was thrown away on purpose."
    cache_md_refused = 187, "A read was too deep, or more symbols were waited for than fit."
    cache_md_hit_permille = 188, "Not a count: hits of a thousand reads of REST snapshots."
    cache_md_shadows_compared = 189, "In shadow, a kept REST snapshot was compared to the venue's."
    cache_md_shadows_differed = 190, "It was another than the venue's."
    cache_md_rolled_back = 191, "Not a count: 1 where a gate tripped: the cache was given up."
    cache_book_hits = 200, "A book was asked for and served."
    cache_book_misses_not_subscribed = 201, "No book: nobody lists the token."
    cache_book_misses_not_ready = 202, "No book: warming up, resynchronising, in doubt, or no feed."
    cache_book_misses_stale = 203, "No book: its evidence was older than the policy allows."
    cache_book_misses_never_seen = 204, "No book: none has come yet."
    cache_book_misses_crossed = 205, "No book: it was crossed."
    cache_book_snapshots_applied = 206, "A snapshot replaced a book of the store."
    cache_book_snapshots_rejected = 207, "A snapshot was outdated, too old, crossed or no book."
    cache_book_deltas_applied = 208, "A delta was applied to a book of the store."
    cache_book_gaps_seen = 209, "Updates were missing, by sequence or hash: the book was in doubt."
    cache_book_resets_crossed = 210, "A book would have crossed: it was reset, or in doubt."
    cache_book_age_us = 211, "Not a count: microseconds, ages of all books served, summed."
    cache_book_age_10ms = 212, "A book served was 0 to 10 ms old."
    cache_book_age_50ms = 213, "A book served was 10 to 50 ms old."
    cache_book_age_100ms = 214, "A book served was 50 to 100 ms old."
    cache_book_age_250ms = 215, "A book served was 100 to 250 ms old."
    cache_book_age_500ms = 216, "A book served was 250 to 500 ms old."
    cache_book_age_1000ms = 217, "A book served was 500 to 1000 ms old."
    cache_book_age_5000ms = 218, "A book served was 1 to 5 s old."
    cache_book_age_more = 219, "A book served was older than 5 s: quiet, and proven."
    feeds_witness_asked = 220, "REST was asked for books: one question for many of them."
    feeds_witness_matched = 221, "A silent market's book is the one that REST shows: proven."
    feeds_witness_mismatched = 222, "REST showed another book than a silent market's."
    feeds_witness_unclear = 223, "REST showed another book, but an older one, or a ghost."
    feeds_witness_failed = 224, "A silent market found no witness: no answer, or no book in it."
    feeds_books_frozen = 225, "A book stood still while REST moved on: SUSPECT, asked for again."
    feeds_session_delayed = 226, "A dial waited for its turn: the host had had its quota."
    feeds_books_crossed = 230, "A whole book was crossed in itself: thrown away, asked for again."


class Histogram(IntEnum):
    """Latency distributions in nanoseconds."""

    text: str

    def __new__(cls, number: int, text: str) -> Histogram:
        made = int.__new__(cls, number)
        made._value_ = number
        made.text = text
        return made

    wire_to_slot_ns = 0, "Bytes received to record published."
    slot_to_quote_ns = 1, "Input that caused other target quotes published to those published."
    quote_to_order_ns = 2, "Target quotes published to order decided."
    wire_to_order_ns = 3, "Bytes of the input that caused the quotes received to order decided."
    loop_turn_ns = 4, "One turn of the main loop that found work."
    venue_to_wire_ns = 5, "Event time of the venue to bytes received, clocks as they are."
    cache_md_refresh_ns = 6, "A REST snapshot asked for to the answer."
    cache_md_read_ns = 7, "A REST snapshot read through the cache to the answer."
    cache_md_direct_ns = 8, "A REST snapshot asked for past the cache to the answer."
    cache_md_age_ns = 9, "Age of a REST snapshot when the cache gave it."


assert max(Counter) < layout.COUNTER_COUNT
assert max(Histogram) < layout.HISTOGRAM_COUNT


def bucket_of(value_ns: int) -> int:
    """The bucket a value falls into; negative values count as 0."""
    if value_ns < 32:
        return value_ns if value_ns > 0 else 0
    shift = value_ns.bit_length() - 5
    bucket = (shift << 4) + (value_ns >> shift)
    return bucket if bucket < layout.BUCKET_COUNT else layout.BUCKET_COUNT - 1


def bucket_floor(bucket: int) -> int:
    """The smallest value of a bucket: the inverse of `bucket_of`."""
    if bucket < 32:
        return bucket
    shift = (bucket >> 4) - 1
    return ((bucket & 15) + 16) << shift


def percentiles_of(counts: Iterable[int], *points: float) -> tuple[int, ...] | None:
    """Values below which `points` (0 to 1) of what the buckets count lie; None of nothing."""
    totals = list(accumulate(counts))
    if not totals[-1]:
        return None
    return tuple(bucket_floor(bisect_left(totals, max(1, point * totals[-1]))) for point in points)


class CounterWriter:
    """The one writer of a segment's counters; belongs to one thread."""

    def __init__(self, words: memoryview) -> None:
        self.reader = CounterReader(words)
        self._counters = words[layout.COUNTERS_OFFSET // 8 :]
        self._histograms = words[layout.HISTOGRAMS_OFFSET // 8 :]

    def __getitem__(self, counter: Counter) -> int:
        value: int = self._counters[counter]
        return value

    def add(self, counter: Counter, count: int = 1) -> None:
        """Count so many more; a counter that is full stays full, for some counts are a venue's."""
        try:
            self._counters[counter] += count
        except ValueError:
            if count < 0:
                raise
            self._counters[counter] = COUNT_MAX

    def set(self, counter: Counter, value: int) -> None:
        self._counters[counter] = value

    def record(self, histogram: Histogram, value_ns: int) -> None:
        self._histograms[histogram * layout.BUCKET_COUNT + bucket_of(value_ns)] += 1


class CounterReader:
    """Counters and histograms of any segment, its writer dead or alive."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def __getitem__(self, counter: Counter) -> int:
        value: int = self._words[layout.COUNTERS_OFFSET // 8 + counter]
        return value

    def all(self) -> dict[str, int]:
        """Every counter that is not zero, by name."""
        return {counter.name: self[counter] for counter in Counter if self[counter]}

    def buckets(self, histogram: Histogram) -> NDArray[np.uint64]:
        """A copy of the buckets."""
        import numpy as np

        return np.array(self._values(histogram), dtype=np.uint64)

    def total(self, histogram: Histogram) -> int:
        """How many values were recorded."""
        return sum(self._values(histogram))

    def percentiles(self, histogram: Histogram, *points: float) -> tuple[int, ...] | None:
        """Values in ns below which `points` (0 to 1) of all lie; None when nothing was recorded."""
        return percentiles_of(self._values(histogram), *points)

    def counts(self, histogram: Histogram) -> list[int]:
        """How many values fell into each bucket, without numpy."""
        return self._values(histogram).tolist()

    def _values(self, histogram: Histogram) -> memoryview:
        at = layout.HISTOGRAMS_OFFSET // 8 + histogram * layout.BUCKET_COUNT
        return self._words[at : at + layout.BUCKET_COUNT]
