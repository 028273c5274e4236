"""What the tests of the cache share."""

import pytest

from tests.cache.md_world import World


@pytest.fixture
def md_world():
    """Make worlds of the REST snapshot cache; all are closed in the end."""
    made = []

    def make(**config):
        made.append(World(**config))
        return made[-1]

    yield make
    for world in made:
        world.close()
