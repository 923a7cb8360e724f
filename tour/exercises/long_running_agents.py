"""The exercises of notebook 8."""

from typing import Any

from tour.exercises.evidence import calls_on, reads_state
from tour.exercises.exercise import Exercise
from tour.journal import Journal, read

__all__ = ["EXERCISES"]

SETS = 3  # of one alarm: twice, and once more after it has rung


def _naps(journal: Journal, result: Any) -> str | None:
    naps = [step for step in journal.entries if step.name == "nap"]
    if not naps:
        others = [step.name for step in journal.entries if step.kind == "sleep"]
        named = f", and the timer is named {others[0]!r}" if others else ""
        return f"The journal has no `nap`{named}: its steps are {journal.steps}."
    if naps[0].kind != "sleep":
        return "`nap` is a step that runs, and holds a machine while it does: a timer holds none."
    if journal.steps != ["LLM call", "nap", "LLM call"]:
        return f"The model should be asked before and after the nap; the steps are {journal.steps}."
    nap, after = journal.entries[1:]
    if nap.ended is None or after.started < nap.ended:
        return "Nobody waits for the nap: the second call began before its end."
    if (nap.ended - nap.started).total_seconds() < 0.3:
        return "That was no nap: it should take half a second."
    return None


def _rings_once(journal: Journal, result: Any) -> str | None:
    sets = [read(row["id"]) for row in calls_on(journal)]
    if len(sets) < SETS:
        return "Set the same alarm twice, and once more after it has rung."
    sent = [{step.id for step in each.entries if step.kind == "send"} for each in sets]
    first, *again, last = sent
    if not first:
        return "The alarm never rings: setting it should send `ring`."
    if any(each - first for each in again):
        return f"It was set {len(sets) - 1} times before it rang, and rings more than once."
    if not last - first:
        return "Once it has rung, it cannot be set again: who forgets that it is set?"
    if not reads_state(journal):
        return "Whether it is set is in the memory of a process, and gone with it."
    return None


EXERCISES = {
    "08.1": Exercise(
        target="NapAgent/run",
        judge=_naps,
        praise="A nap of half a second or of half a year: no machine has to stay up for it.",
        hints=(
            "Who should keep the time when the process is gone?",
            "The context has a sleep of its own. It takes a timedelta and a name.",
            '`await ctx.sleep(timedelta(seconds=0.5), name="nap")`. Do not forget the `await`.',
        ),
    ),
    "08.2": Exercise(
        target="AlarmAgent/set",
        judge=_rings_once,
        praise="It rings once, however often it is set, and may be set again.",
        hints=(
            "What must the second `set` know about the first?",
            "An object has a state: set a value when the alarm is set, and look for it before.",
            "`ring` is the moment to forget it: `ctx.clear` with the name of the value.",
        ),
    ),
}
