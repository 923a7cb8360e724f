"""What a virtual object leaves behind besides journals: its state, and the calls on its key."""

import json
from typing import Any

from tour import server
from tour.journal import Journal

__all__ = ["calls_on", "reads_state", "state_of"]


def state_of(journal: Journal) -> dict[str, Any]:
    """Return the state of the invocation's key, by name; each value is JSON."""
    service, _, rest = _quoted(journal).partition("/")
    key = rest.rpartition("/")[0]
    rows = server.query(
        f"select key, value_utf8 from state "
        f"where service_name = '{service}' and service_key = '{key}'"
    )
    return {row["key"]: json.loads(row["value_utf8"]) for row in rows}


def reads_state(journal: Journal) -> bool:
    """Tell whether the invocation has looked at its key's state."""
    rows = server.query(
        f"select index from sys_journal where id = '{journal.id}' "
        f"and entry_type in ('Command: GetEagerState', 'Command: GetLazyState')"
    )
    return bool(rows)


def calls_on(journal: Journal) -> list[server.Row]:
    """Return the id and, once it has ended, the result of every call like this one, oldest first.

    Like this one: of the same handler, on the same key.
    """
    return server.query(
        f"select id, completion_result from sys_invocation "
        f"where target = '{_quoted(journal)}' order by created_at"
    )


def _quoted(journal: Journal) -> str:
    return journal.target.replace("'", "''")
