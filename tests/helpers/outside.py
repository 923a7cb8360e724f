"""A service as other programs reach it: over the ingress, with nothing of the tour between."""

import sys
from functools import cache
from typing import Any

import httpx
import pytest

from tour import server

__all__ = ["attach", "get", "output_of", "post", "set_for_servers"]


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
    url = f"{server.ensure().ingress}/{path.lstrip('/')}"
    response = _client().get(url).raise_for_status()
    return response.json() if response.content else None


def output_of(invocation: str) -> Any:
    """Return what a completed invocation returned."""
    return get(f"/restate/invocation/{invocation}/output")


async def attach(invocation: str) -> httpx.Response:
    """Wait for an invocation, however long it takes, and return the answer to that."""
    return await server.wait_for("GET", f"/restate/invocation/{invocation}/attach")


def set_for_servers(patch: pytest.MonkeyPatch, **settings: str) -> None:
    """Start every server from now on with these variables as well."""
    for name, value in settings.items():
        patch.setitem(sys.modules["tour.server.process"].LEAN, name, value)
