"""What every test may ask for."""

from collections.abc import Iterator

import pytest

from tests.shm import own_namespace, sweep_dead


def pytest_sessionstart() -> None:
    """A run that was killed could not clean up after itself."""
    sweep_dead()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of the test's own, swept afterwards whatever the test left."""
    with own_namespace() as name:
        yield name
