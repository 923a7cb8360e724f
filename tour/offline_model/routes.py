"""The HTTP face of the offline model."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tour.offline_model.chat import CREATED, MODEL, ChatRequest, used
from tour.offline_model.faults import Parts, error
from tour.offline_model.reading import Json
from tour.offline_model.responses import ResponsesRequest
from tour.offline_model.rules import answer

if TYPE_CHECKING:
    from tour.offline_model import OfflineModel

__all__ = ["build"]

CARD = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "tour"}


def build(model: OfflineModel) -> Starlette:
    """The app that answers for a model and keeps that model's counts."""

    async def complete(request: Request) -> Response:
        _authorise(request)
        chat_request = ChatRequest if "chat" in request.url.path else ResponsesRequest
        model.calls += 1
        try:
            body = await _json(request)
            asked = chat_request.model_validate(body)
            talk = asked.conversation()
        except ValueError as problem:
            return _refused(problem)
        fault = model.admit(body)
        await asyncio.sleep(model.latency)
        if fault and fault.kind != "cut":
            return await fault.response(request)
        whole = asked.written(body, answer(talk))
        model.bill(*used(whole))
        if asked.stream:
            return Parts(asked.events(whole), "text/event-stream", cut=fault is not None)
        text = json.dumps(whole, ensure_ascii=False)
        return Parts([text[:40], text[40:]], "application/json", cut=fault is not None)

    async def models(request: Request) -> Response:
        _authorise(request)
        named = "name" in request.path_params
        return JSONResponse(CARD if named else {"object": "list", "data": [CARD]})

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", models),
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/responses", complete, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _turned_away, Exception: _broken},
    )


def _authorise(request: Request) -> None:
    """Any key will do, and none; one that begins with sk-wrong shows what a wrong one does."""
    if request.headers.get("authorization", "").startswith("Bearer sk-wrong"):
        raise HTTPException(401, "Incorrect API key provided.")


async def _json(request: Request) -> Json:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"The body of the request is not JSON: {problem}") from None


def _refused(problem: Exception) -> Response:
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
