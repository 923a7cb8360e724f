"""The exercises of notebook 5."""

from typing import Any

from tour.exercises.exercise import Exercise
from tour.journal import CUT_OFF, Journal, Step

__all__ = ["EXERCISES"]

STEP = "Get weather "
CITIES = ("San Francisco", "Oslo", "New York")
ANSWERS = 3


def _overlap(steps: list[Step]) -> bool:
    """Tell whether all of them had begun before the first of them was over."""
    return max(s.started for s in steps) < min(s.ended or s.started for s in steps)


def _all_at_once_and_in_order(journal: Journal, result: Any) -> str | None:
    steps = [step for step in journal.entries if step.name.startswith(STEP)]
    if sorted(step.name for step in steps) != sorted(STEP + city for city in CITIES):
        return f"There should be a step for each of the three cities; there are {journal.steps}."
    if not _overlap(steps):
        return "The steps did not overlap: one was over before another had begun."
    if not isinstance(result, list) or len(result) != len(CITIES):
        return f"The handler should return a list of three reports; it returned {result!r}."
    found = [next((city for city in CITIES if city in str(report)), None) for report in result]
    if found != [*CITIES]:
        return f"They ran at once. But the reports should come in the order of the cities: {found}."
    return None


def _each_pays_for_itself(journal: Journal, result: Any) -> str | None:
    below = [step.child for step in journal.entries if step.child]
    counted = [
        [attempt for step in part.entries for attempt in step.attempts or ()]
        for part in [journal, *below]
    ]
    cut_off = sum(attempt.error == CUT_OFF for attempts in counted for attempt in attempts)
    failed = sum(
        attempt.error not in (None, CUT_OFF) for attempts in counted for attempt in attempts
    )
    if cut_off:
        return f"{cut_off} model calls were cut off in flight by another's failure, and paid again."
    if not failed:
        return "Nothing failed this time: run the cell with the exercise again, then this one."
    if len(below) != ANSWERS:
        return f"Each of the three should be a call of its own; there are {len(below)} calls."
    calls = [step for step in journal.entries if step.child]
    if not _overlap(calls):
        return "Each is paid once. But they did not run at the same time: start all, then wait."
    if not isinstance(result, list) or len(result) != ANSWERS or not all(result):
        return f"Each is paid once. But there should be three answers; there is {result!r}."
    return None


EXERCISES = {
    "05.1": Exercise(
        target="TripAgent/run",
        judge=_all_at_once_and_in_order,
        praise="All three were on their way before the first was back, and came home in order.",
        hints=(
            "What starts a step, and what waits for it? In the list both happen in one breath.",
            "Make a list of ctx.run_typed(…) without an await: three futures, all of them started.",
            "Then `await restate.gather(*futures)`, and a list of `await future` for each.",
        ),
    ),
    "05.2": Exercise(
        target="DigestAgent/run",
        judge=_each_pays_for_itself,
        praise="One failed twice, and the others never noticed: each has a journal of its own.",
        hints=(
            "A failing step ends the attempt of the handler that it is in. Who else is in there?",
            "ctx.service_call takes a handler and its argument; like a step, it returns a future.",
            "Only one line changes: `ctx.service_call(digest_one, order)` for each order.",
        ),
    ),
}
