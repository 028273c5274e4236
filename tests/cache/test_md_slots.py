"""cache/md_slots.py: bounded, the least recently used first, generations never given twice."""

from cache.md_slots import Slots


def test_a_symbol_has_one_slot_and_use_moves_it_to_the_end():
    slots = Slots(3)
    first, _ = slots.use("A")
    slots.use("B")
    again, evicted = slots.use("A")
    assert (again, evicted, list(slots)) == (first, None, ["B", "A"])


def test_looking_up_is_no_use():
    slots = Slots(2)
    slots.use("A")
    slots.use("B")
    slots.find("A")
    assert slots.use("C")[1] == "A"
    assert slots.find("A") is None


def test_what_is_waited_for_stays_and_where_all_are_there_is_no_room():
    slots = Slots(2)
    for symbol in "AB":
        slots.use(symbol)[0].waiter_count = 1
    assert slots.use("C") == (None, None)
    assert list(slots) == ["A", "B"]
    slots.find("B").waiter_count = 0
    assert slots.use("C")[1] == "B"
    assert len(slots) == 2


def test_no_generation_is_given_twice_not_even_to_a_symbol_that_comes_back():
    slots, seen = Slots(1), []
    for symbol in "ABABA":
        slot, _ = slots.use(symbol)
        seen.append(slot.generation)
        slots.renew(slot)
        seen.append(slot.generation)
    assert len(set(seen)) == len(seen)


def test_renewing_throws_the_snapshot_away_and_keeps_how_the_tries_went():
    slot, _ = Slots(1).use("A")
    slot.entry, slot.failed_count, slot.hold_until_ns = object(), 3, 9
    Slots(1).renew(slot)
    assert (slot.entry, slot.failed_count, slot.hold_until_ns) == (None, 3, 9)
