"""The exercises of notebook 2."""

from typing import Any

from tour.exercises.exercise import Exercise
from tour.journal import Journal, Step

__all__ = ["EXERCISES"]

REVIEWERS = 2


def _of_kind(journal: Journal, kind: str) -> list[Step]:
    return [entry for entry in journal.entries if entry.kind == kind]


def _asks_two(journal: Journal, result: Any) -> str | None:
    waits, mails = _of_kind(journal, "awakeable"), journal.tries("request-review")
    if len(waits) != REVIEWERS:
        return f"Two reviewers need an awakeable each; the journal has {len(waits)}."
    if mails != REVIEWERS:
        return (
            f"The journal has {mails} steps `request-review`, not {REVIEWERS}: a mail that is no "
            f"step goes out again whenever the handler is entered again."
        )
    if any(wait.ended is None for wait in waits):
        return "It decided before both reviewers had answered."
    if _of_kind(journal, "run")[-1].started > min(wait.ended for wait in waits if wait.ended):
        return "The second reviewer was asked when the first had answered: ask both, then wait."
    if result is not False:
        return (
            f"One reviewer said yes and one said no, and the result is {result!r}, not False. (If "
            f"both said yes, run the cell as it is given.)"
        )
    return None


def _does_not_wait_for_ever(journal: Journal, result: Any) -> str | None:
    sleeps, waits = _of_kind(journal, "sleep"), _of_kind(journal, "awakeable")
    if not sleeps:
        return f"The journal has {journal.steps} and no sleep: nothing but an answer ends the wait."
    if not waits or "request-review" not in journal.steps:
        return "Nobody was asked: keep the awakeable and the step `request-review`."
    if any(wait.ended for wait in waits):
        return "An answer came in long after the time was up, and the agent was still waiting."
    if result != "escalated":
        return f'Nobody has answered in time, and the result is {result!r}, not "escalated".'
    return None


EXERCISES = {
    "02.1": Exercise(
        target="FourEyesAgent/run",
        judge=_asks_two,
        praise="Two mails, each sent once, and a claim that one of two refuses is not paid.",
        hints=(
            "Two things are wrong: how the mails are sent, and what is done with the answers.",
            "A handler is entered again after each wait. What must not happen again is a step: "
            "ctx.run_typed, with the name `request-review`.",
            "Each mail is `await ctx.run_typed(name, request_human_review, message=…, "
            "awakeable_id=…)`; and of two answers, `any` is content with one.",
        ),
    ),
    "02.2": Exercise(
        target="HurriedAgent/run",
        judge=_does_not_wait_for_ever,
        praise="The wait has an end, and the end is in the journal: no crash moves it.",
        hints=(
            "The handler waits for one thing. It should wait for two, and take what comes first.",
            "ctx.sleep is the second, and restate.select waits for the first of several.",
            "`match await restate.select(approval=answer, timeout=ctx.sleep(…)):` with a case for "
            '["approval", approved] and one for everything else.',
        ),
    ),
}
