"""Randomness that follows from a name."""

from __future__ import annotations

from sim.seeding import array_generator, digest, fraction, step_generator


def test_the_same_name_gives_the_same_draws_and_another_gives_others():
    first = array_generator(1, "epoch", 7).random(5).tolist()
    assert first == array_generator(1, "epoch", 7).random(5).tolist()
    assert first != array_generator(1, "epoch", 8).random(5).tolist()
    assert first != array_generator(2, "epoch", 7).random(5).tolist()
    assert step_generator(1, "a").random() == step_generator(1, "a").random()
    assert step_generator(1, "a").random() != step_generator(1, "b").random()


def test_labels_are_not_run_together():
    assert digest(1, "a", "bc") != digest(1, "ab", "c")
    assert digest(1, 23) != digest(12, 3)


def test_fractions_are_spread_over_the_unit():
    drawn = [fraction(1, "x", number) for number in range(2000)]
    assert all(0.0 <= value < 1.0 for value in drawn)
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.03
