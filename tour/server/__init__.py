"""restate-server: installed, found, started or adopted, stopped; one, or a cluster beside it.

Notebooks use `ingress`, `admin` and `ui`, which are addresses, and `query`, `request`, `kill` and
`cluster`; the rest is for the rooms above. Nothing here knows a service.
"""

from typing import TYPE_CHECKING

from tour.server import cluster
from tour.server.http import Row, ask, message_of, output_of, query, query_async, request, wait_for
from tour.server.installation import VERSION, binary, check_place, install, version_of
from tour.server.process import Server
from tour.server.single import (
    DEFAULT_PORTS,
    down,
    ensure,
    find,
    kill,
    pid,
    ports,
    running,
    taken,
    ui_of,
    ui_place,
    up,
)

if TYPE_CHECKING:
    ingress: str
    admin: str
    ui: str

__all__ = ["admin", "cluster", "ingress", "kill", "query", "request", "ui"]
__all__ += ["DEFAULT_PORTS", "VERSION", "Row", "Server", "ask", "binary", "check_place", "down"]
__all__ += [
    "ensure",
    "find",
    "install",
    "message_of",
    "output_of",
    "pid",
    "ports",
    "query_async",
    "running",
]
__all__ += ["taken", "ui_of", "ui_place", "up", "version_of", "wait_for"]


if not TYPE_CHECKING:  # a checker would take it for every name

    def __getattr__(name: str) -> str:
        """Return an address of the server that is up; it is started if it had died."""
        if name in ("ingress", "admin"):
            return str(getattr(ensure(), name))
        if name == "ui":
            return ui_of(ensure().admin)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
