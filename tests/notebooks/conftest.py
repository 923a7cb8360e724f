"""What the tests of the notebooks' agents share."""

from collections.abc import Iterator

import pytest

import tour


@pytest.fixture(autouse=True)
def fresh_model() -> Iterator[None]:
    """Before and after each test the stand-in has counted nothing, and nothing is to fail."""
    tour.offline.reset()
    yield
    tour.offline.reset()
