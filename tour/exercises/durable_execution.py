"""The exercises of notebook 1."""

from typing import Any

from tour.exercises.exercise import Exercise
from tour.journal import Journal

__all__ = ["EXERCISES"]

TRIES = 3


def _every_effect_is_a_step(journal: Journal, result: Any) -> str | None:
    if "get weather" not in journal.steps:
        return (
            f"The journal has {journal.steps} and no step `get weather`: the weather was fetched "
            f"outside of it, so every replay fetches it again."
        )
    if journal.steps != ["LLM call", "get weather"]:
        return f"The steps should be `LLM call`, then `get weather`; they are {journal.steps}."
    if not result:
        return "The steps are right, but the handler returned nothing."
    return None


def _gives_up_in_time(journal: Journal, result: Any) -> str | None:
    asked = sum(journal.attempts("LLM call")) if "LLM call" in journal.steps else 0
    if asked != TRIES:
        return f"The step `LLM call` was tried {asked} times, not {TRIES}."
    if journal.entries[-1].state != "failed":
        return "The model answered: arm its failures again, and call the agent once more."
    if not result:
        return "It gave up in time, but the handler returned nothing for the user to read."
    return None


EXERCISES = {
    "01.1": Exercise(
        target="UmbrellaAgent/run",
        judge=_every_effect_is_a_step,
        praise="The weather is in the journal now: a replay reads it there and fetches nothing.",
        hints=(
            "What is not a step leaves no trace in the journal. Which line of the handler talks "
            "to the world without one?",
            "ctx.run_typed takes the step's name, the function, and the function's arguments.",
            "Hand over the function itself, `fetch_weather`, and `city=city`; await the whole.",
        ),
    ),
    "01.2": Exercise(
        target="PatientAgent/run",
        judge=_gives_up_in_time,
        praise="Three tries were paid, the user has an answer, and the invocation has completed.",
        hints=(
            "Two things are missing: a bound for the step, and words for when it is reached.",
            "RunOptions has a field for the number of tries; the first one counts.",
            "When the tries are used up, the await raises restate.TerminalError. Catch it, and "
            "return a sentence.",
        ),
    ),
}
