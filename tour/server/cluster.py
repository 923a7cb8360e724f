"""A cluster of three restate-servers on this machine, which keeps every journal twice.

It stands beside the one server of the tour, with ports, data and an identity of its own. A kernel
uses it where `RESTATE_INGRESS_URL` and `RESTATE_ADMIN_URL` name one of its nodes.

What nodes say to each other wants no login, and here it goes over ports of 127.0.0.1: other users
of this machine could join in. It is a cluster to learn from, and to end when that is done.
"""

import re
import zlib
from itertools import count
from pathlib import Path

from tour.asgi import LOOPBACK, is_free
from tour.errors import TourError
from tour.home import home, locked
from tour.server import process, single
from tour.server.process import Server

__all__ = ["NODES", "down", "identity", "kill", "nodes", "up"]

RECORD = "cluster/nodes.json"
NODES = 3  # a majority of three outlives one of them; a majority of two does not
SETTINGS = {
    "RESTATE_LISTEN_MODE": "tcp",  # nodes reach each other by ports, all on 127.0.0.1
    "RESTATE_CLUSTER_NAME": "tour",
    "RESTATE_ROLES": "[worker,admin,http-ingress,metadata-server,log-server]",
    "RESTATE_BIFROST__DEFAULT_PROVIDER": "replicated",
    "RESTATE_DEFAULT_REPLICATION": str(NODES - 1),
    "RESTATE_DEFAULT_NUM_PARTITIONS": str(NODES),
    # As by default, and unlike the one server: three have to hear each other also when it is busy.
    "RESTATE_GOSSIP_TICK_INTERVAL": "100ms",
    "RESTATE_GOSSIP_FAILURE_THRESHOLD": "10",
    # How long a node that is new, or was away, is not trusted: by default 5 s, for real networks.
    "RESTATE_GOSSIP_SUSPECT_INTERVAL": "500ms",
    "RESTATE_LOG_FILTER": "warn,octocrab=off,restate_service_client::request_identity=info",
}


def up(wanted: int = NODES) -> dict[str, Server]:
    """Return the cluster's servers by their names; those that do not run are started.

    Raises:
        TourError: another number of nodes is wanted, or one of them does not start.
    """
    if wanted != NODES:
        raise TourError(
            f"the cluster of the tour has {NODES} nodes, not {wanted}: {NODES} are the fewest of "
            f"which one may die. Without --nodes it is one server."
        )
    with locked("server.lock"):
        found = process.recorded(RECORD) or _planned()
        dead = [name for name, node in found.items() if not node.process]
        for name in dead:
            found[name] = _spawn(name, found)
            process.record(RECORD, found)  # at once, so that `tour down` ends it in any case
        for name in dead:
            ready = process.await_ready(found[name])
            if ready is None:
                raise TourError(f"{name} does not start: {process.last_words(_log(name))}")
            found[name] = ready
        process.record(RECORD, found)
    return found


def nodes() -> dict[str, Server]:
    """Return the servers that run, by their names."""
    return {name: node for name, node in process.recorded(RECORD).items() if node.process}


def identity() -> str:
    """Return the public key to what the cluster signs, which is all that it asks of agents.

    Raises:
        TourError: the cluster has never been started.
    """
    for name in process.recorded(RECORD):
        if key := re.search(r"publickeyv1_\w+", _log(name).read_text("utf-8", "replace")):
            return key[0]
    raise TourError("There is no cluster yet: `tour up --nodes 3` starts one.")


def kill(name: str) -> None:
    """Kill a node, as a power cut does; `up()` starts it again.

    Raises:
        TourError: no node of this name runs.
    """
    if name not in nodes():
        raise TourError(f"No node {name!r} runs. These do: {', '.join(nodes()) or 'none'}.")
    process.kill(nodes()[name].pid or 0)


def down() -> int:
    """Stop the nodes that the tour started, and return how many there were; their data stays."""
    with locked("server.lock"):
        found = [each for node in process.recorded(RECORD).values() if (each := node.process)]
        process.end(found)
    return len(found)


def _spawn(name: str, every: dict[str, Server]) -> Server:
    # Where the nodes talk to each other is the port after those where we talk to them.
    ports = (*every[name].ports, own := every[name].ports[1] + 1)
    peers = [f"http://{LOOPBACK}:{node.ports[1] + 1}" for node in every.values()]
    process.await_free(ports)
    if taken := [port for port in ports if not is_free(port)]:
        raise TourError(f"port {taken[0]} of {name} is taken by another program: end that one.")
    settings = {
        "RESTATE_NODE_NAME": name,
        "RESTATE_FORCE_NODE_ID": name.removeprefix("node-"),
        "RESTATE_BIND_PORT": str(own),
        "RESTATE_ADVERTISED_ADDRESS": f"http://{LOOPBACK}:{own}",
        "RESTATE_METADATA_CLIENT__ADDRESSES": f"[{','.join(peers)}]",
        "RESTATE_AUTO_PROVISION": str(name == "node-1").lower(),
        "RESTATE_WORKER__INVOKER__REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE": str(_private_key()),
    }
    data = _folder() / name
    return process.spawn(every[name], single.find(), data, _log(name), **SETTINGS, **settings)


def _planned() -> dict[str, Server]:
    """Choose ports, which the nodes keep for as long as their data: they know each other by them.

    They lie below the range from which systems hand out ports of their own.
    """
    _folder()
    first = 30_000 + zlib.crc32(str(home()).encode()) % 2_000
    free = (port for port in count(first, 3) if all(map(is_free, range(port, port + 3))))
    numbered = zip(range(1, NODES + 1), free, strict=False)
    return {f"node-{number}": process.at(port, port + 1) for number, port in numbered}


def _private_key() -> Path:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  for clusters only
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    path = _folder() / "identity.pem"
    if not path.exists():
        path.touch(mode=0o600)
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key = ed25519.Ed25519PrivateKey.generate()
        path.write_bytes(key.private_bytes(*pem, serialization.NoEncryption()))
    return path


def _folder() -> Path:
    folder = home() / "cluster"
    folder.mkdir(exist_ok=True)
    return folder


def _log(name: str) -> Path:
    return process.logs() / f"restate-{name}.log"
