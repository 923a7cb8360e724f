"""restate-server: find it, start it, adopt a living one, stop it; its addresses."""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import httpx

from tour import install
from tour.errors import TourError
from tour.process import (
    Server,
    await_free,
    await_ready,
    direct,
    free_port,
    is_free,
    last_words,
    process_of,
    shown,
    spawn,
    terminate,
    version_of,
)

__all__ = [
    "DEFAULT_PORTS",
    "Server",
    "down",
    "ensure",
    "find",
    "lock",
    "logs",
    "pid",
    "ports",
    "running",
    "up",
]

DEFAULT_PORTS = (8080, 9070)

_reviving = threading.Lock()


def up() -> Server:
    """Return the server to use: the one the environment names, a living one of ours, or a new one.

    Raises:
        TourError: the named one does not answer, or ours does not start.
    """
    if named := _named():
        return _checked(named)
    with lock():
        server = _living()
        return (await_ready(server) if server else None) or _start(_recorded())


def running() -> Server | None:
    """Return the server that is up, without starting one."""
    return _named() or _living()


def ports() -> tuple[int, int]:
    """Return the ports of the server that is up, or those that the next one will ask for."""
    server = running() or _recorded()
    return server.ports if server else DEFAULT_PORTS


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


def down() -> bool:
    """Stop the server that the tour started, and no other; return whether there was one."""
    with lock():
        server = _recorded()
        process = process_of(server) if server else None
        if process:
            terminate(process)
        _record().unlink(missing_ok=True)
    return process is not None


def find() -> Path:
    """Return the restate-server to run: `RESTATE_SERVER`, the installed one, or one on PATH.

    Raises:
        TourError: `RESTATE_SERVER` names no program, or there is none and none can be installed.
    """
    if named := os.environ.get("RESTATE_SERVER"):
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise TourError(f"RESTATE_SERVER={named} is not a program. Correct it, or unset it.")
        return Path(named)
    if installed := install.binary():
        return installed
    if on_path := shutil.which("restate-server"):
        return Path(on_path)
    return install.install()


def _named() -> Server | None:
    """Return the server that the environment names, unchecked."""
    ingress, admin = (os.environ.get(f"RESTATE_{name}_URL") for name in ("INGRESS", "ADMIN"))
    if not ingress and not admin:
        return None
    if not ingress or not admin:
        raise TourError("Set both RESTATE_INGRESS_URL and RESTATE_ADMIN_URL, or neither.")
    return Server(ingress.rstrip("/"), admin.rstrip("/"))


def _checked(server: Server) -> Server:
    with httpx.Client(timeout=5, **direct()) as client:
        version = version_of(client, server)
    if version is None:
        raise TourError(
            f"No Restate answers at RESTATE_INGRESS_URL={shown(server.ingress)} and "
            f"RESTATE_ADMIN_URL={shown(server.admin)}. Start it, or unset both variables: the tour "
            f"then starts a server of its own."
        )
    return replace(server, version=version)


def _record() -> Path:
    return install.home() / "server.json"


def _write(server: Server) -> None:
    _record().write_text(json.dumps(asdict(server)))


def _recorded() -> Server | None:
    try:
        return Server(**json.loads(_record().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _living() -> Server | None:
    """Return the recorded server if its process still lives; nothing is asked over the network."""
    server = _recorded()
    return server if server is not None and process_of(server) is not None else None


@contextmanager
def lock() -> Iterator[None]:
    """Let one process at a time start or stop the server."""
    with (install.home() / "server.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(before: Server | None) -> Server:
    """Start a server on the ports it had before, or the usual ones, or others if those are taken.

    Three tries, because somebody may take a port between the look and the server's start.
    """
    wanted = before.ports if before else DEFAULT_PORTS
    binary = find()
    if before:
        await_free(wanted)
    for _ in range(3):
        ingress, admin = (port if is_free(port) else free_port() for port in wanted)
        spawned = spawn(binary, install.home() / "data", _log(), ingress, admin)
        _write(spawned)  # at once, so that `tour down` ends it whatever happens to us
        if server := await_ready(spawned):
            _write(server)
            return server
    raise TourError(_why_it_died())


def logs() -> Path:
    """Return the folder of what servers say."""
    folder = install.home() / "logs"
    folder.mkdir(exist_ok=True)
    return folder


def _log() -> Path:
    return logs() / "restate-server.log"


def _why_it_died() -> str:
    return (
        f"restate-server does not start: {last_words(_log())}. "
        f"If its data is damaged, move {install.home() / 'data'} away and try again."
    )
