"""How long a cell waits for an invocation, and what it says when waiting leads nowhere."""

import asyncio
import json
import time
from typing import Any

from tour import server
from tour.errors import TourError

SAME_FAILURES, SAME_SECONDS = 4, 3.0
UNREACHABLE = "RT0010"
CANCEL = 1  # the number of the signal that cancels; those above it are awakeables
WAITING = (
    "select status, retry_count, journal_size, last_failure, last_failure_error_code, "
    "suspended_waiting_for_signals from sys_invocation where id = '{}'"
)
WHY_PAUSED = (
    "select event_json from sys_journal_events where id = '{}' "
    "and event_type in ('TransientError', 'Paused') order by appended_at desc"
)


async def within(seconds: float, future: "asyncio.Future[Any]") -> bool:
    """Wait for a future, so long and no longer; return whether it is done."""
    done, _ = await asyncio.wait({future}, timeout=seconds)
    return bool(done)


class Patience:
    """Ends a wait that would not end by itself, with the reason and the next step.

    Attributes:
        interval: seconds between two looks at the invocation.
    """

    interval = 0.25
    speaks_after = 5.0

    def __init__(self, invocation: str, target: str, timeout: float, until: str = "") -> None:
        """Begin to wait; for a state, if `until` names one."""
        self._id, self._target, self._until = invocation, target, until
        self._began = self._looked = time.monotonic()
        self._timeout = timeout
        self._spoke = False
        self._failing: tuple[object, ...] = ()
        self._since, self._first_seen = 0, self._began

    async def check(self) -> None:
        """Look at the invocation, at most once an interval.

        Raises:
            TourError: it is paused, fails again and again, has nobody who serves it, or time is up.
        """
        now = time.monotonic()
        if now - self._looked < self.interval:
            return
        self._looked = now
        row = await self._row()
        if row["status"] == "paused" and self._until != "paused":
            raise TourError(await self._why_paused())
        if row["status"] == "backing-off" and self._fails_again_and_again(row):
            await self._give_up(row)
        waited = now - self._began
        if waited > self._timeout:
            raise TourError(f"Waited {self._timeout:g} s. {self._state(row)}")
        if waited > self.speaks_after and not self._spoke:
            self._spoke = True
            print(self._state(row))

    async def _row(self) -> server.Row:
        rows = await server.query_async(WAITING.format(self._id))
        return rows[0] if rows else {"status": "not to be seen"}

    def _fails_again_and_again(self, row: server.Row) -> bool:
        """Tell whether it has failed at the same point, in the same way, often and long enough.

        Often alone would not do: a step may have a policy of quick retries.
        """
        failing = (row.get("journal_size"), _first_line(row))
        if failing != self._failing:
            self._failing = failing
            self._since, self._first_seen = row["retry_count"], time.monotonic()
        often = row["retry_count"] - self._since >= SAME_FAILURES - 1
        return often and time.monotonic() - self._first_seen >= SAME_SECONDS

    async def _give_up(self, row: server.Row) -> None:
        if row.get("last_failure_error_code") == UNREACHABLE:
            raise TourError(
                f"Nobody serves {self._target} now ({_first_line(row)}). Nothing is lost: run the "
                f"cell with tour.serve(...) and it goes on."
            )
        await asyncio.to_thread(server.request, "PATCH", f"/invocations/{self._id}/pause")
        raise TourError(
            f"{self._target} fails again and again: {_first_line(row)}. The tour has paused it and "
            f"nothing is lost: mend the cause, run the cell with tour.serve(...) again, then "
            f"`await run.resume()`."
        )

    async def _why_paused(self) -> str:
        rows = await server.query_async(WHY_PAUSED.format(self._id))
        events = [json.loads(row["event_json"]) for row in rows]
        # The failure that exhausts a retry policy is recorded with the pause alone.
        causes = [event.get("last_failure") or event for event in events]
        told = (str(cause["error_message"]) for cause in causes if "error_message" in cause)
        error = next(told, "it was told to")
        return (
            f"{self._target} is paused: {error}. Mend the cause, run the cell with tour.serve(...) "
            f"again, then `await run.resume()`."
        )

    def _state(self, row: server.Row) -> str:
        """Say how it stands, and what would move it."""
        if signals := [n for n in row.get("suspended_waiting_for_signals", []) if n > CANCEL]:
            waits = f"{len(signals)} approval" + "s" * (len(signals) > 1)
            return f"{self._target} is suspended and waits for {waits}: tour.approve(run, True)."
        failure = f", last failure: {_first_line(row)}" if row.get("last_failure") else ""
        return f"{self._target} is {row['status']}{failure}."


def _first_line(row: server.Row) -> str:
    return str(row.get("last_failure", "no failure")).splitlines()[0]
