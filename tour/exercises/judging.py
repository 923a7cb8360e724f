"""The exercises: what is asked of each, judged from the journal of the learner's own invocation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from tour.errors import TourError
from tour.exercises import (
    agent_patterns,
    agent_sdks,
    awakeables,
    durable_execution,
    error_handling,
    long_running_agents,
    parallel_tools,
    sub_workflows,
    to_production,
    virtual_objects,
)
from tour.exercises.exercise import Exercise
from tour.home import course
from tour.journal import newest, read
from tour.server import output_of

NOTEBOOKS = (
    durable_execution,
    awakeables,
    virtual_objects,
    sub_workflows,
    parallel_tools,
    error_handling,
    agent_patterns,
    long_running_agents,
    agent_sdks,
    to_production,
)
EXERCISES: dict[str, Exercise] = {
    number: exercise for notebook in NOTEBOOKS for number, exercise in notebook.EXERCISES.items()
}
# In its file a solution has the stub of the exercise in its comments.
STUB = re.compile(r"^( *)# stub:\n(?:\1# .*\n)+|^ *# end\n", re.MULTILINE)
_hints: dict[str, Iterator[str]] = {}


@dataclass(frozen=True)
class Verdict:
    """What a check found; true if the exercise is solved."""

    solved: bool
    message: str

    def __bool__(self) -> bool:
        """Tell whether the exercise is solved."""
        return self.solved

    def __repr__(self) -> str:
        """Say it to the learner."""
        return f"{'Solved' if self.solved else 'Not yet'}. {self.message}"


def check(number: str) -> Verdict:
    """Judge an exercise, such as "1.1", from the journal of its newest invocation.

    Raises:
        TourError: there is no such exercise.
    """
    exercise = EXERCISES[_known(number)]
    invocation = newest(exercise.target)
    if invocation is None:
        return Verdict(False, f"{exercise.target} has not been called: run the cell that calls it.")
    journal = read(invocation)
    if journal.status != "completed":
        return Verdict(False, f"{exercise.target} is {journal.status}: wait until it has finished.")
    if journal.failure:
        return Verdict(False, f"{exercise.target} failed: {journal.failure}")
    missing = exercise.judge(journal, output_of(invocation))
    return Verdict(False, missing) if missing else Verdict(True, exercise.praise)


def hint(number: str) -> None:
    """Print the next hint for an exercise; after the last one they start again.

    Raises:
        TourError: there is no such exercise.
    """
    known = _known(number)
    if known not in _hints:
        _hints[known] = cycle(EXERCISES[known].hints)
    print(next(_hints[known]))


def solution(number: str) -> None:
    """Print the solution of an exercise, once a hint for it has been shown in this kernel.

    Raises:
        TourError: there is no such exercise, or no hint has been shown.
    """
    known = _known(number)
    if known not in _hints:
        raise TourError(f'Have a hint first: tour.hint("{number}"). Then the solution is here.')
    path = course() / "solutions" / f"{known}.py"
    print(STUB.sub("", path.read_text(encoding="utf-8")).strip())


def _known(number: str) -> str:
    """Return the full number of an exercise, "01.1" for "1.1" too."""
    notebook, _, exercise = str(number).strip().partition(".")
    if (known := f"{notebook.zfill(2)}.{exercise}") not in EXERCISES:
        raise TourError(f"There is no exercise {number!r}. There are: {', '.join(EXERCISES)}.")
    return known
