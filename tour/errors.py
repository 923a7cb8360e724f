"""What the tour raises: one sentence that names the cause and the next step."""

__all__ = ["InvocationFailed", "Refused", "TourError"]


class TourError(Exception):
    """Something the learner can act on; its text says what happened and what to do."""

    def _render_traceback_(self) -> list[str]:
        """Show the sentence alone in a notebook: IPython asks an exception for this."""
        return [f"{type(self).__name__}: {self}"]


class InvocationFailed(TourError):  # noqa: N818  a state of Restate, not a mistake
    """An invocation ended in a failure.

    Attributes:
        message: the server's message.
        status: the failure's HTTP status code.
    """

    def __init__(self, target: str, message: str, status: int) -> None:
        """Keep the server's words apart from the sentence that is shown."""
        super().__init__(f"{target} failed with status {status}: {message}")
        self.message = message
        self.status = status


class Refused(TourError):  # noqa: N818  as above
    """Restate answered a request of the tour with an error.

    Attributes:
        status: the HTTP status of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        """Say what the server said."""
        super().__init__(f"Restate answers {status}: {message}")
        self.status = status
