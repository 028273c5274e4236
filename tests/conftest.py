"""What every test may ask for."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.shm import own_namespace, sweep_dead

# No test asserts a speed, and a busy machine draws slowly. `make test` draws the same examples each
# time, so that it fails for what was changed and not for what was drawn; `make stress` explores.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("penstock", _patient, derandomize=True)
settings.register_profile("explore", _patient, max_examples=2_000, print_blob=True)
settings.load_profile("penstock")


def pytest_sessionstart() -> None:
    """A run that was killed could not clean up after itself."""
    sweep_dead()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of the test's own, swept afterwards whatever the test left."""
    with own_namespace() as name:
        yield name
