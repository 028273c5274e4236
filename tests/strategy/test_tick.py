"""Decisions become records of the board."""

from __future__ import annotations

import pytest
from msgspec import Struct
from msgspec.structs import replace

from cache.gate import Trust
from cache.layout import E9, STAMP_COUNT, TARGET_QUOTES, Provenance, Reason
from strategy.pricing import Window
from strategy.quoting import TwoSided
from strategy.strategy_cache import RunAnchor, RunMode
from strategy.tick import (
    Basis,
    BookView,
    Market,
    ReferenceView,
    Signal,
    StrikeView,
    TargetQuotes,
    Threat,
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


@pytest.mark.parametrize(
    "frozen",
    [
        Market(1, "m", 1, 1, 1, 1, Window(0, 1, 0), has_basis=False),
        BOOK,
        REFERENCE,
        Basis(1.0, 2.0),
        StrikeView(1, Provenance.STREAM),
        view(BOOK, REFERENCE),
        Threat(1, Reason.NO_BOOK),
        Signal(1, 2, 3, 4, 5, 6, is_shock=False),
        TARGET,
    ],
    ids=lambda one: type(one).__name__,
)
def test_nothing_that_a_worker_is_given_can_be_changed(frozen: Struct) -> None:
    for name in frozen.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(frozen, name, None)


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
    missing = ("batch", "book_version", "reference_version", "book_age_ns", "reference_age_ns")
    undecided = ("fair_px_e9", "model_px_e9", "reference_px_e9", "strike_e9", "keep")
    assert [named[name] for name in (*missing, *undecided)] == [0] * 10
    assert named["reason"] == Reason.NO_BOOK
    packed = TARGET_QUOTES.struct.pack(*([0] * STAMP_COUNT), *values)
    assert len(packed) == TARGET_QUOTES.size
    assert E9 not in values


def test_an_age_longer_than_any_record_can_hold_is_cut() -> None:
    old = replace(BOOK, age_ns=2**63 + 5), replace(REFERENCE, age_ns=2**63)
    values = record_values(TARGET, view(*old), strategy_tag=1, publish_ns=1, cause_ns=5)
    named = dict(zip(TARGET_QUOTES.value_names, values, strict=True))
    assert named["book_age_ns"] == named["reference_age_ns"] == 2**63 - 1
    TARGET_QUOTES.struct.pack(*([0] * STAMP_COUNT), *values)
