"""What Restate recorded of an invocation, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from unicodedata import east_asian_width

from tour.errors import TourError
from tour.journal.attempts import CUT_OFF, Attempt

Kind = Literal[
    "run", "call", "send", "attach", "sleep", "awakeable", "promise", "peek", "resolve", "signal"
]
State = Literal["completed", "failed", "running", "retrying", "waiting"]

WORDS = {"completed": "resolved", "failed": "rejected"}
WORDED = ("awakeable", "promise")


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

    @property
    def detail(self) -> str:
        """What it is, unless its name says so, how often it was tried, and how it stands."""
        state = WORDS.get(self.state, self.state) if self.kind in WORDED else self.state
        kind = "" if self.kind in ("run", self.name) else self.kind
        tried = plural(len(self.attempts), "attempt") if self.attempts else ""
        if self.attempts == () and self.state == "completed":
            state = "kept"  # from the invocation that this one was restarted from
        standing = "" if tried and self.state == "completed" else state
        return ", ".join(filter(None, (kind, tried, standing)))

    @property
    def tries(self) -> list[Attempt]:
        """Its attempts; one that never ended was cut off, if another follows or the step is over.

        Whoever was cut off by a kill could not write it down.
        """
        attempts = self.attempts or ()
        ends = [*(later.started for later in attempts[1:]), self.ended]
        lost = [*(True for _ in attempts[1:]), self.state in ("completed", "failed")]
        return [
            replace(attempt, ended=end, error=attempt.error or (CUT_OFF if gone else None))
            if attempt.ended is None
            else attempt
            for attempt, end, gone in zip(attempts, ends, lost, strict=False)
        ]


@dataclass(frozen=True, repr=False)
class Journal:
    """One invocation as the server recorded it.

    Attributes:
        id: the invocation's id.
        target: "Service/handler", or "Service/key/handler".
        status: the server's word for its state: running, backing-off, suspended, paused, …
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
        """Write it down without what differs from run to run: no ids, no times, no durations."""
        return _text(self)

    @property
    def steps(self) -> list[str]:
        """The names of its steps, in order."""
        return [entry.name for entry in self.entries]

    @property
    def state(self) -> str:
        """Its status; but "failed" where the server calls it completed, with a failure."""
        return "failed" if self.failure is not None else self.status

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


def _text(journal: Journal) -> str:
    lines = list(_lines(journal))
    column = max(_cells(left) for left, right in lines if right) + 3
    padded = (
        left + " " * (column - _cells(left)) + right if right else left for left, right in lines
    )
    return "\n".join(padded)


def _lines(journal: Journal, indent: str = "") -> Iterator[tuple[str, str]]:
    """Yield the left and right part of each line; a line without a right part may be long."""
    yield indent + shorten(journal.target, 60), journal.state
    digits = len(str(len(journal.entries)))
    below = indent + " " * (digits + 6)
    for number, step in enumerate(journal.entries, 1):
        yield f"{indent}  {number:>{digits}}  {shorten(step.name, 60)}", step.detail
        yield from ((below + note, "") for note in _notes(step))
        if step.child is not None:
            yield from _lines(step.child, below)
    yield from ((f"{indent}  {note}", "") for note in _ending(journal))


def _ending(journal: Journal) -> Iterator[str]:
    """Yield what is to be said of an invocation after its steps."""
    if not journal.entries:
        yield "no steps" if journal.ended else "no steps yet"
    for error, times in Counter(shorten(message) for _, message in journal.errors).items():
        yield how_it_failed("handler", error) + (f" ({times} times)" if times > 1 else "")
    if journal.failure is not None:
        yield f"failed: {shorten(journal.failure)}"


def _notes(step: Step) -> Iterator[str]:
    """Yield a line for each try that failed, and for a failure that was not the last try's."""
    for number, attempt in enumerate(step.tries, 1):
        if attempt.error is not None:
            yield how_it_failed(f"try {number}", attempt.error)
    told = {attempt.error for attempt in step.tries[-1:]} | {
        step.child.failure if step.child else None
    }
    if step.error is not None and step.error not in told:
        yield f"failed: {shorten(step.error)}"


def how_it_failed(what: str, error: str) -> str:
    """Say how a try, or the handler, came to its end."""
    return f"{what} was cut off" if error == CUT_OFF else f"{what} failed: {shorten(error)}"


def shorten(words: str, limit: int = 100) -> str:
    """Return any text as one line of printable characters, cut to `limit`."""
    line = " ".join("".join(c for c in words if c.isprintable() or c.isspace()).split())
    return (line if len(line) <= limit else line[: limit - 1].rstrip() + "…") or "(empty)"


def _cells(line: str) -> int:
    """Return how many columns of a fixed-width font a line takes."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in line)


def plural(number: int, noun: str) -> str:
    """Return "1 attempt", "2 attempts"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
