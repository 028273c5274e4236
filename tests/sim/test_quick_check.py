"""A look at the model from a shell."""

from __future__ import annotations

from sim.frames import BN_TRADE, PM_MARKET, SimFrame
from sim.quick_check import kind_of, report


def test_kinds_are_told_apart():
    assert kind_of(SimFrame(1, BN_TRADE, ("X",), b"{}")) == BN_TRADE
    spaced = SimFrame(1, PM_MARKET, (), b'{"a":"b", "event_type": "book"}')
    tight = SimFrame(1, PM_MARKET, (), b'{"event_type":"book"}')
    assert kind_of(spaced) == kind_of(tight) == f"{PM_MARKET} book"


def test_the_report_lists_every_kind_with_its_rate():
    text = report(start_s=1_790_000_150, length_s=4)
    for word in ("bn.bookTicker", "bn.trade", "pm.market price_change", "cpu", "btc-updown-5m-"):
        assert word in text
