"""The exercises: what is asked of each, judged from the journal of the learner's own invocation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from tour import api, records
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

__all__ = ["Verdict", "check", "hint"]

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
    """Judge an exercise, such as "01.1", from the journal of its newest invocation.

    Raises:
        TourError: there is no such exercise.
    """
    exercise = _exercise(number)
    newest = records.latest(exercise.target)
    if newest is None:
        return Verdict(False, f"{exercise.target} has not been called: run the cell that calls it.")
    journal = records.read(newest)
    if journal.status != "completed":
        return Verdict(False, f"{exercise.target} is {journal.status}: wait until it has finished.")
    if journal.failure:
        return Verdict(False, f"{exercise.target} failed: {journal.failure}")
    missing = exercise.judge(journal, api.output_of(newest))
    return Verdict(False, missing) if missing else Verdict(True, exercise.praise)


def hint(number: str) -> None:
    """Print the next hint for an exercise; after the last one they start again.

    Raises:
        TourError: there is no such exercise.
    """
    if number not in _hints:
        _hints[number] = cycle(_exercise(number).hints)
    print(next(_hints[number]))


def _exercise(number: str) -> Exercise:
    if number not in EXERCISES:
        raise TourError(f"There is no exercise {number!r}. There are: {', '.join(EXERCISES)}.")
    return EXERCISES[number]
