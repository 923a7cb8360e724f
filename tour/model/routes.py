"""The HTTP face of the offline model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tour.model.chat import CREATED, MODEL, ChatRequest
from tour.model.faults import error
from tour.model.reading import Json
from tour.model.responses import ResponsesRequest
from tour.model.rules import answer

if TYPE_CHECKING:
    from tour.model import OfflineModel

__all__ = ["build"]

CARD = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "tour"}


def build(model: OfflineModel) -> Starlette:
    """The app that answers for a model and keeps that model's counts."""

    async def complete(request: Request) -> Response:
        api = ChatRequest if request.url.path.startswith("/v1/chat") else ResponsesRequest
        model.calls += 1
        try:
            asked = api.model_validate_json(await request.body())
            talk = asked.conversation()
        except ValueError as problem:
            return _refused(problem)
        body = await request.json()
        fault = model.admit(body)
        await asyncio.sleep(model.latency)
        if fault and fault.kind != "cut":
            return await fault.response(request)
        reply = answer(talk)
        prompt, completion = _tokens(body), _tokens(reply)
        model.bill(prompt, completion)
        whole = asked.written(_id(body), reply, prompt, completion)
        return _sent(asked, whole, cut=fault is not None)

    return Starlette(
        routes=[
            Route("/v1/models", _models),
            Route("/v1/models/{name:path}", _models),
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/responses", complete, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _turned_away, Exception: _broken},
    )


async def _models(request: Request) -> Response:
    named = "name" in request.path_params
    return JSONResponse(CARD if named else {"object": "list", "data": [CARD]})


def _id(body: Json) -> str:
    """What makes the ids of a reply: the same for the same request."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]


def _tokens(said: Json) -> int:
    """Four characters are a token; nobody's tokeniser, but easy to check."""
    return -(-len(json.dumps(said, ensure_ascii=False)) // 4)


def _sent(asked: ChatRequest | ResponsesRequest, whole: Json, *, cut: bool) -> Response:
    """The reply in one piece or as a stream; if it is cut, the connection breaks half-way."""
    text = json.dumps(whole, ensure_ascii=False)
    parts = [*asked.events(whole)] if asked.stream else [text[:40], text[40:]]

    async def sending() -> AsyncIterator[str]:
        for part in parts[: len(parts) // 2 if cut else None]:
            yield part
        if cut:
            raise ConnectionAbortedError

    kind = "text/event-stream" if asked.stream else "application/json"
    return StreamingResponse(sending(), media_type=kind)


def _refused(problem: ValueError) -> Response:
    if not isinstance(problem, ValidationError):
        field = re.match(r"\w+(?=: )", str(problem))
        return error(400, str(problem), param=field and field[0])
    first = problem.errors()[0]
    param = ".".join(str(each) for each in first["loc"])
    return error(400, f"{param or 'body'}: {first['msg']}", param=param or None)


async def _turned_away(request: Request, problem: Exception) -> Response:
    # The server closes a connection whose request has not been read to its end, and a client
    # that keeps its connections would run into that with its next request.
    await request.body()
    assert isinstance(problem, HTTPException)
    return error(problem.status_code, problem.detail, headers=dict(problem.headers or {}))


async def _broken(_request: Request, problem: Exception) -> Response:
    return error(500, f"The offline stand-in has a bug: {problem!r}")
