"""One restate-server process on this machine: how it is started, whether it lives and is ready.

What it is started with comes from Restate's configuration reference; which settings pay in a
notebook was measured (one partition, little memory; fsync stays on).
"""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx
import psutil

from tour.asgi import LOOPBACK, is_free
from tour.home import home
from tour.network import client_options, is_here

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
# What is set for another Restate, as a way to the world, or as a secret of the model's or the
# lab's, is not for this one.
NOT_FOR_IT = (
    *("RESTATE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_"),
    *("OPENAI_", "JUPYTER"),
)
# Journals and logs are private wherever they lie, those of an older version as well. From its own
# folder the path of the server's socket is short, as the path of a socket must be.
START = """umask 077
{ mkdir -p "$1" && chmod 700 "$1" "${2%/*}" && cd "$1" && exec "$0"; } >"$2" 2>&1 &
echo $!"""


@dataclass(frozen=True)
class Server:
    """A restate-server.

    Attributes:
        ingress: URL where handlers are called.
        admin: URL of the admin API, the SQL API and the UI.
        pid: its process, if the tour started it; None for somebody else's.
        mark: what tells that process from a later one with the same number: psutil's hash of
            its birth, on a clock that nobody sets.
        version: what it calls itself, once it has answered.
    """

    ingress: str
    admin: str
    pid: int | None = None
    mark: int = 0
    version: str = ""

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the ingress and the admin API."""
        first, second = (httpx.URL(url).port or 80 for url in (self.ingress, self.admin))
        return first, second

    @property
    def process(self) -> psutil.Process | None:
        """The process, if we started it and it still lives."""
        try:
            process = psutil.Process(self.pid)
            dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.Error:
            return None
        return None if dead or hash(process) != self.mark else process

    @property
    def owns_its_ports(self) -> bool:
        """Whether this very process listens there: another's might answer in its place."""
        try:
            sockets = self.process.net_connections(kind="tcp") if self.process else []
        except psutil.Error:
            return False
        listening = {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN}
        return listening.issuperset(self.ports)


def at(ingress: int, admin: int) -> Server:
    """Return the server at two ports of this machine, before it has a process."""
    return Server(f"http://{LOOPBACK}:{ingress}", f"http://{LOOPBACK}:{admin}")


def spawn(server: Server, binary: Path, data: Path, log: Path, **settings: str) -> Server:
    """Start a server in a session of its own, and do not wait for it.

    Args:
        server: where it is to be found.
        binary: the program.
        data: its folder.
        log: the file for what it says; written anew.
        settings: more of its environment, for a server that is not alone.
    """
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(NOT_FOR_IT)}
    ingress, admin = server.ports
    own = {
        "RESTATE_BASE_DIR": str(data),
        "RESTATE_BIND_IP": LOOPBACK,
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
    }
    # The shell leaves at once: the server belongs to no kernel, and is nobody's zombie. A session
    # of its own, because the Stop button signals the kernel's whole process group.
    shell = subprocess.run(
        ["/bin/sh", "-c", START, binary.absolute(), data, log],
        env=kept | LEAN | own | settings,
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
    )
    started, mark = int(shell.stdout), 0
    with suppress(psutil.NoSuchProcess):
        mark = hash(psutil.Process(started))
    return replace(server, pid=started, mark=mark)


def await_ready(server: Server) -> Server | None:
    """Return the server once it answers; None if it died, as it does when a port was taken."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=1, **client_options(here=True)) as client:
        while process := server.process:
            if server.owns_its_ports and (version := version_of(server, client)):
                return replace(server, version=version)
            if time.monotonic() > deadline:
                end([process])
            time.sleep(0.01)
    return None


def version_of(server: Server, client: httpx.Client | None = None) -> str | None:
    """Return the version of a server that can do its work; its health alone comes too early.

    Until a server that starts again has taken the lead of its partition, a query may find nothing,
    or fail. A look at an invocation waits for that.
    """
    if client is None:
        with httpx.Client(timeout=5, **client_options(is_here(server.admin))) as made:
            return version_of(server, made)
    query = {"query": f"select id from sys_invocation where id = '{NOBODY}'"}
    try:
        reply = client.get(f"{server.ingress}/restate/invocation/{NOBODY}/output")
        if reply.status_code != httpx.codes.NOT_FOUND:
            return None
        client.post(f"{server.admin}/query", json=query).raise_for_status()
        reply = client.get(f"{server.admin}/version").raise_for_status()
        return str(reply.json()["version"])
    except (httpx.HTTPError, ValueError, KeyError):  # nobody answers there, or somebody else
        return None


def end(processes: Iterable[psutil.Process]) -> None:
    """End processes and wait until they have ended; one that does not listen is killed."""
    found = list(processes)
    for process in found:  # all of them first: while it ends, a node waits for the others
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(found, timeout=5)[1]:
        process.kill()
    psutil.wait_procs(found, timeout=5)


def kill(pid: int) -> None:
    """End a process as a power cut does, and wait until it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        process.wait(timeout=5)


def last_words(log: Path) -> str:
    """Return the last error in a server's log, or the last line that the program said."""
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    _, error, rest = said.rpartition(" ERROR ")
    words = rest if error else said.rpartition("\n")[2] or "it said nothing"
    return f"{' '.join(words.split())[:300]} (whole log: {log})"


def await_free(ports: tuple[int, ...]) -> None:
    """Give a server that was just killed the moment it needs to let go of its ports."""
    deadline = time.monotonic() + DYING_SECONDS
    while not all(is_free(port) for port in ports) and time.monotonic() < deadline:
        time.sleep(0.02)


def logs() -> Path:
    """Return the folder of what servers say."""
    folder = home() / "logs"
    folder.mkdir(exist_ok=True)
    return folder


def record(file: str, servers: Mapping[str, Server]) -> None:
    """Write the servers down in a file of the home, by their names."""
    about = {name: asdict(server) for name, server in servers.items()}
    (home() / file).write_text(json.dumps(about), "utf-8")


def recorded(file: str) -> dict[str, Server]:
    """Return the servers of such a file, living or not; none, if it says nothing."""
    try:
        about = json.loads((home() / file).read_text("utf-8"))
        return {name: Server(**each) for name, each in about.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
