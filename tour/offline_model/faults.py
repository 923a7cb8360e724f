"""Failures: the errors that OpenAI's API has, and the ones that networks have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

__all__ = ["Fault", "Kind", "Parts", "error"]

Kind = Literal["status", "timeout", "cut", "malformed"]

CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


def error(
    status: int, message: str, *, param: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A failure as OpenAI words it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    body = {"message": message, "type": kind, "param": param, "code": CODES.get(status)}
    return JSONResponse({"error": body}, status, headers)


class Parts(Response):
    """A body that is sent in parts; if it is cut, its last ones never come."""

    def __init__(self, parts: Iterable[str], media_type: str, *, cut: bool = False) -> None:
        """Keep the parts until somebody wants them."""
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.parts, self.cut = list(parts), cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for part in self.parts[: len(self.parts) // 2 if self.cut else None]:
            await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
        if not self.cut:  # the server closes the connection of a reply that has no end
            await send({"type": "http.response.body"})


def _is_wait(seconds: object) -> bool:
    return isinstance(seconds, int | float) and 0 <= seconds < float("inf")


@dataclass(frozen=True)
class Fault:
    """How one completion is to fail.

    Raises:
        ValueError: no completion could fail like that.
    """

    kind: Kind = "status"
    status: int | None = None
    retry_after: float | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, where it is asked for."""
        if self.kind not in {"status", "timeout", "cut", "malformed"}:
            raise ValueError(f"kind is status, timeout, cut or malformed, not {self.kind!r}")
        if self.kind != "status" and (self.status, self.retry_after) != (None, None):
            raise ValueError(f"kind {self.kind!r} has no HTTP status and no retry_after")
        if self.status is not None and self.status not in range(400, 600):
            raise ValueError(f"status is an HTTP error, 400 to 599, not {self.status!r}")
        if self.retry_after is not None and not _is_wait(self.retry_after):
            raise ValueError(f"retry_after is a number of seconds, not {self.retry_after!r}")

    async def response(self, request: Request) -> Response:
        """What the client gets in place of the reply."""
        if self.kind == "malformed":
            return Response("<h1>It works!</h1>", media_type="text/html")
        if self.kind == "timeout":
            while (await request.receive())["type"] != "http.disconnect":
                pass
        status = self.status or 500
        words = HTTPStatus(status).phrase if status in {*HTTPStatus} else "an unnamed error"
        wait = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        return error(status, f"The offline stand-in was told to fail: {words}", headers=wait)
