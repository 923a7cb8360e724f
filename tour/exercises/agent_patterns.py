"""The exercises of notebook 7."""

from typing import Any

from tour.exercises.exercise import Exercise
from tour.journal import Journal
from tour.server import output_of

__all__ = ["EXERCISES"]

ASKS = ["Parse claim", "Parse claim again"]
TOPICS = 3


def _asks_once_more(journal: Journal, result: Any) -> str | None:
    if len(journal.steps) < len(ASKS):
        return "The model was asked once, and then the agent gave up."
    if len(journal.steps) > len(ASKS):
        return f"The model was asked {len(journal.steps)} times; once more is twice in all."
    if journal.steps != ASKS:
        return f"It was asked twice. Name the steps {ASKS}, so that the journal tells them apart."
    if not isinstance(result, str) or not result.strip():
        return "It was asked twice. But the user gets no sentence that says what went wrong."
    return None


def _loses_one_line(journal: Journal, result: Any) -> str | None:
    calls = [step for step in journal.entries if step.child]
    if len(calls) != TOPICS:
        return f"There should be a call for each of the three topics; there are {len(calls)}."
    if max(step.started for step in calls) >= min(step.ended or step.started for step in calls):
        return "They did not work at the same time: start all calls, then wait for them."
    found = {n: output_of(step.id) for n, step in enumerate(calls) if step.state != "failed"}
    return _whole_letter(found, result if isinstance(result, list) else [])


def _whole_letter(found: dict[int, Any], letter: list[Any]) -> str | None:
    """Say what a letter lacks that should have a line for each topic, in their order."""
    if not all(line in letter for line in found.values()):
        return f"{len(found)} of the three have found something, and the letter does not have it."
    if len(letter) != TOPICS:
        return "What was found is there. But nobody can tell that something is missing."
    if any(letter[n] != line for n, line in found.items()):
        return "All lines are there. But they should be in the order of the topics."
    if not all(line and str(line).strip() for line in letter):
        return "A line of the letter is empty: say what is missing."
    return None


EXERCISES = {
    "07.1": Exercise(
        target="ClerkAgent/run",
        judge=_asks_once_more,
        praise="Asked twice and no more, and the user knows what to do.",
        hints=(
            "ask_for raises a TerminalError when the answer does not fit. Its status is 422.",
            'A loop over two names of steps, "Parse claim" and "Parse claim again", is enough.',
            "Return the claim from the loop as soon as one fits, and the sentence after the loop.",
        ),
    ),
    "07.2": Exercise(
        target="LetterAgent/run",
        judge=_loses_one_line,
        praise="One has refused, and the other two were not paid for nothing.",
        hints=(
            "restate.gather does not raise the error of a call. Where does it come up?",
            "Each `await call` may raise: it needs a `try` of its own.",
            "Walk through the topics and their calls with zip. In the `except`, add a line with "
            "the topic and error.message.",
        ),
    ),
}
