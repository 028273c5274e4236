"""cache/md_config.py: types and ranges, all faults at once, nothing half made."""

import math
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import PenstockError
from cache.md_config import MDCacheConfig, MDConfigError

RANGES = {
    "ttl_ms": (10, 5_000),
    "max_depth": (1, 200),
    "invalidate_on_ws_gap_ms": (50, 10_000),
    "max_inflight_refresh": (1, 8),
    "price_jump_ticks": (1, 10_000),
    "stale_ms_max": (10, 600_000),
    "refresh_timeout_ms": (10, 60_000),
    "refresh_try_count_max": (1, 10),
    "retry_delay_ms": (1, 600_000),
    "retry_delay_ms_max": (1, 600_000),
    "symbols_max": (1, 65_536),
}
FLAGS = {"enabled", "stale_ok", "shadow"}
FREE = {"stale_ms_max": 600_000, "retry_delay_ms_max": 600_000}
"""So that no other key is refused for its sake."""


def faults_of(call, *args, **words):
    with pytest.raises(MDConfigError) as caught:
        call(*args, **words)
    return caught.value.faults


def test_the_defaults_are_allowed_and_the_cache_is_off():
    assert not MDCacheConfig().enabled
    assert MDCacheConfig.parse({}) == MDCacheConfig()


def test_every_key_has_a_range_or_is_yes_or_no():
    hints = get_type_hints(MDCacheConfig)
    assert {name for name, hint in hints.items() if hint is int} == set(RANGES)
    assert {name for name, hint in hints.items() if hint is bool} == FLAGS
    assert hints.keys() == {*RANGES, *FLAGS, "share"}


@pytest.mark.parametrize(("name", "limits"), RANGES.items())
def test_the_ends_of_a_range_are_in_it_and_what_lies_beyond_is_named(name, limits):
    low, high = limits
    for value in limits:
        words = {"ttl_ms": 10, "retry_delay_ms": 1} | (FREE if name not in FREE else {})
        assert getattr(MDCacheConfig(**words | {name: value}), name) == value
    for value in (low - 1, high + 1):
        (fault,) = faults_of(MDCacheConfig, **{name: value})
        assert fault == f"{name} is {value}: write a whole number at least {low} and at most {high}"


@pytest.mark.parametrize("value", [True, 100.0, math.nan, math.inf, "100", None, [100], 10**30])
def test_what_is_no_whole_number_is_refused_a_bool_too(value):
    (fault,) = faults_of(MDCacheConfig, ttl_ms=value)
    assert fault.startswith(f"ttl_ms is {value!r}: write a whole number")


def test_settings_that_are_no_section_and_numbers_without_end_are_named():
    for values in (None, "ttl_ms", [("ttl_ms", 100)], 5):
        (fault,) = faults_of(MDCacheConfig.parse, values)
        assert fault == f"the settings are {values!r}: make them a section"
    (fault,) = faults_of(MDCacheConfig, ttl_ms=10**400)
    assert fault.startswith("ttl_ms is a number of many digits: write a whole number")


def test_a_share_is_a_number_from_nothing_to_all():
    for share in (0, 0.0, 0.1, 1, 1.0):
        assert MDCacheConfig(share=share).share == share
    for share in (-0.01, 1.01, math.nan, math.inf, True, "0.5", None):
        (fault,) = faults_of(MDCacheConfig, share=share)
        assert fault == f"share is {share!r}: write a number at least 0 and at most 1"


@pytest.mark.parametrize("value", [1, 0, "true", None, 0.0])
def test_what_is_not_yes_or_no_is_refused(value):
    assert faults_of(MDCacheConfig, enabled=value) == [f"enabled is {value!r}: write true or false"]


def test_all_faults_are_said_at_once_and_nothing_is_made():
    faults = faults_of(
        MDCacheConfig.parse,
        {
            "ttl_ms": 5,
            "max_depth": 201,
            "enabled": "yes",
            "tll_ms": 100,
            "colour": 1,
            "stale_ok": True,
            "retry_delay_ms": 100,
            "retry_delay_ms_max": 50,
        },
    )
    assert faults == [
        "'tll_ms' is unknown: remove it, or write ttl_ms",
        "'colour' is unknown: remove it",
        "ttl_ms is 5: write a whole number at least 10 and at most 5000",
        "max_depth is 201: write a whole number at least 1 and at most 200",
        "enabled is 'yes': write true or false",
        "retry_delay_ms_max is 50: make it at least retry_delay_ms, 100",
    ]


def test_the_message_holds_every_fault_and_the_error_is_a_value_error_of_ours():
    with pytest.raises(ValueError, match="has 2 faults") as caught:
        MDCacheConfig(ttl_ms=1, max_depth=0)
    assert isinstance(caught.value, PenstockError)
    assert "ttl_ms is 1" in str(caught.value)
    assert "max_depth is 0" in str(caught.value)


def test_keys_that_contradict_each_other_are_faults():
    (fault,) = faults_of(MDCacheConfig, ttl_ms=5_000, stale_ms_max=4_999)
    assert fault == "stale_ms_max is 4999: make it at least ttl_ms, 5000"
    (fault,) = faults_of(MDCacheConfig, retry_delay_ms_max=49)
    assert fault == "retry_delay_ms_max is 49: make it at least retry_delay_ms, 50"


def test_a_rule_is_not_spoken_of_where_one_of_its_keys_is_faulty_itself():
    (fault,) = faults_of(MDCacheConfig.parse, {"ttl_ms": "x", "stale_ms_max": 50})
    assert fault.startswith("ttl_ms is 'x'")


def test_the_rules_name_their_keys_for_whoever_makes_a_section_of_it():
    class Section(MDCacheConfig, frozen=True):
        def __post_init__(self):
            """Leave the checking to others."""

    made = Section(ttl_ms=100, stale_ms_max=50)
    assert list(made.broken_rules()) == [
        (("stale_ms_max", "ttl_ms"), "stale_ms_max is 50: make it at least ttl_ms, 100")
    ]


def test_a_value_as_long_as_a_book_is_cut_in_the_message():
    (fault,) = faults_of(MDCacheConfig.parse, {"ttl_ms": "x" * 10_000})
    assert len(fault) < 200


def test_it_is_frozen_and_cannot_be_changed_into_what_is_not_allowed():
    config = MDCacheConfig()
    with pytest.raises(AttributeError):
        config.ttl_ms = 50
    with pytest.raises(MDConfigError):
        msgspec.structs.replace(config, ttl_ms=1)
    assert config.ttl_ms == 100


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*RANGES, *sorted(FLAGS), "share", "other"]),
        st.one_of(st.integers(-10, 70_000), st.booleans(), st.floats(), st.text(max_size=3)),
    )
)
def test_whatever_is_given_it_is_whole_or_each_bad_key_is_named(values):
    faults, made = [], None
    try:
        made = MDCacheConfig.parse(values)
    except MDConfigError as error:
        faults = error.faults
    for name, value in values.items():
        low, high = RANGES.get(name, (None, None))
        if low is None:
            is_good = name in FLAGS and type(value) is bool
            is_good |= name == "share" and type(value) in (int, float) and 0 <= value <= 1
        else:
            is_good = type(value) is int and low <= value <= high
        assert is_good or any(fault.startswith((f"{name} ", f"'{name}'")) for fault in faults)
        assert made is None or getattr(made, name) == value
    assert made is None or not faults
