"""The exercises of notebook 9."""

from typing import Any

from tour.exercises.evidence import calls_on, state_of
from tour.exercises.exercise import Exercise
from tour.journal import Journal

__all__ = ["EXERCISES"]

MODEL_CALL, TOOL = "call LLM", "get weather"


def _all_is_in_the_journal(journal: Journal, result: Any) -> str | None:
    if MODEL_CALL not in journal.steps:
        return (
            f"The journal has {journal.steps or 'no steps'} and no `{MODEL_CALL}`: a replay pays "
            f"for every model call again."
        )
    if journal.steps == [MODEL_CALL, MODEL_CALL]:
        return "The model calls are steps now. But the look-up is none: a replay does it again."
    if journal.steps != [MODEL_CALL, TOOL, MODEL_CALL]:
        return (
            f"The steps should be `{MODEL_CALL}`, `{TOOL}`, `{MODEL_CALL}`; they are "
            f"{journal.steps}."
        )
    if not result:
        return "The steps are right, but the handler returned nothing."
    return None


def _failed_turns_leave_nothing(journal: Journal, result: Any) -> str | None:
    rows = calls_on(journal)
    answered = sum(row.get("completion_result") == "success" for row in rows)
    if answered == len(rows):
        return "No turn of this conversation has failed: run the cell as it is given."
    asked = [item["content"] for item in _remembered(journal) if item.get("role") == "user"]
    if len(asked) > answered:
        return (
            f"{answered} turns were answered, and the state has {len(asked)} questions: {asked}. "
            f"The model reads the failed one in every turn that follows."
        )
    if len(asked) < answered:
        return f"{answered} turns were answered, but the state has {len(asked)} of their questions."
    if not result:
        return "The memory is right, but the handler returned nothing."
    return None


def _remembered(journal: Journal) -> list[dict[str, Any]]:
    """Return the items of every list that the state of the invocation's key has."""
    lists = [kept for kept in state_of(journal).values() if isinstance(kept, list)]
    return [item for kept in lists for item in kept if isinstance(item, dict)]


EXERCISES = {
    "09.1": Exercise(
        target="MovedSdkAgent/run",
        judge=_all_is_in_the_journal,
        praise="Two model calls and a look-up, each of them a step: no replay repeats any.",
        hints=(
            "Three names are the SDK's own: the decorator, the runner, and a plain call in the "
            "tool. Each has a counterpart in this notebook.",
            "DurableRunner makes steps of the model calls. The tool's own step you make yourself.",
            "`@durable_function_tool`, and in the tool `restate_context().run_typed(…)` with the "
            "name `get weather`.",
        ),
    ),
    "09.2": Exercise(
        target="SteadySdkAgent/message",
        judge=_failed_turns_leave_nothing,
        praise="Only what was answered is remembered, because it is written last.",
        hints=(
            "The session writes whatever happens. Who else could keep the list?",
            "You, as in notebook 3: ctx.get before the run, ctx.set after it.",
            "Hand DurableRunner.run the list `[*history, asked]`, without a session, and set "
            "`result.to_input_list()`.",
        ),
    ),
}
