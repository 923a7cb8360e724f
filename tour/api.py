"""Restate's HTTP APIs, over one kept client: the ingress, the admin API and its SQL.

A new connection a call costs several times an agent's run (measured), and a client belongs to one
event loop: so it lives on a loop of its own, in a thread that ends with the process.
"""

import asyncio
from concurrent.futures import Future
from functools import cache
from typing import Any

import httpx

from tour import server
from tour.asgi import LoopThread
from tour.errors import TourError

__all__ = ["Row", "admin", "ingress", "message_of", "output_of", "query", "query_async"]

Row = dict[str, Any]

LOST_ITSELF = "was shut down or removed"
TRIES, PAUSE = 20, 0.05


@cache
def _thread() -> LoopThread:
    return LoopThread("restate-api")


@cache
def _client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx.AsyncClient(timeout=10, limits=limits)


def _submit(method: str, url: str, **options: Any) -> "Future[httpx.Response]":
    return _thread().submit(_client().request(method, url, **options))


async def ingress(method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to the ingress and return its response, whatever its status.

    `options` are those of `httpx.request`.

    Raises:
        httpx.TransportError: no connection, or no answer within 10 seconds.
    """
    return await asyncio.wrap_future(_submit(method, server.ensure().ingress + path, **options))


def admin(method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to the admin API, block until its response is here, and return it.

    Raises:
        TourError: the answer is an error; the message is the server's.
        httpx.TransportError: no connection, or no answer within 10 seconds.
    """
    return _checked(_submit(method, server.ensure().admin + path, **options).result())


def output_of(invocation: str) -> Any:
    """Return what a completed invocation returned, as JSON has it; None if it returned nothing.

    Raises:
        TourError: it failed or has not completed; the message is the server's.
    """
    url = f"{server.ensure().ingress}/restate/invocation/{invocation}/output"
    response = _checked(_submit("GET", url).result())
    return response.json() if response.content else None


def query(sql: str) -> list[Row]:
    """Return the rows of a query on what the server stores; a column that is NULL is left out.

    Raises:
        TourError: the query is wrong; the message is the server's.
    """
    return _rows(_ask(sql).result())


async def query_async(sql: str) -> list[Row]:
    """Do what `query` does without blocking the event loop."""
    return _rows(await asyncio.wrap_future(_ask(sql)))


def message_of(response: httpx.Response) -> str:
    """Return the server's own words in an error response."""
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text or f"status {response.status_code}"


def _ask(sql: str) -> "Future[httpx.Response]":
    return _thread().submit(_asked(server.ensure().admin + "/query", sql))


async def _asked(url: str, sql: str) -> httpx.Response:
    """Ask until the server can look: just started, it may lose the connection to itself once."""
    headers = {"accept": "application/json"}  # the default is Arrow
    for _ in range(TRIES):
        response = await _client().post(url, json={"query": sql}, headers=headers)
        if not response.is_server_error or LOST_ITSELF not in response.text:
            break
        await asyncio.sleep(PAUSE)
    return response


def _rows(response: httpx.Response) -> list[Row]:
    rows: list[Row] = _checked(response).json()["rows"]
    return rows


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise TourError(f"Restate answers {response.status_code}: {message_of(response)}")
    return response
