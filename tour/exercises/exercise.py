"""What an exercise is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tour.journal import Journal

__all__ = ["Exercise"]


@dataclass(frozen=True)
class Exercise:
    """A task, and how its solution is told.

    Attributes:
        target: the handler whose newest invocation is judged, as "Service/handler".
        judge: takes the journal and the result; returns what is missing, or nothing.
        praise: what the learner has shown when nothing is missing.
        hints: from the first nudge to nearly the answer.
    """

    target: str
    judge: Callable[[Journal, Any], str | None]
    praise: str
    hints: tuple[str, ...]
