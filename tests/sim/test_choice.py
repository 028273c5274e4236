"""The command line over the configuration."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from host.config import ConfigError, load
from sim.choice import Choice, choose, make_source
from sim.model_source import ModelSource


@pytest.fixture(scope="module")
def section():
    return load(environ={}).sim


def test_without_a_word_the_configuration_stands(section):
    choice = choose(section, [])
    assert (choice.port, choice.seed) == (section.port, section.seed)
    assert choice.recordings == ()
    assert choice.as_words() == {"mode": "model", "seed": section.seed}


def test_words_lie_over_it(section):
    words = ["--port", "0", "--seed", "9", "--replay", "a.gz", "b.gz", "--speed", "2.5", "--loop"]
    choice = choose(section, words)
    assert (choice.port, choice.seed, choice.speed_ratio) == (0, 9, 2.5)
    assert choice.recordings == (Path("a.gz"), Path("b.gz"))
    assert choice.is_looped
    assert choice.is_mirrored
    assert choice.as_words()["recordings"] == "a.gz b.gz"


def test_the_configuration_can_ask_for_a_replay(section):
    replay = msgspec.structs.replace(section, mode="replay", recordings=("x.gz",))
    assert choose(replay, []).recordings == (Path("x.gz"),)
    model = msgspec.structs.replace(section, mode="model", recordings=("x.gz",))
    assert choose(model, []).recordings == ()


def test_at_the_greatest_speed_nothing_is_mirrored(section):
    choice = choose(section, ["--replay", "a.gz", "--speed", "max"])
    assert choice.speed_ratio == 0
    assert not choice.is_mirrored


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "nan", "1e9"])
def test_a_speed_that_is_none_says_what_to_write(section, speed):
    with pytest.raises(ConfigError, match='write "max"'):
        choose(section, [f"--speed={speed}"])


def test_a_source_is_made_of_the_choice():
    assert isinstance(make_source(Choice(port=0, seed=1), 1_790_000_130 * 10**9), ModelSource)
