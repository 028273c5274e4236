"""Decisions become records of the board."""

from __future__ import annotations

from cache.gate import Trust
from cache.layout import E9, STAMP_COUNT, TARGET_QUOTES, Reason
from strategy.quoting import TwoSided
from strategy.strategy_cache import RunAnchor, RunMode
from strategy.tick import (
    BookView,
    ReferenceView,
    TargetQuotes,
    View,
    record_values,
)

ANCHOR = RunAnchor(now_ns=1_000, wall_ns=2_000, run_id="1", strategy_id="maker", mode=RunMode.PAPER)
BOOK = BookView(Trust.LIVE, 1, 2, 3, batch=11, version=12, age_ns=13, recv_ns=14, publish_ns=15,
                last_trusted_ns=16, micro_px_e9=0)  # fmt: skip
REFERENCE = ReferenceView(Trust.LIVE, 21, version=22, age_ns=23, recv_ns=24, publish_ns=25,
                          sigma_e9=26, sample_count=27, shock_z_e9=28)  # fmt: skip
TARGET = TargetQuotes(
    Reason.QUOTING, TwoSided(31, 32, 33, 34), 35, keep=True,
    fair_px_e9=36, model_px_e9=37, reference_px_e9=38, strike_e9=39,
)  # fmt: skip


def view(book: BookView | None, reference: ReferenceView | None) -> View:
    return View(7, ANCHOR, None, book, reference, None, None, None, TwoSided(), 0, Reason.QUOTING)


def test_every_field_of_the_record_gets_its_value() -> None:
    values = record_values(
        TARGET, view(BOOK, REFERENCE), strategy_tag=41, publish_ns=42, cause_ns=5
    )
    names = TARGET_QUOTES.value_names
    assert len(values) == len(names)
    assert dict(zip(names, values, strict=True)) == {
        "batch": 11, "venue_seq": 0, "recv_ns": 1_000, "publish_ns": 42, "venue_ts_ns": 2_000,
        "flags": 0, "proof": 0, "strategy_tag": 41, "valid_until_ns": 35,
        "bid_px_e9": 31, "bid_qty_e9": 32, "ask_px_e9": 33, "ask_qty_e9": 34,
        "fair_px_e9": 36, "model_px_e9": 37, "reference_px_e9": 38, "strike_e9": 39,
        "book_version": 12, "reference_version": 22, "book_age_ns": 13, "reference_age_ns": 23,
        "reason": Reason.QUOTING, "keep": 1, "cause_ns": 5,
    }  # fmt: skip


def test_what_was_missing_has_version_zero_and_fits_the_record() -> None:
    target = TargetQuotes(Reason.NO_BOOK, TwoSided(), 0)
    values = record_values(target, view(None, None), strategy_tag=1, publish_ns=1, cause_ns=5)
    named = dict(zip(TARGET_QUOTES.value_names, values, strict=True))
    assert named["book_version"] == named["reference_version"] == 0
    assert named["reason"] == Reason.NO_BOOK
    packed = TARGET_QUOTES.struct.pack(*([0] * STAMP_COUNT), *values)
    assert len(packed) == TARGET_QUOTES.size
    assert E9 not in values
