"""A request for an invocation, as the ingress takes it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from restate.handler import Handler, handler_from_callable

from tour import api
from tour.errors import TourError

__all__ = ["AnyDefinition", "AnyHandler", "Request"]

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
        self.definition: AnyDefinition = handler_from_callable(handler)
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
        return await api.ingress("POST", f"{self._path}/send", **self._sent)

    async def call(self) -> httpx.Response:
        """Return the handler's answer, however long it takes."""
        return await api.wait_for("POST", self._path, **self._sent)


def _address(definition: AnyDefinition, key: str | None) -> list[str]:
    service = definition.service_tag
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
