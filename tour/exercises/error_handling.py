"""The exercises of notebook 6."""

from typing import Any

from tour.exercises.exercise import Exercise
from tour.journal import Journal, model_calls_of

__all__ = ["EXERCISES"]

TRIES = 3
KINDS = ("hotel", "car", "flight")


def _one_layer_tries_again(journal: Journal, result: Any) -> str | None:
    seen = sum(journal.attempts("LLM call")) if "LLM call" in journal.steps else 0
    asked = model_calls_of(journal.id)
    if seen and journal.entries[-1].state != "failed":
        return "The model answered: arm its failures again, and call the agent once more."
    if asked != seen:
        return f"The model was asked {asked} times and the journal saw {seen}: two layers retry."
    if asked != TRIES:
        return f"One layer retries now, and the model was asked {asked} times, not {TRIES}."
    if not result:
        return "It asks three times, but the handler returned nothing for the user to read."
    return None


def _undone_in_steps_and_in_reverse(journal: Journal, result: Any) -> str | None:
    booked = [f"Book {kind}" for kind in KINDS]
    if journal.steps[: len(booked)] != booked:
        return f"The trip should begin with {booked}; its steps are {journal.steps}."
    undone = journal.steps[len(booked) :]
    cancels = [f"Cancel {kind}" for kind in KINDS]
    if not undone:
        return "Nothing was undone in a step: a crash in the middle would forget the rest."
    if missing := [name for name in cancels if name not in undone]:
        return f"The journal has no step {missing[0]!r}: that booking may have happened as well."
    if undone != cancels[::-1]:
        return f"Everything is undone once, and the newest first; here it is {undone}."
    if not result:
        return "It is all undone, but the handler returned nothing for the user to read."
    return None


EXERCISES = {
    "06.1": Exercise(
        target="ChattyAgent/run",
        judge=_one_layer_tries_again,
        praise="Three requests, and the journal knows of each of them.",
        hints=(
            "Two layers retry here: which of them would forget how often, if the agent crashed?",
            "That one is the client. AsyncOpenAI takes an argument for it.",
            "`AsyncOpenAI(max_retries=0)`, and leave the step's max_attempts=3 as it is.",
        ),
    ),
    "06.2": Exercise(
        target="PackageTripAgent/run",
        judge=_undone_in_steps_and_in_reverse,
        praise="Whatever dies in the middle, everything that was booked is undone.",
        hints=(
            "Put a trip on the list before the booking, not after it.",
            "`reversed(undo)` walks through the list from its end.",
            "ctx.run_typed(name, cancel, **trip) makes a step of an undo, and trip['kind'] is the "
            "second word of its name.",
        ),
    ),
}
