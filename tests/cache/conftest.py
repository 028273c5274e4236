"""A namespace of its own for each test, swept afterwards whatever the test left."""

import os
import time

import pytest

from cache import segment


@pytest.fixture
def namespace():
    name = f"penstock-test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for role in segment.roles(name):
        path = segment.segment_path(name, role)
        for file in (path, f"{path}.lock"):
            if os.path.exists(file):
                os.unlink(file)
