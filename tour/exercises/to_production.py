"""The exercises of notebook 10."""

import json
import re
from typing import Any

from tour import server
from tour.exercises.exercise import Exercise
from tour.journal import Journal

__all__ = ["EXERCISES"]

TOKEN = "token-of-the-carrier"  # noqa: S105  it opens nothing: the exercise is to keep it out


def _stored(journal: Journal) -> str:
    """Return all that the server has of an invocation, with bytes as the text that they are."""
    entries = f"select entry_json from sys_journal where id = '{journal.id}' order by index"
    found = " ".join(row["entry_json"] for row in server.query(entries))
    as_bytes = re.compile(r"\[[\d,]+\]")
    return as_bytes.sub(lambda each: bytes(json.loads(each[0])).decode(errors="replace"), found)


def _keeps_the_token_out(journal: Journal, result: Any) -> str | None:
    if TOKEN in _stored(journal):
        return "The token is in the journal, for everybody who may read that."
    if journal.steps != ["Find parcel"]:
        return f"One step is enough, `Find parcel`; the journal has {journal.steps}."
    if result != "Parcel 4711 is in Lyon.":
        return f"The token is not in the journal, but the parcel is lost: {result!r}."
    return None


def _tells_what_it_booked(journal: Journal, result: Any) -> str | None:
    if "Book pickup" not in journal.steps:
        return f"Keep the step `Book pickup`; the journal has {journal.steps}."
    timeout = server.request("GET", "/services/PickupAgent").json()["inactivity_timeout"]
    if timeout != "0s":
        return f"Nothing was replayed: the inactivity timeout is {timeout}, and was to be zero."
    if not isinstance(result, dict) or set(result) != {"booked", "told"}:
        return f"Return what was booked and what was told, as before; it is {result!r}."
    if result["booked"] != result["told"]:
        return "The code that was booked is not the one that the customer was told."
    if len(str(result["told"])) != 8:
        return "Each pick-up needs a code of its own, of eight characters."
    return None


EXERCISES = {
    "10.1": Exercise(
        target="VaultAgent/run",
        judge=_keeps_the_token_out,
        praise="The step has read the token itself, and nobody else has seen it.",
        hints=(
            "What a step returns is stored. What happens inside of one is not.",
            "Who needs the token? Let that function read it, instead of being handed it.",
            "Write `async def find(number)`, which calls find_with(read_token(), number), and make "
            "that the one step.",
        ),
    ),
    "10.2": Exercise(
        target="PickupAgent/run",
        judge=_tells_what_it_booked,
        praise="The code is the same in each replay: booked and told.",
        hints=(
            "The handler begins twice, and the step does not. What is made anew each time?",
            "A value that must not change has to come from the journal: from a step, or from the "
            "context.",
            "ctx.uuid() is a UUID that each replay makes alike.",
        ),
    ),
}
