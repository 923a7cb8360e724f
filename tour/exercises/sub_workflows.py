"""The exercises of notebook 4."""

from typing import Any

from tour.exercises.exercise import Exercise
from tour.journal import Journal

__all__ = ["EXERCISES"]

OTHER, NOTE = "EligibilityAgent/run", "write down"
PROMISE = "agent_response"


def _called_through_restate(journal: Journal, result: Any) -> str | None:
    kinds = [step.kind for step in journal.entries if step.name == OTHER]
    if "call" not in kinds:
        return _not_called(journal, sent="send" in kinds)
    if kinds.count("call") > 1:
        return f"The other agent was called {kinds.count('call')} times; one opinion is enough."
    if NOTE not in journal.steps:
        return f"The call is right. But the step `{NOTE}` has gone: the opinion is to be kept."
    if not result:
        return "The steps are right, but the handler returned nothing."
    return None


def _not_called(journal: Journal, *, sent: bool) -> str:
    if sent:
        return "The other agent was sent its work, and nobody waits for what it says: call it."
    if [step for step in journal.steps if step != NOTE]:
        return (
            "The question is a step, so its answer is kept. But Restate does not know that it "
            "starts an invocation: if the step is cut off, the next try starts one more."
        )
    return (
        f"The journal has {journal.steps}: Restate knows nothing of the question, so every retry "
        f"asks it again."
    )


def _looks_without_waiting(journal: Journal, result: Any) -> str | None:
    kinds = {step.kind for step in journal.entries if step.name == PROMISE}
    if "promise" in kinds:
        return "It waited for the promise: whoever asks how far it is gets no answer until the end."
    if "resolve" in kinds:
        return "It resolved the promise, which is for the workflow itself to do."
    if "peek" not in kinds:
        return f"The journal has {journal.steps}: nothing has looked at `{PROMISE}`."
    if not result or "None" in str(result):
        return f"It looked, but it answered {result!r}: say in words that there is no answer yet."
    return None


EXERCISES: dict[str, Exercise] = {
    "04.1": Exercise(
        target="OpinionAgent/run",
        judge=_called_through_restate,
        praise="The call is in the journal: however often the rest is tried, it is made once.",
        hints=(
            "The handler starts anew with each retry. What of it leaves no trace in the journal?",
            "Agents are called as tools are: look at the function `use` of the approval engine.",
            "`await ctx.service_call(run_eligibility_agent, claim)` is all that is needed.",
        ),
    ),
    "04.2": Exercise(
        target="SlowAnswerAgent/status",
        judge=_looks_without_waiting,
        praise="It looked and did not wait; the workflow goes on undisturbed.",
        hints=(
            "To await a promise is to wait until it is resolved. Here nobody wants to wait.",
            "A promise has a method for this; what it returns is None while nothing is resolved.",
            'Take `await ctx.promise("agent_response", type_hint=str).peek()`, and say one thing '
            "if it is None and another if it is not.",
        ),
    ),
}
