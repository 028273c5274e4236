import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.layout import E9
from feeds.binance_order import RESET_NS, STEP_MAX, STEP_NS, STUCK_COUNT, STUCK_NS, Order


def test_ids_that_begin_anew_are_taken_again_on_a_fresh_connection_only():
    order = Order()
    assert order.accept(1000, 0)
    assert not order.accept(5, 1)
    assert not order.begins_anew(5, 1)
    assert not order.begins_anew(5, 10 * RESET_NS)
    order.allow_reset()
    assert not order.begins_anew(5, 20 * RESET_NS)
    assert not order.begins_anew(1000, 22 * RESET_NS), "a repeat of the last one is no reset"
    assert order.begins_anew(6, 22 * RESET_NS)
    assert order.last == 6
    assert not order.begins_anew(5, 30 * RESET_NS)


def test_a_newer_id_ends_the_possibility_of_a_reset():
    order = Order()
    order.accept(1000, 0)
    order.allow_reset()
    assert not order.begins_anew(5, 1)
    assert order.accept(1001, 2)
    assert not order.begins_anew(5, 10 * RESET_NS)


@pytest.mark.parametrize("waited_ns", [0, E9, 3600 * E9])
def test_the_next_id_is_bounded_by_the_time_since_the_last(waited_ns):
    order = Order()
    order.accept(1000, 5)
    bound = 1000 + STEP_MAX + waited_ns // STEP_NS
    assert not order.accept(bound + 1, 5 + waited_ns)
    assert order.last == 1000
    assert order.accept(bound, 5 + waited_ns)


def test_the_first_id_may_be_any():
    assert Order().accept(2**63 - 1, 0)


def test_what_was_recorded_is_far_within_the_bound():
    assert STEP_MAX > 100 * 421
    assert E9 // STEP_NS > 100 * 703


@pytest.mark.parametrize("is_ahead", [True, False])
def test_refused_ids_that_grow_for_a_while_need_a_reset_which_follows_them(is_ahead):
    order = Order()
    order.accept(10**6, 0)
    first = 10**12 if is_ahead else 1
    for turn in range(4):
        assert not order.needs_reset
        assert not order.accept(first + turn, 1 + turn * STUCK_NS // 3)
    assert order.needs_reset
    order.allow_reset()
    assert order.is_stuck
    assert not order.needs_reset
    assert not order.begins_anew(first + 5, E9)
    assert order.begins_anew(first + 6, E9 + RESET_NS)
    assert not order.is_stuck
    assert order.accept(first + 7, E9 + RESET_NS)


@pytest.mark.parametrize(
    ("ids", "step_ns"),
    [
        ((5,) * 9, STUCK_NS),
        ((1000,) * 9, STUCK_NS),
        (range(STUCK_COUNT - 1), 2 * STUCK_NS),
        (range(9), STUCK_NS // 9),
        ((1, 2, 1001, 3, 4, 1002, 5, 6), STUCK_NS // 2),
    ],
    ids=("one repeated", "the last one repeated", "few", "not for long", "with new ones between"),
)
def test_duplicates_and_a_few_late_ids_are_no_reason_to_doubt(ids, step_ns):
    order = Order()
    order.accept(1000, 0)
    for turn, number in enumerate(ids, 1):
        order.accept(number, turn * step_ns)
        assert not order.is_stuck


@given(st.lists(st.integers(1, 2**63 - 1), max_size=20))
def test_whatever_came_before_ids_that_go_on_are_followed_in_the_end(garbage):
    order = Order()
    for number in garbage:
        order.accept(number, 0)
    taken = 0
    for turn in range(40):
        at_ns = (turn + 1) * E9 // 10
        taken += order.accept(5000 + turn, at_ns) or order.begins_anew(5000 + turn, at_ns)
        if order.needs_reset:
            order.allow_reset()
    assert taken >= 10
    assert order.last == 5039
