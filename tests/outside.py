"""A service as other programs reach it: over the ingress, with nothing of the tour between."""

from functools import cache
from typing import Any

import httpx

from tour import server

__all__ = ["get", "post"]


@cache
def _client() -> httpx.Client:
    """Make one for all: making one takes longer than a turn of a chat."""
    return httpx.Client(timeout=20)


def post(path: str, json: Any = None, **options: Any) -> httpx.Response:
    """Send a request, with a body or without; `options` are those of `httpx.post`."""
    url = f"{server.ensure().ingress}/{path.lstrip('/')}"
    return _client().post(url, json=json, **options)


def get(path: str) -> Any:
    """Return the answer to a request, once there is one."""
    return _client().get(f"{server.ensure().ingress}/{path}").raise_for_status().json()
