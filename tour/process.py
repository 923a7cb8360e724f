"""One restate-server process on this machine: how it is started, whether it lives and is ready.

What it is started with comes from Restate's configuration reference; which settings pay in a
notebook was measured (one partition, little memory; fsync stays on).
"""

import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil

__all__ = [
    "LOOPBACK",
    "Server",
    "await_free",
    "await_ready",
    "direct",
    "free_port",
    "is_free",
    "last_words",
    "owns_its_ports",
    "process_of",
    "shown",
    "spawn",
    "terminate",
    "version_of",
]

LOOPBACK = "127.0.0.1"
START_SECONDS = 20
DYING_SECONDS = 2
NOBODY = "inv_1laJN710ENek6OLDWArxpRCXnxNezgftVX"  # any id: to look it up, a partition must be up
LEAN = {
    "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
    # It works from its second tick on, and takes a node for dead after a second, as by default.
    "RESTATE_GOSSIP_TICK_INTERVAL": "20ms",
    "RESTATE_GOSSIP_FAILURE_THRESHOLD": "50",
    "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "64 MiB",
    "RESTATE_DISABLE_PROMETHEUS": "true",
    "RESTATE_DISABLE_TELEMETRY": "true",
    # What nodes say to each other wants no login: it goes over a socket in the data's folder.
    "RESTATE_LISTEN_MODE": "unix",
    "RESTATE_INGRESS__LISTEN_MODE": "tcp",
    "RESTATE_ADMIN__LISTEN_MODE": "tcp",
    "RESTATE_NODE_NAME": "tour",
    # octocrab is the look-up of newer releases: it cannot be switched off, only kept quiet.
    "RESTATE_LOG_FILTER": "warn,octocrab=off",
    "RESTATE_LOG_DISABLE_ANSI_CODES": "true",
}

# Journals and logs are private wherever they lie, those of an older version as well. From its own
# folder the path of the server's socket is short, as the path of a socket must be.
START = """umask 077
{ mkdir -p "$1" && chmod 700 "$1" "${2%/*}" && cd "$1" && exec "$0"; } >"$2" 2>&1 &
echo $!"""


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


def shown(url: str) -> str:
    """Return an address as it may be shown to others: without a name and a password in it."""
    return re.sub("(?<=//)[^/]*@", "", url)


def spawn(binary: Path, data: Path, log: Path, ingress: int, admin: int, **settings: str) -> Server:
    """Start a server in a session of its own, and do not wait for it.

    Args:
        binary: the program.
        data: its folder.
        log: the file for what it says; written anew.
        ingress: a port on 127.0.0.1.
        admin: another one.
        settings: more of its environment, for a server that is not alone.
    """
    # What is set for another Restate, as a proxy for the world, or as a secret of the model's or
    # the lab's, is not for this one.
    foreign = ("RESTATE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    secret = ("OPENAI_", "JUPYTER")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(foreign + secret)}
    own = {
        "RESTATE_BASE_DIR": str(data),
        "RESTATE_BIND_IP": LOOPBACK,
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
    }
    # The shell leaves at once: the server belongs to no kernel, and is nobody's zombie. A session
    # of its own, because the Stop button signals the kernel's whole process group.
    command = ["/bin/sh", "-c", START, str(binary.absolute()), str(data), str(log)]
    shell = subprocess.run(
        command,
        env=kept | LEAN | own | settings,
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
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


def await_ready(server: Server) -> Server | None:
    """Return the server once it answers; None if it died, as it does when a port was taken."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=1, **direct()) as client:
        while process := process_of(server):
            if owns_its_ports(server) and (version := version_of(client, server)):
                return replace(server, version=version)
            if time.monotonic() > deadline:
                terminate(process)
            time.sleep(0.01)
    return None


@cache
def direct() -> dict[str, Any]:
    """Return what our HTTP clients share: the authorities they trust, and no proxy to this machine.

    To load the authorities takes longer than ten calls.
    """
    return {"verify": httpx.create_ssl_context(), "mounts": {f"all://{LOOPBACK}": None}}


def version_of(client: httpx.Client, server: Server) -> str | None:
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


def terminate(process: psutil.Process) -> None:
    """End a process and wait until it has ended; one that does not listen is killed."""
    try:
        process.terminate()
        process.wait(timeout=5)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(timeout=5)
    except psutil.NoSuchProcess:
        return


def process_of(server: Server) -> psutil.Process | None:
    """Return the process of a server that we started, if it still lives."""
    try:
        process = psutil.Process(server.pid)
        dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return None
    return None if dead or hash(process) != server.mark else process


def last_words(log: Path) -> str:
    """Return the last error that a server has logged, and where it stands."""
    said = log.read_text(errors="replace").rpartition(" ERROR ")[2].strip() or "it wrote no log"
    return f"{' '.join(said.split())[:300]} (whole log: {log})"


def owns_its_ports(server: Server) -> bool:
    """Tell whether this very process listens there: another's might answer in its place."""
    process = process_of(server)
    try:
        sockets = process.net_connections(kind="tcp") if process else []
    except psutil.Error:
        return False
    listening = {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN}
    return listening.issuperset(server.ports)


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
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


def await_free(ports: tuple[int, ...]) -> None:
    """Give a server that was just killed the moment it needs to let go of its ports."""
    deadline = time.monotonic() + DYING_SECONDS
    while not all(is_free(port) for port in ports) and time.monotonic() < deadline:
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
