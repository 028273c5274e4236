"""Randomness of the model: a draw follows from the seed and a name, never from earlier draws.

Each part of the world (an epoch of the price, a market, a missing point) has a generator of its
own, named by its labels. So any part can be made again without the parts before it, which is what
lets a killed venue come back with the same books, and what makes frames the same in any step size.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np


def digest(seed: int, *labels: str | int) -> bytes:
    """Return 32 bytes that follow from the seed and the labels alone."""
    return hashlib.blake2b(repr((seed, *labels)).encode(), digest_size=32).digest()


def array_generator(seed: int, *labels: str | int) -> np.random.Generator:
    """Return the generator of arrays of that name."""
    return np.random.Generator(
        np.random.PCG64(int.from_bytes(digest(seed, *labels)[:16], "little"))
    )


def step_generator(seed: int, *labels: str | int) -> random.Random:
    """Return the generator of single draws of that name."""
    return random.Random(digest(seed, *labels))


def fraction(seed: int, *labels: str | int) -> float:
    """Return one number in [0, 1)."""
    return int.from_bytes(digest(seed, *labels)[:7], "little") / (1 << 56)
