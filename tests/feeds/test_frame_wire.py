import pytest

from cache.counters import Counter
from feeds.frame_wire import TEXT_MAX, Fault, load_object, mistyped


def test_a_frame_is_one_object():
    assert load_object(b'{"a":[1]}') == {"a": [1]}
    assert load_object(bytearray(b"{}")) == {}


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (b"", Counter.feeds_frames_malformed),
        (b'{"a":', Counter.feeds_frames_malformed),
        (b"NaN", Counter.feeds_frames_malformed),
        (b"[" * 50_000, Counter.feeds_frames_malformed),
        (b'{"a":"\xff"}', Counter.feeds_frames_binary),
        (b"\x00\xff", Counter.feeds_frames_binary),
        (b"[]", Counter.feeds_frames_mistyped),
        (b"null", Counter.feeds_frames_mistyped),
        (b'"text"', Counter.feeds_frames_mistyped),
    ],
)
def test_whatever_else_it_is_has_the_counter_of_its_cause(frame, cause):
    with pytest.raises(Fault) as fault:
        load_object(frame)
    assert fault.value.rejected.cause == cause


def test_a_fault_keeps_no_more_than_the_begin_of_a_text():
    assert len(mistyped("x" * 10_000).rejected.text) == TEXT_MAX
