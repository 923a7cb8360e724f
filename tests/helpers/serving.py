"""Endpoints that a test serves, and that end with it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tour
from tour.endpoint import Endpoint

__all__ = ["Serve", "serve"]

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
