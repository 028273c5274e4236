import pytest

from cache.errors import UpdateRefused
from cache.refusals import check_text, check_whole_number, shown

DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        (5, "5"),
        (None, "None"),
        ("x" * 99, "'" + "x" * 59),
        (10**5000, "a number of many digits"),
        (-(10**5000), "a number of many digits"),
        (True, "True"),
        ([10**5000], "of type list"),
        (DEEP, "of type list"),
    ],
    ids=[*"abcdefghi"],
)
def test_a_value_is_shown_whatever_it_is_and_however_long(value, text):
    assert shown(value) == text


@pytest.mark.parametrize("text", ["a", "0x" + "ab" * 3, "~", "two words"])
def test_what_a_field_can_hold_passes(text):
    check_text("id", text, 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (5, "id is int: it must be text"),
        (None, "id is NoneType: it must be text"),
        (b"a", "id is bytes: it must be text"),
        ("", "id is '': it must be 1 to 9 ASCII characters"),
        ("x" * 10, "id is 'xxxxxxxxxx': it must be 1 to 9 ASCII"),
        ("\u00e9", "id is '\u00e9': it must be 1 to 9 ASCII"),
        ("a\nb", r"id is 'a\\nb': it must be 1 to 9 ASCII"),
        ("\0", r"id is '\\x00': it must be 1 to 9 ASCII"),
    ],
)
def test_what_it_cannot_hold_is_refused_by_its_name(text, says):
    with pytest.raises(UpdateRefused, match=f"^{says}"):
        check_text("id", text, 9)


@pytest.mark.parametrize(
    ("slot", "said"),
    [(3, "3"), (-1, "-1"), (True, "True"), (1.0, "1.0"), ("0", "'0'"), (None, "None")],
)
def test_a_number_that_is_none_or_beyond_is_refused_by_its_name(slot, said):
    for there in (0, 1, 2):
        check_whole_number("slot", there, most=2)
    check_whole_number("tag", 2**63 - 1)
    with pytest.raises(UpdateRefused, match=f"^slot is {said}: it must be a whole number, 0 to 2"):
        check_whole_number("slot", slot, most=2)
