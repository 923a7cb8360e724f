"""The offline model: an OpenAI-compatible stand-in on loopback, made of rules.

It is no language model and does not pretend to be one. It is there so that an agent can be
run, broken and tested without a key, without cost, and with the same answer every time.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tour.asgi import AsgiServer, LoopThread
from tour.errors import TourError
from tour.model.faults import Fault, Kind
from tour.model.reading import Json
from tour.model.routes import build
from tour.model.rules import NO_RULE
from tour.model.settings import OFFLINE_KEY, Named, named

__all__ = ["NO_RULE", "OFFLINE_KEY", "Named", "OfflineModel", "Tokens", "build", "named"]


class Tokens(NamedTuple):
    """What was read and written so far; a token is four characters of JSON, rounded up."""

    prompt: int = 0
    completion: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt + self.completion


class OfflineModel:
    """Answers like OpenAI's API, counts what it is asked, and fails when it is told to.

    Attributes:
        calls: completions asked for so far, chat and responses, failed ones as well.
        tokens: what they would be billed by; a failed one costs nothing, unless its reply was
            cut: that one was written.
        latency: seconds that are added to every completion.
    """

    # The notebook's thread and the model's share these fields without a lock: each is changed
    # in one step, and nobody counts while somebody else resets.

    def __init__(self) -> None:
        """Prepare; nothing listens before start."""
        self._server: AsgiServer | None = None
        self.reset()

    def start(self, port: int = 0) -> str:
        """Serve on 127.0.0.1 unless it does already, and return the base URL for a client."""
        if self._server is None or not self._server.alive:
            self._server = AsgiServer(build(self), LoopThread("offline-model"), port)
        return self.url

    def stop(self) -> None:
        """End at once; requests in flight see their connection break."""
        if self._server is not None:
            self._server.stop()
        self._server = None

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        if self._server is None:
            raise TourError("The offline model is not running: call start() first.")
        return f"http://127.0.0.1:{self._server.port}/v1"

    @property
    def requests(self) -> list[Json]:
        """The latest requests that were valid, a hundred at most, oldest first: their bodies."""
        return list(self._requests)

    def fail(
        self,
        times: int = 1,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        kind: Kind = "status",
    ) -> None:
        """Make the next completions fail, after those that are to fail already.

        Args:
            times: how many.
            status: the HTTP status they fail with; 500 unless given.
            retry_after: seconds that the client is asked to wait for, in a retry-after header.
            kind: "status"; or "timeout": no answer ever; "cut": the connection breaks in the
                middle of the reply; "malformed": a page of HTML with status 200.

        Raises:
            ValueError: no completion could fail like that.
            TourError: nobody asks this model.
        """
        if self._server is None:
            raise TourError(
                "The offline model is not in use here: another model was named before the start, "
                "and only the stand-in fails on request."
            )
        if type(times) is not int or times < 1:
            raise ValueError(f"times is a number of completions, 1 or more, not {times!r}")
        self._faults.extend([Fault(kind, status, retry_after)] * times)

    def reset(self) -> None:
        """Forget what was counted and recorded; no more failures, no latency."""
        self.calls = 0
        self.tokens = Tokens()
        self.latency = 0.0
        self._requests: deque[Json] = deque(maxlen=100)
        self._faults: deque[Fault] = deque()

    def admit(self, body: Json) -> Fault | None:
        """Record a valid request, and say how it is to fail, if it is."""
        self._requests.append(body)
        return self._faults.popleft() if self._faults else None

    def bill(self, prompt: int, completion: int) -> None:
        """Add what one completion has cost."""
        self.tokens = Tokens(self.tokens.prompt + prompt, self.tokens.completion + completion)
