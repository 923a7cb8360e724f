"""restate-server: find it, start it, adopt a living one, stop it; its addresses.

What it is started with comes from Restate's configuration reference; which settings pay in a
notebook was measured (one partition, a local log, little memory; fsync stays on).
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx
import psutil

from tour import install
from tour.errors import TourError

__all__ = ["Server", "down", "find", "pid", "running", "up"]

LOOPBACK = "127.0.0.1"
DEFAULT_PORTS = (8080, 9070)
DIRECT = {f"all://{LOOPBACK}": None}  # for httpx: this machine is reached without the user's proxy
START_SECONDS = 20
DYING_SECONDS = 2
NOBODY = "inv_1laJN710ENek6OLDWArxpRCXnxNezgftVX"  # any id: to look it up, a partition must be up
LEAN = {
    "RESTATE_ROLES": "[worker,admin,http-ingress,metadata-server]",
    "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
    "RESTATE_BIFROST__DEFAULT_PROVIDER": "local",
    "RESTATE_BIFROST__DISABLE_AUTO_IMPROVEMENT": "true",
    "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "64 MiB",
    "RESTATE_DISABLE_PROMETHEUS": "true",
    "RESTATE_DISABLE_TELEMETRY": "true",
    "RESTATE_LISTEN_MODE": "tcp",
    "RESTATE_NODE_NAME": "tour",
    # octocrab is the look-up of newer releases: it cannot be switched off, only kept quiet.
    "RESTATE_LOG_FILTER": "warn,octocrab=off",
    "RESTATE_LOG_DISABLE_ANSI_CODES": "true",
}

_reviving = threading.Lock()


@dataclass(frozen=True)
class Server:
    """A restate-server that answers.

    Attributes:
        ingress: URL where handlers are called.
        admin: URL of the admin API, the SQL API and the UI.
        pid: its process, if the tour started it; None for somebody else's.
        mark: what tells that process from a later one with the same number: psutil's hash of
            its birth, on a clock that nobody sets.
        version: what it calls itself.
    """

    ingress: str
    admin: str
    pid: int | None = None
    mark: int = 0
    version: str = ""

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the ingress and the admin API."""
        return _port(self.ingress), _port(self.admin)


def _port(url: str) -> int:
    return httpx.URL(url).port or 80


def up() -> Server:
    """Return the server to use: the one the environment names, a living one of ours, or a new one.

    Raises:
        TourError: the named one does not answer, or ours does not start.
    """
    if named := _named():
        return _checked(named)
    with _lock():
        server = _living()
        return server if server and _owns_its_ports(server) else _start(_recorded())


def running() -> Server | None:
    """Return the server that is up, without starting one."""
    return _named() or _living()


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
    with _lock():
        server = _recorded()
        process = _process(server) if server else None
        if process:
            _terminate(process)
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
    with httpx.Client(timeout=5, mounts=DIRECT) as client:
        version = _version(client, server)
    if version is None:
        raise TourError(
            f"No Restate answers at RESTATE_INGRESS_URL={server.ingress} and "
            f"RESTATE_ADMIN_URL={server.admin}. Start it, or unset both variables: the tour then "
            f"starts a server of its own."
        )
    return replace(server, version=version)


def _record() -> Path:
    return install.home() / "server.json"


def _recorded() -> Server | None:
    try:
        return Server(**json.loads(_record().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _living() -> Server | None:
    """Return the recorded server if its process still lives; nothing is asked over the network."""
    server = _recorded()
    return server if server is not None and _process(server) is not None else None


def _process(server: Server) -> psutil.Process | None:
    try:
        process = psutil.Process(server.pid)
        dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return None
    return None if dead or hash(process) != server.mark else process


def _owns_its_ports(server: Server) -> bool:
    """Tell whether this very process listens there: another's might answer in its place."""
    process = _process(server)
    try:
        sockets = process.net_connections(kind="tcp") if process else []
    except psutil.Error:
        return False
    listening = {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN}
    return listening.issuperset(server.ports)


@contextmanager
def _lock() -> Iterator[None]:
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
        _await_free(wanted)
    for _ in range(3):
        ports = [port if _free(port) else _any_free_port() for port in wanted]
        if server := _await_health(_spawn(binary, *ports)):
            _record().write_text(json.dumps(asdict(server)))
            return server
    raise TourError(_why_it_died())


def _spawn(binary: Path, ingress: int, admin: int) -> Server:
    # What the user has set for another Restate, or as a proxy for the world, is not for this one.
    foreign = ("RESTATE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(foreign)}
    environment = (
        kept
        | LEAN
        | {
            "RESTATE_BASE_DIR": str(install.home() / "data"),
            "RESTATE_BIND_IP": LOOPBACK,
            "RESTATE_BIND_PORT": str(_any_free_port()),
            "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_ADMIN__BIND_PORT": str(admin),
        }
    )
    # The shell leaves at once: the server belongs to no kernel, and is nobody's zombie. A session
    # of its own, because the Stop button signals the kernel's whole process group.
    command = ["/bin/sh", "-c", '"$0" >"$1" 2>&1 & echo $!', str(binary), str(_log())]
    shell = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, start_new_session=True
    )
    pid = int(shell.stdout)
    return Server(
        f"http://{LOOPBACK}:{ingress}", f"http://{LOOPBACK}:{admin}", pid=pid, mark=_mark(pid)
    )


def _mark(pid: int) -> int:
    try:
        return hash(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0


def _await_health(server: Server) -> Server | None:
    """Return the server once it answers; None if it died, as it does when a port was taken."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=1, mounts=DIRECT) as client:
        while process := _process(server):
            if _owns_its_ports(server) and (version := _version(client, server)):
                return replace(server, version=version)
            if time.monotonic() > deadline:
                _terminate(process)
            time.sleep(0.01)
    return None


def _version(client: httpx.Client, server: Server) -> str | None:
    """Return the version of a server that can do its work; its health alone comes too early.

    Until a server that starts again has taken the lead of its partition, a query may find nothing,
    or fail. A look at an invocation waits for that.
    """
    query = {"query": f"select id from sys_invocation where id = '{NOBODY}'"}
    try:
        reply = client.get(f"{server.ingress}/restate/invocation/{NOBODY}/output")
        if reply.status_code != httpx.codes.NOT_FOUND:
            return None
        client.post(f"{server.admin}/query", json=query).raise_for_status()
        reply = client.get(f"{server.admin}/version").raise_for_status()
    except httpx.HTTPError:
        return None
    return str(reply.json()["version"])


def _terminate(process: psutil.Process) -> None:
    try:
        process.terminate()
        process.wait(timeout=5)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(timeout=5)
    except psutil.NoSuchProcess:
        return


def _log() -> Path:
    folder = install.home() / "logs"
    folder.mkdir(exist_ok=True)
    return folder / "restate-server.log"


def _why_it_died() -> str:
    lines = _log().read_text(errors="replace").strip().splitlines() or ["it wrote no log"]
    return (
        f"restate-server does not start: {lines[-1][-300:]} (whole log: {_log()}). "
        f"If its data is damaged, move {install.home() / 'data'} away and try again."
    )


def _free(port: int) -> bool:
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _await_free(ports: tuple[int, ...]) -> None:
    """Give a server that was just killed the moment it needs to let go of its ports."""
    deadline = time.monotonic() + DYING_SECONDS
    while not all(_free(port) for port in ports) and time.monotonic() < deadline:
        time.sleep(0.02)


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
