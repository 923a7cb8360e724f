"""What a test serves, and what ends with it: endpoints, and the stand-in for a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tour
from tour.endpoint import Endpoint
from tour.model import OfflineModel

__all__ = ["Serve", "serve", "stand_in"]

Serve = Callable[..., Endpoint]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`tour.serve`, whose endpoints are stopped after the test."""
    served = []

    def serve_and_note(*services: Any, **options: Any) -> Endpoint:
        served.append(tour.serve(*services, **options))
        return served[-1]

    yield serve_and_note
    for endpoint in served:
        endpoint.stop()


@contextmanager
def stand_in() -> Iterator[OfflineModel]:
    """Run the stand-in for a model, for as long as it is needed."""
    model = OfflineModel()
    model.start()
    try:
        yield model
    finally:
        model.stop()
