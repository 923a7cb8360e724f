"""A cluster of three restate-servers on this machine, which keeps every journal twice.

It stands beside the one server of the tour, with ports, data and an identity of its own. A kernel
uses it where `RESTATE_INGRESS_URL` and `RESTATE_ADMIN_URL` name one of its nodes.

What nodes say to each other wants no login, and here it goes over ports of 127.0.0.1: other users
of this machine could join in. It is a cluster to learn from, and to end when that is done.
"""

import json
import re
import zlib
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path

import psutil

from tour import install, process, server
from tour.errors import TourError
from tour.process import LOOPBACK, Server

__all__ = ["NODES", "down", "identity", "nodes", "up"]

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
    with server.lock():
        found = _recorded() or _planned()
        dead = [name for name, node in found.items() if not process.process_of(node)]
        for name in dead:
            found[name] = _spawn(name, found)
            _record(found)  # at once, so that `tour down` ends it whatever happens to us
        for name in dead:
            ready = process.await_ready(found[name])
            if ready is None:
                raise TourError(f"{name} does not start: {process.last_words(_log(name))}")
            found[name] = ready
        _record(found)
    return found


def nodes() -> dict[str, Server]:
    """Return the servers that run, by their names."""
    return {name: node for name, node in _recorded().items() if process.process_of(node)}


def identity() -> str:
    """Return the public key to what the cluster signs, which is all that it asks of agents.

    Raises:
        TourError: the cluster has never been started.
    """
    for name in _recorded():
        if key := re.search(r"publickeyv1_\w+", _log(name).read_text(errors="replace")):
            return key[0]
    raise TourError("There is no cluster yet: `tour up --nodes 3` starts one.")


def down() -> int:
    """Stop the nodes that the tour started, and return how many there were; their data stays."""
    with server.lock():
        found = [each for node in _recorded().values() if (each := process.process_of(node))]
        for each in found:  # all of them first: while it ends, each waits for the others
            with suppress(psutil.NoSuchProcess):
                each.terminate()
        for each in found:
            process.terminate(each)
    return len(found)


def _spawn(name: str, every: dict[str, Server]) -> Server:
    # Where the nodes talk to each other is the port after those where we talk to them.
    ingress, admin = every[name].ports
    ports = (ingress, admin, own := admin + 1)
    peers = [f"http://{LOOPBACK}:{node.ports[1] + 1}" for node in every.values()]
    process.await_free(ports)
    if taken := [port for port in ports if not process.is_free(port)]:
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
    data, binary = _folder() / name, server.find()
    return process.spawn(binary, data, _log(name), ingress, admin, **SETTINGS, **settings)


def _planned() -> dict[str, Server]:
    """Choose ports, which the nodes keep for as long as their data: they know each other by them.

    They lie below the range from which systems hand out ports of their own.
    """
    first = 30_000 + zlib.crc32(str(install.home()).encode()) % 2_000
    free = (port for port in count(first, 3) if all(map(process.is_free, range(port, port + 3))))
    return {
        f"node-{number}": Server(f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{port + 1}")
        for number, port in zip(range(1, NODES + 1), free, strict=False)
    }


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
    folder = install.home() / "cluster"
    folder.mkdir(exist_ok=True)
    return folder


def _log(name: str) -> Path:
    return server.logs() / f"restate-{name}.log"


def _record(found: dict[str, Server]) -> None:
    record = {name: asdict(node) for name, node in found.items()}
    (_folder() / "nodes.json").write_text(json.dumps(record))


def _recorded() -> dict[str, Server]:
    try:
        record = json.loads((_folder() / "nodes.json").read_text())
        return {name: Server(**node) for name, node in record.items()}
    except (FileNotFoundError, ValueError, TypeError):
        return {}
