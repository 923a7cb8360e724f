"""The exercises of notebook 3."""

from typing import Any

from tour.exercises.evidence import calls_on, reads_state, state_of
from tour.exercises.exercise import Exercise
from tour.journal import Journal
from tour.server import output_of

__all__ = ["EXERCISES"]

MOST = 6


def _results(journal: Journal) -> list[Any]:
    """Return what all calls on the invocation's key have returned, oldest first."""
    ended_well = [row for row in calls_on(journal) if row.get("completion_result") == "success"]
    return [output_of(row["id"]) for row in ended_well]


def _counts_in_its_state(journal: Journal, result: Any) -> str | None:
    kept = state_of(journal).get("turns")
    if kept is None:
        return (
            "The state of this conversation has no `turns`: the count is in the memory of the "
            "process, and dies with it."
        )
    if not reads_state(journal):
        return "`turns` is set but never read: the number comes from somewhere else."
    told = [each.get("turn") for each in _results(journal)]
    if told != list(range(1, len(told) + 1)):
        return f"The turns should be numbered from 1; they are {told}."
    if kept != told[-1]:
        return f"The last turn was number {told[-1]}, but `turns` in the state is {kept}."
    return None


def _keeps_the_last_messages(journal: Journal, result: Any) -> str | None:
    kept = state_of(journal).get("messages") or []
    if len(kept) > MOST:
        return f"{len(kept)} messages are kept, more than {MOST}."
    answers = [each["answer"] for each in _results(journal)]
    if len(kept) < min(MOST, 2 * len(answers)):
        return f"Of {2 * len(answers)} messages {len(kept)} are kept; {MOST} may be."
    if len(answers) * 2 <= MOST:
        return "The conversation is too short to tell: let it have five turns."
    kept_answers, last_answers = [each["content"] for each in kept[1::2]], answers[-MOST // 2 :]
    if kept_answers != last_answers:
        return (
            f"{MOST} messages are kept, but not the last {MOST}: the answers among them are "
            f"{kept_answers}, and the last turns answered {last_answers}."
        )
    return None


EXERCISES = {
    "03.1": Exercise(
        target="UsageAgent/message",
        judge=_counts_in_its_state,
        praise="The count is beside the journal now, and outlives every process.",
        hints=(
            "Which line of the handler would be wrong in a process that has just started?",
            "The context of an object reads its state with ctx.get and writes it with ctx.set.",
            '`await ctx.get("turns", type_hint=int)` is None at first. Add one, and set it.',
        ),
    ),
    "03.2": Exercise(
        target="TrimmedAgent/message",
        judge=_keeps_the_last_messages,
        praise="However long the conversation gets, a turn costs no more than this.",
        hints=(
            "The state has the form that you give it: which list should be set?",
            "Trim after the reply is there, so that it is counted.",
            "A slice from the end, `[-6:]`, of the whole list.",
        ),
    ),
}
