"""What a frame carries."""

from __future__ import annotations

from sim.frames import BN_TICKER, BN_TRADE, BOLT_TWAP, PM_MARKET, SimFrame


def test_a_frame_is_its_time_channel_key_and_bytes():
    frame = SimFrame(5, PM_MARKET, ("1", "2"), b"{}")
    assert (frame.t_ns, frame.channel, frame.key, frame.payload) == frame


def test_channels_have_names_of_their_own():
    assert len({PM_MARKET, BN_TICKER, BN_TRADE, BOLT_TWAP}) == 4
