"""What is left behind besides journals: results, and a virtual object's state and calls."""

import json
from typing import Any

import httpx

from tour import server
from tour.errors import Refused, TourError
from tour.journal import Journal
from tour.network import client_options, is_here

__all__ = ["calls_on", "output_of", "reads_state", "state_of"]


def output_of(invocation: str) -> Any:
    """Return what a completed invocation returned, as JSON has it; None if it returned nothing.

    Raises:
        TourError: it failed or has not completed; the message is the server's.
    """
    ingress = server.ensure().ingress
    options = client_options(is_here(ingress))
    try:
        response = httpx.get(f"{ingress}/restate/invocation/{invocation}/output", **options)
    except httpx.TransportError as error:
        raise TourError(f"Restate does not answer: {error!r}.") from error
    if response.is_error:
        raise Refused(server.message_of(response), response.status_code)
    return response.json() if response.content else None


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
