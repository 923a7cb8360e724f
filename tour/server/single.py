"""The server that a kernel uses: the one that the environment names, or one of the tour's own."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

from tour.asgi import free_port, is_free
from tour.errors import TourError
from tour.home import home, locked, setting
from tour.network import is_address, is_here, shown
from tour.server import installation, process
from tour.server.process import Server

DEFAULT_PORTS = (8080, 9070)
UI_BELOW = "JUPYTERHUB_SERVICE_PREFIX"  # a hub sets it for the lab, and kernels inherit it
RECORD, NAME = "server.json", "tour"

_reviving = threading.Lock()


def up() -> Server:
    """Return the server to use: the one the environment names, a living one of ours, or a new one.

    Raises:
        TourError: the named one does not answer, or ours does not start.
    """
    if named := _named():
        return _checked(named)
    with locked("server.lock"):
        server = _living()
        return (process.await_ready(server) if server else None) or _start(_recorded())


def running() -> Server | None:
    """Return the server that is up, without starting one."""
    return _named() or _living()


def ports() -> tuple[int, int]:
    """Return the ports of the server that is up, or those that the next one will ask for."""
    server = running() or _recorded()
    return server.ports if server else DEFAULT_PORTS


def taken(server: Server) -> list[int]:
    """Return the usual ports that were somebody else's when the tour started this server."""
    pairs = zip(DEFAULT_PORTS, server.ports, strict=True)
    return [usual for usual, port in pairs if server.pid and port != usual]


def ensure() -> Server:
    """Return the server, and say so where it had died and was started again.

    Raises:
        TourError: there is none, and none can be started.
    """
    if server := running():
        return server
    with _reviving:
        if server := running():
            return server
        died = _recorded() is not None
        server = up()
        if died:
            print("restate-server had died. It is up again, with its data.")
    return server


def pid() -> int:
    """Return the process number of the server that the tour started.

    Raises:
        TourError: there is none: nothing runs, or it is somebody else's.
    """
    server = running()
    if server is None or server.pid is None:
        raise TourError("No restate-server of the tour is running here. tour.start() starts one.")
    return server.pid


def kill() -> None:
    """Kill the server that the tour started, as a power cut does; the next call starts it again.

    Raises:
        TourError: there is none: nothing runs, or it is somebody else's.
    """
    process.kill(pid())


def down() -> bool:
    """Stop the server that the tour started, and no other; return whether there was one."""
    with locked("server.lock"):
        server = _recorded()
        found = server.process if server else None
        process.end([found] if found else [])
        (home() / RECORD).unlink(missing_ok=True)
    return found is not None


def find() -> Path:
    """Return the restate-server to run: `RESTATE_SERVER`, the installed one, or one on PATH.

    Raises:
        TourError: `RESTATE_SERVER` names no program, or there is none and none can be installed.
    """
    if named := setting("RESTATE_SERVER"):
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise TourError(f"RESTATE_SERVER={named} is not a program. Correct it, or unset it.")
        return Path(named)
    if installed := installation.binary():
        return installed
    if on_path := shutil.which("restate-server"):
        return Path(on_path)
    return installation.install()


def ui_of(admin: str) -> str:
    """Return where the learner's browser finds the UI: in a hub, this machine's is below it."""
    return ui_place() if is_here(admin) and UI_BELOW in os.environ else shown(admin)


def ui_place() -> str:
    """Return the path of the UI in a hub."""
    return f"{os.environ.get(UI_BELOW, '/')}restate"


def _named() -> Server | None:
    """Return the server that the environment names, unchecked."""
    names = ("RESTATE_INGRESS_URL", "RESTATE_ADMIN_URL")
    urls = {name: url.rstrip("/") for name in names if (url := setting(name))}
    if not urls:
        return None
    if len(urls) < len(names):
        raise TourError("Set both RESTATE_INGRESS_URL and RESTATE_ADMIN_URL, or neither.")
    for name, url in urls.items():
        if not is_address(url):
            raise TourError(f"{name}={shown(url)} is not an address: it must begin with http://.")
    ingress, admin = urls.values()
    return Server(ingress, admin)


def _checked(server: Server) -> Server:
    version = process.version_of(server)
    if version is None:
        raise TourError(
            f"No Restate answers at RESTATE_INGRESS_URL={shown(server.ingress)} and "
            f"RESTATE_ADMIN_URL={shown(server.admin)}. Start it, or unset both variables: the tour "
            f"then starts a server of its own."
        )
    return replace(server, version=version)


def _recorded() -> Server | None:
    return process.recorded(RECORD).get(NAME)


def _living() -> Server | None:
    """Return the recorded server if its process still lives; nothing is asked over the network."""
    server = _recorded()
    return server if server is not None and server.process is not None else None


def _start(before: Server | None) -> Server:
    """Start a server on the ports it had before, or the usual ones, or others if those are taken.

    Three tries, because somebody may take a port between the look and the server's start.
    """
    wanted = before.ports if before else DEFAULT_PORTS
    binary, data, log = find(), home() / "data", process.logs() / "restate-server.log"
    if before:
        process.await_free(wanted)
    for _ in range(3):
        place = process.at(*(port if is_free(port) else free_port() for port in wanted))
        spawned = process.spawn(place, binary, data, log)
        process.record(RECORD, {NAME: spawned})  # at once, so that `tour down` ends it in any case
        if server := process.await_ready(spawned):
            process.record(RECORD, {NAME: server})
            return server
    installation.version_of(binary)  # says what it says, if that is all that it does
    raise TourError(
        f"{binary} does not start: {process.last_words(log)}. "
        f"If its data is damaged, move {data} away and try again."
    )
