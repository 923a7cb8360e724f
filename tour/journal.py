"""What Restate recorded of an invocation, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tour.attempts import Attempt
from tour.errors import TourError

__all__ = ["Attempt", "Journal", "Kind", "State", "Step"]

Kind = Literal["run", "call", "send", "sleep", "awakeable", "promise", "signal"]
State = Literal["completed", "failed", "running", "retrying", "waiting"]


@dataclass(frozen=True)
class Step:
    """One command of a journal that does something: a run, a call, a wait.

    Attributes:
        kind: what it is.
        name: the step's name, the callee's target, or "sleep", "awakeable" where it has no name.
        state: how it stands.
        started: when the server stored the command.
        ended: when the server stored its result; None while there is none.
        index: the number of its last entry in the server's journal.
        id: of the awakeable, or of the invocation that it started.
        attempts: every try at a run, counted where it ran; None where nobody counted (another
            process, or a kind of step that is not tried but waited for).
        error: the failure it ended with, if it did.
        child: the journal of the invocation that a call or a send started.
    """

    kind: Kind
    name: str
    state: State
    started: datetime
    ended: datetime | None = None
    index: int = field(default=0, compare=False)
    id: str = field(default="", compare=False)
    attempts: tuple[Attempt, ...] | None = None
    error: str | None = None
    child: Journal | None = None


@dataclass(frozen=True, repr=False)
class Journal:
    """One invocation as the server recorded it.

    Attributes:
        id: the invocation's id.
        target: "Service/handler", or "Service/key/handler".
        status: the server's word for its state: running, backing-off, suspended, paused, completed …
        created: when the server accepted it.
        ended: when it completed; None while it has not.
        entries: its steps in the order of the journal.
        errors: failed tries of the handler that belong to no step, oldest first: (time, message).
        failure: the failure that the invocation ended with.
        ui: the address of its page in the Restate UI.
    """

    id: str
    target: str
    status: str
    created: datetime
    ended: datetime | None = None
    entries: tuple[Step, ...] = ()
    errors: tuple[tuple[datetime, str], ...] = ()
    failure: str | None = None
    ui: str = field(default="", compare=False)

    def __repr__(self) -> str:
        """Return the stable text: order, names, counts and states; no ids and no times."""
        from tour.timeline import text  # noqa: PLC0415  the timeline is made of journals

        return text(self)

    @property
    def steps(self) -> list[str]:
        """The names of its steps, in order."""
        return [entry.name for entry in self.entries]

    def attempts(self, name: str) -> list[int]:
        """Return how often each step of this name was tried, in the order of the journal.

        Raises:
            TourError: it has no such step, or its tries were not counted, because it ran in a
                process that the tour did not serve.
        """
        found = [entry for entry in self.entries if entry.name == name]
        if not found:
            raise TourError(f"{self.target} has no step {name!r}. Its steps are {self.steps}.")
        if any(entry.attempts is None for entry in found):
            raise TourError(
                f"Nobody counted the tries at {name!r}: it did not run under tour.serve."
            )
        return [len(entry.attempts or ()) for entry in found]

    def tries(self, name: str) -> int:
        """Return how often steps of this name have begun; a step that is not tried counts once."""
        found = [entry for entry in self.entries if entry.name == name]
        return sum(1 if entry.attempts is None else len(entry.attempts) for entry in found)

    def walk(self) -> Iterator[Journal]:
        """Yield this journal and every one below it, depth first."""
        yield self
        for entry in self.entries:
            if entry.child is not None:
                yield from entry.child.walk()
