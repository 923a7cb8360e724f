"""The server's own record of invocations, read over its SQL API and made into journals."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import count
from typing import Any

from tour import server
from tour.errors import TourError
from tour.journal import attempts
from tour.journal.attempts import Attempt
from tour.journal.journal import Journal, Kind, State, Step

Row = dict[str, Any]

STEPS: dict[str, Kind] = {
    "Run": "run",
    "Call": "call",
    "OneWayCall": "send",
    "AttachInvocation": "attach",
    "Sleep": "sleep",
    "GetPromise": "promise",
    "PeekPromise": "peek",
    "CompletePromise": "resolve",
}
CODE, NO_CONNECTION, MISMATCH = "restate_doc_error_code", "RT0010", "RT0016"
INVOCATIONS = (
    "select id, target, status, created_at, completed_at, completion_failure, restarted_from "
    "from sys_invocation where id in ({})"
)
ENTRIES = (
    "select id, index, entry_lite_json, appended_at, "
    'case when entry_lite_json like \'%"result":"Failure"%\' then entry_json end as failure '
    "from sys_journal where id in ({}) order by id, index"
)
EVENTS = (
    "select id, event_json, appended_at from sys_journal_events "
    "where id in ({}) and event_type = 'TransientError' order by appended_at"
)


def read(invocation: str) -> Journal:
    """Return the journal of an invocation, and below it those of the invocations it started.

    Raises:
        TourError: the server knows no such invocation (it forgets a finished one after a day).
    """
    records = _Records()
    level = [invocation]
    while level:
        level = records.load(level)
    if invocation not in records.invocations:
        raise TourError(f"Restate knows no invocation {invocation}; a finished one is kept a day.")
    return _journal(records, invocation)


def newest(target: str) -> str | None:
    """Return the newest invocation of a "Service/handler", whatever its key; None without one."""
    service, handler = target.split("/")
    rows = server.query(
        f"select id from sys_invocation where target_service_name = '{service}' "
        f"and target_handler_name = '{handler}' order by created_at desc limit 1"
    )
    return rows[0]["id"] if rows else None


class _Records:
    """Rows of the server's tables, by invocation."""

    def __init__(self) -> None:
        self.invocations: dict[str, Row] = {}
        self.entries: dict[str, list[Row]] = defaultdict(list)
        self.events: dict[str, list[Row]] = defaultdict(list)

    def load(self, invocations: list[str]) -> list[str]:
        """Load some invocations with one query a table; return the ids of their children."""
        ids = ", ".join(f"'{invocation}'" for invocation in invocations)
        children = []
        for row in server.query(INVOCATIONS.format(ids)):
            self.invocations[row["id"]] = row
        for row in server.query(ENTRIES.format(ids)):
            row["kind"], row["body"] = _unpack(row["entry_lite_json"])
            self.entries[row["id"]].append(row)
            if child := row["body"].get("invocation_id"):
                children.append(child)
        for row in server.query(EVENTS.format(ids)):
            self.events[row["id"]].append(row)
        return children


def _unpack(entry: str) -> tuple[str, Row]:
    """Return the kind of an entry, such as "Run" or "Notification", and what it holds."""
    [(side, content)] = json.loads(entry).items()
    if side == "Notification":
        return side, content
    [(kind, body)] = content.items()
    return kind, body


def _journal(records: _Records, invocation: str) -> Journal:
    row = records.invocations[invocation]
    ended = row.get("completed_at")
    return Journal(
        id=invocation,
        target=row["target"],
        status=row["status"],
        created=_moment(row["created_at"]),
        ended=_moment(ended) if ended else None,
        entries=tuple(_steps(records, row)),
        errors=tuple(_errors_outside_steps(records.events[invocation])),
        failure=row.get("completion_failure"),
        ui=f"{server.ui}/ui/invocations/{invocation}",
    )


def _steps(records: _Records, invocation: Row) -> list[Step]:
    entries = records.entries[invocation["id"]]
    results = {_result_id(row["body"]): row for row in entries if row["kind"] == "Notification"}
    tries = attempts.tries_of(invocation["id"])
    runs = count()
    steps = []
    for row in entries:
        if row["kind"] not in STEPS:
            continue
        tried = tries.get(next(runs)) if row["kind"] == "Run" else None
        if tried is None and row["kind"] == "Run" and "restarted_from" in invocation:
            tried = ()  # taken over with its result, not run again
        steps.append(_step(row, results, tried, "completed_at" in invocation, records))
    return _in_order(steps, _awakeables(invocation["id"], results))


