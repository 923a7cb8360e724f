"""Restate's UI through a JupyterHub, such as Binder, whose browsers reach no port of this machine.

jupyter-server-proxy, where it is installed, finds `restate_ui` by the entry point in pyproject.toml
and passes on what is asked below `/user/me/restate`. The UI believes that it has a site to itself:
its code loads from `/ui/`, and asks the admin API at the root. Both are moved below that path.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tour import server
from tour.errors import TourError

# The UI handles some of its requests itself, by their paths: they may change on their way out only.
FETCH = Path(__file__).with_name("hub.html").read_text(encoding="utf-8").strip()


class _Response(Protocol):
    """What jupyter-server-proxy lets us change."""

    headers: Mapping[str, str]
    body: bytes


def restate_ui() -> dict[str, Any]:
    """Return what jupyter-server-proxy is to know: the port, and what becomes of the answers.

    It keeps the port for as long as the lab runs. If the server has had to take another one, that
    port is somebody else's, and nothing is passed on.
    """
    port = server.ports()[1]

    def if_it_is_ours(path: str) -> str:
        running = server.running()
        if running is None or running.ports[1] != port:
            raise TourError(f"No server of this learner's is at port {port}. Restart the lab.")
        return path

    return {
        "port": port,
        "mappath": if_it_is_ours,
        "request_headers_override": {"Accept-Encoding": "identity"},
        "rewrite_response": _move,
        "launcher_entry": {"title": "Restate UI", "path_info": "restate/ui/"},
    }


def _move(response: _Response) -> None:
    """Let the UI's pages and code find what they load, and the admin API, below the hub's path."""
    kind, place = response.headers.get("Content-Type", ""), server.ui_place()
    if kind.startswith("text/html"):
        fetch = FETCH.replace("PLACE", place)
        response.body = response.body.replace(b"<head>", fetch.encode(), 1)
    if kind.startswith(("text/html", "text/javascript")):
        response.body = response.body.replace(b'"/ui/', f'"{place}/ui/'.encode())
