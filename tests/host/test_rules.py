from host.rules import Fault, too_small, twice, windows_held


def test_what_is_too_small_names_the_keys_it_follows_from():
    assert list(too_small("slots", 3, 3, "count")) == []
    (fault,) = too_small("slots", 2, 3, "count")
    assert fault == Fault(("slots", "count"), "slots is 2: make it at least 3, count")
    (fault,) = too_small("slots", 2, 3, "count", why="so that all fit")
    assert fault.text == "slots is 2: make it at least 3, so that all fit"


def test_what_stands_twice_in_a_list_is_named():
    assert list(twice("names", ("a", "b"))) == []
    (fault,) = twice("names", ("a", "b", "a", "c", "c"))
    assert fault == Fault(("names",), "names names a, c twice: take one out")


def test_the_windows_held_at_once_are_counted_as_the_resolver_holds_them():
    """By the second: listed from `lead` before the one before ends, held `linger` after the end."""
    for length, family in ((60, "x-updown-1m"), (300, "x-updown-5m"), (3600, "x-updown-1h")):
        for lead in (0, 30, 60, 299, 300, 3600):
            for linger in (0, 1, 59, 60, 61, 90, 300, 3600):
                start = 10 * 3600
                most = 0
                for now in range(start, start + length):
                    lingering = sum(now < end + linger for end in range(start, 0, -length))
                    has_next = now >= start + length - lead
                    most = max(most, 1 + lingering + has_next)
                assert windows_held(family, lead, linger) == most, (family, lead, linger)