def _in_order(steps: list[Step], awakeables: Iterable[tuple[Step, int]]) -> list[Step]:
    """Put each awakeable between the runs where it was made, as the endpoint has counted them.

    The journal has no entry for the making, and its times are another clock's, some milliseconds
    off. Steps that are no runs take longer than that: it comes behind those that were over.
    """
    place = 0
    for awakeable, before in awakeables:
        runs = [number for number, step in enumerate(steps, 1) if step.kind == "run"]
        over = [n for n, s in enumerate(steps, 1) if s.ended and s.ended <= awakeable.started]
        next_run = runs[before] - 1 if before < len(runs) else len(steps)
        place = min(max(place, *runs[:before], *over, 0), next_run)
        steps.insert(place, awakeable)
        place += 1
    return steps


def _step(
    row: Row,
    results: dict[str, Row],
    tried: tuple[Attempt, ...] | None,
    over: bool,
    records: _Records,
) -> Step:
    kind, body = STEPS[row["kind"]], row["body"]
    done = results.get(
        f"CompletionId {body.get('result_completion_id', body.get('completion_id'))}"
    )
    child = body.get("invocation_id")
    if kind == "send":
        done = row  # sent is done; how the child fares, its own journal tells
    return Step(
        kind=kind,
        name=_name(row),
        state=_state(kind, done, tried, over),
        started=_moment(row["appended_at"]),
        ended=_moment(done["appended_at"]) if done else None,
        index=(done or row)["index"],
        id=child or "",
        attempts=tried,
        error=_failure_in(done),
        child=_journal(records, child) if child in records.invocations else None,
    )


def _awakeables(invocation: str, results: dict[str, Row]) -> Iterator[tuple[Step, int]]:
    """Yield the awakeables, each with the number of runs before it, as the endpoint noted them.

    The journal has their results alone.
    """
    for awakeable in attempts.awakeables_of(invocation):
        done = results.get(f"SignalIndex {awakeable.signal}")
        step = Step(
            kind="awakeable",
            name="awakeable",
            state=_state("awakeable", done, None, over=False),
            started=awakeable.made,
            ended=_moment(done["appended_at"]) if done else None,
            index=done["index"] if done else 0,
            id=awakeable.id,
            error=_failure_in(done),
        )
        yield step, awakeable.runs


def _state(kind: Kind, done: Row | None, tried: tuple[Attempt, ...] | None, over: bool) -> State:
    if done:
        return "failed" if _failure_in(done) else "completed"
    if over and kind in ("run", "call"):
        return "failed"  # killed or cancelled before it had a result
    if kind != "run":
        return "waiting"  # for ever, if the handler went on without it
    return "retrying" if tried and tried[-1].error else "running"


def _name(row: Row) -> str:
    body = row["body"]
    if target := body.get("invocation_target"):
        [parts] = target.values()
        return "/".join(parts[part] for part in ("name", "key", "handler") if parts.get(part))
    return str(body.get("name") or body.get("key") or STEPS[row["kind"]])


def _result_id(body: Row) -> str:
    """Name what a notification answers: "CompletionId 3", "SignalIndex 17"."""
    [(kind, number)] = body["id"].items()
    return f"{kind} {number}"


def _failure_in(row: Row | None) -> str | None:
    """Return the message of the failure that an entry holds, if it holds one."""
    if row is None or "failure" not in row:
        return None
    holder = json.loads(row["failure"])
    while "result" not in holder:  # Notification, then Completion and Run, or Signal, …
        [holder] = holder.values()
    return str(holder["result"]["Failure"]["message"])


def _errors_outside_steps(events: list[Row]) -> Iterator[tuple[datetime, str]]:
    """Yield the errors of the handler itself: those of steps are counted, with every repeat.

    A broken or refused connection is not among them: how often the server knocks at a closed
    door is a matter of time, and the step that was cut off tells the story. A step that is not
    the one in the journal never gets as far as a try.
    """
    for row in events:
        event = json.loads(row["event_json"])
        of_step = event.get("related_command_type") == "Run" and event.get(CODE) != MISMATCH
        if not of_step and event.get(CODE) != NO_CONNECTION:
            yield _moment(row["appended_at"]), event["error_message"]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
