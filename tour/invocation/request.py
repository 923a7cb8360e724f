"""A request for an invocation, as the ingress takes it."""

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from restate.handler import Handler, handler_from_callable

from tour import server
from tour.endpoint import AnyService
from tour.errors import TourError

AnyHandler = Callable[..., Awaitable[Any]]
AnyDefinition = Handler[Any, Any]


class Request:
    """What is asked of a handler; however often it is made, it is one invocation.

    Attributes:
        definition: the handler, as the SDK knows it.
        target: "Service/handler", or "Service/key/handler".
        repeatable: whether Restate knows it again. It does not know a workflow's.
    """

    def __init__(self, handler: AnyHandler, arg: Any, key: str | None) -> None:
        """Take what `tour.send` takes.

        Raises:
            TourError: the handler needs a key, or takes none; or the argument is not what it takes.
        """
        self.definition = definition_of(handler)
        parts = _address(self.definition, key)
        self.target = "/".join(parts)
        self.repeatable = self.definition.kind != "workflow"
        self._path = "".join(f"/{quote(part, safe='')}" for part in parts)
        # The key lets a request be repeated when the server dies before it has answered.
        headers = {"idempotency-key": uuid4().hex} if self.repeatable else {}
        try:
            body = _encoded(self.definition, arg)
        except (AttributeError, TypeError, ValueError) as error:
            taken = self.definition.handler_io.input_type
            wanted = getattr(taken and taken.annotation, "__name__", "what can be JSON")
            raise TourError(f"{self.target} takes {wanted}, not {arg!r}.") from error
        if body:
            headers["content-type"] = self.definition.handler_io.content_type
        self._sent: dict[str, Any] = {"content": body, "headers": headers}

    async def send(self) -> httpx.Response:
        """Return Restate's answer that it has accepted the request, with the invocation's id.

        Raises:
            TourError: no connection, or no answer within 10 seconds.
        """
        return await server.ask("POST", f"{self._path}/send", **self._sent)

    async def call(self) -> httpx.Response:
        """Return the handler's answer, however long it takes."""
        return await server.wait_for("POST", self._path, **self._sent)


def definition_of(handler: Any) -> AnyDefinition:
    """Return a handler as the SDK knows it.

    Raises:
        TourError: it is none; the text says what to pass instead.
    """
    if isinstance(handler, AnyService):
        names = ", ".join(handler.handlers) or "it has none yet"
        raise TourError(f"{handler.name} is a service: pass the function of a handler ({names}).")
    if inspect.iscoroutine(handler):
        handler.close()
        name = handler.__name__
        raise TourError(f"{name}(…) is a coroutine: pass the function, as in tour.call({name}, …).")
    try:
        definition: AnyDefinition = handler_from_callable(handler)
    except (TypeError, ValueError) as error:
        name = getattr(handler, "__name__", repr(handler))
        raise TourError(f"{name} is no handler: one has @service.handler() above it.") from error
    return definition


def _address(definition: AnyDefinition, key: str | None) -> list[str]:
    service = definition.service_tag
    if key is not None and not isinstance(key, str):
        raise TourError(f'A key is text: key="{key}", not key={key!r}.')
    if service.kind == "service" and key is not None:
        raise TourError(f"{service.name} is a service and takes no key; drop key={key!r}.")
    if service.kind != "service" and not key:
        kind = service.kind.replace("object", "virtual object")
        raise TourError(f"{service.name} is a {kind}: say which one with key=…")
    return [part for part in (service.name, key, definition.name) if part]


def _encoded(definition: AnyDefinition, arg: Any) -> bytes:
    """Encode an argument as the handler will read it; a dict may stand for a model."""
    if isinstance(arg, dict | list):
        return json.dumps(arg).encode()
    encoded: bytes = definition.handler_io.input_serde.serialize(arg)
    return encoded
