"""Restate's HTTP APIs, over one kept client: the ingress, the admin API and its SQL.

A new connection a call costs several times an agent's run (measured), and a client belongs to one
event loop: so it lives on a loop of its own, in a thread that ends with the process.
"""

import asyncio
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any

import httpx

from tour.asgi import LoopThread
from tour.errors import Refused, TourError
from tour.network import client_options, is_here
from tour.server import single

Row = dict[str, Any]

PAUSES = (0.05, 0.2, 1.0)  # a server that was killed takes a moment to be seen as dead
TAKE_OVER_SECONDS = 15  # a cluster that has lost a node cannot be queried until others lead
LEADERLESS = "External error:"  # what the server says then; a query that is wrong is something else


@cache
def _thread() -> LoopThread:
    return LoopThread("restate-api")


@cache
def _client(here: bool) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx.AsyncClient(timeout=10, limits=limits, **client_options(here))


async def ask(method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to the ingress and return its response, whatever its status.

    `options` are those of `httpx.request`.

    Raises:
        TourError: no connection, or no answer within 10 seconds.
    """
    return await asyncio.wrap_future(_submit("ingress", method, path, **options))


async def wait_for(method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to the ingress, again when its connection breaks, and wait for the response.

    However long it takes; `options` are those of `httpx.request`.
    """
    while True:
        try:
            asked = _thread().submit(_once("ingress", method, path, timeout=None, **options))
            return await asyncio.wrap_future(asked)
        except httpx.TransportError:
            await asyncio.sleep(0.1)


def request(method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to the admin API, block until its response is here, and return it.

    `options` are those of `httpx.request`.

    Raises:
        TourError: the answer is an error, and the message is the server's; or there is none.
    """
    return _checked(_submit("admin", method, path, **options).result())


def output_of(invocation: str) -> Any:
    """Return what a completed invocation returned, as JSON has it; None if it returned nothing.

    Raises:
        TourError: it failed or has not completed; the message is the server's.
    """
    path = f"/restate/invocation/{invocation}/output"
    response = _checked(_submit("ingress", "GET", path).result())
    return response.json() if response.content else None


def query(sql: str) -> list[Row]:
    """Return the rows of a query on what the server stores; a column that is NULL is left out.

    Raises:
        TourError: the query is wrong; the message is the server's.
    """
    rows: list[Row] = _thread().submit(_rows(sql)).result()
    return rows


async def query_async(sql: str) -> list[Row]:
    """Do what `query` does without blocking the event loop."""
    return await asyncio.wrap_future(_thread().submit(_rows(sql)))


async def _rows(sql: str) -> list[Row]:
    # Asking for JSON: the default is Arrow.
    headers = {"accept": "application/json"}
    end = time.monotonic() + TAKE_OVER_SECONDS
    while True:
        reply = await _request("admin", "POST", "/query", json={"query": sql}, headers=headers)
        leaderless = reply.is_error and LEADERLESS in message_of(reply)
        if not leaderless or time.monotonic() > end:
            rows: list[Row] = _checked(reply).json()["rows"]
            return rows
        await asyncio.sleep(0.1)


def message_of(response: httpx.Response) -> str:
    """Return the server's own words in an error response."""
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text or f"status {response.status_code}"


def _submit(side: str, method: str, path: str, **options: Any) -> "Future[httpx.Response]":
    return _thread().submit(_request(side, method, path, **options))


async def _request(side: str, method: str, path: str, **options: Any) -> httpx.Response:
    """Return the response; ask again if the server died under the request."""
    for pause in (*PAUSES, None):
        try:
            return await _once(side, method, path, **options)
        except httpx.TransportError as error:
            died = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            if died and pause is None:
                with suppress(httpx.TransportError):
                    return await asyncio.to_thread(_blocking, side, method, path, **options)
            if pause is None or not died:
                raise TourError(f"Restate does not answer: {error!r}.") from error
            await asyncio.sleep(pause)
    raise AssertionError("the last pause is None")


def _blocking(side: str, method: str, path: str, **options: Any) -> httpx.Response:
    """Ask in a way that reads an answer which comes before all of the request is sent, as 413 does.

    A client on an event loop loses that answer: its connection is gone while it still sends.
    """
    url = getattr(single.ensure(), side) + path
    with httpx.Client(timeout=10, **client_options(is_here(url))) as client:
        return client.request(method, url, **options)


async def _once(side: str, method: str, path: str, **options: Any) -> httpx.Response:
    url = getattr(single.ensure(), side) + path
    return await _client(is_here(url)).request(method, url, **options)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise Refused(message_of(response), response.status_code)
    return response
