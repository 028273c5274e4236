"""The torn-read hunt: a writer that never rests, records that convict themselves.

Readers read singly, in bulk, in histories of every length, as a stream, and in pairs. What they saw
is counted and printed; a mixture, or a version that goes back, is never seen. Then each rule of
shm_layout.md §6 is broken by one, and the same hunt has to convict it.
"""

import time

import pytest

from tests.system.memory_world import stage, twins

SECONDS = 0.6
CONVICT_SECONDS = 60.0
LINGER = {"pure": 400, "steps": 2000}
"""Turns of a loop in the middle of a copy, at most: some records of the writer's time."""


def hunt(writer_kind, reader_kind, cells, *, seconds=SECONDS, record="pair_bbo", **options):
    """Let one writer and one reader race; give what the reader saw."""
    modes = options.pop("modes", "single,bulk,stream")
    with stage() as play:
        common = {"cells": cells, "record": record, **options}
        writer = play.play("storm", twin=writer_kind, **common)
        writer.report()
        reader = play.play("hunt", twin=reader_kind, seconds=seconds, modes=modes, **common)
        reader.report()
        found = reader.report()
        published = writer.end()["published"]
    shown = {name: value for name, value in found.items() if name != "evidence"}
    print(f"\n{writer_kind}>{reader_kind} {record} K={cells} {options}: {published=} {shown}")
    return found


def is_clean(found):
    assert found["reads"] > 0
    assert (found["torn"], found["backward"]) == (0, 0), found["evidence"]


@pytest.mark.parametrize("cells", [4, 8, 64])
@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_no_reader_sees_a_mixture_or_a_version_going_back(kind, cells):
    is_clean(hunt(kind, kind, cells))


@pytest.mark.parametrize(("writer", "reader"), [("pure", "core"), ("core", "pure")])
def test_the_twins_read_each_other(writer, reader):
    if len(twins(writer, reader)) < 2:
        pytest.skip("the C core was not built")
    is_clean(hunt(writer, reader, 4, record="depth"))


@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_nor_does_one_that_lingers_in_the_middle_of_every_copy(kind):
    found = hunt(kind, kind, 4, linger=LINGER[kind])
    is_clean(found)
    assert found["retries"] > 0


@pytest.mark.parametrize("cells", [4, 64])
@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_a_stream_loses_nothing_it_does_not_count(kind, cells):
    found = hunt(kind, kind, cells, modes="stream")
    is_clean(found)
    assert found["taken"] + found["lost"] > 0


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_depth_and_top_of_an_equal_batch_are_of_one_batch(kind):
    with stage() as play:
        writer = play.play("pairs", twin=kind)
        writer.report()
        reader = play.play("combine", twin=kind, seconds=SECONDS)
        reader.report()
        found = reader.report()
        writer.end()
    print(f"\n{kind}: {found}")
    assert found["combined"] > 0
    assert found["torn"] == 0


@pytest.mark.parametrize("kind", twins("pure", "core"))
def test_no_reader_sees_one_markets_data_under_anothers_name(kind):
    with stage() as play:
        writer = play.play("reuse", twin=kind)
        writer.report()
        readers = [play.play("tenant", twin=kind, owner=owner, seconds=SECONDS) for owner in (1, 3)]
        for reader in readers:
            reader.report()
        found = [reader.report() for reader in readers]
        writer.end()
    print(f"\n{kind}: {found}")
    for facts in found:
        assert min(facts["own"], facts["other"], facts["rows"]) > 0
        assert facts["foreign"] == 0


MUTANTS = {
    "read": "single",  # accepts a copy at v2 - u = K - 1
    "history": "bulk",  # gives a history of K - 1
    "version": "single",  # stores the version before the cell
}


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("kind", twins("pure", "steps"))
def test_a_rule_that_is_off_by_one_is_convicted_by_the_hunt(kind, mutant):
    begun = time.monotonic()
    options = {"modes": MUTANTS[mutant], "mutant": mutant, "linger": LINGER[kind]}
    found = hunt(kind, kind, 4, seconds=CONVICT_SECONDS, **options)
    print(f"convicted after {time.monotonic() - begun:.2f} s")
    assert found["torn"] > 0
