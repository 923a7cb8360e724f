"""Failures: the errors that OpenAI's API has, and the ones that networks have."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

__all__ = ["Fault", "Kind", "error"]

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


@dataclass(frozen=True)
class Fault:
    """How one completion is to fail; ValueError if none could fail like that."""

    kind: Kind
    status: int | None
    retry_after: float | None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, where it is asked for."""
        wait = self.retry_after
        if self.kind not in {"status", "timeout", "cut", "malformed"}:
            raise ValueError(f"kind is status, timeout, cut or malformed, not {self.kind!r}")
        if self.kind != "status" and (self.status, wait) != (None, None):
            raise ValueError(f"kind {self.kind!r} has no HTTP status and no retry_after")
        if self.status is not None and self.status not in range(400, 600):
            raise ValueError(f"status is an HTTP error, 400 to 599, not {self.status!r}")
        if wait is not None and not (isinstance(wait, int | float) and 0 <= wait < float("inf")):
            raise ValueError(f"retry_after is a number of seconds, not {wait!r}")

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
