"""Both kinds of venue answer to the same questions."""

from __future__ import annotations

import inspect

import pytest

from sim.model_source import ModelSource
from sim.replay import ReplaySource
from sim.source import Source


@pytest.mark.parametrize("kind", [ModelSource, ReplaySource])
def test_a_source_answers_every_question_with_the_same_arguments(kind):
    questions = [name for name in vars(Source) if not name.startswith("_")]
    assert len(questions) >= 12
    for name in questions:
        wanted = list(inspect.signature(getattr(Source, name)).parameters)
        assert list(inspect.signature(getattr(kind, name)).parameters) == wanted
